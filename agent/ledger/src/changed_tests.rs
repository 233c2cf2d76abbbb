//! Files that are written over, cut and touched while the ledger has them open.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::Ledger;

const FILES: [&str; 3] = ["ledger.db", "ledger.db-wal", "journal.head"];

struct Room {
    folder: TempDir,
    ledger: Ledger,
    /// The database as it was before the last entries.
    older: Vec<u8>,
}

impl Room {
    /// A ledger with six entries, the last three of them in the log.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        for _ in 0..2 {
            ledger.record_event("test.event", json!({"fill": "x".repeat(400)})).await.unwrap();
        }
        ledger.close();
        let older = fs::read(folder.path().join("ledger.db")).unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let room = Self { folder, ledger, older };
        for number in 4..=6 {
            assert_eq!(room.record().await, Ok(number));
        }
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn record(&self) -> Result<u64, LedgerError> {
        self.ledger.record_event("test.event", json!({"fill": "y".repeat(400)})).await
    }

    /// Nothing is recorded any more, what is in memory is saved, and puts all to rights at its place, also after an end
    /// that nobody expected.
    async fn refuses_and_has_saved(&self, what: &str) {
        let refused = self.record().await.unwrap_err();
        assert!(matches!(refused, LedgerError::Corrupt { .. }), "{what}: {refused:?}");
        assert!(refused.to_string().contains("something else"), "{what}: {refused}");
        let remedy = refused.remedy();
        assert!(remedy.contains("mv ") && remedy.contains("ledger.db.saved"), "{what}: {remedy}");
        assert_eq!(self.ledger.probe().await, Err(refused.clone()), "{what}");
        assert_eq!(*self.ledger.trouble().borrow(), Some(refused), "{what}");
        assert!(self.ledger.verify_chain().await.unwrap().problem.is_some(), "{what}");
        let elsewhere = tempfile::tempdir().unwrap();
        let put = |name: &str, at: &str| fs::copy(self.path(name), elsewhere.path().join(at)).unwrap();
        for name in FILES.into_iter().chain(["ledger.db.saved"]) {
            put(name, name);
        }
        let after = Ledger::open(elsewhere.path()).unwrap_err();
        assert!(after.remedy().contains("mv "), "{what}: {after:?}");
        put("ledger.db.saved", "ledger.db");
        let after = Ledger::open(elsewhere.path()).unwrap();
        assert_eq!(after.entries(0, 10).await.unwrap().len(), 6, "{what}");
        fs::rename(self.path("ledger.db.saved"), self.path("ledger.db")).unwrap();
        self.goes_on(what).await;
    }

    async fn goes_on(&self, what: &str) {
        assert_eq!(self.ledger.probe().await, Ok(()), "{what}");
        assert_eq!(self.record().await, Ok(7), "{what}");
        assert_eq!(self.ledger.verify_chain().await.unwrap().problem, None, "{what}");
        assert!(!self.path("ledger.db.saved").exists(), "{what}");
        self.ledger.close();
        let again = Ledger::open(self.folder.path()).unwrap();
        assert_eq!(again.entries(0, 10).await.unwrap().len(), 7, "{what}");
        assert_eq!(again.verify_chain().await.unwrap().problem, None, "{what}");
    }
}

fn flip(path: &Path, at: impl FnOnce(&[u8]) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(&bytes);
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Zeros follow what was written to the log.
fn last_written(log: &[u8]) -> usize {
    log.iter().rposition(|byte| *byte != 0).unwrap()
}

/// Right after commits that followed each other closely, and later.
const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(80)];

fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[tokio::test]
async fn an_older_database_written_over_ours_is_noticed_and_ours_is_saved() {
    let room = Room::new().await;
    fs::write(room.path("ledger.db"), &room.older).unwrap();
    room.goes_on("with its log it is the very same").await;
    let room = Room::new().await;
    let newest = fs::read(room.path("ledger.db")).unwrap();
    assert_eq!(newest, room.older);
    room.ledger.close();
    let room = Room { ledger: Ledger::open(room.folder.path()).unwrap(), ..room };
    fs::write(room.path("ledger.db"), &room.older).unwrap();
    room.refuses_and_has_saved("older").await;
}

#[tokio::test]
async fn a_cut_or_changed_file_is_noticed_and_what_is_in_memory_is_saved() {
    type Harm = fn(&Room);
    let harms: [(&str, Harm); 6] = [
        ("cut database", |room| cut(&room.path("ledger.db"), PAGE)),
        ("empty database", |room| cut(&room.path("ledger.db"), 0)),
        ("cut log", |room| cut(&room.path("ledger.db-wal"), 5000)),
        ("empty log", |room| cut(&room.path("ledger.db-wal"), 0)),
        ("flipped byte of the database", |room| flip(&room.path("ledger.db"), |_| 20)),
        ("flipped byte of the log", |room| flip(&room.path("ledger.db-wal"), last_written)),
    ];
    for (pause, (what, harm)) in PAUSES.into_iter().flat_map(|pause| harms.map(|harm| (pause, harm))) {
        let room = Room::new().await;
        tokio::time::sleep(pause).await;
        harm(&room);
        room.refuses_and_has_saved(what).await;
    }
}

