//! What is committed of repositories and watermarks, in memory: questions about them wait neither for the thread that
//! owns the database nor for a flush.
//!
//! It only ever holds committed state, and a request's own changes before its answer is given. Whether a signature may
//! be made is judged in the transaction that records it: from here and from what that transaction has put off, where it
//! has changed nothing in the tables; otherwise from the database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use rusqlite::Row;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};

use crate::alarms;
use crate::intents::View;
use crate::listings::{self, Listing};
use crate::put_off::Put;
use crate::records::{self, column_text};
use crate::schema::Table;
use crate::tx::Tx;
use crate::{LedgerError, Record, RepositoryId, RepositoryName, Watermark, marks, restore, unfounded};

type Watermarks = BTreeMap<RoleName, Watermark>;

/// The mirror; empty when what it should hold could not be read, and then the database is asked.
#[derive(Debug)]
pub(crate) struct Mirror(RwLock<Option<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    records: Vec<Record>,
    watermarks: BTreeMap<RepositoryId, Watermarks>,
    listed: BTreeMap<(RepositoryId, Listing), BTreeMap<RoleName, Version>>,
    alarms: BTreeMap<(RepositoryId, RoleName), String>,
    restored: Vec<RepositoryName>,
    /// Those of which something is remembered that was signed on a word.
    unfounded: BTreeSet<RepositoryId>,
    /// The repositories that each key has signed for, or may, or whose verified metadata names it.
    key_use: BTreeMap<Sha256Digest, BTreeSet<RepositoryId>>,
}

/// What a transaction has changed.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Repositories or roots were, or it is not known what was.
    whole: bool,
    roles: BTreeSet<(RepositoryId, RoleName)>,
    listings: BTreeSet<(RepositoryId, Listing)>,
    /// Uses of keys: they are taken away with their repository alone.
    keys: BTreeSet<(Sha256Digest, RepositoryId)>,
}

impl Touched {
    /// Nothing was.
    pub(crate) fn is_empty(&self) -> bool {
        !self.whole && self.roles.is_empty() && self.listings.is_empty() && self.keys.is_empty()
    }

    /// It is not known what was changed.
    pub(crate) const fn everything(&mut self) {
        self.whole = true;
    }

    /// Takes note of a row before or after its change.
    pub(crate) fn row(&mut self, table: Table, row: &Row<'_>) -> rusqlite::Result<()> {
        match table {
            Table::Repositories | Table::Roots | Table::Alarms => self.whole = true,
            Table::Watermarks => {
                self.roles.insert((column_text(row, 0)?, column_text(row, 1)?));
            }
            Table::Listed => {
                self.listings.insert((column_text(row, 0)?, column_text(row, 1)?));
            }
            Table::KeyUse => {
                self.keys.insert((marks::column_digest(row, 0)?, column_text(row, 1)?));
            }
            Table::Named => {
                if row.get(2)? {
                    self.keys.insert((marks::column_digest(row, 0)?, column_text(row, 1)?));
                }
            }
            // Seldom; or who owns a key may have changed.
            Table::Restored | Table::Unfounded => self.whole = true,
            // The mirror holds nothing of these.
            Table::Intents | Table::Resets | Table::Pins => {}
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
        if touched.is_empty() {
            return;
        }
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let followed = match state.as_mut() {
            // Closed, or not readable before.
            None => return,
            Some(state) if !touched.whole => state.follow(tx, touched),
            Some(_) => State::load(tx).map(|new| *state = Some(new)),
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "what is committed could not be read again: the database is asked each time");
            *state = None;
        }
    }

    /// After a commit, and after what was committed was read anew: what the tables do not say yet.
    pub(crate) fn foresee<'a>(&self, puts: impl Iterator<Item = &'a Put>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_mut() else { return };
        for put in puts {
            let watermarks = state.watermarks.entry(put.repository).or_default();
            match watermarks.get_mut(&put.role) {
                Some(watermark) => watermark.raise_signed(put.mark),
                None => {
                    let signed = Some(put.mark);
                    watermarks.insert(put.role.clone(), Watermark { signed, ..Watermark::default() });
                }
            }
            for key in &put.keys {
                state.key_use.entry(*key).or_default().insert(put.repository);
            }
        }
    }

    /// Answers nothing any more.
    pub(crate) fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Judges by what is committed; none where the database must be asked.
    pub(crate) fn judge<T>(&self, judge: impl FnOnce(&State) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(judge)
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

impl Mirror {
    /// A list of a repository; none where the database must be asked.
    pub(crate) fn listed<T>(
        &self,
        id: RepositoryId,
        listing: Listing,
        question: impl FnOnce(&BTreeMap<RoleName, Version>) -> T,
    ) -> Option<T> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|state| match state.listed.get(&(id, listing)) {
            Some(listed) => question(listed),
            None => question(&BTreeMap::new()),
        })
    }
}

