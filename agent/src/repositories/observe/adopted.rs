//! A published copy from which a repository is adopted: it must be whole, and not older than what a restored backup knows.
//!
//! The published versions count as signed, and what is not there cannot be seen: whoever adopts a copy without its newest
//! snapshot would sign that version again with other content.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{AdoptedCopy, Alarm, Looked, Record};
use policy::Reason;
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::metadata::{Metadata, Snapshot};
use tuf::role::{RoleKind, RoleName, Version};

use super::noted::{Found, alarms};
use super::{Observed, Shown, View};
use crate::clock;
use crate::intake::ReceivedFile;
use crate::refusal::Refusal;
use crate::repositories::register::Adoption;
use crate::repositories::{Registration, Repositories, default_days};

/// How a person lets a copy be adopted.
#[derive(Debug, Clone, Default)]
pub struct Consent {
    /// They have looked at the alarms that stand.
    pub acknowledge: bool,
    /// Delegated roles that are lost, as they know: listed, and not in the copy.
    pub without: BTreeSet<RoleName>,
}

/// What a copy holds: of each role its newest file, and all roots.
pub(super) struct Copied(BTreeMap<RoleName, (Version, Sha256Digest)>, BTreeMap<Version, Sha256Digest>);

impl Copied {
    pub(super) fn new(files: &[(RoleName, Metadata)]) -> Self {
        let mut newest: BTreeMap<RoleName, (Version, Sha256Digest)> = BTreeMap::new();
        for (role, file) in files {
            let this = (file.version(), file.digest());
            if newest.get(role).is_none_or(|known| known.0 <= this.0) {
                newest.insert(role.clone(), this);
            }
        }
        let roots = files.iter().filter(|(role, _)| role.kind() == RoleKind::Root);
        Self(newest, roots.map(|(_, root)| (root.version(), root.digest())).collect())
    }

    /// What it holds of this version of a role: of roots every one, of others the newest.
    fn at(&self, role: &RoleName, version: Version) -> Option<(Version, Sha256Digest)> {
        match role.kind() {
            RoleKind::Root => self.1.get(&version).map(|digest| (version, *digest)),
            _ => self.0.get(role).copied().filter(|(newest, _)| *newest == version),
        }
    }

    fn version(&self, role: &RoleName) -> Option<Version> {
        self.0.get(role).map(|(version, _)| *version)
    }
}

impl Repositories {
    /// Adopts a repository (again) from a whole published copy, as [`Self::observe`] takes note of published files. One that
    /// was not known gets its record in the commit that notes the copy: one that is refused or cut off leaves nothing.
    ///
    /// # Errors
    /// As [`Self::observe`] and [`Self::register`]; `VERIFICATION` for a copy that lacks a file, `WATERMARK` for one that is
    /// older than what a restored backup knows as published. What verified of one that was known is taken note of all the same.
    pub async fn adopt(
        &self,
        asked: Registration,
        consent: &Consent,
        files: Vec<ReceivedFile>,
    ) -> Result<Observed, Refusal> {
        let caller = asked.caller.clone();
        let adoption = self.adoption(asked).await?;
        let record = adoption.looked.record.clone();
        self.take_in(&record, Shown::Whole { consent, adoption: &adoption }, files, caller).await
    }

    /// Registers a repository with all that was verified of its copy. Gives the alarms that were raised.
    pub(super) async fn note_new(&self, adoption: &Adoption, found: Found) -> Result<Vec<String>, Refusal> {
        let Looked { record, .. } = &adoption.looked;
        let lengths = self.lengths(record, &found.seen).await?;
        let mut new = adoption.new.clone();
        if let Some(root) = &mut new.root {
            // Of what the client named the verified ones: no record makes room for a name.
            root.others = found.roots();
        }
        let files = self.keep_all(record, &found.seen, found.signers).await?;
        let copy = AdoptedCopy { ancestors: found.ancestors, short: found.short, lengths, files };
        Ok(alarms(self.ledger.adopt_repository(record.id, new, copy).await?))
    }

    /// A role that is seen for the first time keeps the length that it had, if that is longer than the default.
    pub(super) async fn adopt_lengths(
        &self,
        record: &Record,
        files: &[(RoleName, Metadata)],
        caller: &Value,
    ) -> Result<(), Refusal> {
        let all = self.lengths(record, files).await?;
        if !all.is_empty() {
            self.ledger.set_expiry(record.id, all, caller.clone()).await?;
        }
        Ok(())
    }

