//! How a repository becomes known: begun here, or adopted from a published copy, with all that the copy holds in one commit.
//!
//! Versions before this one registered first and noted the copy after that, so that an adoption which was refused or cut off
//! left a record which claims its name and its chain. Such a record holds nothing but roots: whoever adopts a copy that has
//! the newest of them takes its place, and whoever adopts another repository under its name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;

use crate::listings::{self, Listing};
use crate::records::{
    add_ancestors, advance_root, by_id, by_name, by_roots, column_text, days, note_all, note_key_use,
    set_expiry, users_of,
};
use crate::schema::Table;
use crate::tx::{Tx, Verdict};
use crate::{
    AdoptedCopy, AdoptedRoot, LedgerError, Looked, NewRepository, Noted, Record, RepositoryId,
    RepositoryName, Verified, Watermark, marks, pasts, restore,
};

/// What a registration finds.
struct Found {
    /// The record of this name and chain.
    known: Option<Record>,
    /// The record that was begun here with this very root.
    begun: Option<Record>,
    /// Records that make room.
    forgotten: Vec<Record>,
}

/// Makes a record, or gives the one that this name and root chain already have: adopting again changes nothing. A new one
/// gets the identity `id`, where one is given.
pub(crate) fn register(tx: &mut Tx<'_>, new: &NewRepository, id: Option<RepositoryId>) -> Verdict<Record> {
    let found = match find(tx, new)? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for record in &found.forgotten {
        forget(tx, record, &new.caller)?;
    }
    if let Some(known) = found.known {
        return Ok(Ok(known));
    }
    let id = match found.begun {
        Some(begun) => {
            tx.append("repository.adopted", adoption(&begun.id, new, id.is_some()))?;
            begun.id
        }
        None => insert_record(tx, new, id)?,
    };
    for (fingerprint, role) in new.root.iter().flat_map(|root| &root.keys) {
        note_key_use(tx, &id, role, *fingerprint, false)?;
    }
    if let Some(root) = &new.root
        && let Err(fault) =
            advance_root(tx, &id, &Verified::new(RoleKind::Root.role(), root.version, root.digest), true)?
    {
        return Err(fault);
    }
    Ok(by_id(tx, &id)?.ok_or_else(|| LedgerError::RepositoryUnknown { name: new.name.to_string() }))
}

/// As what it would be registered.
pub(crate) fn look(tx: &Tx<'_>, new: &NewRepository) -> Verdict<Looked> {
    let found = match find(tx, new)? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let root = new.root.as_ref().map(|root| (root.version, root.digest));
    Ok(Ok(match (found.known, found.begun) {
        (Some(record), _) => Looked { bare: is_bare(tx, &record)?, record, known: true },
        (None, Some(begun)) => Looked { record: Record { root, ..begun }, known: false, bare: false },
        (None, None) => {
            let record = Record {
                id: new_id(tx)?,
                name: new.name.clone(),
                expiry_days: new.expiry_days.clone().into(),
                tough_names: new.tough_names,
                created: free_second(tx)?,
                root,
            };
            Looked { record, known: false, bare: false }
        }
    }))
}

/// Registers a repository that is not known and notes what its copy holds. Whatever is refused undoes all of it.
pub(crate) fn adopt(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    new: &NewRepository,
    copy: &AdoptedCopy,
) -> Result<Vec<Noted>, LedgerError> {
    let record = register(tx, new, Some(*id))??;
    if record.id != *id {
        return Err(LedgerError::ChainKnown { name: record.name });
    }
    add_ancestors(tx, id, &copy.ancestors)??;
    listings::raise_listed(tx, id, Listing::Short, &copy.short)?;
    set_expiry(tx, id, &copy.lengths, &new.caller)??;
    note_all(tx, id, &copy.files, true)?
}

/// Takes away other records whose newest root is one of these, of a chain that is this repository's: what an adoption which
/// was cut off has left, and what was adopted under a second name from a copy that had no root in common with the first one,
/// as long as nothing was signed for it and nothing that it has seen is newer than what this copy has (`seen`).
pub(crate) fn make_room(
    tx: &mut Tx<'_>,
    id: &RepositoryId,
    (roots, seen): (&[Sha256Digest], &BTreeMap<RoleName, Version>),
    caller: &Value,
) -> Result<(), LedgerError> {
    for digest in roots {
        let Some(record) = by_roots(tx, &[*digest])?.filter(|record| record.id != *id) else { continue };
        let is_whole = record.root.is_some_and(|(_, newest)| roots.contains(&newest));
        if is_whole && (is_bare(tx, &record)? || is_seen_again(tx, &record, seen)?) {
            forget(tx, &record, caller)?;
        }
    }
    Ok(())
}

