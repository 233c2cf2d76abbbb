//! Files of the ledger that something else changes in their place while the agent runs.
//!
//! Only this process writes them: what they were after its last write is remembered, and looked at before the next. Where
//! they differ, nothing is recorded before they have been read anew and hold exactly what this process knows. What it
//! still has in memory is saved before that.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::head::Head;
use crate::watchful::{Identity, PUT_HEAD_BACK, Seen, missing};
use crate::writer::Writer;
use crate::{LedgerError, open, saved};

/// What the system says of a file, and cannot stay the same when somebody writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    length: u64,
    /// Last written, last changed in any way; seconds and nanoseconds.
    times: [i64; 4],
}

impl Stamp {
    /// Links are not followed; none where there is nothing.
    fn at(path: &Path) -> Option<Self> {
        let file = fs::symlink_metadata(path).ok()?;
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Some(Self { identity: (file.dev(), file.ino()), length: file.len(), times })
    }
}

/// The three files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) db: Option<Stamp>,
    pub(crate) log: Option<Stamp>,
    pub(crate) head: Option<Stamp>,
}

/// As SQLite makes them, bytes: its pages, and what its log has before the first and before each.
const PAGE: u64 = 4096;
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
/// So many pages in the log are moved into the database.
const MANY: u32 = 1000;

impl Seen {
    pub(crate) fn look(&self) -> Stamps {
        Stamps {
            db: Stamp::at(&self.paths.db),
            log: Stamp::at(&self.log_path()),
            head: Stamp::at(&self.paths.head),
        }
    }

    /// `Corrupt` when something else has written to a file that lies where it was.
    pub(crate) fn unchanged(&self, now: &Stamps) -> Result<(), LedgerError> {
        self.changed(now).map_or(Ok(()), |path| Err(LedgerError::corrupt(path, BY_OTHERS)))
    }

    fn changed(&self, now: &Stamps) -> Option<PathBuf> {
        let then = self.stamps.get();
        if then.db != now.db {
            Some(self.paths.db.clone())
        } else if differ(then.log, now.log) {
            Some(self.log_path())
        } else {
            differ(then.head, now.head).then(|| self.paths.head.clone())
        }
    }

    /// Whether the database or its log lies where it was, and is not what it was.
    pub(crate) fn was_changed(&self) -> bool {
        let (then, now) = (self.stamps.get(), self.look());
        let in_place = |then: Option<Stamp>, now: Option<Stamp>| {
            then.is_some_and(|then| now.is_some_and(|now| now.identity == then.identity && now != then))
        };
        in_place(then.db, now.db) || in_place(then.log, now.log)
    }

    /// After a commit. A log that is too short for what was written was cut meanwhile: that shall be noticed.
    pub(crate) fn remember_log(&self) {
        let log = Stamp::at(&self.log_path());
        let pages = u64::from(self.pages.load(Ordering::Relaxed));
        let least = if pages == 0 { 0 } else { LOG_HEADER + pages.saturating_mul(PAGE + FRAME_HEADER) };
        if log.is_some_and(|log| log.length >= least) {
            self.stamps.set(Stamps { log, ..self.stamps.get() });
        }
    }

    pub(crate) fn remember_head(&self) {
        self.stamps.set(Stamps { head: Stamp::at(&self.paths.head), ..self.stamps.get() });
    }

    /// After the log was moved into the database.
    pub(crate) fn remember_database(&self) {
        self.pages.store(0, Ordering::Relaxed);
        let (then, now) = (self.stamps.get(), self.look());
        let same = |then: Option<Stamp>, now: Option<Stamp>| {
            let stays = then.map(|then| then.identity) == now.map(|now| now.identity);
            if stays { now } else { then }
        };
        self.stamps.set(Stamps { db: same(then.db, now.db), log: same(then.log, now.log), head: then.head });
    }
}

impl Writer {
    /// Whether the files are ours and as we left them. Ones that were changed are read anew.
    pub(crate) fn sound(&self) -> Result<(), LedgerError> {
        match self.seen.check(&self.head) {
            Err(LedgerError::Corrupt { path, .. }) => self.look_again(&path),
            found => found,
        }
    }

    /// After a commit of ours.
    pub(crate) fn wrote(&self) {
        self.seen.remember_log();
        self.seen.remember_head();
        if self.seen.pages.load(Ordering::Relaxed) >= MANY && !self.seen.was_changed() {
            let _ = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
            self.seen.remember_database();
        }
    }

