//! What the configuration says of a token of a PKCS#11 module.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::uri::{self, UriError};
use super::{Limits, ModuleDigest};
use crate::TokenName;
use crate::host::protocol::Wanted;

/// A `[[token]]` of kind `pkcs11`.
#[derive(Clone, Debug)]
pub struct Pkcs11Config {
    /// Its name.
    pub name: TokenName,
    /// The module, absolute.
    pub module: PathBuf,
    /// The token's label.
    pub label: Option<String>,
    /// The token's serial number, as the module writes it.
    pub serial: Option<String>,
    /// RFC 7512, in place of label and serial.
    pub uri: Option<String>,
    /// The helper's environment; it gets nothing else but the locale.
    pub env: BTreeMap<String, String>,
    /// C_Initialize's reserved string (NSS).
    pub reserved: Option<String>,
    /// What the module may touch.
    pub limits: Limits,
    /// Which file the module must be.
    pub digest: ModuleDigest,
    /// The folder where profiles of modules are kept; none is read or kept without one.
    pub profiles: Option<PathBuf>,
    /// So many signatures the module may be asked for at once, each in a session and on a thread of its own.
    pub sessions: usize,
    /// For each call to the helper; key generation and long messages get more.
    pub deadline: Duration,
}

impl Pkcs11Config {
    /// For each call, unless the configuration says otherwise.
    pub const DEADLINE: Duration = Duration::from_secs(15);

    pub(super) fn wanted(&self) -> Result<Wanted, ConfigError> {
        if !self.module.is_absolute() {
            return Err(ConfigError::ModulePath(self.module.clone()));
        }
        let named = Wanted { label: self.label.clone(), serial: self.serial.clone(), ..Wanted::default() };
        match (&self.uri, named == Wanted::default()) {
            (Some(uri), true) => Ok(uri::parse(uri)?),
            (None, false) => Ok(named),
            (Some(_), false) => Err(ConfigError::Twice),
            (None, true) => Err(ConfigError::NamesNothing),
        }
    }
}

/// An entry of the configuration that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The module's path is relative.
    #[error("module = {0:?} is not an absolute path")]
    ModulePath(PathBuf),
    /// No label, serial or uri.
    #[error("nothing says which token of the module it is: give label, serial or uri")]
    NamesNothing,
    /// A uri, and label or serial too.
    #[error("give either uri, or label and serial")]
    Twice,
    /// A uri that names no token.
    #[error("uri: {0}")]
    Uri(#[from] UriError),
}
