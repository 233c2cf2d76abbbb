//! Whether what gives a key to a targets role is more than a caller's word.
//!
//! Targets metadata does not name its role: what a key signs as one role counts as every other that it serves. Two roles
//! of one key may have different contents under one version where those who delegate have given it to both, and nowhere
//! else: a caller could invent as many roles as it wants contents (DESIGN section 4, rule 3).

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Given, Record};
use policy::Reason;
use tuf::key::{KeyId, PublicKey};
use tuf::metadata::{Delegations, Metadata};
use tuf::role::{RoleKind, RoleName};

use super::Repositories;
use super::authority::{Authority, delegations, publics, reached};
use super::ground::{Enough, Ground};
use crate::refusal::Refusal;

impl Repositories {
    /// What gives each of the keys to the role. A key that serves some targets role signs another one only where verified
    /// metadata, or such as keys of its role have signed here, gives it to that other one too. A parent that was only sent
    /// is enough for a key that serves nothing else; what it signs then is told apart by the ledger.
    ///
    /// # Errors
    /// `POLICY`; `STATE_IO`.
    pub(super) async fn given(
        &self,
        record: &Record,
        role: &RoleName,
        authority: &Authority,
        keys: &[(String, PublicKey)],
    ) -> Result<Vec<Given>, Refusal> {
        if role.kind() != RoleKind::Targets {
            // The metadata of the others names its role.
            return Ok(vec![Given::founded(); keys.len()]);
        }
        let none = BTreeMap::new();
        // Looked at first: hash bins, which may be thousands, are found by their parent.
        let mut ground = self.ground(record, &none, (Enough::Threshold, false)).await?;
        let mut noted = self.ledger.unfounded(record.id).await?;
        noted.retain(|one| keys.iter().any(|(_, public)| public.fingerprint() == one.fingerprint));
        if !noted.is_empty() || !keys.iter().all(|(_, public)| gives(&ground, role, public)) {
            ground = self.ground(record, &none, (Enough::Threshold, true)).await?;
        }
        let (mut found, mut begun) = (Vec::with_capacity(keys.len()), None);
        for (name, public) in keys {
            let also = |ground: &Ground| {
                let own = noted.iter().filter(|one| one.fingerprint == public.fingerprint());
                own.map(|one| &one.role).filter(|other| gives(ground, other, public)).cloned().collect()
            };
            if gives(&ground, role, public) {
                found.push(Given::Founded { also: also(&ground) });
                continue;
            }
            // What half of those who delegate have signed may never come out: it takes a key into use, and gives none that is in
            // use another role.
            if let Some(other) = serves(&ground, public) {
                return Err(not_given(record, role, authority, (name, &other)));
            }
            if begun.is_none() {
                begun = Some(self.ground(record, &none, (Enough::One, true)).await?);
            }
            let begun = begun.as_ref().filter(|begun| gives(begun, role, public));
            found.push(begun.map_or(Given::Unfounded, |begun| Given::Founded { also: also(begun) }));
        }
        Ok(found)
    }

    /// Of targets metadata that was sent that to which delegations lead from the top, by it and by what is known: what
    /// nobody leads to is no part of the repository.
    pub(super) async fn led_to(
        &self,
        record: &Record,
        mut sent: BTreeMap<RoleName, Metadata>,
    ) -> Result<BTreeMap<RoleName, Metadata>, Refusal> {
        if sent.keys().all(RoleName::is_top_level) {
            return Ok(sent);
        }
        let all = sent.iter().map(|(role, file)| (role.clone(), file.clone()));
        let near = self.family(record, &sent).await?.into_roles().into_iter();
        let near = near.filter(|(role, _)| !sent.contains_key(role));
        let mut led: BTreeSet<_> =
            reached(all.chain(near).collect()).into_iter().map(|(role, _)| role).collect();
        if !sent.keys().all(|role| led.contains(role)) {
            // Below a bin, perhaps.
            let all = self.everybody(record, &sent).await?.into_roles();
            led = reached(all).into_iter().map(|(role, _)| role).collect();
        }
        sent.retain(|role, _| led.contains(role));
        Ok(sent)
    }
}

/// Whether it gives the key to the role.
fn gives(ground: &Ground, role: &RoleName, public: &PublicKey) -> bool {
    if role.is_top_level() {
        return is_of_targets(&ground.roots, public);
    }
    ground.family.delegations_to(role).any(|to| publics(&to.all.keys, to.keys).contains(public))
}

/// A targets role that it gives the key to.
fn serves(ground: &Ground, public: &PublicKey) -> Option<RoleName> {
    if is_of_targets(&ground.roots, public) {
        return Some(RoleKind::Targets.role());
    }
    ground.family.files().filter_map(delegations).find_map(|all| served_by(all, public))
}

fn is_of_targets(roots: &[Metadata], public: &PublicKey) -> bool {
    let mut roots = roots.iter().filter_map(Metadata::as_root);
    roots.any(|root| publics(&root.keys, &root.targets).contains(public))
}

fn served_by(all: &Delegations, public: &PublicKey) -> Option<RoleName> {
    // The key is looked for once: each of thousands of bins has the same.
    let own: BTreeSet<_> = all
        .keys
        .iter()
        .filter(|(_, key)| key.public_key().is_ok_and(|it| it == public))
        .map(|(id, _)| id)
        .collect();
    if own.is_empty() {
        return None;
    }
    let has = |ids: &[KeyId]| ids.iter().any(|id| own.contains(id));
    let named = all.roles.iter().find(|role| has(&role.keys.keyids)).map(|role| role.name.clone());
    let bins = all.succinct.as_ref().filter(|bins| has(&bins.keys.keyids));
    named.or_else(|| bins?.names().next())
}

fn not_given(
    record: &Record,
    role: &RoleName,
    authority: &Authority,
    (key, other): (&str, &RoleName),
) -> Refusal {
    let root = RoleKind::Root.role();
    let by = authority.parents.first().map_or(&root, |(parent, ..)| parent);
    let message = format!(
        "{key} serves {other} of {}, and nothing that this agent has signed or verified gives it to {role}: what it signs as {role} \
         would count as {other} too",
        record.name
    );
    Refusal::new(Reason::Policy, message)
        .remedy(format!(
            "sign {by}, which gives it the key, first; where others sign {by}, take it from them complete (tufctl sign DIR --from COPY), \
             or give {role} a key of its own"
        ))
        .detail("repository", record.name.to_string())
        .detail("role", role.to_string())
        .detail("key", key)
        .detail("also_role", other.to_string())
}
