//! What makes a public key: a seed, a scalar, or the secret numbers of RSA.

use crate::{
    key::{Key, KeyType, PublicKey},
    metadata::Metadata,
};
use rsa::BoxedUint;
use std::collections::BTreeSet;

/// The public keys whose private halves are looked for.
#[derive(Clone, Debug, Default)]
pub struct Publics {
    keys: BTreeSet<PublicKey>,
    kinds: BTreeSet<KeyType>,
}

impl Publics {
    /// Takes the keys that a root or a targets role brings.
    pub fn add(&mut self, metadata: &Metadata) {
        let delegations = metadata.as_targets().and_then(|targets| targets.delegations.as_ref());
        let keys = metadata.as_root().map(|root| &root.keys).or(delegations.map(|d| &d.keys));
        keys.into_iter().flat_map(|keys| keys.values()).for_each(|key| self.add_key(key));
    }

    /// Takes the key objects of a document that may be no metadata at all.
    pub fn add_objects(&mut self, value: crate::json::Value<'_>) {
        if value.get("keyval").is_some() {
            Key::parse(value).iter().for_each(|key| self.add_key(key));
        }
        value
            .members()
            .map(|(_, inner)| inner)
            .chain(value.items())
            .for_each(|inner| self.add_objects(inner));
    }

    fn add_key(&mut self, key: &Key) {
        if let Ok(public) = key.public_key() {
            self.kinds.insert(public.key_type());
            self.keys.insert(public.clone());
        }
    }

    /// Whether so many bytes can make one of the keys.
    pub(super) fn may_be_made_by(&self, length: usize) -> bool {
        matches!(length, 32 | 33 | 48 | 64 | 66) || self.may_be_of_rsa(length)
    }

    /// Whether so many bytes can be the exponent or a prime of one of the keys.
    pub(super) fn may_be_of_rsa(&self, length: usize) -> bool {
        self.of_rsa().any(|(n, _)| is_exponent(length, &n) || is_prime(length, &n))
    }

    fn of_rsa(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        // Nothing is written anew for each text of a document without such keys.
        let any = self.kinds.iter().any(|kind| kind.default_scheme().keytype() == "rsa");
        self.keys.iter().filter(move |_| any).filter_map(PublicKey::rsa_parts)
    }

    /// Whether these bytes are what one of the keys is made from: the seed of Ed25519, with or without its public key
    /// behind, or of ML-DSA, the scalar of an ECDSA key, the private exponent or a prime of RSA.
    pub(super) fn made_by(&self, bytes: &[u8]) -> bool {
        self.of_seed(bytes) || self.of_scalar(bytes) || self.of_rsa().any(|(n, e)| breaks(&n, &e, bytes))
    }

    fn has(&self, kind: KeyType, key: impl FnOnce() -> Option<PublicKey>) -> bool {
        self.kinds.contains(&kind) && key().is_some_and(|key| self.keys.contains(&key))
    }

    fn of_seed(&self, bytes: &[u8]) -> bool {
        let seed = bytes.get(..32).filter(|_| matches!(bytes.len(), 32 | 64));
        let Some(seed) = seed.and_then(|seed| <[u8; 32]>::try_from(seed).ok()) else { return false };
        self.has(KeyType::Ed25519, || {
            let key = ed25519_dalek::SigningKey::from_bytes(&seed);
            PublicKey::from_ed25519(key.verifying_key().to_bytes()).ok()
        }) || self.has(KeyType::MlDsa44, || PublicKey::of_ml_dsa_seed(KeyType::MlDsa44, seed))
            || self.has(KeyType::MlDsa65, || PublicKey::of_ml_dsa_seed(KeyType::MlDsa65, seed))
            || self.has(KeyType::MlDsa87, || PublicKey::of_ml_dsa_seed(KeyType::MlDsa87, seed))
    }

    fn of_scalar(&self, bytes: &[u8]) -> bool {
        let bytes = if bytes.len() == 33 { bytes.strip_prefix(&[0]).unwrap_or_default() } else { bytes };
        match bytes.len() {
            32 => self.has(KeyType::EcdsaP256, || {
                let key = p256::ecdsa::SigningKey::from_slice(bytes).ok()?;
                PublicKey::from_p256_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
            }),
            48 => self.has(KeyType::EcdsaP384, || {
                let key = p384::ecdsa::SigningKey::from_slice(bytes).ok()?;
                PublicKey::from_p384_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
            }),
            66 => self.has(KeyType::EcdsaP521, || {
                let key = p521::ecdsa::SigningKey::from_slice(bytes).ok()?;
                PublicKey::from_p521_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
            }),
            _ => false,
        }
    }
}

/// A private exponent may be some bits shorter than the modulus.
fn is_exponent(length: usize, n: &[u8]) -> bool {
    (n.len().saturating_sub(8)..=n.len().saturating_add(1)).contains(&length)
}

/// Primes have half of the bits; a zero may stand before them.
fn is_prime(length: usize, n: &[u8]) -> bool {
    let half = n.len().div_ceil(2);
    (half.saturating_sub(1)..=half.saturating_add(1)).contains(&length)
}

/// Whether the number divides the modulus, or takes back what the public exponent does.
fn breaks(n: &[u8], e: &[u8], number: &[u8]) -> bool {
    let of = BoxedUint::from_be_slice_vartime;
    let modulus = of(n);
    if is_prime(number.len(), n) {
        let number = of(number);
        let divides = |by| bool::from(modulus.rem_vartime::<BoxedUint>(by).is_zero());
        return number > BoxedUint::one() && number.as_nz_vartime().is_some_and(divides);
    }
    let Some(odd) = modulus.as_odd_vartime().filter(|_| is_exponent(number.len(), n)) else { return false };
    // As wide as the modulus.
    let mut two = vec![0; n.len()];
    two.last_mut().into_iter().for_each(|byte| *byte = 2);
    let two = of(&two);
    two.pow_mod(&of(number), odd).pow_mod(&of(e), odd) == two
}
