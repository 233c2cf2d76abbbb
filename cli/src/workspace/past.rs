//! What of the published files counts as never published: the agent threw it away after an attack.
//!
//! Duty: find what a role goes on from. Trust: the agent says what it has thrown away, by digest, and from which version on;
//! what is above that and was never seen counts by its signatures alone. Invariants: roles that were not thrown away go on
//! from the newest file that the agent has verified, whatever led to it.

use std::collections::{BTreeMap, BTreeSet};

use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tufagent_proto::v1;

use super::authority::{Authority, plain_state};
use super::read::numbered;
use super::{Workspace, layout};
use crate::error::Failure;
use crate::render::first_of;

/// What the agent says of a repository's past.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// What resets have thrown away (role, lowercase hex digest).
    void: BTreeSet<(RoleName, String)>,
    /// Of a role that started anew the lowest version that was thrown away last.
    restarted: BTreeMap<RoleName, u64>,
    /// Newest versions that were signed or verified; left out where nothing was ever thrown away.
    marks: BTreeMap<RoleName, u64>,
    /// Newest versions that were verified; the same.
    verified: BTreeMap<RoleName, u64>,
    /// What the next snapshot must list, and the newest one does not.
    unlisted: BTreeMap<RoleName, Version>,
}

/// What lies under a name in `metadata/`.
pub(super) enum Found {
    Absent,
    /// It was thrown away by a reset.
    Void,
    File(Metadata),
}

impl Past {
    fn new(record: &v1::Repository) -> Self {
        let role = |name: &String| RoleName::parse(name).ok();
        let unlisted = record.unlisted.iter();
        let mut past = Self {
            unlisted: unlisted.filter_map(|(name, last)| Some((role(name)?, Version::new(*last)?))).collect(),
            ..Self::default()
        };
        if record.resets.is_empty() {
            return past;
        }
        past.void =
            record.resets.iter().filter_map(|it| Some((role(&it.role)?, it.sha256.clone()))).collect();
        past.restarted =
            record.restarted.iter().filter_map(|(name, from)| Some((role(name)?, *from))).collect();
        for (name, version) in record.signed.iter().chain(&record.verified) {
            let Some(role) = role(name) else { continue };
            let newest = past.marks.entry(role).or_default();
            *newest = (*newest).max(*version);
        }
        past.verified =
            record.verified.iter().filter_map(|(name, version)| Some((role(name)?, *version))).collect();
        past
    }

    /// Whether anything was ever thrown away.
    pub(super) fn is_reset(&self) -> bool {
        !self.void.is_empty()
    }

    /// Whether this version of a role may be what it goes on from: the agent knows it, or it came before the attack.
    fn is_known(&self, role: &RoleName, version: Version) -> bool {
        let version = version.get();
        self.marks.get(role).is_some_and(|newest| version <= *newest)
            || self.restarted.get(role).is_some_and(|from| version < *from)
    }
}

impl Found {
    pub(super) fn file(self) -> Option<Metadata> {
        match self {
            Self::File(file) => Some(file),
            Self::Absent | Self::Void => None,
        }
    }
}

impl Workspace {
    /// Takes note of what the agent has thrown away after an attack: from now on it counts as never published; and of what
    /// the next snapshot must list.
    pub(crate) fn heed(&self, record: &v1::Repository) {
        let past = Past::new(record);
        let before = std::mem::replace(&mut *self.past.borrow_mut(), past);
        let now = self.past.borrow();
        if *now == before || !(now.is_reset() || before.is_reset()) {
            return;
        }
        self.published.borrow_mut().clear();
        self.tree.borrow_mut().take();
        self.anew.borrow_mut().take();
        self.judged.take();
        self.recalled.take();
        self.cut.take();
    }

    /// Whether the watermark of a role ever started anew.
    pub(super) fn was_reset(&self, role: &RoleName) -> bool {
        self.past.borrow().void.iter().any(|(void, _)| void == role)
    }

    /// Whether the agent has verified this version of a role, or one after it; false where nothing was ever thrown away.
    pub(super) fn was_verified(&self, role: &RoleName, file: &Metadata) -> bool {
        self.past.borrow().verified.get(role).is_some_and(|newest| file.version().get() <= *newest)
    }

