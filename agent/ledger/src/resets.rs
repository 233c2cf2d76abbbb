//! Watermarks that start anew after a fast-forward attack (DESIGN section 4, rule 3), and what was thrown away then.
//!
//! Whether a role may start anew is judged by the caller, who knows keys and signatures. What was thrown away is
//! remembered by its digest, so that it is never taken for published again.

use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};
use tuf::time::UtcTime;

use crate::listings::{self, Listing};
use crate::records::{self, column_text};
use crate::schema::Table;
use crate::tx::{Tx, Verdict};
use crate::{LedgerError, Mark, RepositoryId, Reset, alarms, chain, marks};

/// From where to where a role would go; none when it has no mark at all.
pub(crate) fn look(
    tx: &Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
) -> Result<Option<(Mark, Option<Mark>)>, LedgerError> {
    let marked = marks::read(tx, id, role)?;
    let Some(from) = marked.newest() else { return Ok(None) };
    let below = |mark: &Mark| mark.version < from.version;
    let to = match marked.signed.filter(below) {
        Some(signed) => Some(signed),
        None => signed_below(tx, id, role, from.version)?,
    };
    Ok(Some((from, to)))
}

/// Starts a role anew at what this agent had signed below the mark that is thrown away. `confirmed` is the digest that
/// a person was shown; another one is refused.
pub(crate) fn reset(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
    confirmed: Sha256Digest,
    caller: &Value,
) -> Verdict<Reset> {
    let Some(record) = records::by_id(tx, id)? else {
        return Ok(Err(LedgerError::RepositoryUnknown { name: id.to_string() }));
    };
    let found = look(tx, id, role)?.filter(|(from, _)| from.digest == confirmed);
    let Some((from, to)) = found else { return Ok(Err(LedgerError::Moved { role: role.clone() })) };
    let mark = |mark: &Mark| json!({"version": mark.version.get(), "sha256": mark.digest.to_string()});
    let body = json!({
        "repository": record.name.as_str(), "repository_id": id.to_string(), "role": role.as_str(),
        "from": mark(&from), "to": to.as_ref().map(mark), "caller": caller,
    });
    tx.append("watermark.reset", body)?;
    marks::restart(tx, id, role, to)?;
    relist(tx, id, role)?;
    alarms::drop_of_role(tx, id, role)?;
    note(tx, id, role, Mark { on: tx.now(), ..from })?;
    Ok(Ok(Reset { from, to }))
}

/// Remembers what was thrown away, and when.
pub(crate) fn note(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
    void: Mark,
) -> Result<(), LedgerError> {
    let text = id.to_string();
    let key = (text.as_str(), role.as_str(), void.digest.as_bytes());
    tx.change(
        Table::Resets,
        key,
        "INSERT INTO resets (repository, role, digest, version, on_time) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO NOTHING",
        (key.0, key.1, key.2, chain::number(void.version.get())?, void.on.unix()),
    )
}

/// All that was thrown away.
pub(crate) fn of_repository(tx: &Tx<'_>, id: &RepositoryId) -> Result<Vec<(RoleName, Mark)>, LedgerError> {
    let mut select = tx.db.prepare_cached(
        "SELECT role, version, digest, on_time FROM resets WHERE repository = ?1 ORDER BY role, version",
    )?;
    let rows = select.query_map((id.to_string(),), |row| {
        let mark = Mark {
            version: marks::column_version(row, 1)?,
            digest: marks::column_digest(row, 2)?,
            on: UtcTime::from_unix(row.get(3)?),
        };
        Ok((column_text(row, 0)?, mark))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether this very content of a role was thrown away.
pub(crate) fn is_void(
    tx: &Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
    digest: &Sha256Digest,
) -> Result<bool, LedgerError> {
    let mut select =
        tx.db.prepare_cached("SELECT 1 FROM resets WHERE repository = ?1 AND role = ?2 AND digest = ?3")?;
    let key = (id.to_string(), role.as_str(), digest.as_bytes());
    Ok(select.query_row(key, |_| Ok(())).optional()?.is_some())
}

/// What listed the role at versions that count no more, and what the role listed beyond what was ever seen.
fn relist(tx: &mut Tx<'_>, id: &RepositoryId, role: &RoleName) -> Result<(), LedgerError> {
    let last = marks::read(tx, id, role)?.newest().map(|mark| mark.version);
    if let Some(listing) = Listing::that_names(role) {
        listings::set_listed(tx, id, listing, role, last)?;
    }
    // What was thrown away counts as never published.
    listings::set_listed(tx, id, Listing::Published, role, last)?;
    let Some(own) = Listing::of(role) else { return Ok(()) };
    for (entry, version) in listings::listed(tx, id, own)? {
        // An entry counts as far as its own role has got in front of this agent.
        let last = marks::read(tx, id, &entry)?.newest().map(|mark| mark.version.min(version));
        listings::set_listed(tx, id, own, &entry, last)?;
    }
    Ok(())
}

/// The newest that this agent has signed of a role below a version, by its journal.
fn signed_below(
    tx: &Tx<'_>,
    id: &RepositoryId,
    role: &RoleName,
    below: Version,
) -> Result<Option<Mark>, LedgerError> {
    let mut select =
        tx.db.prepare("SELECT time, body FROM journal WHERE kind = 'sign.intent' AND instr(body, ?1) > 0")?;
    let mut rows = select.query((id.to_string(),))?;
    let mut found: Option<Mark> = None;
    while let Some(row) = rows.next()? {
        let (time, body): (String, String) = (row.get(0)?, row.get(1)?);
        let mark = intent_mark(&time, &body, id, role).filter(|mark| mark.version < below);
        // Of two contents of one version (a superseded root) the later stands.
        if let Some(mark) = mark.filter(|mark| found.is_none_or(|known| known.version <= mark.version)) {
            found = Some(mark);
        }
    }
    Ok(found)
}

/// The mark that a journalled intent made, if it is of this repository and role.
fn intent_mark(time: &str, body: &str, id: &RepositoryId, role: &RoleName) -> Option<Mark> {
    let body: Value = serde_json::from_str(body).ok()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    if text("repository_id") != Some(id.to_string().as_str()) || text("role") != Some(role.as_str()) {
        return None;
    }
    Some(Mark {
        version: Version::new(body.get("version")?.as_u64()?)?,
        digest: text("sha256")?.parse().ok()?,
        on: time.parse().ok()?,
    })
}
