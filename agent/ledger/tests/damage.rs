//! Damage to the ledger's files: found, refused with the way to repair, and never repaired silently.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;
use support::{digest, intent, repository, role, version};
use tempfile::{TempDir, tempdir};
use tufagent_ledger::{Ledger, LedgerError, Outcome};

const DB: &str = "ledger.db";
const HEAD: &str = "journal.head";

/// A ledger with a little of everything, closed.
async fn full() -> TempDir {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = ledger.register_repository(support::adopted("app", 1, "root 1", "key")).await.unwrap().id;
    support::publish(&ledger, app, "root", 2, "root 2").await.unwrap();
    for number in 1..=20 {
        let id = ledger.record_intent(intent(app, "targets", number, &number.to_string())).await.unwrap();
        if number < 20 {
            ledger.record_outcome(id, Outcome::Signed { keyids: vec!["00".into()], keys: Vec::new() });
        }
    }
    let mut snapshot = intent(app, "snapshot", 1, "s");
    snapshot.lists = [(role("targets"), version(20))].into();
    ledger.record_intent(snapshot).await.unwrap();
    ledger.raise_alarm(app, support::verified("timestamp", 1, "t"), "look".into(), json!({})).await.unwrap();
    drop(ledger);
    folder
}

fn restore(from: &Path, to: &Path) {
    for file in fs::read_dir(to).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    for name in [DB, HEAD] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// Everything that the ledger would answer.
async fn contents(ledger: &Ledger) -> String {
    let mut all = format!("{:?}", ledger.entries(0, 1000).await);
    for record in ledger.repositories().await.unwrap() {
        let keys = ledger.keys_elsewhere(None, vec![digest("key"), digest("other")]).await;
        all += &format!(
            "{record:?} {:?} {:?} {:?} {keys:?} {:?} {:?} {:?}",
            ledger.watermarks(record.id).await,
            ledger.roots(record.id).await,
            ledger.listed(record.id, role("snapshot")).await,
            ledger.find_by_name(&record.name).await,
            ledger.find_by_roots(vec![digest("root 1")]).await,
            ledger.find_by_roots(vec![digest("root 2")]).await,
        );
    }
    all + &format!("{:?} {:?}", ledger.alarms().await, ledger.open_intents().await)
}

fn refused(folder: &Path) -> LedgerError {
    let error = Ledger::open(folder).map(|_| ()).unwrap_err();
    assert!(!error.remedy().is_empty(), "{error}");
    error
}

fn assert_corrupt(folder: &Path, what: &str) {
    let error = refused(folder);
    assert!(matches!(error, LedgerError::Corrupt { .. }), "{what}: {error:?}");
}

#[tokio::test]
async fn a_flipped_bit_of_the_database_is_refused_or_changes_nothing() {
    let good = full().await;
    let expected = contents(&Ledger::open(good.path()).unwrap()).await;
    let bytes = fs::read(good.path().join(DB)).unwrap();
    let folder = tempdir().unwrap();
    let (mut found, mut harmless) = (0, 0);
    // The whole header, then every 97th byte, with another bit each time.
    let places = (0..100).chain((100..bytes.len()).step_by(97));
    for (turn, place) in places.enumerate() {
        restore(good.path(), folder.path());
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (turn % 8);
        fs::write(folder.path().join(DB), &damaged).unwrap();
        match Ledger::open(folder.path()) {
            Err(error) => {
                assert!(!error.is_refusal() && !error.remedy().is_empty(), "byte {place}: {error}");
                assert_eq!(fs::read(folder.path().join(DB)).unwrap(), damaged, "byte {place} was changed");
                found += 1;
            }
            Ok(ledger) => {
                assert_eq!(contents(&ledger).await, expected, "byte {place} was not found");
                harmless += 1;
            }
        }
    }
    assert!(found > 100, "found {found}, harmless {harmless}");
}

#[tokio::test]
async fn a_flipped_bit_of_the_head_is_refused() {
    let good = full().await;
    let folder = tempdir().unwrap();
    let bytes = fs::read(good.path().join(HEAD)).unwrap();
    for place in 0..bytes.len() {
        restore(good.path(), folder.path());
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        fs::write(folder.path().join(HEAD), &damaged).unwrap();
        assert_corrupt(folder.path(), &format!("byte {place}"));
        assert_eq!(fs::read(folder.path().join(HEAD)).unwrap(), damaged);
    }
}

#[tokio::test]
async fn empty_zeroed_cut_and_foreign_files_are_refused() {
    let good = full().await;
    let folder = tempdir().unwrap();
    for name in [DB, HEAD] {
        let bytes = fs::read(good.path().join(name)).unwrap();
        let half = &bytes[..bytes.len() / 2];
        let most = &bytes[..bytes.len() - 1];
        let zeros = vec![0; bytes.len()];
        let cases =
            [("empty", &[][..]), ("zeros", &zeros), ("half", half), ("cut", most), ("text", b"hello")];
        for (what, content) in cases {
            restore(good.path(), folder.path());
            fs::write(folder.path().join(name), content).unwrap();
            if name == DB && what == "cut" {
                // SQLite reads whole pages: the page that is cut must be missed.
                fs::write(folder.path().join(name), &bytes[..bytes.len() - 4096]).unwrap();
            }
            assert_corrupt(folder.path(), &format!("{name} {what}"));
            assert!(fs::metadata(folder.path().join(name)).unwrap().len() <= bytes.len().try_into().unwrap());
        }
    }
    restore(good.path(), folder.path());
    fs::remove_file(folder.path().join(DB)).unwrap();
    Connection::open(folder.path().join(DB)).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert_corrupt(folder.path(), "another program's database");
}

#[tokio::test]
async fn a_missing_file_is_refused_and_not_made_anew() {
    let good = full().await;
    let folder = tempdir().unwrap();
    for name in [DB, HEAD] {
        restore(good.path(), folder.path());
        fs::remove_file(folder.path().join(name)).unwrap();
        assert_corrupt(folder.path(), name);
        assert!(!folder.path().join(name).exists());
    }
    for name in [DB, HEAD] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    fs::create_dir_all(folder.path().join("metadata")).unwrap();
    fs::write(folder.path().join("metadata").join("00.json"), b"{}").unwrap();
    assert_corrupt(folder.path(), "texts without a database");
}

#[tokio::test]
async fn an_older_database_put_back_is_refused() {
    let older = full().await;
    let folder = tempdir().unwrap();
    restore(older.path(), folder.path());
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.record_event("test.event", json!({})).await.unwrap();
    drop(ledger);
    let newer_head = fs::read(folder.path().join(HEAD)).unwrap();
    fs::copy(older.path().join(DB), folder.path().join(DB)).unwrap();
    let error = refused(folder.path());
    assert!(error.to_string().contains("older copy"), "{error}");
    assert_eq!(fs::read(folder.path().join(HEAD)).unwrap(), newer_head);
}

#[tokio::test]
async fn a_database_that_forked_from_ours_is_refused() {
    let good = full().await;
    let (ours, theirs) = (tempdir().unwrap(), tempdir().unwrap());
    for (folder, word) in [(&ours, "ours"), (&theirs, "theirs")] {
        restore(good.path(), folder.path());
        let ledger = Ledger::open(folder.path()).unwrap();
        ledger.record_event("test.event", json!({"word": word})).await.unwrap();
    }
    fs::copy(theirs.path().join(DB), ours.path().join(DB)).unwrap();
    assert_corrupt(ours.path(), "a fork");
}

#[tokio::test]
async fn a_database_that_is_ahead_of_its_head_is_accepted_because_a_crash_leaves_it_so() {
    let good = full().await;
    let head = fs::read(good.path().join(HEAD)).unwrap();
    let ledger = Ledger::open(good.path()).unwrap();
    ledger.record_event("test.event", json!({})).await.unwrap();
    drop(ledger);
    let newer = fs::read(good.path().join(HEAD)).unwrap();
    fs::write(good.path().join(HEAD), &head).unwrap();
    drop(Ledger::open(good.path()).unwrap());
    assert_eq!(fs::read(good.path().join(HEAD)).unwrap(), newer, "the head has caught up");
}

#[tokio::test]
async fn what_somebody_changes_with_sql_is_found() {
    let good = full().await;
    let folder = tempdir().unwrap();
    let edits = [
        "UPDATE watermarks SET signed_version = 1 WHERE role = 'targets'",
        "UPDATE watermarks SET signed_digest = verified_digest",
        "DELETE FROM watermarks",
        "DELETE FROM key_use",
        "DELETE FROM alarms",
        "DELETE FROM intents",
        "DELETE FROM listed",
        "DELETE FROM roots WHERE version = 2",
        "UPDATE repositories SET expiry = '{\"targets\":36500}'",
        "INSERT INTO key_use SELECT x'00', id, 'targets', 0 FROM repositories",
        "UPDATE journal SET body = replace(body, '7', '8') WHERE seq = 9",
        "UPDATE journal SET kind = 'nothing' WHERE seq = 3",
        "UPDATE journal SET time = '2020-01-01T00:00:00Z' WHERE seq = 3",
        "UPDATE journal SET boot_ms = 0 WHERE seq = 3",
        "DELETE FROM journal WHERE seq = 5",
        "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)",
        "DELETE FROM journal WHERE seq = 1",
        "DELETE FROM journal",
        "UPDATE journal SET seq = -seq WHERE seq IN (4, 5); UPDATE journal SET seq = 9 + seq WHERE seq < 0",
        "UPDATE meta SET value = '0' WHERE name = 'schema'",
        "UPDATE meta SET value = 'x' WHERE name = 'state'",
        "UPDATE meta SET value = '1' || substr(value, instr(value, ' ')) WHERE name = 'applied'",
        "DELETE FROM meta WHERE name = 'applied'",
        "UPDATE meta SET value = '2' WHERE name = 'schema'",
        "DELETE FROM meta",
        "DROP TABLE alarms",
        "CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM watermarks; END",
        "PRAGMA application_id = 1",
    ];
    for edit in edits {
        restore(good.path(), folder.path());
        let db = Connection::open(folder.path().join(DB)).unwrap();
        db.execute_batch(&format!("PRAGMA foreign_keys = OFF; {edit}")).unwrap();
        db.close().unwrap();
        assert_corrupt(folder.path(), edit);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_as_such() {
    let good = full().await;
    let db = Connection::open(good.path().join(DB)).unwrap();
    db.execute_batch("UPDATE meta SET value = '6' WHERE name = 'schema'; CREATE TABLE more (x)").unwrap();
    db.close().unwrap();
    let error = refused(good.path());
    assert!(matches!(error, LedgerError::Newer { found: 6, known: 5, .. }), "{error:?}");
}

#[tokio::test]
async fn damage_that_appears_while_it_runs_is_found_by_the_full_check() {
    let good = full().await;
    let ledger = Ledger::open(good.path()).unwrap();
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
    fs::write(good.path().join(HEAD), b"gone").unwrap();
    let newest = ledger.verify_chain().await.unwrap();
    assert!(newest.problem.unwrap().contains("journal.head"));
    drop(ledger);
    let ledger = Ledger::open(good.path()).unwrap();
    assert_eq!(newest.entries, ledger.entries(0, 1000).await.unwrap().last().unwrap().seq);
}

#[tokio::test]
async fn an_interrupted_first_start_is_started_over() {
    let folder = tempdir().unwrap();
    drop(Ledger::open(folder.path()).unwrap());
    // As if the agent had ended just before the database was renamed into its place.
    fs::rename(folder.path().join(DB), folder.path().join("ledger.db.new")).unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    repository(&ledger, "app").await;
}

#[tokio::test]
async fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempdir().unwrap();
    let state = folder.path().join("state");
    let ledger = Ledger::open(&state).unwrap();
    ledger.store_text(&digest("t"), b"{}").unwrap();
    repository(&ledger, "app").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("metadata")), 0o700);
    let mut files = 0;
    for folder in [&state, &state.join("metadata")] {
        for file in
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file())
        {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
            files += 1;
        }
    }
    assert!(files >= 4, "database, its log, head and text");
}