    /// The lengths of roles that are seen for the first time, each with the default, where they are longer than that.
    async fn lengths(
        &self,
        record: &Record,
        files: &[(RoleName, Metadata)],
    ) -> Result<BTreeMap<RoleName, (u32, u32)>, Refusal> {
        let mut all = BTreeMap::new();
        for (role, file) in files.iter().filter(|(role, _)| !record.expiry_days.contains_key(role)) {
            if self.ledger.watermark(record.id, role.clone()).await?.newest().is_some() {
                continue;
            }
            let left = file.expires().unix().saturating_sub(clock::now().unix());
            let left = u32::try_from(left.saturating_add(86_399) / 86_400).unwrap_or(0);
            let told = file.signed().get("x-tuf-on-ci-expiry-period").and_then(|days| days.as_u64());
            let told = told.and_then(|days| u32::try_from(days).ok()).unwrap_or(0);
            let days = left.max(told).min(MOST_DAYS);
            if days > default_days(role.kind()) {
                let lengths = (default_days(role.kind()), days);
                all.insert(role.clone(), lengths);
            }
        }
        Ok(all)
    }

    /// The newest root of a copy, where the trusted one follows it and was complete here before it was ever published.
    pub(super) async fn root_out(
        &self,
        record: &Record,
        trusted: &Metadata,
        chain: &BTreeMap<Version, Sha256Digest>,
        files: &[(RoleName, Metadata)],
    ) -> Result<Option<Metadata>, Refusal> {
        let role = RoleKind::Root.role();
        let roots = files.iter().filter(|(name, _)| *name == role).map(|(_, root)| root);
        let Some(newest) = roots.max_by_key(|root| root.version()) else { return Ok(None) };
        let out = self.ledger.published(record.id).await?.get(&role).copied();
        // A copy from before a root that was found published is an old one.
        let is_newest =
            newest.version() < trusted.version() && out.is_some_and(|out| out <= newest.version());
        let is_known = chain.get(&newest.version()) == Some(&newest.digest());
        Ok((is_newest && is_known).then(|| newest.clone()))
    }

    /// Alarms of a repository that stand.
    pub(in crate::repositories) async fn alarms_of(&self, record: &Record) -> Result<Vec<Alarm>, Refusal> {
        let mut alarms = self.ledger.alarms().await?;
        alarms.retain(|alarm| alarm.repository == record.id);
        Ok(alarms)
    }

    /// A person has looked at the alarms that stand. What the copy holds of such a version counts as verified, if it is
    /// what was found then or what was signed here; a third content is left to a new look.
    pub(super) async fn acknowledge(
        &self,
        record: &Record,
        copy: &Copied,
        caller: &Value,
    ) -> Result<Vec<String>, Refusal> {
        let mut told = Vec::new();
        for alarm in self.alarms_of(record).await? {
            let signed = self.ledger.watermark(record.id, alarm.role.clone()).await?.signed;
            let ours = signed.filter(|mark| mark.version == alarm.version).map(|mark| mark.digest);
            let chain = self.ledger.roots(record.id).await?;
            let same = copy.at(&alarm.role, alarm.version);
            let is_known = |digest| {
                let of_chain =
                    alarm.role.kind() == RoleKind::Root && chain.contains(&(alarm.version, digest));
                digest == alarm.digest || ours == Some(digest) || of_chain
            };
            if same.is_some_and(|(_, digest)| !is_known(digest)) {
                continue;
            }
            self.ledger.acknowledge_alarm(record.id, alarm.role, same, caller.clone()).await?;
            told.push(format!("acknowledged: {}", alarm.message));
        }
        Ok(told)
    }
}

