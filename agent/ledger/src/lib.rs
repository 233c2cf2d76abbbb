//! The agent's memory: watermarks, repositories and the hash-chained journal, in one SQLite database.
//!
//! Duty: make an intent durable before its signature leaves and a PIN's attempt before its card is asked, refuse what
//! breaks the watermark, and notice when its
//! own files were changed. Trust: the caller says truthfully what was parsed and verified; the disk is not trusted.
//! Invariants: watermarks never go down, but by a journalled reset that a person confirmed; every change of state has its entry in the journal, in the same commit; a
//! journal that does not match its head outside the database is refused and never repaired silently; everything that
//! waits shares one commit.
#![forbid(unsafe_code)]

mod adoption;
mod alarms;
mod body;
mod chain;
mod changed;
mod clock;
mod error;
mod files;
mod flush;
mod head;
mod intents;
mod listings;
mod marks;
mod mirror;
mod open;
mod opened;
mod pasts;
mod pins;
mod put_off;
mod records;
mod repositories;
mod resets;
mod restore;
mod saved;
mod schema;
mod shelf;
mod texts;
mod tx;
mod types;
mod unfounded;
mod unmade;
mod watchful;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tuf::role::RoleName;

pub use clock::{Clock, SystemClock};
pub use error::LedgerError;
pub use flush::UNSAFE_FLUSH;
pub use pins::{ByItself, FormerNames, HeldBack, PinAttempt, PinLeave, PinOutcome, PinRecord, SourceMark};
pub use types::{
    AdoptedCopy, AdoptedRoot, Alarm, ChainReport, Entry, FileBytes, Given, Intent, IntentId, IntentKey,
    InvalidName, Looked, Mark, NewRepository, Noted, OpenIntent, Outcome, Record, RepositoryId,
    RepositoryName, Reset, Restored, Snapshot, Verified, Watermark,
};

use crate::mirror::Mirror;
use crate::put_off::PutOff;
use crate::shelf::{Later, Shelf};
use crate::tx::{Tx, Verdict};
pub use crate::unfounded::Unfounded;
use crate::writer::{Desk, Job, Writer};

/// The open ledger. Requests go to the thread that has the database, but for an intent that comes alone; dropping it
/// writes what is left.
#[derive(Debug)]
pub struct Ledger {
    jobs: mpsc::Sender<Job>,
    desk: Arc<Desk>,
    shelf: Arc<Shelf>,
    thread: Mutex<Option<JoinHandle<()>>>,
    texts: texts::Texts,
    path: PathBuf,
    head: PathBuf,
    flushes: Arc<AtomicU64>,
    trouble: watch::Receiver<Option<LedgerError>>,
    mirror: Arc<Mirror>,
    under_way: Arc<AtomicUsize>,
}

