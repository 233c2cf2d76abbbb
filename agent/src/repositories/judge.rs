//! From metadata to facts for the rules, and from a confirmed request to a recorded intent.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Given, Intent, IntentId, IntentKey, Mark, Record};
use policy::{KeyFact, NameFact, Reason, RoleSort, SigningFacts, ThresholdStep};
use serde_json::Value;
use tuf::diff::{Difference, difference, new_targets};
use tuf::digest::Sha256Digest;
use tuf::key::PublicKey;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::target::TargetPath;
use tuf::time::UtcTime;
use tuf::word;

use super::{Authority, Repositories, days_of, odd_keys};
use crate::heavy;
use crate::refusal::Refusal;

/// The base of a difference.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The metadata.
    pub metadata: Metadata,
    /// It met its threshold in front of the agent; otherwise it is what the agent signed last.
    pub verified: bool,
}

/// What metadata changes.
#[derive(Debug)]
pub struct Changes {
    /// Against the newest that the agent knows.
    pub difference: Difference,
    /// There is something that it was compared with.
    compared: bool,
    /// The version that was verified, and whose text is not kept any more.
    lost: Option<Version>,
    /// Names of new targets that nobody should give to one.
    bad_names: Vec<NameFact>,
    /// Keys that are not what their keyids say.
    odd_keys: Vec<String>,
}

/// What the caller asked for beside the metadata, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// A person said that keys may serve this chain as well as another one.
    pub shared_key: bool,
    /// A person said that this root takes the place of the one with this digest.
    pub supersedes: Option<Sha256Digest>,
    /// Wall time.
    pub now: UtcTime,
}

/// A confirmed request.
#[derive(Debug)]
pub struct Signing<'a> {
    /// The repository.
    pub record: &'a Record,
    /// The role.
    pub role: &'a RoleName,
    /// What is signed.
    pub subject: &'a Metadata,
    /// Who may sign it.
    pub authority: &'a Authority,
    /// The keys that sign: name and public key.
    pub keys: Vec<(String, PublicKey)>,
    /// A person said that keys may serve this chain as well as another one.
    pub shared_key: bool,
    /// A person said that this root takes the place of the one with this digest.
    pub supersedes: Option<Sha256Digest>,
    /// Who asked, for the journal.
    pub caller: Value,
}

/// A root in whose place another one shall stand, as a person has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superseded {
    /// What its `signed` is known by.
    pub digest: Sha256Digest,
    /// No signature came of it.
    pub unmade: bool,
}

/// What a judgement rests on; when it moves, the judgement is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    root: Option<(Version, Sha256Digest)>,
    verified: Option<(Version, Sha256Digest)>,
    /// What was signed last, where nothing was verified yet.
    signed: Option<(Version, Sha256Digest)>,
}

impl Repositories {
    /// What is trusted and verified now, as far as a judgement of this role rests on it.
    ///
    /// # Errors
    /// `REPOSITORY_UNKNOWN`; `STATE_IO`.
    pub async fn standing(&self, record: &Record, role: &RoleName) -> Result<Standing, Refusal> {
        let root = self.by_name(record.name.as_str()).await?.root;
        let watermark = self.ledger.watermark(record.id, role.clone()).await?;
        let of = |mark: Mark| (mark.version, mark.digest);
        let signed = watermark.signed.filter(|_| watermark.verified.is_none());
        Ok(Standing { root, verified: watermark.verified.map(of), signed: signed.map(of) })
    }

