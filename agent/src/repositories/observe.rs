//! Takes note of complete metadata: every file must meet its threshold in front of the agent. Expiry is not looked at:
//! an expired role is what people come to renew.

mod adopted;
mod delegated;
mod noted;
mod roots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ledger::{Mark, Record, Watermark};
use policy::Reason;
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind, RoleName, Version};
use tuf::verify::{ThresholdReport, check_signatures, signature_work};

pub use self::adopted::Consent;
use self::adopted::Copied;
use self::noted::Found;
pub(super) use self::noted::named_by;
use super::Repositories;
use super::authority::delegations;
use super::family::Family;
use super::reading::{parents_first, read_all};
use super::register::Adoption;
use crate::heavy;
use crate::intake::ReceivedFile;
use crate::refusal::Refusal;

/// What came of it.
#[derive(Debug, Default)]
pub struct Observed {
    /// Newest verified versions of all roles, or of those of staged files.
    pub verified: BTreeMap<RoleName, Version>,
    /// What a person should look at, one sentence each.
    pub alarms: Vec<String>,
    /// Alarms of the repository that stand after an adoption, one sentence each.
    pub standing: Vec<String>,
}

/// How files are shown.
#[derive(Clone, Copy)]
enum Shown<'a> {
    Staged,
    Published,
    /// As a whole published copy, from which the repository is adopted.
    Whole {
        consent: &'a Consent,
        adoption: &'a Adoption,
    },
}

/// What a look at one file says.
enum Look {
    /// Its thresholds are met, by these keys (fingerprints).
    Good(Vec<Sha256Digest>),
    /// Nothing new, or nobody speaks of its role any more.
    Skip,
    /// They are not.
    Short { by: String, report: ThresholdReport },
}

/// One call's view: what is known, and what it has verified itself.
struct View<'a> {
    repositories: &'a Repositories,
    record: &'a Record,
    published: bool,
    root: Option<Metadata>,
    /// The newest root that is out, where the trusted one was never published: what is out was signed by its keys.
    out: Option<Metadata>,
    chain: BTreeMap<Version, Sha256Digest>,
    /// Newest versions before this call, of the roles that were sent.
    marks: BTreeMap<RoleName, Watermark>,
    /// What was thrown away by a reset.
    resets: Vec<(RoleName, Mark)>,
    seen: Vec<(RoleName, Metadata)>,
    /// Who has signed each of `seen`.
    signers: Vec<Vec<Sha256Digest>>,
    /// Roots from before the trusted one.
    older: BTreeMap<Version, Metadata>,
    /// Who delegates, looked up when the first delegated role comes, and again once another one that delegates is seen;
    /// by whether bins were looked into.
    families: BTreeMap<bool, Arc<Family>>,
    /// All roles that were known before this call, looked up when the first that delegates is seen.
    known: Option<BTreeSet<RoleName>>,
    /// Those of them to whom delegations lead from the top; looked up when all of the call was seen.
    reachable: Option<Family>,
    /// What a person should know of what was taken, one sentence each.
    notes: Vec<String>,
    /// Published files that are short of their thresholds.
    short: BTreeMap<RoleName, Version>,
}

impl Repositories {
    /// Verifies files (root chain, targets roles with parents first, snapshot, timestamp) and takes note of them.
    /// `published`: they are out; content that differs from what is known under its version is then an alarm.
    ///
    /// # Errors
    /// `METADATA_INVALID`; `VERIFICATION` or `THRESHOLD_MISSING` for a file short of its threshold; `VERSION_JUMP` for a
    /// gap in the root chain; `WATERMARK`, `REPOSITORY_KNOWN`; `STATE_IO`. Files are noted all together or not at all.
    pub async fn observe(
        &self,
        record: &Record,
        published: bool,
        files: Vec<ReceivedFile>,
        caller: Value,
    ) -> Result<Observed, Refusal> {
        let shown = if published { Shown::Published } else { Shown::Staged };
        self.take_in(record, shown, files, caller).await
    }

    async fn take_in(
        &self,
        record: &Record,
        how: Shown<'_>,
        files: Vec<ReceivedFile>,
        caller: Value,
    ) -> Result<Observed, Refusal> {
        let size = heavy::sum(files.iter().map(|file| file.bytes.as_slice()));
        let known = self.at_hand(record, &files).await?;
        let files = heavy::run(size, move || read_all(files, known).map(parents_first)).await??;
        self.bring_back_root(record, &files).await?;
        let shown: BTreeSet<RoleName> = files.iter().map(|(role, _)| role.clone()).collect();
        let whole = matches!(how, Shown::Whole { .. }).then(|| Copied::new(&files));
        let mut view = self.view(record, how, &files).await?;
        let mut alarms = view.look_at_all(files).await?;
        let judged = match (&whole, how) {
            (Some(copy), Shown::Whole { consent, .. }) => view.judge(copy, &consent.without).await,
            _ => Ok(()),
        };
        alarms.append(&mut view.notes);
        let published = view.published;
        let found = view.found().await?;
        alarms.extend(self.note(record, (how, whole.as_ref()), judged, found, &caller).await?);
        let mut standing = Vec::new();
        if whole.is_some() {
            self.ledger.settle_restored(record.id, caller).await?;
            standing = self.alarms_of(record).await?.into_iter().map(|alarm| alarm.message).collect();
        }
        let verified = self.verified_of(record, if published { None } else { Some(shown) }).await?;
        Ok(Observed { verified, alarms, standing })
    }

