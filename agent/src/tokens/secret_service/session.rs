//! The key under which a secret crosses the bus: `dh-ietf1024-sha256-aes128-cbc-pkcs7` of the Secret Service API, version 0.2.
//!
//! Diffie and Hellman in the second Oakley group (RFC 2409, 6.2), HKDF with SHA-256, AES-128 in CBC mode. It keeps the
//! secret out of what others may read of the bus afterwards; it proves nothing of who answers.

use aes::Aes128;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U1024};
use hkdf::Hkdf;
use secmem::SecretBytes;
use sha2::Sha256;
use zeroize::Zeroizing;

/// RFC 2409, 6.2; the generator is 2.
const PRIME: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
                     ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
                     ee386bfb5a899fa5ae9f24117c4b1fe649286651ece65381ffffffffffffffff";
/// Length of the prime, bytes.
const LENGTH: usize = 128;

/// Our half of an exchange.
pub(super) struct Exchange {
    own: Zeroizing<U1024>,
}

/// The key that both sides have.
pub(super) struct Key(Zeroizing<[u8; 16]>);

impl Exchange {
    /// With a new random exponent.
    pub(super) fn begin() -> std::io::Result<Self> {
        let random = SecretBytes::random(LENGTH)?;
        Ok(Self { own: Zeroizing::new(U1024::from_be_slice(random.reveal_secret_bytes())) })
    }

    /// What the other side gets.
    pub(super) fn public(&self) -> Vec<u8> {
        power(&U1024::from_u8(2), &self.own).to_be_bytes().as_ref().to_vec()
    }

    /// None: what the other side gave is no number of the group, or one that gives no secret.
    pub(super) fn agree(self, theirs: &[u8]) -> Option<Key> {
        let room = LENGTH.checked_sub(theirs.len())?;
        let mut padded = [0; LENGTH];
        padded.get_mut(room..)?.copy_from_slice(theirs);
        let theirs = U1024::from_be_slice(&padded);
        let last = prime().wrapping_sub(&U1024::ONE);
        if theirs <= U1024::ONE || theirs >= last {
            return None;
        }
        let shared = Zeroizing::new(power(&theirs, &self.own));
        let bytes = Zeroizing::new(shared.to_be_bytes());
        let mut key = Zeroizing::new([0; 16]);
        Hkdf::<Sha256>::new(None, bytes.as_ref()).expand(&[], key.as_mut()).ok()?;
        Some(Key(key))
    }
}

impl Key {
    /// Opens what was sealed under this key, inside locked memory.
    pub(super) fn open(&self, vector: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
        let cipher = cbc::Decryptor::<Aes128>::new_from_slices(self.0.as_ref(), vector).ok()?;
        let mut length = None;
        let secret = SecretBytes::with_len(sealed.len(), |buffer| {
            buffer.copy_from_slice(sealed);
            length = cipher.decrypt_padded::<Pkcs7>(buffer).ok().map(<[u8]>::len);
        });
        length.map(|length| secret.shortened_to(length))
    }
}

fn prime() -> U1024 {
    U1024::from_be_hex(PRIME)
}

fn power(base: &U1024, exponent: &U1024) -> U1024 {
    let Some(odd) = Odd::new(prime()).into_option() else { return U1024::ZERO };
    FixedMontyForm::new(base, &FixedMontyParams::new(odd)).pow(exponent).retrieve()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cbc::cipher::BlockModeEncrypt as _;

    #[test]
    fn both_sides_come_to_one_key_and_what_is_sealed_by_it_opens() {
        let (ours, theirs) = (Exchange::begin().unwrap(), Exchange::begin().unwrap());
        let (to_them, to_us) = (ours.public(), theirs.public());
        let (key, same) = (ours.agree(&to_us).unwrap(), theirs.agree(&to_them).unwrap());
        assert_eq!(key.0, same.0);
        let seal = |text: &[u8]| {
            let cipher = cbc::Encryptor::<Aes128>::new_from_slices(same.0.as_ref(), &[7; 16]).unwrap();
            let mut room = [text, &[0; 16]].concat();
            cipher.encrypt_padded::<Pkcs7>(&mut room, text.len()).unwrap().to_vec()
        };
        for text in [&b""[..], b"1234", &[b'x'; 64]] {
            assert_eq!(key.open(&[7; 16], &seal(text)).unwrap().reveal_secret_bytes(), text);
        }
        for (vector, sealed) in [(&[7; 15][..], &seal(b"1234")[..]), (&[7; 16], b"short"), (&[7; 16], b"")] {
            assert!(key.open(vector, sealed).is_none());
        }
    }

    #[test]
    fn numbers_that_give_no_secret_are_refused() {
        let last = prime().wrapping_sub(&U1024::ONE).to_be_bytes();
        for theirs in [&[][..], &[0], &[1], last.as_ref(), &[0xff; 128], &[1; 129]] {
            assert!(Exchange::begin().unwrap().agree(theirs).is_none(), "{theirs:?}");
        }
        assert!(Exchange::begin().unwrap().agree(&[2]).is_some());
    }
}