    /// Whether a judgement of this subject, which rested on `standing` and on who may sign by `authority`, would be the same
    /// now: nothing newer of its role, of root or of those who delegate to it is known, and what it lists is the newest still.
    ///
    /// # Errors
    /// What keeps a snapshot or timestamp from listing what it lists; `STATE_IO`.
    pub async fn still_stands(
        &self,
        record: &Record,
        (role, subject): (&RoleName, &Metadata),
        standing: &Standing,
        authority: &Authority,
    ) -> Result<bool, Refusal> {
        let now = self.standing(record, role).await?;
        // Of what has this version already, or a later one, the ledger says so by itself.
        let below = now.signed.is_some_and(|(version, _)| version < subject.version());
        if (now.root, now.verified) != (standing.root, standing.verified)
            || (below && now.signed != standing.signed)
        {
            return Ok(false);
        }
        for (parent, version, digest) in &authority.parents {
            let known = self.ledger.watermark(record.id, parent.clone()).await?.newest();
            let has_moved = known.is_some_and(|mark| mark.version >= *version && mark.digest != *digest);
            // What nobody who counts has signed was there before, and was passed over.
            if has_moved && !self.is_passed_over(record, parent).await? {
                return Ok(false);
            }
        }
        self.check_listing(record, role, subject).await?;
        Ok(true)
    }

