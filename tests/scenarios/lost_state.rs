//! A state folder that was lost, with its keys or without: what the keys have signed before nobody here knows.

use std::fs;

use tufagent_tests::Home;

use crate::judges::{Judges, Reads};
use crate::key_types::home_with_softhsm;

/// A published repository, and a new state that has its key files and nothing else.
fn home_with_keys_put_back() -> (Home, tufagent_tests::Agent) {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    assert!(agent.stop().success());
    let (state, away) = (home.state(), home.path("away"));
    fs::rename(&state, &away).unwrap();
    let agent = home.start();
    assert!(agent.stop().success());
    fs::remove_dir_all(state.join("keys")).ok();
    fs::rename(away.join("keys"), state.join("keys")).unwrap();
    let agent = home.start();
    home.run("token unlock file --pin-file passphrase").done();
    (home, agent)
}

#[test]
fn keys_that_were_put_back_begin_no_repository_unless_a_person_shares_them() {
    let (home, _agent) = home_with_keys_put_back();
    home.run("repo init new --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    let error = home.refused("sign new --yes", 3, "SHARED_KEY");
    assert_eq!(error["details"]["key"], "root", "{error}");
    let remedy = error["remedy"].as_str().unwrap();
    assert!(remedy.contains("tufctl repo adopt") && remedy.contains("--shared-key"), "{error}");
    assert!(home.published("new").names("metadata").is_empty());
    // Keys that are made here are used, and so is one whose file is imported.
    home.keys(&["fresh"]);
    home.run("repo init other --name other --root fresh --targets fresh --snapshot fresh --timestamp fresh")
        .done();
    home.run("sign other --yes").done();
    // Nor do they come into one that was begun here.
    home.run("delegation add other team --key online --threshold 1 --paths t/*").done();
    let error = home.refused("sign other --yes", 3, "SHARED_KEY");
    assert_eq!(error["details"]["key"], "online", "{error}");
}

#[test]
fn keys_that_were_put_back_sign_for_the_repository_that_is_adopted() {
    let (home, _agent) = home_with_keys_put_back();
    let judges = Judges::new(&home, "before", Reads::All);
    judges.accept(&home.published("repo"), &["app.txt"]);
    let adopted = home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    assert!(adopted.stderr.contains("no record of what its keys signed"), "{adopted}");
    home.keys(&["team"]);
    home.run("delegation add repo team --key team,online --threshold 2 --paths t/*").done();
    home.run("bump repo root").done();
    home.run("sign repo --yes").done();
    judges.accept(&home.published("repo"), &["app.txt"]);
}

#[test]
fn a_person_may_share_keys_of_unknown_past_and_is_not_asked_again() {
    let (home, agent) = home_with_keys_put_back();
    home.run("repo init new --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign new --yes --shared-key").done();
    home.run("bump new targets").done();
    home.run("sign new --yes").done();
    assert!(agent.stop().success());
    let _agent = home.start();
    home.run("token unlock file --pin-file passphrase").done();
    home.run("bump new targets").done();
    home.run("sign new --yes").done();
}

#[test]
fn keys_that_a_backup_brought_back_are_known() {
    let (home, agent) = Home::unlocked();
    home.keys(&["spare"]);
    let exported = home.run("key export spare").done().stdout;
    home.write("spare.json", exported);
    home.secret("secret", "canary of a backup 77ab");
    home.run("backup out.backup --passphrase-file secret").done();
    assert!(agent.stop().success());
    fs::remove_dir_all(home.state()).unwrap();
    // Into a state that lives already.
    let _agent = home.start();
    home.run("repo init theirs --name theirs --root ./spare.json --targets ./spare.json --snapshot ./spare.json --timestamp ./spare.json").done();
    home.run("restore out.backup --passphrase-file secret").done();
    home.run("token unlock file --pin-file passphrase").done();
    home.run("repo init new --name app --root spare --targets spare --snapshot spare --timestamp spare")
        .done();
    home.run("sign new --yes").done();
}

#[test]
fn a_key_that_was_on_its_token_before_signs_and_it_is_said() {
    let Some((home, agent, _folder)) = home_with_softhsm() else { return };
    home.run("key generate k --token hsm --type ecdsa-p256").done();
    assert!(agent.stop().success());
    fs::remove_dir_all(home.state()).unwrap();
    let _agent = home.start();
    home.run("token unlock hsm --pin-file pin").done();
    home.run("repo init new --name app --root k --targets k --snapshot k --timestamp k").done();
    let signed = home.run("sign new --yes").done();
    assert!(signed.stderr.contains("was on token hsm before this agent knew it"), "{signed}");
    home.run("bump new targets").done();
    let again = home.run("sign new --yes").done();
    assert!(!again.stderr.contains("before this agent knew it"), "{again}");
    let journal = home.run("audit list").done().stdout;
    assert!(journal.contains("sign.confirmed"), "{journal}");
}

#[test]
fn texts_of_the_state_that_were_lost_come_back_by_adopting_again_with_any_root() {
    let (home, agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["more"]);
    home.run("root add-key repo root --key more").done();
    home.run("sign repo --yes").done();
    assert!(agent.stop().success());
    fs::remove_dir_all(home.state().join("metadata")).unwrap();
    let agent = home.start();
    home.run("token unlock file --pin-file passphrase").done();
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    home.run("bump repo root targets").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("root"), repo.version("targets")), (3, 2));
    // And without adopting: whoever signs shows what is published.
    assert!(agent.stop().success());
    fs::remove_dir_all(home.state().join("metadata")).unwrap();
    let _agent = home.start();
    home.run("token unlock file --pin-file passphrase").done();
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}
