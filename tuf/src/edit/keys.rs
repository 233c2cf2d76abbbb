//! Keys and the roles that use them, as they will be: what root and delegations have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::EditError;
use super::patch::ObjectPatch;
use super::text::Json;
use crate::key::{Key, KeyId};
use crate::role::{RoleKeys, RoleName, Threshold};

/// The `keys` of a root or of delegations, as they will be.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyTable {
    keys: BTreeMap<KeyId, Key>,
}

impl KeyTable {
    pub(super) fn of(keys: &BTreeMap<KeyId, Key>) -> Self {
        Self { keys: keys.clone() }
    }

    /// The keyid of a key, which comes into the table under the hash of its object unless its public key is
    /// there already: that one public key stays one key.
    fn enlist(&mut self, key: &Key) -> Result<KeyId, EditError> {
        let keyid = key.computed_keyid();
        let wanted = public(key, &keyid)?;
        let same = |(_, known): &(&KeyId, &Key)| known.public_key().is_ok_and(|p| p == wanted);
        if let Some((known, _)) = self.keys.iter().find(same) {
            return Ok(known.clone());
        }
        self.keys.insert(keyid.clone(), key.clone());
        Ok(keyid)
    }

    /// A role with these keys and threshold.
    pub(super) fn role(
        &mut self,
        name: &RoleName,
        keys: &[Key],
        threshold: u32,
    ) -> Result<RoleKeys, EditError> {
        let mut role = RoleKeys { keyids: Vec::new(), threshold: Threshold::ONE };
        for key in keys {
            self.add(name, &mut role, key)?;
        }
        set_threshold(name, &mut role, threshold)?;
        Ok(role)
    }

    pub(super) fn add(
        &mut self,
        name: &RoleName,
        role: &mut RoleKeys,
        key: &Key,
    ) -> Result<KeyId, EditError> {
        let keyid = self.enlist(key)?;
        if role.keyids.contains(&keyid) {
            return Err(EditError::HasKey { role: name.clone(), keyid });
        }
        role.keyids.push(keyid.clone());
        Ok(keyid)
    }

    /// Puts `new` where `old` stood.
    pub(super) fn replace(
        &mut self,
        name: &RoleName,
        role: &mut RoleKeys,
        old: &KeyId,
        new: &Key,
    ) -> Result<KeyId, EditError> {
        let keyid = self.enlist(new)?;
        if role.keyids.contains(&keyid) {
            return Err(EditError::HasKey { role: name.clone(), keyid });
        }
        let place = role.keyids.iter_mut().find(|k| *k == old);
        *place.ok_or_else(|| EditError::NoKey { role: name.clone(), keyid: old.clone() })? = keyid.clone();
        Ok(keyid)
    }

    /// Refuses a threshold that the role cannot meet, and one public key under two of its keyids.
    pub(super) fn check(&self, name: &RoleName, role: &RoleKeys) -> Result<(), EditError> {
        check_threshold(name, role.threshold.get(), role.keyids.len())?;
        let mut seen = BTreeMap::new();
        for keyid in &role.keyids {
            // A keyid without a key, or of a kind that we cannot read, is what others wrote: it counts for nothing.
            let Some(public) = self.keys.get(keyid).and_then(|key| key.public_key().ok()) else { continue };
            if let Some(one) = seen.insert(public, keyid) {
                return Err(EditError::SamePublicKey {
                    role: name.clone(),
                    one: one.clone(),
                    two: keyid.clone(),
                });
            }
        }
        Ok(())
    }

    /// Forgets the keys that no role uses.
    pub(super) fn retain(&mut self, used: &BTreeSet<KeyId>) {
        self.keys.retain(|keyid, _| used.contains(keyid));
    }

    /// What changes `before` into this table.
    pub(super) fn patch(&self, before: &BTreeMap<KeyId, Key>) -> ObjectPatch {
        let mut patch = ObjectPatch::default();
        for keyid in before.keys().filter(|k| !self.keys.contains_key(k)) {
            patch.remove(keyid.to_string());
        }
        for (keyid, key) in self.keys.iter().filter(|(k, _)| !before.contains_key(k)) {
            patch.set(keyid.to_string(), Json::Raw(key.json().to_owned()));
        }
        patch
    }

    /// The whole table.
    pub(super) fn json(&self) -> Json {
        Json::Lines(
            self.keys.iter().map(|(id, key)| (id.to_string(), Json::Raw(key.json().to_owned()))).collect(),
        )
    }
}

/// Takes a key from a role.
pub(super) fn remove(name: &RoleName, role: &mut RoleKeys, keyid: &KeyId) -> Result<(), EditError> {
    let before = role.keyids.len();
    role.keyids.retain(|k| k != keyid);
    if role.keyids.len() == before {
        return Err(EditError::NoKey { role: name.clone(), keyid: keyid.clone() });
    }
    Ok(())
}

/// Sets a threshold; whether the role can meet it is judged once all edits are made.
pub(super) fn set_threshold(name: &RoleName, role: &mut RoleKeys, threshold: u32) -> Result<(), EditError> {
    role.threshold = Threshold::new(threshold).ok_or_else(|| EditError::Threshold {
        role: name.clone(),
        threshold,
        keys: role.keyids.len(),
    })?;
    Ok(())
}

/// What changes `before` into `after` inside an object that holds both members of a role.
pub(super) fn role_patch(patch: &mut ObjectPatch, before: &RoleKeys, after: &RoleKeys) {
    if before.keyids != after.keyids {
        patch.set("keyids", Json::texts(&after.keyids));
    }
    if before.threshold != after.threshold {
        patch.set("threshold", Json::Number(after.threshold.get().into()));
    }
}

pub(super) fn role_json(role: &RoleKeys) -> Json {
    Json::inline([
        ("keyids", Json::texts(&role.keyids)),
        ("threshold", Json::Number(role.threshold.get().into())),
    ])
}

fn check_threshold(name: &RoleName, threshold: u32, keys: usize) -> Result<(), EditError> {
    if usize::try_from(threshold).is_ok_and(|t| (1..=keys).contains(&t)) {
        return Ok(());
    }
    Err(EditError::Threshold { role: name.clone(), threshold, keys })
}

fn public<'k>(key: &'k Key, keyid: &KeyId) -> Result<&'k crate::key::PublicKey, EditError> {
    key.public_key().map_err(|why| EditError::Key { keyid: keyid.clone(), why: why.clone() })
}
