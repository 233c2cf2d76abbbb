//! Root metadata (specification 4.3).

use super::error::{self, Read, inside, member, object, optional, parsed, wrong};
use crate::{
    json::Value,
    key::{Key, KeyId},
    role::{RoleKeys, RoleKind, Threshold},
};
use std::collections::BTreeMap;

/// What a root says: the keys, and which of them each top-level role has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Root {
    /// Whether files are published under versioned and hashed names (6.2). A root that does not say is taken as `false`.
    pub consistent_snapshot: bool,
    /// All keys by the keyid that this root gives them.
    pub keys: BTreeMap<KeyId, Key>,
    /// The role root.
    pub root: RoleKeys,
    /// The role timestamp.
    pub timestamp: RoleKeys,
    /// The role snapshot.
    pub snapshot: RoleKeys,
    /// The role targets.
    pub targets: RoleKeys,
}

impl Root {
    pub(super) fn read(signed: Value<'_>) -> Read<Self> {
        let role = |kind: RoleKind| {
            member(signed, "roles", |roles| {
                member(object(roles)?, kind.name(), |role| role_keys(object(role)?))
            })
        };
        Ok(Self {
            consistent_snapshot: optional(signed, "consistent_snapshot", error::boolean)?.unwrap_or(false),
            keys: member(signed, "keys", keys)?,
            root: role(RoleKind::Root)?,
            timestamp: role(RoleKind::Timestamp)?,
            snapshot: role(RoleKind::Snapshot)?,
            targets: role(RoleKind::Targets)?,
        })
    }

    /// The keys of a top-level role.
    pub fn role(&self, kind: RoleKind) -> &RoleKeys {
        match kind {
            RoleKind::Root => &self.root,
            RoleKind::Timestamp => &self.timestamp,
            RoleKind::Snapshot => &self.snapshot,
            RoleKind::Targets => &self.targets,
        }
    }

    /// Keyids that are not the SHA-256 of their key, with the one that would be right. The specification (4.2.1) wants
    /// clients to refuse such a file.
    pub fn wrong_keyids(&self) -> Vec<(KeyId, KeyId)> {
        wrong_keyids(&self.keys)
    }
}

/// Keyids of `keys` that are not the hash of their key, each with the right one.
pub(super) fn wrong_keyids(keys: &BTreeMap<KeyId, Key>) -> Vec<(KeyId, KeyId)> {
    let pairs = keys.iter().map(|(keyid, key)| (keyid.clone(), key.computed_keyid()));
    pairs.filter(|(keyid, right)| keyid != right).collect()
}

/// The member `keys` of root metadata and of delegations.
pub(super) fn keys(value: Value<'_>) -> Read<BTreeMap<KeyId, Key>> {
    let mut keys = BTreeMap::new();
    for (name, key) in object(value)?.members() {
        let keyid = parsed(name, KeyId::parse)?;
        let read = |key| Key::parse(key).or_else(|error| wrong(key, error));
        let key = inside(key, &error::subscript(keyid.as_str()), |key| read(object(key)?))?;
        keys.insert(keyid, key);
    }
    Ok(keys)
}

/// `keyids` and `threshold` of `role`.
pub(super) fn role_keys(role: Value<'_>) -> Read<RoleKeys> {
    let threshold = member(role, "threshold", |value| {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let threshold = number.and_then(Threshold::new);
        threshold.map_or_else(|| wrong(value, "must be an integer between 1 and 4294967295"), Ok)
    })?;
    member(role, "keyids", |value| {
        let keyids = error::each(value, |item| parsed(item, KeyId::parse))?;
        RoleKeys::new(keyids, threshold).or_else(|error| wrong(value, error))
    })
}
