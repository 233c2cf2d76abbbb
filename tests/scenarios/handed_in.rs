//! Cases that testers from outside handed in, one each.

use std::fs;

use tufagent_tests::Home;

use crate::colleagues::two_colleagues;

/// Adds a target to `staged/targets.json` by hand, with the digest and length of `hello\n`.
fn stage_by_hand(home: &Home, name: &str) {
    let path = home.path("repo/staged/targets.json");
    let mut staged: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let hash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    staged["signed"]["targets"][name] = serde_json::json!({"hashes": {"sha256": hash}, "length": 6});
    fs::write(path, staged.to_string()).unwrap();
    let record = home.path("repo/staged/repository.json");
    let mut sources: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    sources["files"][name] = serde_json::json!({"source": home.path("app.txt")});
    fs::write(record, sources.to_string()).unwrap();
}

#[test]
fn a_staged_name_that_leaves_the_repository_or_cannot_be_seen_is_not_signed() {
    for name in ["../../evil", "/tmp/evil-of-the-tests", "a//b", "a\u{1b}[2Jb", "a\u{202e}b", "a#b"] {
        let (home, _agent) = Home::unlocked();
        home.small_repository();
        home.write("app.txt", "hello\n");
        stage_by_hand(&home, name);
        home.refused("sign repo --yes", 3, "TARGET_NAME");
        assert!(home.published("repo").names("metadata").is_empty(), "{name}");
        assert!(!home.path("repo/targets").exists(), "{name}");
    }
}

#[test]
fn merging_from_a_colleague_without_a_confirmation_changes_nothing() {
    let ((ann, _ann_agent), (bob, _bob_agent)) = two_colleagues();
    ann.run("sign repo --yes").exits(4);
    ann.published("repo").copy_to(&bob.path("repo"));
    bob.run("sign repo --yes");
    bob.published("repo").copy_to(&ann.path("from-bob"));
    let before = fs::read(ann.path("repo/staged/root.json")).unwrap();
    ann.refused("sign repo --from from-bob", 3, "CONFIRMATION_MISSING");
    assert_eq!(fs::read(ann.path("repo/staged/root.json")).unwrap(), before);
    ann.run("sign repo --from from-bob --yes").done();
    // What a copy holds beyond what is staged here is not passed over in silence.
    bob.run("repo adopt from --name other --root x").exits(3);
    let copy = ann.published("repo").copy_to(&ann.path("ahead"));
    fs::create_dir_all(copy.dir().join("staged")).unwrap();
    ann.published("from-bob").copy_to(&ann.path("spare"));
    ann.run("bump ahead targets").done();
    ann.run("sign ahead --yes --no-publish").done();
    let error = ann.refused("sign repo --from ahead --yes", 3, "REPOSITORY_INVALID");
    assert!(error["message"].as_str().unwrap().contains("targets v2"), "{error}");
}

#[test]
fn a_key_that_is_of_no_role_that_was_named_is_refused_with_those_roles() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    let error = home.refused("sign repo --role root --key online --yes", 3, "KEY_NOT_OF_ROLE");
    assert!(error["message"].as_str().unwrap().ends_with("(root)"), "{error}");
}

#[test]
fn a_key_that_has_signed_and_is_on_no_token_any_more_is_missed_by_name() {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["other"]);
    drop(agent);
    let keys = home.state().join("keys");
    let mut files = fs::read_dir(&keys).unwrap().map(|it| it.unwrap().path());
    let file = files.find(|it| it.file_name().unwrap().to_string_lossy().contains("online")).unwrap();
    fs::rename(&file, home.path("aside")).unwrap();
    let _agent = home.start();
    home.run("token unlock file --pin-file passphrase").done();
    home.run("bump repo timestamp").done();
    let error = home.refused("sign repo --yes", 3, "KEY_NOT_FOUND");
    assert!(error["message"].as_str().unwrap().contains("on no token any more"), "{error}");
}

#[test]
fn a_length_for_a_role_that_a_new_repository_does_not_have_is_wrong_usage() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["k"]);
    let init = "repo init repo --name app --root k --targets k --snapshot k --timestamp k --expires";
    home.refused(&format!("{init} snapshots=1d"), 2, "USAGE");
    let error = home.refused(&format!("{init} timestamp=1h"), 2, "USAGE");
    assert!(!error["message"].as_str().unwrap().contains("1hd"), "{error}");
    assert!(!home.path("repo/staged").exists());
}

#[test]
fn a_source_that_is_gone_is_found_before_anything_is_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("gone.txt", "gone\n");
    home.run("target add repo gone.txt").done();
    fs::remove_file(home.path("gone.txt")).unwrap();
    let error = home.refused("sign repo --yes", 3, "TARGET_CHANGED");
    assert_eq!(error["details"]["path"], "gone.txt");
    let staged = fs::read_to_string(repo.dir().join("staged/targets.json")).unwrap();
    assert!(!staged.contains("\"sig\""), "{staged}");
    home.run("sign repo --yes --no-publish").done();
    home.write("gone.txt", "gone\n");
    home.run("sign repo --yes").done();
}

