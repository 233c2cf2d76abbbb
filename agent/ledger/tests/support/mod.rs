//! What the ledger's tests share.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::json;
use tuf::digest::Sha256Digest;
use tuf::role::{RoleName, Version};
use tufagent_ledger::{
    AdoptedRoot, Given, Intent, IntentKey, Ledger, LedgerError, NewRepository, Noted, RepositoryId, Verified,
};

pub fn digest(content: &str) -> Sha256Digest {
    Sha256Digest::of(content.as_bytes())
}

pub fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

pub fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

pub fn new(name: &str) -> NewRepository {
    NewRepository {
        name: name.parse().unwrap(),
        expiry_days: BTreeMap::from([(role("targets"), 90)]),
        tough_names: true,
        root: None,
        shared_key: false,
        caller: json!({"uid": 1000}),
    }
}

pub fn adopted(name: &str, number: u64, content: &str, key: &str) -> NewRepository {
    let keys = vec![(digest(key), role("root")), (digest(key), role("targets"))];
    NewRepository {
        root: Some(AdoptedRoot {
            version: version(number),
            digest: digest(content),
            keys,
            others: Vec::new(),
        }),
        ..new(name)
    }
}

pub async fn repository(ledger: &Ledger, name: &str) -> RepositoryId {
    ledger.register_repository(new(name)).await.unwrap().id
}

/// An intent with the one key that these tests have.
pub fn intent(repository: RepositoryId, name: &str, number: u64, content: &str) -> Intent {
    Intent {
        repository,
        role: role(name),
        also_roles: Vec::new(),
        version: version(number),
        digest: digest(content),
        keys: vec![IntentKey { name: "key".into(), fingerprint: digest("key"), given: Given::founded() }],
        lists: BTreeMap::new(),
        shared_key: false,
        supersedes: None,
        caller: json!({"uid": 1000, "pid": 1}),
    }
}

pub fn verified(name: &str, number: u64, content: &str) -> Verified {
    Verified::new(role(name), version(number), digest(content))
}

/// Notes one published file.
pub async fn publish(
    ledger: &Ledger,
    repository: RepositoryId,
    name: &str,
    number: u64,
    content: &str,
) -> Result<Noted, LedgerError> {
    let mut noted = ledger.note_all(repository, vec![verified(name, number, content)], true).await?;
    Ok(noted.pop().unwrap())
}
