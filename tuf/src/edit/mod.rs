//! The next version of a role: bytes of an unsigned metadata file.
//!
//! Duty: make first versions, and next ones by splicing over the bytes that were read, so that unknown members
//! and untouched text survive byte for byte and one changed target of a large role costs little.
//! Trust: the base was parsed by this crate; names, keys and paths are judged here before they are written.
//! Invariants: thresholds can be met, no public key counts twice in a role, names of delegations are unique,
//! keys that no role uses are gone from what we changed. The result has no signatures.

mod delegations;
mod error;
mod fresh;
mod keys;
mod meta;
mod patch;
mod root;
mod targets;
mod text;

pub use delegations::{DelegationChange, NewDelegation};
pub use error::EditError;
pub use fresh::{NewRole, NewRoles, new_root, new_snapshot, new_targets, new_timestamp};
pub use targets::PathScope;

use crate::key::{Key, KeyId};
use crate::metadata::{Limits, MetaFile, Metadata, TargetFile};
use crate::role::{RoleKind, RoleName, Version};
use crate::target::TargetPath;
use crate::time::UtcTime;
use delegations::DelegationsDraft;
use meta::MetaDraft;
use patch::ObjectPatch;
use root::RootDraft;
use targets::TargetsDraft;
use text::Json;

/// Edits of one metadata file; [`Editor::finish`] makes the new one.
#[derive(Debug, Clone)]
pub struct Editor {
    base: Metadata,
    version: Version,
    expires: UtcTime,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Root(Box<RootDraft>),
    Targets(Box<TargetsDraft>, Box<DelegationsDraft>),
    Snapshot(MetaDraft),
    Timestamp(MetaDraft),
}

impl Editor {
    /// Edits upon `base`. Version and expiry stay until they are set.
    #[must_use]
    pub fn new(base: &Metadata) -> Self {
        let base = &whole(base);
        let content = match (base.kind(), base.as_root(), base.as_targets()) {
            (_, Some(root), _) => Content::Root(Box::new(RootDraft::of(root))),
            (_, _, Some(targets)) => {
                Content::Targets(Box::default(), Box::new(DelegationsDraft::of(targets.delegations.as_ref())))
            }
            (RoleKind::Timestamp, ..) => Content::Timestamp(MetaDraft::default()),
            _ => Content::Snapshot(MetaDraft::default()),
        };
        Self { base: base.clone(), version: base.version(), expires: base.expires(), content }
    }

    /// The version to write.
    pub fn set_version(&mut self, version: Version) -> &mut Self {
        self.version = version;
        self
    }

    /// The version after the base's.
    ///
    /// # Errors
    /// The base has the last version that there is.
    pub fn next_version(&mut self) -> Result<&mut Self, EditError> {
        let base = self.base.version();
        self.version = base.next().ok_or(EditError::LastVersion(base.get()))?;
        Ok(self)
    }

    /// The expiry to write.
    pub fn set_expires(&mut self, expires: UtcTime) -> &mut Self {
        self.expires = expires;
        self
    }

    /// Root: gives a top-level role one more key. Returns the keyid that the metadata uses for it, which is an
    /// older one where the public key is there already.
    ///
    /// # Errors
    /// Not a root; the role has the key already; the key cannot be read.
    pub fn add_key(&mut self, kind: RoleKind, key: &Key) -> Result<KeyId, EditError> {
        self.root()?.add_key(kind, key)
    }

    /// Root: takes a key from a top-level role.
    ///
    /// # Errors
    /// Not a root; the role does not have the key.
    pub fn remove_key(&mut self, kind: RoleKind, keyid: &KeyId) -> Result<(), EditError> {
        self.root()?.remove_key(kind, keyid)
    }

    /// Root: puts one key in the place of another; returns the keyid of the new one.
    ///
    /// # Errors
    /// As [`Editor::add_key`] and [`Editor::remove_key`].
    pub fn replace_key(&mut self, kind: RoleKind, old: &KeyId, new: &Key) -> Result<KeyId, EditError> {
        self.root()?.replace_key(kind, old, new)
    }

    /// Root: sets how many keys of a top-level role must sign.
    ///
    /// # Errors
    /// Not a root; zero. Whether the role has so many keys is judged by [`Editor::finish`].
    pub fn set_threshold(&mut self, kind: RoleKind, threshold: u32) -> Result<(), EditError> {
        self.root()?.set_threshold(kind, threshold)
    }

    /// Targets: from now on refuses to add what these delegations, the whole chain to this role, do not allow.
    ///
    /// # Errors
    /// Not a targets role.
    pub fn within(&mut self, chain: Vec<PathScope>) -> Result<(), EditError> {
        self.targets("a path scope")?.0.within(chain);
        Ok(())
    }

    /// Targets: adds or replaces a target. Where the role lists it already, only length and hashes change.
    ///
    /// # Errors
    /// Not a targets role; a delegation on the chain does not allow the path; a digest of another form.
    pub fn add_target(&mut self, path: &TargetPath, target: &TargetFile<'_>) -> Result<(), EditError> {
        self.targets("a target")?.0.add(path, target)
    }

