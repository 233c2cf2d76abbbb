//! Edits of root: who may sign the four top-level roles.

use std::collections::{BTreeMap, BTreeSet};

use super::EditError;
use super::keys::{self, KeyTable, role_patch};
use super::patch::ObjectPatch;
use crate::json::Value;
use crate::key::{Key, KeyId};
use crate::metadata::Root;
use crate::role::{RoleKeys, RoleKind, RoleName};

/// A root as it will be.
#[derive(Debug, Clone)]
pub(super) struct RootDraft {
    before: BTreeMap<RoleKind, RoleKeys>,
    roles: BTreeMap<RoleKind, RoleKeys>,
    keys_before: BTreeMap<KeyId, Key>,
    keys: KeyTable,
}

impl RootDraft {
    pub(super) fn of(root: &Root) -> Self {
        let roles: BTreeMap<_, _> = KINDS.iter().map(|kind| (*kind, root.role(*kind).clone())).collect();
        Self { before: roles.clone(), roles, keys_before: root.keys.clone(), keys: KeyTable::of(&root.keys) }
    }

    pub(super) fn add_key(&mut self, kind: RoleKind, key: &Key) -> Result<KeyId, EditError> {
        let (name, role, keys) = self.role(kind);
        keys.add(&name, role, key)
    }

    pub(super) fn remove_key(&mut self, kind: RoleKind, keyid: &KeyId) -> Result<(), EditError> {
        let (name, role, _) = self.role(kind);
        keys::remove(&name, role, keyid)
    }

    pub(super) fn replace_key(&mut self, kind: RoleKind, old: &KeyId, new: &Key) -> Result<KeyId, EditError> {
        let (name, role, keys) = self.role(kind);
        keys.replace(&name, role, old, new)
    }

    pub(super) fn set_threshold(&mut self, kind: RoleKind, threshold: u32) -> Result<(), EditError> {
        let (name, role, _) = self.role(kind);
        keys::set_threshold(&name, role, threshold)
    }

    /// What changes the `signed` part of the root, once everything holds together.
    pub(super) fn patch(mut self, signed: Value<'_>, out: &mut ObjectPatch) -> Result<(), EditError> {
        if self.roles == self.before {
            return Ok(());
        }
        let mut roles = ObjectPatch::default();
        for (kind, role) in &self.roles {
            let before = self.before.get(kind).unwrap_or(role);
            if before != role {
                self.keys.check(&kind.role(), role)?;
            }
            let mut patch = ObjectPatch::default();
            role_patch(&mut patch, before, role);
            roles.within(kind.role().as_str(), patch);
        }
        let mut used: BTreeSet<KeyId> = self.roles.values().flat_map(|r| r.keyids.iter().cloned()).collect();
        used.extend(keyids_of_other_roles(signed));
        self.keys.retain(&used);
        out.within("keys", self.keys.patch(&self.keys_before));
        out.within("roles", roles);
        Ok(())
    }

    fn role(&mut self, kind: RoleKind) -> (RoleName, &mut RoleKeys, &mut KeyTable) {
        let empty = || RoleKeys { keyids: Vec::new(), threshold: crate::role::Threshold::ONE };
        (kind.role(), self.roles.entry(kind).or_insert_with(empty), &mut self.keys)
    }
}

/// The four roles, in the order in which they are written.
const KINDS: [RoleKind; 4] = [RoleKind::Root, RoleKind::Snapshot, RoleKind::Targets, RoleKind::Timestamp];

/// Keyids of roles that the specification does not know (such as `mirrors`): their keys stay.
fn keyids_of_other_roles(signed: Value<'_>) -> Vec<KeyId> {
    let known = |name: &str| KINDS.iter().any(|kind| kind.role().as_str() == name);
    let roles = signed.get("roles").map(Value::members).into_iter().flatten();
    let others = roles.filter(|(name, _)| !name.as_str().is_some_and(|n| known(&n)));
    let keyids = others.filter_map(|(_, role)| role.get("keyids")).flat_map(Value::items);
    keyids.filter_map(|id| KeyId::parse(&id.as_str()?).ok()).collect()
}
