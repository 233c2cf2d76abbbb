//! Whether the ledger could commit now, and how it goes on by itself once the cause of a trouble is gone.
//!
//! Files that vanish or change while the agent runs are refused, never made anew: what is put back is taken only if it
//! is exactly what this process knows. What would be lost with this process is saved beside its place, for a person.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

use crate::changed::{Stamp, Stamps};
use crate::error::put_back;
use crate::head::{Head, HeadFile};
use crate::open::{self, Paths, with_suffix};
use crate::opened::Opened;
use crate::put_off::PutOff;
use crate::tx::Position;
use crate::writer::Writer;
use crate::{Ledger, LedgerError, files, flush, saved};

/// Device and inode of a file.
pub(crate) type Identity = (u64, u64);

/// The ledger's files as they were when they were opened.
pub(crate) struct Seen {
    pub(crate) paths: Paths,
    pub(crate) db: Identity,
    /// The log beside the database, where the newest commits lie, since the first of ours.
    pub(crate) log: Cell<Option<Identity>>,
    /// What the files were after our last write, or after an earlier one: then see `until`.
    pub(crate) stamps: Cell<Stamps>,
    /// When we wrote to the log and the head last, after 1970, where they were not looked at since; no later times can be
    /// of ours.
    pub(crate) until: Cell<Option<Duration>>,
    /// When the last commit was.
    pub(crate) wrote: Cell<Option<Instant>>,
    pub(crate) opened: Opened,
    /// How they were when something else had changed them, and what that has done.
    pub(crate) harm: RefCell<Option<(Stamps, LedgerError)>>,
    /// How many pages the log holds, since the last commit.
    pub(crate) pages: Arc<AtomicU32>,
    /// The database is saved beside its place, since it has lost its name or its content.
    pub(crate) saved: Cell<bool>,
}

impl Seen {
    pub(crate) fn new(paths: &Paths, db: Identity, pages: Arc<AtomicU32>) -> Self {
        let seen = Self {
            paths: paths.clone(),
            db,
            log: Cell::default(),
            stamps: Cell::default(),
            until: Cell::default(),
            wrote: Cell::default(),
            opened: Opened::new(),
            harm: RefCell::default(),
            pages,
            saved: Cell::default(),
        };
        seen.stamps.set(seen.look());
        seen
    }

    /// A file that was moved away or replaced would take our commits with it; `Corrupt` when one was changed in its place.
    pub(crate) fn check(&self, head: &HeadFile) -> Result<(), LedgerError> {
        let now = self.look_for_changes();
        if identity_of(now.db) != Some(self.db) {
            return Err(missing(&self.paths.db, &self.restore()));
        }
        let log = identity_of(now.log);
        if log.is_none() || self.log.get().is_some_and(|first| Some(first) != log) {
            return Err(missing(
                &self.log_path(),
                "restart the agent, or move back the very file that was there (a copy is not taken): nothing of it is lost",
            ));
        }
        self.log.set(log);
        if identity_of(now.head) != head.identity() {
            return Err(missing(&self.paths.head, PUT_HEAD_BACK));
        }
        self.unchanged(&now)?;
        self.found_unchanged(&now);
        Ok(())
    }

    /// Whether the disk has room for a few requests, and may be written to.
    pub(crate) fn has_room(&self) -> bool {
        rustix::fs::statvfs(&self.paths.folder).is_ok_and(|disk| {
            let writable = !disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
            writable && disk.f_bavail.saturating_mul(disk.f_frsize) >= SHORT
        })
    }