    /// Whether exactly this stands under its mark of what was signed, or was to be: not another content of the same version.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn has_marked(
        &self,
        record: &Record,
        role: &RoleName,
        version: Version,
        digest: Sha256Digest,
    ) -> Result<bool, Refusal> {
        let signed = self.ledger.watermark(record.id, role.clone()).await?.signed;
        Ok(signed.is_some_and(|mark| (mark.version, mark.digest) == (version, digest)))
    }

    /// In whose place this root shall stand, if that is another than itself; the ledger judges whether it may.
    ///
    /// # Errors
    /// `WATERMARK` when this agent has signed no root of that version; `STATE_IO`.
    pub async fn superseded(
        &self,
        record: &Record,
        subject: &Metadata,
        digest: Sha256Digest,
    ) -> Result<Option<Superseded>, Refusal> {
        let (role, version) = (RoleKind::Root.role(), subject.version());
        let signed = self.ledger.watermark(record.id, role.clone()).await?.signed;
        match signed.filter(|mark| mark.version == version) {
            // It stands in that place already.
            Some(mark) if mark.digest == subject.digest() => Ok(None),
            Some(mark) => {
                let unmade = self.ledger.came_to_nothing(record.id, role, mark).await?;
                Ok(Some(Superseded { digest, unmade: unmade && mark.digest == digest }))
            }
            None => {
                let message = format!("this agent has signed no root version {version} of {}", record.name);
                Err(Refusal::new(Reason::Watermark, message)
                    .remedy("there is nothing to supersede here: leave --supersede out")
                    .detail("role", role.to_string())
                    .detail("version", version.get()))
            }
        }
    }

    /// What `subject` is compared with: the newest that the agent verified; before there is one, what it signed last
    /// under a lower version. Never something that the caller sent.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub async fn newest(
        &self,
        record: &Record,
        role: &RoleName,
        subject: &Metadata,
    ) -> Result<Option<Newest>, Refusal> {
        let watermark = self.ledger.watermark(record.id, role.clone()).await?;
        let verified = watermark.verified.is_some();
        let signed = watermark.signed.filter(|mark| mark.version < subject.version());
        let found = self.memory.of_mark(watermark.verified.or(signed)).await?;
        Ok(found.map(|metadata| Newest { metadata, verified }))
    }

    /// What `subject` changes; looked for once, as that takes a while with large metadata.
    ///
    /// # Errors
    /// `METADATA_INVALID` for what no change may bring; `STATE_IO`.
    pub async fn changes(
        &self,
        record: &Record,
        role: &RoleName,
        subject: &Metadata,
    ) -> Result<Changes, Refusal> {
        let base = self.newest(record, role, subject).await?.map(|newest| newest.metadata);
        let lost = match &base {
            Some(_) => None,
            None => self.ledger.watermark(record.id, role.clone()).await?.verified.map(|mark| mark.version),
        };
        let (role, subject) = (role.clone(), subject.clone());
        let size = heavy::sum(base.iter().chain([&subject]).map(|file| &**file.bytes()));
        let work = move || {
            new_large_integer(&role, base.as_ref(), &subject)?;
            Ok(Changes {
                difference: difference(&role, base.as_ref(), &subject),
                compared: base.is_some(),
                lost,
                odd_keys: odd_keys::look(base.as_ref(), &subject),
                bad_names: bad_names(base.as_ref(), &subject),
            })
        };
        heavy::run(size, work).await?
    }

    /// The facts that the rules judge, but for [`Changes`]; what no rule needs to judge (watermark, what a snapshot lists) is refused here,
    /// before anybody is asked.
    ///
    /// # Errors
    /// `WATERMARK`, `SHARED_KEY`, `SNAPSHOT_INVALID`; `STATE_IO`.
    pub async fn facts(
        &self,
        record: &Record,
        role: &RoleName,
        subject: &Metadata,
        authority: &Authority,
        keys: &[(String, PublicKey)],
        asked: &Asked,
    ) -> Result<SigningFacts, Refusal> {
        let watermark = self.ledger.watermark(record.id, role.clone()).await?;
        let verified = watermark.verified;
        let newest = match verified {
            // After a reset the count goes on from what this agent had signed.
            None if self.was_reset(record, role).await? => watermark.signed,
            verified => verified,
        };
        let facts = SigningFacts {
            repository: record.name.to_string(),
            role: role.to_string(),
            role_word: word::last(role.as_str()),
            sort: if role.kind() == RoleKind::Root { RoleSort::Root } else { RoleSort::Other },
            version: subject.version().get(),
            newest_verified: newest.map(|mark| mark.version.get()),
            newest_published: self.published(record, role, newest).await?.map(Version::get),
            same_as_verified: verified.is_some_and(|mark| mark.digest == subject.digest()),
            spec_version: subject.spec_version().to_owned(),
            expires: subject.expires().unix(),
            now: asked.now.unix(),
            recorded_days: days_of(record, role),
            shorter_beside: self.shorter_beside(record, (role, subject), keys, asked).await?,
            keys: keys
                .iter()
                .map(|(name, public)| KeyFact { name: name.clone(), of_role: authority.lists(public) })
                .collect(),
            thresholds: Vec::new(),
            keys_removed: Vec::new(),
            names: Vec::new(),
            odd_keys: Vec::new(),
            lost_base: None,
        };
        if facts.keys.is_empty() || facts.keys.iter().any(|key| !key.of_role) {
            // The rules refuse it for its keys; the watermark of a stranger's key is nobody's business.
            return Ok(facts);
        }
        self.check_listing(record, role, subject).await?;
        let caller = Value::Null;
        let signing = Signing {
            record,
            role,
            subject,
            authority,
            keys: keys.to_vec(),
            shared_key: asked.shared_key,
            supersedes: asked.supersedes,
            caller,
        };
        // What gives the keys to the role is judged when it is signed: its parent may be signed before.
        let intent = self.intent(&signing, vec![Given::founded(); keys.len()]).await?;
        self.ledger.check_intent(intent).await.map_err(|error| of_repository(record, error))?;
        Ok(facts)
    }

    /// The version from which a jump is counted: the newest that was found published. Of a repository of which that was never
    /// told apart (its ledger is older), and of root, it is the newest that was verified.
    async fn published(
        &self,
        record: &Record,
        role: &RoleName,
        newest: Option<Mark>,
    ) -> Result<Option<Version>, Refusal> {
        let newest = newest.map(|mark| mark.version);
        let (published, is_told_apart) = self.ledger.published_of(record.id, role).await?;
        if !is_told_apart || role.kind() == RoleKind::Root {
            return Ok(newest);
        }
        Ok(published.min(newest))
    }

    /// Records, durably, that this is about to be signed; the ledger judges the watermark in the same transaction. Who gives
    /// the keys to the role is judged here and no earlier: its parent may have been signed since this was inspected.
    ///
    /// # Errors
    /// `POLICY`, `WATERMARK`, `SHARED_KEY`, `SNAPSHOT_INVALID`; `STATE_IO`: then nothing may be signed.
    pub async fn record_intent(&self, signing: Signing<'_>) -> Result<IntentId, Refusal> {
        let record = signing.record;
        let given = self.given(record, signing.role, signing.authority, &signing.keys).await?;
        let intent = self.intent(&signing, given).await?;
        self.memory.keep_signed((record.id, signing.role.clone()), signing.subject).await?;
        self.ledger.record_intent(intent).await.map_err(|error| of_repository(record, error))
    }

    async fn intent(&self, signing: &Signing<'_>, given: Vec<Given>) -> Result<Intent, Refusal> {
        let (record, role, subject) = (signing.record, signing.role, signing.subject);
        let known = self.ledger.watermark(record.id, role.clone()).await?.newest();
        let in_turn = known.map_or(Some(Version::FIRST), |mark| mark.version.next());
        // Other roles have a say only in a version that skips ahead: see the ledger.
        let skips = in_turn.is_none_or(|next| subject.version() > next);
        let also_roles = if skips && role.kind() == RoleKind::Targets {
            self.other_targets_roles(record, role, &signing.keys).await?
        } else {
            Vec::new()
        };
        let key = |((name, public), given): (&(String, PublicKey), Given)| IntentKey {
            name: name.clone(),
            fingerprint: public.fingerprint(),
            given,
        };
        Ok(Intent {
            repository: record.id,
            role: role.clone(),
            also_roles,
            version: subject.version(),
            digest: subject.digest(),
            keys: signing.keys.iter().zip(given).map(key).collect(),
            lists: lists(subject),
            shared_key: signing.shared_key,
            supersedes: signing.supersedes,
            caller: signing.caller.clone(),
        })
    }
}

