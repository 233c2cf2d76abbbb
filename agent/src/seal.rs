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
use secmem::SecretBytes;
use tufagent_proto::v1::Sealed;

use crate::limits;
use crate::refusal::Refusal;

/// The `info` of every seal.
pub const INFO: &[u8] = b"tuf-agent seal v1";

type Kem = X25519HkdfSha256;
/// Length of the AEAD's tag, bytes.
const TAG: usize = 16;

/// The key pair of one connection, made on first use.
#[derive(Default)]
pub struct SealKey(OnceLock<KeyPair>);

struct KeyPair {
    private: <Kem as hpke::Kem>::PrivateKey,
    public: <Kem as hpke::Kem>::PublicKey,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl SealKey {
    /// The public key that the client seals to.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.pair().public.to_bytes().to_vec()
    }

    fn pair(&self) -> &KeyPair {
        self.0.get_or_init(|| {
            let (private, public) = Kem::gen_keypair();
            KeyPair { private, public }
        })
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
        // Decrypted in place, inside the locked pages: the plaintext lies nowhere else.
        let mut opened = Err(hpke::HpkeError::OpenError);
        let secret = SecretBytes::with_len(length, |buffer| {
            buffer.copy_from_slice(ciphertext);
            opened = single_shot_open_inout_detached::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &OpModeR::Base,
                &pair.private,
                &encapped,
                INFO,
                InOutBuf::from(buffer),
                purpose.as_bytes(),
                &tag,
            );
        });
        opened.map_err(|_| refused())?;
        Ok(secret)
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpke::single_shot_seal;

    fn seal(key: &SealKey, plain: &[u8], purpose: &str) -> Sealed {
        let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&key.public_key()).unwrap();
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
    fn another_use_another_connection_or_damage_is_refused() {
        let key = SealKey::default();
        let mut sealed = seal(&key, b"1234", "unlock:file");
        assert!(key.open(&sealed, "unlock:hsm").is_err());
        let other = SealKey::default();
        let _ = other.public_key();
        assert!(other.open(&sealed, "unlock:file").is_err());
        sealed.ciphertext[0] ^= 1;
        assert!(key.open(&sealed, "unlock:file").is_err());
        sealed.ciphertext.truncate(3);
        assert!(key.open(&sealed, "unlock:file").is_err());
    }
}
