//! Signature schemes: how a key signs, as the key object in metadata says (specification 4.2.2, TAP 21).

use super::{KeyError, KeyType};
use sha2::Digest as _;
use std::{fmt, str::FromStr};

/// The digest of an RSA scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RsaHash {
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl RsaHash {
    /// The length of the salt in bytes with which PSS signs: that of the digest.
    pub const fn salt(self) -> u8 {
        match self {
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `message`.
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha224 => sha2::Sha224::digest(message).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(message).to_vec(),
        }
    }

    /// What stands before the digest in a DigestInfo (RFC 8017, 9.2, note 1).
    pub const fn digest_info(self) -> &'static [u8] {
        match self {
            Self::Sha224 => b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c",
            Self::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
            Self::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
            Self::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
        }
    }
}

/// How a key signs. A key is what its public key is; one RSA key may stand in metadata under several schemes, and each
/// of its signatures is made and verified by the one that its key object names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`: SHA-256
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`: SHA-384
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`: SHA-512
    EcdsaP521,
    /// `rsassa-pss-sha…`: PSS, MGF1 with the same digest, any salt length when verifying
    RsaPss(RsaHash),
    /// `rsa-pkcs1v15-sha…`: PKCS #1 version 1.5
    RsaPkcs1(RsaHash),
    /// `ml-dsa-44/1`: ML-DSA-44 over `tuf`, a byte 1 and the SHA-512 (TAP 21)
    MlDsa44,
    /// `ml-dsa-65/1`
    MlDsa65,
    /// `ml-dsa-87/1`
    MlDsa87,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::RsaPss(RsaHash::Sha224),
        Self::RsaPss(RsaHash::Sha256),
        Self::RsaPss(RsaHash::Sha384),
        Self::RsaPss(RsaHash::Sha512),
        Self::RsaPkcs1(RsaHash::Sha224),
        Self::RsaPkcs1(RsaHash::Sha256),
        Self::RsaPkcs1(RsaHash::Sha384),
        Self::RsaPkcs1(RsaHash::Sha512),
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
    ];

    /// `scheme` in key objects.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::RsaPss(RsaHash::Sha224) => "rsassa-pss-sha224",
            Self::RsaPss(RsaHash::Sha256) => "rsassa-pss-sha256",
            Self::RsaPss(RsaHash::Sha384) => "rsassa-pss-sha384",
            Self::RsaPss(RsaHash::Sha512) => "rsassa-pss-sha512",
            Self::RsaPkcs1(RsaHash::Sha224) => "rsa-pkcs1v15-sha224",
            Self::RsaPkcs1(RsaHash::Sha256) => "rsa-pkcs1v15-sha256",
            Self::RsaPkcs1(RsaHash::Sha384) => "rsa-pkcs1v15-sha384",
            Self::RsaPkcs1(RsaHash::Sha512) => "rsa-pkcs1v15-sha512",
            Self::MlDsa44 => "ml-dsa-44/1",
            Self::MlDsa65 => "ml-dsa-65/1",
            Self::MlDsa87 => "ml-dsa-87/1",
        }
    }

    /// `keytype` in key objects.
    pub const fn keytype(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 => "ecdsa",
            Self::RsaPss(_) | Self::RsaPkcs1(_) => "rsa",
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => "ml-dsa",
        }
    }

    /// The scheme of a key object, by keytype and scheme; old tools wrote an ECDSA scheme as the keytype too.
    pub fn of_names(keytype: &str, scheme: &str) -> Option<Self> {
        let found = scheme.parse::<Self>().ok()?;
        let old = matches!(found, Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521) && keytype == scheme;
        (old || found.keytype() == keytype).then_some(found)
    }

    /// Whether a key of this type can sign so.
    pub const fn fits(self, kind: KeyType) -> bool {
        match kind {
            KeyType::Ed25519 => matches!(self, Self::Ed25519),
            KeyType::EcdsaP256 => matches!(self, Self::EcdsaP256),
            KeyType::EcdsaP384 => matches!(self, Self::EcdsaP384),
            KeyType::EcdsaP521 => matches!(self, Self::EcdsaP521),
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
                matches!(self, Self::RsaPss(_) | Self::RsaPkcs1(_))
            }
            KeyType::MlDsa44 => matches!(self, Self::MlDsa44),
            KeyType::MlDsa65 => matches!(self, Self::MlDsa65),
            KeyType::MlDsa87 => matches!(self, Self::MlDsa87),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let found = Self::ALL.into_iter().find(|scheme| scheme.name() == text);
        found.ok_or_else(|| KeyError::UnknownType { name: text.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_read_back_their_names_and_go_with_their_keytypes_alone() {
        for scheme in Scheme::ALL {
            assert_eq!(scheme.name().parse(), Ok(scheme));
            assert_eq!(Scheme::of_names(scheme.keytype(), scheme.name()), Some(scheme));
            assert_eq!(Scheme::of_names("other", scheme.name()), None);
            let old = Scheme::of_names(scheme.name(), scheme.name()).is_some();
            assert_eq!(old, scheme == Scheme::Ed25519 || scheme.keytype() == "ecdsa", "{scheme}");
        }
    }
}
