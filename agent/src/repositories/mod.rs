//! stub
#![allow(missing_docs)]
use crate::refusal::Refusal;
pub use ledger::Record;
use std::{collections::BTreeMap, sync::Arc};
use tuf::{key::*, metadata::Metadata, role::RoleName, time::UtcTime};
pub struct Repositories;
pub struct Authority {
    pub keys: BTreeMap<KeyId, Key>,
    pub warnings: Vec<String>,
}
pub struct RoleOfKey {
    pub repository: Arc<Record>,
    pub role: RoleName,
}
pub struct Newest {
    pub metadata: Metadata,
    pub verified: bool,
}
pub struct Asked {
    pub shared_key: bool,
    pub now: UtcTime,
}
pub struct Signing<'a> {
    pub record: &'a Record,
    pub role: &'a RoleName,
    pub subject: &'a Metadata,
    pub authority: &'a Authority,
    pub keys: Vec<(String, PublicKey)>,
    pub shared_key: bool,
    pub caller: serde_json::Value,
}
impl Repositories {
    pub async fn open(_: Arc<ledger::Ledger>) -> Result<Self, Refusal> {
        Ok(Self)
    }
    pub async fn by_name(&self, _: &str) -> Result<Arc<Record>, Refusal> {
        Err(Refusal::internal("x"))
    }
    pub async fn roles_of_key(&self, _: &PublicKey) -> Result<Vec<RoleOfKey>, Refusal> {
        Err(Refusal::internal("x"))
    }
    pub async fn authority(
        &self,
        _: &Record,
        _: &RoleName,
        _: &Metadata,
        _: &[(RoleName, Metadata)],
    ) -> Result<Authority, Refusal> {
        Err(Refusal::internal("x"))
    }
    pub async fn newest(&self, _: &Record, _: &RoleName) -> Result<Option<Newest>, Refusal> {
        Err(Refusal::internal("x"))
    }
    pub async fn facts(
        &self,
        _: &Record,
        _: &RoleName,
        _: &Metadata,
        _: &Authority,
        _: &[(String, PublicKey)],
        _: &Asked,
    ) -> Result<policy::SigningFacts, Refusal> {
        Err(Refusal::internal("x"))
    }
    pub async fn record_intent(&self, _: Signing<'_>) -> Result<ledger::IntentId, Refusal> {
        Err(Refusal::internal("x"))
    }
}
