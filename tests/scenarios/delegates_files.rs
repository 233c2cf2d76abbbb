//! A delegate with keys of its own puts files that it has signed into `staged/`, also while others publish.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tufagent_tests::{Agent, Home, Published, binary, need};

use crate::forge::{key, keyid, signed_by};
use crate::strace::Strace;

/// A published repository whose role `dev` has key 2, which is no key of ours.
pub(crate) fn with_delegate(consistent: bool) -> (Home, Agent, Published) {
    let (home, agent) = Home::unlocked();
    home.small_repository();
    let repo = home.published("repo");
    if !consistent {
        not_consistent(&repo);
    }
    home.run("sign repo --yes").done();
    home.write("dev.json", json!({"keyid": keyid(&key(2)), "key": key(2)}).to_string());
    home.run("delegation add repo dev --key ./dev.json --threshold 1 --paths dev/* --yes").done();
    put(&repo, "dev", &role(1, json!({})));
    (home, agent, repo)
}

/// The root that is staged is one without consistent snapshots.
pub(crate) fn not_consistent(repo: &Published) {
    let file = repo.dir().join("staged/root.json");
    let text = fs::read_to_string(&file).unwrap();
    let plain = text.replace("\"consistent_snapshot\":true", "\"consistent_snapshot\":false");
    let plain = plain.replace("\"consistent_snapshot\": true", "\"consistent_snapshot\": false");
    assert_ne!(plain, text);
    fs::write(file, plain).unwrap();
}

/// What the delegate's own tool signs: a version with more members.
pub(crate) fn role(version: u64, more: Value) -> Value {
    let expires = home_time();
    let mut signed = json!({"_type": "targets", "spec_version": "1.0.31", "version": version, "expires": expires, "targets": {}});
    signed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    signed
}

/// Some weeks from now.
fn home_time() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    tuf::time::UtcTime::from_unix(i64::try_from(now).unwrap() + 60 * 86_400).to_string()
}

/// A delegation to a role that key 2 signs.
pub(crate) fn delegations(name: &str) -> Value {
    let keyid = keyid(&key(2));
    let role =
        json!({"name": name, "keyids": [keyid], "threshold": 1, "terminating": false, "paths": ["dev/*"]});
    json!({"keys": {keyid: key(2)}, "roles": [role]})
}

pub(crate) fn put(repo: &Published, name: &str, signed: &Value) {
    let text = signed_by(signed, &[(keyid(&key(2)), 2)]);
    fs::write(repo.dir().join(format!("staged/{name}.json")), text).unwrap();
}

/// `tufctl sign repo --yes`, killed before the n-th file gets its name in `metadata/` or `targets/`.
fn killed(home: &Home, strace: &Strace, call: &str, number: usize) {
    let mut command: Command = strace.command();
    home.environment(&mut command);
    command.envs(strace.variables()).args(["-f", "-qq", "-o"]).arg(home.dir().join("trace-of-tufctl"));
    command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal=KILL:when={number}")]);
    command.arg(binary("tufctl")).args(["sign", "repo", "--yes", "--quiet"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
}

const VERIFY: &str = "verify repo --root repo/metadata/1.root.json";

#[test]
fn a_publication_that_was_cut_off_is_not_finished_with_files_that_its_snapshot_does_not_list() {
    let Some(strace) = need(Strace::find()) else { return };
    for (consistent, version, call) in
        [(true, 2, "renameat"), (true, 3, "renameat"), (false, 2, "renameat"), (false, 3, "renameat2")]
    {
        for number in 1..=4 {
            let (home, _agent, repo) = with_delegate(consistent);
            home.run("sign repo --yes").done();
            home.write("x", "x");
            home.run("target add repo x").done();
            put(&repo, "dev", &role(2, json!({})));
            home.run("sign repo --yes --no-publish").done();
            killed(&home, &strace, call, number);
            if !repo.dir().join("staged/.publishing").exists() {
                continue;
            }
            let was_out = home.run("verify repo --root repo/metadata/1.root.json --json").done().json();
            let was_out = was_out["roles"].to_string().contains("\"role\":\"dev\",\"version\":2");
            put(&repo, "dev", &role(version, json!({"x-later": true})));
            let next = home.run("bump repo timestamp --json").exits(3).json();
            let told = &next["error"];
            let reason = if was_out && version == 2 { "WATERMARK" } else { "SNAPSHOT_INVALID" };
            assert_eq!(told["reason"], reason, "{consistent} {number} {told}");
            let words = if was_out { "that was cut off is out" } else { "that was cut off is undone" };
            assert!(told["message"].as_str().unwrap().contains(words), "{told}");
            home.run(VERIFY).done();
            if reason == "WATERMARK" {
                continue;
            }
            assert!(told["remedy"].as_str().unwrap().contains("tufctl sign repo"), "{told}");
            if version == 2 {
                // The agent was shown the other one complete.
                home.refused("sign repo --yes", 3, "WATERMARK");
                put(&repo, "dev", &role(3, json!({})));
            }
            home.run("sign repo --yes").done();
            home.run(VERIFY).done();
            if consistent {
                assert_eq!(repo.version("dev"), 3);
            }
        }
    }
}

#[test]
fn that_what_is_published_is_not_what_its_snapshot_lists_is_said_before_anything_is_signed() {
    let (home, _agent, repo) = with_delegate(true);
    home.run("sign repo --yes").done();
    let text = signed_by(&role(1, json!({"x-other": 1})), &[(keyid(&key(2)), 2)]);
    fs::write(repo.dir().join("metadata/1.dev.json"), text).unwrap();
    home.write("x", "x");
    home.run("target add repo x --role targets").done();
    put(&repo, "dev", &role(2, json!({})));
    let told = home.run("sign repo --yes").done().stderr;
    assert!(told.contains("the published dev version 1 is not the file that the snapshot lists"), "{told}");
    home.run(VERIFY).done();
}
