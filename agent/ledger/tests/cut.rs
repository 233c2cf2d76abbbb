//! A log that somebody cuts in the middle of a burst: what this process has is saved each time, with all that it has told.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use support::{intent, repository};
use tempfile::tempdir;
use tufagent_ledger::{Ledger, Outcome, RepositoryId};

const LOG: &str = "ledger.db-wal";

/// Signs, and asks in between, until something fails or it is over; gives the last entry that was promised.
async fn signs(ledger: Arc<Ledger>, app: RepositoryId, name: String, over: Arc<AtomicBool>) -> u64 {
    let mut last = 0;
    for number in (1..).take_while(|_| !over.load(Ordering::Relaxed)) {
        let under_way = ledger.under_way();
        let recorded = ledger.record_intent(intent(app, &name, number, &format!("{name} {number}"))).await;
        let Ok(id) = recorded else { break };
        last = id.seq();
        ledger.record_outcome(id, Outcome::Signed { keyids: vec!["00".into()], keys: Vec::new() });
        drop(under_way);
        if number % 16 == 0
            && support::publish(&ledger, app, &name, number, &format!("{name} {number}")).await.is_err()
        {
            break;
        }
        // Questions that only the tables answer.
        if number % 2 == 0 && (ledger.roots(app).await.is_err() || ledger.resets(app).await.is_err()) {
            break;
        }
    }
    last
}

fn some(below: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    (u64::from(now) * 2_654_435_761 / 256) % below
}

async fn is_saved(round: u64) -> Result<(), String> {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ledger = Arc::new(Ledger::open(folder.path()).unwrap());
    let app = repository(&ledger, "app").await;
    let over = Arc::new(AtomicBool::new(false));
    let mut burst = Vec::new();
    for number in 0..=round % 4 {
        let role = format!("role-{number}");
        burst.push(tokio::spawn(signs(Arc::clone(&ledger), app, role, Arc::clone(&over))));
    }
    tokio::time::sleep(Duration::from_micros(2_000 + some(60_000))).await;
    // As a shell does for `: > ledger.db-wal`.
    drop(fs::File::create(path(LOG)).unwrap());
    tokio::time::sleep(Duration::from_millis(30)).await;
    over.store(true, Ordering::Relaxed);
    let mut last = 0;
    for one in burst {
        last = last.max(one.await.unwrap());
    }
    // Nothing that counts was in a log that had just been moved into the database.
    let Err(refused) = ledger.probe().await else { return Ok(()) };
    let elsewhere = tempdir().unwrap();
    let put = |name: &str, at: &str| {
        fs::copy(path(name), elsewhere.path().join(at)).map_err(|_| refused.to_string())
    };
    put("ledger.db.saved", "ledger.db")?;
    put("journal.head", "journal.head")?;
    let after = Ledger::open(elsewhere.path()).map_err(|error| error.to_string())?;
    let entries = after.verify_chain().await.unwrap();
    if entries.problem.is_some() || entries.entries < last {
        return Err(format!("{last} were promised: {entries:?}"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_cut_in_the_middle_of_a_burst_is_saved_from_memory_each_time() {
    let rounds = 40;
    let mut lost = Vec::new();
    for round in 0..rounds {
        lost.extend(is_saved(round).await.err().map(|why| format!("round {round}: {why}")));
    }
    assert!(lost.is_empty(), "{} of {rounds}:\n{}", lost.len(), lost.join("\n"));
}

#[tokio::test]
async fn a_question_after_the_cut_takes_nothing_away() {
    for (question, pause) in (0..4).flat_map(|question| [(question, 0), (question, 80)]) {
        let folder = tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let ledger = Ledger::open(folder.path()).unwrap();
        let app = repository(&ledger, "app").await;
        let sign = |number: u64| ledger.record_intent(intent(app, "targets", number, &number.to_string()));
        sign(1).await.unwrap();
        // The rows of what was signed before are in the log alone.
        support::publish(&ledger, app, "targets", 1, "1").await.unwrap();
        for number in 2..=9 {
            sign(number).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        drop(fs::File::create(path(LOG)).unwrap());
        let answered = match question {
            0 => ledger.roots(app).await.err(),
            1 => ledger.resets(app).await.err(),
            2 => ledger.alarms().await.err(),
            _ => ledger.used_keys(app).await.err(),
        };
        let refused = sign(10).await.unwrap_err();
        let saved = path("ledger.db.saved");
        assert!(saved.exists(), "{question} after {pause} ms: {answered:?}, {refused}");
        fs::rename(saved, path("ledger.db")).unwrap();
        assert_eq!(ledger.probe().await, Ok(()));
        sign(10).await.unwrap();
        assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
    }
}