impl Changes {
    /// Adds what the metadata takes away from what was verified, and what its new targets are called.
    pub fn tell(&self, facts: &mut SigningFacts) {
        facts.names.clone_from(&self.bad_names);
        facts.odd_keys.clone_from(&self.odd_keys);
        facts.lost_base = self.lost.map(Version::get);
        if !self.compared {
            return;
        }
        let steps = self.difference.thresholds.iter().filter_map(|step| {
            let from = step.from?;
            Some(ThresholdStep { role: step.role.clone(), from, to: step.to })
        });
        facts.thresholds = steps.collect();
        let removed = self.difference.keys_removed.iter();
        facts.keys_removed = removed.map(|key| (key.role.clone(), key.keyid.clone())).collect();
    }
}

/// Integers beyond 2^53 - 1 that others have written are signed again as they stand; nobody puts in a new one.
fn new_large_integer(role: &RoleName, base: Option<&Metadata>, subject: &Metadata) -> Result<(), Refusal> {
    let known: BTreeSet<&str> = base.into_iter().flat_map(Metadata::large_integers).collect();
    let Some(new) = subject.large_integers().find(|number| !known.contains(number)) else { return Ok(()) };
    let shown: String = new.chars().take(40).collect();
    let message = format!(
        "{role} version {} holds the new integer {shown}, which JavaScript clients read as another number",
        subject.version()
    );
    Err(Refusal::new(Reason::MetadataInvalid, message)
        .remedy("write it as a text; integers go to 2^53 - 1")
        .detail("role", role.to_string()))
}

/// Names of new or changed targets that nobody should give to a target (specification 4.5).
fn bad_names(base: Option<&Metadata>, subject: &Metadata) -> Vec<NameFact> {
    let named = new_targets(base, subject);
    let faults = named.iter().filter_map(|(name, _)| TargetPath::new_for_writing(name).err());
    faults.map(|error| NameFact { is_unsafe: error.fault.is_unsafe(), fault: error.to_string() }).collect()
}

/// What a snapshot or timestamp lists; nothing for other roles.
pub(super) fn lists(metadata: &Metadata) -> BTreeMap<RoleName, Version> {
    if let Some(snapshot) = metadata.as_snapshot() {
        return snapshot.meta.iter().map(|(role, file)| (role.clone(), file.version)).collect();
    }
    let timestamp = metadata.as_timestamp();
    timestamp.map(|file| (RoleKind::Snapshot.role(), file.snapshot.version)).into_iter().collect()
}

pub(super) fn of_repository(record: &Record, error: ledger::LedgerError) -> Refusal {
    let mut refusal = Refusal::from(error).detail("repository", record.name.to_string());
    refusal.message = format!("{}: {}", record.name, refusal.message);
    refusal
}
