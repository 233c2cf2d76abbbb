//! Questions and requests about repositories.

use std::collections::BTreeMap;

use crate::Verified;
use crate::adoption;
use crate::alarms;
use crate::listings::{self, Listing};
use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};

use crate::{
    AdoptedCopy, Alarm, Ledger, LedgerError, Looked, Mark, NewRepository, Noted, Record, RepositoryId,
    RepositoryName, Reset, Watermark, marks, records, resets,
};

/// Repositories.
impl Ledger {
    /// Registers a repository, or adopts one with its trusted root. One that is known by this very name and chain is
    /// given back as it is: adopting again changes nothing.
    ///
    /// # Errors
    /// `NameTaken`, `ChainKnown`, `SharedKey`; `Io` or `Closed`.
    pub async fn register_repository(&self, new: NewRepository) -> Result<Record, LedgerError> {
        self.ask(move |tx| adoption::register(tx, &new, None)).await
    }

    /// What [`Self::register_repository`] would make of this, or why it would refuse it. Nothing is changed.
    ///
    /// # Errors
    /// `NameTaken`, `ChainKnown`, `SharedKey`, `Restored`; `Io` or `Closed`.
    pub async fn look_at_adoption(&self, new: NewRepository) -> Result<Looked, LedgerError> {
        self.read(move |tx| adoption::look(tx, &new)).await?
    }

    /// Adopts a repository that is not known yet, under the identity that [`Self::look_at_adoption`] gave: the record and
    /// everything that is noted of the copy come in one commit, or nothing does.
    ///
    /// # Errors
    /// As [`Self::register_repository`] and [`Self::note_all`]; `ChainKnown` when somebody else adopted it meanwhile.
    pub async fn adopt_repository(
        &self,
        id: RepositoryId,
        new: NewRepository,
        copy: AdoptedCopy,
    ) -> Result<Vec<Noted>, LedgerError> {
        self.ask(move |tx| adoption::adopt(tx, &id, &new, &copy).map(Ok)).await
    }