    fn look_again(&self, changed: &Path) -> Result<(), LedgerError> {
        let now = self.seen.look();
        let known =
            self.seen.harm.borrow().as_ref().filter(|(then, _)| *then == now).map(|(_, harm)| harm.clone());
        if let Some(harm) = known {
            return Err(harm);
        }
        tracing::error!(path = %changed.display(), "a file of the ledger was changed by something else: it is read anew");
        let found = self.read_anew(changed, &now);
        match &found {
            Ok(()) => {
                open::leave_at_close(&self.db, false)?;
                self.seen.harm.take();
                self.seen.stamps.set(self.seen.look());
                if self.seen.saved.replace(false) {
                    saved::remove(&self.seen.paths);
                }
                tracing::warn!(path = %changed.display(), "it holds what it should");
            }
            Err(error @ LedgerError::Corrupt { .. }) => {
                tracing::error!(%error, "it does not hold what it should");
                self.seen.harm.replace(Some((self.seen.look(), error.clone())));
            }
            // Nothing was read yet: the next look tries it again.
            Err(_) => {}
        }
        found
    }

    fn read_anew(&self, changed: &Path, now: &Stamps) -> Result<(), LedgerError> {
        let paths = self.seen.paths.clone();
        if !matches!(Head::read(&paths.head), Ok(Some(head)) if head == self.known_head()) {
            return Err(missing(&paths.head, PUT_HEAD_BACK));
        }
        let then = self.seen.stamps.get();
        if then.db == now.db && !differ(then.log, now.log) {
            return Ok(());
        }
        self.save_first()?;
        let found = self.compare();
        let log = self.seen.log_path();
        let Err(error) = found else { return Ok(()) };
        // What lies there is not ours to write to any more, not even at the end.
        open::leave_at_close(&self.db, true)?;
        if self.seen.saved.get() {
            // Otherwise the log would be taken for the saved database's own once that is put in place.
            let emptied = fs::OpenOptions::new().write(true).open(&log).and_then(|file| file.set_len(0));
            emptied.map_err(|e| LedgerError::io(format!("{} could not be emptied", log.display()), e))?;
        }
        let why = match error {
            LedgerError::Corrupt { why, .. } => why.replace('\n', " "),
            other => other.to_string().replace('\n', " "),
        };
        let name = changed.file_name().unwrap_or_default().to_string_lossy();
        let error = LedgerError::corrupt(&paths.db, format!("{name} {BY_OTHERS}: {why}"));
        Err(saved::name_it(error, &paths))
    }

    /// Saves what this process has, unless that has been damaged, too. Where there is no room for it, it stays where it is.
    fn save_first(&self) -> Result<(), LedgerError> {
        if self.seen.saved.get() && saved::path(&self.seen.paths).exists() {
            return Ok(());
        }
        match self.copy_out() {
            Err(LedgerError::Corrupt { why, .. }) => {
                tracing::error!(%why, "what is in memory is not whole either");
                Ok(())
            }
            done => done,
        }
    }

    /// Reads everything from the files and compares it with what is known; what is in the log goes into the database.
    fn compare(&self) -> Result<(), LedgerError> {
        let path = &self.seen.paths.db;
        self.db.release_memory()?;
        let position = open::check_whole(&self.db, path, &self.known_head())?;
        if position != self.position {
            return Err(LedgerError::corrupt(path, "it is not the newest one"));
        }
        let busy: i64 = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
        self.seen.pages.store(0, Ordering::Relaxed);
        let pages: i64 = self.db.query_row("PRAGMA page_count", (), |row| row.get(0))?;
        let length = u64::try_from(pages).unwrap_or_default().saturating_mul(PAGE);
        let is_long = Stamp::at(path).is_some_and(|stamp| stamp.length == length);
        if busy == 0 && is_long {
            Ok(())
        } else {
            Err(LedgerError::corrupt(path, "its length is not what it was"))
        }
    }
}

/// A log that was not there yet may come.
fn differ(then: Option<Stamp>, now: Option<Stamp>) -> bool {
    then.is_some() && then != now
}

const BY_OTHERS: &str = "was changed by something else than the agent while it runs";

#[cfg(test)]
#[path = "changed_tests.rs"]
mod tests;
