//! Key pairs in slots.

use crypto_bigint::BoxedUint;
use crypto_bigint::modular::BoxedMontyForm;
use getrandom::SysRng;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::rand_core::UnwrapErr;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use sha2::{Digest as _, Sha256, Sha384};

use crate::random::random;
use crate::tlv::tlv;

pub(crate) const P256: u8 = 0x11;
pub(crate) const P384: u8 = 0x14;
pub(crate) const ED25519: u8 = 0xe0;
pub(crate) const RSA2048: u8 = 0x07;
pub(crate) const RSA3072: u8 = 0x05;
pub(crate) const RSA4096: u8 = 0x16;

/// A private key, by the number that the card has for its kind.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
    Rsa(Box<rsa::RsaPrivateKey>),
}

impl Key {
    /// A new one; `None` for a kind that no card here has.
    pub(crate) fn generate(algorithm: u8) -> Option<Self> {
        let bits = match algorithm {
            // A draw that is no scalar of the curve is once in 2^32: another one.
            P256 | P384 => return (0..9).find_map(|_| Self::import(algorithm, &random(size(algorithm)))),
            ED25519 => return Self::import(algorithm, &random(32)),
            RSA2048 => 2048,
            RSA3072 => 3072,
            RSA4096 => 4096,
            _ => return None,
        };
        let key = rsa::RsaPrivateKey::new(&mut UnwrapErr(SysRng), bits).ok()?;
        Some(Self::Rsa(Box::new(key)))
    }

    /// A scalar or a seed.
    pub(crate) fn import(algorithm: u8, secret: &[u8]) -> Option<Self> {
        if secret.len() != size(algorithm) {
            return None;
        }
        match algorithm {
            P256 => p256::ecdsa::SigningKey::from_slice(secret).ok().map(Self::P256),
            P384 => p384::ecdsa::SigningKey::from_slice(secret).ok().map(Self::P384),
            ED25519 => Some(Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(secret.try_into().ok()?))),
            _ => None,
        }
    }

    /// Two primes.
    pub(crate) fn import_rsa(algorithm: u8, p: &[u8], q: &[u8]) -> Option<Self> {
        let [p, q] = [p, q].map(BoxedUint::from_be_slice_vartime);
        let key = Self::Rsa(Box::new(rsa::RsaPrivateKey::from_p_q(p, q, BoxedUint::from(65537_u64)).ok()?));
        (key.algorithm() == algorithm).then_some(key)
    }

    pub(crate) fn algorithm(&self) -> u8 {
        match self {
            Self::P256(_) => P256,
            Self::P384(_) => P384,
            Self::Ed25519(_) => ED25519,
            Self::Rsa(key) => match key.size() {
                256 => RSA2048,
                384 => RSA3072,
                _ => RSA4096,
            },
        }
    }

    /// What GENERATE answers and metadata hold: `86 point`, or `81 n 82 e`.
    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => tlv(0x86, key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P384(key) => tlv(0x86, key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::Ed25519(key) => tlv(0x86, key.verifying_key().as_bytes()),
            Self::Rsa(key) => [tlv(0x81, &key.n_bytes()), tlv(0x82, &key.e_bytes())].concat(),
        }
    }

    /// A SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let oid = |hex: &str| tlv(0x06, &hex::decode(hex).unwrap_or_default());
        let ec = |curve: &str, point: &[u8]| (oid("2a8648ce3d0201"), oid(curve), point.to_vec());
        let (algorithm, parameters, public) = match self {
            Self::P256(key) => ec("2a8648ce3d030107", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P384(key) => ec("2b81040022", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::Ed25519(key) => (oid("2b6570"), Vec::new(), key.verifying_key().as_bytes().to_vec()),
            Self::Rsa(key) => {
                let public = key.to_public_key().to_pkcs1_der().map(|der| der.as_bytes().to_vec());
                (oid("2a864886f70d010101"), tlv(0x05, &[]), public.unwrap_or_default())
            }
        };
        let bits = [vec![0], public].concat();
        tlv(0x30, &[tlv(0x30, &[algorithm, parameters].concat()), tlv(0x03, &bits)].concat())
    }

    /// What the card does with its private key: signs a digest (DER comes back), a whole message by Ed25519, or raises
    /// a padded block to the private exponent. `None` where the input is of no use.
    pub(crate) fn operate(&self, input: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&padded(input, 32)?).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&padded(input, 48)?).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Self::Ed25519(key) => {
                use ed25519_dalek::Signer as _;
                Some(key.sign(input).to_bytes().to_vec())
            }
            Self::Rsa(key) => {
                if input.len() != key.size() {
                    return None;
                }
                let block = BoxedUint::from_be_slice(input, key.n().bits_precision()).ok()?;
                if block >= *key.n().as_ref() {
                    return None;
                }
                let raised = BoxedMontyForm::new(block, key.n_params()).pow(key.d()).retrieve();
                let bytes = raised.to_be_bytes();
                Some(bytes.get(bytes.len().checked_sub(key.size())?..)?.to_vec())
            }
        }
    }

    /// Algorithm identifier and signature over something to be certified.
    pub(crate) fn certify(&self, message: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (oid, input) = match self {
            Self::P256(_) => ("06082a8648ce3d040302", Sha256::digest(message).to_vec()),
            Self::P384(_) => ("06082a8648ce3d040303", Sha384::digest(message).to_vec()),
            Self::Ed25519(_) => ("06032b6570", message.to_vec()),
            Self::Rsa(key) => {
                // RFC 8017, 9.2: 00 01 FF .. 00 DigestInfo
                let info = [hex::decode(SHA256_INFO).ok()?, Sha256::digest(message).to_vec()].concat();
                let filling = vec![0xff; key.size().checked_sub(info.len())?.checked_sub(3)?];
                ("06092a864886f70d01010b0500", [vec![0, 1], filling, vec![0], info].concat())
            }
        };
        Some((tlv(0x30, &hex::decode(oid).ok()?), self.operate(&input)?))
    }

    /// To be kept: what [`Self::from_secret`] takes.
    pub(crate) fn secret(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => key.to_bytes().to_vec(),
            Self::P384(key) => key.to_bytes().to_vec(),
            Self::Ed25519(key) => key.to_bytes().to_vec(),
            Self::Rsa(key) => key.to_pkcs1_der().map(|der| der.as_bytes().to_vec()).unwrap_or_default(),
        }
    }

    pub(crate) fn from_secret(algorithm: u8, secret: &[u8]) -> Option<Self> {
        match algorithm {
            RSA2048 | RSA3072 | RSA4096 => {
                let key = rsa::RsaPrivateKey::from_pkcs1_der(secret).ok()?;
                Some(Self::Rsa(Box::new(key)))
            }
            _ => Self::import(algorithm, secret),
        }
    }
}

