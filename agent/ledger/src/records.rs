//! Repositories: their records, root chains, and the keys that have signed for them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Row};
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;

use crate::listings::{self, Listing};
use crate::marks;
use crate::schema::Table;
use crate::tx::{Tx, Verdict};
use crate::{LedgerError, Noted, Record, RepositoryId, RepositoryName, Verified, chain};

/// Takes a record over as it is, with its identity.
pub(crate) fn insert_known(tx: &mut Tx<'_>, record: &Record) -> Result<(), LedgerError> {
    let text = record.id.to_string();
    tx.change(
        Table::Repositories,
        (text.as_str(),),
        "INSERT INTO repositories (id, name, expiry, tough_names, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            text.as_str(),
            record.name.as_str(),
            days(&record.expiry_days).to_string(),
            record.tough_names,
            record.created.unix(),
        ),
    )
}

/// Which keys serve which roles of a repository, and whether they have signed.
pub(crate) fn key_uses_of(
    tx: &Tx<'_>,
    id: &RepositoryId,
) -> Result<Vec<(Sha256Digest, RoleName, bool)>, LedgerError> {
    let mut select =
        tx.db.prepare_cached("SELECT fingerprint, role, signed FROM key_use WHERE repository = ?1")?;
    let rows = select.query_map((id.to_string(),), |row| {
        Ok((marks::column_digest(row, 0)?, column_text(row, 1)?, row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds the next root to a chain (or the first that is trusted) and notes it as verified.
pub(crate) fn advance_root(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    root: &Verified,
    published: bool,
) -> Verdict<Noted> {
    let Some(record) = by_id(tx, id)? else {
        return Ok(Err(LedgerError::RepositoryUnknown { name: id.to_string() }));
    };
    if let Some(known) = by_roots(tx, &[root.digest])? {
        let same = known.id == *id;
        return Ok(if same { Ok(Noted::Known) } else { Err(LedgerError::ChainKnown { name: known.name }) });
    }
    match record.root {
        // Other content under a version of the chain: an alarm.
        Some((trusted, _)) if root.version == trusted => {
            return marks::note_verified(tx, id, root, published);
        }
        Some((trusted, _)) if trusted.next() != Some(root.version) => {
            return Ok(Err(LedgerError::RootStep { trusted, given: root.version }));
        }
        _ => {}
    }
    let noted = match marks::note_verified(tx, id, root, published)? {
        Ok(noted) => noted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if matches!(noted, Noted::Conflict { .. }) {
        return Ok(Ok(noted));
    }
    insert_root(tx, id, root.version, root.digest)?;
    Ok(Ok(noted))
}

/// Adds roots before the first one of a chain, newest first, each just below the oldest that is known. They say which
/// chain it is; no mark changes.
pub(crate) fn add_ancestors(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    ancestors: &[(Version, Sha256Digest)],
) -> Verdict<()> {
    for (version, digest) in ancestors {
        if let Some(known) = by_roots(tx, &[*digest])? {
            if known.id == *id {
                continue;
            }
            return Ok(Err(LedgerError::ChainKnown { name: known.name }));
        }
        let oldest = roots(tx, id)?.first().map(|(oldest, _)| *oldest);
        match oldest {
            Some(oldest) if version.next() == Some(oldest) => {}
            Some(oldest) => return Ok(Err(LedgerError::RootStep { trusted: oldest, given: *version })),
            None => return Ok(Err(LedgerError::RepositoryUnknown { name: id.to_string() })),
        }
        let body = json!({
            "repository_id": id.to_string(), "version": version.get(), "sha256": digest.to_string(),
        });
        tx.append("root.ancestor", body)?;
        insert_root(tx, id, *version, *digest)?;
    }
    Ok(Ok(()))
}

/// Adds one root; the caller has judged that it belongs there.
pub(crate) fn insert_root(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    version: Version,
    digest: Sha256Digest,
) -> Result<(), LedgerError> {
    let text = id.to_string();
    let number = chain::number(version.get())?;
    tx.change(
        Table::Roots,
        (text.as_str(), number),
        "INSERT INTO roots (repository, version, digest) VALUES (?1, ?2, ?3)",
        (text.as_str(), number, digest.as_bytes()),
    )
}

/// Takes note of many files in their order; the first refusal ends it, and what came before it stays.
pub(crate) fn note_all(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    files: &[Verified],
    published: bool,
) -> Verdict<Vec<Noted>> {
    let mut all = Vec::with_capacity(files.len());
    let mut out = BTreeMap::new();
    for file in files {
        let noted = match file.role.kind() {
            RoleKind::Root => advance_root(tx, id, file, published)?,
            _ => marks::note_verified(tx, id, file, published)?,
        };
        match noted {
            // What follows was verified by this root, which is not ours.
            Ok(noted @ Noted::Conflict { .. }) if file.role.kind() == RoleKind::Root => {
                all.push(noted);
                break;
            }
            Ok(noted) => {
                if matches!(noted, Noted::Raised | Noted::Known) {
                    let newest = out.entry(file.role.clone()).or_insert(file.version);
                    *newest = file.version.max(*newest);
                }
                all.push(noted);
            }
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    if published {
        listings::raise_listed(tx, id, Listing::Published, &out)?;
    }
    Ok(Ok(all))
}

/// The roots of a repository's chain that were verified, oldest first.
pub(crate) fn roots(tx: &Tx<'_>, id: &RepositoryId) -> Result<Vec<(Version, Sha256Digest)>, LedgerError> {
    let mut select =
        tx.db.prepare_cached("SELECT version, digest FROM roots WHERE repository = ?1 ORDER BY version")?;
    let rows = select.query_map((id.to_string(),), |row| {
        Ok((marks::column_version(row, 0)?, marks::column_digest(row, 1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets the lengths of roles; journalled, each with the one that stood until now: the record's, else the default that is
/// given first. All roles (bins) that change alike share an entry.
pub(crate) fn set_expiry(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    lengths: &BTreeMap<RoleName, (u32, u32)>,
    caller: &Value,
) -> Verdict<Record> {
    let Some(mut record) = by_id(tx, id)? else {
        return Ok(Err(LedgerError::RepositoryUnknown { name: id.to_string() }));
    };
    let mut alike: BTreeMap<(u32, u32), Vec<&str>> = BTreeMap::new();
    let all = Arc::make_mut(&mut record.expiry_days);
    for (role, (default, length)) in lengths {
        let before = all.insert(role.clone(), *length);
        if before != Some(*length) {
            alike.entry((*length, before.unwrap_or(*default))).or_default().push(role.as_str());
        }
    }
    if alike.is_empty() {
        return Ok(Ok(record));
    }
    for ((length, before), roles) in alike {
        let mut body = json!({
            "repository": record.name.as_str(), "repository_id": id.to_string(), "role": roles.first(),
            "days": length, "days_before": before, "caller": caller,
        });
        if let (Some(body), [_, _, ..]) = (body.as_object_mut(), roles.as_slice()) {
            body.insert("number_of_roles".to_owned(), roles.len().into());
            body.insert("roles".to_owned(), json!(roles));
        }
        tx.append("repository.expiry", body)?;
    }
    let text = id.to_string();
    tx.change(
        Table::Repositories,
        (text.as_str(),),
        "UPDATE repositories SET expiry = ?2 WHERE id = ?1",
        (text.as_str(), days(&record.expiry_days).to_string()),
    )?;
    Ok(Ok(record))
}

/// All records, by name.
pub(crate) fn all(tx: &Tx<'_>) -> Result<Vec<Record>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT id, name, expiry, tough_names, created FROM repositories ORDER BY name")?;
    let records = select.query_map((), record)?.collect::<Result<Vec<_>, _>>()?;
    records.into_iter().map(|record| with_root(tx, record)).collect()
}

/// The record with this name.
pub(crate) fn by_name(tx: &Tx<'_>, name: &RepositoryName) -> Result<Option<Record>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT id, name, expiry, tough_names, created FROM repositories WHERE name = ?1")?;
    let found = select.query_row((name.as_str(),), record).optional()?;
    found.map(|record| with_root(tx, record)).transpose()
}

/// Whether there is a record with this identity.
pub(crate) fn is_known(tx: &Tx<'_>, id: &RepositoryId) -> Result<bool, LedgerError> {
    let mut select = tx.db.prepare_cached("SELECT 1 FROM repositories WHERE id = ?1")?;
    Ok(select.exists((id.to_string(),))?)
}

/// The record with this identity.
pub(crate) fn by_id(tx: &Tx<'_>, id: &RepositoryId) -> Result<Option<Record>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT id, name, expiry, tough_names, created FROM repositories WHERE id = ?1")?;
    let found = select.query_row((id.to_string(),), record).optional()?;
    found.map(|record| with_root(tx, record)).transpose()
}

/// The record whose chain holds one of these roots.
pub(crate) fn by_roots(tx: &Tx<'_>, digests: &[Sha256Digest]) -> Result<Option<Record>, LedgerError> {
    let mut select = tx.db.prepare_cached("SELECT repository FROM roots WHERE digest = ?1")?;
    for digest in digests {
        let id = select.query_row((digest.as_bytes(),), |row| column_text(row, 0)).optional()?;
        if let Some(id) = id {
            return by_id(tx, &id);
        }
    }
    Ok(None)
}

/// Fingerprints of the keys that have signed for a repository here.
pub(crate) fn used_keys(tx: &Tx<'_>, id: &RepositoryId) -> Result<Vec<Sha256Digest>, LedgerError> {
    let mut select =
        tx.db.prepare_cached("SELECT DISTINCT fingerprint FROM key_use WHERE repository = ?1 AND signed")?;
    let rows = select.query_map((id.to_string(),), |row| marks::column_digest(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Fingerprints of the keys that have signed this role of a repository here.
pub(crate) fn used_keys_of_role(
    tx: &Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
) -> Result<Vec<Sha256Digest>, LedgerError> {
    let mut select = tx
        .db
        .prepare_cached("SELECT fingerprint FROM key_use WHERE repository = ?1 AND role = ?2 AND signed")?;
    let rows = select.query_map((id.to_string(), role.as_str()), |row| marks::column_digest(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes note that a key signs for a role of a repository, or only may.
pub(crate) fn note_key_use(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
    fingerprint: Sha256Digest,
    signed: bool,
) -> Result<(), LedgerError> {
    let text = id.to_string();
    let key = (fingerprint.as_bytes(), text.as_str(), role.as_str());
    tx.change(
        Table::KeyUse,
        key,
        "INSERT INTO key_use (fingerprint, repository, role, signed) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET signed = 1 WHERE ?4",
        (key.0, key.1, key.2, signed),
    )
}

/// Takes note that verified metadata gives a role to these keys: its clients trust what they sign. One that belongs to
/// another repository stays that one's.
pub(crate) fn note_named(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    fingerprints: &[Sha256Digest],
) -> Result<(), LedgerError> {
    let text = id.to_string();
    for fingerprint in fingerprints {
        let key = (fingerprint.as_bytes(), text.as_str());
        let named = "SELECT 1 FROM named WHERE fingerprint = ?1 AND repository = ?2";
        if tx.db.prepare_cached(named)?.exists(key)? {
            continue;
        }
        let owned = used_elsewhere(tx, Some(id), *fingerprint)?.is_none();
        let insert = "INSERT INTO named (fingerprint, repository, owned) VALUES (?1, ?2, ?3)";
        tx.change(Table::Named, key, insert, (key.0, key.1, owned))?;
    }
    Ok(())
}

const OWNED_BY: &str = "SELECT 1 FROM named WHERE fingerprint = ?1 AND repository = ?2 AND owned";

/// The keys that verified metadata of a repository names.
pub(crate) fn named_in(tx: &Tx<'_>, id: &RepositoryId) -> Result<Vec<Sha256Digest>, LedgerError> {
    let mut select = tx.db.prepare_cached("SELECT fingerprint FROM named WHERE repository = ?1")?;
    let rows = select.query_map((id.to_string(),), |row| marks::column_digest(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Which keys have signed for which repositories here, or may.
pub(crate) fn key_uses(tx: &Tx<'_>) -> Result<Vec<(Sha256Digest, RepositoryId)>, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT fingerprint, repository FROM key_use UNION SELECT fingerprint, repository FROM named WHERE owned",
    )?;
    let rows = select.query_map((), |row| Ok((marks::column_digest(row, 0)?, column_text(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All repositories that a key serves, by name: whoever it belongs to, their clients trust it.
pub(crate) fn users_of(
    tx: &Tx<'_>,
    fingerprint: Sha256Digest,
) -> Result<Vec<(RepositoryId, RepositoryName)>, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT id, name FROM repositories WHERE id IN (SELECT repository FROM key_use WHERE fingerprint = ?1 \
         UNION SELECT repository FROM named WHERE fingerprint = ?1) ORDER BY name",
    )?;
    let rows = select
        .query_map((fingerprint.as_bytes(),), |row| Ok((column_text(row, 0)?, column_text(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The repository that this key belongs to, when it is another one and a person has not shared it with this one.
pub(crate) fn used_elsewhere(
    tx: &Tx<'_>,
    id: Option<&RepositoryId>,
    fingerprint: Sha256Digest,
) -> Result<Option<RepositoryName>, LedgerError> {
    // Asked first: a key of thousands of bins has as many uses.
    if let Some(id) = id {
        let key = (fingerprint.as_bytes(), id.to_string());
        let own = "SELECT 1 FROM key_use WHERE fingerprint = ?1 AND repository = ?2 LIMIT 1";
        if tx.db.prepare_cached(own)?.exists((key.0, key.1.as_str()))?
            || tx.db.prepare_cached(OWNED_BY)?.exists((key.0, key.1.as_str()))?
        {
            return Ok(None);
        }
    }
    let mut select = tx.db.prepare_cached(
        "SELECT name FROM repositories WHERE id IN (SELECT repository FROM key_use WHERE fingerprint = ?1 \
         UNION SELECT repository FROM named WHERE fingerprint = ?1 AND owned) ORDER BY name LIMIT 1",
    )?;
    Ok(select.query_row((fingerprint.as_bytes(),), |row| column_text(row, 0)).optional()?)
}

fn with_root(tx: &Tx<'_>, record: Record) -> Result<Record, LedgerError> {
    let root = roots(tx, &record.id)?.last().copied();
    Ok(Record { root, ..record })
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let expiry: String = row.get(2)?;
    let expiry: BTreeMap<String, u32> = serde_json::from_str(&expiry).map_err(|e| unreadable(2, e))?;
    let expiry_days = expiry.into_iter().map(|(role, days)| Ok((RoleName::parse(&role)?, days)));
    Ok(Record {
        id: column_text(row, 0)?,
        name: column_text(row, 1)?,
        expiry_days: expiry_days
            .collect::<Result<BTreeMap<_, _>, tuf::role::RoleError>>()
            .map_err(|e| unreadable(2, e))?
            .into(),
        tough_names: row.get(3)?,
        created: UtcTime::from_unix(row.get(4)?),
        root: None,
    })
}

pub(crate) fn days(expiry: &BTreeMap<RoleName, u32>) -> Value {
    expiry.iter().map(|(role, days)| (role.as_str().to_owned(), Value::from(*days))).collect()
}

/// Text of a column, as the type that it is the text of.
pub(crate) fn column_text<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get::<_, String>(at)?.parse().map_err(|e| unreadable(at, e))
}

/// An integer of a column that is never negative.
pub(crate) fn column_u64(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

fn unreadable(at: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error))
}
