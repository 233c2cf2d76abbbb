//! PKCS#11 modules for the demo, the tests and CI: found on the system or fetched without root, and tokens in
//! private folders. SoftHSM first; beside it tpm2-pkcs11 on a TPM in software, p11-kit's remote module, NSS
//! and, where it was built, kryoptic. And gnome-keyring, for PINs that lie in a desktop's Secret Service, and
//! pcscd and OpenSC, for cards.
//!
//! Nothing here is part of the agent. Everything fetched lies in one *third-party folder* (see
//! [`third_party_dir`]), nothing is installed, and no file outside it is written. What cannot be had is
//! a [`Skipped`], which says what is missing and the one line that brings it.
#![forbid(unsafe_code)]

mod bus;
pub mod debs;
mod fetched;
mod find;
mod kryoptic;
mod nss;
mod opensc;
mod p11_kit;
mod pcscd;
mod process;
mod ready;
mod secret_service;
mod server;
mod token;
mod tpm2;

use std::fmt;
use std::path::{Path, PathBuf};

pub use find::SoftHsm;
pub use kryoptic::Kryoptic;
pub use nss::Nss;
pub use opensc::OpenSc;
pub use p11_kit::P11Kit;
pub use pcscd::{Pcsc, Pcscd};
pub use ready::{Ready, quoted};
pub use secret_service::SecretService;
pub use token::{NewToken, Token, TokenFolder};
pub use tpm2::Tpm2;

/// Something that a test or the demo needs and this machine cannot give.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// What is missing and why, one sentence without a full stop.
    pub what: String,
    /// The one line that helps, such as a command.
    pub remedy: String,
}

impl Skipped {
    /// A missing thing and its remedy, one line each.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Skipped {}

/// The folder for everything that is fetched: `TUFAGENT_THIRD_PARTY`, or `third-party` in cargo's target folder.
///
/// The target folder is `CARGO_TARGET_DIR`, or the folder above the running program that cargo marked
/// with `CACHEDIR.TAG`.
pub fn third_party_dir() -> Result<PathBuf, Skipped> {
    if let Some(dir) = std::env::var_os("TUFAGENT_THIRD_PARTY") {
        return Ok(PathBuf::from(dir));
    }
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if Path::new(&dir).is_absolute() => Some(PathBuf::from(dir)),
        _ => marked_target_dir(),
    };
    target.map(|dir| dir.join("third-party")).ok_or_else(|| {
        Skipped::new("cargo's target folder was not found", "set TUFAGENT_THIRD_PARTY to a writable folder")
    })
}

fn marked_target_dir() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).map(Path::to_path_buf)
}
