//! Intents and their outcomes: the watermark law (DESIGN section 4, rule 3), inside the transaction.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};

use crate::alarms;
use crate::listings::{self, Listing};
use crate::marks::{self, Side};
use crate::put_off::{self, Put};
use crate::records;
use crate::restore;
use crate::schema::Table;
use crate::tx::{Tx, Verdict};
use crate::unfounded;
use crate::unmade;
use crate::{
    Intent, IntentId, LedgerError, Mark, OpenIntent, Outcome, RepositoryId, RepositoryName, Watermark, chain,
};

/// Records that something is about to be signed, or refuses and journals the refusal. The rows of an ordinary intent
/// follow later: see [`put_off`].
pub(crate) fn record_intent(tx: &mut Tx<'_>, intent: &Intent) -> Verdict<IntentId> {
    let ahead = tx.ahead(|view| judge_ahead(&view, intent)).filter(|_| put_off::can_wait(intent));
    let (waits, judged) = match ahead.transpose()?.flatten() {
        Some(judged) => (true, judged),
        None => {
            tx.settle()?;
            let refusal = match refusal(tx, intent)? {
                None => unfounded::against(tx, intent)?,
                refusal => refusal,
            };
            (false, (refusal, facts(tx, intent)?))
        }
    };
    let (refusal, mut body) = judged;
    if let Some(refusal) = refusal {
        if let Some(members) = body.as_object_mut() {
            members.insert("refused".to_owned(), json!(refusal.to_string()));
        }
        tx.append("sign.refused", body)?;
        return Ok(Err(unmade::told(tx, intent, refusal)?));
    }
    let seq = if waits { tx.append_alone("sign.intent", body)? } else { tx.append("sign.intent", body)? };
    let put = Put::new(seq, intent, Mark { version: intent.version, digest: intent.digest, on: tx.now() });
    if waits {
        tx.put_off(put);
    } else {
        write_rows(tx, intent, &put)?;
    }
    Ok(Ok(IntentId(seq)))
}

/// What stands against an intent, and what the journal shall say of it; none where the tables must be asked.
fn judge_ahead(
    view: &impl View,
    intent: &Intent,
) -> Result<Option<(Option<LedgerError>, Value)>, LedgerError> {
    if unfounded::may_matter(view, intent)? {
        return Ok(None);
    }
    Ok(Some((refusal(view, intent)?, facts(view, intent)?)))
}

/// What an intent means for the tables.
fn write_rows(tx: &mut Tx<'_>, intent: &Intent, put: &Put) -> Result<(), LedgerError> {
    let mark = put.mark;
    unfounded::note(tx, intent)?;
    if supersedes(intent, &marks::read(tx, &intent.repository, &intent.role)?) {
        marks::replace_signed(tx, &intent.repository, &intent.role, mark)?;
    } else {
        marks::raise(tx, &intent.repository, &intent.role, Side::Signed, mark)?;
    }
    listings::raise_lists_of(tx, &intent.repository, &intent.role, &intent.lists)?;
    for key in &intent.keys {
        records::note_key_use(tx, &intent.repository, &intent.role, key.fingerprint, true)?;
    }
    insert_open(tx, &put.open())
}

/// Adds an intent that has no outcome yet.
pub(crate) fn insert_open(tx: &mut Tx<'_>, open: &OpenIntent) -> Result<(), LedgerError> {
    let seq = chain::number(open.id.0)?;
    tx.change(
        Table::Intents,
        (seq,),
        "INSERT INTO intents (seq, repository, role, version, digest) VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            seq,
            open.repository.to_string(),
            open.role.as_str(),
            chain::number(open.version.get())?,
            open.digest.as_bytes(),
        ),
    )
}

