//! Rows that are put off: an ordinary intent is durable with its journal entry alone.
//!
//! What such an intent means for the tables (the mark of its role goes up, its keys belong to the repository, it is open
//! until it has its outcome) follows from its entry. So one entry is all that is written before the token signs. The
//! rows follow at the next pause, before anything else is asked of the tables, and at the end. `meta` names the entry up
//! to which the tables say what the journal says; after a crash what comes behind it is read back from the journal.
//! The law is judged in the transaction that records, as for every intent: by what is committed, which the mirror holds,
//! and by what came before in the same transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};

use crate::intents::{self, View};
use crate::listings::Listing;
use crate::marks::{self, Side};
use crate::mirror::State;
use crate::records::{self, column_u64};
use crate::tx::{Position, Tx};
use crate::{
    Clock, Intent, IntentId, LedgerError, Mark, OpenIntent, RepositoryId, RepositoryName, Watermark,
};
use crate::{body, chain};

/// What one intent means for the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    /// Its entry.
    pub(crate) seq: u64,
    pub(crate) repository: RepositoryId,
    pub(crate) role: RoleName,
    pub(crate) mark: Mark,
    /// Fingerprints.
    pub(crate) keys: Vec<Sha256Digest>,
}

impl Put {
    pub(crate) fn new(seq: u64, intent: &Intent, mark: Mark) -> Self {
        let keys = intent.keys.iter().map(|key| key.fingerprint).collect();
        Self { seq, repository: intent.repository, role: intent.role.clone(), mark, keys }
    }

    /// As its entry tells it.
    fn from_entry(seq: u64, time: &str, body: &Value) -> Option<Self> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let version = Version::new(body.get("version")?.as_u64()?)?;
        let mark = Mark { version, digest: text("sha256")?.parse().ok()?, on: time.parse().ok()? };
        let fingerprint = |key: &Value| key.get("fingerprint")?.as_str()?.parse().ok();
        let keys = body.get("keys")?.as_array()?.iter().map(fingerprint).collect::<Option<_>>()?;
        let (repository, role) = (text("repository_id")?.parse().ok()?, RoleName::parse(text("role")?).ok()?);
        Some(Self { seq, repository, role, mark, keys })
    }

    pub(crate) fn open(&self) -> OpenIntent {
        OpenIntent {
            id: IntentId(self.seq),
            repository: self.repository,
            role: self.role.clone(),
            version: self.mark.version,
            digest: self.mark.digest,
        }
    }
}

/// Whether the entry of an intent says all that the tables must know of it. What a snapshot lists, and what a person has
/// said about it, is written at once.
pub(crate) fn can_wait(intent: &Intent) -> bool {
    intent.lists.is_empty()
        && intent.supersedes.is_none()
        && !intent.shared_key
        && intent.keys.len() <= body::MOST
        && intent.role.as_str().chars().count() <= body::LONGEST
}

/// What the journal says and the tables do not say yet.
#[derive(Debug, Default)]
pub(crate) struct PutOff {
    /// In the order of their entries.
    puts: Vec<Put>,
    /// Those that have their outcome.
    closed: BTreeSet<u64>,
}

/// Nothing is put off.
pub(crate) static NOTHING: PutOff = PutOff { puts: Vec::new(), closed: BTreeSet::new() };

impl PutOff {
    /// What the journal says behind the entry `after`.
    pub(crate) fn read(db: &Connection, path: &Path, after: u64) -> Result<Self, LedgerError> {
        let mut select = db.prepare(
            "SELECT seq, time, kind, body FROM journal WHERE seq > ?1 AND kind IN ('sign.intent', 'sign.outcome') \
             ORDER BY seq",
        )?;
        let mut rows = select.query((chain::number(after)?,))?;
        let mut found = Self::default();
        while let Some(row) = rows.next()? {
            let (seq, time, kind) = (column_u64(row, 0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?);
            let body: Option<Value> = serde_json::from_str(&row.get::<_, String>(3)?).ok();
            let understood = body.is_some_and(|body| match kind.as_str() {
                "sign.intent" => Put::from_entry(seq, &time, &body).map(|put| found.puts.push(put)).is_some(),
                _ => body.get("intent").and_then(Value::as_u64).map(|id| found.closed.insert(id)).is_some(),
            });
            if !understood {
                let why = format!("entry {seq} of its journal cannot be read back into its tables");
                return Err(LedgerError::corrupt(path, why));
            }
        }
        let oldest = found.puts.first().map_or(u64::MAX, |put| put.seq);
        found.closed = found.closed.split_off(&oldest);
        Ok(found)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.puts.is_empty()
    }

    pub(crate) fn puts(&self) -> &[Put] {
        &self.puts
    }

    /// After a commit.
    pub(crate) fn follow(&mut self, fresh: Fresh) {
        let (puts, closed) = fresh.settled.unwrap_or((0, 0));
        if fresh.settled.is_some() {
            *self = Self::default();
        }
        self.puts.extend(fresh.puts.into_iter().skip(puts));
        self.closed.extend(fresh.closed.into_iter().skip(closed));
    }
}

/// What one transaction puts off, or writes of what was put off.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    puts: Vec<Put>,
    closed: Vec<u64>,
    /// All that was put off before is written, and of `puts` and `closed` so many.
    settled: Option<(usize, usize)>,
}

/// How far a transaction has come, to go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point(usize, usize, Option<(usize, usize)>);

impl Fresh {
    pub(crate) fn point(&self) -> Point {
        Point(self.puts.len(), self.closed.len(), self.settled)
    }

