//! Files that vanish, are replaced and are put back while the ledger has them open.

use serde_json::json;
use tempfile::TempDir;

use super::*;

async fn ledger() -> (TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(2));
    (folder, ledger)
}

/// Refused in every way, and told to those who watch.
async fn is_missing(ledger: &Ledger) {
    let refused = ledger.record_event("test.event", json!({})).await;
    assert!(matches!(refused, Err(LedgerError::Missing { .. })), "{refused:?}");
    assert!(matches!(ledger.probe().await, Err(LedgerError::Missing { .. })));
    assert!(ledger.trouble().borrow().is_some());
}

async fn goes_on(ledger: &Ledger) {
    assert_eq!(ledger.probe().await, Ok(()));
    assert_eq!(*ledger.trouble().borrow(), None);
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(3));
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn a_deleted_database_is_saved_beside_its_place_and_taken_back_from_there() {
    let (folder, ledger) = ledger().await;
    let db = folder.path().join("ledger.db");
    fs::remove_file(&db).unwrap();
    is_missing(&ledger).await;
    assert!(!db.exists(), "it is not made anew");
    fs::rename(folder.path().join("ledger.db.saved"), &db).unwrap();
    goes_on(&ledger).await;
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.entries(0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_database_that_was_saved_while_nothing_was_asked_is_taken_back_too() {
    let (folder, ledger) = ledger().await;
    let (db, saved) = (folder.path().join("ledger.db"), folder.path().join("ledger.db.saved"));
    fs::remove_file(&db).unwrap();
    assert!(ledger.probe().await.unwrap_err().remedy().contains("ledger.db.saved"));
    fs::rename(&saved, &db).unwrap();
    goes_on(&ledger).await;
    assert!(!saved.exists());
}

#[tokio::test]
async fn a_database_that_another_replaced_at_once_is_saved_and_both_answers_name_that() {
    let (folder, ledger) = ledger().await;
    let (db, saved) = (folder.path().join("ledger.db"), folder.path().join("ledger.db.saved"));
    let other = tempfile::tempdir().unwrap();
    drop(Ledger::open(other.path()).unwrap());
    fs::copy(other.path().join("ledger.db"), folder.path().join("other")).unwrap();
    fs::rename(folder.path().join("other"), &db).unwrap();
    // With the log that lies there the other one would be whole; a commit that fails moves that into our own.
    assert!(ledger.record_event("test.event", json!({})).await.is_err());
    let looked = ledger.probe().await.unwrap_err();
    let refused = ledger.record_event("test.event", json!({})).await.unwrap_err();
    assert!(looked.remedy().contains("mv ") && looked.remedy().contains("ledger.db.saved"), "{looked:?}");
    assert_eq!(looked.remedy(), refused.remedy());
    fs::rename(&saved, &db).unwrap();
    goes_on(&ledger).await;
    assert!(!saved.exists(), "it lies there still");
}

#[tokio::test]
async fn no_remedy_names_a_saved_copy_that_is_not_there() {
    let (folder, ledger) = ledger().await;
    let (db, away) = (folder.path().join("ledger.db"), folder.path().join("away"));
    fs::rename(&db, &away).unwrap();
    let refused = ledger.record_event("test.event", json!({})).await.unwrap_err();
    assert!(!refused.remedy().contains("saved of it"), "{refused:?}: nothing is saved yet");
    assert!(ledger.probe().await.is_err());
    let saved = folder.path().join("ledger.db.saved");
    assert!(saved.exists());
    fs::rename(&away, &db).unwrap();
    goes_on(&ledger).await;
    assert!(!saved.exists(), "it lies there still");
}

#[tokio::test]
async fn at_the_start_a_saved_copy_goes_unless_it_is_newer_and_is_named_where_it_will_do() {
    let (folder, ledger) = ledger().await;
    let path = |name: &str| folder.path().join(name);
    ledger.close();
    let pair = ["ledger.db", "journal.head"].map(|name| (name, fs::read(path(name)).unwrap()));
    drop(Ledger::open(folder.path()).unwrap());
    fs::copy(path("ledger.db"), path("ledger.db.saved")).unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert!(!path("ledger.db.saved").exists(), "it lies there still");
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(3));
    fs::remove_file(path("ledger.db")).unwrap();
    assert!(ledger.probe().await.is_err());
    ledger.close();
    let gone = Ledger::open(folder.path()).unwrap_err();
    assert!(gone.remedy().contains("mv ") && gone.remedy().contains("ledger.db.saved"), "{gone:?}");
    // An older database with the head that belongs to it.
    for (name, bytes) in &pair {
        fs::write(path(name), bytes).unwrap();
    }
    let older = Ledger::open(folder.path()).unwrap_err();
    assert!(older.remedy().contains("ledger.db.saved"), "{older:?}");
    fs::rename(path("ledger.db.saved"), path("ledger.db")).unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.entries(0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_older_copy_in_the_place_of_a_deleted_database_is_refused() {
    let (folder, ledger) = ledger().await;
    let (db, copy) = (folder.path().join("ledger.db"), folder.path().join("copy"));
    // Without the log, the database alone is as old as its last checkpoint.
    fs::copy(&db, &copy).unwrap();
    assert_eq!(ledger.record_event("test.event", json!({})).await, Ok(3));
    for name in ["ledger.db", "ledger.db-wal"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    is_missing(&ledger).await;
    fs::copy(&copy, &db).unwrap();
    let refused = ledger.probe().await.unwrap_err();
    assert!(matches!(refused, LedgerError::Corrupt { .. }), "{refused:?}");
    assert!(ledger.record_event("test.event", json!({})).await.is_err());
}

#[tokio::test]
async fn a_head_is_taken_back_if_it_is_the_newest_and_refused_otherwise() {
    let (folder, ledger) = ledger().await;
    let (head, kept) = (folder.path().join("journal.head"), folder.path().join("kept"));
    let newest = fs::read(&head).unwrap();
    fs::rename(&head, &kept).unwrap();
    is_missing(&ledger).await;
    fs::write(&head, "another").unwrap();
    assert!(matches!(ledger.probe().await, Err(LedgerError::Missing { .. })));
    fs::write(&head, &newest).unwrap();
    goes_on(&ledger).await;
}

#[tokio::test]
async fn a_head_that_stays_away_is_written_anew_at_the_end_and_no_sooner() {
    let (folder, ledger) = ledger().await;
    let head = folder.path().join("journal.head");
    fs::remove_file(&head).unwrap();
    is_missing(&ledger).await;
    assert!(!head.exists());
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    goes_on(&ledger).await;
}

#[tokio::test]
async fn the_commits_of_a_deleted_log_are_safe_even_if_the_process_is_killed_then() {
    let (folder, ledger) = ledger().await;
    let log = folder.path().join("ledger.db-wal");
    let copy = fs::read(&log).unwrap();
    fs::remove_file(&log).unwrap();
    is_missing(&ledger).await;
    // Its commits lie in the database by now; a copy in its place is another file, and the remedy says so.
    fs::write(&log, copy).unwrap();
    let refused = ledger.probe().await.unwrap_err();
    assert!(
        refused.remedy().contains("restart") && refused.remedy().contains("a copy is not taken"),
        "{refused:?}"
    );
    fs::remove_file(&log).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    // What a killed process leaves on the disk.
    for name in ["ledger.db", "journal.head"] {
        fs::copy(folder.path().join(name), elsewhere.path().join(name)).unwrap();
    }
    let copy = Ledger::open(elsewhere.path()).unwrap();
    assert_eq!(copy.entries(0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_idle_ledger_that_is_well_is_not_written_to_by_being_looked_at() {
    let (_folder, ledger) = ledger().await;
    let before = ledger.flushes();
    assert_eq!(ledger.probe().await, Ok(()));
    assert_eq!(ledger.flushes(), before);
    assert_eq!(ledger.entries(0, 10).await.unwrap().len(), 2);
}
