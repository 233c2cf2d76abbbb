//! Step two: what it is, whose it is, who may sign it, and whether the rules let it.

use std::sync::Arc;

use policy::{Concern, Decision, Reason, SigningRules};
use tuf::diff::Difference;
use tuf::digest::Sha256Digest;
use tuf::metadata::{Limits, Metadata};
use tuf::preimage::Preimage;
use tuf::role::{RoleKind, RoleName};
use tuf::word;
use tufagent_proto::v1::{SignBegin, SignInspected, SignSkipped};

use super::asked;
use super::elsewhere;
use super::length;
use super::origin;
use super::proven;
use super::received::Received;
use super::signers::{Chosen, Signer, choose, skipped_event};
use crate::clock;
use crate::heavy;
use crate::intake::ReceivedFile;
use crate::refusal::Refusal;
use crate::repositories::{
    self, Asked, Authority, Record, Standing, Superseded, unknown_past, unknown_past_of_token,
};
use crate::state::AppState;

/// Metadata that was understood, and that the rules let these keys sign.
pub(super) struct Inspected {
    pub(super) record: Arc<Record>,
    pub(super) role: RoleName,
    pub(super) subject: Metadata,
    /// What will be signed: held so that it is not made again, as long as nobody waits for a person.
    pub(super) preimage: Option<Preimage>,
    pub(super) authority: Authority,
    pub(super) signers: Vec<Signer>,
    pub(super) shared_key: bool,
    pub(super) supersedes: Option<Sha256Digest>,
    pub(super) standing: Standing,
    /// Exactly this was signed before, or was to be.
    again: bool,
    skipped: Vec<SignSkipped>,
    difference: Difference,
    /// What is unusual and needs a person's word, one sentence each.
    pub(super) concerns: Vec<String>,
    /// What no `--yes` answers, one sentence each.
    pub(super) person: Vec<(Reason, String)>,
    /// All that is unusual, what needs a person's word too.
    pub(super) warnings: Vec<String>,
    /// The client can ask a person for a PIN.
    pub(super) client_asks: bool,
    /// A key takes the PIN for each signature, and it will be asked for.
    asks: bool,
}

/// Parses and judges.
pub(super) async fn inspect(agent: &AppState, received: Received) -> Result<Inspected, Refusal> {
    let Received { begin, subject, authorities, .. } = received;
    let (preimage, subject, authorities) = parse(begin.signed_only, subject, authorities).await?;
    let (record, role) = whose(agent, &begin).await?;
    if role.kind() != subject.kind() {
        return Err(metadata(&role, "the metadata is of another type than the role"));
    }
    let repositories = agent.repositories();
    let files = authorities.iter().map(|(_, file)| file).chain([&subject]);
    repositories.check_is_no_other(&record, files).await?;
    // Read first, so that whatever moves from here on is noticed before the intent.
    let standing = repositories.standing(&record, &role).await?;
    let again = repositories.has_marked(&record, &role, subject.version(), subject.digest()).await?;
    let authority = repositories.authority(&record, &role, &subject, &authorities).await?;
    let Chosen { mut signers, skipped, locked } = choose(agent, &begin, &authority.keys).await?;
    let supersedes = superseded(&begin, &role)?;
    let instead = match supersedes {
        Some(digest) => repositories.superseded(&record, &subject, digest).await?,
        None => None,
    };
    let supersedes = instead.map(|other| other.digest);
    let asked = Asked { shared_key: begin.shared_key, supersedes, now: clock::now() };
    let keys: Vec<_> =
        signers.iter().map(|signer| (signer.key.name.clone(), signer.key.stored.public.clone())).collect();
    let mut facts = repositories.facts(&record, &role, &subject, &authority, &keys, &asked).await?;
    let changes = repositories.changes(&record, &role, &subject).await?;
    changes.tell(&mut facts);
    let decision = policy::judge(&SigningRules::default(), &facts);
    if let Decision::Refuse(refusal) = decision {
        return Err(refusal.into());
    }
    let made = origin::check(agent, &record, &role, &subject, &signers).await;
    if let Some(locked) = locked {
        // Nor is a PIN typed for a key that the role does not take, as far as that is known without one.
        return Err(made.err().filter(|refusal| refusal.reason == Reason::Origin).unwrap_or(locked));
    }
    made?;
    proven::check(agent, &record, &role, &subject).await?;
    let asks = asked::look(&mut signers).await;
    let said = |concerns: &mut dyn Iterator<Item = &Concern>| {
        concerns.map(|concern| concern.message.clone()).collect::<Vec<_>>()
    };
    let mut concerns = said(&mut decision.concerns().iter());
    concerns.extend(pasts(agent, &record, &signers, begin.shared_key).await?);
    let elsewhere = elsewhere::look(agent, &record, (&role, &subject), &signers, begin.shared_key).await?;
    concerns.extend(elsewhere.concerns);
    concerns.extend(length::first(agent, &record, &role).await?);
    let needed = decision.concerns().iter().filter(|concern| concern.needs_person());
    let mut person: Vec<_> = needed.map(|concern| (concern.reason, concern.message.clone())).collect();
    let mut warnings = authority.warnings.clone();
    warnings.extend(concerns.iter().cloned());
    let ready = repositories.laid_by(&record, &subject).await?;
    let persons = elsewhere.person.into_iter().chain(ready);
    person.extend(persons.map(|said| (Reason::ConfirmationMissing, said)));
    // All that only a person agrees to is shown; what the rules say of it stands among the concerns.
    let said = person.iter().map(|(_, said)| said).filter(|said| !concerns.contains(said));
    warnings.extend(said.cloned());
    let instead = instead.map(|other| takes_the_place(&subject, &role, other));
    warnings.extend(instead.clone());
    person.extend(instead.map(|said| (Reason::ConfirmationMissing, said)));
    Ok(Inspected {
        preimage: Some(preimage),
        difference: changes.difference,
        skipped: skipped.iter().map(|(signer, refusal)| skipped_event(signer, refusal)).collect(),
        shared_key: begin.shared_key,
        supersedes,
        standing,
        again,
        record,
        role,
        subject,
        authority,
        signers,
        concerns,
        person,
        warnings,
        client_asks: begin.asks,
        asks,
    })
}

