//! What a token is configured to be, as its helper and whoever talks to it need to know it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{ModuleDigest, Pkcs11Config};
use crate::host::Limits;
use crate::host::protocol::Wanted;
use crate::{BackendError, TokenKind, TokenName};

/// A `[[token]]` of kind `yubikey`.
#[derive(Clone, Debug)]
pub struct CardConfig {
    /// Its name.
    pub name: TokenName,
    /// The card's serial number.
    pub serial: u32,
    /// The helper's environment; it gets nothing else but the locale.
    pub env: BTreeMap<String, String>,
}

/// A token that a helper hosts.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: TokenName,
    pub(crate) env: BTreeMap<String, String>,
    /// For each call to the helper.
    pub(crate) deadline: Duration,
    pub(crate) what: What,
}

/// What the helper hosts.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A token of a PKCS#11 module.
    Module(Module),
    /// The YubiKey of this serial number.
    Card(u32),
}

/// How a module is loaded.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) path: PathBuf,
    pub(crate) reserved: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) digest: ModuleDigest,
    pub(crate) profiles: Option<PathBuf>,
    /// So many signatures it may be asked for at once.
    pub(crate) sessions: usize,
}

impl Place {
    /// # Errors
    /// [`BackendError::Unsupported`] for a token without a module.
    pub(crate) fn module(&self) -> Result<&Module, BackendError> {
        match &self.what {
            What::Module(module) => Ok(module),
            What::Card(_) => Err(BackendError::Unsupported { what: "do that: it has no module".to_owned() }),
        }
    }

    pub(crate) const fn is_card(&self) -> bool {
        matches!(self.what, What::Card(_))
    }

    pub(crate) const fn kind(&self) -> TokenKind {
        match self.what {
            What::Module(_) => TokenKind::Pkcs11,
            What::Card(_) => TokenKind::Yubikey,
        }
    }
}

impl From<Pkcs11Config> for Place {
    fn from(config: Pkcs11Config) -> Self {
        let Pkcs11Config { name, module: path, env, reserved, limits, digest, profiles, sessions, .. } =
            config;
        let what = What::Module(Module { path, reserved, limits, digest, profiles, sessions });
        let deadline = config.deadline;
        Self { name, env, deadline, what }
    }
}

impl CardConfig {
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { serial: Some(self.serial.to_string()), ..Wanted::default() }
    }
}

impl From<CardConfig> for Place {
    fn from(CardConfig { name, serial, env }: CardConfig) -> Self {
        Self { name, env, deadline: PATIENCE, what: What::Card(serial) }
    }
}

/// A card waits 15 seconds for a touch, and perhaps for another program's touch before that: it is the one that decides.
const PATIENCE: Duration = Duration::from_secs(45);
