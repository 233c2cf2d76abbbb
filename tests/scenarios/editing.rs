//! What an edit goes on from: published files that verify, in a folder that is not older than what the agent has seen.

use std::fs;

use serde_json::Value;
use tufagent_tests::{Home, Published};

use crate::colleagues::hand_over;

/// The refusal of a published file of which no signature holds.
#[track_caller]
fn does_not_verify(home: &Home, arguments: &str, role: &str, file: &str, spec: &str) {
    let error = home.refused(arguments, 6, "VERIFICATION");
    let details = &error["details"];
    let found =
        [&details["role"], &details["file"], &details["spec"]].map(|it| it.as_str().unwrap_or_default());
    assert_eq!(found, [role, file, spec], "{error}");
    assert!(error["remedy"].as_str().unwrap().contains("good copy"), "{error}");
}

fn row<'v>(shown: &'v Value, role: &str) -> &'v Value {
    shown["roles"].as_array().unwrap().iter().find(|row| row["role"] == role).unwrap()
}

/// Publishes one more target, and puts the folder back to what it was before.
fn put_back(home: &Home, repo: &Published) {
    let old = repo.copy_to(&home.path("old"));
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    fs::remove_dir_all(repo.dir()).unwrap();
    old.copy_to(repo.dir());
}

#[test]
fn nothing_is_built_on_a_published_file_that_its_keys_have_not_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["docs"]);
    home.write("other.txt", "other\n");
    repo.damage("1.targets.json", |text| text.replace("app.txt", "evil.txt"));
    for command in [
        "bump repo targets",
        "target add repo other.txt",
        "target remove repo evil.txt",
        "delegation add repo docs --key docs --threshold 1 --paths docs/*",
    ] {
        does_not_verify(&home, &format!("{command} --yes"), "targets", "1.targets.json", "5.6.3");
        assert!(!repo.dir().join("staged/targets.json").exists(), "{command}");
    }
    let shown = home.run("repo show repo --json").done();
    assert_eq!(row(&shown.json(), "targets")["published_verifies"], false, "{shown}");
    assert_eq!(row(&shown.json(), "snapshot")["published_verifies"], true, "{shown}");
    assert!(shown.stderr.contains("targets version 1 does not verify"), "{shown}");
    // Roles that do not come from it are edited as before.
    home.run("bump repo snapshot timestamp").done();
}

#[test]
fn what_was_staged_before_a_published_file_was_changed_is_neither_shown_nor_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo targets").done();
    repo.damage("1.targets.json", |text| text.replace("app.txt", "evil.txt"));
    does_not_verify(&home, "diff repo", "targets", "1.targets.json", "5.6.3");
    does_not_verify(&home, "sign repo --yes", "targets", "1.targets.json", "5.6.3");
    repo.damage("1.targets.json", |text| text.replace("evil.txt", "app.txt"));
    home.run("diff repo").done();
    // The next snapshot is made from the published one.
    repo.damage("1.snapshot.json", |text| text.replace("\"expires\"", "\"x-more\": 1, \"expires\""));
    does_not_verify(&home, "sign repo --yes", "snapshot", "1.snapshot.json", "5.5.3");
    assert_eq!(repo.version("targets"), 1);
}

#[test]
fn a_forged_root_is_not_built_on() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let forged = repo.metadata("1.root.json").to_string().replacen("\"version\":1", "\"version\":2", 1);
    fs::write(repo.dir().join("metadata/2.root.json"), forged).unwrap();
    home.keys(&["spare"]);
    for command in ["bump repo root", "root add-key repo targets --key spare"] {
        does_not_verify(&home, command, "root", "2.root.json", "5.3.4");
    }
    // Targets that the agent has verified are what they are, whatever root lies beside them.
    home.run("bump repo targets").done();
    assert_eq!(home.run("sign repo --yes").code, 6);
}