    /// What is known before anything is looked at.
    async fn view<'a>(
        &'a self,
        record: &'a Record,
        how: Shown<'_>,
        files: &[(RoleName, Metadata)],
    ) -> Result<View<'a>, Refusal> {
        let mut chain: BTreeMap<_, _> = self.ledger.roots(record.id).await?.into_iter().collect();
        // Of a repository that is not known yet the record alone tells.
        chain.extend(record.root);
        let root = self.memory.trusted_root(record).await?;
        let mut marks = BTreeMap::new();
        for (role, _) in files {
            marks.insert(role.clone(), self.ledger.watermark(record.id, role.clone()).await?);
        }
        let resets = self.ledger.resets(record.id).await?;
        let out = match (&root, how) {
            (Some(trusted), Shown::Whole { .. }) => self.root_out(record, trusted, &chain, files).await?,
            _ => None,
        };
        Ok(View {
            repositories: self,
            record,
            published: !matches!(how, Shown::Staged),
            root,
            out,
            chain,
            marks,
            resets,
            seen: Vec::new(),
            signers: Vec::new(),
            older: BTreeMap::new(),
            families: BTreeMap::new(),
            known: None,
            reachable: None,
            notes: Vec::new(),
            short: BTreeMap::new(),
        })
    }

    /// Newest verified versions of these roles, or of all: who shows what is published hears of all of it; of staged files, which
    /// come one by one, only of their roles.
    async fn verified_of(
        &self,
        record: &Record,
        only: Option<BTreeSet<RoleName>>,
    ) -> Result<BTreeMap<RoleName, Version>, Refusal> {
        let mut marks = BTreeMap::new();
        match only {
            None => marks = self.ledger.watermarks(record.id).await?,
            Some(roles) => {
                for role in roles {
                    marks.insert(role.clone(), self.ledger.watermark(record.id, role).await?);
                }
            }
        }
        let verified = marks.into_iter().filter_map(|(role, marks)| Some((role, marks.verified?.version)));
        Ok(verified.collect())
    }

    /// Keeps the trusted root again where its text was lost and it is among these files: its digest tells it.
    async fn bring_back_root(&self, record: &Record, files: &[(RoleName, Metadata)]) -> Result<(), Refusal> {
        let Some((version, digest)) = record.root else { return Ok(()) };
        let is_it = |file: &Metadata| (file.version(), file.digest()) == (version, digest);
        let found = files.iter().find(|(role, file)| role.kind() == RoleKind::Root && is_it(file));
        match found {
            Some((_, root)) if self.memory.load(digest).await?.is_none() => self.memory.keep_root(root).await,
            _ => Ok(()),
        }
    }
}

/// So many small files are looked at in one go.
const A_TURN: usize = 16;

