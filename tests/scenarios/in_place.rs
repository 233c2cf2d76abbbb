//! Files of the ledger that somebody writes over or cuts while the agent runs: nothing more is signed, `status` says why, and
//! what the agent still has is saved and puts all to rights.

use std::fs;
use std::path::Path;

use tufagent_tests::{Home, Outcome};

use crate::health::{becomes, home_with_work, signs};

/// Refused, told by `status`, and put right by what was saved; the same after a crash.
#[track_caller]
fn is_noticed_and_put_right(what: &str, crash: bool, harm: impl FnOnce(&Path, &[u8])) {
    let (home, agent) = home_with_work();
    assert!(agent.stop().success());
    let older = fs::read(home.state().join("ledger.db")).unwrap();
    let agent = home.start();
    home.unlock_file_store();
    signs(&home);
    assert!(agent.stop().success());
    let agent = home.start();
    home.unlock_file_store();
    home.run("bump repo targets").done();
    becomes(&home, true);
    let (db, saved) = (home.state().join("ledger.db"), home.state().join("ledger.db.saved"));
    let before = journal(&home).code;
    assert_eq!(before, 0, "{what}");
    harm(&home.state(), &older);
    let refused = home.run("sign repo --yes --json");
    println!("{what}: {refused}");
    let error = refused.refused(1, "STATE_CORRUPT");
    assert!(error["message"].as_str().unwrap().contains("something else"), "{what}: {error}");
    let named = format!("mv {} {}", saved.display(), db.display());
    assert!(error["remedy"].as_str().unwrap().contains(&named), "{what}: {error}");
    let staged = fs::read_to_string(home.path("repo/staged/targets.json")).unwrap();
    assert!(!staged.contains("\"sig\""), "{what}: {staged}");
    becomes(&home, false);
    let status = home.run("status");
    assert!(status.code == 7 && format!("{status}").contains(&named), "{what}: {status}");
    assert_ne!(journal(&home).code, 0, "{what}: the journal was said to hold");
    let agent = if crash {
        agent.kill();
        let mut agent = tufagent_tests::Agent::spawn(
            &home,
            std::process::Command::new(tufagent_tests::binary("tuf-agent")),
        );
        assert!(!agent.wait().success(), "{what}: it starts");
        assert!(agent.log().contains(&named), "{what}: {}", agent.log());
        fs::rename(&saved, &db).unwrap();
        let agent = home.start();
        home.unlock_file_store();
        agent
    } else {
        fs::rename(&saved, &db).unwrap();
        agent
    };
    becomes(&home, true);
    signs(&home);
    assert!(!saved.exists(), "{what}: it lies there still");
    assert!(agent.stop().success());
    let _agent = home.start();
    home.run("audit verify").done();
}

fn journal(home: &Home) -> Outcome {
    home.run("audit verify")
}

#[test]
fn an_older_database_that_is_written_over_the_ledger_is_noticed() {
    for crash in [false, true] {
        is_noticed_and_put_right("older", crash, |state, older| {
            fs::write(state.join("ledger.db"), older).unwrap();
        });
    }
}

#[test]
fn a_cut_database_and_a_cut_log_are_noticed() {
    for (name, length) in [("ledger.db", 4096), ("ledger.db-wal", 5000), ("ledger.db-wal", 0)] {
        is_noticed_and_put_right(name, length == 5000, |state, _| {
            let file = fs::OpenOptions::new().write(true).open(state.join(name)).unwrap();
            file.set_len(length).unwrap();
        });
    }
}

#[test]
fn a_copy_of_the_whole_state_and_its_attributes_disturb_nobody() {
    let (home, _agent) = home_with_work();
    for name in ["ledger.db", "ledger.db-wal", "journal.head"] {
        let file = home.state().join(name);
        fs::copy(&file, home.path(name)).unwrap();
        fs::hard_link(&file, home.state().join(format!("{name}.second"))).unwrap();
    }
    signs(&home);
    becomes(&home, true);
}