impl Inspected {
    /// SHA-256 of the canonical `signed`.
    pub(super) fn digest(&self) -> Sha256Digest {
        self.subject.digest()
    }

    /// Keys of the role that are ours and will not sign.
    pub(super) fn skipped(&self) -> &[SignSkipped] {
        &self.skipped
    }

    /// What it changes.
    ///
    /// # Errors
    /// `INTERNAL`: nobody says yes to what was not shown.
    pub(super) fn difference_json(&self) -> Result<String, Refusal> {
        serde_json::to_string(&self.difference).map_err(Refusal::internal)
    }

    /// What the client is shown.
    pub(super) fn describe(&self) -> Result<SignInspected, Refusal> {
        Ok(SignInspected {
            repository: self.record.name.to_string(),
            role: self.role.to_string(),
            version: self.subject.version().get(),
            sha256: self.digest().to_string(),
            difference_json: self.difference_json()?,
            keys: self.signers.iter().map(|signer| signer.key.describe()).collect(),
            warnings: self.warnings.clone(),
            person: self.person.iter().map(|(_, said)| said.clone()).collect(),
            person_reason: self.person.first().map(|(reason, _)| reason.to_string()).unwrap_or_default(),
            asks: self.asks,
            again: self.again,
        })
    }
}

/// Keys whose past is not known: of the file store they are refused unless a person shares them, since what they signed
/// before was on record in a state that is lost; on tokens they may have been long before the agent, which is said.
async fn pasts(
    agent: &AppState,
    record: &Record,
    signers: &[Signer],
    shared: bool,
) -> Result<Vec<String>, Refusal> {
    let mut said = Vec::new();
    for Signer { key, .. } in signers {
        if agent.repositories().knows_past(record, &key.stored.public).await? {
            continue;
        }
        let stored = key.slot.file_store().is_some();
        if stored && !shared {
            return Err(unknown_past(&key.name, record));
        }
        if !stored {
            said.push(unknown_past_of_token(&key.name, key.slot.name()));
        }
    }
    said.dedup();
    Ok(said)
}

/// What a person is told of content in whose place `subject` shall stand: by what came of it.
fn takes_the_place(subject: &Metadata, role: &RoleName, of: Superseded) -> String {
    let Superseded { digest, unmade } = of;
    let what = match unmade {
        true => format!(
            "was to be signed and no signature of it was made here (sha256 {digest}): where others have signed it, enough of their \
             signatures can still publish it"
        ),
        false => format!(
            "was signed (sha256 {digest}): whoever holds enough signatures over that content can still publish it"
        ),
    };
    format!("{role} version {} takes the place of other content that {what}", subject.version())
}

