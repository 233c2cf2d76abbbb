//! Private keys that this process can use itself: those of the file store and of imported files.

mod large;
mod sign;

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use getrandom::SysRng;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::PrivateKeyInfoRef;
use p256::pkcs8::der::asn1::ObjectIdentifier;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use secmem::SecretBytes;
use tuf::key::{KeyError, KeyType, PublicKey, Scheme};
use zeroize::Zeroizing;

/// A private key at rest: its smallest form in locked memory, from which each signature builds
/// what it needs and wipes it again.
pub(crate) struct SoftwareKey {
    public: PublicKey,
    /// Ed25519: the 32-byte seed. ECDSA: the big-endian scalar. RSA: PKCS#1 DER.
    secret: SecretBytes,
    algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// With the public half that belongs to the seed.
    Ed25519(ed25519_dalek::VerifyingKey),
    P256,
    P384,
    Rsa,
}

/// Why bytes are not a private key that can be used here. Holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SoftwareKeyError {
    #[error("it is not a well-formed private key, or its public part does not belong to it")]
    Malformed,
    #[error("keys of the algorithm {0} are not supported")]
    Algorithm(String),
    #[error("{0}")]
    Public(#[from] KeyError),
    #[error("new {0} keys are not made here")]
    NotMade(KeyType),
    #[error("a {kind} key cannot sign as {scheme}")]
    Scheme { kind: KeyType, scheme: Scheme },
    #[error("the system's random generator failed")]
    Random,
    #[error("the signature could not be computed")]
    Signing,
}

impl SoftwareKey {
    /// Makes a new key pair. Blocks: an RSA key takes seconds.
    pub(crate) fn generate(kind: KeyType) -> Result<Self, SoftwareKeyError> {
        match kind {
            KeyType::Ed25519 => Self::from_ed25519_seed(&random_bytes(32)?),
            KeyType::EcdsaP256 => random_scalar(32, Self::from_p256_scalar),
            KeyType::EcdsaP384 => random_scalar(48, Self::from_p384_scalar),
            KeyType::Rsa2048 => Self::generate_rsa(2048),
            KeyType::Rsa3072 => Self::generate_rsa(3072),
            KeyType::Rsa4096 => Self::generate_rsa(4096),
            KeyType::EcdsaP521 | KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => {
                Err(SoftwareKeyError::NotMade(kind))
            }
        }
    }

