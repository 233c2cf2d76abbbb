//! Secrets cross the socket sealed: HPKE base mode to a key that lives as long as the connection.
//!
//! Suite (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. The additional data names
//! the use, so that what was sealed to unlock one token cannot be replayed for another.

use std::sync::OnceLock;

use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, single_shot_open_inout_detached,
    single_shot_seal_inout_detached,
};
use policy::Reason;
use secmem::{SecretBytes, on_locked_stack};
use tufagent_proto::v1::Sealed;

use crate::limits;
use crate::refusal::Refusal;

/// The `info` of every seal.
pub const INFO: &[u8] = b"tuf-agent seal v1";

type Kem = X25519HkdfSha256;
/// Length of the AEAD's tag, bytes.
const TAG: usize = 16;

/// The key pair of one connection or collection, made on first use. Its private half lies in locked memory, and is used on a
/// stack that is wiped: what was sealed to it may lie elsewhere for as long as it likes.
#[derive(Default)]
pub struct SealKey(OnceLock<KeyPair>);

struct KeyPair {
    private: SecretBytes,
    public: Vec<u8>,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl SealKey {
    /// The public key that the client seals to.
    ///
    /// # Errors
    /// `INTERNAL` where the system has no memory or no randomness for it.
    pub fn public_key(&self) -> Result<Vec<u8>, Refusal> {
        if self.0.get().is_none() {
            let made = on_locked_stack(KeyPair::generate).map_err(Refusal::internal)??;
            // Of two that come at once one stays.
            let _ = self.0.set(made);
        }
        let pair = self.0.get().ok_or_else(|| Refusal::internal("a key that was made is not there"))?;
        Ok(pair.public.clone())
    }

    /// Opens what was sealed on this connection for this use, such as `unlock:TOKEN`.
    ///
    /// # Errors
    /// `USAGE` when it was sealed to another connection, for another use, or is damaged; it never says which.
    pub fn open(&self, sealed: &Sealed, purpose: &str) -> Result<SecretBytes, Refusal> {
        let refused = || {
            Refusal::new(Reason::Usage, "the sealed secret cannot be opened on this connection")
                .remedy("ask OpenSeal again on the same connection and seal for this very use")
        };
        let pair = self.0.get().ok_or_else(refused)?;
        let length = sealed.ciphertext.len().checked_sub(TAG).ok_or_else(refused)?;
        // Locked memory is scarce: what waits in it must be small.
        let limit = if purpose.starts_with("import:") { limits::KEY_FILE } else { limits::SECRET };
        if length > limit {
            let message = format!("the sealed secret has {length} bytes, over the limit of {limit}");
            return Err(Refusal::new(Reason::Limit, message)
                .remedy("send the secret alone")
                .detail("limit", limit));
        }
        let (ciphertext, tag) = sealed.ciphertext.split_at_checked(length).ok_or_else(refused)?;
        let encapped =
            <Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated_key).map_err(|_| refused())?;
        let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).map_err(|_| refused())?;
        on_locked_stack(|| {
            let private = <Kem as hpke::Kem>::PrivateKey::from_bytes(pair.private.reveal_secret_bytes())?;
            // Decrypted in place, inside the locked pages: the plaintext lies nowhere else.
            SecretBytes::try_with_len(length, |buffer| {
                buffer.copy_from_slice(ciphertext);
                single_shot_open_inout_detached::<ChaCha20Poly1305, HkdfSha256, Kem>(
                    &OpModeR::Base,
                    &private,
                    &encapped,
                    INFO,
                    InOutBuf::from(buffer),
                    purpose.as_bytes(),
                    &tag,
                )
            })
        })
        .map_err(Refusal::internal)?
        .map_err(|_: hpke::HpkeError| refused())
    }
}

impl KeyPair {
    /// On a stack that is wiped.
    fn generate() -> Result<Self, Refusal> {
        let private = SecretBytes::random(KEY).map_err(Refusal::internal)?;
        let key = <Kem as hpke::Kem>::PrivateKey::from_bytes(private.reveal_secret_bytes())
            .map_err(Refusal::internal)?;
        let public = Kem::sk_to_pk(&key).to_bytes().to_vec();
        Ok(Self { private, public })
    }
}

/// Seals a secret to a client's own key, for this use, such as `share:SET:CUSTODIAN`. It is encrypted where it lies, in
/// locked memory.
///
/// # Errors
/// `USAGE` for a key that is none.
pub fn seal_to(key: &[u8], secret: &SecretBytes, purpose: &str) -> Result<Sealed, Refusal> {
    let refused = || {
        Refusal::new(Reason::Usage, "nothing can be sealed to the key that the client gave")
            .remedy("give the 32 bytes of an X25519 public key")
    };
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(key).map_err(|_| refused())?;
    on_locked_stack(|| {
        let mut sealed = Sealed::default();
        let _ = SecretBytes::try_with_len(secret.len(), |buffer| {
            buffer.copy_from_slice(secret.reveal_secret_bytes());
            let (encapped, tag) = single_shot_seal_inout_detached::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &OpModeS::Base,
                &public,
                INFO,
                InOutBuf::from(&mut *buffer),
                purpose.as_bytes(),
            )
            .map_err(|_| refused())?;
            sealed.encapsulated_key = encapped.to_bytes().to_vec();
            sealed.ciphertext = [&*buffer, &tag.to_bytes()].concat();
            Ok::<(), Refusal>(())
        })?;
        Ok(sealed)
    })
    .map_err(Refusal::internal)?
}

/// Length of an X25519 key.
const KEY: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use hpke::single_shot_seal;

    fn seal(key: &SealKey, plain: &[u8], purpose: &str) -> Sealed {
        let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&key.public_key().unwrap()).unwrap();
        let (encapped, ciphertext) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeS::Base,
            &public,
            INFO,
            plain,
            purpose.as_bytes(),
        )
        .unwrap();
        Sealed { encapsulated_key: encapped.to_bytes().to_vec(), ciphertext }
    }

    #[test]
    fn a_secret_opens_on_its_connection_for_its_use() {
        let key = SealKey::default();
        let sealed = seal(&key, b"1234", "unlock:file");
        assert_eq!(key.open(&sealed, "unlock:file").unwrap().reveal_secret_bytes(), b"1234");
    }

    #[test]
    fn the_private_half_lies_where_secrets_do_and_is_a_pair_with_the_public_one() {
        let key = SealKey::default();
        let public = key.public_key().unwrap();
        assert_eq!(key.public_key().unwrap(), public);
        let pair = key.0.get().unwrap();
        let here = SecretBytes::copy_from(b"x").residence();
        assert_eq!((pair.private.len(), pair.private.residence()), (KEY, here));
    }

    #[test]
    fn another_use_another_connection_or_damage_is_refused() {
        let key = SealKey::default();
        let mut sealed = seal(&key, b"1234", "unlock:file");
        assert!(key.open(&sealed, "unlock:hsm").is_err());
        let other = SealKey::default();
        other.public_key().unwrap();
        assert!(other.open(&sealed, "unlock:file").is_err());
        sealed.ciphertext[0] ^= 1;
        assert!(key.open(&sealed, "unlock:file").is_err());
        sealed.ciphertext.truncate(3);
        assert!(key.open(&sealed, "unlock:file").is_err());
    }
}
