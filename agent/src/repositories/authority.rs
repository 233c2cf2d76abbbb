//! Who may sign a role: the trusted root, parents that were signed or verified, or newer ones that the caller sent.
//!
//! A sent authority is staged: nobody need have signed it yet, as it is signed in the same go. It counts only above
//! what is known of its role, so it cannot bring back keys that were taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ledger::{Mark, Record};
use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::{Delegations, Metadata};
use tuf::role::{RoleKeys, RoleKind, RoleName, Version};

use super::family::Family;
use super::ground::Enough;
use super::{Asked, Repositories};
use crate::refusal::Refusal;

/// The keys of a role.
#[derive(Debug, Clone, Default)]
pub struct Authority {
    /// Every key that may sign it, by the keyid that its signature carries.
    pub keys: BTreeMap<KeyId, Key>,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
    /// Those who delegate to it, as they were read for this.
    pub(super) parents: Vec<(RoleName, Version, Sha256Digest)>,
}

/// A role that a key may sign.
#[derive(Debug, Clone)]
pub struct RoleOfKey {
    /// The repository.
    pub repository: Arc<Record>,
    /// The role.
    pub role: RoleName,
}

impl RoleOfKey {
    /// Several of them, for people: many are told by their number.
    #[must_use]
    pub fn list(all: &[Self]) -> String {
        let mut names: Vec<_> = all.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        if let Some(more) = all.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
            names.push(format!("{more} more"));
        }
        names.join(", ")
    }
}

impl std::fmt::Display for RoleOfKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.role, self.repository.name)
    }
}

/// More roles than this are told by their number.
const MOST_NAMED: usize = 4;

impl Authority {
    /// Whether it lists this public key.
    #[must_use]
    pub fn lists(&self, public: &PublicKey) -> bool {
        self.keys.values().any(|key| key.public_key().is_ok_and(|own| own == public))
    }

    fn add(&mut self, keys: &BTreeMap<KeyId, Key>, role: &RoleKeys) {
        let read = |key: &Key| {
            // A copy of a key that was read needs not be read again.
            let _ = key.public_key();
            key.clone()
        };
        let own = role.keyids.iter().filter_map(|keyid| Some((keyid.clone(), read(keys.get(keyid)?))));
        self.keys.extend(own);
    }
}

impl Repositories {
    /// Who may sign `role`. `sent` are staged authorities: the next root, parents.
    ///
    /// # Errors
    /// `ROLE_UNKNOWN` when nothing known or sent speaks of the role; `VERSION_JUMP` for a root that is not the next.
    pub async fn authority(
        &self,
        record: &Record,
        role: &RoleName,
        subject: &Metadata,
        sent: &[(RoleName, Metadata)],
    ) -> Result<Authority, Refusal> {
        self.take_evidence(record, sent).await?;
        let mut found = Authority::default();
        let mut beside = Vec::new();
        if role.kind() == RoleKind::Root {
            // The root before and the new one both have a say (specification 5.3.4); the first is its own authority.
            let trusted = self.memory.trusted_root(record).await?;
            for root in trusted.iter().chain([subject]).filter_map(Metadata::as_root) {
                found.add(&root.keys, &root.root);
            }
        } else if role.is_top_level() {
            let root = self.standing_root(record, sent).await?;
            let root = root.as_ref().and_then(Metadata::as_root).ok_or_else(|| no_authority(record, role))?;
            found.add(&root.keys, root.role(role.kind()));
        } else {
            let family = self.family_to_sign(record, role, sent).await?;
            if !family.knows(role) {
                return Err(no_authority(record, role));
            }
            // A signature is of use if it counts by any of those who delegate.
            for delegation in family.delegations_to(role) {
                found.add(&delegation.all.keys, delegation.keys);
                let file = delegation.file;
                found.parents.push((delegation.parent.clone(), file.version(), file.digest()));
                beside.extend(siblings(delegation.all, role));
            }
            let root = self.standing_root(record, sent).await?;
            if let Some(root) = root.as_ref().and_then(Metadata::as_root) {
                beside.push(("targets".to_owned(), publics(&root.keys, &root.targets)));
            }
        }
        found.warnings = wrong_keyids(&found.keys);
        found.warnings.extend(shared(role, &found, &beside));
        Ok(found)
    }

