//! Whether the ledger could commit now, and how it goes on by itself once the cause of a trouble is gone.
//!
//! Files that vanish or change while the agent runs are refused, never made anew: what is put back is taken only if it
//! is exactly what this process knows. What would be lost with this process is saved beside its place, for a person.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::head::{Head, HeadFile};
use crate::open::{self, Paths, with_suffix};
use crate::tx::Position;
use crate::writer::Writer;
use crate::{Ledger, LedgerError};

/// Device and inode of a file.
type Identity = (u64, u64);

/// The ledger's files as they were when they were opened.
pub(crate) struct Seen {
    pub(crate) paths: Paths,
    pub(crate) db: Identity,
    /// The log beside the database, where the newest commits lie, since the first of ours.
    log: std::cell::Cell<Option<Identity>>,
}

impl Seen {
    pub(crate) fn new(paths: &Paths, db: Identity) -> Self {
        Self { paths: paths.clone(), db, log: std::cell::Cell::default() }
    }

    /// A file that was moved away or replaced would take our commits with it.
    pub(crate) fn check(&self, head: &HeadFile) -> Result<(), LedgerError> {
        if identity(&self.paths.db) != Some(self.db) {
            return Err(missing(&self.paths.db, &restore(&self.paths.db)));
        }
        let path = self.log_path();
        let log = identity(&path);
        if log.is_none() || self.log.get().is_some_and(|first| Some(first) != log) {
            return Err(missing(&path, "put it back, or restart the agent: nothing of it is lost"));
        }
        self.log.set(log);
        if identity(&self.paths.head) != head.identity() {
            return Err(missing(
                &self.paths.head,
                "put it back, or restart the agent: it writes it anew at its end",
            ));
        }
        Ok(())
    }

    /// Whether the disk has room for a few requests, and may be written to.
    pub(crate) fn has_room(&self) -> bool {
        rustix::fs::statvfs(&self.paths.folder).is_ok_and(|disk| {
            let writable = !disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
            writable && disk.f_bavail.saturating_mul(disk.f_frsize) >= SHORT
        })
    }

    fn log_path(&self) -> PathBuf {
        with_suffix(&self.paths.db, "-wal")
    }
}

impl Writer {
    /// Whether something could be committed now; tells those who watch.
    pub(crate) fn probe(&mut self) -> Result<(), LedgerError> {
        let found = self.look();
        if let Err(error) = &found
            && self.trouble.borrow().is_none()
        {
            tracing::error!(%error, "the ledger could not commit now");
        }
        self.tell(found.as_ref().err());
        found
    }

    fn look(&mut self) -> Result<(), LedgerError> {
        if let Err(error) = self.seen.check(&self.head) {
            self.save();
            self.take_back().map_err(|why| why.unwrap_or(error))?;
            tracing::warn!("a file of the ledger was put back, and is what it was");
        }
        // An idle ledger is not written to where nothing speaks for trouble.
        if self.trouble.borrow().is_none() && self.seen.has_room() {
            return Ok(());
        }
        self.make_room();
        self.trial()
    }

    /// Commits as much as a request might, and takes it out again: nothing that counts is touched.
    fn trial(&self) -> Result<(), LedgerError> {
        let done = self.db.execute_batch(
            "BEGIN IMMEDIATE; INSERT OR REPLACE INTO meta (name, value) VALUES ('trial', hex(zeroblob(16384))); COMMIT; \
             DELETE FROM meta WHERE name = 'trial'",
        );
        if done.is_err() {
            self.undo();
        }
        done.map_err(|e| LedgerError::io("the ledger could not be written", e))
    }

    /// The log may hold more than the disk has room for; what it holds belongs into the database anyway. Best effort.
    pub(crate) fn make_room(&self) {
        let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    }