/// Whether a record knows nothing but what was published, and a copy with these versions is not behind it.
fn is_seen_again(
    tx: &Tx<'_>,
    record: &Record,
    seen: &BTreeMap<RoleName, Version>,
) -> Result<bool, LedgerError> {
    let behind = |(role, marks): (&RoleName, &Watermark)| {
        let of_copy = seen.get(role).copied();
        role.kind() != RoleKind::Root && marks.verified.is_some_and(|mark| of_copy < Some(mark.version))
    };
    Ok(is_only_seen(tx, record)? && !marks::all(tx, &record.id)?.iter().any(behind))
}

fn find(tx: &Tx<'_>, new: &NewRepository) -> Verdict<Found> {
    let mut found = Found { known: None, begun: None, forgotten: Vec::new() };
    let chain = of_chain(tx, new)?;
    let named = chain.iter().find(|record| record.name == new.name);
    let is_adopted = named.map_or(Ok(false), |record| is_bare(tx, record).map(|bare| !bare))?;
    for record in chain {
        if record.name == new.name {
            found.known = Some(record);
        } else if !holds_newest_of(new, &record) {
            return Ok(Err(LedgerError::ChainKnown { name: record.name }));
        } else if is_bare(tx, &record)? {
            found.forgotten.push(record);
        } else if !is_adopted || !is_only_seen(tx, &record)? {
            return Ok(Err(LedgerError::ChainKnown { name: record.name }));
        }
        // Any other makes room once the copy is verified: see `make_room`.
    }
    if found.known.is_some() {
        return Ok(Ok(found));
    }
    match by_name(tx, &new.name)? {
        None => {}
        Some(record) if is_begun_with(tx, &record, new.root.as_ref())? => found.begun = Some(record),
        // What was signed since the backup is not known: only a published copy tells.
        Some(record) if new.root.is_none() && restore::is_restored(tx, &record.id)? => {
            return Ok(Err(LedgerError::Restored { name: record.name }));
        }
        Some(record) if is_unused(tx, &record)? || (new.root.is_some() && is_bare(tx, &record)?) => {
            found.forgotten.push(record);
        }
        Some(record) => return Ok(Err(LedgerError::NameTaken { name: record.name })),
    }
    Ok(match shared_key(tx, new, &found)? {
        Some(refusal) => Err(refusal),
        None => Ok(found),
    })
}

/// Every record whose chain holds a root of the copy.
fn of_chain(tx: &Tx<'_>, new: &NewRepository) -> Result<Vec<Record>, LedgerError> {
    let mut all: Vec<Record> = Vec::new();
    for digest in new.root.iter().flat_map(digests) {
        if let Some(record) = by_roots(tx, &[digest])?
            && all.iter().all(|other| other.id != record.id)
        {
            all.push(record);
        }
    }
    Ok(all)
}

fn digests(root: &AdoptedRoot) -> impl Iterator<Item = Sha256Digest> {
    std::iter::once(root.digest).chain(root.others.iter().copied())
}

/// Whether the copy has the newest root that the record knows, so that nothing is lost with the record.
fn holds_newest_of(new: &NewRepository, record: &Record) -> bool {
    record.root.is_some_and(|(_, newest)| new.root.iter().flat_map(digests).any(|digest| digest == newest))
}

/// A key of the new chain that belongs to another one.
fn shared_key(tx: &Tx<'_>, new: &NewRepository, found: &Found) -> Result<Option<LedgerError>, LedgerError> {
    let keys = new.root.iter().filter(|_| !new.shared_key).flat_map(|root| &root.keys);
    for (key, _) in keys {
        let mut users = users_of(tx, *key)?;
        if found.begun.as_ref().is_some_and(|begun| users.iter().any(|(id, _)| *id == begun.id)) {
            continue;
        }
        users.retain(|(id, _)| found.forgotten.iter().all(|record| record.id != *id));
        if let Some((_, other)) = users.into_iter().next() {
            return Ok(Some(LedgerError::SharedKey { key: key.to_string(), other }));
        }
    }
    Ok(None)
}

/// Whether this root is the one that the record began with: signed here before others had, who then completed it elsewhere.
fn is_begun_with(tx: &Tx<'_>, known: &Record, root: Option<&AdoptedRoot>) -> Result<bool, LedgerError> {
    let Some(root) = root.filter(|_| known.root.is_none()) else { return Ok(false) };
    let signed = marks::read(tx, &known.id, &RoleKind::Root.role())?.signed;
    Ok(signed.is_some_and(|mark| (mark.version, mark.digest) == (root.version, root.digest)))
}