impl View<'_> {
    /// Looks at every file, and gives the alarms of published ones that are short of their thresholds.
    async fn look_at_all(&mut self, files: Vec<(RoleName, Metadata)>) -> Result<Vec<String>, Refusal> {
        let mut alarms = Vec::new();
        for (number, (role, file)) in files.into_iter().enumerate() {
            if number % A_TURN == A_TURN - 1 {
                // Bins come by the hundred: others have their turn between them.
                tokio::task::yield_now().await;
            }
            if self.resets.iter().any(|(reset, void)| *reset == role && void.digest == file.digest()) {
                continue;
            }
            match self.look(&role, &file).await? {
                Look::Good(by) => self.take(role, file, by).await?,
                Look::Skip => {}
                // What came before a reset is signed with keys that the role has no more.
                Look::Short { .. }
                    if self.published && self.resets.iter().any(|(reset, _)| *reset == role) => {}
                Look::Short { by, report } => {
                    alarms.push(self.alarm_of_short(&role, &file, &by, &report)?);
                    self.short.insert(role, file.version());
                }
            }
        }
        Ok(alarms)
    }

    /// What people are told of a published file that is short of its threshold: signed with keys that were replaced, most
    /// likely, and no reason to stop everything.
    ///
    /// # Errors
    /// The refusal of a staged file, and of a top-level role that was never verified.
    fn alarm_of_short(
        &self,
        role: &RoleName,
        file: &Metadata,
        by: &str,
        report: &ThresholdReport,
    ) -> Result<String, Refusal> {
        let refusal = short(role, file, by, report, self.published);
        let first = self.marks.get(role).is_none_or(|watermark| watermark.verified.is_none());
        if !self.published || (first && role.is_top_level()) {
            return Err(refusal);
        }
        let mut message = refusal.message;
        if first {
            message.push_str(&format!(
                ": clients use the rest, and so does this agent; give {role} keys that sign it (tufctl delegation edit), or \
                 take it out (tufctl delegation remove)"
            ));
        }
        Ok(message)
    }

    /// What is to be noted of it.
    async fn found(self) -> Result<Found, Refusal> {
        let ancestors = self.ancestors().await?;
        Ok(Found { ancestors, seen: self.seen, signers: self.signers, short: self.short })
    }

    async fn look(&mut self, role: &RoleName, file: &Metadata) -> Result<Look, Refusal> {
        match role.kind() {
            RoleKind::Root => self.look_at_root(file).await,
            kind if role.is_top_level() => {
                let Some(root) = self.out.clone().or_else(|| self.root.clone()) else {
                    return Err(self.untrusted());
                };
                let Some(view) = root.as_root() else { return Err(self.untrusted()) };
                let by = format!("root version {}", root.version());
                check(file, &view.keys, view.role(kind), by).await
            }
            _ => self.look_at_delegated(role, file).await,
        }
    }

    /// What was verified.
    async fn take(&mut self, role: RoleName, file: Metadata, by: Vec<Sha256Digest>) -> Result<(), Refusal> {
        if role.kind() == RoleKind::Targets && (delegations(&file).is_some() || self.is_parent(&role)) {
            self.reachable = None;
            self.grow_families(&role, &file).await?;
        }
        self.seen.push((role, file));
        self.signers.push(by);
        Ok(())
    }

    /// Whether it is at least what was verified of its role before this call.
    fn stands(&self, role: &RoleName, file: &Metadata) -> bool {
        let verified = self.marks.get(role).and_then(|marks| marks.verified);
        verified.is_none_or(|mark| file.version() > mark.version || file.digest() == mark.digest)
    }

    fn untrusted(&self) -> Refusal {
        let message = format!("{} has no trusted root yet", self.record.name);
        Refusal::new(Reason::RepositoryInvalid, message)
            .remedy("show the agent root version 1 with its threshold met, or adopt the repository")
            .detail("repository", self.record.name.to_string())
    }
}

/// Signatures, on a thread that may take its time.
async fn check(
    file: &Metadata,
    keys: &BTreeMap<KeyId, Key>,
    role: &RoleKeys,
    by: String,
) -> Result<Look, Refusal> {
    let own = role.keyids.iter().filter_map(|keyid| Some((keyid.clone(), keys.get(keyid)?.clone())));
    let (file, keys, role) = (file.clone(), own.collect::<BTreeMap<_, _>>(), role.clone());
    let size = heavy::sum([&**file.bytes()].into_iter());
    // A small file may have many signatures that are slow to verify.
    let size = size.saturating_add(signature_work(&file, &keys, &role));
    let work = move || {
        let report = check_signatures(&file, &keys, &role);
        let signed_by = report.signed_by.iter().filter_map(|keyid| keys.get(keyid)?.public_key().ok());
        let signers: Vec<_> = signed_by.map(PublicKey::fingerprint).collect();
        (report, signers)
    };
    let (report, signers) = heavy::run(size, work).await?;
    Ok(if report.met() { Look::Good(signers) } else { Look::Short { by, report } })
}

fn short(role: &RoleName, file: &Metadata, by: &str, report: &ThresholdReport, published: bool) -> Refusal {
    let (have, need, version) = (report.have(), report.need, file.version());
    let message = format!("{role} version {version} has {have} of the {need} signatures that {by} asks for");
    let spec = match role.kind() {
        RoleKind::Root => "5.3.4",
        RoleKind::Timestamp => "5.4.2",
        RoleKind::Snapshot => "5.5.3",
        RoleKind::Targets => "5.6.3",
    };
    let (reason, remedy) = if published {
        (Reason::Verification, "do not build on this copy: get one that verifies (tufctl verify)")
    } else {
        (Reason::ThresholdMissing, "collect the missing signatures first")
    };
    let missing: Vec<&str> = report.missing.iter().chain(&report.invalid).map(KeyId::as_str).collect();
    Refusal::new(reason, message)
        .remedy(remedy)
        .detail("role", role.to_string())
        .detail("version", version.get())
        .detail("spec", spec)
        .detail("missing", json!(missing))
}