const SHA256_INFO: &str = "3031300d060960864801650304020105000420";

/// How long scalar or seed are.
fn size(algorithm: u8) -> usize {
    if algorithm == P384 { 48 } else { 32 }
}

/// A short digest stands at the right; a longer one than the curve takes is refused.
fn padded(digest: &[u8], size: usize) -> Option<Vec<u8>> {
    Some([vec![0; size.checked_sub(digest.len())?], digest.to_vec()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_kept_and_comes_back() {
        for algorithm in [P256, P384, ED25519, RSA2048] {
            let key = Key::generate(algorithm).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let again = Key::from_secret(algorithm, &key.secret()).unwrap();
            assert_eq!(again.public(), key.public());
        }
        assert!(Key::generate(0x06).is_none() && Key::import(P256, &[0; 32]).is_none());
    }

    #[test]
    fn a_raised_block_comes_back_by_the_public_exponent() {
        let key = Key::generate(RSA2048).unwrap();
        let Key::Rsa(rsa) = &key else { panic!("it is RSA") };
        let block = [vec![0, 1], vec![0xab; 254]].concat();
        let signature = key.operate(&block).unwrap();
        let raised = BoxedUint::from_be_slice(&signature, 2048).unwrap();
        let back = BoxedMontyForm::new(raised, rsa.n_params()).pow(rsa.e()).retrieve();
        assert_eq!(back.to_be_bytes().to_vec(), block);
        assert!(key.operate(&[0; 255]).is_none() && key.operate(&[0xff; 256]).is_none());
    }
}