    pub(crate) fn from_ed25519_seed(seed: &[u8]) -> Result<Self, SoftwareKeyError> {
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| SoftwareKeyError::Malformed)?);
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let public = PublicKey::from_ed25519(key.verifying_key().to_bytes())?;
        let algorithm = Algorithm::Ed25519(key.verifying_key());
        Ok(Self { public, secret: SecretBytes::copy_from(&*seed), algorithm })
    }

    pub(crate) fn from_p256_scalar(scalar: &[u8]) -> Result<Self, SoftwareKeyError> {
        let key = p256::SecretKey::from_slice(scalar).map_err(|_| SoftwareKeyError::Malformed)?;
        let public = PublicKey::from_p256_sec1(key.public_key().to_sec1_point(false).as_bytes())?;
        let scalar = Zeroizing::new(key.to_bytes());
        Ok(Self { public, secret: SecretBytes::copy_from(&scalar), algorithm: Algorithm::P256 })
    }

    pub(crate) fn from_p384_scalar(scalar: &[u8]) -> Result<Self, SoftwareKeyError> {
        let key = p384::SecretKey::from_slice(scalar).map_err(|_| SoftwareKeyError::Malformed)?;
        let public = PublicKey::from_p384_sec1(key.public_key().to_sec1_point(false).as_bytes())?;
        let scalar = Zeroizing::new(key.to_bytes());
        Ok(Self { public, secret: SecretBytes::copy_from(&scalar), algorithm: Algorithm::P384 })
    }

    /// RFC 5915 `ECPrivateKey`; `curve` when the file names it outside.
    pub(crate) fn from_sec1(der: &[u8], curve: Option<ObjectIdentifier>) -> Result<Self, SoftwareKeyError> {
        let inner = sec1::EcPrivateKey::try_from(der).map_err(|_| SoftwareKeyError::Malformed)?;
        let named = inner.parameters.and_then(sec1::EcParameters::named_curve);
        let curve = match (curve, named) {
            (Some(outside), Some(inside)) if outside != inside => return Err(SoftwareKeyError::Malformed),
            (outside, inside) => outside.or(inside).ok_or(SoftwareKeyError::Malformed)?,
        };
        // Checks the public point in the file against the scalar.
        match curve {
            P256_OID => {
                let key = p256::SecretKey::try_from(inner).map_err(|_| SoftwareKeyError::Malformed)?;
                Self::from_p256_scalar(&Zeroizing::new(key.to_bytes()))
            }
            P384_OID => {
                let key = p384::SecretKey::try_from(inner).map_err(|_| SoftwareKeyError::Malformed)?;
                Self::from_p384_scalar(&Zeroizing::new(key.to_bytes()))
            }
            other => Err(SoftwareKeyError::Algorithm(format!("ECDSA on the curve {other}"))),
        }
    }

    /// RFC 8017 `RSAPrivateKey`; checks that the parts belong together.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Self, SoftwareKeyError> {
        let parts = rsa::pkcs1::RsaPrivateKeyRef::try_from(der).map_err(|_| SoftwareKeyError::Malformed)?;
        if parts.modulus.as_bytes().len() > RSA_BYTES_MAX {
            return Err(SoftwareKeyError::Algorithm("RSA with more than 4096 bits".to_owned()));
        }
        let key = rsa::RsaPrivateKey::try_from(parts).map_err(|_| SoftwareKeyError::Malformed)?;
        let public = rsa_public(&key)?;
        // Written anew: the file's own CRT parts may be wrong, and are recomputed, not used.
        let der = rsa::pkcs1::EncodeRsaPrivateKey::to_pkcs1_der(&key);
        let der = der.map_err(|_| SoftwareKeyError::Malformed)?;
        Ok(Self { public, secret: SecretBytes::copy_from(der.as_bytes()), algorithm: Algorithm::Rsa })
    }

    /// RFC 5958 `OneAsymmetricKey`, versions 1 and 2.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, SoftwareKeyError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|_| SoftwareKeyError::Malformed)?;
        match info.algorithm.oid {
            ED25519_OID => {
                // Checks the public key in the file, if there is one, against the seed.
                let key = ed25519_dalek::SigningKey::from_pkcs8_der(der)
                    .map_err(|_| SoftwareKeyError::Malformed)?;
                Self::from_ed25519_seed(&*Zeroizing::new(key.to_bytes()))
            }
            EC_OID => {
                let curve = info.algorithm.parameters_oid().map_err(|_| SoftwareKeyError::Malformed)?;
                Self::from_sec1(info.private_key.as_bytes(), Some(curve))
            }
            RSA_OID | RSA_PSS_OID => Self::from_pkcs1(info.private_key.as_bytes()),
            other => Err(SoftwareKeyError::Algorithm(other.to_string())),
        }
    }

    /// The smallest form, as it rests.
    pub(crate) const fn secret(&self) -> &SecretBytes {
        &self.secret
    }

    /// The key as PKCS#8 DER.
    pub(crate) fn to_pkcs8(&self) -> Result<SecretBytes, SoftwareKeyError> {
        let secret = self.secret.reveal_secret_bytes();
        let document = match self.algorithm {
            Algorithm::Ed25519(_) => self.ed25519()?.to_pkcs8_der().ok(),
            Algorithm::P256 => p256::SecretKey::from_slice(secret).ok().and_then(|k| k.to_pkcs8_der().ok()),
            Algorithm::P384 => p384::SecretKey::from_slice(secret).ok().and_then(|k| k.to_pkcs8_der().ok()),
            Algorithm::Rsa => self.rsa()?.to_pkcs8_der().ok(),
        };
        let document = document.ok_or(SoftwareKeyError::Malformed)?;
        Ok(SecretBytes::copy_from(document.as_bytes()))
    }

    pub(crate) const fn public(&self) -> &PublicKey {
        &self.public
    }

    fn generate_rsa(bits: usize) -> Result<Self, SoftwareKeyError> {
        let mut random = rsa::rand_core::UnwrapErr(SysRng);
        let key = rsa::RsaPrivateKey::new(&mut random, bits).map_err(|_| SoftwareKeyError::Random)?;
        let der = rsa::pkcs1::EncodeRsaPrivateKey::to_pkcs1_der(&key);
        Self::from_pkcs1(der.map_err(|_| SoftwareKeyError::Malformed)?.as_bytes())
    }

    fn ed25519(&self) -> Result<ed25519_dalek::SigningKey, SoftwareKeyError> {
        let seed = self.secret.reveal_secret_bytes();
        ed25519_dalek::SigningKey::try_from(seed).map_err(|_| SoftwareKeyError::Malformed)
    }

    fn rsa(&self) -> Result<rsa::RsaPrivateKey, SoftwareKeyError> {
        rsa::RsaPrivateKey::from_pkcs1_der(self.secret.reveal_secret_bytes())
            .map_err(|_| SoftwareKeyError::Malformed)
    }
}

