//! Delegated roles: by every parent that a client may come by.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::Reason;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::super::authority::delegations;
use super::super::family::Family;
use super::super::ground::Enough;
use super::{Look, View, check, short};
use crate::refusal::Refusal;

impl View<'_> {
    /// By everyone who delegates to it: a client asks the one that led it there. One whose threshold is met makes it worth
    /// something; but no way may be lost that was open, or a role that delegates could put its own keys in the place of
    /// another's. A role that nobody delegates to any more is let be.
    pub(super) async fn look_at_delegated(
        &mut self,
        role: &RoleName,
        file: &Metadata,
    ) -> Result<Look, Refusal> {
        let family = self.family_of(role).await?;
        let (mut good, mut lacking) = (None, Vec::new());
        for delegation in family.delegations_to(role) {
            let by = format!("{} version {}", delegation.parent, delegation.file.version());
            match check(file, &delegation.all.keys, delegation.keys, by).await? {
                Look::Good(signers) => good.get_or_insert_with(Vec::new).extend(signers),
                Look::Skip => {}
                Look::Short { by, report } => lacking.push((delegation, by, report)),
            }
        }
        let Some(signers) = good else {
            let Some((_, by, report)) = lacking.into_iter().next() else { return self.nobodys(role) };
            return Ok(Look::Short { by, report });
        };
        for (delegation, by, report) in lacking {
            if self.was_open(role, delegation.parent).await? {
                return Ok(Look::Short { by, report });
            }
            self.notes.push(short(role, file, &by, &report, self.published).message);
        }
        Ok(Look::Good(signers))
    }

    /// Whether clients that came by this parent could use what was verified of the role last. Of what is not kept any more
    /// nobody can tell: it is taken for open.
    async fn was_open(&self, role: &RoleName, parent: &RoleName) -> Result<bool, Refusal> {
        let repositories = self.repositories;
        let mark = |of: &RoleName| repositories.ledger.watermark(self.record.id, of.clone());
        let (of_parent, of_role) = (mark(parent).await?, mark(role).await?);
        if of_parent.verified.is_none() || of_role.verified.is_none() {
            return Ok(false);
        }
        let parent = repositories.memory.of_mark(of_parent.verified).await?;
        let file = repositories.memory.verified_file(&of_role).await?;
        let (Some(parent), Some(file)) = (parent, file) else { return Ok(true) };
        let before = delegations(&parent).and_then(|all| Some((all, all.role_keys(role)?)));
        let Some((all, keys)) = before else { return Ok(false) };
        Ok(matches!(check(&file, &all.keys, keys, String::new()).await?, Look::Good(_)))
    }

    /// A role that nobody delegates to.
    fn nobodys(&self, role: &RoleName) -> Result<Look, Refusal> {
        if self.published {
            return Ok(Look::Skip);
        }
        let message = format!("no role that this agent has seen delegates to {role}");
        Err(Refusal::new(Reason::RoleUnknown, message)
            .remedy("show the agent the parent first")
            .detail("role", role.to_string()))
    }

    /// Who delegates to a role, by what was seen in this call and what is known: verified, or signed here by all that it
    /// takes. An older parent has no say any more: it may name keys that were taken away since.
    pub(super) async fn family_of(&mut self, role: &RoleName) -> Result<Arc<Family>, Refusal> {
        for bins_too in [false, true] {
            if !self.families.contains_key(&bins_too) {
                let newer = self.newer();
                let how = (Enough::Threshold, bins_too);
                let ground = self.repositories.ground(self.record, &newer, how).await?;
                self.families.insert(bins_too, Arc::new(ground.family));
            }
            let family = self.families.get(&bins_too).filter(|family| bins_too || family.knows(role));
            if let Some(family) = family {
                return Ok(Arc::clone(family));
            }
        }
        Ok(Arc::default())
    }

    /// Adds a role that delegates to the families that are known. They are looked up anew where it takes the place of another
    /// content, or delegates to roles that are known: a chain of thousands of new roles is not.
    pub(super) async fn grow_families(&mut self, role: &RoleName, file: &Metadata) -> Result<(), Refusal> {
        if self.families.is_empty() {
            return Ok(());
        }
        if self.known.is_none() {
            let known = self.repositories.ledger.watermarks(self.record.id).await?;
            self.known = Some(known.into_keys().collect());
        }
        let known = self.known.iter().flatten();
        let is_new = !self.is_parent(role) && self.stands(role, file);
        match delegations(file) {
            Some(all) if is_new && !known.into_iter().any(|child| all.role_keys(child).is_some()) => {
                for family in self.families.values_mut() {
                    Arc::make_mut(family).add(role.clone(), file.clone());
                }
            }
            _ => self.families.clear(),
        }
        Ok(())
    }

    /// Whether a client that searches from the top comes by a role, as far as is known once all of the call was seen.
    pub(super) async fn leads_to(&mut self, role: &RoleName) -> Result<bool, Refusal> {
        if self.reachable.is_none() {
            let how = (Enough::Threshold, true);
            let ground = self.repositories.ground(self.record, &self.newer(), how).await?;
            self.reachable = Some(ground.family.reached());
        }
        Ok(self.reachable.as_ref().is_some_and(|family| family.knows(role)))
    }

    /// Of each targets role the newest that was seen in this call and stands before what was known.
    fn newer(&self) -> BTreeMap<RoleName, Metadata> {
        let mut newer: BTreeMap<RoleName, Metadata> = BTreeMap::new();
        for (name, file) in self.seen.iter().filter(|(name, file)| self.stands(name, file)) {
            if newer.get(name).is_none_or(|other| other.version() < file.version()) {
                newer.insert(name.clone(), file.clone());
            }
        }
        newer.retain(|name, _| name.kind() == RoleKind::Targets);
        newer
    }

    /// Whether a role is among those that delegate, as far as they were looked up.
    pub(super) fn is_parent(&self, role: &RoleName) -> bool {
        self.families.values().any(|family| family.has(role))
    }
}
