//! Watermarks. They only rise, but for a reset (see there).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::json;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};
use tuf::time::UtcTime;

use crate::alarms;
use crate::records::{self, column_text, column_u64};
use crate::resets;
use crate::schema::Table;
use crate::tx::{Tx, Verdict};
use crate::unfounded;
use crate::{FileBytes, LedgerError, Mark, Noted, RepositoryId, Verified, Watermark, chain, listings};

/// Which of a role's two marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Signed,
    Verified,
}

/// The watermark of a role; empty when nothing is known.
pub(crate) fn read(
    tx: &Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
) -> Result<Watermark, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT signed_version, signed_digest, signed_on, verified_version, verified_digest, verified_on, \
         file_length, file_sha256 FROM watermarks WHERE repository = ?1 AND role = ?2",
    )?;
    let found =
        select.query_row((repository.to_string(), role.as_str()), |row| watermark(row, 0)).optional()?;
    Ok(found.unwrap_or_default())
}

/// All watermarks of a repository.
pub(crate) fn all(
    tx: &Tx<'_>,
    repository: &RepositoryId,
) -> Result<BTreeMap<RoleName, Watermark>, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT role, signed_version, signed_digest, signed_on, verified_version, verified_digest, verified_on, \
         file_length, file_sha256 FROM watermarks WHERE repository = ?1",
    )?;
    let rows =
        select.query_map((repository.to_string(),), |row| Ok((column_text(row, 0)?, watermark(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Raises one mark of a role. A lower version changes nothing.
pub(crate) fn raise(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    side: Side,
    mark: Mark,
) -> Result<(), LedgerError> {
    let repository = repository.to_string();
    let sql = match side {
        Side::Signed => {
            "INSERT INTO watermarks (repository, role, signed_version, signed_digest, signed_on) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET \
             signed_version = ?3, signed_digest = ?4, signed_on = ?5 WHERE coalesce(signed_version, 0) < ?3"
        }
        Side::Verified => {
            "INSERT INTO watermarks (repository, role, verified_version, verified_digest, verified_on) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET \
             verified_version = ?3, verified_digest = ?4, verified_on = ?5, file_length = NULL, file_sha256 = NULL \
             WHERE coalesce(verified_version, 0) < ?3"
        }
    };
    let version = chain::number(mark.version.get())?;
    let key = (repository.as_str(), role.as_str());
    let params = (key.0, key.1, version, mark.digest.as_bytes(), mark.on.unix());
    tx.change(Table::Watermarks, key, sql, params)
}

/// Puts other content in the place of what was signed under the same version; the caller has judged that it may.
pub(crate) fn replace_signed(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    mark: Mark,
) -> Result<(), LedgerError> {
    let repository = repository.to_string();
    let key = (repository.as_str(), role.as_str());
    tx.change(
        Table::Watermarks,
        key,
        "UPDATE watermarks SET signed_digest = ?4, signed_on = ?5 \
         WHERE repository = ?1 AND role = ?2 AND signed_version = ?3",
        (key.0, key.1, chain::number(mark.version.get())?, mark.digest.as_bytes(), mark.on.unix()),
    )
}

/// Puts a role back to what it had signed before; a person has confirmed it, and the caller journals it.
pub(crate) fn restart(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    to: Option<Mark>,
) -> Result<(), LedgerError> {
    let text = repository.to_string();
    let key = (text.as_str(), role.as_str());
    tx.change(Table::Watermarks, key, "DELETE FROM watermarks WHERE repository = ?1 AND role = ?2", key)?;
    to.map_or(Ok(()), |mark| raise(tx, repository, role, Side::Signed, mark))
}

/// Takes note of metadata that was verified with its threshold met. Other content than what is known under its
/// version raises an alarm if it is published, and is refused if it is not; the mark stays.
pub(crate) fn note_verified(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    file: &Verified,
    published: bool,
) -> Verdict<Noted> {
    // Not by reading the record: it may hold the lengths of thousands of bins, each of which comes by here.
    if !records::is_known(tx, repository)? {
        return Ok(Err(LedgerError::RepositoryUnknown { name: repository.to_string() }));
    }
    let (role, version, digest) = (&file.role, file.version, file.digest);
    if resets::is_void(tx, repository, role, &digest)? {
        return Ok(Ok(Noted::Older));
    }
    let known = read(tx, repository, role)?;
    if known.verified.is_some_and(|mark| (mark.version, mark.digest) == (version, digest)) {
        note_file(tx, repository, role, file.file.filter(|seen| known.file != Some(*seen)))?;
        return Ok(Ok(Noted::Known));
    }
    let differs = |mark: &Mark| mark.version == version && mark.digest != digest;
    let (signed, verified) = (known.signed.filter(differs), known.verified.filter(differs));
    if let Some(mark) = signed.or(verified) {
        return conflict(tx, repository, file, (mark, signed.is_none()), published);
    }
    if known.verified.is_some_and(|mark| mark.version > version) {
        return Ok(Ok(Noted::Older));
    }
    let body = json!({
        "repository_id": repository.to_string(), "role": role.as_str(), "version": version.get(),
        "sha256": digest.to_string(), "published": published,
    });
    tx.append("verified", body)?;
    let mark = Mark { version, digest, on: tx.now() };
    raise(tx, repository, role, Side::Verified, mark)?;
    for key in &file.signed_by {
        unfounded::settle(tx, repository, role, *key)?;
    }
    note_file(tx, repository, role, file.file)?;
    listings::raise_lists_of(tx, repository, role, &file.lists)?;
    records::note_named(tx, repository, &file.names)?;
    for key in &file.signed_by {
        // A key of another chain does not become this one's because somebody shows what it has signed.
        if records::used_elsewhere(tx, Some(repository), *key)?.is_none() {
            records::note_key_use(tx, repository, role, *key, false)?;
        }
    }
    Ok(Ok(Noted::Raised))
}

/// The bytes in which the verified version of a role was seen; one signature more makes other bytes.
fn note_file(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    file: Option<FileBytes>,
) -> Result<(), LedgerError> {
    let Some(file) = file else { return Ok(()) };
    let repository = repository.to_string();
    let key = (repository.as_str(), role.as_str());
    tx.change(
        Table::Watermarks,
        key,
        "UPDATE watermarks SET file_length = ?3, file_sha256 = ?4 WHERE repository = ?1 AND role = ?2",
        (key.0, key.1, chain::number(file.length)?, file.sha256.as_bytes()),
    )
}

fn conflict(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    file: &Verified,
    (known, verified): (Mark, bool),
    published: bool,
) -> Verdict<Noted> {
    let (role, version) = (file.role.clone(), file.version);
    if !published {
        return Ok(Err(LedgerError::Watermark {
            marked_role: role.clone(),
            role,
            version,
            marked_version: known.version,
            marked_digest: known.digest,
            marked_on: known.on,
            published: verified,
            unmade: false,
        }));
    }
    let done = if verified { "what was verified before" } else { "what this agent signed" };
    let message = format!("{role} version {version} is published with other content than {done}");
    alarms::raise(tx, repository, file, &message, &json!({"known_sha256": known.digest.to_string()}))?;
    Ok(Ok(Noted::Conflict { known, message }))
}

/// A person has looked at published content that differs from what was known: it is what stands now.
pub(crate) fn accept(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    role: &RoleName,
    mark: Mark,
) -> Result<(), LedgerError> {
    if read(tx, repository, role)?.verified.is_some_and(|known| known.version > mark.version) {
        return Ok(());
    }
    let repository = repository.to_string();
    let key = (repository.as_str(), role.as_str());
    tx.change(
        Table::Watermarks,
        key,
        "UPDATE watermarks SET verified_version = ?3, verified_digest = ?4, verified_on = ?5, \
         file_length = NULL, file_sha256 = NULL WHERE repository = ?1 AND role = ?2",
        (key.0, key.1, chain::number(mark.version.get())?, mark.digest.as_bytes(), mark.on.unix()),
    )
}

/// The digest of everything whose text is worth keeping, and of the bytes of what was verified: it may lie under that.
pub(crate) fn referred_digests(db: &Connection) -> Result<BTreeSet<Sha256Digest>, LedgerError> {
    let mut select = db.prepare_cached(
        "SELECT signed_digest FROM watermarks WHERE signed_digest IS NOT NULL \
         UNION SELECT verified_digest FROM watermarks WHERE verified_digest IS NOT NULL UNION SELECT digest FROM roots \
         UNION SELECT file_sha256 FROM watermarks WHERE file_sha256 IS NOT NULL",
    )?;
    let rows = select.query_map((), |row| column_digest(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn watermark(row: &Row<'_>, from: usize) -> rusqlite::Result<Watermark> {
    Ok(Watermark {
        signed: mark(row, from)?,
        verified: mark(row, from + 3)?,
        file: file_bytes(row, from + 6)?,
    })
}

fn file_bytes(row: &Row<'_>, from: usize) -> rusqlite::Result<Option<FileBytes>> {
    if row.get::<_, Option<i64>>(from)?.is_none() {
        return Ok(None);
    }
    Ok(Some(FileBytes { length: column_u64(row, from)?, sha256: column_digest(row, from + 1)? }))
}

fn mark(row: &Row<'_>, from: usize) -> rusqlite::Result<Option<Mark>> {
    if row.get::<_, Option<i64>>(from)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Mark {
        version: column_version(row, from)?,
        digest: column_digest(row, from + 1)?,
        on: UtcTime::from_unix(row.get(from + 2)?),
    }))
}

pub(crate) fn column_version(row: &Row<'_>, at: usize) -> rusqlite::Result<Version> {
    let number = column_u64(row, at)?;
    let out_of_range =
        rusqlite::Error::IntegralValueOutOfRange(at, i64::try_from(number).unwrap_or(i64::MAX));
    Version::new(number).ok_or(out_of_range)
}

pub(crate) fn column_digest(row: &Row<'_>, at: usize) -> rusqlite::Result<Sha256Digest> {
    Ok(Sha256Digest::from_bytes(row.get(at)?))
}
