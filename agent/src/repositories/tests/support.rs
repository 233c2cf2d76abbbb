//! Metadata with real signatures, and a ledger in a folder of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use ledger::{IntentId, Ledger, Outcome, Record};
use serde_json::Value;
use tempfile::TempDir;
use tuf::digest::Sha256Digest;
use tuf::edit::{
    Editor, NewDelegation, NewRole, NewRoles, new_root, new_snapshot, new_targets, new_timestamp,
};
use tuf::key::{Key, PublicKey};
use tuf::metadata::{Hashes, Limits, MetaFile, Metadata, Paths, SignatureEntry};
use tuf::role::{RoleName, Version};
use tuf::time::UtcTime;
use tufagent_proto::v1::file_header::Purpose;

use crate::clock;
use crate::intake::ReceivedFile;
use crate::refusal::Refusal;
use crate::repositories::{Asked, Consent, Observed, Registered, Registration, Repositories, Signing};

/// A key by a number.
pub(super) struct Pen(SigningKey);

pub(super) fn pen(number: u8) -> Pen {
    Pen(SigningKey::from_bytes(&[number; 32]))
}

impl Pen {
    pub(super) fn public(&self) -> PublicKey {
        PublicKey::from_ed25519(self.0.verifying_key().to_bytes()).unwrap()
    }

    pub(super) fn key(&self) -> Key {
        self.public().to_key()
    }

    pub(super) fn named(&self) -> Vec<(String, PublicKey)> {
        vec![("pen".to_owned(), self.public())]
    }
}

pub(super) fn sign(file: &Metadata, pens: &[&Pen]) -> Metadata {
    let entries: Vec<_> = pens
        .iter()
        .map(|pen| SignatureEntry {
            keyid: pen.key().computed_keyid(),
            sig: hex::encode(pen.0.sign(&file.canonical_signed()).to_bytes()),
        })
        .collect();
    read(file.with_signatures(&entries))
}

fn read(bytes: Vec<u8>) -> Metadata {
    Metadata::parse(bytes, &Limits::agent()).unwrap()
}

pub(super) fn role(name: &str) -> RoleName {
    name.parse().unwrap()
}

pub(super) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

pub(super) fn in_days(days: i64) -> UtcTime {
    clock::now().plus_seconds(days * 86_400)
}

/// A root with pens 1 and 2 (threshold as given), targets 3, snapshot and timestamp 4.
pub(super) fn root(number: u64, threshold: u32) -> Metadata {
    root_with(number, threshold, 3)
}

/// The same with this pen for targets.
pub(super) fn root_with(number: u64, threshold: u32, targets: u8) -> Metadata {
    let of = |numbers: &[u8], threshold| NewRole {
        keys: numbers.iter().map(|number| pen(*number).key()).collect(),
        threshold,
    };
    let roles = NewRoles {
        root: of(&[1, 2], threshold),
        targets: of(&[targets], 1),
        snapshot: of(&[4], 1),
        timestamp: of(&[4], 1),
    };
    read(new_root(version(number), in_days(300), true, &roles).unwrap())
}

pub(super) fn targets(number: u64, days: i64) -> Metadata {
    read(new_targets(version(number), in_days(days)))
}

/// Targets that delegate `rel` to a pen.
pub(super) fn delegating(number: u64, to: u8) -> Metadata {
    delegating_to(number, &[("rel", to)])
}

/// Targets that delegate each of these roles to a pen.
pub(super) fn delegating_to(number: u64, roles: &[(&str, u8)]) -> Metadata {
    let base = targets(number, 80);
    let mut edit = Editor::new(&base);
    for (name, to) in roles {
        edit.add_delegation(&NewDelegation {
            name: role(name),
            keys: vec![pen(*to).key()],
            threshold: 1,
            paths: Paths::Patterns(vec!["rel/*".into()]),
            terminating: false,
        })
        .unwrap();
    }
    read(edit.finish().unwrap())
}

pub(super) fn described(file: &Metadata) -> MetaFile {
    MetaFile {
        version: file.version(),
        length: u64::try_from(file.bytes().len()).ok(),
        hashes: Some(Hashes::sha256(Sha256Digest::of(file.bytes()))),
    }
}

pub(super) fn snapshot(number: u64, entries: &[(&str, MetaFile)]) -> Metadata {
    let entries: BTreeMap<_, _> = entries.iter().map(|(name, file)| (role(name), file.clone())).collect();
    read(new_snapshot(version(number), in_days(6), &entries).unwrap())
}

pub(super) fn timestamp(number: u64, snapshot: &MetaFile) -> Metadata {
    read(new_timestamp(version(number), in_days(1), snapshot).unwrap())
}

