//! The agent's memory: watermarks, repositories and the hash-chained journal, in one SQLite database.
//!
//! Duty: make an intent durable before its signature leaves, refuse what breaks the watermark, and notice when its
//! own files were changed. Trust: the caller says truthfully what was parsed and verified; the disk is not trusted.
//! Invariants: watermarks never go down, but by a journalled reset that a person confirmed; every change of state has its entry in the journal, in the same commit; a
//! journal that does not match its head outside the database is refused and never repaired silently; everything that
//! waits shares one commit.
#![forbid(unsafe_code)]

mod alarms;
mod body;
mod chain;
mod clock;
mod error;
mod files;
mod flush;
mod head;
mod intents;
mod marks;
mod mirror;
mod open;
mod records;
mod repositories;
mod resets;
mod restore;
mod saved;
mod schema;
mod texts;
mod tx;
mod types;
mod watchful;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tokio::sync::{oneshot, watch};

pub use clock::{Clock, SystemClock};
pub use error::LedgerError;
pub use flush::UNSAFE_FLUSH;
pub use types::{
    AdoptedRoot, Alarm, ChainReport, Entry, FileBytes, Intent, IntentId, IntentKey, InvalidName, Mark,
    NewRepository, Noted, OpenIntent, Outcome, Record, RepositoryId, RepositoryName, Reset, Restored,
    Snapshot, Verified, Watermark,
};

use crate::mirror::Mirror;
use crate::tx::{Tx, Verdict};
use crate::writer::{Job, Later, Writer};

/// The open ledger. Every request goes to the one thread that owns the database; dropping it writes what is left.
#[derive(Debug)]
pub struct Ledger {
    jobs: mpsc::Sender<Job>,
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
        let flushes = Arc::new(AtomicU64::new(0));
        let (tell_trouble, trouble) = watch::channel(None);
        let under_way = Arc::new(AtomicUsize::new(0));
        let mirror = Arc::new(Mirror::load(&Tx::looking(&opened.db, &*clock, opened.position)));
        let writer = Writer {
            db: opened.db,
            seen: watchful::Seen::new(&paths, opened.identity),
            head: opened.head,
            clock,
            position: opened.position,
            flushes: Arc::clone(&flushes),
            trouble: tell_trouble,
            mirror: Arc::clone(&mirror),
            under_way: Arc::clone(&under_way),
        };
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run(&queue));
        let thread = thread.map_err(|e| LedgerError::io("the ledger's thread could not be started", e))?;
        Ok(Self {
            jobs,
            thread: Mutex::new(Some(thread)),
            texts: texts::Texts::new(&paths.texts),
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

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Tx<'_>) -> Verdict<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.send(Job::Run, request).await
    }

    async fn send<T: Send + 'static>(
        &self,
        job: fn(writer::Work) -> Job,
        request: impl FnOnce(&mut Tx<'_>) -> Verdict<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (tell, told) = oneshot::channel();
        let work: writer::Work = Box::new(move |tx| {
            let result = tx.attempt(request);
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
        self.send(Job::Look, move |tx| question(tx).map(Ok)).await
    }

    /// Asks after everything that waits for a commit.
    async fn read_all<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.ask(move |tx| question(tx).map(Ok)).await
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
        self.ask(move |tx| intents::record_intent(tx, &intent)).await
    }

    /// Whether an intent would be refused now: a question, which records nothing.
    ///
    /// # Errors
    /// As [`Self::record_intent`].
    pub async fn check_intent(&self, intent: Intent) -> Result<(), LedgerError> {
        let refusal = match self.mirror.judge(|view| intents::refusal(view, &intent)) {
            Some(refusal) => refusal?,
            None => self.read(move |tx| intents::refusal(tx, &intent)).await?,
        };
        refusal.map_or(Ok(()), Err)
    }

    /// Records what became of an intent. Not waited for: it joins the next commit.
    pub fn record_outcome(&self, intent: IntentId, outcome: Outcome) {
        let _ = self.jobs.send(Job::Later(Later::Outcome(intent, outcome)));
    }

    /// Intents whose outcome was never recorded, oldest first: after a crash nobody knows whether a token signed, and
    /// they count as signed. Those of signatures that are being made are among them.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        self.read_all(intents::open_intents).await
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
        self.ask(move |tx| tx.append(&kind, body).map(Ok)).await
    }

    /// Adds an entry with the next commit, not waited for.
    pub fn note_event(&self, kind: &str, body: Value) {
        let _ = self.jobs.send(Job::Later(Later::Event(kind.to_owned(), body)));
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
            let step = self.read(move |tx| chain::check_some(tx.db, at.0, Some(at.1))).await?;
            match step {
                Ok(Some(next)) if next.0 > at.0 => at = next,
                Ok(_) => break,
                Err(why) => {
                    problem = Some(why);
                    break;
                }
            }
        }
        let (path, head) = (self.path.clone(), self.head.clone());
        let rest = self.read_all(move |tx| open::check_again(tx, &path, &head)).await?;
        let (entries, newest, later) = rest;
        Ok(ChainReport { entries, head: newest, problem: problem.or(later) })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}
