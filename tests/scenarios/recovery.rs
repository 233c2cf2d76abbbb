//! The paths of tufctl-recovery(7), command by command, before stock clients that hold the older state.

use std::fs;
use std::path::Path;

use ed25519_dalek::Signer;
use serde_json::{Value, json};
use tufagent_tests::clock::Shift;
use tufagent_tests::{Agent, Home, Outcome, Published, need};

use crate::forge::{canonical, key, keyid, signing};
use crate::judges::{Judges, Reads};

/// The manual's commands under a heading, in order.
pub(crate) fn commands_of(heading: &str) -> Vec<String> {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/tufctl-recovery.7")).unwrap();
    let section = page.split("\n.SH ").find(|section| section.starts_with(heading)).expect(heading);
    let plain = section.lines().map(|line| line.replace("\\-", "-"));
    plain.filter(|line| line.starts_with("tufctl ")).collect()
}

/// Runs what the manual says under a heading, word for word; `--yes` answers what a person is asked.
#[track_caller]
pub(crate) fn follow(home: &Home, heading: &str) -> Vec<Outcome> {
    let commands = commands_of(heading);
    assert!(!commands.is_empty(), "{heading} names no command");
    let run = |command: &String| {
        let words = command.strip_prefix("tufctl ").unwrap();
        let asks =
            ["sign ", "root ", "delegation ", "repo reset-watermark "].iter().any(|it| words.starts_with(it));
        let outcome = home.run(&format!("{words}{}", if asks { " --yes" } else { "" }));
        // A root that is signed alone may wait for the others.
        let waits = words.starts_with("sign repo --role root") && outcome.code == 4;
        if waits { outcome } else { outcome.done() }
    };
    commands.iter().map(run).collect()
}

/// A repository that was published then, with clients that updated then. Now its keys are unlocked again.
fn published_then(offset: &str, expires: &str) -> Option<(Home, Agent, Published, Judges)> {
    let time = need(Shift::new(offset))?;
    let home = Home::new();
    home.live_at(Some(&time));
    let agent = home.start();
    home.unlock_file_store();
    home.keys(&["root", "online"]);
    home.run(&format!(
        "repo init repo --name app --root root --targets online --snapshot online --timestamp online {expires}"
    ))
    .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept_at(&time, &repo, &["app.txt"]);
    agent.stop();
    home.live_at(None);
    let agent = home.start();
    home.unlock_file_store();
    Some((home, agent, repo, judges))
}

/// The role has expired: everybody refuses, the manual's commands are run, and everybody accepts.
#[track_caller]
fn renewed(offset: &str, expires: &str, heading: &str, role: &str) {
    let Some((home, _agent, repo, judges)) = published_then(offset, expires) else { return };
    let error = home.refused("verify repo --root repo/metadata/1.root.json", 6, "VERIFICATION");
    assert_eq!(error["details"]["role"], role);
    judges.refuse(&repo, &["app.txt"]);
    follow(&home, heading);
    assert_eq!(repo.version(role), 2);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}

const LONG: [&str; 4] =
    ["--expires root=900d", "--expires targets=900d", "--expires snapshot=900d", "--expires timestamp=900d"];

