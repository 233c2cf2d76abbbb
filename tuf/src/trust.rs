//! The client workflow of section 5 as pure functions over bytes.
//!
//! A [`TrustedSet`] begins with a trusted root and takes files in the order of the specification: newer roots,
//! timestamp, snapshot, targets, delegated targets. Each step either makes the set larger or says why not, and leaves
//! it as it was. The caller fetches and stores; nothing here has a clock.

mod checks;
mod error;
mod search;

use crate::{
    json::Text,
    key::{Key, KeyId},
    metadata::{Limits, Metadata},
    role::{RoleKeys, RoleKind, RoleName, Version},
    time::UtcTime,
};
use checks::{
    Left, check_entries, check_keyids, check_root, check_threshold, left_of_keys, out_of_order, parse,
};
pub(crate) use checks::{check_listed_bytes, check_listed_version};
pub use error::{TrustError, TrustFault};
pub use search::Search;
use std::collections::{BTreeMap, BTreeSet};

/// How a [`TrustedSet`] judges.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many bytes of each kind are read.
    pub limits: Limits,
    /// The one moment for the whole run (5.1). `None`: expiry is not looked at.
    pub reference_time: Option<UtcTime>,
    /// Take keyids that are not the hash of their key. The specification (4.2.1) forbids it; Sigstore needs it.
    pub accept_wrong_keyids: bool,
    /// How many roles a search for a target visits (5.6.7.1).
    pub max_delegations: usize,
}

impl Options {
    /// The agent's limits, 256 roles a search, keyids checked, expiry against `reference_time`.
    pub const fn new(reference_time: Option<UtcTime>) -> Self {
        Self { limits: Limits::agent(), reference_time, accept_wrong_keyids: false, max_delegations: 256 }
    }
}

/// What was trusted in an earlier run, for the checks against rollback (5.4.3, 5.5.5). Each counts only as long as its
/// signatures still reach the threshold under the newest root; where that ended since a root took keys away, neither counts
/// any more (5.3.11).
#[derive(Clone, Debug, Default)]
pub struct Previous {
    /// The timestamp.
    pub timestamp: Option<Metadata>,
    /// The snapshot.
    pub snapshot: Option<Metadata>,
}

/// What [`TrustedSet::update_timestamp`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampStep {
    /// A newer timestamp; go on.
    Newer,
    /// The version that was trusted before; the new file was let go, and nothing else is new (5.4.3.1).
    Same,
}

/// Metadata that is trusted, by the workflow of section 5.
#[derive(Clone, Debug)]
pub struct TrustedSet {
    options: Options,
    root: Metadata,
    previous: Previous,
    timestamp: Option<Metadata>,
    snapshot: Option<Metadata>,
    targets: BTreeMap<RoleName, Loaded>,
}

/// A targets role, and who has vouched for it: a role delegated to by two parents must satisfy both.
#[derive(Clone, Debug)]
struct Loaded {
    metadata: Metadata,
    by: BTreeSet<RoleName>,
}

type Trust<T> = Result<T, TrustError>;

impl TrustedSet {
    /// Begins with the root that the caller trusts already (5.2). It may have expired, and must have signed itself.
    ///
    /// # Errors
    /// A file that cannot be read, is no root, has wrong keyids or too few of its own signatures.
    pub fn from_root(bytes: impl Into<Text>, options: &Options) -> Trust<Self> {
        let root = parse(bytes.into(), &RoleKind::Root.role(), options, "5.2")?;
        check_root(&root, &root, "5.2")?;
        check_keyids(&root, &RoleKind::Root.role(), options, "4.2.1")?;
        Ok(Self {
            options: *options,
            root,
            previous: Previous::default(),
            timestamp: None,
            snapshot: None,
            targets: BTreeMap::new(),
        })
    }

    /// Adds what was trusted in an earlier run; to be called before the first newer root.
    ///
    /// # Errors
    /// Metadata of another kind than its place, or a call after the first timestamp.
    pub fn with_previous(mut self, previous: Previous) -> Trust<Self> {
        let files = [(&previous.timestamp, RoleKind::Timestamp), (&previous.snapshot, RoleKind::Snapshot)];
        for (file, kind) in files {
            if let Some(found) = file.as_ref().map(Metadata::kind).filter(|found| *found != kind) {
                let fault = TrustFault::WrongType { wanted: kind, found };
                return Err(TrustError::new(&kind.role(), "5.3.11", fault));
            }
        }
        self.before_timestamp("5.2", "earlier metadata belongs before the first timestamp")?;
        self.previous = previous;
        Ok(self)
    }

