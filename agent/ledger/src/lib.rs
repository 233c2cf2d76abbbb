//! The agent's memory: watermarks, repositories and the hash-chained journal, in one SQLite database.
//!
//! Duty: make an intent durable before its signature leaves, refuse what breaks the watermark, and notice when its
//! own files were changed. Trust: the caller says truthfully what was parsed and verified; the disk is not trusted.
//! Invariants: watermarks never go down; every change of state has its entry in the journal, in the same commit; a
//! journal that does not match its head outside the database is refused and never repaired silently; everything that
//! waits shares one commit.
#![forbid(unsafe_code)]

mod body;
mod chain;
mod clock;
mod error;
mod files;
mod head;
mod intents;
mod marks;
mod open;
mod records;
mod schema;
mod texts;
mod tx;
mod types;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tokio::sync::oneshot;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};

pub use clock::{Clock, SystemClock};
pub use error::LedgerError;
pub use types::{
    AdoptedRoot, Alarm, ChainReport, Entry, Intent, IntentId, IntentKey, InvalidName, Mark, NewRepository,
    Noted, OpenIntent, Outcome, Record, RepositoryId, RepositoryName, Watermark,
};

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
        let opened = open::open(&paths, &*clock)?;
        let flushes = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            db: opened.db,
            path: paths.db.clone(),
            identity: opened.identity,
            head: opened.head,
            clock,
            position: opened.position,
            flushes: Arc::clone(&flushes),
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
        })
    }

    /// Writes what is left and closes the files. Later requests are answered with `Closed`. Blocks.
    pub fn close(&self) {
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

    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Tx<'_>) -> Verdict<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (tell, told) = oneshot::channel();
        let work: writer::Work = Box::new(move |tx| {
            let result = tx.attempt(request);
            Box::new(move |failure| {
                let _ = tell.send(failure.map_or(result, |error| Err(error.clone())));
            })
        });
        self.jobs.send(Job::Run(work)).map_err(|_| LedgerError::Closed)?;
        told.await.map_err(|_| LedgerError::Closed)?
    }

    async fn read<T: Send + 'static>(
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
        let refusal = self.read(move |tx| intents::refusal(tx, &intent)).await?;
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
        self.read(move |tx| chain::entries(tx.db, after, limit.min(1000))).await
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
        let rest = self.read(move |tx| open::check_again(tx, &path, &head)).await?;
        let (entries, newest, later) = rest;
        Ok(ChainReport { entries, head: newest, problem: problem.or(later) })
    }
}

/// Repositories.
impl Ledger {
    /// Registers a repository, or adopts one with its trusted root. One that is known by this very name and chain is
    /// given back as it is: adopting again changes nothing.
    ///
    /// # Errors
    /// `NameTaken`, `ChainKnown`, `SharedKey`; `Io` or `Closed`.
    pub async fn register_repository(&self, new: NewRepository) -> Result<Record, LedgerError> {
        self.ask(move |tx| records::register(tx, &new)).await
    }

