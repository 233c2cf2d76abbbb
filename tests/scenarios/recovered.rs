//! A fast-forward attack and the way out of it: new keys for timestamp and snapshot, and versions that start anew.

use std::fs;

use serde_json::{Value, json};
use tufagent_tests::oracle::{Client, Memory};
use tufagent_tests::{Agent, Home, Published, need};

use crate::forge::{key, keyid, signed_by};

/// The last version that every client can read.
pub(crate) const LAST: u64 = 9_007_199_254_740_991;

/// The private key with the number 7, as PKCS#8.
pub(crate) const SEVEN: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";

/// A published repository whose online key (number 7) somebody else has as well.
pub(crate) fn leaky() -> (Home, Agent, Published) {
    let (home, agent) = Home::unlocked();
    home.keys(&["root", "fresh"]);
    home.secret("online.pem", SEVEN);
    home.run("key import online online.pem --token file").done();
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    home.run("sign repo --yes").done();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    assert_eq!((repo.version("timestamp"), repo.version("snapshot")), (2, 1));
    (home, agent, repo)
}

/// What the thief publishes under these versions: the same content, or more of it.
fn attack(repo: &Published, version: u64, targets: Option<u64>) {
    let metadata = repo.dir().join("metadata");
    let resign = |from: &str, to: &str, change: &dyn Fn(&mut Value)| {
        let mut signed = repo.metadata(from)["signed"].clone();
        change(&mut signed);
        fs::write(metadata.join(to), signed_by(&signed, &[(keyid(&key(7)), 7)])).unwrap();
    };
    if let Some(version) = targets {
        resign("1.targets.json", &format!("{version}.targets.json"), &|signed| {
            signed["version"] = version.into();
            signed["targets"]["evil.txt"] = signed["targets"]["app.txt"].clone();
        });
    }
    resign("1.snapshot.json", &format!("{version}.snapshot.json"), &|signed| {
        signed["version"] = version.into();
        signed["meta"]["targets.json"] = json!({"version": targets.unwrap_or(1)});
    });
    fs::remove_file(metadata.join("timestamp.json")).unwrap();
    let mut signed: Value = serde_json::from_slice(&repo.bytes("old-timestamp.json")).unwrap();
    signed = signed["signed"].take();
    signed["version"] = version.into();
    signed["meta"]["snapshot.json"] = json!({"version": version});
    fs::write(metadata.join("timestamp.json"), signed_by(&signed, &[(keyid(&key(7)), 7)])).unwrap();
    fs::remove_file(metadata.join("old-timestamp.json")).unwrap();
}

pub(crate) fn attacked(version: u64, targets: Option<u64>) -> (Home, Agent, Published) {
    let (home, agent, repo) = leaky();
    let metadata = repo.dir().join("metadata");
    fs::copy(metadata.join("timestamp.json"), metadata.join("old-timestamp.json")).unwrap();
    attack(&repo, version, targets);
    home.run("verify repo --root repo/metadata/1.root.json --metadata-only").done();
    (home, agent, repo)
}

pub(crate) fn new_keys(home: &Home, roles: &[&str]) {
    for role in roles {
        home.run(&format!("root replace-key repo {role} --old online --new fresh")).done();
    }
}

#[test]
fn a_fast_forward_to_the_last_version_is_left_behind_with_new_keys() {
    let (home, _agent, repo) = attacked(LAST, None);
    let error = home.refused("repo reset-watermark repo timestamp --yes", 3, "POLICY");
    assert_eq!(error["details"]["spec"], "5.3.11");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl root replace-key"), "{error}");
    new_keys(&home, &["timestamp", "snapshot"]);
    // Staged is not enough: nobody has signed the new root yet.
    home.refused("repo reset-watermark repo timestamp --yes", 3, "POLICY");
    home.run("sign repo --role root --yes");
    home.refused("repo reset-watermark repo timestamp", 3, "CONFIRMATION_MISSING");
    let reset = home.run("repo reset-watermark repo timestamp --yes --json").done();
    assert_eq!(reset.json()["from"]["version"], LAST);
    assert_eq!(reset.json()["to"], 2, "what was signed here before it");
    home.run("repo reset-watermark repo snapshot --yes").done();
    home.run("sign repo --yes").done();
    let published = (repo.version("root"), repo.version("snapshot"), repo.version("timestamp"));
    assert_eq!(published, (2, 2, 3));
    home.run("verify repo --root repo/metadata/1.root.json").done();
    let journal = home.run("audit export").done().stdout;
    assert_eq!(journal.matches("watermark.reset").count(), 2, "{journal}");
    // All goes on as before, and the thief's files come back to nothing.
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("targets"), repo.version("timestamp")), (2, 4));
    home.refused("repo reset-watermark repo timestamp --yes", 3, "POLICY");
}

