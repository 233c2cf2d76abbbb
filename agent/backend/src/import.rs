//! Private key files that other programs wrote.
//!
//! Duty: turn a file into a key, whatever common tool made it: PKCS#8 (plain, and PBES2 with PBKDF2
//! or scrypt and AES), SEC1, PKCS#1, OpenSSL's old encryption of the latter two, and the PEM and JSON
//! files of securesystemslib; Ed25519, P-256, P-384, RSA 2048 to 4096. Trust: none; the
//! file is input. Invariants: plain text lies in locked or zeroized memory; an error holds none of
//! it; the public parts that a file states are checked against the private ones.

mod json;
mod legacy;
mod pem;
mod pkcs5;

use secmem::SecretBytes;
use tuf::key::{KeyType, PublicKey};

use crate::software::{SoftwareKey, SoftwareKeyError};

/// A private key from a file, ready to be put on a token.
///
/// It cannot be copied or shown:
/// ```compile_fail,E0599
/// fn copy(key: tufagent_backend::ImportedKey) { drop(key.clone()); }
/// ```
/// ```compile_fail,E0277
/// fn show(key: tufagent_backend::ImportedKey) { println!("{key}"); }
/// ```
/// ```
/// fn debug(key: tufagent_backend::ImportedKey) { println!("{key:?}"); } // its public half
/// ```
pub struct ImportedKey(SoftwareKey);

/// Why a file gave no private key. Holds nothing of the file's secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is encrypted and no passphrase was given.
    #[error("the key file is encrypted and no passphrase was given")]
    PassphraseNeeded,
    /// The passphrase does not open the file (or the file is damaged: its format cannot tell).
    #[error("the passphrase does not open the key file")]
    PassphraseWrong,
    /// The file holds no private key in a form that is read here.
    #[error("the file is not a private key that can be read: {what}")]
    NotAKey {
        /// What it looks like.
        what: String,
        /// How to make one of it.
        remedy: String,
    },
    /// The file holds a key in a known form, damaged.
    #[error("the private key in the file is damaged, or its public part does not belong to it")]
    Damaged,
    /// The algorithm, curve or size is not one that TUF keys here have.
    #[error("the key in the file cannot be used: {why}")]
    UnsupportedKey {
        /// What it is.
        why: String,
    },
    /// The way in which the file is encrypted is not supported, or costs too much.
    #[error("the encryption of the key file cannot be read: {what}")]
    UnsupportedEncryption {
        /// What it is.
        what: String,
    },
    /// More than one private key.
    #[error("the file holds more than one private key")]
    SeveralKeys,
}

/// Reads a private key file.
///
/// `passphrase` is used when the file is encrypted, and ignored when it is not.
///
/// # Errors
/// [`ImportError::PassphraseNeeded`] for an encrypted file without one, and what is wrong with the file.
pub fn parse_private_key(
    file: &SecretBytes,
    passphrase: Option<&SecretBytes>,
) -> Result<ImportedKey, ImportError> {
    let text = std::str::from_utf8(file.reveal_secret_bytes()).map_err(|_| binary(file))?;
    let trimmed = text.trim();
    let key = if trimmed.starts_with('{') {
        json::parse(trimmed, passphrase)
    } else if trimmed.contains(json::SEPARATOR) && !trimmed.contains("-----BEGIN") {
        json::parse_encrypted(trimmed, passphrase)
    } else {
        pem::parse(trimmed, passphrase)
    };
    key.map(ImportedKey::from)
}

impl ImportedKey {
    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        self.0.public()
    }

    /// Its type.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.public().key_type()
    }

    /// The private key as PKCS#8 DER, for a token that takes it.
    ///
    /// # Errors
    /// [`ImportError::Damaged`] when it cannot be encoded.
    pub fn to_pkcs8_der(&self) -> Result<SecretBytes, ImportError> {
        Ok(self.0.to_pkcs8()?)
    }

    /// Its smallest form: Ed25519 seed, big-endian scalar, or PKCS#1 DER.
    pub(crate) const fn secret(&self) -> &SecretBytes {
        self.0.secret()
    }

    pub(crate) fn into_software(self) -> SoftwareKey {
        self.0
    }
}

impl std::fmt::Debug for ImportedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportedKey").field("public", self.public()).finish_non_exhaustive()
    }
}

impl ImportError {
    /// What to do about it: one sentence for people.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::PassphraseNeeded => "give it with --passphrase-file, or on a terminal".to_owned(),
            Self::PassphraseWrong => "check the passphrase of the key file and try again".to_owned(),
            Self::NotAKey { remedy, .. } => remedy.clone(),
            Self::Damaged => {
                "take the file from its source again, or check it: openssl pkey -check -noout -in FILE"
                    .to_owned()
            }
            Self::UnsupportedKey { .. } => {
                "use an Ed25519, P-256, P-384 or RSA key of 2048 to 4096 bits".to_owned()
            }
            Self::UnsupportedEncryption { .. } => {
                "encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW".to_owned()
            }
            Self::SeveralKeys => "split the file, so that each file holds one key".to_owned(),
        }
    }

    /// The reason in the table of reasons (`proto/reasons.tsv`).
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::PassphraseNeeded => "PIN_REQUIRED",
            Self::PassphraseWrong => "PIN_INCORRECT",
            _ => "KEY_FILE",
        }
    }

    fn not_a_key(what: &str, remedy: &str) -> Self {
        Self::NotAKey { what: what.to_owned(), remedy: remedy.to_owned() }
    }
}

impl From<SoftwareKey> for ImportedKey {
    fn from(key: SoftwareKey) -> Self {
        Self(key)
    }
}

impl From<SoftwareKeyError> for ImportError {
    fn from(error: SoftwareKeyError) -> Self {
        match error {
            SoftwareKeyError::Algorithm(name) => {
                Self::UnsupportedKey { why: format!("its algorithm is {name}") }
            }
            SoftwareKeyError::Public(why) => Self::UnsupportedKey { why: why.to_string() },
            _ => Self::Damaged,
        }
    }
}

fn binary(file: &SecretBytes) -> ImportError {
    match file.reveal_secret_bytes().first() {
        Some(0x30) => ImportError::not_a_key(
            "it is binary, perhaps DER",
            "convert it to PEM: openssl pkey -inform DER -in FILE -out NEW",
        ),
        _ => ImportError::not_a_key("it is binary", NEED_PEM),
    }
}

const NEED_PEM: &str = "give a PEM file with a private key, such as openssl genpkey writes";