/// A call that may record an intent, until it is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ledger {
    /// Opens the ledger in the state folder `folder`, making it when nothing was ever there.
    ///
    /// # Errors
    /// `Corrupt`, `Newer`, `Busy` or `Io`; nothing on the disk was changed then.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        Self::open_with_clock(folder, Arc::new(SystemClock))
    }

    /// Opens the ledger with a clock of the caller's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_clock(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        let paths = open::Paths::new(folder);
        let opened = open::open(&paths, &*clock).map_err(|error| saved::name_it(error, &paths))?;
        saved::settle(&paths, &opened.position)?;
        changed::lengthen(&open::with_suffix(&paths.db, "-wal"));
        let flushes = Arc::new(AtomicU64::new(0));
        let (tell_trouble, trouble) = watch::channel(None);
        let under_way = Arc::new(AtomicUsize::new(0));
        let mirror = Arc::new(Mirror::load(&Tx::looking(&opened.db, &*clock, opened.position)));
        let shelf = Arc::new(Shelf::default());
        let writer = Writer {
            db: opened.db,
            seen: watchful::Seen::new(&paths, opened.identity, opened.pages),
            head: opened.head,
            clock,
            position: opened.position,
            put_off: PutOff::default(),
            shelf: Arc::clone(&shelf),
            takes: Duration::ZERO,
            flushes: Arc::clone(&flushes),
            trouble: tell_trouble,
            mirror: Arc::clone(&mirror),
            under_way: Arc::clone(&under_way),
        };
        let desk = Arc::new(Mutex::new(Some(writer)));
        let (jobs, queue) = mpsc::channel();
        let (own_desk, own_shelf) = (Arc::clone(&desk), Arc::clone(&shelf));
        let thread = thread::Builder::new().name("ledger".to_owned());
        let thread = thread.spawn(move || writer::serve(&own_desk, &own_shelf, &queue));
        let thread = thread.map_err(|e| LedgerError::io("the ledger's thread could not be started", e))?;
        let texts = texts::Texts::new(&paths.texts);
        // What is in its way is remembered, and told by the probe.
        let _ = texts.trial(1);
        Ok(Self {
            jobs,
            desk,
            shelf,
            thread: Mutex::new(Some(thread)),
            texts,
            path: paths.db,
            head: paths.head,
            flushes,
            trouble,
            mirror,
            under_way,
        })
    }

    /// Writes what is left and closes the files. Later requests are answered with `Closed`. Blocks.
    pub fn close(&self) {
        // From here on every question is answered with `Closed`, too.
        self.mirror.clear();
        let _ = self.jobs.send(Job::Stop);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the ledger's thread has panicked");
        }
    }

    /// How many commits there were since it was opened; fewer than requests when they came together.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Says that a call is under way that may record an intent: where there are many, they wait a little for each
    /// other and share a flush.
    #[must_use]
    pub fn under_way(&self) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.under_way))
    }

    /// Whether at most one such call is under way.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) <= 1
    }

    /// Whether any such call is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Asks for something that looks at the tables or changes them.
    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Tx<'_>) -> Verdict<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let settled = move |tx: &mut Tx<'_>| {
            tx.settle()?;
            request(tx)
        };
        self.send(Job::Run, settled).await
    }

    /// An intent that comes alone is recorded where it comes from: no thread is woken for it, and nobody's work is kept
    /// waiting while the disk is as quick as it was. None: it goes the way of all others.
    fn at_once(&self, intent: &Intent) -> Option<Result<IntentId, LedgerError>> {
        if !self.is_alone() {
            return None;
        }
        let mut desk = self.desk.try_lock().ok()?;
        let writer = desk.as_mut().filter(|writer| writer.is_quick())?;
        Some(writer.at_once(|tx| intents::record_intent(tx, intent)))
    }

    async fn send<T: Send + 'static>(
        &self,
        job: fn(writer::Work) -> Job,
        request: impl FnOnce(&mut Tx<'_>) -> Verdict<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.deliver(job, |tx| tx.attempt(request)).await
    }

    /// An entry of the journal, and what follows from it.
    async fn send_entry<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Tx<'_>) -> Verdict<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.deliver(Job::Run, |tx| tx.attempt_lightly(request)).await
    }

    async fn deliver<T: Send + 'static>(
        &self,
        job: fn(writer::Work) -> Job,
        attempt: impl FnOnce(&mut Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (tell, told) = oneshot::channel();
        let work: writer::Work = Box::new(move |tx| {
            let result = attempt(tx);
            Box::new(move |failure| {
                let _ = tell.send(failure.map_or(result, |error| Err(error.clone())));
            })
        });
        self.jobs.send(job(work)).map_err(|_| LedgerError::Closed)?;
        told.await.map_err(|_| LedgerError::Closed)?
    }

    /// Asks about committed state.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.read_as(Job::Look, question).await
    }

    /// Asks about committed state but for watermarks, keys that were used and intents, of which rows may be put off: the
    /// tables are looked at as they are.
    async fn glance<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.read_as(Job::Glance, question).await
    }

    async fn read_as<T: Send + 'static>(
        &self,
        job: fn(writer::Work) -> Job,
        question: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let answer = self.send(job, move |tx| question(tx).map(Ok)).await;
        match answer {
            // Files that somebody has cut or written over cannot be read: that is what has to be said.
            Err(error @ (LedgerError::Io { .. } | LedgerError::Corrupt { .. })) => {
                Err(self.probe().await.err().unwrap_or(error))
            }
            answer => answer,
        }
    }

    /// Asks after everything that waits for a commit.
    async fn read_all<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.send(Job::Run, move |tx| question(tx).map(Ok)).await
    }
}

