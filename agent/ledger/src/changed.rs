//! Files of the ledger that something else changes in their place while the agent runs.
//!
//! Only this process writes them: what they were after its last write is remembered, and looked at before the next. Where
//! they differ, nothing is recorded before they have been read anew and hold exactly what this process knows. What it
//! still has in memory is saved before that.
//!
//! Between commits that follow each other closely it is enough that nothing else has opened them: see `opened`.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, StatxTimestamp};

use crate::head::Head;
use crate::watchful::{Identity, PUT_HEAD_BACK, Seen, missing};
use crate::writer::Writer;
use crate::{LedgerError, flush, open, saved};

/// What the system says of a file, and cannot stay the same when somebody writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    length: u64,
    /// Last written, last changed in any way; after 1970. None: not asked for.
    times: Option<[Duration; 2]>,
}

impl Stamp {
    /// Links are not followed; none where there is nothing.
    fn at(path: &Path) -> Option<Self> {
        Self::ask(path, StatxFlags::MTIME | StatxFlags::CTIME)
    }

    /// The same without its times.
    fn brief(path: &Path) -> Option<Self> {
        Some(Self { times: None, ..Self::ask(path, StatxFlags::empty())? })
    }

    fn ask(path: &Path, times: StatxFlags) -> Option<Self> {
        let wanted = StatxFlags::INO | StatxFlags::SIZE | times;
        let file = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
        let identity = (rustix::fs::makedev(file.stx_dev_major, file.stx_dev_minor), file.stx_ino);
        Some(Self {
            identity,
            length: file.stx_size,
            times: Some([since(file.stx_mtime), since(file.stx_ctime)]),
        })
    }

    /// Whether it may be what we have written to since `then`, the last time at `until`.
    fn follows(&self, then: &Self, until: Duration) -> bool {
        let in_time = self.times.is_none_or(|times| times.into_iter().all(|time| time <= until));
        self.identity == then.identity && self.length >= then.length && in_time
    }
}

