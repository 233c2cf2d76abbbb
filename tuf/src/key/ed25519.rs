//! Ed25519 over large texts. What a signature costs there is the SHA-512 of the text, three times over: twice to sign, once
//! to verify. The third can be taken while the second is.

use super::PublicKey;
use ed25519_dalek::{Signature, SignatureError, VerifyingKey, hazmat};
use sha2::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update, consts::U64};

/// From this size on, bytes, a text is hashed by ring, which takes two thirds of the time.
const LARGE: usize = 1 << 16;

/// Verifies strictly, as `VerifyingKey::verify_strict` does, whatever the size.
pub(super) fn verify(
    key: &VerifyingKey,
    message: &[u8],
    signature: &Signature,
) -> Result<(), SignatureError> {
    if message.len() < LARGE {
        return key.verify_strict(message, signature);
    }
    Challenge::of(*key, *signature.r_bytes(), message).check(signature)
}

/// The SHA-512 of R, the key and the text, which binds a signature to them (RFC 8032, 5.1.7), taken of these very bytes.
pub(crate) struct Challenge {
    key: VerifyingKey,
    r: [u8; 32],
    hash: [u8; 64],
}

impl Challenge {
    fn of(key: VerifyingKey, r: [u8; 32], message: &[u8]) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA512);
        for part in [r.as_slice(), key.as_bytes(), message] {
            context.update(part);
        }
        let mut hash = [0; 64];
        hash.copy_from_slice(context.finish().as_ref());
        Self { key, r, hash }
    }

    /// Of a signature over `message` that begins with `r`; none where `key` is no Ed25519 key.
    pub(crate) fn foreseen(key: &PublicKey, r: [u8; 32], message: &[u8]) -> Option<Self> {
        Some(Self::of(*key.ed25519()?, r, message))
    }

    /// Whether it is that of this signature, by this key.
    pub(crate) fn is_of(&self, key: &PublicKey, signature: &[u8]) -> bool {
        key.ed25519() == Some(&self.key) && signature.get(..32) == Some(&self.r)
    }

    /// Verifies a signature that begins with R.
    pub(crate) fn check(&self, signature: &Signature) -> Result<(), SignatureError> {
        // R and key of small order: what makes it strict.
        let point = VerifyingKey::from_bytes(signature.r_bytes())?;
        if *signature.r_bytes() != self.r || point.is_weak() || self.key.is_weak() {
            return Err(SignatureError::new());
        }
        hazmat::raw_verify::<Given>(&self.key, &self.hash, signature)
    }
}

/// A hash function for [`hazmat::raw_verify`], which says R, the key and the message to it: the message is the hash of all
/// three.
struct Given {
    said: [u8; 128],
    len: usize,
}

impl Default for Given {
    fn default() -> Self {
        Self { said: [0; 128], len: 0 }
    }
}

impl Update for Given {
    fn update(&mut self, data: &[u8]) {
        let room = self.said.iter_mut().skip(self.len);
        room.zip(data).for_each(|(place, byte)| *place = *byte);
        self.len += data.len();
    }
}

impl OutputSizeUser for Given {
    type OutputSize = U64;
}

impl FixedOutput for Given {
    fn finalize_into(self, out: &mut Output<Self>) {
        let (_, hash) = self.said.split_at(64);
        out.copy_from_slice(hash);
    }
}

impl HashMarker for Given {}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;

    use super::*;

    fn both(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
        let good = Challenge::of(*key, *signature.r_bytes(), message).check(signature).is_ok();
        assert_eq!(good, key.verify_strict(message, signature).is_ok());
        assert_eq!(good, verify(key, message, signature).is_ok());
        good
    }

    proptest! {
        #[test]
        fn it_says_what_the_strict_one_says(seed: [u8; 32], len in 0_usize..3 * LARGE, at: usize, bit in 0..8) {
            let (key, other) = (SigningKey::from_bytes(&seed), SigningKey::from_bytes(&[1; 32]));
            let mut message = vec![seed[0]; len];
            let good = key.sign(&message);
            prop_assert!(both(&key.verifying_key(), &message, &good));
            prop_assert!(!both(&other.verifying_key(), &message, &good));
            let mut bytes = good.to_bytes();
            bytes[at % 64] ^= 1_u8 << bit;
            prop_assert!(!both(&key.verifying_key(), &message, &Signature::from_bytes(&bytes)));
            if len > 0 {
                message[at % len] ^= 1_u8 << bit;
                prop_assert!(!both(&key.verifying_key(), &message, &good));
            }
        }
    }

    /// Points of small order, as key and as R, with s = 0: the equation holds for many texts, and the strict one refuses.
    #[test]
    fn weak_keys_and_points_are_refused() {
        let identity: [u8; 32] = std::array::from_fn(|at| u8::from(at == 0));
        let mut nobody = [0; 64];
        nobody[..32].copy_from_slice(&identity);
        let nobody = Signature::from_bytes(&nobody);
        let (weak, strong) =
            (VerifyingKey::from_bytes(&identity).unwrap(), SigningKey::from_bytes(&[1; 32]).verifying_key());
        let message = vec![7; LARGE];
        assert!(hazmat::raw_verify::<sha2::Sha512>(&weak, &message, &nobody).is_ok(), "the equation holds");
        assert!(!both(&weak, &message, &nobody) && !both(&strong, &message, &nobody));
        // No point at all.
        let nowhere = Signature::from_bytes(&std::array::from_fn(|at| if at < 32 { 0xFE } else { 0 }));
        assert!(!both(&strong, &message, &nowhere));
    }

    #[test]
    fn a_challenge_is_of_one_key_and_one_beginning() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let public = |key: &SigningKey| PublicKey::from_ed25519(key.verifying_key().to_bytes()).unwrap();
        let (mine, others) = (key.sign(b"text"), key.sign(b"other text"));
        let challenge = Challenge::foreseen(&public(&key), *mine.r_bytes(), b"text").unwrap();
        assert!(challenge.is_of(&public(&key), &mine.to_bytes()) && challenge.check(&mine).is_ok());
        assert!(!challenge.is_of(&public(&other), &mine.to_bytes()));
        assert!(!challenge.is_of(&public(&key), &others.to_bytes()) && challenge.check(&others).is_err());
        assert!(!challenge.is_of(&public(&key), &mine.to_bytes()[..31]));
    }
}