fn received(files: &[(&str, &Metadata)]) -> Vec<ReceivedFile> {
    let received = |(role, file): &(&str, &Metadata)| ReceivedFile {
        role: (*role).to_owned(),
        purpose: Purpose::Subject,
        bytes: file.bytes().to_vec(),
        near: None,
    };
    files.iter().map(received).collect()
}

fn asked(name: &str, root: Option<&Metadata>, files: &[(&str, &Metadata)]) -> Registration {
    let roots = files.iter().filter(|(name, _)| *name == "root").map(|(_, root)| root.digest());
    Registration {
        name: name.to_owned(),
        expiry_days: BTreeMap::new(),
        root: root.map(|root| root.bytes().to_vec()),
        roots: roots.collect(),
        shared_key: false,
        held: Default::default(),
        caller: Value::Null,
    }
}

/// Repositories on a ledger of their own.
pub(super) struct House {
    pub(super) repositories: Repositories,
    pub(super) ledger: Arc<Ledger>,
    pub(super) folder: TempDir,
}

impl House {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(folder.path()).unwrap());
        Self { repositories: Repositories::open(Arc::clone(&ledger)).await.unwrap(), ledger, folder }
    }

    /// One that has the new repository `app`.
    pub(super) async fn with_app() -> Self {
        let house = Self::new().await;
        house.register("app", None).await.unwrap();
        house
    }

    /// One whose `app` has root 1 and the given targets published.
    pub(super) async fn published(targets: &Metadata) -> Self {
        let house = Self::with_app().await;
        let root = sign(&root(1, 2), &[&pen(1), &pen(2)]);
        house.observe(true, &[("root", &root), ("targets", targets)]).await.unwrap();
        house
    }

    pub(super) async fn register(&self, name: &str, root: Option<&Metadata>) -> Result<Registered, Refusal> {
        self.repositories.register(asked(name, root, &[])).await
    }

    pub(super) async fn app(&self) -> Arc<Record> {
        self.repositories.by_name("app").await.unwrap()
    }

    pub(super) async fn observe(
        &self,
        published: bool,
        files: &[(&str, &Metadata)],
    ) -> Result<Observed, Refusal> {
        self.repositories.observe(&*self.app().await, published, received(files), Value::Null).await
    }

    /// Adopts `app` from these files, by the first root of them.
    pub(super) async fn adopt(&self, files: &[(&str, &Metadata)]) -> Result<Observed, Refusal> {
        let root = files.iter().find(|(name, _)| *name == "root").map(|(_, root)| *root);
        self.adopt_as("app", root, files).await
    }

    pub(super) async fn adopt_as(
        &self,
        name: &str,
        root: Option<&Metadata>,
        files: &[(&str, &Metadata)],
    ) -> Result<Observed, Refusal> {
        self.repositories.adopt(asked(name, root, files), &Consent::default(), received(files)).await
    }

    /// Records that the pen is to sign `file` as `name`.
    pub(super) async fn intend(
        &self,
        name: &str,
        file: &Metadata,
        pen: &Pen,
        sent: &[(RoleName, Metadata)],
    ) -> Result<IntentId, Refusal> {
        let (record, role) = (self.app().await, role(name));
        let authority = self.repositories.authority(&record, &role, file, sent).await?;
        let signing = Signing {
            record: &record,
            role: &role,
            subject: file,
            authority: &authority,
            keys: pen.named(),
            shared_key: false,
            supersedes: None,
            caller: Value::Null,
        };
        self.repositories.record_intent(signing).await
    }

    /// The pen has signed what was intended.
    pub(super) fn signed(&self, intent: IntentId, pen: &Pen) {
        let keys = vec![pen.public().fingerprint()];
        let keyids = vec![pen.key().computed_keyid().to_string()];
        self.ledger.record_outcome(intent, Outcome::Signed { keyids, keys });
    }

    /// What the rules are told of `file`, which the pen is to sign as `name`.
    pub(super) async fn facts(
        &self,
        name: &str,
        file: &Metadata,
        pen: &Pen,
        sent: &[(RoleName, Metadata)],
    ) -> Result<policy::SigningFacts, Refusal> {
        let (record, role) = (self.app().await, role(name));
        let authority = self.repositories.authority(&record, &role, file, sent).await?;
        let asked = Asked { shared_key: false, supersedes: None, now: clock::now() };
        let mut facts =
            self.repositories.facts(&record, &role, file, &authority, &pen.named(), &asked).await?;
        self.repositories.changes(&record, &role, file).await?.tell(&mut facts);
        Ok(facts)
    }
}
