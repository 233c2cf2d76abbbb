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

/// What a delegate stages, what is told of it, and whether `--yes` takes it.
type Case = (&'static str, fn() -> String, &'static str, bool);

fn signed(value: &Value) -> String {
    signed_by(value, &[(keyid(&key(2)), 2)])
}

fn listing(path: &str, more: Value) -> Value {
    let sha256 = tuf::digest::Sha256Digest::of(b"x").to_string();
    let mut file = json!({"length": 1, "hashes": {"sha256": sha256}});
    file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"targets": {path: file}})
}

#[test]
fn what_verify_refuses_in_a_delegates_file_is_told_before_anything_is_signed() {
    let cases: [Case; 8] = [
        ("outside", || signed(&role(1, listing("z", json!({})))), "target z lies outside the paths", false),
        ("expired", || signed(&role(1, json!({"expires": "2020-01-01T00:00:00Z"}))), "it has expired", false),
        (
            "private",
            || signed(&role(1, json!({"x-key": hex::encode([2_u8; 32])}))),
            "a private key stands at",
            false,
        ),
        (
            "custom",
            || signed(&role(1, listing("dev/z", json!({"custom": 7})))),
            "`custom` is no object",
            true,
        ),
        (
            "wrong keyid",
            || {
                let mut wrong = delegations("x");
                let named = "cd".repeat(32);
                wrong["keys"] = json!({&named: key(2)});
                wrong["roles"][0]["keyids"] = json!([named]);
                signed(&role(1, json!({"delegations": wrong})))
            },
            "is not the hash of its key",
            true,
        ),
        (
            "prefix",
            || {
                let mut odd = delegations("x");
                odd["roles"][0].as_object_mut().unwrap().remove("paths");
                odd["roles"][0]["path_hash_prefixes"] = json!(["zz"]);
                signed(&role(1, json!({"delegations": odd})))
            },
            "zz",
            true,
        ),
        (
            "digits",
            || signed(&role(1, json!({}))).replacen('{', &format!("{{\"x\":{},", "9".repeat(5000)), 1),
            "more than 4300 digits",
            true,
        ),
        (
            "circle",
            || signed(&role(1, json!({"delegations": delegations("x")}))),
            "lead back to it in a circle",
            false,
        ),
    ];
    for (name, text, told, passes) in cases {
        let (home, _agent, repo) = with_delegate(true);
        for place in ["", "dev/"] {
            let sha256 = tuf::digest::Sha256Digest::of(b"x");
            home.write(&format!("repo/targets/{place}{sha256}.z"), "x");
        }
        fs::write(repo.dir().join("staged/dev.json"), text()).unwrap();
        if ["wrong keyid", "prefix", "circle"].contains(&name) {
            let by = if name == "wrong keyid" { "cd".repeat(32) } else { keyid(&key(2)) };
            let back = if name == "circle" { json!({"delegations": delegations("dev")}) } else { json!({}) };
            fs::write(repo.dir().join("staged/x.json"), signed_by(&role(1, back), &[(by, 2)])).unwrap();
        }
        let done = home.run("sign repo --yes");
        assert!(done.stderr.contains(told), "{name}: {done}");
        assert!(!done.stderr.contains("see the warning above"), "{name}: {done}");
        if passes {
            done.done();
            continue;
        }
        let refused = home.refused("sign repo --yes", 3, "POLICY");
        assert_eq!(refused["details"]["role"], "dev", "{refused}");
        assert_eq!((repo.version("targets"), home.journalled("sign.intent").len()), (1, 4), "{name}");
        put(&repo, "dev", &role(1, json!({})));
        let _ = fs::remove_file(repo.dir().join("staged/x.json"));
        home.run("sign repo --yes").done();
        home.run(VERIFY).done();
    }
}

#[test]
fn what_was_so_in_the_published_version_is_no_reason_to_refuse_the_next_one() {
    let (home, _agent, repo) = with_delegate(true);
    let sha256 = tuf::digest::Sha256Digest::of(b"x");
    home.write(&format!("repo/targets/dev/{sha256}.z"), "x");
    put(&repo, "dev", &role(1, listing("dev/z", json!({}))));
    home.run("sign repo --yes").done();
    home.run("delegation edit repo dev --paths other/*").done();
    put(&repo, "dev", &role(2, listing("dev/z", json!({}))));
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("dev"), 2);
}

#[test]
fn a_delegation_to_a_role_without_a_file_is_told_before_anything_is_signed() {
    let (home, _agent, repo) = with_delegate(true);
    put(&repo, "dev", &role(1, json!({"delegations": delegations("x")})));
    let intents = home.journalled("sign.intent").len();
    let refused = home.run("sign repo --yes --json").json();
    let error = &refused["error"];
    assert_eq!(
        (&error["reason"], &error["details"]["role"]),
        (&"THRESHOLD_MISSING".into(), &"x".into()),
        "{error}"
    );
    assert!(error["message"].as_str().unwrap().contains("dev delegates to x, which has no file"), "{error}");
    let remedy = error["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("staged/x.json") && remedy.contains("delegation remove repo --parent=dev x")
            || remedy.contains("--parent dev"),
        "{remedy}"
    );
    assert_eq!(home.journalled("sign.intent").len(), intents);
    put(&repo, "x", &role(1, json!({})));
    home.run("sign repo --yes").done();
    home.run(VERIFY).done();
}

#[test]
fn in_an_old_copy_no_remedy_takes_a_colleagues_release_back() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let other = repo.copy_to(&home.path("other"));
    for (folder, file) in [("repo", "one"), ("other", "two")] {
        home.write(file, file);
        home.run(&format!("target add {folder} {file}")).done();
    }
    home.run("sign other --yes").done();
    let refused = home.refused("sign repo --yes", 3, "WATERMARK");
    let remedy = refused["remedy"].as_str().unwrap();
    assert!(
        remedy.starts_with("take the newest published copy first") && !remedy.contains("bump"),
        "{remedy}"
    );
    // As the remedy says.
    fs::remove_dir_all(repo.dir()).unwrap();
    other.copy_to(repo.dir());
    home.run("target add repo one").done();
    home.run("sign repo --yes").done();
    let listed = home.run("target list repo").done().stdout;
    assert!(["one", "two"].iter().all(|name| listed.contains(name)), "{listed}");
}
