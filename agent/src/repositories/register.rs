//! New records: from `repo init`, and from `repo adopt` with a trusted root.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{AdoptedRoot, LedgerError, Looked, NewRepository, Record};
use policy::Reason;
use serde_json::Value;
use tuf::digest::Sha256Digest;
use tuf::metadata::{Limits, Metadata};
use tuf::role::{RoleKind, RoleName};
use tuf::verify::check_signatures;

use super::Repositories;
use crate::clock;
use crate::heavy;
use crate::limits::SMALL_WORK;
use crate::refusal::Refusal;

/// What is asked for.
#[derive(Debug)]
pub struct Registration {
    /// The name.
    pub name: String,
    /// Lengths in days; the defaults for roles that are not listed.
    pub expiry_days: BTreeMap<RoleName, u32>,
    /// The trusted root of an existing repository, as it was published; none for a new one.
    pub root: Option<Vec<u8>>,
    /// Digests of all roots that its copy has.
    pub roots: Vec<Sha256Digest>,
    /// A person said that keys may serve this chain as well as another one.
    pub shared_key: bool,
    /// The keys that this agent holds (fingerprints).
    pub held: BTreeSet<Sha256Digest>,
    /// Who asks.
    pub caller: Value,
}

/// What became of it.
#[derive(Debug)]
pub struct Registered {
    /// The record; none for a repository that is looked at and not known.
    pub record: Option<Record>,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
    /// Alarms of the repository that stand.
    pub alarms: Vec<String>,
}

/// A repository that is adopted, and as what.
pub(super) struct Adoption {
    /// What is asked for.
    pub(super) new: NewRepository,
    /// What the ledger makes of it.
    pub(super) looked: Looked,
}

impl Repositories {
    /// Makes a record for a new repository. With a root, which is of one that is published, nothing is made: what
    /// [`Self::adopt`] would meet is told.
    ///
    /// # Errors
    /// `NAME_INVALID`, `NAME_TAKEN`, `REPOSITORY_KNOWN`, `SHARED_KEY`; `METADATA_INVALID` or `VERIFICATION` for the root;
    /// `STATE_IO`.
    pub async fn register(&self, asked: Registration) -> Result<Registered, Refusal> {
        let held = asked.held.clone();
        let Read { new, root, mut warnings } = read(asked).await?;
        let Some(root) = root else {
            let record = Some(self.ledger.register_repository(new).await?);
            return Ok(Registered { record, warnings, alarms: Vec::new() });
        };
        let looked = self.look(&new, &root).await?;
        if new.shared_key {
            warnings.extend(self.shared_keys(&new).await?);
        }
        warnings.extend(self.without_memory(&new, &held).await?);
        let record = Some(looked.record).filter(|_| looked.known);
        let alarms = match &record {
            Some(record) => self.alarms_of(record).await?.into_iter().map(|alarm| alarm.message).collect(),
            None => Vec::new(),
        };
        Ok(Registered { record, warnings, alarms })
    }

    /// As what a repository would be adopted; its trusted root is kept.
    pub(super) async fn adoption(&self, asked: Registration) -> Result<Adoption, Refusal> {
        let Read { new, root, .. } = read(asked).await?;
        let root = root.ok_or_else(|| {
            Refusal::new(Reason::Usage, "a repository is adopted with its trusted root, and none came")
                .remedy("use tufctl, or read agent.proto")
        })?;
        let looked = self.look(&new, &root).await?;
        // Before the record: what is trusted must be there.
        self.memory.keep_root(&root).await?;
        Ok(Adoption { new, looked })
    }

    async fn look(&self, new: &NewRepository, root: &Metadata) -> Result<Looked, Refusal> {
        let looked = self.ledger.look_at_adoption(new.clone()).await;
        Ok(looked.map_err(|error| by_keyid(error, Some(root)))?)
    }

    async fn shared_keys(&self, new: &NewRepository) -> Result<Vec<String>, Refusal> {
        let id = self.ledger.find_by_name(&new.name).await?.map(|record| record.id);
        let keys: Vec<Sha256Digest> =
            new.root.iter().flat_map(|root| &root.keys).map(|(key, _)| *key).collect();
        let shared = self.ledger.keys_elsewhere(id, keys).await?;
        let mut names: Vec<_> = shared.into_iter().map(|(_, name)| name).collect();
        names.sort();
        names.dedup();
        Ok(names.into_iter().map(|name| format!("keys of this root also sign for {name}")).collect())
    }