/// All roles but one live for years.
fn all_but(index: usize) -> String {
    let others = LONG.iter().enumerate().filter(|(at, _)| *at != index);
    others.map(|(_, flag)| *flag).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_expired_root_is_renewed_and_clients_with_the_older_state_go_on() {
    renewed("-400d", &all_but(0), "EXPIRED ROOT", "root");
}

#[test]
fn expired_targets_are_renewed_and_clients_with_the_older_state_go_on() {
    renewed("-100d", &all_but(1), "EXPIRED TARGETS", "targets");
}

#[test]
fn an_expired_snapshot_is_renewed_and_clients_with_the_older_state_go_on() {
    renewed("-30d", &all_but(2), "EXPIRED SNAPSHOT", "snapshot");
}

#[test]
fn an_expired_timestamp_is_renewed_and_clients_with_the_older_state_go_on() {
    renewed("-30d", &all_but(3), "EXPIRED TIMESTAMP", "timestamp");
}

#[test]
fn a_repository_that_nobody_cared_for_is_renewed_whole() {
    let Some((home, _agent, repo, judges)) = published_then("-400d", "") else { return };
    judges.refuse(&repo, &["app.txt"]);
    follow(&home, "EVERYTHING HAS EXPIRED");
    for role in ["root", "targets", "snapshot", "timestamp"] {
        assert_eq!(repo.version(role), 2, "{role}");
    }
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt"]);
}

/// PKCS#8 of the private keys 7 and 8 of the forge, which a thief has as well.
const SEVEN: &str = "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
const EIGHT: &str = "MC4CAQAwBQYDK2VwBCIEIAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

/// A published repository of the manual: `online` is key 7; the delegate `docs` has key 8, named `docs-old`.
pub(crate) fn leaky() -> (Home, Agent, Published) {
    let (home, agent) = Home::unlocked();
    home.keys(&["root", "online-2", "docs-new"]);
    for (name, key) in [("online", SEVEN), ("docs-old", EIGHT)] {
        home.secret("key.pem", &format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"));
        home.run(&format!("key import {name} key.pem --token file")).done();
    }
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.write("app.txt", "hello\n");
    home.write("guide.txt", "read this\n");
    home.run("delegation add repo docs --key docs-old --threshold 1 --paths docs/*").done();
    home.run("target add repo app.txt").done();
    home.run("target add repo guide.txt --path docs/").done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    (home, agent, repo)
}

/// What the thief publishes as a role's next file.
pub(crate) fn steal(repo: &Published, role: &str, number: u8, change: impl FnOnce(&mut Value)) -> u64 {
    let version = repo.version(role);
    let from =
        if role == "timestamp" { "timestamp.json".to_owned() } else { format!("{version}.{role}.json") };
    let mut signed = repo.metadata(&from)["signed"].clone();
    change(&mut signed);
    let sig = hex::encode(signing(number).sign(&canonical(&signed)).to_bytes());
    let file = json!({"signatures": [{"keyid": keyid(&key(number)), "sig": sig}], "signed": signed});
    let version = signed["version"].as_u64().unwrap();
    let name = if role == "timestamp" { from } else { format!("{version}.{role}.json") };
    let path = repo.dir().join("metadata").join(name);
    let _ = fs::remove_file(&path);
    fs::write(path, file.to_string()).unwrap();
    version
}

/// Where a thief goes to.
pub(crate) const FAR: u64 = 1_000_000_000;

/// Timestamp, snapshot and targets, if they are named, go to a version that nobody can follow.
pub(crate) fn fast_forward(repo: &Published, roles: &[&str]) {
    let steal_forward = |role: &str, list: Option<(&str, u64)>| {
        let version = if roles.contains(&role) { FAR } else { repo.version(role) + 1 };
        steal(repo, role, 7, |signed| {
            signed["version"] = version.into();
            if let Some((listed, version)) = list {
                signed["meta"][listed] = json!({"version": version});
            }
        })
    };
    let targets =
        if roles.contains(&"targets") { steal_forward("targets", None) } else { repo.version("targets") };
    // The snapshot is found by the timestamp, which comes last.
    let snapshot = steal_forward("snapshot", Some(("targets.json", targets)));
    steal_forward("timestamp", Some(("snapshot.json", snapshot)));
}

#[test]
fn a_fast_forward_of_timestamp_and_snapshot_is_left_behind_by_clients_that_fell_for_it() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt"]);
    fast_forward(&repo, &["snapshot", "timestamp"]);
    judges.accept(&repo, &["app.txt"]);
    assert_eq!((repo.version("timestamp"), repo.version("snapshot")), (1_000_000_000, 1_000_000_000));
    follow(&home, "FAST-FORWARD ATTACK ON TIMESTAMP AND SNAPSHOT");
    assert!(repo.version("timestamp") < 100 && repo.version("snapshot") < 100);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt", "docs/guide.txt"]);
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    judges.accept(&repo, &["app.txt"]);
}

#[test]
fn a_fast_forward_of_targets_is_left_behind_by_clients_that_fell_for_it() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt"]);
    fast_forward(&repo, &["targets", "snapshot", "timestamp"]);
    judges.accept(&repo, &["app.txt"]);
    follow(&home, "FAST-FORWARD ATTACK ON TARGETS");
    for role in ["targets", "snapshot", "timestamp"] {
        assert!(repo.version(role) < 100, "{role}");
    }
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
}

#[test]
fn a_fast_forward_of_a_delegated_role_is_left_behind_with_its_name() {
    const LAST: u64 = (1 << 53) - 1;
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    let docs = steal(&repo, "docs", 8, |signed| {
        signed["version"] = LAST.into();
        signed["targets"] = json!({});
    });
    let snapshot = repo.version("snapshot") + 1;
    steal(&repo, "snapshot", 7, |signed| {
        signed["version"] = snapshot.into();
        signed["meta"]["docs.json"] = json!({"version": docs});
    });
    let timestamp = repo.version("timestamp") + 1;
    steal(&repo, "timestamp", 7, |signed| {
        signed["version"] = timestamp.into();
        signed["meta"]["snapshot.json"] = json!({"version": snapshot});
    });
    // Clients fall for it, and nothing follows that version.
    judges.accept(&repo, &["app.txt"]);
    judges.refuse(&repo, &["docs/guide.txt"]);
    assert_ne!(home.run("bump repo docs --yes").code, 0);
    follow(&home, "FAST-FORWARD ATTACK ON A DELEGATED ROLE");
    let listed =
        repo.metadata(&format!("{}.snapshot.json", repo.version("snapshot")))["signed"]["meta"].clone();
    assert_eq!(
        (&listed["docs.json"]["version"], &listed["docs-2.json"]["version"]),
        (&json!(LAST), &json!(1))
    );
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt", "docs/guide.txt"]);
}

