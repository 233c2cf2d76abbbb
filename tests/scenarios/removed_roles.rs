//! Delegated roles that were taken away: the snapshot goes on listing them, and nothing leads to them any more.

use std::fs;

use serde_json::json;
use tufagent_tests::{Agent, Home, Published};

use crate::forge::{key, keyid, signed_by};
use crate::judges::{Judges, Reads};
use crate::recovered::{SEVEN, leaky};
use crate::recovery::{self, steal};
use crate::watermarks::others_publish;

const ADOPT: &str = "repo adopt repo --name app --root repo/metadata/1.root.json --yes";

/// `team` with `inner` beneath it, published; then `team` is removed, with all that it led to.
fn removed() -> (Home, Agent, Published) {
    let (home, agent, repo) = leaky();
    nest(&home);
    home.run("delegation remove repo team --yes").done();
    home.run("sign repo --yes").done();
    (home, agent, repo)
}

/// Delegates to `team`, and from there to `inner`.
fn nest(home: &Home) {
    home.keys(&["team"]);
    home.run("delegation add repo team --key team --threshold 1 --paths t/*,t/i/*").done();
    home.run("delegation add repo inner --key team --threshold 1 --paths t/i/* --parent team").done();
    home.run("sign repo --yes").done();
}

#[test]
fn a_copy_without_a_nested_role_that_was_removed_is_adopted_again_and_after_a_restore() {
    let (home, _agent, repo) = removed();
    home.run(ADOPT).done();
    home.secret("sealing", "a passphrase for the backup");
    home.run("backup saved --passphrase-file sealing").done();
    let other = Home::new();
    repo.copy_to(&other.path("repo"));
    fs::copy(home.path("saved"), other.path("saved")).unwrap();
    other.secret("sealing", "a passphrase for the backup");
    let _other_agent = other.start();
    other.run("restore saved --passphrase-file sealing").done();
    other.unlock_file_store();
    other.run(ADOPT).done();
    other.run("bump repo targets").done();
    other.run("sign repo --yes").done();
    other.run("verify repo --root repo/metadata/1.root.json").done();
    // Of those that delegations lead to each must be there, nested ones too.
    let error = other.refused(&format!("{ADOPT} --without inner"), 2, "USAGE");
    assert_eq!(error["details"]["role"], "inner");
}

#[test]
fn an_alarm_ends_where_a_nested_role_was_removed() {
    let (home, _agent, repo) = removed();
    let next = repo.version("targets") + 1;
    home.run("bump repo targets").done();
    home.run("sign repo --yes --no-publish").done();
    fs::remove_dir_all(repo.dir().join("staged")).unwrap();
    let [snapshot, timestamp] = ["snapshot", "timestamp"].map(|role| repo.version(role) + 1);
    others_publish(&repo, [next, snapshot, timestamp], |signed| signed["x-theirs"] = json!(true));
    home.run("bump repo targets");
    home.refused("sign repo --yes", 3, "WATERMARK");
    home.run(ADOPT).done();
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

/// A colleague takes `docs` out of targets and of the snapshot, as other tools do.
fn dropped_by_a_colleague(repo: &Published) {
    let targets = repo.version("targets") + 1;
    let emptied = json!({"keys": {}, "roles": []});
    let mut signed = repo.metadata(&format!("{}.targets.json", targets - 1))["signed"].clone();
    signed["version"] = targets.into();
    signed["delegations"] = emptied;
    let file = signed_by(&signed, &[(keyid(&key(7)), 7)]);
    fs::write(repo.dir().join(format!("metadata/{targets}.targets.json")), file).unwrap();
    let next = |role: &str| repo.version(role) + 1;
    let (snapshot, timestamp) = (next("snapshot"), next("timestamp"));
    steal(repo, "snapshot", 7, |signed| {
        signed["version"] = snapshot.into();
        signed["meta"] = json!({"targets.json": {"version": targets}});
    });
    steal(repo, "timestamp", 7, |signed| {
        signed["version"] = timestamp.into();
        signed["meta"]["snapshot.json"] = json!({"version": snapshot});
    });
}

#[test]
fn a_role_that_a_colleagues_snapshot_dropped_is_listed_again() {
    for (is_adopted, is_kept) in [(true, true), (true, false), (false, true), (false, false)] {
        let (home, _agent, repo) = recovery::leaky();
        let judges = Judges::new(&home, "older", Reads::All);
        judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
        dropped_by_a_colleague(&repo);
        if !is_kept {
            fs::remove_file(repo.dir().join("metadata/1.docs.json")).unwrap();
        }
        judges.refuse(&repo, &["app.txt"]);
        let says = "no longer lists docs version 1";
        if is_adopted {
            assert!(home.run(ADOPT).done().stderr.contains(says));
        }
        home.run("bump repo targets").done();
        let signed = home.run("sign repo --yes").done();
        assert_eq!(signed.stderr.contains(says), !is_adopted, "{signed}");
        assert_eq!(repo.version("docs"), 1, "the snapshot lists it as before (5.5.5)");
        judges.accept(&repo, &["app.txt"]);
        home.run("verify repo --root repo/metadata/1.root.json").done();
        // It comes back under the version after it.
        home.run("delegation add repo docs --key docs-new --threshold 1 --paths docs/*").done();
        home.run("target add repo guide.txt --path docs/").done();
        home.run("sign repo --yes").done();
        assert_eq!(repo.version("docs"), 2);
        judges.accept(&repo, &["app.txt", "docs/guide.txt"]);
    }
}

#[test]
fn a_role_comes_back_above_what_was_seen_also_right_after_a_colleague_dropped_it() {
    let (home, _agent, repo) = recovery::leaky();
    dropped_by_a_colleague(&repo);
    home.run("delegation add repo docs --key docs-new --threshold 1 --paths docs/*").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("docs"), 2);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_role_that_was_lost_and_then_dropped_is_listed_as_it_was() {
    let (old, _old_agent, lost) = recovery::leaky();
    fs::remove_file(lost.dir().join("metadata/1.docs.json")).unwrap();
    let (home, _agent) = Home::unlocked();
    let repo = lost.copy_to(&home.path("repo"));
    home.run(&format!("{ADOPT} --without docs")).done();
    home.secret("online.pem", SEVEN);
    home.run("key import online online.pem --token file").done();
    dropped_by_a_colleague(&repo);
    let adopted = home.run(ADOPT).done();
    assert!(adopted.stderr.contains("no longer lists docs version 1"), "{adopted}");
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("docs"), 1);
    drop(old);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}
