//! The single checks of the workflow, each with its section.

use super::{Options, Trust, TrustError, TrustFault};
use crate::{
    json::{MAX_BYTES, Text},
    key::{Key, KeyId, PublicKey},
    metadata::{MetaFile, Metadata, MetadataError, Root, Snapshot},
    role::{RoleKeys, RoleKind, RoleName, Version},
    verify::check_signatures,
};
use std::collections::{BTreeMap, BTreeSet};

/// Reads a file that must be `role`'s.
pub(super) fn parse(bytes: Text, role: &RoleName, options: &Options, spec: &'static str) -> Trust<Metadata> {
    let wanted = role.kind();
    let fault = |kind| TrustError::new(role, spec, kind);
    let (length, limit) = (bytes.len(), options.limits.of(wanted).min(MAX_BYTES));
    if length > limit {
        // Before the first byte is looked at: the kind is known here.
        return Err(fault(MetadataError::TooLong { kind: wanted, length, limit }.into()));
    }
    let file = Metadata::parse(bytes, &options.limits).map_err(|error| fault(error.into()))?;
    let found = file.kind();
    if found == wanted { Ok(file) } else { Err(fault(TrustFault::WrongType { wanted, found })) }
}

/// Checks `file` by the role root of `authority`.
pub(super) fn check_root(authority: &Metadata, file: &Metadata, spec: &'static str) -> Trust<()> {
    let role = RoleKind::Root.role();
    let Some(root) = authority.as_root() else { return Err(out_of_order(&role, spec, "no root is trusted")) };
    let by = format!("version {} of root", authority.version());
    check_threshold(file, &root.keys, &root.root, &role, by, spec)
}

/// Checks that enough of the keys have signed.
pub(super) fn check_threshold(
    file: &Metadata,
    keys: &BTreeMap<KeyId, Key>,
    role_keys: &RoleKeys,
    role: &RoleName,
    by: String,
    spec: &'static str,
) -> Trust<()> {
    let report = check_signatures(file, keys, role_keys);
    if report.met() { Ok(()) } else { Err(TrustError::new(role, spec, TrustFault::Threshold { by, report })) }
}

/// Refuses keyids that are not the hash of their key, unless the caller takes them.
pub(super) fn check_keyids(
    file: &Metadata,
    role: &RoleName,
    options: &Options,
    spec: &'static str,
) -> Trust<()> {
    let wrong = match (file.as_root(), file.as_targets()) {
        _ if options.accept_wrong_keyids => Vec::new(),
        (Some(root), _) => root.wrong_keyids(),
        (_, Some(targets)) => targets.wrong_keyids(),
        _ => Vec::new(),
    };
    match wrong.into_iter().next() {
        Some((keyid, right)) => Err(TrustError::new(role, spec, TrustFault::WrongKeyid { keyid, right })),
        None => Ok(()),
    }
}

/// Length and digests of a file by what `by` lists.
pub(crate) fn check_listed_bytes(
    bytes: &[u8],
    listed: &MetaFile,
    role: &RoleName,
    by: &RoleName,
    spec: &'static str,
) -> Trust<()> {
    let by = by.clone();
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let fault = match (listed.length, &listed.hashes) {
        (Some(listed), _) if listed != found => TrustFault::OtherLength { listed, found, by },
        (_, Some(hashes)) if !hashes.is_understood() => TrustFault::UnknownDigests { by },
        (_, Some(hashes)) if !hashes.match_bytes(bytes) => TrustFault::OtherDigest { by },
        _ => return Ok(()),
    };
    Err(TrustError::new(role, spec, fault))
}

/// The version of a file by what `by` lists.
pub(crate) fn check_listed_version(
    file: &Metadata,
    listed: Version,
    role: &RoleName,
    by: &RoleName,
    spec: &'static str,
) -> Trust<()> {
    let found = file.version();
    if found == listed {
        return Ok(());
    }
    Err(TrustError::new(role, spec, TrustFault::OtherVersion { listed, found, by: by.clone() }))
}

/// 5.5.5: whatever was listed is still listed and has not gone down.
pub(super) fn check_entries(old: &Snapshot, new: &Snapshot) -> Trust<()> {
    let role = RoleKind::Snapshot.role();
    for (of, before) in &old.meta {
        let of = of.clone();
        let fault = match new.meta.get(&of) {
            None => TrustFault::Vanished { of },
            Some(now) if now.version < before.version => {
                TrustFault::ListedRollback { of, trusted: before.version, found: now.version }
            }
            Some(_) => continue,
        };
        return Err(TrustError::new(&role, "5.5.5", fault));
    }
    Ok(())
}

/// What a root has left of the keys that a role had under the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// All of them.
    All,
    /// As many as the role needed.
    Enough,
    /// Fewer.
    TooFew,
}

/// Told by public key, so that correcting a keyid is no rotation, and neither is adding a key (5.3.11).
pub(super) fn left_of_keys(before: &Metadata, now: &Metadata, kind: RoleKind) -> Left {
    let (Some(before), Some(now)) = (before.as_root(), now.as_root()) else { return Left::All };
    let (old, new) = (identities(before, kind), identities(now, kind));
    let left = old.intersection(&new).count();
    if left == old.len() {
        Left::All
    } else if left >= before.role(kind).threshold.get().try_into().unwrap_or(usize::MAX) {
        Left::Enough
    } else {
        Left::TooFew
    }
}

/// A key as 5.3.11 tells keys apart: by its material, or by keyid where the material cannot be read.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identity<'a> {
    Key(&'a PublicKey),
    Unread(&'a KeyId),
}

fn identities(root: &Root, kind: RoleKind) -> BTreeSet<Identity<'_>> {
    let one = |keyid| {
        let public = root.keys.get(keyid).and_then(|key| key.public_key().ok());
        public.map_or(Identity::Unread(keyid), Identity::Key)
    };
    root.role(kind).keyids.iter().map(one).collect()
}

/// A step of the workflow at the wrong time.
pub(super) fn out_of_order(role: &RoleName, spec: &'static str, why: &'static str) -> TrustError {
    TrustError::new(role, spec, TrustFault::Order { why })
}
