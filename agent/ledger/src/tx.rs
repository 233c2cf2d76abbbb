//! One transaction of the writer thread: the requests that share it, the journal's end, the sum over the state.

use rusqlite::{Connection, Params};
use serde_json::{Map, Value, json};
use tuf::digest::Sha256Digest;
use tuf::time::UtcTime;

use crate::mirror::{Mirror, Touched};
use crate::put_off::{self, Ahead, Fresh, Put, PutOff};
use crate::schema::{Applied, Sum, Table};
use crate::{Clock, Entry, IntentId, LedgerError, OpenIntent, body, chain};

/// What one request comes to. The outer error is a fault: the request is undone. The inner one is a refusal: what
/// it wrote (its journal entry) stays.
pub(crate) type Verdict<T> = Result<Result<T, LedgerError>, LedgerError>;

/// Where journal and state stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The newest entry.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: Sha256Digest,
    /// The sum over all rows of state.
    pub(crate) sum: Sum,
    /// The entry up to which the tables say what the journal says.
    pub(crate) applied: u64,
}

/// What a commit has made durable.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) position: Position,
    pub(crate) touched: Touched,
    pub(crate) fresh: Fresh,
}

/// An open transaction.
pub(crate) struct Tx<'a> {
    pub(crate) db: &'a Connection,
    clock: &'a dyn Clock,
    began: Position,
    position: Position,
    touched: Touched,
    /// What the tables did not say when it began.
    before: &'a PutOff,
    fresh: Fresh,
    /// What is committed; none where intents are not put off.
    mirror: Option<&'a Mirror>,
    /// How the request under way is undone.
    undo: Undo,
    /// Why nothing can be done in this transaction any more.
    broken: Option<LedgerError>,
}

/// How what one request has written is taken out again, where it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// It has written nothing.
    Nothing,
    /// By the savepoint at its beginning.
    Savepoint,
    /// With the whole transaction alone.
    Whole,
}

impl<'a> Tx<'a> {
    /// Begins; a failure shows in every request and at the end.
    pub(crate) fn begin(db: &'a Connection, clock: &'a dyn Clock, position: Position) -> Self {
        let broken = step(db, "BEGIN IMMEDIATE").err().map(LedgerError::from);
        Self { broken, ..Self::looking(db, clock, position) }
    }

    /// The same where rows are put off, and may be.
    pub(crate) fn with(self, before: &'a PutOff, mirror: Option<&'a Mirror>) -> Self {
        Self { before, mirror, ..self }
    }

    /// No transaction of its own: for one question.
    pub(crate) fn looking(db: &'a Connection, clock: &'a dyn Clock, position: Position) -> Self {
        let (before, fresh, touched) = (&put_off::NOTHING, Fresh::default(), Touched::default());
        let (mirror, undo, broken) = (None, Undo::Nothing, None);
        Self { db, clock, began: position, position, touched, before, fresh, mirror, undo, broken }
    }

    /// The same, with nothing to be done in it any more.
    pub(crate) fn broken_by(self, fault: LedgerError) -> Self {
        Self { broken: Some(fault), ..self }
    }

    /// Does one request: whole, or not at all.
    pub(crate) fn attempt<T>(
        &mut self,
        request: impl FnOnce(&mut Self) -> Verdict<T>,
    ) -> Result<T, LedgerError> {
        self.attempt_lightly(|tx| {
            tx.save()?;
            request(tx)
        })
    }

