//! What a repository is adopted from: the whole newest published copy, nothing less; and alarms that end with it.

use std::fs;

use serde_json::json;
use tufagent_tests::{Agent, Home, Published};

use crate::recovered::leaky;
use crate::watermarks::{others_publish, restage};

const ADOPT: &str = "--name app --root repo/metadata/1.root.json --yes";

/// A repository with a delegated role, published three times: copies `v1`, `v2` and `v3`, and a backup `b2` made at the
/// second.
fn grown() -> (Home, Agent) {
    let (home, agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["team"]);
    home.secret("sealing", "a passphrase for the backup");
    home.run("delegation add repo team --key team --paths t/*").done();
    home.run("sign repo --yes").done();
    repo.copy_to(&home.path("v1"));
    for number in [2, 3] {
        home.run("bump repo targets team").done();
        home.run("sign repo --yes").done();
        repo.copy_to(&home.path(format!("v{number}")));
        if number == 2 {
            home.run("backup b2 --passphrase-file sealing").done();
        }
    }
    (home, agent)
}

/// Another machine, to which these were brought.
fn elsewhere(from: &Home, brought: &[&str]) -> (Home, Agent) {
    let home = Home::new();
    for name in brought {
        if from.path(name).is_dir() {
            from.published(name).copy_to(&home.path(name));
        } else {
            fs::copy(from.path(name), home.path(name)).unwrap();
        }
    }
    home.secret("sealing", "a passphrase for the backup");
    let agent = home.start();
    (home, agent)
}

/// The folder `repo` becomes what is in `from`, without some files.
fn put(home: &Home, from: &str, without: &[&str]) -> Published {
    let _ = fs::remove_dir_all(home.path("repo"));
    let repo = home.published(from).copy_to(&home.path("repo"));
    for name in without {
        fs::remove_file(repo.dir().join("metadata").join(name)).unwrap();
    }
    repo
}

