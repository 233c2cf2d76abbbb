//! Delegated roles that were taken away: the snapshot goes on listing them, and nothing leads to them any more.

use std::fs;

use serde_json::json;
use tufagent_tests::{Agent, Home, Published};

use crate::recovered::leaky;
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