/// The digest in whose place a root shall stand; other roles take the next version instead.
fn superseded(begin: &SignBegin, role: &RoleName) -> Result<Option<Sha256Digest>, Refusal> {
    if begin.supersede.is_empty() {
        return Ok(None);
    }
    if role.kind() != RoleKind::Root {
        return Err(Refusal::new(Reason::Usage, "only a root can stand in the place of one that was signed")
            .remedy(format!("take the next version: tufctl bump DIR {}", word::last(role.as_str())))
            .detail("role", role.to_string()));
    }
    let digest = begin.supersede.parse().map_err(|_| {
        Refusal::new(Reason::Usage, "what is superseded is named by the SHA-256 of its signed part")
            .remedy("copy the 64 digits from the refusal that named it")
    })?;
    Ok(Some(digest))
}

type Named = Vec<(RoleName, Metadata)>;

/// On a thread that may take its time: targets metadata has many megabytes.
async fn parse(
    signed_only: bool,
    subject: ReceivedFile,
    authorities: Vec<ReceivedFile>,
) -> Result<(Preimage, Metadata, Named), Refusal> {
    let size = heavy::sum(authorities.iter().chain([&subject]).map(|file| file.bytes.as_slice()));
    let work = move || {
        let limits = Limits::agent();
        let name = subject.role;
        let parsed = if signed_only {
            Metadata::parse_signed_part(subject.bytes, &limits)
        } else {
            repositories::parse(subject.bytes, subject.near.as_ref())
        };
        let parsed = parsed.map_err(|error| unreadable(&name, &error))?;
        // Canonicalised and hashed here, not on a thread that serves others; the digest is kept.
        let preimage = parsed.preimage();
        let read = |file: ReceivedFile| {
            let role = role_name(&file.role)?;
            let read =
                Metadata::parse(file.bytes, &limits).map_err(|error| unreadable(&file.role, &error))?;
            Ok((role, read))
        };
        Ok((preimage, parsed, authorities.into_iter().map(read).collect::<Result<Named, Refusal>>()?))
    };
    heavy::run(size, work).await?
}

/// Which repository and role: named, or the only one that the key has.
async fn whose(agent: &AppState, begin: &SignBegin) -> Result<(Arc<Record>, RoleName), Refusal> {
    if begin.signed_only {
        return only_role(agent, begin).await;
    }
    if begin.repository.is_empty() || begin.role.is_empty() {
        return Err(Refusal::new(Reason::Usage, "repository and role must be named")
            .remedy("leave them out only for the signed part of a key with one role"));
    }
    let record = agent.repositories().by_name(&begin.repository).await?;
    Ok((record, role_name(&begin.role)?))
}

/// The signed part alone says nothing of its repository: the key must have one role, and that is it.
async fn only_role(agent: &AppState, begin: &SignBegin) -> Result<(Arc<Record>, RoleName), Refusal> {
    let [name] = begin.keys.as_slice() else {
        return Err(Refusal::new(Reason::Usage, "the signed part alone is signed by one named key")
            .remedy("name one key, or send the whole metadata file"));
    };
    let key = agent.tokens().key(name).await?;
    let mut roles = agent.repositories().roles_of_key(&key.stored.public).await?;
    let count = roles.len();
    let fits = |given: &str, own: &str| given.is_empty() || given == own;
    match (roles.pop(), count) {
        (Some(only), 1)
            if fits(&begin.role, only.role.as_str())
                && fits(&begin.repository, only.repository.name.as_str()) =>
        {
            Ok((only.repository, only.role))
        }
        (Some(_), 1) | (None, _) => {
            Err(Refusal::new(Reason::KeyNotOfRole, format!("the key {name} is no key of that role"))
                .remedy("see who may sign with: tufctl repo show DIR")
                .detail("key", name.as_str()))
        }
        (Some(_), _) => {
            let message =
                format!("the key {name} has {count} roles, so the signed part alone does not say which");
            Err(Refusal::new(Reason::Policy, message)
                .remedy("sign the whole file with tufctl sign, or give the role a key of its own")
                .detail("key", name.as_str()))
        }
    }
}

fn role_name(text: &str) -> Result<RoleName, Refusal> {
    text.parse().map_err(|error| {
        Refusal::new(Reason::NameInvalid, format!("{text:?} is no role's name: {error}"))
            .remedy("name a role of the repository")
    })
}

fn unreadable(role: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Reason::MetadataInvalid, format!("the metadata of {role:?} cannot be read: {error}"))
        .remedy("make it anew with tufctl")
        .detail("role", role)
}

fn metadata(role: &RoleName, why: &str) -> Refusal {
    Refusal::new(Reason::MetadataInvalid, format!("{role}: {why}"))
        .remedy("check which file belongs to which role")
        .detail("role", role.to_string())
}