    /// All repositories, by name.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn repositories(&self) -> Result<Vec<Record>, LedgerError> {
        self.read(records::all).await
    }

    /// The repository with this name.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn find_by_name(&self, name: &RepositoryName) -> Result<Option<Record>, LedgerError> {
        let name = name.clone();
        self.read(move |tx| records::by_name(tx, &name)).await
    }

    /// The repository with this identity.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn find_by_id(&self, id: RepositoryId) -> Result<Option<Record>, LedgerError> {
        self.read(move |tx| records::by_id(tx, &id)).await
    }

    /// The repository whose root chain holds one of these roots.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn find_by_roots(&self, digests: Vec<Sha256Digest>) -> Result<Option<Record>, LedgerError> {
        self.read(move |tx| records::by_roots(tx, &digests)).await
    }

    /// The verified roots of a repository's chain, oldest first.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn roots(&self, id: RepositoryId) -> Result<Vec<(Version, Sha256Digest)>, LedgerError> {
        self.read(move |tx| records::roots(tx, &id)).await
    }

    /// Sets for how many days a role's metadata is valid; journalled.
    ///
    /// # Errors
    /// `RepositoryUnknown`; `Io` or `Closed`.
    pub async fn set_expiry(
        &self,
        id: RepositoryId,
        role: RoleName,
        days: u32,
        caller: Value,
    ) -> Result<Record, LedgerError> {
        self.ask(move |tx| records::set_expiry(tx, &id, &role, days, &caller)).await
    }

    /// Takes note of the next root of a chain (or its first), whose thresholds the caller has verified.
    ///
    /// # Errors
    /// `RootStep`, `ChainKnown`, `RepositoryUnknown`; `Io` or `Closed`.
    pub async fn advance_root(
        &self,
        id: RepositoryId,
        version: Version,
        digest: Sha256Digest,
    ) -> Result<Noted, LedgerError> {
        self.ask(move |tx| records::advance_root(tx, &id, version, digest)).await
    }

    /// Takes note of metadata of any role but root, whose threshold the caller has verified; `lists` is what a
    /// snapshot or timestamp lists. Marks only rise.
    ///
    /// # Errors
    /// `RepositoryUnknown`; `Io` or `Closed`. Other content than what is known is [`Noted::Conflict`].
    pub async fn note_verified(
        &self,
        id: RepositoryId,
        role: RoleName,
        version: Version,
        digest: Sha256Digest,
        lists: BTreeMap<RoleName, Version>,
    ) -> Result<Noted, LedgerError> {
        self.ask(move |tx| marks::note_verified(tx, &id, &role, (version, digest), &lists)).await
    }

    /// The watermark of a role; empty when nothing is known.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn watermark(&self, id: RepositoryId, role: RoleName) -> Result<Watermark, LedgerError> {
        self.read(move |tx| marks::read(tx, &id, &role)).await
    }

    /// All watermarks of a repository.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn watermarks(&self, id: RepositoryId) -> Result<BTreeMap<RoleName, Watermark>, LedgerError> {
        self.read(move |tx| marks::all(tx, &id)).await
    }

    /// What the snapshots (or timestamps) of a repository have listed, each entry at its highest version.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn listed(
        &self,
        id: RepositoryId,
        listing: RoleName,
    ) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
        self.read(move |tx| marks::listed(tx, &id, &listing)).await
    }

    /// Which of these keys (fingerprints) belong to another repository than `id`, with its name, and are not shared
    /// with `id` by a person's word.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn keys_elsewhere(
        &self,
        id: Option<RepositoryId>,
        fingerprints: Vec<Sha256Digest>,
    ) -> Result<Vec<(Sha256Digest, RepositoryName)>, LedgerError> {
        self.read(move |tx| {
            let mut found = Vec::new();
            for fingerprint in fingerprints {
                let other = records::used_elsewhere(tx, id.as_ref(), fingerprint)?;
                found.extend(other.map(|name| (fingerprint, name)));
            }
            Ok(found)
        })
        .await
    }

    /// Raises an alarm: the role signs nothing until it is acknowledged. Journalled.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn raise_alarm(
        &self,
        id: RepositoryId,
        role: RoleName,
        message: String,
        about: Value,
    ) -> Result<(), LedgerError> {
        self.ask(move |tx| records::raise_alarm(tx, &id, &role, &message, &about).map(Ok)).await
    }

    /// A person has looked at a role's alarm. False when there was none.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn acknowledge_alarm(
        &self,
        id: RepositoryId,
        role: RoleName,
        caller: Value,
    ) -> Result<bool, LedgerError> {
        self.ask(move |tx| records::acknowledge(tx, &id, &role, &caller)).await
    }

    /// All alarms, oldest first.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, LedgerError> {
        self.read(records::alarms).await
    }
}

/// Texts: files named by the digest of their canonical `signed`. These block; call them on a blocking thread.
impl Ledger {
    /// Keeps the text of metadata that will be signed, before its intent is recorded. Atomic, not flushed: if a power
    /// cut takes it, it counts as never seen.
    ///
    /// # Errors
    /// `Io`.
    pub fn store_text(&self, digest: &Sha256Digest, text: &[u8]) -> Result<(), LedgerError> {
        self.texts.store(digest, text, false)
    }

    /// Keeps the text of verified metadata; flushed, since a root is what everything else hangs on.
    ///
    /// # Errors
    /// `Io`.
    pub fn store_verified_text(&self, digest: &Sha256Digest, text: &[u8]) -> Result<(), LedgerError> {
        self.texts.store(digest, text, true)
    }

    /// The text with this digest, if it is kept. Parse it and compare the digest: the disk is not trusted.
    ///
    /// # Errors
    /// `Io`.
    pub fn load_text(&self, digest: &Sha256Digest) -> Result<Option<Vec<u8>>, LedgerError> {
        self.texts.load(digest)
    }

    /// Removes texts that no watermark and no root refers to and that are older than an hour.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn prune_texts(&self) -> Result<(), LedgerError> {
        let keep: BTreeSet<Sha256Digest> = self.read(marks::referred_digests).await?;
        let texts = self.texts.clone();
        let pruned = tokio::task::spawn_blocking(move || texts.prune(&keep)).await;
        pruned.map_err(|e| LedgerError::io("old texts could not be removed", e))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}
