//! Who says who signs, by more than a caller's word: what was verified, and what keys of its own role have signed here.
//!
//! What is about to be signed stands under its mark before it is signed, and whoever asks may send any parent with it
//! (DESIGN section 4, rules 2 and 3). So of what was not verified the journal is asked whose signatures were given out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use ledger::{Mark, Record, RepositoryId, Watermark};
use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::key::PublicKey;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::Repositories;
use super::authority::{delegations, publics};
use super::family::Family;
use crate::refusal::Refusal;

/// Who has signed a content, as the journal told; it can only tell of more.
#[derive(Default)]
pub(super) struct Signers(Mutex<HashMap<(RepositoryId, RoleName, Sha256Digest), BTreeSet<Sha256Digest>>>);

/// So many contents are remembered with their signers.
const MOST_REMEMBERED: usize = 1024;

/// How many signatures make it more than a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enough {
    /// One by a key of its role.
    One,
    /// Its threshold.
    Threshold,
}

/// Whose metadata counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Ground {
    /// The trusted root, and the next one if it was signed here.
    pub(super) roots: Vec<Metadata>,
    /// Targets roles that delegate, from the top.
    pub(super) family: Family,
    /// Those of which something newer was signed here, or was to be, by nobody who counts.
    pub(super) passed_over: BTreeSet<RoleName>,
}

/// The keys of a role, by some who delegate to it, and how many of them must sign.
struct Givers(Vec<(BTreeSet<Sha256Digest>, u32)>);

impl Givers {
    fn of(given: impl Iterator<Item = (BTreeSet<PublicKey>, u32)>) -> Self {
        let prints = |keys: BTreeSet<PublicKey>| keys.iter().map(PublicKey::fingerprint).collect();
        Self(given.map(|(keys, threshold)| (prints(keys), threshold)).collect())
    }

    fn content_with(&self, signers: &BTreeSet<Sha256Digest>, enough: Enough) -> bool {
        self.0.iter().any(|(keys, threshold)| {
            let have = keys.intersection(signers).count();
            let need = if enough == Enough::One { 1 } else { *threshold };
            have > 0 && u32::try_from(have).unwrap_or(u32::MAX) >= need
        })
    }
}

impl Repositories {
    /// What counts. `newer` stands before what is known, whoever signed it. Hash bins, which may be thousands, are taken for
    /// leaves unless they are asked for.
    pub(super) async fn ground(
        &self,
        record: &Record,
        newer: &BTreeMap<RoleName, Metadata>,
        (enough, bins_too): (Enough, bool),
    ) -> Result<Ground, Refusal> {
        let mut found = Ground { roots: self.standing_roots(record, enough).await?, ..Ground::default() };
        let marked = if bins_too { self.ledger.watermarks(record.id).await? } else { BTreeMap::new() };
        let mut seen = BTreeSet::new();
        let mut waiting = vec![RoleKind::Targets.role()];
        // The first is looked at last, as a search does it.
        waiting.splice(0..0, newer.keys().rev().filter(|role| !role.is_top_level()).cloned());
        while let Some(role) = waiting.pop() {
            if !seen.insert(role.clone()) {
                continue;
            }
            let file = match newer.get(&role) {
                Some(file) => Some(file.clone()),
                None => {
                    let watermark = self.ledger.watermark(record.id, role.clone()).await?;
                    self.newest_that_counts(record, &role, &watermark, (enough, &mut found)).await?
                }
            };
            let Some(file) = file else { continue };
            let Some(all) = delegations(&file) else { continue };
            if bins_too {
                let known = marked.keys().chain(newer.keys());
                waiting.extend(known.filter(|child| all.role_keys(child).is_some()).cloned());
            } else {
                let children = all.roles.iter().map(|child| &child.name).filter(|child| !all.is_bin(child));
                waiting.extend(children.rev().filter(|child| !seen.contains(*child)).cloned());
            }
            found.family.add(role, file);
        }
        Ok(found)
    }

