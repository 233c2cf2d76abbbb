//! A watermark that starts anew after a fast-forward attack, and an older schema that is upgraded.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rusqlite::Connection;
use serde_json::json;
use support::{digest, intent, publish, repository, role, version};
use tempfile::tempdir;
use tufagent_ledger::{Ledger, LedgerError, Noted, RepositoryId, Verified};

/// A repository with five signed and published snapshots, a team role, and an attacker's snapshot far ahead.
async fn attacked(ledger: &Ledger) -> RepositoryId {
    let app = repository(ledger, "app").await;
    publish(ledger, app, "targets", 3, "targets 3").await.unwrap();
    for number in 1..=5 {
        let mut next = intent(app, "snapshot", number, &format!("snapshot {number}"));
        next.lists = [(role("targets"), version(3))].into();
        ledger.record_intent(next).await.unwrap();
    }
    publish(ledger, app, "snapshot", 5, "snapshot 5").await.unwrap();
    let lists = [(role("targets"), version(900)), (role("evil"), version(1))].into();
    let evil = Verified { lists, ..support::verified("snapshot", 1_000_000, "attack") };
    ledger.note_all(app, vec![evil], true).await.unwrap();
    let lists = [(role("snapshot"), version(1_000_000))].into();
    let evil = Verified { lists, ..support::verified("timestamp", 2_000_000, "attack") };
    ledger.note_all(app, vec![evil], true).await.unwrap();
    app
}

#[tokio::test]
async fn a_role_starts_anew_at_what_was_signed_here_before_the_attack() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = attacked(&ledger).await;
    let (snapshot, timestamp) = (role("snapshot"), role("timestamp"));
    let seen = ledger.look_at_reset(app, snapshot.clone()).await.unwrap().unwrap();
    assert_eq!(
        (seen.from.unwrap().version, seen.to.map(|to| to.version)),
        (version(1_000_000), Some(version(5)))
    );
    let wrong = ledger.reset_watermark(app, snapshot.clone(), digest("else"), json!({})).await.unwrap_err();
    assert!(matches!(wrong, LedgerError::Moved { .. }), "{wrong}");
    ledger.reset_watermark(app, snapshot.clone(), digest("attack"), json!({})).await.unwrap();
    // What it lists counts as far as it was seen, and what lists it no further than it stands now.
    let listed = ledger.listed(app, snapshot.clone()).await.unwrap();
    assert_eq!(listed, [(role("targets"), version(3))].into());
    let listed = ledger.listed(app, timestamp.clone()).await.unwrap();
    assert_eq!(listed, [(snapshot.clone(), version(5))].into());
    for number in 1..=5 {
        let low = intent(app, "snapshot", number, "other");
        assert!(matches!(ledger.record_intent(low).await, Err(LedgerError::Watermark { .. })), "{number}");
    }
    let mut next = intent(app, "snapshot", 6, "snapshot 6");
    next.lists = [(role("targets"), version(3))].into();
    ledger.record_intent(next).await.unwrap();
    // The attacker's file, shown again, is no news, and no mark.
    let again = publish(&ledger, app, "snapshot", 1_000_000, "attack").await.unwrap();
    assert_eq!(again, Noted::Older);
    assert_eq!(ledger.watermark(app, snapshot.clone()).await.unwrap().verified, None);
    // Nothing of this agent's was below the timestamp: it begins anew.
    let reset = ledger.reset_watermark(app, timestamp.clone(), digest("attack"), json!({})).await.unwrap();
    assert_eq!(reset.to, None);
    assert_eq!(ledger.resets(app).await.unwrap().len(), 2);
    let journal = ledger.entries(0, 1000).await.unwrap();
    assert_eq!(journal.iter().filter(|entry| entry.kind == "watermark.reset").count(), 2);
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.watermark(app, snapshot).await.unwrap().newest().unwrap().version, version(6));
}