/// Whether nothing was ever signed or verified for a record: whoever begins anew may have its name.
fn is_unused(tx: &Tx<'_>, record: &Record) -> Result<bool, LedgerError> {
    let used = "SELECT EXISTS (SELECT 1 FROM roots WHERE repository = ?1) OR EXISTS (SELECT 1 FROM watermarks WHERE repository = ?1) \
         OR EXISTS (SELECT 1 FROM key_use WHERE repository = ?1) OR EXISTS (SELECT 1 FROM intents WHERE repository = ?1)";
    Ok(!holds(tx, used, record)?)
}

/// Whether a repository was adopted in the commit that noted its whole copy, or again since.
pub(crate) fn was_whole(tx: &Tx<'_>, id: &RepositoryId) -> Result<bool, LedgerError> {
    pasts::journalled_with(tx, &["repository.adopted"], [&format!("\"{id}\""), "\"whole\":true"])
}

/// Whether all that is known of a repository may be what an adoption has left that was refused or cut off.
pub(crate) fn is_left(tx: &Tx<'_>, id: &RepositoryId) -> Result<bool, LedgerError> {
    match by_id(tx, id)? {
        Some(record) => Ok(is_bare(tx, &record)? && !was_whole(tx, id)?),
        None => Ok(false),
    }
}

/// A repository was adopted (again) from a whole copy. The journal of one that was registered before its copy was judged says
/// so from now on.
pub(crate) fn note_whole(tx: &mut Tx<'_>, record: &Record, caller: &Value) -> Result<(), LedgerError> {
    let id = record.id.to_string();
    let is_adopted = pasts::journalled(tx, &["repository.adopted"], &format!("\"{id}\""))?;
    if is_adopted && !was_whole(tx, &record.id)? {
        let body =
            json!({"repository": record.name.as_str(), "repository_id": id, "whole": true, "caller": caller});
        tx.append("repository.adopted", body)?;
    }
    Ok(())
}

/// Whether a record was adopted, and nothing but roots came of it: nothing was signed for it, and no other role was seen.
fn is_bare(tx: &Tx<'_>, record: &Record) -> Result<bool, LedgerError> {
    let more = "SELECT EXISTS (SELECT 1 FROM watermarks WHERE repository = ?1 AND role <> 'root')";
    Ok(!holds(tx, more, record)? && is_only_seen(tx, record)?)
}

/// Whether a record was adopted, and nothing was ever signed for it.
fn is_only_seen(tx: &Tx<'_>, record: &Record) -> Result<bool, LedgerError> {
    let more = "SELECT EXISTS (SELECT 1 FROM watermarks WHERE repository = ?1 AND signed_version IS NOT NULL) \
         OR EXISTS (SELECT 1 FROM key_use WHERE repository = ?1 AND signed) \
         OR EXISTS (SELECT 1 FROM intents WHERE repository = ?1) OR EXISTS (SELECT 1 FROM alarms WHERE repository = ?1) \
         OR EXISTS (SELECT 1 FROM resets WHERE repository = ?1) OR EXISTS (SELECT 1 FROM restored WHERE repository = ?1)";
    Ok(!holds(tx, more, record)?
        && pasts::journalled(tx, &["repository.adopted"], &format!("\"{}\"", record.id))?)
}

fn holds(tx: &Tx<'_>, question: &str, record: &Record) -> Result<bool, LedgerError> {
    Ok(tx.db.query_row(question, (record.id.to_string(),), |row| row.get(0))?)
}

