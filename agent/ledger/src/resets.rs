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

/// What a reset throws away of a role, and what the role goes on from.
pub(crate) struct Jump {
    /// The newest mark; none when the role was put back before and nothing has come since.
    pub(crate) from: Option<Mark>,
    /// The newest that this agent had signed before the jump.
    pub(crate) to: Option<Mark>,
    /// Everything from the jump on, as far as it was seen or signed here.
    void: Vec<Mark>,
}

/// From where to where a role would go; none when it never had a mark.
///
/// An attack is a jump: what this agent signed in good faith on top of the attacker's version is void with it, or the role
/// would go on from there. Of all that is known the widest gap is the jump, if it is wider than any signer may leave alone;
/// without one only the newest mark is thrown away. What it went on from is not thrown away by asking once more.
pub(crate) fn look(tx: &Tx<'_>, id: &RepositoryId, role: &RoleName) -> Result<Option<Jump>, LedgerError> {
    let marked = marks::read(tx, id, role)?;
    let Journalled { mut known, put_back } = journalled(tx, id, role)?;
    let named = |mark: Mark| (mark.version, mark.digest);
    if let Some(to) = put_back.filter(|to| to.map(named) == marked.newest().map(named)) {
        return Ok(Some(Jump { from: None, to, void: Vec::new() }));
    }
    let Some(from) = marked.newest() else { return Ok(None) };
    known.extend(marked.verified.map(|mark| (mark, false)));
    known.extend(marked.signed.map(|mark| (mark, true)));
    // What another reset has thrown away below that is none of this chain.
    known.retain(|(mark, _)| mark.version <= from.version);
    known.sort_by_key(|(mark, _)| mark.version);
    let jump = jump(&known).unwrap_or(from.version);
    let mut to: Option<Mark> = None;
    // Of two contents of one version (a superseded root) the later stands.
    for (mark, _) in known.iter().filter(|(mark, signed)| *signed && mark.version < jump) {
        to = Some(*mark);
    }
    let void = known.into_iter().map(|(mark, _)| mark).filter(|mark| mark.version >= jump).collect();
    Ok(Some(Jump { from: Some(from), to, void }))
}

/// The version above the widest gap.
fn jump(known: &[(Mark, bool)]) -> Option<Version> {
    let steps = known
        .iter()
        .zip(known.iter().skip(1))
        .map(|((one, _), (next, _))| (next.version.get().saturating_sub(one.version.get()), next.version));
    let widest = steps.max_by_key(|(gap, _)| *gap).filter(|(gap, _)| *gap > MOST_AHEAD);
    widest.map(|(_, version)| version)
}

/// So many versions above the published one are signed without a person's word (DESIGN section 4, rule 3).
const MOST_AHEAD: u64 = 16;

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
    let found = look(tx, id, role)?.filter(|found| found.from.is_some_and(|from| from.digest == confirmed));
    let Some(Jump { from: Some(from), to, void }) = found else {
        return Ok(Err(LedgerError::Moved { role: role.clone() }));
    };
    let mark = |mark: &Mark| json!({"version": mark.version.get(), "sha256": mark.digest.to_string()});
    let body = json!({
        "repository": record.name.as_str(), "repository_id": id.to_string(), "role": role.as_str(),
        "from": mark(&from), "to": to.as_ref().map(mark), "void": void.iter().map(mark).collect::<Vec<_>>(),
        "caller": caller,
    });
    tx.append("watermark.reset", body)?;
    marks::restart(tx, id, role, to)?;
    relist(tx, id, role)?;
    alarms::drop_of_role(tx, id, role)?;
    let on = tx.now();
    for mark in void {
        note(tx, id, role, Mark { on, ..mark })?;
    }
    Ok(Ok(Reset { from: Some(from), to }))
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

/// What the journal knows of a role.
#[derive(Default)]
struct Journalled {
    /// Since it last started anew, oldest first; whether this agent signed it.
    known: Vec<(Mark, bool)>,
    /// What it went on from, when it ever started anew.
    put_back: Option<Option<Mark>>,
}

fn journalled(tx: &Tx<'_>, id: &RepositoryId, role: &RoleName) -> Result<Journalled, LedgerError> {
    let mut select = tx.db.prepare(
        "SELECT time, kind, body FROM journal WHERE kind IN ('sign.intent', 'verified', 'watermark.reset') \
         AND instr(body, ?1) > 0 ORDER BY seq",
    )?;
    let mut rows = select.query((id.to_string(),))?;
    let mut found = Journalled::default();
    while let Some(row) = rows.next()? {
        let (time, kind, body): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Some(body) = entry_of(&body, id, role) else { continue };
        if kind == "watermark.reset" {
            let to = body.get("to").and_then(|to| mark(&time, to));
            found = Journalled { known: to.map(|to| (to, true)).into_iter().collect(), put_back: Some(to) };
        } else {
            found.known.extend(mark(&time, &body).map(|mark| (mark, kind == "sign.intent")));
        }
    }
    Ok(found)
}

/// The body of an entry, if it is of this repository and role.
fn entry_of(body: &str, id: &RepositoryId, role: &RoleName) -> Option<Value> {
    let body: Value = serde_json::from_str(body).ok()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let is_of = text("repository_id") == Some(id.to_string().as_str()) && text("role") == Some(role.as_str());
    is_of.then_some(body)
}

/// The mark that an entry made.
fn mark(time: &str, body: &Value) -> Option<Mark> {
    Some(Mark {
        version: Version::new(body.get("version")?.as_u64()?)?,
        digest: body.get("sha256").and_then(Value::as_str)?.parse().ok()?,
        on: time.parse().ok()?,
    })
}
