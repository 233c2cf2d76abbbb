//! Differences between two versions of a role, for people and for the wire.
//!
//! Duty: say everything that signing the newer one would change, in TUF's words; what has no word is named.
//! Trust: both sides were parsed by this crate; the texts inside are others' and must be made visible to be shown.
//! Invariant: two metadata with different canonical `signed` parts never have an empty difference.

mod content;
mod targets;

use serde::{Deserialize, Serialize};

use crate::metadata::{Metadata, TargetFile};
use crate::role::RoleName;

/// At most so many targets are listed of each kind of change, but by [`full_difference`]; the counts are exact.
pub const MOST_LISTED: usize = 1000;

/// What changes from one version of a role to another. Lists are empty and options absent where nothing changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Difference {
    /// The role.
    pub role: String,
    /// Version of the older one; absent for a first version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_version: Option<u64>,
    /// Version of the newer one.
    pub to_version: u64,
    /// Expiry of the older one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_expires: Option<String>,
    /// Expiry of the newer one.
    pub to_expires: String,
    /// SHA-256 of the canonical `signed` part of the older one, lowercase hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_sha256: Option<String>,
    /// SHA-256 of the canonical `signed` part of the newer one, lowercase hex: what will be signed.
    pub sha256: String,
    /// Keys that roles get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys_added: Vec<RoleKey>,
    /// Keys that roles lose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys_removed: Vec<RoleKey>,
    /// Thresholds that change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdChange>,
    /// Targets that come; at most [`MOST_LISTED`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets_added: Vec<TargetChange>,
    /// Targets that change; at most [`MOST_LISTED`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets_changed: Vec<TargetChange>,
    /// Targets that go; at most [`MOST_LISTED`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets_removed: Vec<TargetChange>,
    /// Exact numbers of targets.
    pub targets_count: TargetCounts,
    /// Delegations that come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delegations_added: Vec<Delegation>,
    /// Delegations whose paths, order or `terminating` change, as they will be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delegations_changed: Vec<DelegationChanged>,
    /// Delegations that go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delegations_removed: Vec<Delegation>,
    /// Entries of a snapshot or timestamp that come, change or go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub meta: Vec<MetaChange>,
    /// `consistent_snapshot` of a root from now on, when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistent_snapshot: Option<bool>,
    /// Members without a word of their own that come, change or go, such as `spec_version` or `roles.root.x-owner`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<String>,
}

/// A key of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKey {
    /// The role, or the prefix of succinct bins.
    pub role: String,
    /// The keyid as metadata writes it.
    pub keyid: String,
    /// `ed25519`, `ecdsa-p256` and so on, else the `keytype` as it stands; empty when the key is not there.
    #[serde(rename = "type")]
    pub kind: String,
    /// The keyid that the key object should have, where it stands under another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub own_keyid: Option<String>,
}

/// A threshold that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdChange {
    /// The role, or the prefix of succinct bins.
    pub role: String,
    /// Absent for a role that comes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<u32>,
    /// From now on.
    pub to: u32,
}

/// A target that comes, changes or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetChange {
    /// Its path.
    pub path: String,
    /// Length in bytes; of one that goes, what it was.
    pub length: u64,
    /// Its digests, lowercase hex by algorithm; of one that goes, what they were.
    pub hashes: std::collections::BTreeMap<String, String>,
    /// What it was before, of one that changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub was: Option<TargetBefore>,
    /// Whether anything beside length and digests (such as `custom`) changes, or comes with a target that comes.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub other_changed: bool,
}

/// What a target was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetBefore {
    /// Length in bytes.
    pub length: u64,
    /// Its digests.
    pub hashes: std::collections::BTreeMap<String, String>,
}

/// Numbers of targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetCounts {
    /// That come.
    pub added: u64,
    /// That change.
    pub changed: u64,
    /// That go.
    pub removed: u64,
    /// In the newer version.
    pub total: u64,
}

