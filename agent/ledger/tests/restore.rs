//! Copies of a ledger that are given back: into a new one, into one that lives, damaged, and cut off.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::json;
use support::{intent, role, version};
use tempfile::{TempDir, tempdir};
use tufagent_ledger::{Ledger, LedgerError, RepositoryId, Restored, Snapshot};

/// A ledger with the repository `app`, whose targets were signed up to `newest`.
async fn signed(folder: &Path, newest: u64) -> (Ledger, RepositoryId) {
    let ledger = Ledger::open(folder).unwrap();
    let app = ledger.register_repository(support::adopted("app", 1, "root 1", "key")).await.unwrap().id;
    for number in 1..=newest {
        ledger.record_intent(intent(app, "targets", number, &number.to_string())).await.unwrap();
    }
    (ledger, app)
}

async fn copy(ledger: &Ledger, to: &TempDir) -> Snapshot {
    ledger.snapshot(to.path().join("copy.db")).await.unwrap()
}

async fn give_back(ledger: &Ledger, copy: &TempDir, head: &str) -> Result<Vec<Restored>, LedgerError> {
    let path = copy.path().join("copy.db");
    ledger.restore(path, head.to_owned(), json!({"sha256": "00"}), json!({"uid": 1000})).await
}

async fn newest(ledger: &Ledger, app: RepositoryId) -> u64 {
    ledger.watermark(app, role("targets")).await.unwrap().newest().unwrap().version.get()
}

#[tokio::test]
async fn a_new_ledger_takes_journal_and_marks_over_and_signs_nothing_before_an_adoption() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (ledger, app) = signed(old.path(), 7).await;
    let snapshot = copy(&ledger, &copied).await;
    let ledger = Ledger::open(new.path()).unwrap();
    let restored = give_back(&ledger, &copied, &snapshot.head).await.unwrap();
    assert!(restored.len() == 1 && restored[0].is_new && restored[0].raised, "{restored:?}");
    assert_eq!(newest(&ledger, app).await, 7);
    let entries = ledger.entries(0, 1000).await.unwrap();
    assert_eq!(entries.last().unwrap().kind, "backup.restored");
    assert_eq!(entries.iter().filter(|entry| entry.kind == "sign.intent").count(), 7);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
    drop(ledger);
    let ledger = Ledger::open(new.path()).unwrap();
    let next = intent(app, "targets", 8, "8");
    let error = ledger.record_intent(next.clone()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Restored { .. }) && error.remedy().contains("adopt"), "{error}");
    assert_eq!(ledger.restored().await.unwrap().len(), 1);
    ledger.register_repository(support::adopted("app", 1, "root 1", "key")).await.unwrap();
    assert!(ledger.record_intent(next.clone()).await.is_err(), "what was published since is not seen yet");
    assert!(ledger.settle_restored(app, serde_json::json!({})).await.unwrap());
    ledger.record_intent(next).await.unwrap();
    assert!(ledger.restored().await.unwrap().is_empty());
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn attempts_at_a_pin_before_a_restore_stay_in_the_record_behind_the_journal_that_is_taken_over() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (ledger, _) = signed(old.path(), 3).await;
    let snapshot = copy(&ledger, &copied).await;
    let ledger = Ledger::open(new.path()).unwrap();
    ledger.record_event("agent.start", json!({})).await.unwrap();
    ledger.record_event("token.attempt", json!({"token": "yk", "anyway": true})).await.unwrap();
    ledger.record_event("token.management-key", json!({"token": "yk"})).await.unwrap();
    let before = ledger.entries(0, 1000).await.unwrap();
    let attempt = before.iter().find(|entry| entry.kind == "token.attempt").unwrap();
    give_back(&ledger, &copied, &snapshot.head).await.unwrap();
    let entries = ledger.entries(0, 1000).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "sign.intent").count(), 3);
    let kinds: Vec<_> = entries.iter().rev().take(3).map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["backup.restored", "token.management-key", "token.attempt"]);
    let kept: serde_json::Value = serde_json::from_str(&entries[entries.len() - 3].body).unwrap();
    let when = json!({"seq": attempt.seq, "time": attempt.time});
    assert_eq!((&kept["anyway"], &kept["before_restore"]), (&json!(true), &when), "{kept}");
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_ledger_that_lives_keeps_its_journal_and_no_mark_goes_down() {
    let (old, copied) = (tempdir().unwrap(), tempdir().unwrap());
    let (ledger, app) = signed(old.path(), 3).await;
    let snapshot = copy(&ledger, &copied).await;
    for number in 4..=9 {
        ledger.record_intent(intent(app, "targets", number, &number.to_string())).await.unwrap();
    }
    let before = ledger.entries(0, 1000).await.unwrap();
    let restored = give_back(&ledger, &copied, &snapshot.head).await.unwrap();
    assert_eq!((restored[0].is_new, restored[0].raised), (false, false));
    assert_eq!(newest(&ledger, app).await, 9);
    assert!(ledger.restored().await.unwrap().is_empty(), "nothing of it came from the backup");
    let after = ledger.entries(0, 1000).await.unwrap();
    assert_eq!(after[..before.len()], before, "the journal goes on");
    ledger.record_intent(intent(app, "targets", 10, "10")).await.unwrap();
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn what_is_higher_in_a_copy_is_taken_and_must_be_adopted_again() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (ledger, _) = signed(old.path(), 20).await;
    ledger.register_repository(support::new("other")).await.unwrap();
    let snapshot = copy(&ledger, &copied).await;
    // The same chain, adopted anew after the state was lost, and a little further in another role.
    let (ledger, app) = signed(new.path(), 5).await;
    ledger.record_intent(intent(app, "team", 2, "team")).await.unwrap();
    let restored = give_back(&ledger, &copied, &snapshot.head).await.unwrap();
    let told: Vec<_> = restored.iter().map(|one| (one.name.as_str(), one.is_new, one.raised)).collect();
    assert_eq!(told, [("app", false, true), ("other", true, true)]);
    assert_eq!(newest(&ledger, app).await, 20);
    let team = ledger.watermark(app, role("team")).await.unwrap();
    assert_eq!(team.signed.unwrap().version, version(2));
    let refused = ledger.record_intent(intent(app, "targets", 21, "21")).await;
    assert!(matches!(refused, Err(LedgerError::Restored { .. })));
    // Once more changes nothing.
    assert!(ledger.settle_restored(app, serde_json::json!({})).await.unwrap());
    assert!(!ledger.settle_restored(app, serde_json::json!({})).await.unwrap());
    let again = give_back(&ledger, &copied, &snapshot.head).await.unwrap();
    assert!(again.iter().all(|one| !one.raised), "{again:?}");
    ledger.record_intent(intent(app, "targets", 21, "21")).await.unwrap();
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_name_that_means_another_chain_here_is_refused_and_nothing_is_changed() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (ledger, _) = signed(old.path(), 2).await;
    let snapshot = copy(&ledger, &copied).await;
    let ledger = Ledger::open(new.path()).unwrap();
    ledger.register_repository(support::adopted("app", 1, "another root", "another key")).await.unwrap();
    let before = (ledger.entries(0, 1000).await, ledger.repositories().await);
    let refused = give_back(&ledger, &copied, &snapshot.head).await;
    assert!(matches!(refused, Err(LedgerError::NameTaken { .. })), "{refused:?}");
    assert_eq!((ledger.entries(0, 1000).await, ledger.repositories().await), before);
}