    /// Every role that a key may sign, by what is trusted or was last signed. Of bins that share their keys two are
    /// enough to show that there is more than one.
    ///
    /// # Errors
    /// `STATE_IO`, `STATE_CORRUPT`.
    pub async fn roles_of_key(&self, public: &PublicKey) -> Result<Vec<RoleOfKey>, Refusal> {
        let mut found = Vec::new();
        for record in self.ledger.repositories().await? {
            let record = Arc::new(record);
            let parents = self.known_parents(&record, &BTreeSet::new()).await?;
            let roles = self.roles_in(&record, public, &parents).await?;
            found.extend(roles.into_iter().map(|role| RoleOfKey { repository: Arc::clone(&record), role }));
        }
        Ok(found)
    }

    /// Every role that clients would miss a key in: as [`Self::roles_of_key`], without those that delegations no longer
    /// lead to.
    ///
    /// # Errors
    /// `STATE_IO`, `STATE_CORRUPT`.
    pub async fn served_by(&self, public: &PublicKey) -> Result<Vec<RoleOfKey>, Refusal> {
        let mut found = Vec::new();
        for record in self.ledger.repositories().await? {
            let record = Arc::new(record);
            let parents = reached(self.known_parents(&record, &BTreeSet::new()).await?);
            let roles = self.roles_in(&record, public, &parents).await?;
            found.extend(roles.into_iter().map(|role| RoleOfKey { repository: Arc::clone(&record), role }));
        }
        Ok(found)
    }

    async fn roles_in(
        &self,
        record: &Record,
        public: &PublicKey,
        parents: &[(RoleName, Metadata)],
    ) -> Result<BTreeSet<RoleName>, Refusal> {
        let mut roles = BTreeSet::new();
        let root = self.standing_root(record, &[]).await?;
        if let Some(root) = root.as_ref().and_then(Metadata::as_root) {
            let kinds = RoleKind::ALL.into_iter();
            let own = kinds.filter(|kind| publics(&root.keys, root.role(*kind)).contains(public));
            roles.extend(own.map(RoleKind::role));
        }
        for (_, parent) in parents {
            let Some(delegations) = delegations(parent) else { continue };
            let listed = delegations
                .roles
                .iter()
                .filter(|role| publics(&delegations.keys, &role.keys).contains(public));
            roles.extend(listed.map(|role| role.name.clone()));
            if let Some(bins) = &delegations.succinct
                && publics(&delegations.keys, &bins.keys).contains(public)
            {
                roles.extend(bins.names().take(2));
            }
        }
        Ok(roles)
    }

    /// Targets roles other than `role` that one of these keys may sign and that have a watermark.
    pub(super) async fn other_targets_roles(
        &self,
        record: &Record,
        role: &RoleName,
        keys: &[(String, PublicKey)],
    ) -> Result<Vec<RoleName>, Refusal> {
        let watermarks = self.ledger.watermarks(record.id).await?;
        let parents = self.known_parents(record, &BTreeSet::new()).await?;
        let root = self.standing_root(record, &[]).await?;
        let root = root.as_ref().and_then(Metadata::as_root);
        let signs = |all: &BTreeMap<KeyId, Key>, of: &RoleKeys| {
            let publics = publics(all, of);
            keys.iter().any(|(_, public)| publics.contains(public))
        };
        let could = |other: &RoleName| {
            let of_root = *other == RoleKind::Targets.role()
                && root.is_some_and(|root| signs(&root.keys, &root.targets));
            let mut all = parents.iter().filter_map(|(_, parent)| delegations(parent));
            of_root || all.any(|all| all.role_keys(other).is_some_and(|of| signs(&all.keys, of)))
        };
        let others = watermarks.keys().filter(|other| other.kind() == RoleKind::Targets && *other != role);
        Ok(others.filter(|other| could(other)).cloned().collect())
    }