impl State {
    fn load(tx: &Tx<'_>) -> Result<Self, LedgerError> {
        let records = records::all(tx)?;
        let mut state = Self::default();
        for record in &records {
            state.watermarks.insert(record.id, marks::all(tx, &record.id)?);
            for listing in Listing::ALL {
                state.listed.insert((record.id, listing), listings::listed(tx, &record.id, listing)?);
            }
        }
        for (fingerprint, id) in records::key_uses(tx)? {
            state.key_use.entry(fingerprint).or_default().insert(id);
        }
        state.alarms = alarms::all(tx)?
            .into_iter()
            .filter_map(|alarm| {
                let id = records.iter().find(|record| record.name == alarm.name)?.id;
                Some(((id, alarm.role), alarm.message))
            })
            .collect();
        state.records = records;
        state.restored = restore::names(tx)?;
        state.unfounded = unfounded::repositories(tx)?;
        Ok(state)
    }

    fn follow(&mut self, tx: &Tx<'_>, touched: &Touched) -> Result<(), LedgerError> {
        for (id, listing) in &touched.listings {
            self.listed.insert((*id, *listing), listings::listed(tx, id, *listing)?);
        }
        for (fingerprint, id) in &touched.keys {
            self.key_use.entry(*fingerprint).or_default().insert(*id);
        }
        for (id, role) in &touched.roles {
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

impl State {
    /// The other repository that a key belongs to, where `more` have come to use it.
    pub(crate) fn user_beside(
        &self,
        id: &RepositoryId,
        fingerprint: Sha256Digest,
        more: &BTreeSet<RepositoryId>,
    ) -> Option<RepositoryName> {
        let known = self.key_use.get(&fingerprint);
        let uses = |id: &RepositoryId| known.is_some_and(|users| users.contains(id)) || more.contains(id);
        if uses(id) {
            return None;
        }
        // By name, as the database gives them.
        self.records.iter().find(|record| uses(&record.id)).map(|record| record.name.clone())
    }
}

impl State {
    /// The keys that a repository uses.
    pub(crate) fn keys_of(&self, id: &RepositoryId) -> Vec<Sha256Digest> {
        self.key_use.iter().filter(|(_, users)| users.contains(id)).map(|(key, _)| *key).collect()
    }

    /// Whether anything is remembered that was signed on a word.
    pub(crate) fn has_unfounded(&self, id: &RepositoryId) -> bool {
        self.unfounded.contains(id)
    }
}

impl View for State {
    fn name(&self, id: &RepositoryId) -> Result<Option<RepositoryName>, LedgerError> {
        Ok(self.records.iter().find(|record| record.id == *id).map(|record| record.name.clone()))
    }

    fn restored(&self, id: &RepositoryId) -> Result<bool, LedgerError> {
        let name = self.records.iter().find(|record| record.id == *id).map(|record| &record.name);
        Ok(name.is_some_and(|name| self.restored.contains(name)))
    }

    fn alarm(&self, id: &RepositoryId, role: &RoleName) -> Result<Option<String>, LedgerError> {
        Ok(self.alarms.get(&(*id, role.clone())).cloned())
    }

    fn watermark(&self, id: &RepositoryId, role: &RoleName) -> Result<Watermark, LedgerError> {
        Ok(self.watermarks.get(id).and_then(|all| all.get(role)).copied().unwrap_or_default())
    }

    fn listed(
        &self,
        id: &RepositoryId,
        listing: Listing,
    ) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
        Ok(self.listed.get(&(*id, listing)).cloned().unwrap_or_default())
    }

    fn listed_at(
        &self,
        id: &RepositoryId,
        listing: Listing,
        role: &RoleName,
    ) -> Result<Option<Version>, LedgerError> {
        Ok(self.listed.get(&(*id, listing)).and_then(|all| all.get(role)).copied())
    }

    fn has_unfounded(&self, id: &RepositoryId) -> Result<bool, LedgerError> {
        Ok(self.unfounded.contains(id))
    }

    fn used_elsewhere(
        &self,
        id: &RepositoryId,
        fingerprint: Sha256Digest,
    ) -> Result<Option<RepositoryName>, LedgerError> {
        Ok(self.user_beside(id, fingerprint, &BTreeSet::new()))
    }
}
