//! Repositories made by hand: signed as they should be, whatever they say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use serde::Serialize;
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;

pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes,
            olpc_cjson::CanonicalFormatter::new(),
        ))
        .unwrap();
    bytes
}

pub(crate) fn keyid(key: &Value) -> String {
    Sha256Digest::of(&canonical(key)).to_string()
}

/// A private key by its number, and its key object.
pub(crate) fn signing(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(crate) fn key(number: u8) -> Value {
    let public = hex::encode(signing(number).verifying_key().as_bytes());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

fn part(kind: &str, more: Value) -> Value {
    let mut signed =
        json!({"_type": kind, "spec_version": "1.0.31", "version": 1, "expires": "2040-01-01T00:00:00Z"});
    signed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    signed
}

/// Metadata with the signatures of these keys, by their numbers.
pub(crate) fn signed_by(signed: &Value, signers: &[(String, u8)]) -> String {
    let sign = |(keyid, number): &(String, u8)| json!({"keyid": keyid, "sig": hex::encode(signing(*number).sign(&canonical(signed)).to_bytes())});
    let signatures: Vec<_> = signers.iter().map(sign).collect();
    json!({"signatures": signatures, "signed": signed}).to_string()
}

/// The `signed` parts of a repository; [`Self::write`] signs them. All top-level roles have key 1, `team` has key 2.
pub(crate) struct Forge {
    pub(crate) root: Value,
    pub(crate) targets: Value,
    pub(crate) team: Value,
    pub(crate) snapshot: Value,
    pub(crate) timestamp: Value,
    /// Keyids with the keys to sign with, for each file.
    pub(crate) signers: BTreeMap<&'static str, Vec<(String, u8)>>,
    /// Changes the text of a file after it was signed.
    pub(crate) after: BTreeMap<&'static str, fn(String) -> String>,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let (one, two) = (key(1), key(2));
        let by_one = json!({"keyids": [keyid(&one)], "threshold": 1});
        let team = json!({"name": "team", "keyids": [keyid(&two)], "threshold": 1, "terminating": false, "paths": ["t/*"]});
        let roles = json!({"root": by_one, "timestamp": by_one, "snapshot": by_one, "targets": by_one});
        let signer = |number: u8| vec![(keyid(&key(number)), number)];
        Self {
            root: part(
                "root",
                json!({"consistent_snapshot": true, "keys": {keyid(&one): one}, "roles": roles}),
            ),
            targets: part(
                "targets",
                json!({"targets": {}, "delegations": {"keys": {keyid(&two): two}, "roles": [team]}}),
            ),
            team: part("targets", json!({"targets": {}})),
            snapshot: part(
                "snapshot",
                json!({"meta": {"targets.json": {"version": 1}, "team.json": {"version": 1}}}),
            ),
            timestamp: part("timestamp", json!({"meta": {"snapshot.json": {"version": 1}}})),
            signers: ["root", "targets", "snapshot", "timestamp"]
                .map(|role| (role, signer(1)))
                .into_iter()
                .chain([("team", signer(2))])
                .collect(),
            after: BTreeMap::new(),
        }
    }

    /// Writes it all into a folder, the root under its version, and gives the root's path.
    pub(crate) fn write(&self, dir: &Path) -> PathBuf {
        fs::create_dir_all(dir.join("metadata")).unwrap();
        fs::create_dir_all(dir.join("targets")).unwrap();
        let files = [
            ("root", &self.root),
            ("targets", &self.targets),
            ("team", &self.team),
            ("snapshot", &self.snapshot),
            ("timestamp", &self.timestamp),
        ];
        for (role, signed) in files {
            let text = signed_by(signed, &self.signers[role]);
            let text = self.after.get(role).map_or(text.clone(), |change| change(text));
            let version = signed["version"].as_u64().unwrap_or(1);
            let numbered = role == "root" || role != "timestamp" && self.root["consistent_snapshot"] == true;
            let name = if numbered { format!("{version}.{role}.json") } else { format!("{role}.json") };
            fs::write(dir.join("metadata").join(name), text).unwrap();
        }
        dir.join("metadata").join(format!("{}.root.json", self.root["version"].as_u64().unwrap_or(1)))
    }

    /// Changes the text of a file once it is signed.
    pub(crate) fn after(&mut self, role: &'static str, change: fn(String) -> String) {
        self.after.insert(role, change);
    }

    /// Gives a new version to a role's file, and to the files that list it.
    pub(crate) fn republish(&mut self, version: u64) {
        for signed in [&mut self.targets, &mut self.snapshot, &mut self.timestamp] {
            signed["version"] = version.into();
        }
        self.snapshot["meta"]["targets.json"]["version"] = version.into();
        self.timestamp["meta"]["snapshot.json"]["version"] = version.into();
    }
}