impl View<'_> {
    /// Refuses a copy that is not whole, and after a restore one that is older than what the backup knows as published.
    pub(super) async fn judge(&mut self, copy: &Copied, without: &BTreeSet<RoleName>) -> Result<(), Refusal> {
        let [timestamp, snapshot] = [RoleKind::Timestamp, RoleKind::Snapshot].map(RoleKind::role);
        let void = |role: &RoleName| {
            let digest = copy.0.get(role).map(|(_, digest)| *digest);
            self.resets.iter().any(|(reset, mark)| reset == role && Some(mark.digest) == digest)
        };
        if void(&timestamp) || void(&snapshot) {
            // It was thrown away after an attack; what led to the rest counts no more.
            return self.check_age(copy, None).await;
        }
        let listed = if copy.version(&timestamp).is_some() || copy.version(&snapshot).is_some() {
            Some(self.check_whole(copy, without).await?)
        } else {
            self.check_never_online().await?;
            None
        };
        self.check_age(copy, listed.as_ref().and_then(Metadata::as_snapshot)).await
    }

    /// Everything that the copy's timestamp leads to is there, but for delegated roles that a person knows to be lost: clients
    /// use the rest. Gives its snapshot.
    async fn check_whole(
        &mut self,
        copy: &Copied,
        without: &BTreeSet<RoleName>,
    ) -> Result<Metadata, Refusal> {
        let [timestamp, snapshot, targets] =
            [RoleKind::Timestamp, RoleKind::Snapshot, RoleKind::Targets].map(RoleKind::role);
        let Some(first) = self.good(copy, &timestamp) else {
            let why = "no timestamp that verifies is there";
            return Err(self.outdated(copy).unwrap_or_else(|| self.lacks(&timestamp, None, "5.4.1", why)));
        };
        let version = first.as_timestamp().map(|timestamp| timestamp.snapshot.version);
        let why = format!("timestamp version {} lists it", first.version());
        let listing = self.good(copy, &snapshot).filter(|file| Some(file.version()) == version);
        let Some(listing) = listing else {
            let lacks = || self.lacks(&snapshot, version, "5.5.1", &why);
            return Err(self.outdated(copy).unwrap_or_else(lacks));
        };
        let why = format!("snapshot version {} lists it", listing.version());
        let entries = listing.as_snapshot().map(|snapshot| &snapshot.meta);
        if entries.is_none_or(|entries| !entries.contains_key(&targets)) {
            return Err(self.lacks(&targets, None, "5.6.1", "the snapshot does not list it"));
        }
        self.tell_dropped(&listing).await?;
        for (role, entry) in entries.into_iter().flatten() {
            let is_there = copy.version(role) == Some(entry.version);
            if is_there || role.kind() != RoleKind::Targets {
                continue;
            }
            if !role.is_top_level() && without.contains(role) {
                self.notes.push(format!(
                    "{role} version {} is lost: clients use the rest, and so does this agent; nothing of it is signed but \
                     what you stage anew, under a later version",
                    entry.version
                ));
                self.short.insert(role.clone(), entry.version);
                continue;
            }
            // A client never asks for what nobody delegates to.
            if role.is_top_level() || self.leads_to(role).await? {
                return Err(self.lacks(role, Some(entry.version), "5.6.1", &why));
            }
        }
        Ok(listing)
    }

    /// Says what a snapshot no longer lists that ones before it did.
    async fn tell_dropped(&mut self, listing: &Metadata) -> Result<(), Refusal> {
        let Some(entries) = listing.as_snapshot().map(|snapshot| &snapshot.meta) else { return Ok(()) };
        let mut before = self.repositories.ledger.listed(self.record.id, RoleKind::Snapshot.role()).await?;
        before.retain(|role, last| entries.get(role).is_none_or(|entry| entry.version < *last));
        let mut names: Vec<String> =
            before.iter().take(MOST_NAMED).map(|(role, last)| format!("{role} version {last}")).collect();
        if let Some(more) = before.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
            names.push(format!("{more} more"));
        }
        if !names.is_empty() {
            self.notes.push(format!(
                "snapshot version {} no longer lists {}, as one before it did: clients that have seen that one refuse it \
                 (specification 5.5.5); the next snapshot lists it again",
                listing.version(),
                names.join(", ")
            ));
        }
        Ok(())
    }

    /// A repository of which timestamp and snapshot were never published has nothing that could be missing.
    async fn check_never_online(&mut self) -> Result<(), Refusal> {
        for role in [RoleKind::Timestamp, RoleKind::Snapshot].map(RoleKind::role) {
            let marks = self.repositories.ledger.watermark(self.record.id, role.clone()).await?;
            if marks.verified.is_some() {
                let why = "this agent has seen one before";
                return Err(self.lacks(&RoleKind::Timestamp.role(), None, "5.4.1", why));
            }
        }
        self.notes.push(
            "this copy has neither timestamp nor snapshot: it is taken for a repository that was never published whole"
                .to_owned(),
        );
        Ok(())
    }

    /// After a restore: nothing that the backup knows as published may be newer than the copy.
    async fn check_age(&mut self, copy: &Copied, listed: Option<&Snapshot>) -> Result<(), Refusal> {
        let (ledger, id) = (&self.repositories.ledger, self.record.id);
        if !ledger.restored().await?.contains(&self.record.name) {
            return Ok(());
        }
        let mut known = ledger.published(id).await?;
        if known.is_empty() {
            // A backup from before that was told apart.
            let verified = ledger.watermarks(id).await?.into_iter();
            known = verified.filter_map(|(role, marks)| Some((role, marks.verified?.version))).collect();
        }
        let mut older = Vec::new();
        for (role, version) in known {
            let entry = listed.and_then(|listed| listed.meta.get(&role)).map(|entry| entry.version);
            let here = copy.version(&role).max(entry);
            let counts = here.is_some() || role.is_top_level() || self.leads_to(&role).await?;
            if counts && here < Some(version) {
                older.push((role, here, version));
            }
        }
        if older.is_empty() { Ok(()) } else { Err(self.behind(&older, "what the backup knows as published")) }
    }

    /// The refusal of a copy that ends before a root that this agent knows: what its online keys have signed may verify by
    /// none of the keys that stand now.
    fn outdated(&self, copy: &Copied) -> Option<Refusal> {
        let known = self.root.as_ref().map(Metadata::version);
        let here = copy.version(&RoleKind::Root.role());
        if here >= known {
            return None;
        }
        let mut older: Vec<_> = known.map(|known| (RoleKind::Root.role(), here, known)).into_iter().collect();
        for kind in [RoleKind::Targets, RoleKind::Snapshot, RoleKind::Timestamp] {
            let known =
                self.marks.get(&kind.role()).and_then(|marks| marks.verified).map(|mark| mark.version);
            let here = copy.version(&kind.role());
            older.extend(known.filter(|known| here < Some(*known)).map(|known| (kind.role(), here, known)));
        }
        Some(self.behind(&older, "what this agent knows"))
    }

    /// The copy's newest file of a role, if it verified.
    fn good(&self, copy: &Copied, role: &RoleName) -> Option<Metadata> {
        let (_, digest) = copy.0.get(role)?;
        let found = self.seen.iter().find(|(name, file)| name == role && file.digest() == *digest);
        found.map(|(_, file)| file.clone())
    }

    fn lacks(&self, role: &RoleName, version: Option<Version>, spec: &str, why: &str) -> Refusal {
        let root = self.root.as_ref().and_then(Metadata::as_root);
        let file = match version.filter(|_| root.is_none_or(|root| root.consistent_snapshot)) {
            Some(version) => format!("{version}.{role}.json"),
            None => format!("{role}.json"),
        };
        Refusal::new(Reason::Verification, format!("this copy is not whole: {file} is not there, and {why}"))
            .remedy(
                "bring the whole newest published copy: every file that its timestamp and snapshot lead to",
            )
            .detail("role", role.to_string())
            .detail("file", file)
            .detail("spec", spec)
    }

    fn behind(&self, older: &[(RoleName, Option<Version>, Version)], known: &str) -> Refusal {
        let shown = older.iter().take(MOST_NAMED).map(|(role, here, known)| match here {
            Some(here) => format!("{role} version {here} in place of {known}"),
            None => format!("no {role} in place of version {known}"),
        });
        let mut shown = shown.collect::<Vec<_>>().join(", ");
        if older.len() > MOST_NAMED {
            shown.push_str(&format!(" and {} more", older.len() - MOST_NAMED));
        }
        let name = &self.record.name;
        let wanted: Vec<Value> = older
            .iter()
            .take(MOST_NAMED)
            .map(|(role, here, known)| {
                json!({"role": role.to_string(), "here": here.map(Version::get), "published": known.get()})
            })
            .collect();
        let message = format!("this copy of {name} is older than {known}: {shown}");
        Refusal::new(Reason::Watermark, message)
            .remedy("bring the newest published copy, with these versions or later ones, and adopt that")
            .detail("repository", name.to_string())
            .detail("older", wanted)
    }
}

/// The longest length that is taken over from what was published.
const MOST_DAYS: u32 = 36_500;
/// More roles than this are told by their number.
const MOST_NAMED: usize = 4;