#[test]
fn a_copy_that_lacks_what_its_timestamp_leads_to_is_refused_and_leaves_nothing() {
    let (old, _old_agent) = grown();
    let (home, _agent) = elsewhere(&old, &["v3"]);
    let newest = |role: &str| format!("{}.{role}.json", home.published("v3").version(role));
    let cases = [
        ("timestamp", "timestamp.json".to_owned(), "5.4.1"),
        ("snapshot", newest("snapshot"), "5.5.1"),
        ("targets", newest("targets"), "5.6.1"),
        ("team", newest("team"), "5.6.1"),
    ];
    for (role, file, spec) in &cases {
        put(&home, "v3", &[file]);
        let error = home.refused(&format!("repo adopt repo {ADOPT}"), 6, "VERIFICATION");
        let details = &error["details"];
        assert_eq!(
            (&details["role"], &details["file"], &details["spec"]),
            (&json!(role), &json!(file), &json!(spec))
        );
        assert!(error["remedy"].as_str().unwrap().contains("whole newest published copy"), "{error}");
        home.refused("repo reset-watermark repo timestamp", 3, "REPOSITORY_UNKNOWN");
    }
    // An older file under the newest name is not there either.
    let repo = put(&home, "v3", &[]);
    fs::copy(repo.dir().join("metadata/1.targets.json"), repo.dir().join("metadata").join(newest("targets")))
        .unwrap();
    home.refused(&format!("repo adopt repo {ADOPT}"), 6, "VERIFICATION");
    // What is older than the newest snapshot may have gone.
    put(&home, "v3", &["1.targets.json", "1.snapshot.json"]);
    let adopted = home.run(&format!("repo adopt repo {ADOPT} --json")).done().json();
    assert!(adopted["roles"].to_string().contains(r#"{"role":"targets","version":4}"#), "{adopted}");
}

#[test]
fn a_repository_of_which_only_roots_were_published_is_adopted_with_a_warning() {
    let (old, _old_agent) = grown();
    let (home, _agent) = elsewhere(&old, &["v3"]);
    let repo = home.published("v3");
    let others: Vec<_> =
        repo.names("metadata").into_iter().filter(|name| !name.ends_with("root.json")).collect();
    put(&home, "v3", &others.iter().map(String::as_str).collect::<Vec<_>>());
    let adopted = home.run(&format!("repo adopt repo {ADOPT}")).done();
    assert!(adopted.stderr.contains("never published whole"), "{adopted}");
    assert!(adopted.stdout.contains("adopted root v1"), "{adopted}");
}

#[test]
fn what_a_verified_snapshot_lists_is_signed_again_by_nobody_who_has_not_seen_it() {
    let (home, _agent, repo) = leaky();
    let older = repo.copy_to(&home.path("older"));
    others_publish(&repo, [3, 3, 9], |signed| signed["x-theirs"] = json!(true));
    let theirs = fs::read(repo.dir().join("metadata/3.targets.json")).unwrap();
    fs::remove_file(repo.dir().join("metadata/3.targets.json")).unwrap();
    home.run("bump repo snapshot --yes");
    let refused = home.run("sign repo --yes --json");
    assert!(refused.code == 3 || refused.code == 6, "{refused}");
    assert_eq!((repo.version("snapshot"), repo.version("timestamp")), (3, 9));
    assert!(!repo.has("4.snapshot.json"));
    // Nor does an older copy go on under what the agent knows to be out.
    home.run("bump older targets --yes").done();
    for version in [2, 3, 4] {
        restage(&older, "targets", |signed| signed["version"] = version.into());
        let error = home.refused("sign older --yes", 3, "WATERMARK");
        assert!(
            error["remedy"].as_str().unwrap().contains("whole newest published copy"),
            "{version}: {error}"
        );
        assert_eq!(older.version("targets"), 1);
    }
    // Once it has seen it, it goes on.
    fs::write(repo.dir().join("metadata/3.targets.json"), theirs).unwrap();
    home.run("bump repo snapshot targets --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 4);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn after_a_restore_only_a_whole_copy_that_is_not_behind_the_backup_opens_the_gate() {
    let (old, _old_agent) = grown();
    let (home, _agent) = elsewhere(&old, &["v1", "v2", "v3", "b2"]);
    home.run("restore b2 --passphrase-file sealing").done();
    home.unlock_file_store();
    let is_closed = || {
        let status = home.run("status").done();
        assert!(status.text().contains("app came from a backup"), "{status}");
    };
    put(&home, "v1", &[]);
    let error = home.refused(&format!("repo adopt repo {ADOPT}"), 3, "WATERMARK");
    assert!(error["message"].as_str().unwrap().contains("targets version 2 in place of 3"), "{error}");
    let older = &error["details"]["older"];
    assert!(older.to_string().contains(r#""role":"team""#), "{error}");
    is_closed();
    let newest = format!("{}.snapshot.json", home.published("v3").version("snapshot"));
    put(&home, "v3", &[&newest]);
    home.refused(&format!("repo adopt repo {ADOPT}"), 6, "VERIFICATION");
    is_closed();
    put(&home, "v2", &[]);
    home.run("bump repo timestamp").done();
    home.refused("sign repo --yes", 3, "WATERMARK");
    // What is as new as the backup will do, and what is newer is taken.
    let adopted = home.run(&format!("repo adopt repo {ADOPT}")).done();
    assert!(adopted.stdout.contains("adopted targets v3"), "{adopted}");
    let repo = put(&home, "v3", &[]);
    let adopted = home.run(&format!("repo adopt repo {ADOPT}")).done();
    assert!(adopted.stdout.contains("adopted targets v4"), "{adopted}");
    assert!(!home.run("status").done().text().contains("came from a backup"));
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 5);
    // The gate is closed no more: an older copy is taken, and said to be older.
    put(&home, "v2", &[]);
    let adopted = home.run(&format!("repo adopt repo {ADOPT}")).done();
    assert!(adopted.stdout.contains("adopted targets v3"), "{adopted}");
    assert!(adopted.stderr.contains("has seen targets v5 before"), "{adopted}");
}

#[test]
fn what_was_signed_and_never_published_does_not_keep_the_gate_closed() {
    let (old, _old_agent) = grown();
    old.run("bump repo targets team").done();
    old.run("sign repo --yes --no-publish").done();
    old.run("backup later --passphrase-file sealing").done();
    let (home, _agent) = elsewhere(&old, &["v3", "later"]);
    home.run("restore later --passphrase-file sealing").done();
    home.unlock_file_store();
    let repo = put(&home, "v3", &[]);
    home.run(&format!("repo adopt repo {ADOPT}")).done();
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.refused("sign repo --yes", 3, "WATERMARK");
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 6, "version 5 was signed with other content");
}

/// A repository in which the other holder published other content under the version that was signed here; the genuine
/// copy is in `genuine`.
fn forked() -> (Home, Agent, Published) {
    let (home, agent, repo) = leaky();
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    repo.copy_to(&home.path("genuine"));
    others_publish(&repo, [2, 3, 9], |signed| signed["x-theirs"] = json!(true));
    (home, agent, repo)
}

#[test]
fn the_genuine_copy_put_back_ends_the_alarm_with_one_adoption() {
    let (home, _agent, _repo) = forked();
    home.run("bump repo targets --yes");
    home.refused("sign repo --yes", 3, "WATERMARK");
    let repo = put(&home, "genuine", &[]);
    home.refused("repo adopt repo --name app --root repo/metadata/1.root.json", 3, "CONFIRMATION_MISSING");
    let looked = home.run(&format!("repo adopt repo {ADOPT}")).done();
    assert!(looked.stderr.contains("acknowledged"), "{looked}");
    assert!(looked.stdout.contains("adopted targets v2"), "{looked}");
    assert_eq!(home.run("status --json").done().json()["alarms"], json!([]));
    // Under version 2 nothing else is signed; the thief's timestamp was seen, and is left behind by a person's word alone.
    home.run("bump repo targets --yes").done();
    restage(&repo, "targets", |signed| signed["version"] = 2.into());
    home.refused("sign repo --yes", 3, "WATERMARK");
}

#[test]
fn an_adoption_that_finds_other_content_than_was_signed_does_not_end_well() {
    let (home, _agent, repo) = forked();
    let found = home.refused(&format!("repo adopt repo {ADOPT}"), 3, "WATERMARK");
    assert!(
        found["message"].as_str().unwrap().contains("targets version 2 is published with other content"),
        "{found}"
    );
    assert_eq!(home.run("status --json").done().json()["alarms"].as_array().unwrap().len(), 1);
    home.run(&format!("repo adopt repo {ADOPT}")).done();
    assert_eq!(home.run("status --json").done().json()["alarms"], json!([]));
    home.run("bump repo targets --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 3);
    // Ours comes back after all: that is news again, and one look at it is enough.
    put(&home, "genuine", &[]);
    home.run(&format!("repo adopt repo {ADOPT}")).done();
    assert_eq!(home.run("status --json").done().json()["alarms"], json!([]));
}

#[test]
fn a_copy_from_before_a_rotation_is_said_to_be_older() {
    let (home, _agent) = grown();
    let repo = home.published("repo");
    home.keys(&["fresh"]);
    home.run("root replace-key repo timestamp --old online --new fresh").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("root"), 2);
    put(&home, "v3", &[]);
    let error = home.refused(&format!("repo adopt repo {ADOPT}"), 3, "WATERMARK");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("older than what this agent knows: root version 1 in place of 2"), "{message}");
}

#[test]
fn commands_that_are_printed_are_run_as_they_stand_whatever_the_folder_is_called() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    fs::rename(repo.dir(), home.path("the repo's")).unwrap();
    let staged = home.run_list(&["bump", "the repo's", "targets"]).done();
    let (_, command) = staged.stderr.trim().rsplit_once("sign it with: ").expect("a command");
    let mut shell = std::process::Command::new("sh");
    home.environment(&mut shell);
    let tufctl = tufagent_tests::binary("tufctl");
    let line = format!("tufctl() {{ {} \"$@\"; }}; {command} --yes", tufctl.display());
    let done = shell.args(["-c", &line]).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(home.published("the repo's").version("targets"), 2);
    let error = home.run_list(&["bump", "the repo's", "nobody", "--json"]).refused(3, "ROLE_UNKNOWN");
    assert!(error["remedy"].as_str().unwrap().contains(r#"'the repo'"'"'s'"#), "{error}");
}

#[test]
fn a_root_that_is_complete_and_not_out_yet_keeps_no_copy_from_being_adopted_also_after_a_restore() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    home.run("sign repo --yes").done();
    home.keys(&["other"]);
    home.run("root replace-key repo timestamp --old online --new other --yes").done();
    home.run("root replace-key repo snapshot --old online --new other --yes").done();
    assert_eq!(home.run("sign repo --role root --yes").code, 4);
    let adopt = "repo adopt repo --name app --root repo/metadata/1.root.json --yes";
    home.run(adopt).done();
    home.secret("sealing", "a passphrase for the backup");
    home.run("backup saved --passphrase-file sealing").done();
    let restored = Home::new();
    home.published("repo").copy_to(&restored.path("repo"));
    fs::copy(home.path("saved"), restored.path("saved")).unwrap();
    restored.secret("sealing", "a passphrase for the backup");
    let _restored_agent = restored.start();
    restored.run("restore saved --passphrase-file sealing").done();
    restored.unlock_file_store();
    restored.run(adopt).done();
    // Here it goes out. A copy from before is an old one then.
    let old = home.path("old");
    home.published("repo").copy_to(&old);
    let _ = fs::remove_dir_all(old.join("staged"));
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run(adopt).done();
    home.refused("repo adopt old --name app --root repo/metadata/1.root.json --yes", 3, "WATERMARK");
}