#[test]
fn stolen_targets_are_not_what_the_next_ones_go_on_from() {
    let (home, _agent, repo) = attacked(1_000_000, Some(500_000));
    new_keys(&home, &["timestamp", "snapshot", "targets"]);
    home.run("sign repo --role root --yes");
    for role in ["timestamp", "snapshot", "targets"] {
        home.run(&format!("repo reset-watermark repo {role} --yes")).done();
    }
    let difference = home.run("diff repo").done();
    assert!(!difference.stdout.contains("evil.txt"), "{difference}");
    assert!(difference.stderr.contains("what goes: target evil.txt;"), "{difference}");
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("targets"), repo.version("snapshot")), (2, 2));
    let listed = home.run("target list repo").done();
    assert!(listed.stdout.contains("app.txt") && !listed.stdout.contains("evil.txt"), "{listed}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn both_online_roles_and_the_role_itself_must_have_got_new_keys() {
    let (home, _agent, _repo) = attacked(1_000_000, Some(500_000));
    new_keys(&home, &["timestamp"]);
    home.run("sign repo --role root --yes");
    let error = home.refused("repo reset-watermark repo timestamp --yes", 3, "POLICY");
    assert_eq!(error["details"]["role"], "snapshot", "clients would keep the snapshot: {error}");
    let (home, _agent, _repo) = attacked(1_000_000, Some(500_000));
    new_keys(&home, &["timestamp", "snapshot"]);
    home.run("sign repo --role root --yes");
    let error = home.refused("repo reset-watermark repo targets --yes", 3, "POLICY");
    assert_eq!(error["details"]["role"], "targets");
    home.run("repo reset-watermark repo timestamp --yes").done();
}

#[test]
fn nothing_starts_anew_without_an_attack_or_without_a_name() {
    let (home, _agent, _repo) = leaky();
    for role in ["timestamp", "snapshot", "targets"] {
        home.refused(&format!("repo reset-watermark repo {role} --yes"), 3, "POLICY");
    }
    home.refused("repo reset-watermark repo root --yes", 2, "USAGE");
    let error = home.refused("repo reset-watermark repo nobody --yes", 3, "ROLE_UNKNOWN");
    assert_eq!(error["details"]["role"], "nobody");
    new_keys(&home, &["timestamp", "snapshot"]);
    home.run("sign repo --role root --yes");
    home.refused("repo reset-watermark repo nobody --yes", 3, "ROLE_UNKNOWN");
}

#[test]
fn clients_that_trusted_the_thief_come_back() {
    for client in [Client::python(), Client::js()] {
        let Some(client) = need(client) else { continue };
        let (home, _agent, repo) = attacked(LAST, None);
        let memory = Memory::new(home.path("memory"));
        client.accepts(&repo, &memory, &["app.txt"]);
        new_keys(&home, &["timestamp", "snapshot"]);
        home.run("sign repo --role root --yes");
        home.run("repo reset-watermark repo timestamp --yes").done();
        home.run("repo reset-watermark repo snapshot --yes").done();
        home.run("sign repo --yes").done();
        client.accepts(&repo, &memory, &["app.txt"]);
        home.run("bump repo targets").done();
        home.run("sign repo --yes").done();
        client.accepts(&repo, &memory, &["app.txt"]);
    }
}