    /// Whether anything of an earlier run still counts; false once a root has taken away the keys that timestamp or snapshot
    /// was trusted by, and then the caller forgets what it stored of both (5.3.11).
    pub const fn has_previous(&self) -> bool {
        self.previous.timestamp.is_some() || self.previous.snapshot.is_some()
    }

    /// Goes one step along the root chain (5.3.3 to 5.3.11).
    ///
    /// # Errors
    /// The next root is not version N + 1, or lacks the threshold of the trusted root (5.3.4) or its own.
    pub fn update_root(&mut self, bytes: impl Into<Text>) -> Trust<()> {
        let role = RoleKind::Root.role();
        self.before_timestamp("5.3", "a root cannot follow once a timestamp is trusted")?;
        let next = parse(bytes.into(), &role, &self.options, "5.3.3")?;
        check_root(&self.root, &next, "5.3.4")?;
        check_root(&next, &next, "5.3.4")?;
        if self.root.version().next() != Some(next.version()) {
            let fault = TrustFault::NotNext { trusted: self.root.version(), found: next.version() };
            return Err(TrustError::new(&role, "5.3.5", fault));
        }
        check_keyids(&next, &role, &self.options, "4.2.1")?;
        let before = std::mem::replace(&mut self.root, next);
        if self.is_rotated(&before, RoleKind::Timestamp) || self.is_rotated(&before, RoleKind::Snapshot) {
            // 5.3.11: the way out of a fast-forward attack; versions may begin anew.
            self.previous = Previous::default();
        }
        Ok(())
    }

    /// Whether the newest root has taken away keys of a role without which what was trusted of it would not be (5.3.11). As
    /// long as the keys that are left vouch for it, it was no rotation: it must not be gone behind, or whoever can replay old
    /// files could after every change of one key of several.
    fn is_rotated(&self, before: &Metadata, kind: RoleKind) -> bool {
        let previous = match kind {
            RoleKind::Timestamp => &self.previous.timestamp,
            _ => &self.previous.snapshot,
        };
        match (left_of_keys(before, &self.root, kind), previous) {
            (Left::All, _) => false,
            (_, Some(file)) => self.check_top_level(file, "5.3.11").is_err(),
            (left, None) => left == Left::TooFew,
        }
    }

    /// Checks that the newest root has not expired (5.3.10). The first step after the root chain does so itself.
    ///
    /// # Errors
    /// It has.
    pub fn check_root_expiry(&self) -> Trust<()> {
        self.check_expiry(&self.root, &RoleKind::Root.role(), "5.3.10")
    }

    /// Takes the newest timestamp (5.4).
    ///
    /// # Errors
    /// Threshold (5.4.2), rollback of the timestamp (5.4.3.1) or of the snapshot it lists (5.4.3.2), expiry (5.4.4).
    pub fn update_timestamp(&mut self, bytes: impl Into<Text>) -> Trust<TimestampStep> {
        let role = RoleKind::Timestamp.role();
        self.check_root_expiry()?;
        if self.snapshot.is_some() || !self.targets.is_empty() {
            return Err(out_of_order(
                &role,
                "5.4",
                "a timestamp cannot follow once a snapshot or targets are trusted",
            ));
        }
        let new = parse(bytes.into(), &role, &self.options, "5.4.1")?;
        self.check_top_level(&new, "5.4.2")?;
        if let Some(old) = self.last_trusted(RoleKind::Timestamp) {
            if new.version() < old.version() {
                let fault = TrustFault::Rollback { trusted: old.version(), found: new.version() };
                return Err(TrustError::new(&role, "5.4.3.1", fault));
            }
            if new.version() == old.version() {
                self.check_expiry(&old, &role, "5.4.4")?;
                self.timestamp = Some(old);
                return Ok(TimestampStep::Same);
            }
            let listed = |file: &Metadata| file.as_timestamp().map(|timestamp| timestamp.snapshot.version);
            if let (Some(trusted), Some(found)) = (listed(&old), listed(&new))
                && found < trusted
            {
                let fault = TrustFault::ListedRollback { of: RoleKind::Snapshot.role(), trusted, found };
                return Err(TrustError::new(&role, "5.4.3.2", fault));
            }
        }
        self.check_expiry(&new, &role, "5.4.4")?;
        self.timestamp = Some(new);
        Ok(TimestampStep::Newer)
    }

