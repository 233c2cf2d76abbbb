//! One transaction of the writer thread: the requests that share it, the journal's end, the sum over the state.

use rusqlite::{Connection, Params};
use serde_json::{Map, Value};
use tuf::digest::Sha256Digest;
use tuf::time::UtcTime;

use crate::mirror::Touched;
use crate::schema::{Sum, Table};
use crate::{Clock, Entry, LedgerError, body, chain};

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
}

/// An open transaction.
pub(crate) struct Tx<'a> {
    pub(crate) db: &'a Connection,
    clock: &'a dyn Clock,
    position: Position,
    touched: Touched,
    /// Why nothing can be done in this transaction any more.
    broken: Option<LedgerError>,
}

impl<'a> Tx<'a> {
    /// Begins; a failure shows in every request and at the end.
    pub(crate) fn begin(db: &'a Connection, clock: &'a dyn Clock, position: Position) -> Self {
        let broken = step(db, "BEGIN IMMEDIATE").err().map(LedgerError::from);
        Self { db, clock, position, touched: Touched::default(), broken }
    }

    /// No transaction of its own: for one question.
    pub(crate) fn looking(db: &'a Connection, clock: &'a dyn Clock, position: Position) -> Self {
        Self { db, clock, position, touched: Touched::default(), broken: None }
    }

    /// Does one request: whole, or not at all.
    pub(crate) fn attempt<T>(
        &mut self,
        request: impl FnOnce(&mut Self) -> Verdict<T>,
    ) -> Result<T, LedgerError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let before = self.position;
        let done = step(self.db, "SAVEPOINT request").map_err(LedgerError::from);
        let done = done.and_then(|()| {
            let verdict = request(self)?;
            step(self.db, "RELEASE request")?;
            Ok(verdict)
        });
        done.unwrap_or_else(|fault| {
            self.position = before;
            // What was undone is noted among what was done.
            self.touched.everything();
            let undone = self.db.execute_batch("ROLLBACK TO request; RELEASE request");
            // On a full disk SQLite may have given up the whole transaction: then nobody's part of it will stand.
            if undone.is_err() || self.db.is_autocommit() {
                self.broken = Some(fault.clone());
            }
            Err(fault)
        })
    }

    /// Commits, durably, and says where journal and state stand then and what was changed. On failure the caller undoes what is open.
    pub(crate) fn commit(mut self) -> Result<(Position, Touched), LedgerError> {
        let position = self.position;
        let done = self.broken.take().map_or(Ok(()), Err).and_then(|()| {
            let mut set =
                self.db.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'state' AND value <> ?1")?;
            set.execute((position.sum.digest().to_string(),))?;
            step(self.db, "COMMIT")?;
            Ok(())
        });
        done.map(|()| (position, self.touched))
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
        self.position.sum.toggle_row(self.db, table, key.clone(), &mut self.touched)?;
        self.db.prepare_cached(sql)?.execute(params)?;
        self.position.sum.toggle_row(self.db, table, key, &mut self.touched)
    }
}

/// A step of every transaction; kept prepared.
fn step(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(()).map(drop)
}
