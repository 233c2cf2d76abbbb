//! Alarms: what a person must look at before a role signs again.

use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};
use tuf::time::UtcTime;

use crate::records::column_text;
use crate::schema::Table;
use crate::tx::{Tx, Verdict};
use crate::{Alarm, LedgerError, Mark, RepositoryId, Verified, chain, marks};

/// Raises an alarm about a file, journalled; a role has one at a time, and the first stays.
pub(crate) fn raise(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    file: &Verified,
    message: &str,
    about: &Value,
) -> Result<(), LedgerError> {
    if of_role(tx, id, &file.role)?.is_some() {
        return Ok(());
    }
    let body = json!({
        "repository_id": id.to_string(), "role": file.role.as_str(), "version": file.version.get(),
        "sha256": file.digest.to_string(), "message": message, "about": about,
    });
    tx.append("alarm.raised", body)?;
    let text = id.to_string();
    let key = (text.as_str(), file.role.as_str());
    let version = chain::number(file.version.get())?;
    tx.change(
        Table::Alarms,
        key,
        "INSERT INTO alarms (repository, role, since, message, version, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (key.0, key.1, tx.now().unix(), message, version, file.digest.as_bytes()),
    )
}

/// Takes an alarm over as it is, unless the role has one.
pub(crate) fn insert(tx: &mut Tx<'_>, id: &RepositoryId, alarm: &Alarm) -> Result<(), LedgerError> {
    let text = id.to_string();
    let key = (text.as_str(), alarm.role.as_str());
    let version = chain::number(alarm.version.get())?;
    tx.change(
        Table::Alarms,
        key,
        "INSERT INTO alarms (repository, role, since, message, version, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO NOTHING",
        (key.0, key.1, alarm.since.unix(), &alarm.message, version, alarm.digest.as_bytes()),
    )
}

/// A person has looked at the alarm of a role; journalled. `stands` counts as verified from now on, where the caller has
/// found it published: what the alarm is about, or what was signed here and is back in its place. False when there was no
/// alarm.
pub(crate) fn acknowledge(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
    stands: Option<(Version, Sha256Digest)>,
    caller: &Value,
) -> Verdict<bool> {
    let found = all(tx)?.into_iter().find(|alarm| alarm.repository == *id && alarm.role == *role);
    let Some(alarm) = found else { return Ok(Ok(false)) };
    let body = json!({
        "repository_id": id.to_string(), "role": role.as_str(), "version": alarm.version.get(),
        "sha256": alarm.digest.to_string(), "message": alarm.message, "caller": caller,
        "stands": stands.map(|(version, digest)| json!({"version": version.get(), "sha256": digest.to_string()})),
    });
    tx.append("alarm.acknowledged", body)?;
    let text = id.to_string();
    let key = (text.as_str(), role.as_str());
    tx.change(Table::Alarms, key, "DELETE FROM alarms WHERE repository = ?1 AND role = ?2", key)?;
    if let Some((version, digest)) = stands {
        marks::accept(tx, id, role, Mark { version, digest, on: tx.now() })?;
    }
    Ok(Ok(true))
}

/// Takes a role's alarm away; for a reset, which the caller journals.
pub(crate) fn drop_of_role(tx: &mut Tx<'_>, id: &RepositoryId, role: &RoleName) -> Result<(), LedgerError> {
    let text = id.to_string();
    let key = (text.as_str(), role.as_str());
    tx.change(Table::Alarms, key, "DELETE FROM alarms WHERE repository = ?1 AND role = ?2", key)
}

/// What the alarm of a role says.
pub(crate) fn of_role(
    tx: &Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
) -> Result<Option<String>, LedgerError> {
    let mut select =
        tx.db.prepare_cached("SELECT message FROM alarms WHERE repository = ?1 AND role = ?2")?;
    Ok(select.query_row((id.to_string(), role.as_str()), |row| row.get(0)).optional()?)
}

/// All alarms.
pub(crate) fn all(tx: &Tx<'_>) -> Result<Vec<Alarm>, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT repository, name, role, since, message, version, digest FROM alarms JOIN repositories ON id = repository \
         ORDER BY since, name, role",
    )?;
    let rows = select.query_map((), |row| {
        Ok(Alarm {
            repository: column_text(row, 0)?,
            name: column_text(row, 1)?,
            role: column_text(row, 2)?,
            since: UtcTime::from_unix(row.get(3)?),
            message: row.get(4)?,
            version: marks::column_version(row, 5)?,
            digest: marks::column_digest(row, 6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