    /// Takes the snapshot that the timestamp lists (5.5).
    ///
    /// # Errors
    /// Length and digest (5.5.2), threshold (5.5.3), version (5.5.4), entries that vanished or went down (5.5.5),
    /// expiry (5.5.6).
    pub fn update_snapshot(&mut self, bytes: impl Into<Text>) -> Trust<()> {
        let role = RoleKind::Snapshot.role();
        let listed =
            self.timestamp.as_ref().and_then(Metadata::as_timestamp).map(|timestamp| &timestamp.snapshot);
        let listed =
            listed.ok_or_else(|| out_of_order(&role, "5.5", "a snapshot needs a trusted timestamp first"))?;
        if !self.targets.is_empty() {
            return Err(out_of_order(&role, "5.5", "a snapshot cannot follow once targets are trusted"));
        }
        let bytes = bytes.into();
        check_listed_bytes(&bytes, listed, &role, &RoleKind::Timestamp.role(), "5.5.2")?;
        let new = parse(bytes, &role, &self.options, "5.5.1")?;
        self.check_top_level(&new, "5.5.3")?;
        check_listed_version(&new, listed.version, &role, &RoleKind::Timestamp.role(), "5.5.4")?;
        if let Some(old) = self.last_trusted(RoleKind::Snapshot)
            && let (Some(old), Some(new)) = (old.as_snapshot(), new.as_snapshot())
        {
            check_entries(old, new)?;
        }
        self.check_expiry(&new, &role, "5.5.6")?;
        self.snapshot = Some(new);
        Ok(())
    }

    /// Takes the file of a targets role that the snapshot lists (5.6): `targets` itself with `parent` root, or a role
    /// that `parent` delegates to. A role may come again from another parent, which must vouch for it too.
    ///
    /// # Errors
    /// Not listed (5.6.1), length and digest (5.6.2), threshold by the delegating role (5.6.3), version (5.6.4), expiry
    /// (5.6.5).
    pub fn update_targets(
        &mut self,
        role: &RoleName,
        parent: &RoleName,
        bytes: impl Into<Text>,
    ) -> Trust<&Metadata> {
        let snapshot = self.snapshot.as_ref().and_then(Metadata::as_snapshot);
        let snapshot =
            snapshot.ok_or_else(|| out_of_order(role, "5.6", "targets need a trusted snapshot first"))?;
        let listed =
            snapshot.meta.get(role).ok_or_else(|| TrustError::new(role, "5.6.1", TrustFault::NotListed))?;
        let bytes = bytes.into();
        check_listed_bytes(&bytes, listed, role, &RoleKind::Snapshot.role(), "5.6.2")?;
        self.take_targets(role, parent, bytes, Some(listed.version))
    }

    /// Takes the file of a targets role without asking a snapshot: signatures by the delegating role and expiry alone.
    /// For an agent that looks at parts of a repository; a client must not use it.
    ///
    /// # Errors
    /// Threshold by the delegating role (5.6.3), expiry (5.6.5).
    pub fn update_targets_unlisted(
        &mut self,
        role: &RoleName,
        parent: &RoleName,
        bytes: impl Into<Text>,
    ) -> Trust<&Metadata> {
        self.check_root_expiry()?;
        self.take_targets(role, parent, bytes.into(), None)
    }

    fn take_targets(
        &mut self,
        role: &RoleName,
        parent: &RoleName,
        bytes: Text,
        listed: Option<Version>,
    ) -> Trust<&Metadata> {
        if role.kind() != RoleKind::Targets {
            return Err(out_of_order(role, "5.6", "only targets roles are taken here"));
        }
        let new = parse(bytes, role, &self.options, "5.6.1")?;
        let (keys, role_keys) = self.authority(role, parent)?;
        check_threshold(&new, keys, role_keys, role, parent.to_string(), "5.6.3")?;
        if let Some(listed) = listed {
            check_listed_version(&new, listed, role, &RoleKind::Snapshot.role(), "5.6.4")?;
        }
        self.check_expiry(&new, role, "5.6.5")?;
        check_keyids(&new, role, &self.options, "4.2.1")?;
        let mut by = BTreeSet::from([parent.clone()]);
        match self.targets.remove(role) {
            Some(old) if old.metadata.bytes() == new.bytes() => by.extend(old.by),
            Some(_) => self.forget_children(role),
            None => {}
        }
        let loaded = self.targets.entry(role.clone()).or_insert(Loaded { metadata: new, by });
        Ok(&loaded.metadata)
    }