    /// A chain that is new here and has keys of this agent: what they signed before nobody here knows.
    async fn without_memory(
        &self,
        new: &NewRepository,
        held: &BTreeSet<Sha256Digest>,
    ) -> Result<Option<String>, Refusal> {
        let ours = new.root.iter().flat_map(|root| &root.keys).any(|(key, _)| held.contains(key));
        if !ours || self.ledger.find_by_name(&new.name).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(format!(
            "this agent has no record of what its keys signed for {} before: unless this copy is the newest that was published, a version may be signed twice",
            new.name
        )))
    }
}

/// A registration whose root was read.
struct Read {
    new: NewRepository,
    root: Option<Metadata>,
    warnings: Vec<String>,
}

async fn read(asked: Registration) -> Result<Read, Refusal> {
    let name = asked.name.parse().map_err(|why| {
        let shown: String = asked.name.chars().take(80).collect();
        Refusal::new(Reason::NameInvalid, format!("{shown:?} is no name for a repository: {why}"))
            .remedy("choose a name such as app")
    })?;
    let (root, keys, warnings) = match asked.root {
        None => (None, None, Vec::new()),
        Some(bytes) => {
            // A root may hold thousands of keys and signatures, which may take seconds: not on a thread that serves others.
            let size = heavy::sum([bytes.as_slice()].into_iter()).max(SMALL_WORK + 1);
            let work = move || {
                let (root, warnings) = trusted(&bytes, &asked.roots)?;
                Ok::<_, Refusal>((adopted(&root, asked.roots), root, warnings))
            };
            let (keys, root, warnings) = heavy::run(size, work).await??;
            (Some(root), Some(keys), warnings)
        }
    };
    let new = NewRepository {
        name,
        expiry_days: asked.expiry_days,
        tough_names: true,
        root: keys,
        shared_key: asked.shared_key,
        caller: asked.caller,
    };
    Ok(Read { new, root, warnings })
}

/// A root that its own keys have signed; it may have expired (specification 5.2).
fn trusted(bytes: &[u8], roots: &[Sha256Digest]) -> Result<(Metadata, Vec<String>), Refusal> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Refusal::new(Reason::MetadataInvalid, format!("the root cannot be read: {why}"))
            .remedy("give the root metadata that you trust, as it was published")
            .detail("role", "root")
    };
    let file = Metadata::parse(bytes, &Limits::agent()).map_err(|why| unreadable(&why))?;
    let Some(root) = file.as_root() else {
        return Err(unreadable(&format!("it is metadata of the type {}", file.kind())));
    };
    let report = check_signatures(&file, &root.keys, &root.root);
    if !report.met() {
        let message = format!(
            "root version {} has {} of the {} signatures that it asks for itself",
            file.version(),
            report.have(),
            report.need
        );
        return Err(Refusal::new(Reason::Verification, message)
            .remedy("give the root metadata that you trust, as it was published")
            .detail("role", "root")
            .detail("spec", "5.2"));
    }
    let mut warnings: Vec<String> = root
        .wrong_keyids()
        .into_iter()
        .map(|(keyid, _)| {
            format!("the keyid {keyid} is not the hash of its key: strict clients refuse this root")
        })
        .collect();
    // Where newer roots are there, it is the newest that has to be valid (specification 5.3.10).
    let newest = roots.last().is_none_or(|newest| *newest == file.digest());
    if newest && file.expires() <= clock::now() {
        warnings.push(format!("root version {} expired on {}", file.version(), file.expires()));
    }
    Ok((file, warnings))
}

/// Names a shared key as the root names it.
fn by_keyid(error: LedgerError, root: Option<&Metadata>) -> LedgerError {
    let LedgerError::SharedKey { key, other } = error else { return error };
    let keys = root.and_then(Metadata::as_root).map(|root| &root.keys);
    let named = keys
        .into_iter()
        .flatten()
        .find(|(_, entry)| entry.public_key().is_ok_and(|public| public.fingerprint().to_string() == key));
    let key = named.map_or(key, |(keyid, _)| keyid.to_string());
    LedgerError::SharedKey { key, other }
}

fn adopted(file: &Metadata, others: Vec<Sha256Digest>) -> AdoptedRoot {
    let mut keys = Vec::new();
    if let Some(root) = file.as_root() {
        for kind in RoleKind::ALL {
            let own =
                root.role(kind).keyids.iter().filter_map(|keyid| root.keys.get(keyid)?.public_key().ok());
            keys.extend(own.map(|public| (public.fingerprint(), kind.role())));
        }
    }
    AdoptedRoot { version: file.version(), digest: file.digest(), keys, others }
}