#[test]
fn what_the_agent_has_verified_may_be_renewed_after_a_newer_root_replaced_its_keys() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["second"]);
    home.run("root replace-key repo targets --old online --new second --yes").done();
    home.run("sign repo --yes --role root").exits(4);
    // Somebody published the root alone.
    fs::copy(repo.dir().join("staged/root.json"), repo.dir().join("metadata/2.root.json")).unwrap();
    fs::remove_dir_all(repo.dir().join("staged")).unwrap();
    let before = repo.bytes("1.targets.json");
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.bytes("1.targets.json"), before);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_folder_that_is_older_than_what_was_published_is_told_and_renewed_only_after_a_yes() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    put_back(&home, &repo);
    let told = "older than what the agent has seen of app";
    let shown = home.run("repo show repo").done();
    assert!(shown.stderr.contains(told), "{shown}");
    assert!(shown.stderr.contains("targets version 1 in place of 2"), "{shown}");
    home.refused("bump repo targets", 3, "CONFIRMATION_MISSING");
    assert!(!repo.dir().join("staged/targets.json").exists());
    home.write("new.txt", "new");
    home.run("target add repo new.txt --yes").done();
    let signed = home.run("sign repo --yes");
    assert!(signed.code == 3 && signed.stderr.contains(told), "{signed}");
    let bumped = home.run("bump repo targets --yes").done();
    assert!(bumped.stderr.contains(told), "{bumped}");
    let diff = home.run("diff repo").done();
    assert!(diff.stderr.contains(told), "{diff}");
}

#[test]
fn what_is_signed_and_not_yet_published_makes_no_folder_old() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    for round in ["one.txt", "two.txt"] {
        home.write(round, round);
        home.run(&format!("target add repo {round} --yes")).done();
        for command in ["repo show repo", "diff repo", "sign repo --yes --no-publish", "repo show repo"] {
            let outcome = home.run(command).done();
            assert!(!outcome.stderr.contains("older"), "{outcome}");
        }
    }
    home.run("bump repo timestamp").done();
}

#[test]
fn an_edit_of_what_a_colleague_has_signed_gets_the_next_version_so_that_they_can_sign_again() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    let repo = ann.published_repository();
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run("delegation add repo team --key bob.json --threshold 1 --paths team/*").done();
    ann.run("sign repo --yes").exits(4);
    let theirs = repo.copy_to(&bob.path("repo"));
    bob.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    bob.run("sign repo --yes --no-publish");
    theirs.copy_to(&ann.path("from-bob"));
    ann.run("sign repo --from from-bob --yes --no-publish").done();
    ann.write("more.txt", "more\n");
    let added = ann.run("target add repo more.txt --path team/ --yes --json").done().json();
    assert_eq!(added["staged"][0]["version"], 2, "{added}");
    assert_eq!(added["staged"][0]["signatures_dropped"].as_array().unwrap().len(), 1, "{added}");
    fs::remove_dir_all(bob.path("repo")).unwrap();
    repo.copy_to(&bob.path("repo"));
    let again = bob.run("sign repo --yes --no-publish --json").json();
    assert_eq!(again["signed"][0]["role"], "team", "{again}");
    fs::remove_dir_all(ann.path("from-bob")).unwrap();
    bob.published("repo").copy_to(&ann.path("from-bob"));
    ann.run("sign repo --from from-bob --yes").done();
    assert_eq!(repo.version("team"), 2);
}

