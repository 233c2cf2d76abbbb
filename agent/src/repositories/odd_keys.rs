//! Keys that are not what their keyids say. People know a key by its keyid, and clients that do not recompute it
//! (python-tuf, tuf-js) go by the key object that stands under it (specification 4.2.1; section 4.3 does not forbid one key
//! under two keyids).

use std::collections::{BTreeMap, BTreeSet};

use tuf::key::{Key, KeyId};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind};

use super::authority::{delegations, publics};

/// The key table of a root or of delegations, and the roles that name its keys.
struct Table<'m> {
    keys: &'m BTreeMap<KeyId, Key>,
    roles: Vec<(&'m str, &'m RoleKeys)>,
}

/// What `subject` says of keys that `base` does not say, each a sentence fit for a screen.
pub(super) fn look(base: Option<&Metadata>, subject: &Metadata) -> Vec<String> {
    let Some(now) = table(subject) else { return Vec::new() };
    let before = base.and_then(table);
    let mut said = strangers(before.as_ref(), &now);
    said.extend(twins(before.as_ref(), &now));
    said
}

fn table(metadata: &Metadata) -> Option<Table<'_>> {
    if let Some(root) = metadata.as_root() {
        let roles = RoleKind::ALL.into_iter().map(|kind| (kind.name(), root.role(kind)));
        return Some(Table { keys: &root.keys, roles: roles.collect() });
    }
    let all = delegations(metadata)?;
    let named = all.roles.iter().map(|role| (role.name.as_str(), &role.keys));
    let bins = all.succinct.iter().map(|bins| (bins.name_prefix.as_str(), &bins.keys));
    Some(Table { keys: &all.keys, roles: named.chain(bins).collect() })
}

/// Key objects that stand under the keyid of another key.
fn strangers(before: Option<&Table<'_>>, now: &Table<'_>) -> Vec<String> {
    let is_new = |keyid: &KeyId, key: &Key| {
        before.and_then(|table| table.keys.get(keyid)).is_none_or(|known| known.json() != key.json())
    };
    let wrong = now.keys.iter().filter(|(keyid, key)| **keyid != key.computed_keyid() && is_new(keyid, key));
    wrong
        .map(|(keyid, key)| {
            format!(
                "under the keyid {keyid} stands a key whose own keyid is {}: whoever holds that key may sign, and not \
                 whoever is known by {keyid}",
                key.computed_keyid()
            )
        })
        .collect()
}

/// Roles whose threshold one holder can meet twice, since one key stands under two keyids.
fn twins(before: Option<&Table<'_>>, now: &Table<'_>) -> Vec<String> {
    let had: BTreeSet<&str> = before.map(|table| doubled(table).collect()).unwrap_or_default();
    let new = doubled(now).filter(|name| !had.contains(name));
    new.map(|name| {
        format!(
            "{name} names one key under two keyids: clients count it twice, so its holder alone is worth two signatures"
        )
    })
    .collect()
}

fn doubled<'t>(table: &'t Table<'_>) -> impl Iterator<Item = &'t str> {
    let is_doubled = |keys: &RoleKeys| {
        let readable =
            keys.keyids.iter().filter(|keyid| table.keys.get(keyid).is_some_and(|k| k.public_key().is_ok()));
        readable.count() > publics(table.keys, keys).len()
    };
    table.roles.iter().filter(move |(_, keys)| is_doubled(keys)).map(|(name, _)| *name)
}
