//! Lists of roles with versions: what snapshots and timestamps have listed, and what was found published. They only rise,
//! but for a reset (see there).

use std::collections::BTreeMap;

use rusqlite::OptionalExtension as _;
use tuf::role::{RoleKind, RoleName, Version};

use crate::marks::column_version;
use crate::records::column_text;
use crate::schema::Table;
use crate::tx::Tx;
use crate::{InvalidName, LedgerError, RepositoryId, chain};

/// Whose list a row of `listed` belongs to: a role at the highest version at which it stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Listing {
    /// What snapshots have listed.
    Snapshot,
    /// What timestamps have listed.
    Timestamp,
    /// What was found published with its threshold met. Verified metadata may never have come out.
    Published,
    /// What was found published and short of its threshold.
    Short,
}

impl Listing {
    /// The list that metadata of this role gives.
    pub(crate) fn of(role: &RoleName) -> Option<Self> {
        match role.kind() {
            RoleKind::Snapshot => Some(Self::Snapshot),
            RoleKind::Timestamp => Some(Self::Timestamp),
            RoleKind::Root | RoleKind::Targets => None,
        }
    }

    /// The list in which clients find a role.
    pub(crate) fn that_names(role: &RoleName) -> Option<Self> {
        match role.kind() {
            RoleKind::Snapshot => Some(Self::Timestamp),
            RoleKind::Targets => Some(Self::Snapshot),
            RoleKind::Root | RoleKind::Timestamp => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
            Self::Published => "published",
            Self::Short => "short",
        }
    }

    pub(crate) const ALL: [Self; 4] = [Self::Snapshot, Self::Timestamp, Self::Published, Self::Short];
}

impl std::str::FromStr for Listing {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL.into_iter().find(|listing| listing.as_str() == text).ok_or(InvalidName)
    }
}

/// Sets at which version an entry was listed last, or forgets it; for a reset, which the caller journals.
pub(crate) fn set_listed(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    listing: Listing,
    role: &RoleName,
    version: Option<Version>,
) -> Result<(), LedgerError> {
    let text = repository.to_string();
    let key = (text.as_str(), listing.as_str(), role.as_str());
    tx.change(
        Table::Listed,
        key,
        "DELETE FROM listed WHERE repository = ?1 AND listing = ?2 AND role = ?3",
        key,
    )?;
    let entry = version.map(|version| BTreeMap::from([(role.clone(), version)]));
    entry.map_or(Ok(()), |entry| raise_listed(tx, repository, listing, &entry))
}

/// All of a list.
pub(crate) fn listed(
    tx: &Tx<'_>,
    repository: &RepositoryId,
    listing: Listing,
) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
    let mut select =
        tx.db.prepare_cached("SELECT role, version FROM listed WHERE repository = ?1 AND listing = ?2")?;
    let rows = select.query_map((repository.to_string(), listing.as_str()), |row| {
        Ok((column_text(row, 0)?, column_version(row, 1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// At which version a role stands in a list.
pub(crate) fn listed_at(
    tx: &Tx<'_>,
    repository: &RepositoryId,
    listing: Listing,
    role: &RoleName,
) -> Result<Option<Version>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT version FROM listed WHERE repository = ?1 AND listing = ?2 AND role = ?3")?;
    let key = (repository.to_string(), listing.as_str(), role.as_str());
    Ok(select.query_row(key, |row| column_version(row, 0)).optional()?)
}

/// Raises what a list says of some roles; a lower version changes nothing.
pub(crate) fn raise_listed(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    listing: Listing,
    lists: &BTreeMap<RoleName, Version>,
) -> Result<(), LedgerError> {
    let text = repository.to_string();
    for (role, version) in lists {
        if listed_at(tx, repository, listing, role)?.is_some_and(|last| last >= *version) {
            continue;
        }
        let key = (text.as_str(), listing.as_str(), role.as_str());
        tx.change(
            Table::Listed,
            key,
            "INSERT INTO listed (repository, listing, role, version) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET version = ?4",
            (key.0, key.1, key.2, chain::number(version.get())?),
        )?;
    }
    Ok(())
}

/// Takes note of what metadata of this role lists; most lists nothing.
pub(crate) fn raise_lists_of(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    lists: &BTreeMap<RoleName, Version>,
) -> Result<(), LedgerError> {
    Listing::of(role).map_or(Ok(()), |listing| raise_listed(tx, repository, listing, lists))
}