fn rsa_public(key: &rsa::RsaPrivateKey) -> Result<PublicKey, SoftwareKeyError> {
    let (n, e) = (key.n_bytes(), key.e_bytes());
    Ok(PublicKey::from_rsa(&n, &e)?)
}

fn random_bytes(len: usize) -> Result<Zeroizing<Vec<u8>>, SoftwareKeyError> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    getrandom::fill(&mut bytes).map_err(|_| SoftwareKeyError::Random)?;
    Ok(bytes)
}

/// Draws until the bytes are a scalar: not 0 and below the order (FIPS 186-5, A.2.2). One draw
/// fails with a chance below 2^-32.
fn random_scalar(
    len: usize,
    build: fn(&[u8]) -> Result<SoftwareKey, SoftwareKeyError>,
) -> Result<SoftwareKey, SoftwareKeyError> {
    for _ in 0..100 {
        if let Ok(key) = build(&random_bytes(len)?) {
            return Ok(key);
        }
    }
    Err(SoftwareKeyError::Random)
}

/// A larger key takes seconds for each signature.
const RSA_BYTES_MAX: usize = 512;
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_signs_what_its_public_key_verifies_and_survives_pkcs8() {
        for kind in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let key = SoftwareKey::generate(kind).unwrap();
            assert_eq!(key.public().key_type(), kind);
            let again = SoftwareKey::from_pkcs8(key.to_pkcs8().unwrap().reveal_secret_bytes()).unwrap();
            assert_eq!(again.public(), key.public());
            let signature = again.sign(kind.default_scheme(), b"message").unwrap();
            key.public().verify(b"message", &signature).unwrap();
            assert!(key.public().verify(b"massage", &signature).is_err());
        }
    }

    #[test]
    fn a_public_part_of_another_key_is_refused() {
        for kind in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384] {
            let (one, two) = (SoftwareKey::generate(kind).unwrap(), SoftwareKey::generate(kind).unwrap());
            let (one, two) = (one.to_pkcs8().unwrap(), two.to_pkcs8().unwrap());
            let (one, two) = (one.reveal_secret_bytes(), two.reveal_secret_bytes());
            // The public part is the tail of the DER in all three.
            let tail = one.len() - 30;
            let mixed = [&one[..tail], &two[tail..]].concat();
            assert!(matches!(SoftwareKey::from_pkcs8(&mixed), Err(SoftwareKeyError::Malformed)), "{kind}");
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let key = SoftwareKey::generate(KeyType::Rsa2048).unwrap().to_pkcs8().unwrap();
        let der = key.reveal_secret_bytes();
        for cut in (0..der.len()).step_by(97) {
            assert!(SoftwareKey::from_pkcs8(&der[..cut]).is_err());
        }
        for at in (30..der.len()).step_by(301) {
            let mut changed = der.to_vec();
            changed[at] ^= 1;
            let parsed = SoftwareKey::from_pkcs8(&changed);
            assert!(
                parsed.is_err()
                    || parsed.is_ok_and(|k| k.sign(KeyType::Rsa2048.default_scheme(), b"m").is_ok()),
                "byte {at}"
            );
        }
    }
}