#[tokio::test]
async fn what_changes_nothing_that_counts_is_read_anew_and_taken() {
    type Harm = fn(&Room);
    let harms: [(&str, Harm); 6] = [
        ("read", |room| FILES.into_iter().for_each(|name| drop(fs::read(room.path(name)).unwrap()))),
        ("mode", |room| {
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(room.path("ledger.db"), mode).unwrap();
        }),
        ("second name", |room| fs::hard_link(room.path("ledger.db"), room.path("second")).unwrap()),
        ("same bytes", |room| {
            for name in FILES {
                fs::write(room.path(name), fs::read(room.path(name)).unwrap()).unwrap();
            }
        }),
        ("moved and back", |room| {
            fs::rename(room.path("ledger.db-wal"), room.path("away")).unwrap();
            fs::rename(room.path("away"), room.path("ledger.db-wal")).unwrap();
        }),
        ("first frame, which a later one replaces", |room| {
            // Its checksum would end the log there for whoever opens it.
            flip(&room.path("ledger.db-wal"), |_| 32 + 16);
        }),
    ];
    for (pause, (what, harm)) in PAUSES.into_iter().flat_map(|pause| harms.map(|harm| (pause, harm))) {
        let room = Room::new().await;
        tokio::time::sleep(pause).await;
        harm(&room);
        room.goes_on(what).await;
    }
}

#[tokio::test]
async fn who_had_the_log_open_before_is_noticed_after_commits_that_followed_each_other_closely() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ledger = Ledger::open(folder.path()).unwrap();
    let log = fs::OpenOptions::new().write(true).open(path("ledger.db-wal")).unwrap();
    let record = || ledger.record_event("test.event", json!({"fill": "y".repeat(400)}));
    for number in 2..=9 {
        assert_eq!(record().await, Ok(number));
    }
    tokio::time::sleep(PAUSES[1]).await;
    // All frames: one that a later one replaces would not count.
    log.write_all_at(&[0xFF; 40_000], 32).unwrap();
    let refused = record().await.unwrap_err();
    assert!(matches!(refused, LedgerError::Corrupt { .. }), "{refused:?}");
}

#[tokio::test]
async fn the_log_does_not_grow_with_the_commits() {
    let room = Room::new().await;
    let length = || fs::metadata(room.path("ledger.db-wal")).unwrap().len();
    assert_eq!(length(), LOG);
    for _ in 0..2000 {
        room.record().await.unwrap();
    }
    assert_eq!(length(), LOG);
    assert_eq!(room.ledger.verify_chain().await.unwrap().problem, None);
}

#[tokio::test]
async fn where_memory_does_not_hold_all_of_it_the_files_wait_untouched_for_what_is_put_back() {
    let room = Room::new().await;
    let small = room.ledger.read(|tx| {
        tx.db.pragma_update(None, "cache_size", 1)?;
        tx.db.release_memory()?;
        Ok(())
    });
    small.await.unwrap();
    let [database, log] = ["ledger.db", "ledger.db-wal"].map(|name| fs::read(room.path(name)).unwrap());
    cut(&room.path("ledger.db"), PAGE);
    let refused = room.record().await.unwrap_err();
    assert!(matches!(refused, LedgerError::Corrupt { .. }), "{refused:?}");
    assert!(refused.remedy().contains("tufctl restore"), "{}", refused.remedy());
    assert!(!room.path("ledger.db.saved").exists());
    assert_eq!(room.ledger.probe().await, Err(refused));
    assert_eq!(fs::read(room.path("ledger.db-wal")).unwrap(), log);
    fs::write(room.path("ledger.db"), database).unwrap();
    room.goes_on("put back").await;
}

#[tokio::test]
async fn a_head_that_was_changed_in_its_place_is_refused_and_written_anew_at_the_end() {
    let room = Room::new().await;
    flip(&room.path("journal.head"), |_| 40);
    let refused = room.record().await.unwrap_err();
    assert!(matches!(refused, LedgerError::Missing { .. }), "{refused:?}");
    assert_eq!(room.ledger.probe().await, Err(refused));
    room.ledger.close();
    let again = Ledger::open(room.folder.path()).unwrap();
    assert_eq!(again.entries(0, 10).await.unwrap().len(), 6);
}

#[tokio::test]
async fn our_own_checkpoints_are_no_trouble_and_nothing_of_the_ledger_is_mapped() {
    let room = Room::new().await;
    let mut before = fs::read(room.path("ledger.db")).unwrap();
    for turn in 0..3 {
        for _ in 0..40 {
            let big = json!({"fill": vec!["z".repeat(500); 60]});
            let many = (0..8).map(|_| room.ledger.record_event("test.event", big.clone()));
            for one in many {
                one.await.unwrap();
            }
        }
        let after = fs::read(room.path("ledger.db")).unwrap();
        assert_ne!(before, after, "{turn}: nothing was moved into the database");
        before = after;
    }
    assert!(fs::metadata(room.path("ledger.db-wal")).unwrap().len() < 16 << 20);
    assert!(room.ledger.trouble().borrow().is_none() && !room.path("ledger.db.saved").exists());
    assert!(!room.path("ledger.db-shm").exists());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(room.folder.path().to_str().unwrap()), "{maps}");
}