fn since(time: StatxTimestamp) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), time.tv_nsec)
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
/// So many pages in the log are moved into the database; then it is written from its start again.
const MANY: u32 = 240;
/// The log is this long from the start: one that grows is flushed with its new length each time, which costs as much as its
/// content. [`MANY`] pages and a large commit fit.
const LOG: u64 = 1 << 20;
/// Where the disk has less room than this, none of it is taken before it is needed.
const AMPLE: u64 = 64 << 20;
/// Commits follow each other closely within this time.
const CLOSELY: Duration = Duration::from_millis(50);

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
        } else if self.differ(then.log, now.log) {
            Some(self.log_path())
        } else {
            self.differ(then.head, now.head).then(|| self.paths.head.clone())
        }
    }

    /// A log that was not there yet may come.
    fn differ(&self, then: Option<Stamp>, now: Option<Stamp>) -> bool {
        let Some(then) = then else { return false };
        match self.until.get() {
            None => now != Some(then),
            Some(until) => self.opened.is_noticed() || !now.is_some_and(|now| now.follows(&then, until)),
        }
    }

    /// Whether the next commit would follow the last one closely, so that it may do without the times.
    fn is_close(&self) -> bool {
        self.until.get().is_some() && self.wrote.get().is_some_and(|wrote| wrote.elapsed() < CLOSELY)
    }

    /// The files as they are now, for a comparison with what is remembered. What had come by then is noticed before.
    pub(crate) fn look_for_changes(&self) -> Stamps {
        self.opened.notice();
        if self.opened.is_noticed() || !self.is_close() {
            return self.look();
        }
        // The database is not written to by each commit: its times may always be asked for. A log can be cut by its path,
        // which opens nothing; the head is written whole.
        Stamps {
            db: Stamp::at(&self.paths.db),
            log: Stamp::brief(&self.log_path()),
            head: self.stamps.get().head,
        }
    }

    /// They are what they were: where their times were asked for they are known again.
    pub(crate) fn found_unchanged(&self, now: &Stamps) {
        if now.log.is_none_or(|log| log.times.is_some()) {
            self.stamps.set(*now);
            self.until.set(None);
            self.opened.forget();
        }
    }

    /// Whether the database or its log lies where it was, and is not what it was.
    pub(crate) fn was_changed(&self) -> bool {
        let (then, now) = (self.stamps.get(), self.look_for_changes());
        let in_place = |then: Option<Stamp>, now: Option<Stamp>| {
            now.is_some_and(|now| then.is_some_and(|then| now.identity == then.identity))
        };
        in_place(then.db, now.db) && then.db != now.db
            || in_place(then.log, now.log) && self.differ(then.log, now.log)
    }

    /// After a commit.
    fn remember(&self) {
        let before = self.wrote.replace(Some(Instant::now()));
        let (log, head) = (self.log_path(), &self.paths.head);
        let files =
            [(log.as_path(), self.log.get()), (head, self.stamps.get().head.map(|head| head.identity))];
        if before.is_some_and(|before| before.elapsed() < CLOSELY) && self.opened.watches(files) {
            self.until.set(Some(now()));
            return;
        }
        self.until.set(None);
        self.remember_log();
        self.remember_head();
    }

    /// Something of ours was written.
    fn go_on(&self) {
        self.until.set(self.until.get().map(|_| now()));
    }

    /// After a commit. A log that is too short for what was written was cut meanwhile: that shall be noticed.
    pub(crate) fn remember_log(&self) {
        let log = Stamp::at(&self.log_path());
        let pages = u64::from(self.pages.load(Ordering::Relaxed));
        let least = if pages == 0 { 0 } else { LOG_HEADER + pages.saturating_mul(PAGE + FRAME_HEADER) };
        if log.is_some_and(|log| log.length >= least) {
            self.stamps.set(Stamps { log, ..self.stamps.get() });
        }
        self.go_on();
    }

    /// After all was read anew.
    fn remember_all(&self) {
        self.stamps.set(self.look());
        self.until.set(None);
        self.opened.forget();
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
        self.go_on();
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
        self.seen.remember();
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
        if self.seen.until.get().is_some() {
            tracing::info!("something else has opened files of the ledger: they are read anew");
        } else {
            tracing::error!(path = %changed.display(), "a file of the ledger was changed by something else: it is read anew");
        }
        let found = self.read_anew(changed, &now);
        match &found {
            Ok(()) => {
                open::leave_at_close(&self.db, false)?;
                self.seen.harm.take();
                self.seen.remember_all();
                if self.seen.saved.replace(false) {
                    saved::remove(&self.seen.paths);
                }
                tracing::info!(path = %changed.display(), "it holds what it should");
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
        if self.seen.until.get().is_none() && then.db == now.db && !self.seen.differ(then.log, now.log) {
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

/// Makes the log beside the database as long as it is going to be, best effort. What follows the commits in it means nothing
/// to SQLite: "The WAL File Format", a frame counts when its salt and checksum fit.
pub(crate) fn lengthen(log: &Path) {
    let lengthened = || -> std::io::Result<()> {
        let file = fs::File::from(rustix::fs::open(
            log,
            OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?);
        let length = file.metadata()?.len();
        let room = rustix::fs::fstatvfs(&file)?;
        if length < LOG && room.f_bavail.saturating_mul(room.f_frsize) >= AMPLE {
            let missing = usize::try_from(LOG.saturating_sub(length)).unwrap_or_default();
            file.write_all_at(&vec![0; missing], length)?;
            flush::all(&file)?;
        }
        Ok(())
    };
    if let Err(error) = lengthened() {
        tracing::debug!(%error, "the ledger's log stays as short as it is");
    }
}

/// As the system gives files their times.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

const BY_OTHERS: &str = "was changed by something else than the agent while it runs";

#[cfg(test)]
#[path = "changed_tests.rs"]
mod tests;