/// Records what became of an intent. An intent that has its outcome already is left alone.
pub(crate) fn record_outcome(tx: &mut Tx<'_>, id: IntentId, outcome: &Outcome) -> Verdict<()> {
    let waits = tx.open_put_off(id);
    let is_put_off = waits.is_some();
    let intent = match waits {
        Some(intent) => intent,
        None => {
            tx.settle()?;
            let Some(intent) = read_intents(tx, Some(id))?.pop() else { return Ok(Ok(())) };
            intent
        }
    };
    let (word, more) = match outcome {
        Outcome::Signed { keyids, keys } => {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            ("signed", json!({"keyids": keyids, "keys": keys}))
        }
        Outcome::Failed { reason, message } => ("failed", json!({"reason": reason, "message": message})),
        Outcome::Abandoned => ("abandoned", Value::Null),
        Outcome::Unknown => ("unknown", Value::Null),
    };
    let body = json!({
        "intent": id.0, "outcome": word, "about": more, "repository_id": intent.repository.to_string(),
        "role": intent.role.as_str(), "version": intent.version.get(), "sha256": intent.digest.to_string(),
    });
    if is_put_off {
        tx.append_alone("sign.outcome", body)?;
        tx.close_put_off(id);
        return Ok(Ok(()));
    }
    tx.append("sign.outcome", body)?;
    let key = (chain::number(id.0)?,);
    tx.change(Table::Intents, key, "DELETE FROM intents WHERE seq = ?1", key)?;
    Ok(Ok(()))
}

/// Intents without an outcome, oldest first.
pub(crate) fn open_intents(tx: &Tx<'_>) -> Result<Vec<OpenIntent>, LedgerError> {
    read_intents(tx, None)
}

