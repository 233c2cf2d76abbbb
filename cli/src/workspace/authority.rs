//! Who must sign a role, and who has.

use std::collections::{BTreeMap, BTreeSet};

use tuf::key::{Key, KeyId};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind, RoleName};
use tuf::verify::{ThresholdReport, check_signatures};

use super::Workspace;
use crate::error::Failure;

/// One set of keys whose threshold a role must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// The keys by the keyid that the authority gives them.
    pub(crate) keys: BTreeMap<KeyId, Key>,
    /// Which of them, and how many.
    pub(crate) role: RoleKeys,
}

impl Authority {
    /// The key of a keyid, when it is one of the role's.
    pub(crate) fn key(&self, keyid: &KeyId) -> Option<&Key> {
        self.role.contains(keyid).then(|| self.keys.get(keyid))?
    }

    pub(super) fn of_root(root: &Metadata, kind: RoleKind) -> Option<Self> {
        let view = root.as_root()?;
        Some(Self { keys: view.keys.clone(), role: view.role(kind).clone() })
    }

    pub(super) fn of_parent(metadata: &Metadata, role: &RoleName) -> Option<Self> {
        let delegations = metadata.as_targets()?.delegations.as_ref()?;
        let role = delegations.role_keys(role)?.clone();
        // Bins may be many and share their keys: only those of the role are taken along.
        let keys = role.keyids.iter().filter_map(|id| Some((id.clone(), delegations.keys.get(id)?.clone())));
        Some(Self { keys: keys.collect(), role })
    }
}

/// How far a role's signatures are.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignatureState {
    /// Keyids whose signatures count somewhere.
    pub(crate) signed_by: Vec<KeyId>,
    /// Keyids that could still sign where signatures are missing.
    pub(crate) missing: Vec<KeyId>,
    /// Signatures where most are missing.
    pub(crate) have: u32,
    /// Signatures needed there.
    pub(crate) need: u32,
    /// Whether every threshold is met.
    pub(crate) met: bool,
    /// All keyids of the role, by its newest authority.
    pub(crate) keyids: Vec<KeyId>,
}

impl Workspace {
    /// Every set of keys whose threshold a role's current file must meet: of a root those of the root before and its own,
    /// of a delegated role those of every parent. Staged authorities go before published ones.
    pub(crate) fn authorities(&self, role: &RoleName) -> Result<Vec<Authority>, Failure> {
        let root_role = RoleKind::Root.role();
        if role.kind() == RoleKind::Root {
            let published = self.published(&root_role)?;
            let staged = self.staged(&root_role)?;
            let both = published.iter().chain(&staged);
            return Ok(both.filter_map(|root| Authority::of_root(root, RoleKind::Root)).collect());
        }
        if role.is_top_level() {
            let root = self.current(&root_role)?;
            return Ok(root.iter().filter_map(|root| Authority::of_root(root, role.kind())).collect());
        }
        let parents = self.parents(role)?;
        Ok(parents.iter().filter_map(|(_, parent)| Authority::of_parent(parent, role)).collect())
    }

    /// How far the signatures of a role's current file are.
    pub(crate) fn signatures(&self, role: &RoleName) -> Result<SignatureState, Failure> {
        let authorities = self.authorities(role)?;
        let Some(metadata) = self.current(role)? else { return Ok(SignatureState::default()) };
        Ok(state(&metadata, &authorities))
    }

    /// Staged files that say which keys a role has, outermost first: what the agent needs to judge it by.
    pub(crate) fn staged_authorities(&self, role: &RoleName) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let root = RoleKind::Root.role();
        if *role == root {
            return Ok(Vec::new());
        }
        let mut found: Vec<(RoleName, Metadata)> =
            self.staged(&root)?.map(|m| (root, m)).into_iter().collect();
        if role.is_top_level() {
            return Ok(found);
        }
        let (mut above, mut names) = (BTreeSet::from([role.clone()]), Vec::new());
        let mut waiting = vec![role.clone()];
        while let Some(at) = waiting.pop() {
            for (parent, _) in self.parents(&at)? {
                if above.insert(parent.clone()) {
                    names.push(parent.clone());
                    waiting.push(parent);
                }
            }
        }
        for name in names.into_iter().rev() {
            found.extend(self.staged(&name)?.map(|metadata| (name, metadata)));
        }
        Ok(found)
    }

    /// Whether every staged role but snapshot and timestamp meets all its thresholds.
    pub(crate) fn complete(&self) -> Result<bool, Failure> {
        for role in self.staged_roles()? {
            let online = matches!(role.kind(), RoleKind::Snapshot | RoleKind::Timestamp);
            if !online && !self.signatures(&role)?.met {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The signatures of `metadata` against every authority.
pub(super) fn state(metadata: &Metadata, authorities: &[Authority]) -> SignatureState {
    let mut all = SignatureState { met: !authorities.is_empty(), ..SignatureState::default() };
    let mut worst = 0;
    for authority in authorities {
        let report = check_signatures(metadata, &authority.keys, &authority.role);
        let (have, need) = (report.have(), report.need);
        let lacking = need.saturating_sub(have);
        if all.need == 0 || lacking > worst {
            (all.have, all.need, worst) = (have, need, lacking);
        }
        all.met &= report.met();
        extend(&mut all.signed_by, report.signed_by.iter());
        if !report.met() {
            extend(&mut all.missing, could_sign(&report));
        }
        all.keyids = authority.role.keyids.clone();
    }
    all
}

/// Who could still sign: also those whose signature there is no good one.
fn could_sign(report: &ThresholdReport) -> impl Iterator<Item = &KeyId> {
    report.missing.iter().chain(&report.invalid)
}

fn extend<'k>(list: &mut Vec<KeyId>, more: impl Iterator<Item = &'k KeyId>) {
    for keyid in more {
        if !list.contains(keyid) {
            list.push(keyid.clone());
        }
    }
}
