//! Builds small repositories, signed with made-up Ed25519 keys.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

pub mod client;

use ed25519_dalek::Signer as _;
use serde_json::{Value as Json, json};
use tuf::key::PublicKey;
use tuf::metadata::{Limits, Metadata, SignatureEntry};

pub use tufagent_tuf as tuf;

/// A key made of one repeated byte.
#[derive(Clone)]
pub struct TestKey(ed25519_dalek::SigningKey);

impl TestKey {
    pub fn new(seed: u8) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    pub fn object(&self) -> Json {
        let public = PublicKey::from_ed25519(self.0.verifying_key().to_bytes()).unwrap();
        serde_json::from_str(public.to_key().json()).unwrap()
    }

    pub fn id(&self) -> String {
        let public = PublicKey::from_ed25519(self.0.verifying_key().to_bytes()).unwrap();
        public.to_key().computed_keyid().to_string()
    }

    pub fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.0.sign(message).to_bytes())
    }
}

/// Signs `signed` with `keys`.
pub fn file(signed: &Json, keys: &[&TestKey]) -> Vec<u8> {
    let named: Vec<_> = keys.iter().map(|key| (key.id(), *key)).collect();
    file_named(signed, &named)
}

/// Signs `signed` with keys under keyids of one's choice.
pub fn file_named(signed: &Json, keys: &[(String, &TestKey)]) -> Vec<u8> {
    let unsigned = json!({"signatures": [], "signed": signed}).to_string().into_bytes();
    let metadata = Metadata::parse(unsigned, &Limits::agent()).unwrap();
    let message = metadata.canonical_signed();
    let entry = |(keyid, key): &(String, &TestKey)| SignatureEntry {
        keyid: keyid.parse().unwrap(),
        sig: key.sign(&message),
    };
    metadata.with_signatures(&keys.iter().map(entry).collect::<Vec<_>>())
}

pub fn keys(of: &[&TestKey]) -> Json {
    of.iter().map(|key| (key.id(), key.object())).collect::<serde_json::Map<_, _>>().into()
}

pub fn role(of: &[&TestKey], threshold: u32) -> Json {
    json!({"keyids": of.iter().map(|key| key.id()).collect::<Vec<_>>(), "threshold": threshold})
}

pub fn common(kind: &str, version: u64) -> Json {
    json!({"_type": kind, "spec_version": "1.0.34", "version": version, "expires": "2030-01-01T00:00:00Z"})
}

/// A root whose roles have one key each beside root itself.
pub fn root(
    version: u64,
    of_root: &[&TestKey],
    threshold: u32,
    timestamp: &TestKey,
    snapshot: &TestKey,
    targets: &TestKey,
) -> Json {
    let mut root = common("root", version);
    let mut all = of_root.to_vec();
    all.extend([timestamp, snapshot, targets]);
    root["consistent_snapshot"] = json!(true);
    root["keys"] = keys(&all);
    root["roles"] = json!({
        "root": role(of_root, threshold), "timestamp": role(&[timestamp], 1),
        "snapshot": role(&[snapshot], 1), "targets": role(&[targets], 1),
    });
    root
}

pub fn timestamp(version: u64, snapshot: Json) -> Json {
    let mut timestamp = common("timestamp", version);
    timestamp["meta"] = json!({"snapshot.json": snapshot});
    timestamp
}

pub fn snapshot(version: u64, meta: Json) -> Json {
    let mut snapshot = common("snapshot", version);
    snapshot["meta"] = meta;
    snapshot
}

pub fn targets(version: u64, paths: &[&str]) -> Json {
    let mut targets = common("targets", version);
    let file =
        |path: &&str| ((*path).to_owned(), json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}}));
    targets["targets"] = paths.iter().map(file).collect::<serde_json::Map<_, _>>().into();
    targets
}

pub fn delegate(mut targets: Json, of: &[&TestKey], roles: Json) -> Json {
    targets["delegations"] = json!({"keys": keys(of), "roles": roles});
    targets
}

pub fn delegated(name: &str, of: &[&TestKey], threshold: u32, paths: &[&str], terminating: bool) -> Json {
    let mut delegated = role(of, threshold);
    delegated["name"] = json!(name);
    delegated["paths"] = json!(paths);
    delegated["terminating"] = json!(terminating);
    delegated
}
