//! The file's shape, word for word; unknown words are refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default)]
    pub(super) token: Vec<RawToken>,
    #[serde(default)]
    pub(super) allow_groups: Vec<toml::Value>,
    pub(super) pinentry: Option<PathBuf>,
    #[serde(default)]
    pub(super) attestation_roots: Vec<PathBuf>,
    #[serde(default)]
    pub(super) role: Vec<RawRole>,
    // Reserved: known by name, so that the refusal can say why.
    pub(super) grant: Option<toml::Value>,
    pub(super) approval: Option<toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRole {
    pub(super) name: String,
    pub(super) repository: Option<String>,
    pub(super) origin: String,
    pub(super) touch: Option<String>,
    pub(super) pin_policy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawToken {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) enabled: Option<bool>,
    // A value of any kind: a message about it must not repeat what may be a PIN.
    pub(super) pin: Option<toml::Value>,
    pub(super) confirm: Option<String>,
    pub(super) unlock_for: Option<String>,
    pub(super) collect_for: Option<String>,
    pub(super) module: Option<PathBuf>,
    pub(super) label: Option<String>,
    pub(super) serial: Option<toml::Value>,
    pub(super) need_unlock: Option<bool>,
    pub(super) manufacturer: Option<String>,
    pub(super) uri: Option<String>,
    pub(super) env: Option<BTreeMap<String, String>>,
    pub(super) reserved: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) sessions: Option<usize>,
    pub(super) deadline: Option<String>,
    pub(super) paths: Option<Vec<PathBuf>>,
    pub(super) network: Option<bool>,
}
