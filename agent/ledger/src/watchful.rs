//! Whether the ledger could commit now, and how it goes on by itself once the cause of a trouble is gone.
//!
//! Files that vanish or change while the agent runs are refused, never made anew: what is put back is taken only if it
//! is exactly what this process knows. What would be lost with this process is saved beside its place, for a person.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::put_back;
use crate::head::{Head, HeadFile};
use crate::open::{self, Paths, with_suffix};
use crate::put_off::PutOff;
use crate::tx::Position;
use crate::writer::Writer;
use crate::{Ledger, LedgerError, saved};

/// Device and inode of a file.
type Identity = (u64, u64);

/// The ledger's files as they were when they were opened.
pub(crate) struct Seen {
    pub(crate) paths: Paths,
    pub(crate) db: Identity,
    /// The log beside the database, where the newest commits lie, since the first of ours.
    log: std::cell::Cell<Option<Identity>>,
    /// The database is saved beside its place, since it has lost its name.
    saved: std::cell::Cell<bool>,
}

impl Seen {
    pub(crate) fn new(paths: &Paths, db: Identity) -> Self {
        Self { paths: paths.clone(), db, log: std::cell::Cell::default(), saved: std::cell::Cell::default() }
    }

    /// A file that was moved away or replaced would take our commits with it.
    pub(crate) fn check(&self, head: &HeadFile) -> Result<(), LedgerError> {
        if identity(&self.paths.db) != Some(self.db) {
            return Err(missing(&self.paths.db, &self.restore()));
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

    /// What to do about a database that is not in its place.
    fn restore(&self) -> String {
        let saved = Some(saved::path(&self.paths)).filter(|saved| self.saved.get() && saved.exists());
        put_back(&self.paths.db, saved.as_deref())
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
        let lost_name = self.seen.saved.get();
        if self.seen.check(&self.head).is_err() {
            if let Err(why) = self.take_back() {
                self.save();
                return Err(self.tell_missing(why));
            }
            tracing::warn!("a file of the ledger was put back, and is what it was");
        }
        if lost_name {
            self.seen.saved.set(false);
            saved::remove(&self.seen.paths);
        }
        // An idle ledger is not written to where nothing speaks for trouble.
        if self.trouble.borrow().is_none() && self.seen.has_room() {
            return Ok(());
        }
        self.make_room();
        self.trial()
    }

    /// What is wrong with what lies there, or that nothing does, after what could be saved is.
    fn tell_missing(&self, why: Option<LedgerError>) -> LedgerError {
        match (why, self.seen.check(&self.head)) {
            (Some(why), _) => saved::name_it(why, &self.seen.paths),
            (None, Err(error)) => error,
            (None, Ok(())) => missing(&self.seen.paths.db, &self.seen.restore()),
        }
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
        if opened.found != self.position {
            let why = "it is not the newest one: something else was put in its place while the agent runs";
            return Err(Some(LedgerError::corrupt(&paths.db, why)));
        }
        open::leave_at_close(&self.db, true).map_err(LedgerError::from)?;
        self.db = opened.db;
        self.head = opened.head;
        self.position = opened.position;
        self.put_off = PutOff::default();
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
        let saved = saved::path(&self.seen.paths);
        if (self.seen.saved.get() && saved.exists()) || !self.seen.paths.folder.is_dir() {
            return;
        }
        let partial = with_suffix(&saved, ".new");
        let _ = fs::remove_file(&partial);
        let done = self.db.execute("VACUUM INTO ?1", (partial.display().to_string(),)).is_ok()
            && fs::File::open(&partial).and_then(|file| file.sync_all()).is_ok()
            && fs::rename(&partial, &saved).is_ok();
        if done {
            // Otherwise the log would be taken for the saved database's own once that is put in place.
            self.make_room();
            self.seen.saved.set(true);
        }
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
        let Position { seq, hash, sum, .. } = self.position;
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