/// A delegation as it stands on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// The delegated role, or the prefix of succinct bins.
    pub name: String,
    /// Path patterns.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub paths: Vec<String>,
    /// Prefixes of hashes of paths, where there are no patterns.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub path_hash_prefixes: Vec<String>,
    /// Number of succinct bins, where there are neither.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub succinct_bins: Option<u64>,
    /// Whether clients search no further.
    #[serde(default)]
    pub terminating: bool,
    /// Its keyids.
    pub keyids: Vec<String>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// A delegation whose paths, place or `terminating` change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationChanged {
    /// As it was.
    pub from: Delegation,
    /// As it will be.
    pub to: Delegation,
    /// Whether its order among the delegations of both sides, which is their priority, changes.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub moved: bool,
}

/// An entry of a snapshot or timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaChange {
    /// The role that is listed.
    pub role: String,
    /// Version before; absent for an entry that comes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<u64>,
    /// Version from now on; absent for an entry that goes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<u64>,
}

impl Difference {
    /// Whether nothing changes at all, version and expiry included.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from_sha256.as_deref() == Some(self.sha256.as_str())
    }

    /// The same without the role's name: equal for roles of one content, such as empty bins.
    #[must_use]
    pub fn unnamed(&self) -> Self {
        Self { role: String::new(), ..self.clone() }
    }

    /// Whether nothing changes but version and expiry.
    #[must_use]
    pub fn only_renews(&self) -> bool {
        let counts = self.targets_count;
        let targets = counts.added == 0 && counts.changed == 0 && counts.removed == 0;
        let keys = self.keys_added.is_empty() && self.keys_removed.is_empty() && self.thresholds.is_empty();
        let delegations = self.delegations_added.is_empty()
            && self.delegations_changed.is_empty()
            && self.delegations_removed.is_empty();
        let rest = self.meta.is_empty() && self.consistent_snapshot.is_none() && self.other.is_empty();
        self.from_version.is_some() && targets && keys && delegations && rest
    }
}

/// What changes from `old` (nothing, for a first version) to `new`. Both are metadata of `role`.
#[must_use]
pub fn difference(role: &RoleName, old: Option<&Metadata>, new: &Metadata) -> Difference {
    listing(MOST_LISTED, role, old, new)
}

/// The same, and every target that changes is listed, however many there are.
#[must_use]
pub fn full_difference(role: &RoleName, old: Option<&Metadata>, new: &Metadata) -> Difference {
    listing(usize::MAX, role, old, new)
}

/// With at most so many targets of each kind of change.
fn listing(most: usize, role: &RoleName, old: Option<&Metadata>, new: &Metadata) -> Difference {
    let mut out = Difference {
        role: role.as_str().to_owned(),
        from_version: old.map(|m| m.version().get()),
        to_version: new.version().get(),
        from_expires: old.map(|m| m.expires().to_string()),
        to_expires: new.expires().to_string(),
        from_sha256: old.map(|m| m.digest().to_string()),
        sha256: new.digest().to_string(),
        ..Difference::default()
    };
    if let Some(root) = new.as_root() {
        content::root(&mut out, old.and_then(Metadata::as_root), root);
    }
    if let Some(targets) = new.as_targets() {
        let before = old.and_then(Metadata::as_targets);
        content::delegations(
            &mut out,
            before.and_then(|t| t.delegations.as_ref()),
            targets.delegations.as_ref(),
        );
        let old_signed = before.and(old).map(Metadata::signed);
        let old_targets = old_signed.and_then(|s| s.get("targets"));
        targets::compare(&mut out, most, old_targets, new.signed().get("targets"));
    }
    if let Some(snapshot) = new.as_snapshot() {
        let before = old.and_then(Metadata::as_snapshot);
        content::meta(&mut out, before.map(|s| &s.meta), &snapshot.meta);
    }
    if let Some(timestamp) = new.as_timestamp() {
        content::timestamp(&mut out, old.and_then(Metadata::as_timestamp), timestamp);
    }
    content::other(&mut out, old.map(Metadata::signed), new.signed());
    out
}

/// Targets that `new` lists and `old` does not, or not with the same text: all of them, in the order of the metadata.
#[must_use]
pub fn new_targets(old: Option<&Metadata>, new: &Metadata) -> Vec<(String, TargetFile<'static>)> {
    targets::come(old.and_then(Metadata::as_targets), new.as_targets())
}

#[cfg(test)]
mod tests;
