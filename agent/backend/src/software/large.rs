//! Ed25519 over a large text: it is hashed twice to make the signature, and a third time to verify it. The third is done
//! beside the second, from the moment at which the first half of the signature is known.

use std::cell::RefCell;
use std::thread::{Builder, scope};

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::raw_sign_byupdate;
use sha2::Sha512;
use sha2::digest::consts::U64;
use sha2::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update};
use zeroize::Zeroizing;

use super::SoftwareKeyError;
use super::sign::expanded;

/// A signature, and meanwhile `foresee` on another thread, with R, its first half; not where no thread is to be had.
pub(super) fn sign_ed25519(
    seed: &[u8],
    public: &VerifyingKey,
    message: &[u8],
    foresee: impl Fn([u8; 32]) + Sync,
) -> Result<Vec<u8>, SoftwareKeyError> {
    let expanded = expanded(seed)?;
    scope(|scope| {
        let beside = RefCell::new(None);
        let signed = raw_sign_byupdate(
            &expanded,
            |hash: &mut Heard| {
                if let Some(r) = hash.challenged(public) {
                    let foresee = &foresee;
                    *beside.borrow_mut() = Builder::new().spawn_scoped(scope, move || foresee(r)).ok();
                }
                hash.update(message);
                Ok(())
            },
            public,
        );
        // Joined here, so that a panic over there costs no more than the time.
        let _ = beside.take().map(|thread| thread.join());
        Ok(signed.map_err(|_| SoftwareKeyError::Signing)?.to_bytes().to_vec())
    })
}

/// SHA-512 that remembers with what it began: a secret the first time, R and the key the second (RFC 8032, 5.1.6).
struct Heard {
    hash: Sha512,
    began: Zeroizing<[u8; 64]>,
    len: usize,
}

impl Heard {
    /// R, where R and this key is what it has heard.
    fn challenged(&self, public: &VerifyingKey) -> Option<[u8; 32]> {
        let (r, key) = self.began.split_at(32);
        let heard = self.len == self.began.len() && key == public.as_bytes();
        r.try_into().ok().filter(|_| heard)
    }
}

impl Default for Heard {
    fn default() -> Self {
        Self { hash: Sha512::default(), began: Zeroizing::new([0; 64]), len: 0 }
    }
}

impl Update for Heard {
    fn update(&mut self, data: &[u8]) {
        let room = self.began.iter_mut().skip(self.len);
        room.zip(data).for_each(|(place, byte)| *place = *byte);
        self.len = self.len.saturating_add(data.len());
        self.hash.update(data);
    }
}

impl OutputSizeUser for Heard {
    type OutputSize = U64;
}

impl FixedOutput for Heard {
    fn finalize_into(self, out: &mut Output<Self>) {
        self.hash.finalize_into(out);
    }
}

impl HashMarker for Heard {}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    #[test]
    fn it_is_the_signature_and_its_first_half_is_told_once() {
        for len in [0, 31, 32, 64, 1 << 20] {
            let (key, message) = (SigningKey::from_bytes(&[3; 32]), vec![5; len]);
            let told = Mutex::new(Vec::new());
            let foresee = |r| told.lock().unwrap().push(r);
            let signature = sign_ed25519(&[3; 32], &key.verifying_key(), &message, foresee).unwrap();
            assert_eq!(signature, key.sign(&message).to_bytes());
            assert_eq!(told.into_inner().unwrap(), [<[u8; 32]>::try_from(&signature[..32]).unwrap()]);
        }
    }

    #[test]
    fn a_thread_that_panics_costs_no_signature() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let signature = sign_ed25519(&[3; 32], &key.verifying_key(), b"text", |_| panic!("beside")).unwrap();
        assert_eq!(signature, key.sign(b"text").to_bytes());
    }
}