#[tokio::test]
async fn a_fast_forward_that_this_agent_was_made_to_sign_falls_back_to_what_it_signed_before() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    for (number, content) in [(1, "one"), (2, "two"), (5000, "attack")] {
        ledger.record_intent(intent(app, "timestamp", number, content)).await.unwrap();
    }
    // Another repository's journal is not looked at.
    let other = repository(&ledger, "other").await;
    let theirs = intent(other, "timestamp", 4000, "theirs");
    let theirs = tufagent_ledger::Intent { shared_key: true, ..theirs };
    ledger.record_intent(theirs).await.unwrap();
    let reset = ledger.reset_watermark(app, role("timestamp"), digest("attack"), json!({})).await.unwrap();
    assert_eq!(reset.to.map(|mark| (mark.version, mark.digest)), Some((version(2), digest("two"))));
    ledger.record_intent(intent(app, "timestamp", 3, "three")).await.unwrap();
}

#[tokio::test]
async fn what_was_signed_on_top_of_an_attack_goes_with_it() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    let snapshot = role("snapshot");
    publish(&ledger, app, "targets", 3, "targets 3").await.unwrap();
    for number in 1..=5 {
        ledger.record_intent(listing(app, number, &format!("snapshot {number}"))).await.unwrap();
    }
    publish(&ledger, app, "snapshot", 1_000_000, "attack").await.unwrap();
    for (number, content) in [(1_000_001, "on top"), (1_000_002, "and again")] {
        ledger.record_intent(listing(app, number, content)).await.unwrap();
        publish(&ledger, app, "snapshot", number, content).await.unwrap();
    }
    let reset = ledger.reset_watermark(app, snapshot.clone(), digest("and again"), json!({})).await.unwrap();
    assert_eq!((reset.from.unwrap().version, reset.to.unwrap().version), (version(1_000_002), version(5)));
    for (number, content) in [(1_000_000, "attack"), (1_000_001, "on top"), (1_000_002, "and again")] {
        let again = publish(&ledger, app, "snapshot", number, content).await.unwrap();
        assert_eq!(again, Noted::Older, "{content}");
    }
    assert_eq!(ledger.watermark(app, snapshot.clone()).await.unwrap().newest().unwrap().version, version(5));
    // A chain that has started anew has nothing to do with what came before.
    for number in 6..=8 {
        ledger.record_intent(listing(app, number, "anew")).await.unwrap();
    }
    let reset = ledger.look_at_reset(app, snapshot).await.unwrap().unwrap();
    assert_eq!((reset.from.unwrap().version, reset.to.unwrap().version), (version(8), version(7)));
}

/// A snapshot that lists what was seen.
fn listing(app: RepositoryId, number: u64, content: &str) -> tufagent_ledger::Intent {
    let mut next = intent(app, "snapshot", number, content);
    next.lists = [(role("targets"), version(3))].into();
    next
}

#[tokio::test]
async fn a_ledger_of_an_older_schema_is_upgraded_and_keeps_all_it_held() {
    let silent =
        "DELETE FROM meta WHERE name = 'applied'; DROP TABLE pins; DROP TABLE named; DROP TABLE unfounded;";
    let tables = format!("{silent} DROP TABLE resets; DROP TABLE restored;");
    let third = "DROP TABLE pins; DROP TABLE named; DROP TABLE unfounded;";
    for (schema, lacks) in
        [(1, tables.as_str()), (2, silent), (3, third), (4, "DROP TABLE named; DROP TABLE unfounded;")]
    {
        upgraded(schema, lacks).await;
    }
}

async fn upgraded(schema: u32, lacks: &str) {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    ledger.record_intent(intent(app, "targets", 7, "seven")).await.unwrap();
    drop(ledger);
    let db = Connection::open(folder.path().join("ledger.db")).unwrap();
    db.execute_batch(&format!("{lacks} UPDATE meta SET value = '{schema}' WHERE name = 'schema'")).unwrap();
    drop(db);
    let ledger = Ledger::open(folder.path()).unwrap();
    let entries = ledger.entries(0, 1000).await.unwrap();
    assert_eq!(entries.last().unwrap().kind, "ledger.upgraded");
    let low = intent(app, "targets", 6, "six");
    assert!(matches!(ledger.record_intent(low).await, Err(LedgerError::Watermark { .. })));
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}