    /// Refuses a folder that turned read-only: files that are open might still be written to, and no others.
    pub(crate) fn is_writable(&self) -> Result<(), LedgerError> {
        let disk = rustix::fs::statvfs(&self.paths.folder);
        if disk.is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)) {
            let why = std::io::Error::from(rustix::io::Errno::ROFS);
            let folder = self.paths.folder.display();
            return Err(LedgerError::io(format!("{folder} could not be written to"), why));
        }
        Ok(())
    }

    /// What to do about a database that is not in its place.
    fn restore(&self) -> String {
        let saved = Some(saved::path(&self.paths)).filter(|saved| self.saved.get() && saved.exists());
        put_back(&self.paths.db, saved.as_deref())
    }

    pub(crate) fn log_path(&self) -> PathBuf {
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
        if self.sound().is_err() {
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
        self.seen.is_writable()?;
        // An idle ledger is not written to where nothing speaks for trouble.
        if self.trouble.borrow().is_none() && self.seen.has_room() {
            return Ok(());
        }
        self.make_room();
        let done = self.trial();
        self.seen.remember_log();
        done
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

    /// The log may hold more than the disk has room for; what it holds belongs into the database anyway, unless one of
    /// them is not what it was. Best effort.
    pub(crate) fn make_room(&self) {
        if !self.seen.was_changed() {
            let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
            self.seen.remember_database();
        }
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
        if Head::read(&paths.head).ok().flatten() != Some(self.known_head()) {
            return Err(Some(missing(&paths.head, PUT_HEAD_BACK)));
        }
        if same_db {
            self.head = HeadFile::open(&paths.head)?;
            self.seen.remember_head();
            return self.sound().map_err(Some);
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
        self.seen = Seen::new(&paths, opened.identity, opened.pages);
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
        let done = self.copy_out().is_ok();
        if done {
            // Otherwise the log would be taken for the saved database's own once that is put in place.
            self.make_room();
        }
        tracing::warn!(done, saved = %saved.display(), "the database has lost its name and is saved beside its place");
    }

    /// Puts a copy of what this process has beside the database, if it is whole.
    pub(crate) fn copy_out(&self) -> Result<(), LedgerError> {
        let saved = saved::path(&self.seen.paths);
        let partial = with_suffix(&saved, ".new");
        let _ = fs::remove_file(&partial);
        let done = self.write_copy(&partial).and_then(|()| {
            let placed = fs::rename(&partial, &saved).and_then(|()| files::sync_folder_of(&saved));
            placed.map_err(|e| LedgerError::io(format!("{} could not be written", saved.display()), e))
        });
        if done.is_err() {
            let _ = fs::remove_file(&partial);
        }
        self.seen.saved.set(done.is_ok());
        done
    }

    fn write_copy(&self, partial: &Path) -> Result<(), LedgerError> {
        let copied = self.db.execute("VACUUM INTO ?1", (partial.display().to_string(),));
        copied.map_err(|e| match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => LedgerError::from(e),
            _ => LedgerError::corrupt(&self.seen.paths.db, e.to_string()),
        })?;
        let synced = fs::File::open(partial).and_then(|file| flush::all(&file));
        synced.map_err(|e| LedgerError::io(format!("{} could not be written", partial.display()), e))?;
        saved::check(partial, &self.known_head())
    }

    /// At the end: the head is flushed, and one that has lost its name is written anew, since this process knows it.
    pub(crate) fn keep_head(&self) {
        let known = self.known_head();
        let is_ours = matches!(Head::read(&self.seen.paths.head), Ok(Some(head)) if head == known);
        if !is_ours && identity(&self.seen.paths.db) == Some(self.seen.db) {
            match HeadFile::create(&self.seen.paths.head, &known) {
                Ok(_) => {
                    tracing::warn!(
                        "journal.head was deleted or changed while the agent ran; it is written anew"
                    )
                }
                Err(error) => {
                    tracing::error!(%error, "journal.head was deleted or changed and could not be written anew")
                }
            }
        }
        self.head.sync();
    }

    pub(crate) fn known_head(&self) -> Head {
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
        told.await.map_err(|_| LedgerError::Closed)??;
        let texts = self.texts.clone();
        let tried = tokio::task::spawn_blocking(move || texts.probe()).await;
        tried.map_err(|e| LedgerError::io("the folder of texts could not be looked at", e))?
    }
}

/// Device and inode of what lies at a path, links not followed; none where there is nothing.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn identity_of(stamp: Option<Stamp>) -> Option<Identity> {
    stamp.map(|stamp| stamp.identity)
}

pub(crate) fn missing(path: &Path, remedy: &str) -> LedgerError {
    LedgerError::Missing { path: path.to_owned(), remedy: remedy.to_owned() }
}

/// The head is known: at the end it is written whatever lies there.
pub(crate) const PUT_HEAD_BACK: &str =
    "put it back, or restart the agent in order (no kill -9): it writes it anew at its end";
/// Less room than this is looked at closely, bytes.
const SHORT: u64 = 256 * 1024;

#[cfg(test)]
#[path = "watchful_tests.rs"]
mod tests;