    /// Of the targets roles that one of these keys may sign as well the one with the shortest recorded length, where
    /// `subject` would be valid for longer than that allows.
    pub(super) async fn shorter_beside(
        &self,
        record: &Record,
        (role, subject): (&RoleName, &Metadata),
        keys: &[(String, PublicKey)],
        asked: &Asked,
    ) -> Result<Option<(String, u32)>, Refusal> {
        let rules = policy::SigningRules::default();
        let left = subject.expires().unix().saturating_sub(asked.now.unix());
        let is_shorter = |days: u32| rules.longest(days) < i128::from(left);
        let recorded = record.expiry_days.iter();
        // Looked at first: who delegates is looked up among thousands of bins otherwise.
        let shorter = |other: &RoleName, days: u32| {
            other.kind() == RoleKind::Targets && other != role && is_shorter(days)
        };
        if role.kind() != RoleKind::Targets || !recorded.clone().any(|(other, days)| shorter(other, *days)) {
            return Ok(None);
        }
        let others: BTreeSet<_> = self.other_targets_roles(record, role, keys).await?.into_iter().collect();
        let found = recorded.filter(|(other, days)| shorter(other, **days) && others.contains(*other));
        Ok(found.min_by_key(|(_, days)| **days).map(|(other, days)| (other.to_string(), *days)))
    }

    /// Targets roles other than `role` that this key may sign as well.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn beside(
        &self,
        record: &Record,
        role: &RoleName,
        key: &PublicKey,
    ) -> Result<Vec<RoleName>, Refusal> {
        self.other_targets_roles(record, role, &[(String::new(), key.clone())]).await
    }

    /// The root that says who signs the other roles: the trusted one, or the next one that the caller sent. For a
    /// repository that was never published the sent one, or the one that was signed last.
    pub(super) async fn standing_root(
        &self,
        record: &Record,
        sent: &[(RoleName, Metadata)],
    ) -> Result<Option<Metadata>, Refusal> {
        let role = RoleKind::Root.role();
        let sent = sent.iter().filter(|(name, file)| *name == role && file.kind() == RoleKind::Root);
        let sent = sent.map(|(_, file)| file).max_by_key(|file| file.version()).cloned();
        let trusted = self.memory.trusted_root(record).await?;
        match (trusted, sent) {
            (Some(trusted), Some(sent)) if sent.version() > trusted.version() => {
                if trusted.version().next() == Some(sent.version()) {
                    return Ok(Some(sent));
                }
                let (last, given) = (trusted.version(), sent.version());
                let message = format!(
                    "root version {given} was sent, but version {last} is the newest that is trusted"
                );
                Err(Refusal::new(Reason::VersionJump, message).remedy("show the agent every root in between"))
            }
            (Some(trusted), _) => Ok(Some(trusted)),
            (None, Some(sent)) => Ok(Some(sent)),
            (None, None) => self.memory.newest(record, &role).await,
        }
    }

    /// The roles that delegate to `role`, with what was sent. Those among hash bins, which may be thousands, are only looked
    /// at where no other role delegates to it.
    async fn family_to_sign(
        &self,
        record: &Record,
        role: &RoleName,
        sent: &[(RoleName, Metadata)],
    ) -> Result<Family, Refusal> {
        let newer = self.newer(record, role, sent).await?;
        let near = self.ground(record, &newer, (Enough::One, false)).await?.family;
        if near.knows(role) {
            return Ok(near);
        }
        Ok(self.ground(record, &newer, (Enough::One, true)).await?.family)
    }

    /// Targets metadata other than `role`'s that the caller sent, that stands before what is known and that delegations
    /// lead to.
    async fn newer(
        &self,
        record: &Record,
        role: &RoleName,
        sent: &[(RoleName, Metadata)],
    ) -> Result<BTreeMap<RoleName, Metadata>, Refusal> {
        let mut standing = BTreeMap::new();
        let mut ground = None;
        for (name, file) in sent.iter().filter(|(name, _)| name.kind() == RoleKind::Targets && name != role) {
            let watermark = self.ledger.watermark(record.id, name.clone()).await?;
            let above = |mark: Option<Mark>| {
                mark.is_none_or(|mark| file.version() > mark.version || file.digest() == mark.digest)
            };
            let mut newer = above(watermark.newest());
            if !newer && above(watermark.verified) {
                // What stands in its way may be a word no better than this one.
                if ground.is_none() {
                    ground = Some(self.ground(record, &BTreeMap::new(), (Enough::One, true)).await?);
                }
                newer = ground.as_ref().is_some_and(|ground| ground.passed_over.contains(name));
            }
            if newer {
                standing.insert(name.clone(), file.clone());
            }
        }
        self.led_to(record, standing).await
    }

    /// Targets roles with delegations, as they were last signed, and as they were verified, which may be two; targets first.
    /// Without those in `but`.
    pub(super) async fn known_parents(
        &self,
        record: &Record,
        but: &BTreeSet<RoleName>,
    ) -> Result<Vec<(RoleName, Metadata)>, Refusal> {
        let mut watermarks: Vec<_> = self.ledger.watermarks(record.id).await?.into_iter().collect();
        watermarks.retain(|(role, _)| role.kind() == RoleKind::Targets && !but.contains(role));
        watermarks.sort_by_key(|(role, _)| !role.is_top_level());
        let mut found = Vec::new();
        for (role, watermark) in watermarks {
            let (newest, verified) = (watermark.newest(), watermark.verified);
            let file = self.memory.delegating(newest).await?;
            found.extend(file.map(|file| (role.clone(), file)));
            // What was only to be signed takes nothing from it.
            if newest.map(|mark| mark.digest) != verified.map(|mark| mark.digest) {
                let file = self.memory.delegating(verified).await?;
                found.extend(file.map(|file| (role, file)));
            }
        }
        Ok(found)
    }
}