fn read_intents(tx: &Tx<'_>, only: Option<IntentId>) -> Result<Vec<OpenIntent>, LedgerError> {
    let (from, to) = match only {
        Some(id) => (chain::number(id.0)?, chain::number(id.0)?),
        None => (0, i64::MAX),
    };
    let mut select = tx.db.prepare_cached(
        "SELECT seq, repository, role, version, digest FROM intents WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
    )?;
    let rows = select.query_map((from, to), |row| {
        Ok(OpenIntent {
            id: IntentId(records::column_u64(row, 0)?),
            repository: records::column_text(row, 1)?,
            role: records::column_text(row, 2)?,
            version: marks::column_version(row, 3)?,
            digest: marks::column_digest(row, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the law is judged by: the database within a transaction, or what is committed with what a transaction has put
/// off; what is committed alone for questions.
pub(crate) trait View {
    /// What a repository is called; none when there is no such.
    fn name(&self, id: &RepositoryId) -> Result<Option<RepositoryName>, LedgerError>;
    /// Whether a repository came from a backup and was not adopted since.
    fn restored(&self, id: &RepositoryId) -> Result<bool, LedgerError>;
    /// Why this role signs nothing until a person has looked.
    fn alarm(&self, id: &RepositoryId, role: &RoleName) -> Result<Option<String>, LedgerError>;
    /// The watermark of a role.
    fn watermark(&self, id: &RepositoryId, role: &RoleName) -> Result<Watermark, LedgerError>;
    /// What a snapshot or timestamp has listed.
    fn listed(&self, id: &RepositoryId, listing: Listing)
    -> Result<BTreeMap<RoleName, Version>, LedgerError>;
    /// At which version a role stands in a list.
    fn listed_at(
        &self,
        id: &RepositoryId,
        listing: Listing,
        role: &RoleName,
    ) -> Result<Option<Version>, LedgerError>;
    /// Whether anything is remembered that was signed on a word.
    fn has_unfounded(&self, id: &RepositoryId) -> Result<bool, LedgerError>;
    /// The other repository that this key belongs to.
    fn used_elsewhere(
        &self,
        id: &RepositoryId,
        fingerprint: Sha256Digest,
    ) -> Result<Option<RepositoryName>, LedgerError>;
}

impl View for Tx<'_> {
    fn name(&self, id: &RepositoryId) -> Result<Option<RepositoryName>, LedgerError> {
        Ok(records::by_id(self, id)?.map(|record| record.name))
    }

    fn restored(&self, id: &RepositoryId) -> Result<bool, LedgerError> {
        restore::is_restored(self, id)
    }

    fn alarm(&self, id: &RepositoryId, role: &RoleName) -> Result<Option<String>, LedgerError> {
        alarms::of_role(self, id, role)
    }

    fn watermark(&self, id: &RepositoryId, role: &RoleName) -> Result<Watermark, LedgerError> {
        marks::read(self, id, role)
    }

    fn listed(
        &self,
        id: &RepositoryId,
        listing: Listing,
    ) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
        listings::listed(self, id, listing)
    }

    fn listed_at(
        &self,
        id: &RepositoryId,
        listing: Listing,
        role: &RoleName,
    ) -> Result<Option<Version>, LedgerError> {
        listings::listed_at(self, id, listing, role)
    }

    fn has_unfounded(&self, id: &RepositoryId) -> Result<bool, LedgerError> {
        let mut select = self.db.prepare_cached("SELECT 1 FROM unfounded WHERE repository = ?1 LIMIT 1")?;
        Ok(select.exists((id.to_string(),))?)
    }

    fn used_elsewhere(
        &self,
        id: &RepositoryId,
        fingerprint: Sha256Digest,
    ) -> Result<Option<RepositoryName>, LedgerError> {
        records::used_elsewhere(self, Some(id), fingerprint)
    }
}

/// Why this intent must not become a signature; none when nothing stands against it but what [`unfounded`] says.
pub(crate) fn refusal(view: &impl View, intent: &Intent) -> Result<Option<LedgerError>, LedgerError> {
    let (repository, role) = (&intent.repository, &intent.role);
    let Some(name) = view.name(repository)? else {
        return Ok(Some(LedgerError::RepositoryUnknown { name: repository.to_string() }));
    };
    if view.restored(repository)? {
        return Ok(Some(LedgerError::Restored { name }));
    }
    if let Some(message) = view.alarm(repository, role)? {
        return Ok(Some(LedgerError::Alarm { role: role.clone(), message }));
    }
    let own = view.watermark(repository, role)?;
    if let Some(violation) = against(intent, role, &own).filter(|_| !supersedes(intent, &own)) {
        return Ok(Some(violation));
    }
    if let Some(violation) = against_others(view, intent, &own)? {
        return Ok(Some(violation));
    }
    if let Some(violation) = against_unseen(view, intent)? {
        return Ok(Some(violation));
    }
    if let Some(listing) = Listing::of(role)
        && let Some(violation) = against_listed(intent, &view.listed(repository, listing)?)
    {
        return Ok(Some(violation));
    }
    if intent.shared_key {
        return Ok(None);
    }
    for key in &intent.keys {
        if let Some(other) = view.used_elsewhere(repository, key.fingerprint)? {
            return Ok(Some(LedgerError::SharedKey { key: key.name.clone(), other }));
        }
    }
    Ok(None)
}

/// Whether this root takes the place of the one that was signed under its version, as a person has said: exactly that
/// one, and only while no root of this version or above was verified as published (DESIGN section 4, rule 3).
fn supersedes(intent: &Intent, own: &Watermark) -> bool {
    intent.role.kind() == RoleKind::Root
        && own.verified.is_none_or(|mark| mark.version < intent.version)
        && own
            .signed
            .is_some_and(|mark| mark.version == intent.version && intent.supersedes == Some(mark.digest))
}

/// Never below a mark, never other content at a mark.
pub(crate) fn against(intent: &Intent, marked_role: &RoleName, watermark: &Watermark) -> Option<LedgerError> {
    let breaks = |mark: &Mark| {
        intent.version < mark.version || (intent.version == mark.version && intent.digest != mark.digest)
    };
    let is_root = intent.role.kind() == RoleKind::Root;
    let signed = watermark.signed.filter(breaks).map(|mark| (mark, false));
    let verified = watermark.verified.filter(breaks).map(|mark| (mark, true));
    // The higher one tells the way out; when level, what was signed here.
    let (mark, published) = match (signed, verified) {
        (Some(signed), Some(verified)) if verified.0.version > signed.0.version => verified,
        // A root that has its threshold is not superseded any more, whoever signed it.
        (Some(signed), Some(verified)) if is_root && verified.0.version == signed.0.version => verified,
        (signed, verified) => signed.or(verified)?,
    };
    Some(LedgerError::Watermark {
        role: intent.role.clone(),
        version: intent.version,
        marked_role: marked_role.clone(),
        marked_version: mark.version,
        marked_digest: mark.digest,
        marked_on: mark.on,
        published,
        unmade: false,
    })
}

/// A version that is not the next one of its role must clear the marks of every role that the keys could satisfy.
/// The next one in turn needs not: one key may serve many roles (bins), each with its own count.
fn against_others(
    view: &impl View,
    intent: &Intent,
    own: &Watermark,
) -> Result<Option<LedgerError>, LedgerError> {
    let in_turn = own.newest().map_or(Some(Version::FIRST), |mark| mark.version.next());
    if in_turn.is_some_and(|next| intent.version <= next) {
        return Ok(None);
    }
    for other in intent.also_roles.iter().filter(|other| **other != intent.role) {
        let watermark = view.watermark(&intent.repository, other)?;
        if let Some(violation) = against(intent, other, &watermark) {
            return Ok(Some(violation));
        }
        let unseen = unseen(view, &intent.repository, other)?;
        if let Some((_, fault)) = unseen.filter(|(version, _)| intent.version <= *version) {
            return Ok(Some(fault));
        }
    }
    Ok(None)
}

/// What verified metadata lists is published, seen or not: nothing is signed under such a version, and nothing goes on
/// from a snapshot or targets that were never seen. A delegated role goes on above what is listed of it: clients do
/// without one that is short of its threshold, or that nobody delegated to until now.
fn against_unseen(view: &impl View, intent: &Intent) -> Result<Option<LedgerError>, LedgerError> {
    let (repository, role) = (&intent.repository, &intent.role);
    if role.kind() == RoleKind::Root {
        return Ok(None);
    }
    for needed in [RoleKind::Snapshot.role(), RoleKind::Targets.role()] {
        let is_under_it = needed.kind() == RoleKind::Snapshot || role.kind() == RoleKind::Targets;
        if let Some((_, fault)) = unseen(view, repository, &needed)?.filter(|_| is_under_it) {
            return Ok(Some(fault));
        }
    }
    let unseen = unseen(view, repository, role)?.filter(|(version, _)| intent.version <= *version);
    Ok(unseen.map(|(_, fault)| fault))
}

/// The version at which a role is listed, if nothing of it was signed or seen from there on.
fn unseen(
    view: &impl View,
    repository: &RepositoryId,
    role: &RoleName,
) -> Result<Option<(Version, LedgerError)>, LedgerError> {
    let Some(listing) = Listing::that_names(role) else { return Ok(None) };
    let Some(version) = view.listed_at(repository, listing, role)? else { return Ok(None) };
    let seen = view.watermark(repository, role)?.newest().is_some_and(|mark| mark.version >= version);
    let fault = || LedgerError::Unseen { listing: listing.as_str(), role: role.clone(), version };
    Ok(if seen { None } else { Some((version, fault())) })
}

/// What a snapshot or timestamp listed before neither vanishes nor goes down.
fn against_listed(intent: &Intent, before: &BTreeMap<RoleName, Version>) -> Option<LedgerError> {
    let lost = before.iter().find(|(role, last)| intent.lists.get(*role).is_none_or(|now| now < *last));
    lost.map(|(role, last)| LedgerError::Vanished {
        listing: intent.role.clone(),
        role: role.clone(),
        last: *last,
    })
}

fn facts(view: &impl View, intent: &Intent) -> Result<Value, LedgerError> {
    let name = view.name(&intent.repository)?.map(|name| name.to_string());
    let keys: Vec<Value> = intent
        .keys
        .iter()
        .map(|key| json!({"name": key.name, "fingerprint": key.fingerprint.to_string()}))
        .collect();
    let also: Vec<&str> = intent.also_roles.iter().map(RoleName::as_str).collect();
    let mut facts = json!({
        "repository": name, "repository_id": intent.repository.to_string(), "role": intent.role.as_str(),
        "version": intent.version.get(), "sha256": intent.digest.to_string(),
        "keys": keys, "caller": intent.caller,
    });
    if let Some(members) = facts.as_object_mut() {
        if !also.is_empty() {
            members.insert("also_roles".to_owned(), json!(also));
        }
        if intent.shared_key {
            members.insert("shared_key".to_owned(), json!(true));
        }
        if let Some(digest) = intent.supersedes {
            members.insert("supersedes".to_owned(), json!(digest.to_string()));
        }
    }
    Ok(facts)
}
