//! Bad input, second half: state that cannot be trusted is refused, with the way to repair it, and never reset.

use std::fs;
use std::path::Path;

use tuf::digest::Sha256Digest;
use tufagent_tests::{Agent, Home, binary};

/// The agent must not start, say why, and leave the file as it is.
#[track_caller]
fn does_not_start(home: &Home, file: &Path) {
    let before = fs::read(file).unwrap();
    let mut agent = Agent::spawn(home, std::process::Command::new(binary("tuf-agent")));
    let status = agent.wait();
    assert!(!status.success(), "the agent starts over damaged state");
    let log = agent.log();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(log.contains(&name), "{name} is not named:\n{log}");
    assert_eq!(fs::read(file).unwrap(), before, "{name} was changed");
}

/// A home with a published repository and no agent.
fn home_with_state() -> Home {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    assert!(agent.stop().success());
    home
}

#[test]
fn a_truncated_database_is_refused() {
    let home = home_with_state();
    let file = home.state().join("ledger.db");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, bytes.get(..bytes.len() / 2).unwrap()).unwrap();
    does_not_start(&home, &file);
}

#[test]
fn a_database_of_zeros_is_refused() {
    let home = home_with_state();
    let file = home.state().join("ledger.db");
    let size = fs::metadata(&file).unwrap().len();
    fs::write(&file, vec![0; usize::try_from(size).unwrap()]).unwrap();
    does_not_start(&home, &file);
}

#[test]
fn an_empty_database_beside_a_journal_head_is_refused() {
    let home = home_with_state();
    let file = home.state().join("ledger.db");
    fs::write(&file, "").unwrap();
    does_not_start(&home, &file);
}

#[test]
fn a_missing_journal_head_is_refused() {
    let home = home_with_state();
    fs::remove_file(home.state().join("journal.head")).unwrap();
    let mut agent = Agent::spawn(&home, std::process::Command::new(binary("tuf-agent")));
    assert!(!agent.wait().success());
    assert!(agent.log().contains("journal.head"), "{}", agent.log());
}

#[test]
fn an_older_database_is_refused() {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    assert!(agent.stop().success());
    let file = home.state().join("ledger.db");
    let older = fs::read(&file).unwrap();
    let agent = home.start();
    home.unlock_file_store();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    assert!(agent.stop().success());
    for rest in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(home.state().join(rest));
    }
    fs::write(&file, older).unwrap();
    does_not_start(&home, &file);
}

#[test]
fn a_journal_head_of_a_newer_version_is_refused() {
    let home = home_with_state();
    let file = home.state().join("journal.head");
    let text = fs::read_to_string(&file).unwrap();
    let newer = text.replace("-v1", "-v9");
    assert_ne!(text, newer);
    fs::write(&file, newer).unwrap();
    does_not_start(&home, &file);
}

/// Rewrites line 1 of a file of the store and mends the checksum, as an attacker would.
fn rewrite_header(file: &Path, change: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let header = change(lines.next().unwrap());
    let body = format!("{header}\n{}\n", lines.next().unwrap());
    fs::write(file, format!("{body}{}\n", Sha256Digest::of(body.as_bytes()))).unwrap();
}

/// Whatever the file store says about the damage, it says it without dying, and signs nothing.
#[track_caller]
fn store_is_refused(home: &Home, file: &Path) -> String {
    let before = fs::read(file).unwrap();
    let mut agent = Agent::spawn(home, std::process::Command::new(binary("tuf-agent")));
    let said = loop {
        if home.run("status").code == 0 {
            let unlock = home.run("token unlock file --pin-file passphrase --json");
            let sign = home.run("sign repo --yes --json");
            assert!(unlock.code != 0 || sign.code != 0, "{unlock}\n{sign}");
            break format!("{unlock}{sign}{}", home.run("token list --json").text());
        }
        if agent.has_ended() {
            break agent.log();
        }
    };
    assert_eq!(fs::read(file).unwrap(), before, "the damaged file was changed");
    said
}

/// A home with a bumped repository, so that there is something to sign.
fn home_with_work() -> Home {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo targets").done();
    assert!(agent.stop().success());
    home
}

#[test]
fn a_truncated_key_file_is_refused_and_never_reset() {
    let home = home_with_work();
    let file = home.state().join("keys/online.key");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, bytes.get(..bytes.len() / 2).unwrap()).unwrap();
    let said = store_is_refused(&home, &file);
    assert!(said.contains("online"), "{said}");
}

#[test]
fn a_key_file_with_one_changed_bit_is_refused() {
    let home = home_with_work();
    let file = home.state().join("keys/online.key");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    store_is_refused(&home, &file);
}

#[test]
fn two_exchanged_key_files_are_refused() {
    let home = home_with_work();
    let (one, two) = (home.state().join("keys/online.key"), home.state().join("keys/root.key"));
    let between = home.path("between");
    fs::rename(&one, &between).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&between, &two).unwrap();
    store_is_refused(&home, &one);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let home = home_with_work();
    let file = home.state().join("keys/store");
    rewrite_header(&file, |header| header.replacen("\"version\":1", "\"version\":99", 1));
    store_is_refused(&home, &file);
}

#[test]
fn a_hostile_cost_of_the_key_derivation_is_refused_at_once() {
    let home = home_with_work();
    let file = home.state().join("keys/store");
    rewrite_header(&file, |header| {
        let hostile = header.replacen("\"memory_kib\":65536", "\"memory_kib\":4000000000", 1);
        assert_ne!(hostile, header);
        hostile
    });
    let said = store_is_refused(&home, &file);
    assert!(said.contains("4000000000"), "{said}");
}