#[test]
fn two_targets_of_one_content_whose_names_lie_within_each_other_are_refused_when_added() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("same", "same");
    home.write("other", "other");
    home.run("target add repo same --path p/q").done();
    let error = home.refused("target add repo same --path p/q/r", 3, "TARGET_NAME");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("p/q and") || message.contains("and p/q "), "{error}");
    assert!(message.contains("p/q/r"), "{error}");
    home.run("target add repo other --path p/q/r").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 2);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.refused("target add repo same --path p", 3, "TARGET_NAME");
}

#[test]
fn nothing_is_signed_that_would_be_published_through_a_link() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("x.txt", "x\n");
    home.run("target add repo x.txt --path out/").done();
    fs::create_dir(home.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(home.path("elsewhere"), repo.dir().join("targets/out")).unwrap();
    home.refused("sign repo --yes", 3, "REPOSITORY_INVALID");
    let staged = fs::read_to_string(repo.dir().join("staged/targets.json")).unwrap();
    assert!(!staged.contains("\"sig\""), "{staged}");
    assert_eq!(fs::read_dir(home.path("elsewhere")).unwrap().count(), 0);
    fs::remove_file(repo.dir().join("targets/out")).unwrap();
    home.run("sign repo --yes").done();
}

#[test]
fn a_pipe_is_no_target_and_hangs_nobody() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    fs::create_dir(home.path("folder")).unwrap();
    for pipe in ["pipe", "folder/pipe"] {
        assert!(std::process::Command::new("mkfifo").arg(home.path(pipe)).status().unwrap().success());
    }
    home.refused("target add repo pipe", 1, "IO");
    home.refused("target add repo folder", 1, "IO");
    fs::remove_file(home.path("repo/metadata/timestamp.json")).unwrap();
    fs::rename(home.path("pipe"), home.path("repo/metadata/timestamp.json")).unwrap();
    let error = home.refused("verify repo --root repo/metadata/1.root.json", 6, "VERIFICATION");
    assert_eq!(error["details"]["role"], "timestamp", "{error}");
}

#[test]
fn a_snapshot_that_waits_from_before_is_announced_as_to_be_signed() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo targets").done();
    home.run("sign repo --yes --role targets").exits(4);
    let signed = home.run("sign repo --yes").done();
    assert!(!signed.stderr.contains("not signed now"), "{signed}");
    assert!(signed.stderr.contains("to be signed with online"), "{signed}");
    // The timer's way: what is signed is what was shown.
    home.run("bump repo timestamp").done();
    let signed = home.run("sign repo --yes").done();
    assert!(signed.stderr.contains("sha256") && !signed.stderr.contains("not signed now"), "{signed}");
    let shown = signed.stderr.split("sha256").nth(1).unwrap().trim();
    assert!(signed.stdout.contains(&format!("sha256 {}…", &shown[..4])), "{signed}");
    home.run("bump repo snapshot timestamp").done();
    let signed = home.run("sign repo --yes").done();
    assert!(signed.stderr.contains("timestamp is made anew once the others are complete"), "{signed}");
}

#[test]
fn published_metadata_that_somebody_changed_is_built_upon_by_no_edit() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let path = repo.dir().join("metadata/1.targets.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("app.txt", "evil.tx")).unwrap();
    home.write("more.txt", "more\n");
    for edit in
        ["bump repo targets", "target add repo more.txt", "delegation add repo d --key root --paths d/*"]
    {
        let error = home.refused(edit, 6, "VERIFICATION");
        assert_eq!(error["details"]["role"], "targets", "{error}");
    }
    let shown = home.run("repo show repo").done();
    assert!(shown.stderr.contains("targets version 1 does not verify"), "{shown}");
    fs::write(&path, &good).unwrap();
    home.run("bump repo targets").done();
    fs::write(&path, good.replace("app.txt", "evil.tx")).unwrap();
    home.refused("diff repo", 6, "VERIFICATION");
    home.refused("sign repo --yes", 6, "VERIFICATION");
}

#[test]
fn bins_without_content_are_spoken_of_once() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    home.keys(&["bins"]);
    home.run("delegation add repo bin --key bins --succinct-bins 64").done();
    let diff = home.run("diff repo").done();
    assert!(diff.text().lines().count() < 40, "{diff}");
    let signed = home.run("sign repo --yes").done();
    assert!(signed.text().lines().count() < 80, "{signed}");
    assert!(!signed.stderr.contains("also serves"), "{signed}");
    home.refused("delegation edit repo bin --paths x/*", 2, "USAGE");
}

#[test]
fn many_small_targets_are_published_whole() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    for number in 0..40 {
        home.write(&format!("many/{number}.txt"), number.to_string());
    }
    home.run("target add repo many --path many/").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 2);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn an_agent_that_is_stopped_is_exit_7_and_not_a_wait_for_ever() {
    let (home, agent) = Home::unlocked();
    agent.signal("STOP");
    let outcome = home.run("status --json");
    agent.signal("CONT");
    outcome.refused(7, "UNREACHABLE");
}