    /// What the next snapshot must list, and the newest one that the agent verified does not.
    pub(super) fn unlisted(&self) -> BTreeMap<RoleName, Version> {
        self.past.borrow().unlisted.clone()
    }

    /// Says what the published snapshot no longer lists, and one before it did.
    pub(crate) fn dropped_entries(&self) -> Result<Option<String>, Failure> {
        let snapshot = self.published(&RoleKind::Snapshot.role())?.filter(|_| !self.past.borrow().is_reset());
        let unlisted = self.unlisted();
        let Some(snapshot) = snapshot.filter(|_| !unlisted.is_empty()) else { return Ok(None) };
        let names = unlisted.iter().map(|(role, last)| format!("{role} version {last}")).collect();
        Ok(Some(format!(
            "snapshot version {} no longer lists {}, as one before it did: clients that have seen that one refuse it \
             (specification 5.5.5); the next snapshot lists it again",
            snapshot.version(),
            first_of(names, MOST_NAMED)
        )))
    }

    /// Whether what leads to the targets roles was thrown away: none of them is found by it.
    pub(super) fn is_cut(&self) -> Result<bool, Failure> {
        if !self.past.borrow().is_reset() {
            return Ok(false);
        }
        if let Some(known) = self.cut.get() {
            return Ok(known);
        }
        let [timestamp, snapshot] = [RoleKind::Timestamp.role(), RoleKind::Snapshot.role()];
        let is_cut = match self.read_unless_void(&timestamp, &layout::plain_name(&timestamp))? {
            Found::Void => true,
            Found::Absent => false,
            Found::File(file) => match file.as_timestamp().map(|listed| listed.snapshot.version) {
                Some(version) => {
                    let name = layout::file_name(&snapshot, version, self.published_consistently()?);
                    matches!(self.read_unless_void(&snapshot, &name)?, Found::Void)
                }
                None => false,
            },
        };
        self.cut.set(Some(is_cut));
        Ok(is_cut)
    }

    /// After a reset, where what led to a role counts no more: the newest file of it that is known and was not thrown away.
    pub(super) fn newest_left(&self, role: &RoleName) -> Result<Option<Metadata>, Failure> {
        let is_known = |file: &Metadata| self.past.borrow().is_known(role, file.version());
        if !self.published_consistently()? {
            let found = self.read_unless_void(role, &layout::plain_name(role))?;
            return Ok(found.file().filter(is_known));
        }
        let mut versions = numbered(&self.metadata_folder(), &|name| layout::version_of(role, name))?;
        versions.retain(|version| self.past.borrow().is_known(role, *version));
        while let Some(version) = versions.pop() {
            let name = layout::file_name(role, version, true);
            if let Found::File(file) = self.read_unless_void(role, &name)?
                && is_known(&file)
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    pub(super) fn read_unless_void(&self, role: &RoleName, name: &str) -> Result<Found, Failure> {
        let Some(file) = self.read_metadata(role, name)? else { return Ok(Found::Absent) };
        Ok(if self.is_void(role, &file)? { Found::Void } else { Found::File(file) })
    }

    /// Whether a file was thrown away, or goes on from what was: whoever has the old keys may sign versions without end.
    pub(super) fn is_void(&self, role: &RoleName, file: &Metadata) -> Result<bool, Failure> {
        if !self.was_reset(role) {
            return Ok(false);
        }
        let past = self.past.borrow();
        if past.void.contains(&(role.clone(), file.digest().to_string())) {
            return Ok(true);
        }
        if !role.is_top_level() || past.is_known(role, file.version()) {
            return Ok(false);
        }
        let root = RoleKind::Root.role();
        let newest = past.verified.get(&root).copied().unwrap_or(0);
        let staged = self.staged(&root)?.filter(|staged| staged.version().get() == newest);
        let trusted = match staged {
            Some(staged) => Some(staged),
            None => self.published(&root)?,
        };
        let authority = trusted.and_then(|trusted| Authority::of_root(&trusted, role.kind()));
        Ok(authority.is_some_and(|authority| !plain_state(role, file, &[authority]).met))
    }
}

/// More roles than this are told by their number.
const MOST_NAMED: usize = 4;
