use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};

use crate::{Given, Intent, IntentKey, Ledger, LedgerError, NewRepository, Outcome, RepositoryId};

async fn app(ledger: &Ledger) -> RepositoryId {
    let new = NewRepository {
        name: "app".parse().unwrap(),
        expiry_days: BTreeMap::new(),
        tough_names: true,
        root: None,
        shared_key: false,
        caller: json!({}),
    };
    ledger.register_repository(new).await.unwrap().id
}

fn intent(repository: RepositoryId, version: u64, content: &str) -> Intent {
    let digest = Sha256Digest::of(content.as_bytes());
    Intent {
        repository,
        role: RoleName::parse("targets").unwrap(),
        also_roles: Vec::new(),
        version: Version::new(version).unwrap(),
        digest,
        keys: vec![IntentKey {
            name: "key".into(),
            fingerprint: Sha256Digest::of(b"key"),
            given: Given::founded(),
        }],
        lists: BTreeMap::new(),
        shared_key: false,
        supersedes: None,
        caller: json!({}),
    }
}

/// The rows that are on the disk, in a copy.
fn rows(folder: &Path) -> (i64, i64) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    let db = rusqlite::Connection::open(copy.path().join("ledger.db")).unwrap();
    let sql = "SELECT (SELECT count(*) FROM watermarks), (SELECT count(*) FROM intents)";
    db.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[tokio::test]
async fn an_intent_is_durable_with_its_entry_and_its_rows_follow_when_the_tables_are_asked_for_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = app(&ledger).await;
    let (before, entries) = (ledger.flushes(), ledger.entries(0, 1000).await.unwrap().len());
    for version in 1..=3 {
        ledger.record_intent(intent(app, version, "content")).await.unwrap();
    }
    assert_eq!(ledger.flushes() - before, 3);
    assert_eq!(ledger.entries(0, 1000).await.unwrap().len() - entries, 3, "one entry each");
    assert_eq!(rows(folder.path()), (0, 0), "they are put off");
    assert_eq!(ledger.open_intents().await.unwrap().len(), 3, "a question sees them");
    assert_eq!(ledger.used_keys(app).await.unwrap(), [Sha256Digest::of(b"key")]);
    assert_eq!((rows(folder.path()), ledger.flushes() - before), ((0, 0), 3), "and does not write them");
    let role = RoleName::parse("targets").unwrap();
    ledger.set_expiry(app, [(role, (7, 7))].into(), json!({})).await.unwrap();
    assert_eq!(rows(folder.path()), (1, 3));
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn an_outcome_at_a_pause_brings_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = app(&ledger).await;
    for version in 1..=2 {
        let id = ledger.record_intent(intent(app, version, "content")).await.unwrap();
        ledger.record_outcome(id, Outcome::Abandoned);
    }
    let before = ledger.flushes();
    while ledger.flushes() == before {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(rows(folder.path()), (1, 0));
}

#[tokio::test]
async fn of_two_contents_that_share_a_commit_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = app(&ledger).await;
    // Many are under way, so that they wait for each other.
    let _many: Vec<_> = (0..4).map(|_| ledger.under_way()).collect();
    let before = ledger.flushes();
    let (one, two, three) = tokio::join!(
        ledger.record_intent(intent(app, 1, "one")),
        ledger.record_intent(intent(app, 1, "two")),
        ledger.record_intent(intent(app, 1, "one")),
    );
    assert!(one.is_ok() && three.is_ok(), "{one:?} {three:?}");
    assert!(matches!(two, Err(LedgerError::Watermark { .. })), "{two:?}");
    assert!(ledger.flushes() - before < 3, "they shared none");
}

#[tokio::test]
async fn what_is_undone_is_not_put_off() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = app(&ledger).await;
    ledger.record_intent(intent(app, 1, "one")).await.unwrap();
    let lost = ledger.send::<()>(crate::writer::Job::Run, move |tx| {
        let _ = crate::intents::record_intent(tx, &intent(app, 9, "nine"))?;
        tx.settle()?;
        Err(LedgerError::Closed)
    });
    assert_eq!(lost.await, Err(LedgerError::Closed));
    assert_eq!(ledger.open_intents().await.unwrap().len(), 1);
    assert!(ledger.record_intent(intent(app, 2, "two")).await.is_ok());
    assert!(ledger.record_intent(intent(app, 1, "other")).await.is_err(), "the first one's mark stands");
}