    /// Files that were put back in place of those that vanished are taken if they are exactly what we know. `None`: there
    /// is nothing yet, or nothing that needs it.
    fn take_back(&mut self) -> Result<(), Option<LedgerError>> {
        let paths = self.seen.paths.clone();
        let db = identity(&paths.db).ok_or(None)?;
        let same_db = db == self.seen.db;
        // A log that is gone cannot come back as another file: whose commits would be in it?
        if same_db && self.seen.log.get() != identity(&self.seen.log_path()) {
            return Err(None);
        }
        let head = Head::read(&paths.head)?.ok_or(None)?;
        if head != self.known_head() {
            let why = "it is not the newest one: something else was put in its place while the agent runs";
            return Err(Some(LedgerError::corrupt(&paths.head, why)));
        }
        if same_db {
            self.head = HeadFile::open(&paths.head)?;
            return Ok(());
        }
        let opened = open::open(&paths, &*self.clock)?;
        if opened.position != self.position {
            let why = "it is not the newest one: something else was put in its place while the agent runs";
            return Err(Some(LedgerError::corrupt(&paths.db, why)));
        }
        open::leave_at_close(&self.db, true).map_err(LedgerError::from)?;
        self.db = opened.db;
        self.head = opened.head;
        self.seen = Seen::new(&paths, opened.identity);
        Ok(())
    }

    /// Saves a database whose file has no name any more beside its place, once; from a log that has none, the commits go
    /// into the database. Best effort: a person has to put it back.
    fn save(&self) {
        if identity(&self.seen.paths.db) == Some(self.seen.db) {
            self.make_room();
            return;
        }
        let saved = with_suffix(&self.seen.paths.db, SAVED);
        if identity(&self.seen.paths.db).is_some() || saved.exists() || !self.seen.paths.folder.is_dir() {
            return;
        }
        let partial = with_suffix(&saved, ".new");
        let _ = fs::remove_file(&partial);
        let done = self.db.execute("VACUUM INTO ?1", (partial.display().to_string(),)).is_ok()
            && fs::File::open(&partial).and_then(|file| file.sync_all()).is_ok()
            && fs::rename(&partial, &saved).is_ok();
        tracing::warn!(done, saved = %saved.display(), "the database has lost its name and is saved beside its place");
    }

    /// At the end: the head is flushed, and one that has lost its name is written anew, since this process knows it.
    pub(crate) fn keep_head(&self) {
        if identity(&self.seen.paths.head).is_none() && identity(&self.seen.paths.db) == Some(self.seen.db) {
            match HeadFile::create(&self.seen.paths.head, &self.known_head()) {
                Ok(_) => tracing::warn!("journal.head was deleted while the agent ran; it is written anew"),
                Err(error) => {
                    tracing::error!(%error, "journal.head was deleted and could not be written anew")
                }
            }
        }
        self.head.sync();
    }

    fn known_head(&self) -> Head {
        let Position { seq, hash, sum } = self.position;
        Head { seq, hash, state: sum.digest() }
    }
}

/// What is known of whether the ledger can commit.
impl Ledger {
    /// Why nothing can be committed, as it was found last; changes are told to all who hold it.
    #[must_use]
    pub fn trouble(&self) -> tokio::sync::watch::Receiver<Option<LedgerError>> {
        self.trouble.clone()
    }

    /// Looks whether something could be committed now. Writes only where the last commit failed or room is short.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn probe(&self) -> Result<(), LedgerError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.jobs.send(crate::writer::Job::Probe(tell)).map_err(|_| LedgerError::Closed)?;
        told.await.map_err(|_| LedgerError::Closed)?
    }
}

/// Device and inode of what lies at a path, links not followed; none where there is nothing.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn missing(path: &Path, remedy: &str) -> LedgerError {
    LedgerError::Missing { path: path.to_owned(), remedy: remedy.to_owned() }
}

fn restore(db: &Path) -> String {
    let (saved, db) = (with_suffix(db, SAVED), db.display());
    format!("put it back; what the agent has saved of it will do: mv {} {db}", saved.display())
}

/// The ending of a database that was saved.
const SAVED: &str = ".saved";
/// Less room than this is looked at closely, bytes.
const SHORT: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
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
        assert!(matches!(ledger.probe().await, Err(LedgerError::Corrupt { .. })));
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
        fs::remove_file(folder.path().join("ledger.db-wal")).unwrap();
        is_missing(&ledger).await;
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
}