    /// The same for a request that writes by the methods of this type alone. Most add one entry, which is whole by itself:
    /// a savepoint is made where there is more.
    pub(crate) fn attempt_lightly<T>(
        &mut self,
        request: impl FnOnce(&mut Self) -> Verdict<T>,
    ) -> Result<T, LedgerError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let (before, point) = (self.position, self.fresh.point());
        self.undo = Undo::Nothing;
        let done = request(self).and_then(|verdict| {
            if self.undo == Undo::Savepoint {
                step(self.db, "RELEASE request")?;
            }
            Ok(verdict)
        });
        done.unwrap_or_else(|fault| {
            self.position = before;
            self.fresh.back_to(point);
            // What was undone is noted among what was done.
            self.touched.everything();
            let undone = match self.undo {
                Undo::Nothing => true,
                Undo::Savepoint => self.db.execute_batch("ROLLBACK TO request; RELEASE request").is_ok(),
                Undo::Whole => false,
            };
            // On a full disk SQLite may have given up the whole transaction: then nobody's part of it will stand.
            if !undone || self.db.is_autocommit() {
                self.broken = Some(fault.clone());
            }
            Err(fault)
        })
    }

    /// What the request under way writes from here on can be taken out again.
    fn save(&mut self) -> Result<(), LedgerError> {
        if self.undo == Undo::Nothing {
            step(self.db, "SAVEPOINT request")?;
            self.undo = Undo::Savepoint;
        }
        Ok(())
    }

    /// Commits, durably, and says where journal and state stand then and what was changed. On failure the caller undoes what is open.
    pub(crate) fn commit(mut self) -> Result<Committed, LedgerError> {
        self.broken.take().map_or(Ok(()), Err)?;
        let changed = self.position.sum != self.began.sum;
        if changed && self.position.seq == self.began.seq {
            // The head outside names entry and sum together.
            self.append("ledger.state", json!({"state": self.position.sum.digest().to_string()}))?;
        }
        let first = self.fresh.waiting(self.before).next().map(|put| put.seq);
        let applied = first.map_or(self.position.seq, |seq| seq.saturating_sub(1));
        if changed || self.fresh.is_settled() || applied > self.began.applied.saturating_add(FAR) {
            self.position.applied = applied;
            self.write_meta()?;
        }
        step(self.db, "COMMIT")?;
        Ok(Committed { position: self.position, touched: self.touched, fresh: self.fresh })
    }

    fn write_meta(&self) -> Result<(), LedgerError> {
        let Position { applied, sum, .. } = self.position;
        let mut set = self.db.prepare_cached("UPDATE meta SET value = ?2 WHERE name = ?1")?;
        set.execute(("state", sum.digest().to_string()))?;
        set.execute((Applied::NAME, Applied { seq: applied, sum }.to_string()))?;
        Ok(())
    }

    /// What judges by what is committed and by what was put off here; none where this transaction has changed the tables
    /// otherwise, or what is committed is not at hand.
    pub(crate) fn ahead<T>(&self, judge: impl FnOnce(Ahead<'_>) -> T) -> Option<T> {
        let mirror = self.mirror.filter(|_| self.touched.is_empty())?;
        mirror.judge(|committed| judge(Ahead { committed, fresh: &self.fresh }))
    }

    /// Puts off the rows of an intent whose entry was just added.
    pub(crate) fn put_off(&mut self, put: Put) {
        self.fresh.put(put);
    }

    /// An intent whose rows are put off, if it has no outcome.
    pub(crate) fn open_put_off(&self, id: IntentId) -> Option<OpenIntent> {
        self.fresh.open(self.before, id)
    }

    /// Such an intent has its outcome now.
    pub(crate) fn close_put_off(&mut self, id: IntentId) {
        self.fresh.close(id);
    }

    /// Writes all rows that were put off: the tables say what the journal says.
    pub(crate) fn settle(&mut self) -> Result<(), LedgerError> {
        if self.fresh.waiting(self.before).next().is_none() {
            return Ok(());
        }
        self.save()?;
        let mut fresh = std::mem::take(&mut self.fresh);
        let done = put_off::write(self, &mut fresh, self.before);
        self.fresh = fresh;
        done
    }

    /// Whether it has added anything to the journal.
    pub(crate) fn has_news(&self) -> bool {
        self.position.seq != self.began.seq
    }

    /// Lets the journal go on from another end: it was taken over whole.
    pub(crate) const fn go_on_from(&mut self, seq: u64, hash: Sha256Digest) {
        self.position.seq = seq;
        self.position.hash = hash;
    }

    /// The clock.
    pub(crate) const fn clock(&self) -> &'a dyn Clock {
        self.clock
    }

    /// Where journal and state stand within this transaction.
    pub(crate) const fn position(&self) -> Position {
        self.position
    }

    /// Wall time.
    pub(crate) fn now(&self) -> UtcTime {
        self.clock.now()
    }

    /// Adds an entry to the journal; gives its number.
    pub(crate) fn append(&mut self, kind: &str, members: Value) -> Result<u64, LedgerError> {
        self.save()?;
        self.add(kind, members)
    }

    /// The same where nothing else is written by this request: a statement that fails is undone by itself.
    pub(crate) fn append_alone(&mut self, kind: &str, members: Value) -> Result<u64, LedgerError> {
        let seq = self.add(kind, members)?;
        if self.undo == Undo::Nothing {
            self.undo = Undo::Whole;
        }
        Ok(seq)
    }

    fn add(&mut self, kind: &str, members: Value) -> Result<u64, LedgerError> {
        let members = match members {
            Value::Object(members) => members,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        let kind =
            kind.chars().filter(|c| c.is_ascii_lowercase() || matches!(c, '.' | '-')).take(64).collect();
        let mut entry = Entry {
            seq: self.position.seq.saturating_add(1),
            time: self.clock.now().to_string(),
            boot_ms: self.clock.boot_ms(),
            kind,
            body: body::text(members),
            previous: self.position.hash,
            hash: chain::GENESIS,
        };
        entry.hash = entry.computed_hash();
        chain::insert(self.db, &entry)?;
        self.position.seq = entry.seq;
        self.position.hash = entry.hash;
        Ok(entry.seq)
    }

    /// Changes one row of state, named by its whole primary key, with one statement.
    pub(crate) fn change<K: Params + Clone>(
        &mut self,
        table: Table,
        key: K,
        sql: &str,
        params: impl Params,
    ) -> Result<(), LedgerError> {
        self.save()?;
        self.position.sum.toggle_row(self.db, table, key.clone(), &mut self.touched)?;
        self.db.prepare_cached(sql)?.execute(params)?;
        self.position.sum.toggle_row(self.db, table, key, &mut self.touched)
    }
}

/// The tables are said to be up to date at least every so many entries, so that few are read back after a crash.
const FAR: u64 = 1024;

/// A step of every transaction; kept prepared.
fn step(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(()).map(drop)
}
