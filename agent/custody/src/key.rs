//! The whole key, for the moments that it exists: on a locked stack. Nothing here is public but the kinds.

use std::fmt;

use ed25519_dalek::SigningKey;
use signature::Signer as _;
use tuf::key::{KeyType, PublicKey, SignatureBytes};
use tuf::preimage::Signable;
use zeroize::Zeroizing;

use crate::slip39::Value;

/// The kinds of key that are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SplitKind {
    /// The secret is the 32-byte seed of RFC 8032.
    Ed25519,
    /// The secret is the scalar, big-endian.
    EcdsaP256,
}

impl SplitKind {
    /// The kind of such keys; `None` for keys that are not split.
    pub const fn of(kind: KeyType) -> Option<Self> {
        match kind {
            KeyType::Ed25519 => Some(Self::Ed25519),
            KeyType::EcdsaP256 => Some(Self::EcdsaP256),
            _ => None,
        }
    }

    /// As all keys are called.
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::Ed25519 => KeyType::Ed25519,
            Self::EcdsaP256 => KeyType::EcdsaP256,
        }
    }
}

impl fmt::Display for SplitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key_type().name())
    }
}

/// How many bytes the secret of either kind has.
pub(crate) const KEY_LEN: usize = 32;

/// A new secret from the system's random generator.
pub(crate) fn random(kind: SplitKind) -> std::io::Result<Value> {
    let mut secret = Value::zero(KEY_LEN);
    // One draw is no scalar of P-256 with a chance of 2^-32 (FIPS 186-5, A.2.2).
    for _ in 0..100 {
        secmem::fill_random(secret.get_mut())?;
        if public_of(kind, &secret).is_some() {
            return Ok(secret);
        }
    }
    Err(std::io::Error::other("the random generator gives no scalars"))
}

/// The public key of a secret; `None` when it is no key of this kind.
pub(crate) fn public_of(kind: SplitKind, secret: &Value) -> Option<PublicKey> {
    match kind {
        SplitKind::Ed25519 => PublicKey::from_ed25519(ed25519(secret)?.verifying_key().to_bytes()).ok(),
        SplitKind::EcdsaP256 => {
            let key = p256::ecdsa::SigningKey::from_slice(secret.get()).ok()?;
            PublicKey::from_p256_sec1(&key.verifying_key().to_sec1_point(true).to_bytes()).ok()
        }
    }
}

/// A signature that verifies: 64 bytes of Ed25519, or DER of ECDSA by RFC 6979, as the file store makes them.
pub(crate) fn signed(
    kind: SplitKind,
    secret: &Value,
    public: &PublicKey,
    signable: Signable<'_>,
) -> Option<SignatureBytes> {
    let bytes = match kind {
        SplitKind::Ed25519 => ed25519(secret)?.sign(signable.bytes()).to_bytes().to_vec(),
        SplitKind::EcdsaP256 => {
            let key = p256::ecdsa::SigningKey::from_slice(secret.get()).ok()?;
            let signature: p256::ecdsa::Signature = key.sign(signable.bytes());
            signature.to_der().as_bytes().to_vec()
        }
    };
    signable.verify(public, kind.key_type().default_scheme(), &bytes).ok()?;
    Some(SignatureBytes::new(bytes))
}

fn ed25519(secret: &Value) -> Option<SigningKey> {
    let seed = Zeroizing::new(<[u8; KEY_LEN]>::try_from(secret.get()).ok()?);
    Some(SigningKey::from_bytes(&seed))
}