    /// Targets: removes a target.
    ///
    /// # Errors
    /// Not a targets role; no such target.
    pub fn remove_target(&mut self, path: &str) -> Result<(), EditError> {
        let base = self.base.clone();
        self.targets("a target")?.0.remove(path, base.signed())
    }

    /// Targets: delegates to one more role, with the lowest priority.
    ///
    /// # Errors
    /// Not a targets role; the name is taken or one of the top level; a path that is not written; succinct bins.
    pub fn add_delegation(&mut self, new: &NewDelegation) -> Result<(), EditError> {
        self.targets("a delegation")?.1.add(new)
    }

    /// Targets: changes a delegation, or the succinct bins whose prefix is `name`.
    ///
    /// # Errors
    /// Not a targets role; no such delegation; keys or paths that are not written.
    pub fn edit_delegation(&mut self, name: &RoleName, change: &DelegationChange) -> Result<(), EditError> {
        self.targets("a delegation")?.1.edit(name, change)
    }

    /// Targets: ends a delegation, or the succinct bins whose prefix is `name`.
    ///
    /// # Errors
    /// Not a targets role; no such delegation.
    pub fn remove_delegation(&mut self, name: &RoleName) -> Result<(), EditError> {
        self.targets("a delegation")?.1.remove(name)
    }

    /// Targets: delegates everything to `bins` succinct hash bins (TAP 15), a power of two from 2 to 2^32.
    ///
    /// # Errors
    /// Not a targets role; there are delegations already; another number of bins.
    pub fn set_succinct(
        &mut self,
        prefix: &RoleName,
        bins: u64,
        keys: &[Key],
        threshold: u32,
    ) -> Result<(), EditError> {
        self.targets("a delegation")?.1.set_succinct(prefix, bins, keys, threshold)
    }

    /// Snapshot: sets what is listed of a targets role.
    ///
    /// # Errors
    /// Not a snapshot; a length or digest that clients cannot read.
    pub fn set_meta(&mut self, role: &RoleName, file: &MetaFile) -> Result<(), EditError> {
        match &mut self.content {
            Content::Snapshot(draft) => draft.set(role, file),
            _ => Err(self.wrong("an entry")),
        }
    }

    /// Timestamp: sets what is listed of the snapshot.
    ///
    /// # Errors
    /// Not a timestamp; a length or digest that clients cannot read.
    pub fn set_snapshot(&mut self, file: &MetaFile) -> Result<(), EditError> {
        match &mut self.content {
            Content::Timestamp(draft) => draft.set(&RoleKind::Snapshot.role(), file),
            _ => Err(self.wrong("the snapshot")),
        }
    }

    /// Makes the new file. It carries no signatures; what no edit named stands as it stood.
    ///
    /// # Errors
    /// A threshold that a changed role cannot meet; one public key under two keyids of a changed role.
    pub fn finish(self) -> Result<Vec<u8>, EditError> {
        let base = self.base;
        let mut signed = ObjectPatch::default();
        if self.version != base.version() {
            signed.set("version", Json::Number(self.version.get()));
        }
        if self.expires != base.expires() {
            signed.set("expires", Json::text(self.expires.to_string()));
        }
        match self.content {
            Content::Root(draft) => draft.patch(base.signed(), &mut signed)?,
            Content::Targets(targets, delegations) => {
                targets.patch(base.signed(), &mut signed);
                delegations.patch(&mut signed)?;
            }
            Content::Snapshot(draft) | Content::Timestamp(draft) => draft.patch(base.signed(), &mut signed),
        }
        let mut whole = ObjectPatch::default();
        whole.set("signatures", Json::Row(Vec::new()));
        whole.within("signed", signed);
        Ok(patch::apply(base.document(), &whole))
    }

    fn root(&mut self) -> Result<&mut RootDraft, EditError> {
        let wrong = self.wrong("a key or threshold of the top level");
        match &mut self.content {
            Content::Root(draft) => Ok(draft),
            _ => Err(wrong),
        }
    }

    fn targets(
        &mut self,
        what: &'static str,
    ) -> Result<(&mut TargetsDraft, &mut DelegationsDraft), EditError> {
        let wrong = self.wrong(what);
        match &mut self.content {
            Content::Targets(targets, delegations) => Ok((targets, delegations)),
            _ => Err(wrong),
        }
    }

    fn wrong(&self, what: &'static str) -> EditError {
        let kind = match &self.content {
            Content::Root(_) => "root",
            Content::Targets(..) => "targets",
            Content::Snapshot(_) => "snapshot",
            Content::Timestamp(_) => "timestamp",
        };
        EditError::WrongKind { what, kind }
    }
}

/// A file even of a `signed` part alone, so that there is something to put signatures into.
fn whole(base: &Metadata) -> Metadata {
    if !base.is_signed_part() {
        return base.clone();
    }
    Metadata::parse(base.with_signatures(&[]), &Limits::agent()).unwrap_or_else(|_| base.clone())
}

#[cfg(test)]
mod tests;
