//! What is said when something is unusual: the sentence fits what happened, and the remedy is one.

use std::fs;

use tufagent_tests::Home;
use tufagent_tests::clock::Shift;
use tufagent_tests::need;

use crate::recovered::{LAST, attacked, new_keys};

#[test]
fn at_the_last_version_every_refusal_names_the_way_out_of_the_attack() {
    let (home, _agent, _repo) = attacked(LAST, Some(LAST));
    for role in ["timestamp", "snapshot", "targets"] {
        let error = home.refused(&format!("bump repo {role} --yes"), 3, "WATERMARK");
        assert!(error["message"].as_str().unwrap().contains(&LAST.to_string()), "{error}");
        let remedy = error["remedy"].as_str().unwrap();
        assert!(remedy.contains(&format!("tufctl repo reset-watermark repo {role}")), "{error}");
    }
}

#[test]
fn a_root_that_is_signed_alone_after_the_attack_waits_with_exit_4_as_the_manual_says() {
    let (home, _agent, _repo) = attacked(LAST, None);
    new_keys(&home, &["timestamp", "snapshot"]);
    let signed = home.run("sign repo --role root --yes").exits(4);
    assert!(signed.text().contains("--role leaves it out"), "{signed}");
    assert!(!signed.text().contains("no key of it is here"), "{signed}");
    assert!(signed.stdout.contains("tufctl repo reset-watermark repo"), "{signed}");
    let root = fs::read_to_string(home.path("repo/staged/root.json")).unwrap();
    assert!(root.contains("\"sig\""), "{root}");
}

#[test]
fn what_has_expired_is_not_said_to_expire_so_many_days_ago() {
    let Some(time) = need(Shift::new("-95d")) else { return };
    let home = Home::new();
    home.live_at(Some(&time));
    let agent = home.start();
    home.unlock_file_store();
    home.published_repository();
    agent.stop();
    home.live_at(None);
    let shown = home.run("repo show repo --check 3d").exits(3);
    assert!(shown.stderr.contains("targets expired 5 days ago"), "{shown}");
    assert!(!shown.stderr.contains("expires expired"), "{shown}");
}

#[test]
fn a_folder_that_was_rolled_back_is_told_before_a_target_is_added_to_it() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let old = repo.copy_to(&home.path("old"));
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    home.write("more.txt", "more\n");
    let added = home.run("target add old more.txt").done();
    assert!(added.stderr.contains("older than what the agent has seen of app"), "{added}");
    assert!(added.stderr.contains("targets version 1 in place of 2"), "{added}");
    home.refused("sign old --yes", 3, "WATERMARK");
    assert_eq!(old.version("targets"), 1);
}

/// A folder from before its newest root: nothing else differs, as no timestamp changes with a root. And the newest copy.
fn without_its_root(takes_away: &str) -> (Home, tufagent_tests::Agent) {
    let (home, agent) = Home::unlocked();
    home.keys(&["root", "second", "online", "other"]);
    home.run(
        "repo init repo --name app --root root,second --targets online,other --snapshot online --timestamp online",
    )
    .done();
    home.run("sign repo --yes").done();
    home.published("repo").copy_to(&home.path("old"));
    home.run(&format!("root remove-key repo {takes_away} --yes")).done();
    home.run("sign repo --yes").done();
    home.write("more.txt", "more\n");
    (home, agent)
}

#[test]
fn an_older_copy_that_lacks_nothing_but_the_newest_root_is_told_and_not_signed() {
    for takes_away in ["root --key second", "targets --key other"] {
        let (home, _agent) = without_its_root(takes_away);
        let added = home.run("target add old more.txt").done();
        assert!(added.stderr.contains("root version 1 in place of 2"), "{added}");
        for command in ["diff old", "repo show old"] {
            assert!(home.run(command).done().stderr.contains("root version 1 in place of 2"), "{command}");
        }
        let error = home.refused("sign old --yes", 3, "WATERMARK");
        assert!(error["message"].as_str().unwrap().contains("root version 2 was published"), "{error}");
        assert!(error["remedy"].as_str().unwrap().contains("tufctl root restage old"), "{error}");
        assert_eq!(home.published("old").version("targets"), 1);
        // By what it says.
        home.run("root restage old").done();
        home.run("sign old --yes").done();
        home.run("verify old --root repo/metadata/1.root.json").done();
        assert_eq!((home.published("old").version("root"), home.published("old").version("targets")), (2, 2));
    }
}

#[test]
fn a_copy_that_lacks_several_roots_is_told_to_be_replaced() {
    let (home, _agent) = without_its_root("root --key second");
    home.run("bump repo root --yes").done();
    home.run("sign repo --yes").done();
    home.run("target add old more.txt").done();
    let error = home.refused("sign old --yes", 3, "WATERMARK");
    assert_eq!(
        (&error["details"]["version"], &error["details"]["published_version"]),
        (&1.into(), &3.into())
    );
    assert!(error["remedy"].as_str().unwrap().contains("take the newest published copy"), "{error}");
}

#[test]
fn a_backup_that_cannot_be_read_to_its_end_is_told_as_that() {
    let (home, _agent) = Home::unlocked();
    home.secret("sealing", "a passphrase for the backup");
    // A regular file whose first bytes nobody can read.
    let error = home.refused("restore /proc/self/mem --passphrase-file sealing", 1, "IO");
    assert!(error["message"].as_str().unwrap().contains("cannot read /proc/self/mem"), "{error}");
}
