//! What makes a public key: a seed, a scalar, or one of the secret numbers of RSA.

use super::rsa::Rsa;
use crate::{
    key::{Key, KeyType, PublicKey},
    metadata::Metadata,
};
use std::collections::BTreeSet;

/// The public keys whose private halves are looked for.
#[derive(Clone, Debug, Default)]
pub struct Publics {
    keys: BTreeSet<PublicKey>,
    kinds: BTreeSet<KeyType>,
    rsa: Vec<Rsa>,
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
            if self.keys.insert(public.clone()) {
                self.rsa.extend(Rsa::of(public));
            }
        }
    }

    /// Whether so many bytes can make one of the keys.
    pub(super) fn may_be_made_by(&self, length: usize) -> bool {
        let widths = self.kinds.iter().flat_map(|kind| widths(*kind));
        widths.into_iter().any(|width| is_as_wide(length, *width)) || self.may_be_of_rsa(length)
    }

    /// Whether so many bytes can be the exponent of one of the keys, a prime or an exponent by one.
    pub(super) fn may_be_of_rsa(&self, length: usize) -> bool {
        self.rsa.iter().any(|key| key.may_be_of(length))
    }

    /// Whether these bytes are what one of the keys is made from: the seed of Ed25519, with or without its public key
    /// behind, or of ML-DSA, the scalar of an ECDSA key, the private exponent of RSA or a prime.
    pub(super) fn made_by(&self, bytes: &[u8]) -> bool {
        self.of_seed(bytes)
            || self.of_scalar(bytes)
            || self.rsa.iter().any(|key| key.may_be_of(bytes.len()) && key.is_broken_by(bytes))
    }

    /// Whether a power has to be worked out to see if they are an exponent of RSA: milliseconds for each key.
    pub(super) fn needs_power(&self, bytes: &[u8]) -> bool {
        self.rsa.iter().any(|key| key.needs_power(bytes))
    }

    /// Whether they are such an exponent.
    pub(super) fn undone_by(&self, bytes: &[u8]) -> bool {
        self.rsa.iter().any(|key| key.needs_power(bytes) && key.is_undone_by(bytes))
    }

    /// Whether these bytes have the form of an RSA signature by one of the keys.
    pub(super) fn have_signed(&self, bytes: &[u8]) -> bool {
        self.rsa.iter().any(|key| key.has_signed(bytes))
    }

    fn has(&self, kind: KeyType, key: impl FnOnce() -> Option<PublicKey>) -> bool {
        self.kinds.contains(&kind) && key().is_some_and(|key| self.keys.contains(&key))
    }

    fn of_seed(&self, bytes: &[u8]) -> bool {
        [32, 64].into_iter().filter_map(|width| as_wide(bytes, width)).any(|bytes| {
            let seed = bytes.get(..32).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
            seed.is_some_and(|seed| self.of_whole_seed(seed))
        })
    }

    fn of_whole_seed(&self, seed: [u8; 32]) -> bool {
        self.has(KeyType::Ed25519, || {
            let key = ed25519_dalek::SigningKey::from_bytes(&seed);
            PublicKey::from_ed25519(key.verifying_key().to_bytes()).ok()
        }) || self.has(KeyType::MlDsa44, || PublicKey::of_ml_dsa_seed(KeyType::MlDsa44, seed))
            || self.has(KeyType::MlDsa65, || PublicKey::of_ml_dsa_seed(KeyType::MlDsa65, seed))
            || self.has(KeyType::MlDsa87, || PublicKey::of_ml_dsa_seed(KeyType::MlDsa87, seed))
    }

    fn of_scalar(&self, bytes: &[u8]) -> bool {
        let scalar = |kind, width| as_wide(bytes, width).filter(|_| self.kinds.contains(&kind));
        scalar(KeyType::EcdsaP256, 32).is_some_and(|bytes| {
            self.has(KeyType::EcdsaP256, || {
                let key = p256::ecdsa::SigningKey::from_slice(&bytes).ok()?;
                PublicKey::from_p256_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
            })
        }) || scalar(KeyType::EcdsaP384, 48).is_some_and(|bytes| {
            self.has(KeyType::EcdsaP384, || {
                let key = p384::ecdsa::SigningKey::from_slice(&bytes).ok()?;
                PublicKey::from_p384_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
            })
        }) || scalar(KeyType::EcdsaP521, 66).is_some_and(|bytes| {
            self.has(KeyType::EcdsaP521, || {
                let key = p521::ecdsa::SigningKey::from_slice(&bytes).ok()?;
                PublicKey::from_p521_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
            })
        })
    }
}

/// How many bytes make a key of a kind; RSA keys differ.
fn widths(kind: KeyType) -> &'static [usize] {
    match kind {
        // The public key may stand behind.
        KeyType::Ed25519 => &[32, 64],
        KeyType::EcdsaP256 | KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => &[32],
        KeyType::EcdsaP384 => &[48],
        KeyType::EcdsaP521 => &[66],
        _ => &[],
    }
}

/// Whether so many bytes can be a number of `width` bytes: written without zeros that stand before it, or with one more.
pub(super) fn is_as_wide(length: usize, width: usize) -> bool {
    (width.saturating_sub(MOST_DROPPED)..=width.saturating_add(1)).contains(&length)
}

/// The number in `width` bytes.
fn as_wide(number: &[u8], width: usize) -> Option<Vec<u8>> {
    if !is_as_wide(number.len(), width) {
        return None;
    }
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..)?;
    let mut wide = vec![0; width.checked_sub(digits.len())?];
    wide.extend_from_slice(digits);
    Some(wide)
}

/// Zeros before a number, bytes, that whoever wrote it may have left out: three in one of sixteen million.
const MOST_DROPPED: usize = 3;