#[test]
fn a_delegate_whose_key_was_stolen_goes_on_with_a_new_key_and_the_old_one_signs_for_nobody() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    follow(&home, "STOLEN KEY OF A DELEGATE");
    assert_eq!(repo.version("docs"), 2);
    let docs = repo.metadata("2.docs.json");
    assert_ne!(docs["signatures"][0]["keyid"], keyid(&key(8)), "{docs}");
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    // The thief has the online key too, and with it lists what the old key signs.
    let thief = repo.copy_to(&home.path("thief"));
    let docs = steal(&thief, "docs", 8, |signed| signed["version"] = 3.into());
    let snapshot = thief.version("snapshot") + 1;
    steal(&thief, "snapshot", 7, |signed| {
        signed["version"] = snapshot.into();
        signed["meta"]["docs.json"] = json!({"version": docs});
    });
    let timestamp = thief.version("timestamp") + 1;
    steal(&thief, "timestamp", 7, |signed| {
        signed["version"] = timestamp.into();
        signed["meta"]["snapshot.json"] = json!({"version": snapshot});
    });
    judges.refuse(&thief, &["docs/guide.txt"]);
    Judges::new(&home, "fresh", Reads::All).refuse(&thief, &["docs/guide.txt"]);
}

#[test]
fn a_delegate_is_removed_its_targets_signed_by_targets_and_the_snapshot_still_lists_it() {
    let (home, _agent, repo) = leaky();
    let judges = Judges::new(&home, "older", Reads::All);
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    follow(&home, "DELEGATE REMOVED");
    assert_eq!(repo.version("docs"), 1, "the snapshot still lists it (5.5.5)");
    let targets = repo.metadata(&format!("{}.targets.json", repo.version("targets")));
    assert_eq!(targets["signed"]["targets"]["docs/guide.txt"]["length"], 10);
    assert_eq!(targets["signed"]["delegations"]["roles"], json!([]));
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt", "docs/guide.txt"]);
}

#[test]
fn a_nested_delegate_is_removed_its_targets_signed_above_it_and_older_clients_follow() {
    let (home, _agent, repo) = leaky();
    home.keys(&["inner"]);
    // docs delegates docs/api/ on, which clients of every kind have seen.
    home.run("delegation edit repo docs --paths docs/*,docs/api/*").done();
    home.run("delegation add repo api --key inner --threshold 1 --paths docs/api/* --parent docs").done();
    home.write("call.txt", "call this\n");
    home.run("target add repo call.txt --path docs/api/ --role api").done();
    home.run("sign repo --yes").done();
    let judges = Judges::new(&home, "older", Reads::All);
    let all = ["app.txt", "docs/guide.txt", "docs/api/call.txt"];
    judges.accept(&repo, &all);
    let (docs, api) = (repo.version("docs"), repo.version("api"));
    // The inner one goes; the role above it signs its targets from now on.
    home.run("delegation remove repo api --yes").done();
    home.run("target add repo call.txt --path docs/api/ --role docs").done();
    home.run("sign repo --yes").done();
    assert_eq!(
        (repo.version("docs"), repo.version("api")),
        (docs + 1, api),
        "the snapshot still lists it (5.5.5)"
    );
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &all);
    // Then the outer one goes with all that is below it.
    home.run("delegation remove repo docs --yes").done();
    for (file, folder) in [("guide.txt", "docs/"), ("call.txt", "docs/api/")] {
        home.run(&format!("target add repo {file} --path {folder}")).done();
    }
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("docs"), repo.version("api")), (docs + 1, api));
    home.run("verify repo --root repo/metadata/1.root.json").done();
    judges.accept(&repo, &all);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &all);
    // What the keys of those that went sign and list is in nobody's way.
    let thief = repo.copy_to(&home.path("thief"));
    let next = steal(&thief, "docs", 8, |signed| {
        signed["version"] = (docs + 2).into();
        signed["targets"] = json!({});
    });
    let snapshot = thief.version("snapshot") + 1;
    steal(&thief, "snapshot", 7, |signed| {
        signed["version"] = snapshot.into();
        signed["meta"]["docs.json"] = json!({"version": next});
    });
    let timestamp = thief.version("timestamp") + 1;
    steal(&thief, "timestamp", 7, |signed| {
        signed["version"] = timestamp.into();
        signed["meta"]["snapshot.json"] = json!({"version": snapshot});
    });
    judges.accept(&thief, &all);
}
