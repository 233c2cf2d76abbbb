//! Places that hold signing keys, behind one trait.
//!
//! Duty: make, list, import, remove and use private keys on a token: the encrypted file store or a
//! PKCS#11 module in a helper process. Trust: nothing that a token says is believed; every
//! signature is verified in software against the public key that was asked for before it leaves.
//! Invariants: what is signed is a [`Signable`], which only `tuf` can make; keys are chosen by
//! public key, never by name; secrets rest in `secmem` and appear in no error and no log.
#![deny(unsafe_code)]

mod error;
mod names;
mod sealed_file;
mod signature;
mod software;
mod traced;

pub mod attestation;
pub mod card;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod doctor;
pub mod filestore;
pub mod folder;
pub mod host;
pub mod import;
pub mod pkcs11;

pub use error::BackendError;
pub use import::{ImportError, ImportedKey};
pub use names::{KeyName, NameError, TokenName};
pub use sealed_file::{Opener, SealedFileError, Sealer};
pub use signature::UnverifiedSignature;

use secmem::SecretBytes;
use tuf::key::{KeyType, PublicKey, Scheme, SignatureBytes};
use tuf::preimage::Signable;

/// A place that holds keys.
///
/// Calls block (the agent makes them on blocking threads), except [`Backend::info`], which answers
/// at once from what is known, also while another call waits for a touch or a hung module.
/// All methods may be called from several threads at a time.
pub trait Backend: Send + Sync {
    /// What is known about the token now. Never blocks and never asks the device.
    fn info(&self) -> TokenInfo;

    /// What it can be used for now: of [`Backend::info`] the one thing that is asked for at every step.
    fn state(&self) -> TokenState {
        self.info().state
    }

    /// Presents `secret` to the token: exactly one attempt, also when it is unlocked already.
    /// On a file store that was never used it sets the passphrase.
    ///
    /// # Errors
    /// [`BackendError::SecretIncorrect`], or what keeps the token from being asked.
    fn unlock(&self, secret: &SecretBytes) -> Result<(), BackendError>;

    /// Forgets the secret and every private key in memory. Does not wait for calls under way:
    /// a signature that is being made may still come out, none begins afterwards.
    fn lock(&self);

    /// The keys of the token; works locked where public parts can be read without the secret.
    ///
    /// # Errors
    /// What keeps the token from being read.
    fn keys(&self) -> Result<Vec<StoredKey>, BackendError>;

    /// Makes a key pair on the token.
    ///
    /// # Errors
    /// [`BackendError::NameTaken`], [`BackendError::Unsupported`], [`BackendError::Locked`] and others.
    fn generate(&self, name: &KeyName, kind: KeyType) -> Result<StoredKey, BackendError>;

    /// The same, with what only YubiKeys know.
    ///
    /// # Errors
    /// As [`Backend::generate`]; [`BackendError::SlotOccupied`], [`BackendError::ManagementKey`].
    fn generate_with(
        &self,
        name: &KeyName,
        kind: KeyType,
        options: &KeyOptions,
    ) -> Result<StoredKey, BackendError> {
        options.none()?;
        self.generate(name, kind)
    }

    /// Puts a private key that was made elsewhere on the token.
    ///
    /// # Errors
    /// As [`Backend::generate`], and [`BackendError::DuplicateKey`] when it is there under another name.
    fn import(&self, name: &KeyName, key: ImportedKey) -> Result<StoredKey, BackendError>;

    /// The same, with what only YubiKeys know.
    ///
    /// # Errors
    /// As [`Backend::import`]; [`BackendError::SlotOccupied`], [`BackendError::ManagementKey`].
    fn import_with(
        &self,
        name: &KeyName,
        key: ImportedKey,
        options: &KeyOptions,
    ) -> Result<StoredKey, BackendError> {
        options.none()?;
        self.import(name, key)
    }

    /// Destroys the private key that belongs to `key`.
    ///
    /// # Errors
    /// [`BackendError::KeyNotFound`], [`BackendError::Locked`] and others.
    fn remove(&self, key: &PublicKey) -> Result<(), BackendError>;

    /// The same, with the management key of a YubiKey.
    ///
    /// # Errors
    /// As [`Backend::remove`]; [`BackendError::ManagementKey`].
    fn remove_with(&self, key: &PublicKey, options: &KeyOptions) -> Result<Removed, BackendError> {
        options.none()?;
        self.remove(key).map(|()| Removed::Whole)
    }

    /// Replaces the secret of the token; one attempt with `old`.
    ///
    /// # Errors
    /// As [`Backend::unlock`], and [`BackendError::SecretRefused`] for a `new` that the token does not take.
    fn change_secret(&self, old: &SecretBytes, new: &SecretBytes) -> Result<(), BackendError>;

    /// Makes a signature by `scheme` as metadata wants it (64 bytes for Ed25519, DER for ECDSA, the
    /// block for RSA). Implemented by each backend, called through [`Backend::sign`] alone: what comes
    /// out of here is not believed yet.
    ///
    /// # Errors
    /// [`BackendError::KeyNotFound`], [`BackendError::Locked`], [`BackendError::Unsupported`] for a scheme
    /// that the token cannot do, and others.
    fn make_signature(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
    ) -> Result<UnverifiedSignature, BackendError>;

    /// Signs `what` with the private key of `key` by `scheme`, and verifies the result in software against
    /// `key` before it returns (FAULTS D7). Do not override.
    ///
    /// # Errors
    /// Those of [`Backend::make_signature`], and [`BackendError::BadSignature`].
    fn sign(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
    ) -> Result<SignatureBytes, BackendError> {
        self.make_signature(key, scheme, what)?.verify(key, scheme, what)
    }

