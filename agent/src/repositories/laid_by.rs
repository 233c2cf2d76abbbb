//! Contents that lie ready: what a key has signed as a role that a word alone gave it counts as every targets role that it is
//! given later (DESIGN section 4, rule 3). Whoever gives it one should know.

use std::collections::BTreeSet;

use ledger::Record;
use tuf::key::{KeyId, PublicKey};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};

use super::Repositories;
use super::authority::delegations;
use crate::refusal::Refusal;

/// So many are told one by one.
const MOST_TOLD: usize = 4;

impl Repositories {
    /// What lies ready for the targets roles to which this metadata gives keys, one sentence each.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn laid_by(&self, record: &Record, subject: &Metadata) -> Result<Vec<String>, Refusal> {
        let noted = self.ledger.unfounded(record.id).await?;
        let mut told = Vec::new();
        for one in noted {
            let (laid_by, version) = (&one.role, one.version);
            for (keyid, public) in named(subject) {
                let roles = roles_of(subject, keyid);
                // What is given to it as well has its own count from now on.
                if one.fingerprint != public.fingerprint() || roles.contains(laid_by) {
                    continue;
                }
                if let Some(role) = self.first_behind(record, &roles, version).await? {
                    told.push(format!(
                        "the key {keyid} has signed {laid_by} version {version}, which a word alone gave it: that would count as {role} \
                         too; a key that has signed nothing is safe"
                    ));
                }
                if told.len() >= MOST_TOLD {
                    return Ok(told);
                }
            }
        }
        Ok(told)
    }

    /// The first of these roles of which clients may take this version yet.
    async fn first_behind<'r>(
        &self,
        record: &Record,
        roles: &'r BTreeSet<RoleName>,
        version: Version,
    ) -> Result<Option<&'r RoleName>, Refusal> {
        for role in roles {
            let verified = self.ledger.watermark(record.id, role.clone()).await?.verified;
            if verified.is_none_or(|mark| mark.version <= version) {
                return Ok(Some(role));
            }
        }
        Ok(None)
    }
}

/// The keys that metadata names, as far as they are understood.
fn named(subject: &Metadata) -> impl Iterator<Item = (&KeyId, &PublicKey)> {
    let keys = subject.as_root().map(|root| &root.keys).or_else(|| delegations(subject).map(|all| &all.keys));
    keys.into_iter().flatten().filter_map(|(keyid, key)| Some((keyid, key.public_key().ok()?)))
}

/// The targets roles that metadata gives to a key.
fn roles_of(subject: &Metadata, keyid: &KeyId) -> BTreeSet<RoleName> {
    let mut roles = BTreeSet::new();
    if subject.as_root().is_some_and(|root| root.targets.keyids.contains(keyid)) {
        roles.insert(RoleKind::Targets.role());
    }
    if let Some(all) = delegations(subject) {
        let given = all.roles.iter().filter(|role| role.keys.keyids.contains(keyid));
        roles.extend(given.map(|role| role.name.clone()));
        let bins = all.succinct.iter().filter(|bins| bins.keys.keyids.contains(keyid));
        roles.extend(bins.flat_map(|bins| bins.names()));
    }
    roles
}