    /// The newest of a targets role that counts, if it delegates.
    async fn newest_that_counts(
        &self,
        record: &Record,
        role: &RoleName,
        watermark: &Watermark,
        (enough, found): (Enough, &mut Ground),
    ) -> Result<Option<Metadata>, Refusal> {
        let Some(mark) = self.unverified(watermark) else {
            return self.memory.delegating(watermark.verified).await;
        };
        let signed = self.memory.delegating(Some(mark)).await?;
        let verified = self.memory.delegating(watermark.verified).await?;
        if signed.is_none() && verified.is_none() {
            return Ok(None);
        }
        let givers = if role.is_top_level() {
            let roots = found.roots.iter().filter_map(Metadata::as_root);
            Givers::of(roots.map(|root| (publics(&root.keys, &root.targets), root.targets.threshold.get())))
        } else {
            let all = found.family.delegations_to(role);
            Givers::of(all.map(|to| (publics(&to.all.keys, to.keys), to.keys.threshold.get())))
        };
        if self.has_signed(record, (role, mark), &givers, enough).await? {
            return Ok(signed);
        }
        found.passed_over.insert(role.clone());
        Ok(verified)
    }

    /// What stands above all that was verified.
    fn unverified(&self, watermark: &Watermark) -> Option<Mark> {
        let verified = watermark.verified.map(|mark| mark.version);
        watermark.signed.filter(|mark| verified.is_none_or(|verified| verified < mark.version))
    }

    /// Whether those who count have signed it here.
    async fn has_signed(
        &self,
        record: &Record,
        (role, mark): (&RoleName, Mark),
        givers: &Givers,
        enough: Enough,
    ) -> Result<bool, Refusal> {
        let about = (record.id, role.clone(), mark.digest);
        let known = self.signers.0.lock().unwrap_or_else(PoisonError::into_inner).get(&about).cloned();
        if known.is_some_and(|signers| givers.content_with(&signers, enough)) {
            return Ok(true);
        }
        let signers = self.ledger.signers_of(record.id, role.clone(), mark.digest).await?;
        let content = givers.content_with(&signers, enough);
        let mut remembered = self.signers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.entry(about).or_default().extend(signers);
        Ok(content)
    }

    /// The trusted root, and the one that follows it if keys of the trusted one have signed it here (specification 5.3.4); before
    /// there is one, the first, which is its own authority.
    async fn standing_roots(&self, record: &Record, enough: Enough) -> Result<Vec<Metadata>, Refusal> {
        let role = RoleKind::Root.role();
        let trusted = self.memory.trusted_root(record).await?;
        let watermark = self.ledger.watermark(record.id, role.clone()).await?;
        let Some(mark) = self.unverified(&watermark) else { return Ok(trusted.into_iter().collect()) };
        let next = self.memory.of_mark(Some(mark)).await?;
        let Some(next) = next else {
            return match trusted {
                Some(trusted) => Ok(vec![trusted]),
                None => Err(lost(record, mark)),
            };
        };
        let by = trusted.as_ref().unwrap_or(&next).as_root();
        let givers = by.map(|root| (publics(&root.keys, &root.root), root.root.threshold.get()));
        let stands = self.has_signed(record, (&role, mark), &Givers::of(givers.into_iter()), enough).await?;
        Ok(trusted.into_iter().chain(stands.then_some(next)).collect())
    }
}

/// The first root was signed here, and what it says of keys cannot be told any more.
fn lost(record: &Record, mark: Mark) -> Refusal {
    let message = format!(
        "root version {} of {}, which was signed here, is not kept any more",
        mark.version, record.name
    );
    Refusal::new(Reason::StateCorrupt, message)
        .remedy("give the agent the root, complete, first: tufctl sign DIR --role root --from COPY")
        .detail("repository", record.name.to_string())
}
