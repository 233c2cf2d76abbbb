//! Sealing secrets to the key of this connection: HPKE base mode, as `Sealed` in the proto says.

use custody::SecretBytes;
use hpke::aead::ChaCha20Poly1305;
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, OpModeS, Serializable};
use tuf::digest::Sha256Digest;
use tufagent_proto::v1;

use crate::error::{Failure, reason};

/// What a sealed secret is for; bound to it, so that it cannot be used for anything else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SealUse<'a> {
    /// The present secret of a token.
    Unlock(&'a str),
    /// The new secret of a token.
    NewSecret(&'a str),
    /// The PIN of a token for one signature over what has this digest.
    Sign(&'a str, &'a str),
    /// A private key file or its passphrase, for a new key of this name.
    Import(&'a str),
    /// The management key of a YubiKey, for the key of this name.
    ManagementKey(&'a str),
    /// The present PUK of a YubiKey.
    Puk(&'a str),
    /// The new PUK of a YubiKey.
    NewPuk(&'a str),
    /// The management key of a YubiKey that is to get another.
    OldManagementKey(&'a str),
    /// The passphrase of a backup that is made.
    Backup,
    /// The passphrase of a backup that is restored.
    Restore,
    /// The passphrase that a custodian's share of a key is to be sealed under: key, custodian.
    SplitPassphrase(&'a str, &'a str),
    /// A share, as the proof that its custodian has it: the set's digest.
    Confirm(&'a str),
    /// A share, for a collection and all that is told of it.
    Collect(&'a v1::Collection),
}

impl SealUse<'_> {
    fn aad(&self) -> String {
        match self {
            Self::Unlock(token) => format!("unlock:{token}"),
            Self::NewSecret(token) => format!("new-secret:{token}"),
            Self::Sign(token, sha256) => format!("sign:{token}:{sha256}"),
            Self::Import(key) => format!("import:{key}"),
            Self::ManagementKey(key) => format!("management-key:{key}"),
            Self::Puk(token) => format!("puk:{token}"),
            Self::NewPuk(token) => format!("new-puk:{token}"),
            Self::OldManagementKey(token) => format!("old-management-key:{token}"),
            Self::Backup => "backup".to_owned(),
            Self::Restore => "restore".to_owned(),
            Self::SplitPassphrase(key, custodian) => format!("split-passphrase:{key}:{custodian}"),
            Self::Confirm(set) => format!("confirm:{set}"),
            Self::Collect(collection) => {
                format!("collect:{}:{}", collection.id, Sha256Digest::of(&collection.bound()))
            }
        }
    }
}

/// Seals `secret` for one use to the agent's public key (32 bytes, X25519).
///
/// # Errors
/// `INTERNAL` when the agent's key is no X25519 key or the system has no randomness.
pub(crate) fn seal(agent_key: &[u8], purpose: &SealUse<'_>, secret: &[u8]) -> Result<v1::Sealed, Failure> {
    let failed = |e: hpke::HpkeError| {
        Failure::new(reason::INTERNAL, format!("cannot seal a secret for the agent: {e}"))
    };
    let key = <Kem as hpke::Kem>::PublicKey::from_bytes(agent_key).map_err(failed)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &key,
        INFO,
        secret,
        purpose.aad().as_bytes(),
    )
    .map_err(failed)?;
    Ok(v1::Sealed { encapsulated_key: encapsulated.to_bytes().to_vec(), ciphertext })
}

/// A key of this process alone, to which the agent seals words.
pub(crate) struct ReplyKey {
    private: <Kem as hpke::Kem>::PrivateKey,
    public: Vec<u8>,
}

impl ReplyKey {
    /// A new one.
    pub(crate) fn new() -> Self {
        let (private, public) = <Kem as hpke::Kem>::gen_keypair();
        Self { private, public: public.to_bytes().to_vec() }
    }

    /// Its public half, 32 bytes.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.public.clone()
    }

    /// Opens the words of a custodian's share of the set with this digest.
    ///
    /// # Errors
    /// `INTERNAL` for what was not sealed for that.
    pub(crate) fn open(
        &self,
        set: &str,
        custodian: &str,
        sealed: &v1::Sealed,
    ) -> Result<SecretBytes, Failure> {
        let failed =
            || Failure::new(reason::INTERNAL, format!("the agent's answer for {custodian} does not open"));
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated_key);
        let (sealed, tag) = sealed.ciphertext.split_last_chunk::<16>().ok_or_else(failed)?;
        let tag = hpke::aead::AeadTag::<ChaCha20Poly1305>::from_bytes(tag).map_err(|_| failed())?;
        let encapsulated = encapsulated.map_err(|_| failed())?;
        let aad = format!("share:{set}:{custodian}");
        SecretBytes::try_with_len(sealed.len(), |buffer| {
            buffer.copy_from_slice(sealed);
            hpke::single_shot_open_inout_detached::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &hpke::OpModeR::Base,
                &self.private,
                &encapsulated,
                INFO,
                InOutBuf::from(buffer),
                aad.as_bytes(),
                &tag,
            )
        })
        .map_err(|_| failed())
    }
}

type Kem = X25519HkdfSha256;
const INFO: &[u8] = b"tuf-agent seal v1";

#[cfg(test)]
mod tests {
    use hpke::aead::ChaCha20Poly1305;
    use hpke::kdf::HkdfSha256;
    use hpke::kem::X25519HkdfSha256;
    use hpke::{Deserializable, Kem, OpModeR, Serializable};

    use super::{INFO, SealUse, seal};

    #[test]
    fn what_is_sealed_opens_for_its_use_alone() {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        let sealed = seal(&public.to_bytes(), &SealUse::Unlock("file"), b"hunter2").unwrap();
        let open = |aad: &[u8]| {
            let encapsulated =
                <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&sealed.encapsulated_key).unwrap();
            hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &private,
                &encapsulated,
                INFO,
                &sealed.ciphertext,
                aad,
            )
        };
        assert_eq!(open(b"unlock:file").unwrap(), b"hunter2");
        assert!(open(b"unlock:other").is_err());
        assert!(open(b"new-secret:file").is_err());
    }

    #[test]
    fn a_short_key_of_the_agent_is_an_error() {
        assert!(seal(&[1; 31], &SealUse::Import("k"), b"x").is_err());
    }
}