#[test]
fn a_target_where_no_client_finds_it_is_warned_about_in_one_line() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["a", "b", "c"]);
    home.run("delegation add repo wide --key a --threshold 1 --paths a/*,a/*/*").done();
    home.run("delegation add repo deep --parent wide --key b --threshold 1 --paths a/b/* --terminating")
        .done();
    home.run("delegation add repo late --key c --threshold 1 --paths a/*,a/b/*").done();
    home.write("one.bin", "1");
    home.write("two.bin", "2");
    let warned = |outcome: &tufagent_tests::Outcome| outcome.stderr.matches("will not find").count();
    let added = home.run("target add repo one.bin two.bin --path a/b/ --role late").done();
    assert_eq!(warned(&added), 1, "{added}");
    assert!(added.stderr.contains("a/b/one.bin in late (nor 1 more"), "{added}");
    assert!(added.stderr.contains("terminating delegation deep"), "{added}");
    for found in
        ["one.bin --path a/b/ --role deep", "one.bin --path a/ --role late", "two.bin --path a/b/x.bin"]
    {
        let added = home.run(&format!("target add repo {found}")).done();
        assert_eq!(warned(&added), 0, "{added}");
    }
    let hidden = home.run("target add repo two.bin --path a/one.bin --role wide").done();
    assert_eq!(warned(&hidden), 0, "{hidden}");
    let second = home.run("target add repo one.bin --path a/ --role late --yes").done();
    assert!(second.stderr.contains("they find it in wide"), "{second}");
}

#[test]
fn bins_take_no_paths_and_a_new_repository_no_roles_that_it_does_not_have() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.run("delegation add repo bin --key online --threshold 1 --succinct-bins 2 --yes").done();
    home.refused("delegation edit repo bin --paths x/*", 2, "USAGE");
    let days = |days: &str| {
        format!(
            "repo init new --name new --root root --targets online --snapshot online --timestamp online --expires {days}"
        )
    };
    let error = home.refused(&days("snapshots=1d"), 2, "USAGE");
    assert_eq!(error["details"]["role"], "snapshots", "{error}");
    let wrong = home.refused(&days("timestamp=1h"), 2, "USAGE");
    assert!(wrong.to_string().contains("such as 90d"), "{wrong}");
    assert!(!home.path("new").exists());
}

#[test]
fn the_document_of_a_check_says_which_roles_expire_and_when() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let checked = home.run("repo show repo --check 3d --json").exits(3).json();
    let expires = repo.metadata("timestamp.json")["signed"]["expires"].clone();
    assert_eq!(
        checked["expiring"],
        serde_json::json!([{"role": "timestamp", "expires": expires}]),
        "{checked}"
    );
    let fine = home.run("repo show repo --check 1h --json").done().json();
    assert_eq!(fine["expiring"], serde_json::json!([]), "{fine}");
}

/// `sign` was cut off behind the record of what it signs: no signature came into the folder.
fn cut_off(home: &Home, repo: &Published) {
    let away = repo.copy_to(&home.path("away"));
    home.run("sign away --no-publish --yes").done();
    fs::remove_dir_all(away.dir()).unwrap();
}

#[test]
fn an_edit_goes_on_from_what_a_sign_that_was_cut_off_was_to_sign() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let add = |name: &str| {
        home.write(name, name);
        let staged = home.run(&format!("target add repo {name} --json")).json();
        staged["staged"][0]["version"].as_u64().unwrap()
    };
    assert_eq!(add("one.txt"), 2);
    cut_off(&home, &repo);
    assert_eq!(add("two.txt"), 3, "2 counts as signed");
    assert_eq!(add("three.txt"), 3, "what is staged now nobody was to sign");
    home.run("sign repo --yes").done();
    let listed = home.run("target list repo").text();
    assert!(["one.txt", "two.txt", "three.txt"].iter().all(|name| listed.contains(name)), "{listed}");
}

#[test]
fn an_edit_of_a_folder_that_is_older_than_what_was_signed_does_not_pass_for_what_follows_it() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("one.txt", "one");
    home.run("target add repo one.txt").done();
    cut_off(&home, &repo);
    // The folder forgets what was signed.
    fs::remove_file(repo.dir().join("staged/targets.json")).unwrap();
    home.write("two.txt", "two");
    home.run("target add repo two.txt").done();
    home.refused("sign repo --yes", 3, "WATERMARK");
}