/// Those of the parents to which delegations lead from the top.
pub(super) fn reached(mut parents: Vec<(RoleName, Metadata)>) -> Vec<(RoleName, Metadata)> {
    let mut found: Vec<(RoleName, Metadata)> = Vec::new();
    loop {
        let leads_to = |role: &RoleName| {
            role.is_top_level()
                || found
                    .iter()
                    .any(|(_, by)| delegations(by).is_some_and(|all| all.role_keys(role).is_some()))
        };
        let (new, left): (Vec<_>, Vec<_>) = parents.into_iter().partition(|(role, _)| leads_to(role));
        if new.is_empty() {
            return found;
        }
        found.extend(new);
        parents = left;
    }
}

/// To whom a targets role delegates.
pub(super) fn delegations(file: &Metadata) -> Option<&Delegations> {
    file.as_targets()?.delegations.as_ref()
}

/// The public keys of a role, as far as they are understood.
pub(super) fn publics(keys: &BTreeMap<KeyId, Key>, role: &RoleKeys) -> BTreeSet<PublicKey> {
    role.keyids.iter().filter_map(|keyid| keys.get(keyid)?.public_key().ok().cloned()).collect()
}

/// The other roles of the same parent, with their keys. Bins are left out: they share their keys by their nature
/// (TAP 15), and a parent with bins has no other roles.
fn siblings(delegations: &Delegations, role: &RoleName) -> Vec<(String, BTreeSet<PublicKey>)> {
    let others = delegations.roles.iter().filter(|other| other.name != *role);
    others.map(|other| (other.name.to_string(), publics(&delegations.keys, &other.keys))).collect()
}

/// Targets metadata does not name its role, so a key of several roles is worth a word (DESIGN rule 3).
fn shared(role: &RoleName, own: &Authority, beside: &[(String, BTreeSet<PublicKey>)]) -> Option<String> {
    let mut names: Vec<&str> = beside
        .iter()
        .filter(|(_, keys)| keys.iter().any(|key| own.lists(key)))
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(3);
    names.truncate(3);
    let names = names.join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("a key of {role} also serves {names}")),
        (false, more) => Some(format!("a key of {role} also serves {names} and {more} more")),
    }
}

fn wrong_keyids(keys: &BTreeMap<KeyId, Key>) -> Vec<String> {
    let wrong = keys.iter().filter(|(keyid, key)| **keyid != key.computed_keyid());
    wrong
        .map(|(keyid, _)| format!("the keyid {keyid} is not the hash of its key: strict clients refuse it"))
        .collect()
}

fn no_authority(record: &Record, role: &RoleName) -> Refusal {
    let message = format!("nothing that this agent knows of {} says who signs {role}", record.name);
    Refusal::new(Reason::RoleUnknown, message)
        .remedy("send the root or the parent that delegates to it, or show the agent what is published")
        .detail("repository", record.name.to_string())
        .detail("role", role.to_string())
}