#[tokio::test]
async fn a_name_that_was_only_begun_when_the_backup_was_made_waits_for_what_is_published() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let ledger = Ledger::open(old.path()).unwrap();
    let begun = support::new("app");
    ledger.register_repository(begun.clone()).await.unwrap();
    let snapshot = copy(&ledger, &copied).await;
    let ledger = Ledger::open(new.path()).unwrap();
    give_back(&ledger, &copied, &snapshot.head).await.unwrap();
    // Nobody knows what was signed since.
    let refused = ledger.register_repository(begun).await;
    assert!(matches!(refused, Err(LedgerError::Restored { .. })), "{refused:?}");
    let adopted = ledger.register_repository(support::adopted("app", 1, "root", "key")).await.unwrap();
    assert!(adopted.root.is_some());
    assert!(ledger.restored().await.unwrap().is_empty());
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_copy_that_was_changed_cut_or_has_another_head_is_refused_and_nothing_is_changed() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (ledger, _) = signed(old.path(), 4).await;
    let snapshot = copy(&ledger, &copied).await;
    ledger.record_event("test.event", json!({})).await.unwrap();
    let second = tempdir().unwrap();
    let later = copy(&ledger, &second).await;
    drop(ledger);
    let ledger = Ledger::open(new.path()).unwrap();
    let before = ledger.entries(0, 1000).await.unwrap();
    let path = copied.path().join("copy.db");
    let good = fs::read(&path).unwrap();
    for head in [later.head.as_str(), "", "tuf-agent-journal-head-v1"] {
        assert!(give_back(&ledger, &copied, head).await.is_err(), "{head}");
    }
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute("UPDATE watermarks SET signed_version = 1", ()).unwrap();
    drop(sql);
    assert!(give_back(&ledger, &copied, &snapshot.head).await.is_err(), "lowered by hand");
    for bad in [&good[..good.len() / 2], b"", b"no database at all"] {
        fs::write(&path, bad).unwrap();
        assert!(give_back(&ledger, &copied, &snapshot.head).await.is_err());
    }
    assert_eq!(ledger.entries(0, 1000).await.unwrap(), before);
    assert!(ledger.repositories().await.unwrap().is_empty());
    fs::write(&path, good).unwrap();
    give_back(&ledger, &copied, &snapshot.head).await.unwrap();
}

/// The database is committed and the head beside it is still the old one: what a kill in between leaves.
#[tokio::test]
async fn a_restore_that_was_cut_off_leaves_the_old_journal_or_the_new_one() {
    let (old, new, copied) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (ledger, app) = signed(old.path(), 3).await;
    let snapshot = copy(&ledger, &copied).await;
    let (head, left) = (new.path().join("journal.head"), new.path().join("journal.head.next"));
    drop(Ledger::open(new.path()).unwrap());
    let before = fs::read(&head).unwrap();
    // Before the commit: only the head that would have come is there.
    fs::write(&left, &snapshot.head).unwrap();
    let ledger = Ledger::open(new.path()).unwrap();
    assert!(!left.exists() && ledger.repositories().await.unwrap().is_empty());
    give_back(&ledger, &copied, &snapshot.head).await.unwrap();
    drop(ledger);
    // After it: the head that came is still aside.
    fs::rename(&head, &left).unwrap();
    fs::write(&head, before).unwrap();
    let ledger = Ledger::open(new.path()).unwrap();
    assert!(!left.exists());
    assert_eq!(newest(&ledger, app).await, 3);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}
