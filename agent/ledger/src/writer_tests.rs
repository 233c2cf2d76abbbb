use std::sync::mpsc;
use std::task::{Context, Waker};

use serde_json::json;

use crate::{Ledger, LedgerError};

/// Keeps the thread busy until the sender is dropped; true once it is.
async fn hold(ledger: &Ledger) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let held = ledger.ask(move |_| {
        let _ = begun.send(());
        let _ = released.recv();
        Ok(Ok(()))
    });
    // Sent with the first poll; nobody waits for its end.
    let _ = tokio::time::timeout(std::time::Duration::ZERO, held).await;
    begins.await.unwrap();
    release
}

#[tokio::test]
async fn all_that_waits_shares_one_commit_and_each_gets_its_own_answer() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let release = hold(&ledger).await;
    let before = ledger.flushes();
    let mut waiting: Vec<_> = (0..100)
        .map(|number| Box::pin(ledger.record_event("test.event", json!({"number": number}))))
        .collect();
    // The first poll sends the request.
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_pending()));
    drop(release);
    let mut numbers = Vec::new();
    for one in waiting {
        numbers.push(one.await.unwrap());
    }
    assert_eq!(ledger.flushes() - before, 1, "one commit for a hundred requests");
    assert_eq!(numbers, (2..102).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_question_makes_no_commit_and_leaves_what_waits_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let release = hold(&ledger).await;
    let before = ledger.flushes();
    ledger.note_event("test.later", json!({}));
    let question = ledger.repositories();
    let release = async move { drop(release) };
    let (answer, ()) = tokio::join!(question, release);
    assert_eq!((answer, ledger.flushes()), (Ok(Vec::new()), before));
    // The journal is asked after all that was noted.
    assert_eq!(ledger.entries(1, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_that_fails_is_undone_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let release = hold(&ledger).await;
    let fails = ledger.ask::<()>(|tx| {
        tx.append("test.lost", json!({}))?;
        tx.db.execute("INSERT INTO roots VALUES ('no such', 1, x'00')", ())?;
        Ok(Ok(()))
    });
    let first = ledger.record_event("test.first", json!({}));
    let last = ledger.record_event("test.last", json!({}));
    let release = async move { drop(release) };
    let (first, fails, last, ()) = tokio::join!(first, fails, last, release);
    assert!(first.is_ok() && last.is_ok());
    assert!(matches!(fails, Err(LedgerError::Io { .. })), "{fails:?}");
    let kinds: Vec<_> = ledger.entries(0, 10).await.unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["ledger.created", "test.first", "test.last"]);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn one_entry_needs_no_savepoint_and_what_would_follow_it_is_never_written_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let release = hold(&ledger).await;
    let first = ledger.record_event("test.first", json!({}));
    // Its one statement fails, and is all that there is to undo.
    let refused = ledger.send_entry::<()>(|tx| {
        tx.go_on_from(0, crate::chain::GENESIS);
        tx.append_alone("test.taken", json!({}))?;
        Ok(Ok(()))
    });
    let last = ledger.record_event("test.last", json!({}));
    let release = async move { drop(release) };
    let (first, refused, last, ()) = tokio::join!(first, refused, last, release);
    assert!(first.is_ok() && last.is_ok(), "{first:?} {last:?}");
    assert!(matches!(refused, Err(LedgerError::Io { .. })), "{refused:?}");
    // Here something failed behind the entry, which cannot be taken out any more: nothing of the transaction stands.
    let broken = ledger.send_entry::<()>(|tx| {
        tx.append_alone("test.lost", json!({}))?;
        Err(LedgerError::Closed)
    });
    assert_eq!(broken.await, Err(LedgerError::Closed));
    let kinds: Vec<_> = ledger.entries(0, 10).await.unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["ledger.created", "test.first", "test.last"]);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_full_disk_is_told_to_each_and_recovers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let pages = |limit: i64| {
        ledger.read(move |tx| {
            tx.db.pragma_update(None, "max_page_count", limit)?;
            Ok(())
        })
    };
    pages(1).await.unwrap();
    let mut written = 1;
    let refused = loop {
        let big = json!({"fill": vec!["x".repeat(500); 60]});
        match ledger.record_event("test.event", big).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LedgerError::Io { .. }), "{refused:?}");
    assert_eq!(ledger.verify_chain().await.unwrap().entries, written);
    pages(1_000_000).await.unwrap();
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(written + 1));
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_database_that_is_moved_away_takes_no_commit_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let (here, there) = (folder.path().join("ledger.db"), folder.path().join("elsewhere"));
    std::fs::rename(&here, &there).unwrap();
    let refused = ledger.record_event("test.event", json!({})).await;
    assert!(matches!(refused, Err(LedgerError::Missing { .. })), "{refused:?}");
    std::fs::rename(&there, &here).unwrap();
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(2));
}

#[tokio::test]
async fn a_log_that_is_deleted_takes_no_commit_with_it_and_a_restart_has_all_that_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(2));
    std::fs::remove_file(folder.path().join("ledger.db-wal")).unwrap();
    let refused = ledger.record_event("test.event", json!({})).await;
    assert!(matches!(refused, Err(LedgerError::Missing { .. })), "{refused:?}");
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(3));
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_too() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.note_event("test.later", json!({}));
    ledger.close();
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.entries(1, 10).await.unwrap()[0].kind, "test.later");
    // With no other commit to join it gets one of its own.
    let before = ledger.flushes();
    ledger.note_event("test.alone", json!({}));
    while ledger.flushes() == before {
        tokio::task::yield_now().await;
    }
}