    pub(crate) fn back_to(&mut self, point: Point) {
        self.puts.truncate(point.0);
        self.closed.truncate(point.1);
        self.settled = point.2;
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    pub(crate) fn put(&mut self, put: Put) {
        self.puts.push(put);
    }

    pub(crate) fn close(&mut self, id: IntentId) {
        self.closed.push(id.0);
    }

    /// What is put off beside `before`, and was not written since, oldest first.
    pub(crate) fn waiting<'a>(&'a self, before: &'a PutOff) -> impl Iterator<Item = &'a Put> {
        let before: &[Put] = if self.is_settled() { &[] } else { &before.puts };
        before.iter().chain(self.own())
    }

    fn own(&self) -> &[Put] {
        self.puts.get(self.settled.map_or(0, |(puts, _)| puts)..).unwrap_or_default()
    }

    fn is_closed(&self, before: &PutOff, seq: u64) -> bool {
        before.closed.contains(&seq) || self.closed.contains(&seq)
    }

    /// An intent that is put off and has no outcome.
    pub(crate) fn open(&self, before: &PutOff, id: IntentId) -> Option<OpenIntent> {
        let own = self.own().iter().rfind(|put| put.seq == id.0);
        let found = own.or_else(|| {
            let before: &[Put] = if self.is_settled() { &[] } else { &before.puts };
            before.binary_search_by_key(&id.0, |put| put.seq).ok().and_then(|at| before.get(at))
        });
        found.filter(|put| !self.is_closed(before, put.seq)).map(Put::open)
    }
}

/// Writes what is put off into the tables; gives what is no longer put off.
pub(crate) fn write(tx: &mut Tx<'_>, fresh: &mut Fresh, before: &PutOff) -> Result<(), LedgerError> {
    let waiting: Vec<Put> = fresh.waiting(before).cloned().collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let (mut raised, mut keys) = (BTreeMap::new(), BTreeSet::new());
    for put in &waiting {
        let mark = raised.entry((put.repository, &put.role)).or_insert(put.mark);
        // The same content may be signed again; the first time stays.
        if put.mark.version > mark.version {
            *mark = put.mark;
        }
        keys.extend(put.keys.iter().map(|key| (*key, put.repository, &put.role)));
    }
    for ((repository, role), mark) in raised {
        marks::raise(tx, &repository, role, Side::Signed, mark)?;
    }
    for (key, repository, role) in keys {
        records::note_key_use(tx, &repository, role, key, true)?;
    }
    for put in waiting.iter().filter(|put| !fresh.is_closed(before, put.seq)) {
        intents::insert_open(tx, &put.open())?;
    }
    fresh.settled = Some((fresh.puts.len(), fresh.closed.len()));
    Ok(())
}

/// Writes the rows that were put off when the agent ended without writing them, from the journal.
pub(crate) fn catch_up(
    db: &Connection,
    path: &Path,
    clock: &dyn Clock,
    position: Position,
) -> Result<Position, LedgerError> {
    let put_off = PutOff::read(db, path, position.applied)?;
    if put_off.is_empty() {
        return Ok(position);
    }
    let mut tx = Tx::begin(db, clock, position).with(&put_off, None);
    tx.attempt(|tx| tx.settle().map(Ok))?;
    tracing::info!(intents = put_off.puts().len(), "rows that were put off are written from the journal");
    tx.commit().map(|committed| committed.position)
}

/// What is committed, as the mirror has it, and what this transaction has put off.
pub(crate) struct Ahead<'a> {
    pub(crate) committed: &'a State,
    pub(crate) fresh: &'a Fresh,
}

impl View for Ahead<'_> {
    fn name(&self, id: &RepositoryId) -> Result<Option<RepositoryName>, LedgerError> {
        self.committed.name(id)
    }

    fn restored(&self, id: &RepositoryId) -> Result<bool, LedgerError> {
        self.committed.restored(id)
    }

    fn alarm(&self, id: &RepositoryId, role: &RoleName) -> Result<Option<String>, LedgerError> {
        self.committed.alarm(id, role)
    }

    fn watermark(&self, id: &RepositoryId, role: &RoleName) -> Result<Watermark, LedgerError> {
        let mut watermark = self.committed.watermark(id, role)?;
        for put in self.fresh.own().iter().filter(|put| put.repository == *id && put.role == *role) {
            watermark.raise_signed(put.mark);
        }
        Ok(watermark)
    }

    fn listed(
        &self,
        id: &RepositoryId,
        listing: Listing,
    ) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
        self.committed.listed(id, listing)
    }

    fn listed_at(
        &self,
        id: &RepositoryId,
        listing: Listing,
        role: &RoleName,
    ) -> Result<Option<Version>, LedgerError> {
        self.committed.listed_at(id, listing, role)
    }

    fn has_unfounded(&self, id: &RepositoryId) -> Result<bool, LedgerError> {
        View::has_unfounded(self.committed, id)
    }

    fn used_elsewhere(
        &self,
        id: &RepositoryId,
        fingerprint: Sha256Digest,
    ) -> Result<Option<RepositoryName>, LedgerError> {
        let uses = self.fresh.own().iter().filter(|put| put.keys.contains(&fingerprint));
        let others: BTreeSet<RepositoryId> = uses.map(|put| put.repository).collect();
        Ok(self.committed.user_beside(id, fingerprint, &others))
    }
}

#[cfg(test)]
#[path = "put_off_tests.rs"]
mod tests;