    /// As [`Backend::make_signature`], for a key that takes the PIN for each signature: it is presented once, for this
    /// signature, and kept nowhere. Tokens without such keys have no use for it.
    ///
    /// # Errors
    /// As [`Backend::make_signature`] and [`Backend::unlock`].
    fn make_signature_with_pin(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        _pin: &SecretBytes,
    ) -> Result<UnverifiedSignature, BackendError> {
        self.make_signature(key, scheme, what)
    }

    /// As [`Backend::sign`], with a PIN for this one signature: what [`BackendError::PinEachUse`] asks for. Do not override.
    ///
    /// # Errors
    /// Those of [`Backend::make_signature_with_pin`], and [`BackendError::BadSignature`].
    fn sign_with_pin(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        pin: &SecretBytes,
    ) -> Result<SignatureBytes, BackendError> {
        self.make_signature_with_pin(key, scheme, what, pin)?.verify(key, scheme, what)
    }

    /// `tell` is called once when the device is asked for the next signature and may wait for a touch. One that tells nothing
    /// of that is taken to be asked at once.
    fn when_asked(&self, tell: Box<dyn Fn() + Send>) {
        tell();
    }

    /// Whether the token says that the private key of `key` was made there, never could leave it and has no copy; asked
    /// of the token now. A place that cannot tell, such as a file, never says so.
    ///
    /// # Errors
    /// [`BackendError::Foreign`] when it does not; [`BackendError::Locked`] and others when it cannot be asked.
    fn made_here(&self, key: &PublicKey) -> Result<(), BackendError> {
        let _ = key;
        Err(BackendError::Foreign { why: "it lies in no device, but in a file".to_owned() })
    }

    /// Locks, and ends what the token runs (a helper process). No call is made afterwards.
    fn shutdown(&self);
}

/// What the token can be used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// Needs its PIN or passphrase.
    Locked,
    /// Ready to sign.
    Unlocked,
    /// The device or module's token is not there.
    Absent,
    /// It is there and does not work; `problem` says why.
    Failed,
    /// Too many wrong PINs.
    Blocked,
}

impl TokenState {
    /// The word used in JSON and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Unlocked => "unlocked",
            Self::Absent => "absent",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
        }
    }
}

/// What sort of place the token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKind {
    /// The encrypted file store.
    File,
    /// A token of a PKCS#11 module.
    Pkcs11,
    /// A YubiKey.
    Yubikey,
    /// Keys that are split among people.
    Shares,
}

impl TokenKind {
    /// The word used in configuration, JSON and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Pkcs11 => "pkcs11",
            Self::Yubikey => "yubikey",
            Self::Shares => "shares",
        }
    }

    /// What a prompt calls the secret of such a token.
    #[must_use]
    pub const fn secret_word(self) -> &'static str {
        match self {
            Self::File => "passphrase",
            Self::Pkcs11 | Self::Yubikey => "PIN",
            Self::Shares => "share",
        }
    }
}

/// What is known about a token without asking it.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    /// Its name in the configuration.
    pub name: TokenName,
    /// What sort of place it is.
    pub kind: TokenKind,
    /// What it can be used for now.
    pub state: TokenState,
    /// Serial number, as the device says it.
    pub serial: Option<String>,
    /// Label, as the device says it.
    pub label: Option<String>,
    /// PIN tries left, where the device tells.
    pub pin_tries_left: Option<u32>,
    /// Process id of the helper that hosts it.
    pub helper_pid: Option<u32>,
    /// Whether the helper is confined; `None` where there is no helper.
    pub confined: Option<bool>,
    /// What of it is not kept, and why; for people.
    pub unconfined: Option<String>,
    /// Whether `token doctor` has measured it: `yes`, `module` when that was another token of its module, `never`,
    /// `outdated` when the module has changed since, `damaged` when what was kept cannot be read and so nothing is signed.
    pub measured: Option<&'static str>,
    /// Why it is failed or absent or degraded, and what to do; for people.
    pub problem: Option<String>,
    /// Another program holds the device, or one that may be it: then it is failed.
    pub in_use: bool,
    /// Its PIN is blocked, and its PUK, too.
    pub puk_blocked: bool,
    /// What its owner must know of it, though it works; for people.
    pub warnings: Vec<String>,
    /// Never used before: the next unlock sets the passphrase.
    pub fresh: bool,
}

/// What became of a key that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Whole,
    /// Its public object is. The private one that fitted it stays: it signs as another key, or cannot show whose it is.
    PublicHalf,
}

/// A key on a token: its public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What people call it.
    pub name: KeyName,
    /// What it is.
    pub public: PublicKey,
    /// Where the private half was made.
    pub origin: Origin,
    /// Where it lies on a YubiKey, and what it wants.
    pub place: Option<card::SlotFacts>,
}

/// What a key is to be, beside its name and type; only YubiKeys know of it.
#[derive(Debug, Default)]
pub struct KeyOptions {
    /// Slot and policies.
    pub card: card::CardOptions,
    /// The card's management key; without it the one that its PIN protects.
    pub management_key: Option<SecretBytes>,
}

impl KeyOptions {
    /// For tokens that know none of them.
    fn none(&self) -> Result<(), BackendError> {
        if self.card == card::CardOptions::default() && self.management_key.is_none() {
            return Ok(());
        }
        let what = "choose slots or policies, and has no management key: only YubiKeys do".to_owned();
        Err(BackendError::Unsupported { what })
    }
}

/// Where a private key was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// On this token.
    Generated,
    /// Elsewhere, and brought here.
    Imported,
    /// The token does not tell.
    Unknown,
}

impl Origin {
    /// The word used in JSON and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Imported => "imported",
            Self::Unknown => "unknown",
        }
    }
}