/// Takes a record away, with what little there is of it; journalled.
fn forget(tx: &mut Tx<'_>, known: &Record, caller: &Value) -> Result<(), LedgerError> {
    let id = known.id.to_string();
    let root =
        known.root.map(|(version, digest)| json!({"version": version.get(), "sha256": digest.to_string()}));
    let body =
        json!({"repository": known.name.as_str(), "repository_id": id, "root": root, "caller": caller});
    tx.append("repository.forgotten", body)?;
    let text = id.as_str();
    for (version, _) in crate::records::roots(tx, &known.id)? {
        let key = (text, crate::chain::number(version.get())?);
        tx.change(Table::Roots, key, "DELETE FROM roots WHERE repository = ?1 AND version = ?2", key)?;
    }
    for role in marks::all(tx, &known.id)?.keys() {
        let key = (text, role.as_str());
        tx.change(Table::Watermarks, key, "DELETE FROM watermarks WHERE repository = ?1 AND role = ?2", key)?;
    }
    for listing in Listing::ALL {
        for role in listings::listed(tx, &known.id, listing)?.keys() {
            listings::set_listed(tx, &known.id, listing, role, None)?;
        }
    }
    for (fingerprint, role, _) in crate::records::key_uses_of(tx, &known.id)? {
        let key = (fingerprint.as_bytes(), text, role.as_str());
        let delete = "DELETE FROM key_use WHERE fingerprint = ?1 AND repository = ?2 AND role = ?3";
        tx.change(Table::KeyUse, key, delete, key)?;
    }
    for one in crate::unfounded::of_repository(tx, &known.id)? {
        crate::unfounded::settle(tx, &known.id, &one.role, one.fingerprint)?;
    }
    for fingerprint in crate::records::named_in(tx, &known.id)? {
        let key = (fingerprint.as_bytes(), text);
        let delete = "DELETE FROM named WHERE fingerprint = ?1 AND repository = ?2";
        tx.change(Table::Named, key, delete, key)?;
    }
    let key = (text,);
    tx.change(Table::Restored, key, "DELETE FROM restored WHERE repository = ?1", key)?;
    tx.change(Table::Repositories, key, "DELETE FROM repositories WHERE id = ?1", key)
}

fn new_id(tx: &Tx<'_>) -> Result<RepositoryId, LedgerError> {
    Ok(RepositoryId::from_bytes(tx.db.query_row("SELECT randomblob(16)", (), |row| row.get(0))?))
}

/// Now, or soon after: the first second that no record was made in. Two first roots with the same keys that expire by one
/// second are one root, and one chain.
fn free_second(tx: &Tx<'_>) -> Result<UtcTime, LedgerError> {
    let now = tx.now();
    let mut select = tx.db.prepare_cached("SELECT created FROM repositories WHERE created >= ?1")?;
    let taken: BTreeSet<i64> =
        select.query_map((now.unix(),), |row| row.get(0))?.collect::<Result<_, _>>()?;
    let ahead = (0..).find(|ahead| !taken.contains(&now.unix().saturating_add(*ahead)));
    Ok(now.plus_seconds(ahead.unwrap_or_default()))
}

/// Another repository that this root is of: its chain holds it, or it was signed for it here.
pub(crate) fn other_of_root(
    tx: &Tx<'_>,
    id: &RepositoryId,
    root: Sha256Digest,
) -> Result<Option<RepositoryName>, LedgerError> {
    let chain = by_roots(tx, &[root])?.filter(|record| record.id != *id);
    if chain.is_some() {
        return Ok(chain.map(|record| record.name));
    }
    let mut select = tx.db.prepare_cached(
        "SELECT name FROM watermarks JOIN repositories ON id = repository \
         WHERE role = 'root' AND repository <> ?1 AND signed_digest = ?2 ORDER BY name",
    )?;
    let mut found = select.query_map((id.to_string(), root.as_bytes()), |row| column_text(row, 0))?;
    Ok(found.next().transpose()?)
}

fn insert_record(
    tx: &mut Tx<'_>,
    new: &NewRepository,
    id: Option<RepositoryId>,
) -> Result<RepositoryId, LedgerError> {
    let whole = id.is_some();
    let id = id.map_or_else(|| new_id(tx), Ok)?;
    let kind = if new.root.is_some() { "repository.adopted" } else { "repository.registered" };
    tx.append(kind, adoption(&id, new, whole))?;
    let text = id.to_string();
    tx.change(
        Table::Repositories,
        (text.as_str(),),
        "INSERT INTO repositories (id, name, expiry, tough_names, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            text.as_str(),
            new.name.as_str(),
            days(&new.expiry_days).to_string(),
            new.tough_names,
            free_second(tx)?.unix(),
        ),
    )?;
    Ok(id)
}

/// What the journal says of a repository that becomes known, or whose first root is; `whole`: with all that its copy holds.
fn adoption(id: &RepositoryId, new: &NewRepository, whole: bool) -> Value {
    let mut said = json!({
        "repository": new.name.as_str(), "repository_id": id.to_string(), "expiry_days": days(&new.expiry_days),
        "root": new.root.as_ref().map(|root| json!({"version": root.version.get(), "sha256": root.digest.to_string()})),
        "shared_key": new.shared_key, "caller": new.caller,
    });
    if let (true, Some(said)) = (whole, said.as_object_mut()) {
        said.insert("whole".to_owned(), true.into());
    }
    said
}