    /// Takes away records under another name whose newest root is one of these, which the caller has verified as this
    /// repository's: what an adoption that was cut off has left, and one that has seen nothing newer than these versions and
    /// for which nothing was signed; journalled.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn make_room(
        &self,
        id: RepositoryId,
        roots: Vec<Sha256Digest>,
        seen: BTreeMap<RoleName, Version>,
        caller: Value,
    ) -> Result<(), LedgerError> {
        self.ask(move |tx| adoption::make_room(tx, &id, (&roots, &seen), &caller).map(Ok)).await
    }

    /// The repository other than `id` whose root this is: it is in its chain, or was signed for it here.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn other_of_root(
        &self,
        id: RepositoryId,
        root: Sha256Digest,
    ) -> Result<Option<RepositoryName>, LedgerError> {
        self.read(move |tx| adoption::other_of_root(tx, &id, root)).await
    }

    /// All repositories, by name.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn repositories(&self) -> Result<Vec<Record>, LedgerError> {
        match self.mirror.records(<[Record]>::to_vec) {
            Some(records) => Ok(records),
            None => self.glance(records::all).await,
        }
    }

    /// The repository with this name.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn find_by_name(&self, name: &RepositoryName) -> Result<Option<Record>, LedgerError> {
        let known = |records: &[Record]| records.iter().find(|record| record.name == *name).cloned();
        if let Some(found) = self.mirror.records(known) {
            return Ok(found);
        }
        let name = name.clone();
        self.glance(move |tx| records::by_name(tx, &name)).await
    }

    /// The repository with this identity.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn find_by_id(&self, id: RepositoryId) -> Result<Option<Record>, LedgerError> {
        let known = |records: &[Record]| records.iter().find(|record| record.id == id).cloned();
        match self.mirror.records(known) {
            Some(found) => Ok(found),
            None => self.glance(move |tx| records::by_id(tx, &id)).await,
        }
    }

    /// The repository whose root chain holds one of these roots.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn find_by_roots(&self, digests: Vec<Sha256Digest>) -> Result<Option<Record>, LedgerError> {
        self.glance(move |tx| records::by_roots(tx, &digests)).await
    }

    /// The verified roots of a repository's chain, oldest first.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn roots(&self, id: RepositoryId) -> Result<Vec<(Version, Sha256Digest)>, LedgerError> {
        self.glance(move |tx| records::roots(tx, &id)).await
    }

    /// Sets for how many days the metadata of roles is valid, in one commit; journalled with the length before, which is the
    /// default that is given first where the record has none.
    ///
    /// # Errors
    /// `RepositoryUnknown`; `Io` or `Closed`.
    pub async fn set_expiry(
        &self,
        id: RepositoryId,
        lengths: BTreeMap<RoleName, (u32, u32)>,
        caller: Value,
    ) -> Result<Record, LedgerError> {
        self.ask(move |tx| records::set_expiry(tx, &id, &lengths, &caller)).await
    }

    /// Takes note of metadata whose thresholds the caller has verified, in one commit: roots in the order of their
    /// chain (or the first that is trusted), then other roles. Marks only rise. `published`: other content than what is
    /// known under a version is an alarm ([`Noted::Conflict`]); otherwise it is refused.
    ///
    /// # Errors
    /// `RootStep`, `ChainKnown`, `RepositoryUnknown`, `Watermark`: what came before the refused file is noted. `Io` or
    /// `Closed`: nothing is.
    pub async fn note_all(
        &self,
        id: RepositoryId,
        files: Vec<Verified>,
        published: bool,
    ) -> Result<Vec<Noted>, LedgerError> {
        self.ask(move |tx| records::note_all(tx, &id, &files, published)).await
    }

    /// Adds roots from before a chain's first known one, newest first, which the caller has verified: they say which
    /// chain it is, and change no mark.
    ///
    /// # Errors
    /// `RootStep`, `ChainKnown`, `RepositoryUnknown`; `Io` or `Closed`.
    pub async fn add_ancestors(
        &self,
        id: RepositoryId,
        ancestors: Vec<(Version, Sha256Digest)>,
    ) -> Result<(), LedgerError> {
        self.ask(move |tx| records::add_ancestors(tx, &id, &ancestors)).await
    }

    /// The watermark of a role; empty when nothing is known.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn watermark(&self, id: RepositoryId, role: RoleName) -> Result<Watermark, LedgerError> {
        let known = |all: &BTreeMap<_, _>| all.get(&role).copied().unwrap_or_default();
        match self.mirror.watermarks(id, known) {
            Some(watermark) => Ok(watermark),
            None => self.read(move |tx| marks::read(tx, &id, &role)).await,
        }
    }

    /// Fingerprints of the keys that have signed for a repository here, whether they are still here or not.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn used_keys(&self, id: RepositoryId) -> Result<Vec<Sha256Digest>, LedgerError> {
        self.read(move |tx| records::used_keys(tx, &id)).await
    }

    /// Fingerprints of the keys that belong to a repository: those that have signed for it, or that its verified metadata names.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn keys_of(&self, id: RepositoryId) -> Result<Vec<Sha256Digest>, LedgerError> {
        match self.mirror.judge(|state| state.keys_of(&id)) {
            Some(keys) => Ok(keys),
            None => {
                let uses = self.read(records::key_uses).await?;
                Ok(uses.into_iter().filter(|(_, user)| *user == id).map(|(key, _)| key).collect())
            }
        }
    }

    /// Fingerprints of the keys that have signed one role of it here.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn used_keys_of_role(
        &self,
        id: RepositoryId,
        role: RoleName,
    ) -> Result<Vec<Sha256Digest>, LedgerError> {
        self.read(move |tx| records::used_keys_of_role(tx, &id, &role)).await
    }

    /// All watermarks of a repository.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn watermarks(&self, id: RepositoryId) -> Result<BTreeMap<RoleName, Watermark>, LedgerError> {
        match self.mirror.watermarks(id, BTreeMap::clone) {
            Some(watermarks) => Ok(watermarks),
            None => self.read(move |tx| marks::all(tx, &id)).await,
        }
    }

    /// What the snapshots (or timestamps) of a repository have listed, each entry at its highest version.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn listed(
        &self,
        id: RepositoryId,
        listing: RoleName,
    ) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
        let Some(listing) = Listing::of(&listing) else { return Ok(BTreeMap::new()) };
        match self.mirror.listed(id, listing, BTreeMap::clone) {
            Some(listed) => Ok(listed),
            None => self.glance(move |tx| listings::listed(tx, &id, listing)).await,
        }
    }

    /// The newest versions that were found published with their thresholds met. What is verified may never have come out.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn published(&self, id: RepositoryId) -> Result<BTreeMap<RoleName, Version>, LedgerError> {
        match self.mirror.listed(id, Listing::Published, BTreeMap::clone) {
            Some(published) => Ok(published),
            None => self.glance(move |tx| listings::listed(tx, &id, Listing::Published)).await,
        }
    }

    /// The newest version of a role that was found published, and whether anything of its repository ever was.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn published_of(
        &self,
        id: RepositoryId,
        role: &RoleName,
    ) -> Result<(Option<Version>, bool), LedgerError> {
        let look = |all: &BTreeMap<RoleName, Version>| (all.get(role).copied(), !all.is_empty());
        match self.mirror.listed(id, Listing::Published, look) {
            Some(found) => Ok(found),
            None => Ok(look(&self.published(id).await?)),
        }
    }

    /// Takes note that these versions, which were verified before, are published.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn note_published(
        &self,
        id: RepositoryId,
        roles: BTreeMap<RoleName, Version>,
    ) -> Result<(), LedgerError> {
        self.note_listing(id, Listing::Published, roles).await
    }

    /// Takes note that these versions are published, and short of their thresholds.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn note_short(
        &self,
        id: RepositoryId,
        roles: BTreeMap<RoleName, Version>,
    ) -> Result<(), LedgerError> {
        self.note_listing(id, Listing::Short, roles).await
    }

    /// The version of a role that was found published and short of its threshold.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn short(&self, id: RepositoryId, role: RoleName) -> Result<Option<Version>, LedgerError> {
        match self.mirror.listed(id, Listing::Short, |all| all.get(&role).copied()) {
            Some(found) => Ok(found),
            None => self.glance(move |tx| listings::listed_at(tx, &id, Listing::Short, &role)).await,
        }
    }

    /// Raises a list; where that changes nothing, nothing is written.
    async fn note_listing(
        &self,
        id: RepositoryId,
        listing: Listing,
        mut roles: BTreeMap<RoleName, Version>,
    ) -> Result<(), LedgerError> {
        self.mirror.listed(id, listing, |known| {
            roles.retain(|role, version| known.get(role).is_none_or(|last| last < version));
        });
        if roles.is_empty() {
            return Ok(());
        }
        self.ask(move |tx| listings::raise_listed(tx, &id, listing, &roles).map(Ok)).await
    }

    /// The repositories other than `id` that this key has signed for, or whose verified metadata names it, by name.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn users_beside(
        &self,
        id: RepositoryId,
        fingerprint: Sha256Digest,
    ) -> Result<Vec<RepositoryName>, LedgerError> {
        let users = self.read(move |tx| records::users_of(tx, fingerprint)).await?;
        Ok(users.into_iter().filter(|(other, _)| *other != id).map(|(_, name)| name).collect())
    }

    /// Whether it was noted which keys the verified metadata of a repository names: that of a ledger from before schema 5
    /// was not.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn knows_named(&self, id: RepositoryId) -> Result<bool, LedgerError> {
        self.glance(move |tx| Ok(!records::named_in(tx, &id)?.is_empty())).await
    }

    /// Takes note of keys (fingerprints) that verified metadata of a repository names.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn note_named(
        &self,
        id: RepositoryId,
        fingerprints: Vec<Sha256Digest>,
    ) -> Result<(), LedgerError> {
        self.ask(move |tx| records::note_named(tx, &id, &fingerprints).map(Ok)).await
    }

    /// Which of these keys (fingerprints) belong to another repository than `id`, with its name, and are not shared
    /// with `id` by a person's word.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn keys_elsewhere(
        &self,
        id: Option<RepositoryId>,
        fingerprints: Vec<Sha256Digest>,
    ) -> Result<Vec<(Sha256Digest, RepositoryName)>, LedgerError> {
        self.read(move |tx| {
            let mut found = Vec::new();
            for fingerprint in fingerprints {
                let other = records::used_elsewhere(tx, id.as_ref(), fingerprint)?;
                found.extend(other.map(|name| (fingerprint, name)));
            }
            Ok(found)
        })
        .await
    }

    /// From where to where [`Self::reset_watermark`] would put a role; none when it has no mark.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn look_at_reset(
        &self,
        id: RepositoryId,
        role: RoleName,
    ) -> Result<Option<Reset>, LedgerError> {
        let found = self.read(move |tx| resets::look(tx, &id, &role)).await?;
        Ok(found.map(|found| Reset { from: found.from, to: found.to }))
    }

    /// Puts a role back to what this agent had signed before the attack that its newest mark, whose digest a person has
    /// `confirmed`, came by; journalled. That it may be done (specification 5.3.11) is for the caller to judge. What is thrown away is never
    /// noted as verified again.
    ///
    /// # Errors
    /// `Moved`, `RepositoryUnknown`; `Io` or `Closed`.
    pub async fn reset_watermark(
        &self,
        id: RepositoryId,
        role: RoleName,
        confirmed: Sha256Digest,
        caller: Value,
    ) -> Result<Reset, LedgerError> {
        self.ask(move |tx| resets::reset(tx, &id, &role, confirmed, &caller)).await
    }

    /// What resets have thrown away.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn resets(&self, id: RepositoryId) -> Result<Vec<(RoleName, Mark)>, LedgerError> {
        self.glance(move |tx| resets::of_repository(tx, &id)).await
    }

    /// Raises an alarm about published metadata: its role signs nothing until it is acknowledged. Journalled.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn raise_alarm(
        &self,
        id: RepositoryId,
        file: Verified,
        message: String,
        about: Value,
    ) -> Result<(), LedgerError> {
        self.ask(move |tx| alarms::raise(tx, &id, &file, &message, &about).map(Ok)).await
    }

    /// A person has looked at a role's alarm. `stands`, which the caller has found published and verified, counts as
    /// verified from now on, whatever was verified of that version before. False when there was none.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn acknowledge_alarm(
        &self,
        id: RepositoryId,
        role: RoleName,
        stands: Option<(Version, Sha256Digest)>,
        caller: Value,
    ) -> Result<bool, LedgerError> {
        self.ask(move |tx| alarms::acknowledge(tx, &id, &role, stands, &caller)).await
    }

    /// All alarms, oldest first.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, LedgerError> {
        self.glance(alarms::all).await
    }
}
