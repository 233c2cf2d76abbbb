//! What no client looks at in keys: private ones that were published, one key under two names, keyids that were taken
//! as they are.

use std::collections::BTreeMap;

use tuf::json::Document;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::lint::private_key_in;
use tuf::metadata::{Delegations, Metadata, Root};
use tuf::role::{RoleKeys, RoleKind, RoleName};

use super::Check;
use super::refusal::refused;
use crate::error::Failure;

impl Check<'_> {
    /// Looks for private keys in a file that brings keys.
    ///
    /// # Errors
    /// There is one (4.2): all can read it now.
    pub(super) fn no_private_key(
        &self,
        role: &RoleName,
        metadata: &Metadata,
        file: &str,
    ) -> Result<(), Failure> {
        let Some(keyid) =
            keys(metadata).and_then(|keys| Some(keys.iter().find(|(_, key)| holds_private_key(key))?.0))
        else {
            return Ok(());
        };
        let why = format!("{role}: the object of key {keyid} holds a private key, which all can read now");
        Err(refused(role, file, "4.2", why).remedy(
            "replace the key: tufctl root replace-key, or tufctl delegation edit for a delegated role",
        ))
    }

    /// Warns of keyids that are not what they should be.
    pub(super) fn warn_of_keyids(&self, role: &RoleName, metadata: &Metadata) {
        let screen = self.context.screen;
        let wrong = metadata.as_root().map(Root::wrong_keyids);
        let wrong = wrong.or_else(|| delegations(metadata).map(Delegations::wrong_keyids));
        for (keyid, right) in wrong.into_iter().flatten() {
            screen.warn(format!("{role}: keyid {keyid} is not the hash of its key, {right}"));
        }
        let Some(keys) = keys(metadata) else { return };
        for (of, role_keys) in key_lists(metadata) {
            for (one, other) in twins(role_keys, keys) {
                screen
                    .warn(format!("{role}: keyids {one} and {other} of {of} are one key, which counts once"));
            }
        }
    }
}

fn delegations(metadata: &Metadata) -> Option<&Delegations> {
    metadata.as_targets().and_then(|targets| targets.delegations.as_ref())
}

fn keys(metadata: &Metadata) -> Option<&BTreeMap<KeyId, Key>> {
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

/// Whether a key object has a private part, as old tools wrote it beside `public`; an empty one is none.
fn holds_private_key(key: &Key) -> bool {
    let document = Document::parse(key.json().as_bytes(), key.json().len());
    document.is_ok_and(|document| private_key_in(document.root()).is_some())
}
