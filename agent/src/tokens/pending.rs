//! Stands in until `backend::pkcs11` is there: no value of these types exists.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backend::{
    Backend, BackendError, ImportedKey, KeyName, StoredKey, TokenInfo, TokenName, UnverifiedSignature,
};
use secmem::SecretBytes;
use tuf::digest::Sha256Digest;
use tuf::key::{KeyType, PublicKey};
use tuf::preimage::Signable;

pub(super) enum ModuleDigest {
    Any,
    Pinned(Sha256Digest),
    Recorded(PathBuf),
}
#[allow(dead_code)]
pub(super) struct Pkcs11Config {
    pub(super) name: TokenName,
    pub(super) module: PathBuf,
    pub(super) label: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) uri: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) reserved: Option<String>,
    pub(super) digest: ModuleDigest,
    pub(super) deadline: Duration,
}
impl Pkcs11Config {
    pub(super) const DEADLINE: Duration = Duration::from_secs(15);
}
pub(super) enum Pkcs11Token {}
impl Pkcs11Token {
    pub(super) fn new(_: Pkcs11Config, _: PathBuf) -> Result<Self, &'static str> {
        Err("kind pkcs11 is not in this version")
    }
    pub(super) fn first_look(&self, _: Duration) -> bool {
        match *self {}
    }
    pub(super) fn on_change(&self, _: impl Fn(&TokenInfo) + Send + Sync + 'static) {
        match *self {}
    }
    pub(super) fn unlock_last_try(&self, _: &SecretBytes) -> Result<(), BackendError> {
        match *self {}
    }
    pub(super) fn trust(&self) -> Result<Sha256Digest, BackendError> {
        match *self {}
    }
}
impl Backend for Pkcs11Token {
    fn info(&self) -> TokenInfo {
        match *self {}
    }
    fn unlock(&self, _: &SecretBytes) -> Result<(), BackendError> {
        match *self {}
    }
    fn lock(&self) {
        match *self {}
    }
    fn keys(&self) -> Result<Vec<StoredKey>, BackendError> {
        match *self {}
    }
    fn generate(&self, _: &KeyName, _: KeyType) -> Result<StoredKey, BackendError> {
        match *self {}
    }
    fn import(&self, _: &KeyName, _: ImportedKey) -> Result<StoredKey, BackendError> {
        match *self {}
    }
    fn remove(&self, _: &PublicKey) -> Result<(), BackendError> {
        match *self {}
    }
    fn change_secret(&self, _: &SecretBytes, _: &SecretBytes) -> Result<(), BackendError> {
        match *self {}
    }
    fn make_signature(&self, _: &PublicKey, _: Signable<'_>) -> Result<UnverifiedSignature, BackendError> {
        match *self {}
    }
    fn shutdown(&self) {
        match *self {}
    }
}
