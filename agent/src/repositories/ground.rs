//! Who says who signs, by more than a caller's word: what was verified, and what keys of its own role have signed here.
//!
//! What is about to be signed stands under its mark before it is signed, and whoever asks may send any parent with it
//! (DESIGN section 4, rules 2 and 3). So of what was not verified the journal is asked whose signatures were given out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger::{Mark, Record, RepositoryId, Watermark};
use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind, RoleName, Threshold};
use tuf::verify::{check_signatures, signature_work};

use super::Repositories;
use super::authority::{delegations, publics};
use super::family::Family;
use crate::heavy;
use crate::refusal::Refusal;

/// Who has signed a content, as the journal told; it can only tell of more.
#[derive(Default)]
pub(super) struct Signers(Mutex<Remembered>);

type Remembered = HashMap<(RepositoryId, RoleName, Sha256Digest), KnownSigners>;

#[derive(Default)]
struct KnownSigners {
    /// Their fingerprints.
    keys: BTreeSet<Sha256Digest>,
    /// The signatures that were looked at, by a digest of them.
    shown: BTreeSet<Sha256Digest>,
}

fn lock(signers: &Signers) -> MutexGuard<'_, Remembered> {
    signers.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many contents are remembered with their signers.
const MOST_REMEMBERED: usize = 1024;

/// So many sets of signatures over one content are remembered.
const MOST_SHOWN: usize = 16;

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

    /// Whether something of a role was signed here, or was to be, by nobody who counts.
    pub(super) async fn is_passed_over(&self, record: &Record, role: &RoleName) -> Result<bool, Refusal> {
        let ground = self.ground(record, &BTreeMap::new(), (Enough::One, true)).await?;
        Ok(ground.passed_over.contains(role))
    }

    /// Takes the signatures that sent files carry for what they are: of those that were made before a crash, long ago or
    /// elsewhere the journal may tell nothing.
    pub(super) async fn take_evidence(
        &self,
        record: &Record,
        sent: &[(RoleName, Metadata)],
    ) -> Result<(), Refusal> {
        let is_new = |(role, file): &&(RoleName, Metadata)| {
            let about = (record.id, role.clone(), file.digest());
            // Looked at once: many roles have the same parent.
            let is_known = |known: &KnownSigners| known.shown.contains(&shown_by(file));
            !file.signatures().is_empty() && !lock(&self.signers).get(&about).is_some_and(is_known)
        };
        let new: Vec<_> = sent.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let trusted = self.memory.trusted_root(record).await?;
        let known = self.ground(record, &BTreeMap::new(), (Enough::One, false)).await?.family;
        let mut keys: BTreeMap<KeyId, Key> = BTreeMap::new();
        for file in trusted.iter().chain(known.files()).chain(sent.iter().map(|(_, file)| file)) {
            let of_root = file.as_root().map(|root| &root.keys);
            let named = of_root.or_else(|| delegations(file).map(|all| &all.keys)).into_iter().flatten();
            for (keyid, key) in named {
                keys.entry(keyid.clone()).or_insert_with(|| key.clone());
            }
        }
        let bytes = heavy::sum(new.iter().map(|(_, file)| &**file.bytes()));
        let size = new.iter().fold(bytes, |size, (_, file)| {
            let work = signed_with(file, &keys).map_or(0, |all| signature_work(file, &keys, &all));
            size.saturating_add(work)
        });
        let work = move || -> Vec<_> {
            let read = |(role, file): (RoleName, Metadata)| {
                (role, file.digest(), shown_by(&file), signers_by(&file, &keys))
            };
            new.into_iter().map(read).collect()
        };
        let read = heavy::run(size, work).await?;
        for (role, digest, shown, signers) in read {
            self.remember_signers((record.id, role, digest), Some(shown), signers);
        }
        Ok(())
    }

    /// Gives all that are known.
    fn remember_signers(
        &self,
        about: (RepositoryId, RoleName, Sha256Digest),
        shown: Option<Sha256Digest>,
        signers: BTreeSet<Sha256Digest>,
    ) -> BTreeSet<Sha256Digest> {
        let mut remembered = lock(&self.signers);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        let known = remembered.entry(about).or_default();
        if known.shown.len() >= MOST_SHOWN {
            known.shown.clear();
        }
        known.shown.extend(shown);
        known.keys.extend(signers);
        known.keys.clone()
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
        let known = lock(&self.signers).get(&about).map(|known| known.keys.clone());
        if known.is_some_and(|signers| givers.content_with(&signers, enough)) {
            return Ok(true);
        }
        let signers = self.ledger.signers_of(record.id, role.clone(), mark.digest).await?;
        Ok(givers.content_with(&self.remember_signers(about, None, signers), enough))
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

/// A digest of the signatures that a file carries.
fn shown_by(file: &Metadata) -> Sha256Digest {
    let entries = file.signatures().iter();
    let text: String = entries.map(|entry| format!("{} {}\n", entry.keyid, entry.sig)).collect();
    Sha256Digest::of(text.as_bytes())
}

/// Fingerprints of those of the keys whose signature a file carries.
fn signers_by(file: &Metadata, keys: &BTreeMap<KeyId, Key>) -> BTreeSet<Sha256Digest> {
    let Some(all) = signed_with(file, keys) else { return BTreeSet::new() };
    let signed_by = check_signatures(file, keys, &all).signed_by;
    signed_by.iter().filter_map(|keyid| Some(keys.get(keyid)?.public_key().ok()?.fingerprint())).collect()
}

/// Those of the keys of which a file carries a signature, be it good or bad.
fn signed_with(file: &Metadata, keys: &BTreeMap<KeyId, Key>) -> Option<RoleKeys> {
    let keyids: BTreeSet<_> = file.signatures().iter().map(|entry| entry.keyid.clone()).collect();
    let known = keyids.into_iter().filter(|keyid| keys.contains_key(keyid)).collect();
    RoleKeys::new(known, Threshold::ONE).ok()
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
