//! The agent dies: what was promised is still there. The child is this very test program, started anew.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{intent, role, version};
use tempfile::tempdir;
use tufagent_ledger::{Ledger, LedgerError, Outcome};

const FOLDER: &str = "TUFAGENT_LEDGER_CRASH_FOLDER";

/// Starts this program again, to run the one test that is the child's part.
fn child(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_childs_part", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Signs one version after the other and says so, without ever recording an outcome, until it is killed.
#[tokio::test]
async fn the_childs_part() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let ledger = Ledger::open(Path::new(&folder)).unwrap();
    let app = ledger.find_by_name(&"app".parse().unwrap()).await.unwrap().unwrap();
    let mark = ledger.watermark(app.id, role("targets")).await.unwrap().signed;
    for number in mark.map_or(1, |mark| mark.version.get() + 1).. {
        ledger.record_intent(intent(app.id, "targets", number, "content")).await.unwrap();
        println!("\nsigned {number}");
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn an_intent_that_was_answered_survives_a_kill_and_its_outcome_is_unknown() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = support::repository(&ledger, "app").await;
    drop(ledger);
    let mut promised = 0;
    for round in 1..=8 {
        let mut child = child(folder.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.strip_prefix("signed ")?.parse::<u64>().ok());
        promised = numbers.by_ref().take(round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let ledger = Ledger::open(folder.path()).unwrap();
        let signed = ledger.watermark(app, role("targets")).await.unwrap().signed.unwrap();
        assert!(signed.version >= version(promised), "{signed:?}, but {promised} was promised");
        let refused = ledger.record_intent(intent(app, "targets", promised, "other")).await;
        assert!(matches!(refused, Err(LedgerError::Watermark { .. })), "{refused:?}");
        let open = ledger.open_intents().await.unwrap();
        assert_eq!(open.last().map(|intent| intent.version), Some(signed.version));
        for intent in open {
            ledger.record_outcome(intent.id, Outcome::Unknown);
        }
        assert!(ledger.open_intents().await.unwrap().is_empty());
        assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
    }
    assert!(promised >= 8);
}

#[tokio::test]
async fn two_processes_cannot_share_it() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    support::repository(&ledger, "app").await;
    drop(ledger);
    let mut child = child(folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("signed ")).unwrap();
    let busy = Ledger::open(folder.path()).map(|_| ()).unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(busy, LedgerError::Busy { .. }), "{busy:?}");
    assert!(Ledger::open(folder.path()).is_ok());
}