/// Signing.
impl Ledger {
    /// Records, durably, that something is about to be signed. Must be answered before a token is asked.
    ///
    /// # Errors
    /// `Watermark`, `Vanished`, `SharedKey`, `Alarm`, `RepositoryUnknown`: refused, and the refusal is journalled.
    /// Anything else: not recorded, so nothing may be signed.
    pub async fn record_intent(&self, intent: Intent) -> Result<IntentId, LedgerError> {
        if let Some(recorded) = self.at_once(&intent) {
            return recorded;
        }
        self.send_entry(move |tx| intents::record_intent(tx, &intent)).await
    }

    /// Whether an intent would be refused now: a question, which records nothing.
    ///
    /// # Errors
    /// As [`Self::record_intent`].
    pub async fn check_intent(&self, intent: Intent) -> Result<(), LedgerError> {
        let refusal = match self.mirror.judge(|view| intents::refusal(view, &intent)) {
            Some(refusal) => refusal?,
            None => {
                let intent = intent.clone();
                self.read(move |tx| intents::refusal(tx, &intent)).await?
            }
        };
        let Some(refusal) = refusal else { return Ok(()) };
        // With the outcomes that wait for the next commit.
        Err(self.read_all(move |tx| unmade::told(tx, &intent, refusal)).await?)
    }

    /// Whether no signature came of what stands under this mark of what was signed: each time that it was to be signed,
    /// there was none.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn came_to_nothing(
        &self,
        repository: RepositoryId,
        role: RoleName,
        mark: Mark,
    ) -> Result<bool, LedgerError> {
        self.read_all(move |tx| unmade::came_to_nothing(tx, &repository, &role, &mark)).await
    }

    /// Records what became of an intent. Not waited for: it joins the next commit.
    pub fn record_outcome(&self, intent: IntentId, outcome: Outcome) {
        self.later(Later::Outcome(intent, outcome));
    }

    /// Intents whose outcome was never recorded, oldest first: after a crash nobody knows whether a token signed, and
    /// they count as signed. Those of signatures that are being made are among them.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        self.read_all(|_| Ok(())).await?;
        self.read(intents::open_intents).await
    }
}

/// The journal.
impl Ledger {
    /// Adds an entry, durably; gives its number. `kind` is lowercase words with dots; a body that is no object becomes
    /// the member `value`; long strings and lists are cut.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn record_event(&self, kind: &str, body: Value) -> Result<u64, LedgerError> {
        let kind = kind.to_owned();
        self.send_entry(move |tx| tx.append_alone(&kind, body).map(Ok)).await
    }

    /// Adds an entry with the next commit, not waited for.
    pub fn note_event(&self, kind: &str, body: Value) {
        self.later(Later::Event(kind.to_owned(), body));
    }

    fn later(&self, item: Later) {
        if self.shelf.put(item) {
            let _ = self.jobs.send(Job::Later);
        }
    }

    /// At most `limit` entries (never more than 1000) with numbers above `after`, in order.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn entries(&self, after: u64, limit: u64) -> Result<Vec<Entry>, LedgerError> {
        self.read_all(move |tx| chain::entries(tx.db, after, limit.min(1000))).await
    }

    /// Checks the whole journal, the state and the head. Goes in steps, so that signing goes on beside it.
    ///
    /// # Errors
    /// `Io` or `Closed`; what is wrong with the journal stands in the report.
    pub async fn verify_chain(&self) -> Result<ChainReport, LedgerError> {
        let mut at = (0, chain::GENESIS);
        let mut problem = None;
        loop {
            let step = self.glance(move |tx| chain::check_some(tx.db, at.0, Some(at.1))).await;
            match step {
                Ok(Ok(Some(next))) if next.0 > at.0 => at = next,
                Ok(Ok(_)) => break,
                Ok(Err(why)) => problem = Some(why),
                Err(LedgerError::Closed) => return Err(LedgerError::Closed),
                Err(error) => problem = Some(error.to_string()),
            }
            if problem.is_some() {
                break;
            }
        }
        let (path, head) = (self.path.clone(), self.head.clone());
        let rest = self.read_all(move |tx| open::check_again(tx, &path, &head)).await;
        let (entries, newest, later) = match rest {
            Ok(rest) => rest,
            Err(error @ (LedgerError::Corrupt { .. } | LedgerError::Missing { .. })) => {
                // What was read so far may be what memory holds, and the files may hold something else.
                return Ok(ChainReport { entries: at.0, head: at.1, problem: Some(error.to_string()) });
            }
            Err(error) => return Err(error),
        };
        Ok(ChainReport { entries, head: newest, problem: problem.or(later) })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}
