//! Who delegates to a role: every parent that a search from the top comes by, since a client verifies a role by the
//! parent that led it there (specification 5.6.7), and two parents may give it different keys.

use std::collections::{BTreeMap, BTreeSet};

use ledger::Record;
use tuf::metadata::{Delegations, Metadata};
use tuf::role::{RoleKeys, RoleKind, RoleName};

use super::Repositories;
use super::authority::{delegations, reached};
use crate::refusal::Refusal;

/// A delegation to some role.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delegation<'f> {
    /// Who delegates.
    pub(super) parent: &'f RoleName,
    /// Its metadata.
    pub(super) file: &'f Metadata,
    /// All that it delegates.
    pub(super) all: &'f Delegations,
    /// The keys that it gives to the role.
    pub(super) keys: &'f RoleKeys,
}

/// Roles that delegate.
#[derive(Debug, Clone, Default)]
pub(super) struct Family(Vec<(RoleName, Metadata)>);

impl Family {
    /// Every delegation to `role`; what a role says of itself counts for nothing.
    pub(super) fn delegations_to<'f>(
        &'f self,
        role: &'f RoleName,
    ) -> impl Iterator<Item = Delegation<'f>> + 'f {
        self.0.iter().filter(move |(parent, _)| parent != role).filter_map(move |(parent, file)| {
            let all = delegations(file)?;
            Some(Delegation { parent, file, all, keys: all.role_keys(role)? })
        })
    }

    /// Whether `role` is one of them.
    pub(super) fn has(&self, role: &RoleName) -> bool {
        self.0.iter().any(|(parent, _)| parent == role)
    }

    /// Those to which delegations lead from the top.
    pub(super) fn reached(self) -> Self {
        Self(reached(self.0))
    }

    /// Adds one that is not among them.
    pub(super) fn add(&mut self, role: RoleName, file: Metadata) {
        self.0.push((role, file));
    }

    /// Their metadata.
    pub(super) fn files(&self) -> impl Iterator<Item = &Metadata> {
        self.0.iter().map(|(_, file)| file)
    }

    /// Each with its metadata.
    pub(super) fn into_roles(self) -> Vec<(RoleName, Metadata)> {
        self.0
    }

    /// Whether anybody delegates to `role`.
    pub(super) fn knows(&self, role: &RoleName) -> bool {
        self.delegations_to(role).next().is_some()
    }
}

impl Repositories {
    /// Roles that delegate and that a search from targets comes by, with hash bins taken for leaves. `newer` stands
    /// before what is known, and is looked at whoever delegates to it.
    pub(super) async fn family(
        &self,
        record: &Record,
        newer: &BTreeMap<RoleName, Metadata>,
    ) -> Result<Family, Refusal> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let mut waiting: Vec<RoleName> = newer.keys().rev().cloned().collect();
        waiting.push(RoleKind::Targets.role());
        while let Some(role) = waiting.pop() {
            if !seen.insert(role.clone()) {
                continue;
            }
            let file = match newer.get(&role) {
                Some(file) => Some(file.clone()),
                None => {
                    let mark = self.ledger.watermark(record.id, role.clone()).await?.newest();
                    self.memory.delegating(mark).await?
                }
            };
            let Some(file) = file else { continue };
            let Some(all) = delegations(&file) else { continue };
            let children = all.roles.iter().map(|child| &child.name).filter(|child| !all.is_bin(child));
            waiting.extend(children.rev().filter(|child| !seen.contains(*child)).cloned());
            found.push((role, file));
        }
        Ok(Family(found))
    }

    /// Every role that delegates, whether anybody leads to it or not.
    pub(super) async fn everybody(
        &self,
        record: &Record,
        newer: &BTreeMap<RoleName, Metadata>,
    ) -> Result<Family, Refusal> {
        let mut all: Vec<_> = newer.iter().map(|(role, file)| (role.clone(), file.clone())).collect();
        all.extend(self.known_parents(record, &newer.keys().cloned().collect()).await?);
        Ok(Family(all))
    }

    /// Every role that delegates and to which delegations lead from the top. What was removed is kept with all that was
    /// beneath it, and no client comes by there.
    pub(super) async fn reachable(
        &self,
        record: &Record,
        newer: &BTreeMap<RoleName, Metadata>,
    ) -> Result<Family, Refusal> {
        let Family(all) = self.everybody(record, newer).await?;
        Ok(Family(reached(all)))
    }
}
