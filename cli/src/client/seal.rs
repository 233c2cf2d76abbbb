//! Sealing secrets to the key of this connection: HPKE base mode, as `Sealed` in the proto says.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, OpModeS, Serializable};
use tufagent_proto::v1;

use crate::error::{Failure, reason};
use crate::secret::Secret;

/// What a sealed secret is for; bound to it, so that it cannot be used for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        }
    }
}

/// Seals `secret` for one use to the agent's public key (32 bytes, X25519).
///
/// # Errors
/// `INTERNAL` when the agent's key is no X25519 key or the system has no randomness.
pub(crate) fn seal(agent_key: &[u8], purpose: &SealUse<'_>, secret: &Secret) -> Result<v1::Sealed, Failure> {
    type Kem = X25519HkdfSha256;
    let failed = |e: hpke::HpkeError| {
        Failure::new(reason::INTERNAL, format!("cannot seal a secret for the agent: {e}"))
    };
    let key = <Kem as hpke::Kem>::PublicKey::from_bytes(agent_key).map_err(failed)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &key,
        INFO,
        secret.reveal_secret_bytes(),
        purpose.aad().as_bytes(),
    )
    .map_err(failed)?;
    Ok(v1::Sealed { encapsulated_key: encapsulated.to_bytes().to_vec(), ciphertext })
}

const INFO: &[u8] = b"tuf-agent seal v1";

#[cfg(test)]
mod tests {
    use hpke::aead::ChaCha20Poly1305;
    use hpke::kdf::HkdfSha256;
    use hpke::kem::X25519HkdfSha256;
    use hpke::{Deserializable, Kem, OpModeR, Serializable};
    use zeroize::Zeroizing;

    use super::{INFO, SealUse, seal};
    use crate::secret::Secret;

    #[test]
    fn what_is_sealed_opens_for_its_use_alone() {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        let secret = Secret::new(Zeroizing::new(b"hunter2".to_vec()));
        let sealed = seal(&public.to_bytes(), &SealUse::Unlock("file"), &secret).unwrap();
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
        let secret = Secret::new(Zeroizing::new(b"x".to_vec()));
        assert!(seal(&[1; 31], &SealUse::Import("k"), &secret).is_err());
    }
}
