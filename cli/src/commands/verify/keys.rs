//! What no client looks at in keys: private ones that were published, one key under two names, keyids that were taken
//! as they are.

use std::collections::BTreeMap;

use tuf::key::{Key, KeyId, PublicKey, Scheme};
use tuf::metadata::{Delegations, Metadata, Root};
use tuf::private::{Publics, private_key_in};
use tuf::role::{RoleKeys, RoleKind, RoleName};

use super::refusal::refused;
use super::{Check, Published, Read};
use crate::error::Failure;

impl Check<'_> {
    /// Looks for private keys in every file, and warns of keys that count for less than they seem.
    ///
    /// # Errors
    /// There is one (4.2): all can read it now.
    pub(super) fn keys(&self, read: &Read) -> Result<(), Failure> {
        self.warn_of_keyids(&RoleKind::Root.role(), read.set.root());
        read.set.all_targets().for_each(|(role, metadata)| self.warn_of_keyids(role, metadata));
        let mut publics = Publics::default();
        read.files().for_each(|file| publics.add(file.content));
        read.files().try_for_each(|Published { role, name, content }| {
            let Some(place) = private_key_in(content.document().root(), &publics) else { return Ok(()) };
            let why = format!("{role}: a private key stands at {place}, which all can read now");
            Err(refused(&role, &name, "4.2", why).detail("pointer", place).remedy(
                "replace the key: tufctl root replace-key, or tufctl delegation edit for a delegated role",
            ))
        })
    }

    /// Warns of keyids that are not what they should be.
    fn warn_of_keyids(&self, role: &RoleName, metadata: &Metadata) {
        let screen = self.context.screen;
        let wrong = metadata.as_root().map(Root::wrong_keyids);
        let wrong = wrong.or_else(|| delegations(metadata).map(Delegations::wrong_keyids));
        for (keyid, right) in wrong.into_iter().flatten() {
            screen.warn(format!("{role}: keyid {keyid} is not the hash of its key, {right}"));
        }
        let Some(keys) = keys(metadata) else { return };
        // 4.2.2: adopters may define types of their own. Such a key counts for nothing here, as for most clients.
        for (keyid, key) in keys {
            if Scheme::of_names(key.keytype(), key.scheme()).is_none() {
                let kind = format!("{} / {}", key.keytype(), key.scheme());
                screen.warn(format!(
                    "{role}: key {keyid} is of a type that is not known, {kind}: it counts for nothing"
                ));
            }
        }
        for (of, role_keys) in key_lists(metadata) {
            for (one, other) in twins(role_keys, keys) {
                screen
                    .warn(format!("{role}: keyids {one} and {other} of {of} are one key, which counts once"));
            }
        }
    }
}

pub(super) fn delegations(metadata: &Metadata) -> Option<&Delegations> {
    metadata.as_targets().and_then(|targets| targets.delegations.as_ref())
}

pub(super) fn keys(metadata: &Metadata) -> Option<&BTreeMap<KeyId, Key>> {
    metadata.as_root().map(|root| &root.keys).or(delegations(metadata).map(|d| &d.keys))
}

/// Whose keys a file says.
fn key_lists(metadata: &Metadata) -> Vec<(String, &RoleKeys)> {
    let kinds = [RoleKind::Root, RoleKind::Timestamp, RoleKind::Snapshot, RoleKind::Targets];
    let root = metadata.as_root().into_iter();
    let top = root.flat_map(|root| kinds.map(|kind| (kind.to_string(), root.role(kind))));
    let delegations = delegations(metadata);
    let roles =
        delegations.into_iter().flat_map(|d| &d.roles).map(|role| (role.name.to_string(), &role.keys));
    let bins = delegations.and_then(|d| d.succinct.as_ref());
    top.chain(roles).chain(bins.map(|bins| (format!("{}-*", bins.name_prefix), &bins.keys))).collect()
}

/// Keyids of a role that are names of one public key.
fn twins<'k>(role: &'k RoleKeys, keys: &'k BTreeMap<KeyId, Key>) -> Vec<(&'k KeyId, &'k KeyId)> {
    let mut seen: BTreeMap<&PublicKey, &KeyId> = BTreeMap::new();
    let publics = role.keyids.iter().filter_map(|id| Some((keys.get(id)?.public_key().ok()?, id)));
    publics.filter_map(|(public, id)| Some((seen.insert(public, id)?, id))).collect()
}
