//! What is committed of repositories and watermarks, in memory: questions about them wait neither for the thread that
//! owns the database nor for a flush.
//!
//! It only ever holds committed state, and a request's own changes before its answer is given. Whether a signature may
//! be made is judged in the transaction, from the database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use rusqlite::Row;
use tuf::role::RoleName;

use crate::records::{self, column_text};
use crate::schema::Table;
use crate::tx::Tx;
use crate::{LedgerError, Record, RepositoryId, Watermark, marks};

type Watermarks = BTreeMap<RoleName, Watermark>;

/// The mirror; empty when what it should hold could not be read, and then the database is asked.
#[derive(Debug)]
pub(crate) struct Mirror(RwLock<Option<State>>);

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    watermarks: BTreeMap<RepositoryId, Watermarks>,
}

/// What a transaction has changed.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Repositories or roots were, or it is not known what was.
    whole: bool,
    roles: BTreeSet<(RepositoryId, RoleName)>,
}

impl Touched {
    /// It is not known what was changed.
    pub(crate) const fn everything(&mut self) {
        self.whole = true;
    }

    /// Takes note of a row before or after its change.
    pub(crate) fn row(&mut self, table: Table, row: &Row<'_>) -> rusqlite::Result<()> {
        match table {
            Table::Repositories | Table::Roots => self.whole = true,
            Table::Watermarks => {
                self.roles.insert((column_text(row, 0)?, column_text(row, 1)?));
            }
            Table::Listed | Table::KeyUse | Table::Alarms | Table::Intents => {}
        }
        Ok(())
    }
}

impl Mirror {
    /// Everything that is committed.
    pub(crate) fn load(tx: &Tx<'_>) -> Self {
        Self(RwLock::new(State::load(tx).ok()))
    }

    /// After a commit, before anybody is told of it.
    pub(crate) fn follow(&self, tx: &Tx<'_>, touched: &Touched) {
        if !touched.whole && touched.roles.is_empty() {
            return;
        }
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let followed = match state.as_mut() {
            Some(state) if !touched.whole => state.follow(tx, &touched.roles),
            _ => State::load(tx).map(|new| *state = Some(new)),
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "what is committed could not be read again: the database is asked each time");
            *state = None;
        }
    }

    /// All repositories, by name; none where the database must be asked.
    pub(crate) fn records<T>(&self, question: impl FnOnce(&[Record]) -> T) -> Option<T> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|state| question(&state.records))
    }

    /// The watermarks of a repository; none where the database must be asked.
    pub(crate) fn watermarks<T>(
        &self,
        id: RepositoryId,
        question: impl FnOnce(&Watermarks) -> T,
    ) -> Option<T> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|state| match state.watermarks.get(&id) {
            Some(watermarks) => question(watermarks),
            None => question(&Watermarks::new()),
        })
    }
}

impl State {
    fn load(tx: &Tx<'_>) -> Result<Self, LedgerError> {
        let records = records::all(tx)?;
        let marks_of = |record: &Record| Ok((record.id, marks::all(tx, &record.id)?));
        let watermarks = records.iter().map(marks_of).collect::<Result<_, LedgerError>>()?;
        Ok(Self { records, watermarks })
    }

    fn follow(&mut self, tx: &Tx<'_>, roles: &BTreeSet<(RepositoryId, RoleName)>) -> Result<(), LedgerError> {
        for (id, role) in roles {
            let watermark = marks::read(tx, id, role)?;
            let watermarks = self.watermarks.entry(*id).or_default();
            if watermark == Watermark::default() {
                watermarks.remove(role);
            } else {
                watermarks.insert(role.clone(), watermark);
            }
        }
        Ok(())
    }
}