    /// Takes back what the file of `role` that is being replaced has vouched for, down to the last grandchild.
    fn forget_children(&mut self, role: &RoleName) {
        let mut gone = vec![role.clone()];
        while let Some(parent) = gone.pop() {
            self.targets.retain(|child, loaded| {
                let left = !loaded.by.remove(&parent) || !loaded.by.is_empty();
                if !left {
                    gone.push(child.clone());
                }
                left
            });
        }
    }

    /// Keys and threshold for `role` by `parent`, which must be trusted already.
    fn authority(&self, role: &RoleName, parent: &RoleName) -> Trust<(&BTreeMap<KeyId, Key>, &RoleKeys)> {
        let not_delegated =
            || TrustError::new(role, "5.6.3", TrustFault::NotDelegated { parent: parent.clone() });
        if *parent == RoleKind::Root.role() {
            let root = self.root.as_root().filter(|_| *role == RoleKind::Targets.role());
            return root.map(|root| (&root.keys, &root.targets)).ok_or_else(not_delegated);
        }
        let parent = self.targets(parent).and_then(Metadata::as_targets);
        let parent =
            parent.ok_or_else(|| out_of_order(role, "5.6", "the delegating role is not trusted yet"))?;
        let delegations = parent.delegations.as_ref().ok_or_else(not_delegated)?;
        Ok((&delegations.keys, delegations.role_keys(role).ok_or_else(not_delegated)?))
    }

    /// The newest trusted root.
    pub fn root(&self) -> &Metadata {
        &self.root
    }

    /// The trusted timestamp.
    pub fn timestamp(&self) -> Option<&Metadata> {
        self.timestamp.as_ref()
    }

    /// The trusted snapshot.
    pub fn snapshot(&self) -> Option<&Metadata> {
        self.snapshot.as_ref()
    }

    /// The trusted metadata of a targets role.
    pub fn targets(&self, role: &RoleName) -> Option<&Metadata> {
        self.targets.get(role).map(|loaded| &loaded.metadata)
    }

    /// All trusted targets roles.
    pub fn all_targets(&self) -> impl Iterator<Item = (&RoleName, &Metadata)> {
        self.targets.iter().map(|(role, loaded)| (role, &loaded.metadata))
    }

    /// The earlier file of `kind` that the new one must not fall behind: the one of this run, else the previous one as
    /// long as it reaches its threshold under the newest root.
    ///
    /// `None` for kinds other than timestamp and snapshot.
    pub fn last_trusted(&self, kind: RoleKind) -> Option<Metadata> {
        let (now, previous) = match kind {
            RoleKind::Timestamp => (&self.timestamp, &self.previous.timestamp),
            RoleKind::Snapshot => (&self.snapshot, &self.previous.snapshot),
            _ => return None,
        };
        let still_signed = |file: &&Metadata| self.check_top_level(file, "5.3.11").is_ok();
        now.as_ref().or_else(|| previous.as_ref().filter(still_signed)).cloned()
    }

    fn check_top_level(&self, file: &Metadata, spec: &'static str) -> Trust<()> {
        let (kind, by) = (file.kind(), format!("version {} of root", self.root.version()));
        match self.root.as_root() {
            Some(root) => check_threshold(file, &root.keys, root.role(kind), &kind.role(), by, spec),
            None => Err(out_of_order(&kind.role(), spec, "no root is trusted")),
        }
    }

    fn check_expiry(&self, file: &Metadata, role: &RoleName, spec: &'static str) -> Trust<()> {
        match self.options.reference_time {
            Some(now) if file.expires() <= now => {
                Err(TrustError::new(role, spec, TrustFault::Expired { expires: file.expires(), now }))
            }
            _ => Ok(()),
        }
    }

    fn before_timestamp(&self, spec: &'static str, why: &'static str) -> Trust<()> {
        let early = self.timestamp.is_none() && self.targets.is_empty();
        if early { Ok(()) } else { Err(out_of_order(&RoleKind::Root.role(), spec, why)) }
    }
}
