//! One signature with a private key in this process, by the scheme that metadata names.

use ed25519_dalek::hazmat::ExpandedSecretKey;
use getrandom::SysRng;
use rsa::pkcs1v15;
use rsa::pss;
use sha2::digest::FixedOutputReset;
use sha2::digest::const_oid::AssociatedOid;
use signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use tuf::key::{RsaHash, Scheme};
use tuf::preimage::Signable;
use zeroize::Zeroizing;

use super::{Algorithm, SoftwareKey, SoftwareKeyError, large};

impl SoftwareKey {
    /// A signature as metadata wants it: 64 bytes for Ed25519, DER for ECDSA (with the curve's own SHA-2), the block
    /// for RSA (blinded; PSS with a salt as long as the digest).
    ///
    /// # Errors
    /// [`SoftwareKeyError::Scheme`] for a scheme of other keys.
    pub(crate) fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, SoftwareKeyError> {
        let kind = self.public.key_type();
        if !scheme.fits(kind) {
            return Err(SoftwareKeyError::Scheme { kind, scheme });
        }
        let secret = self.secret.reveal_secret_bytes();
        let failed = |_| SoftwareKeyError::Signing;
        match self.algorithm {
            Algorithm::Ed25519(public) => Ok(sign_ed25519(secret, &public, message)?),
            Algorithm::P256 => {
                let key = p256::ecdsa::SigningKey::from_slice(secret).map_err(failed)?;
                let signature: p256::ecdsa::Signature = key.sign(message);
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Algorithm::P384 => {
                let key = p384::ecdsa::SigningKey::from_slice(secret).map_err(failed)?;
                let signature: p384::ecdsa::Signature = key.sign(message);
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Algorithm::Rsa => self.sign_rsa(scheme, message),
        }
    }

    /// The same of metadata or a statement; where it is large and the key Ed25519, what verifying it will cost is done
    /// meanwhile.
    pub(crate) fn sign_signable(
        &self,
        scheme: Scheme,
        what: Signable<'_>,
    ) -> Result<Vec<u8>, SoftwareKeyError> {
        match self.algorithm {
            Algorithm::Ed25519(public) if scheme == Scheme::Ed25519 && what.bytes().len() >= LARGE => {
                let foresee = |r| what.foresee(&self.public, r);
                large::sign_ed25519(self.secret.reveal_secret_bytes(), &public, what.bytes(), foresee)
            }
            _ => self.sign(scheme, what.bytes()),
        }
    }

    fn sign_rsa(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, SoftwareKeyError> {
        match scheme {
            Scheme::RsaPss(hash) => match hash {
                RsaHash::Sha224 => self.sign_pss::<sha2::Sha224>(hash, message),
                RsaHash::Sha256 => self.sign_pss::<sha2::Sha256>(hash, message),
                RsaHash::Sha384 => self.sign_pss::<sha2::Sha384>(hash, message),
                RsaHash::Sha512 => self.sign_pss::<sha2::Sha512>(hash, message),
            },
            Scheme::RsaPkcs1(RsaHash::Sha224) => self.sign_pkcs1::<sha2::Sha224>(message),
            Scheme::RsaPkcs1(RsaHash::Sha256) => self.sign_pkcs1::<sha2::Sha256>(message),
            Scheme::RsaPkcs1(RsaHash::Sha384) => self.sign_pkcs1::<sha2::Sha384>(message),
            Scheme::RsaPkcs1(RsaHash::Sha512) => self.sign_pkcs1::<sha2::Sha512>(message),
            _ => Err(SoftwareKeyError::Signing),
        }
    }

    fn sign_pss<D: sha2::Digest + FixedOutputReset>(
        &self,
        hash: RsaHash,
        message: &[u8],
    ) -> Result<Vec<u8>, SoftwareKeyError> {
        let key = pss::SigningKey::<D>::new_with_salt_len(self.rsa()?, hash.salt().into());
        let signature = key.try_sign_with_rng(&mut SysRng, message);
        Ok(signature.map_err(|_| SoftwareKeyError::Signing)?.to_vec())
    }

    fn sign_pkcs1<D: sha2::Digest + AssociatedOid>(
        &self,
        message: &[u8],
    ) -> Result<Vec<u8>, SoftwareKeyError> {
        // The random numbers blind the private operation; the signature itself is the only one.
        let key = pkcs1v15::SigningKey::<D>::new(self.rsa()?);
        let signature = key.try_sign_with_rng(&mut SysRng, message);
        Ok(signature.map_err(|_| SoftwareKeyError::Signing)?.to_vec())
    }
}

/// With the public half that was derived from this very seed when the key was read, so that it is not derived again for
/// each signature; with another one a signature would give the secret away (RFC 8032, 5.1.6, wants them to belong together).
fn sign_ed25519(
    seed: &[u8],
    public: &ed25519_dalek::VerifyingKey,
    message: &[u8],
) -> Result<Vec<u8>, SoftwareKeyError> {
    let expanded = expanded(seed)?;
    Ok(ed25519_dalek::hazmat::raw_sign::<sha2::Sha512>(&expanded, message, public).to_bytes().to_vec())
}

/// Wiped when dropped.
pub(super) fn expanded(seed: &[u8]) -> Result<ExpandedSecretKey, SoftwareKeyError> {
    let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| SoftwareKeyError::Malformed)?);
    Ok(ExpandedSecretKey::from(&*seed))
}

/// From this size on, bytes, another thread is worth it.
const LARGE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tuf::key::KeyType;

    use super::*;

    #[test]
    fn an_rsa_key_signs_by_each_scheme_what_verifies_by_that_scheme_alone() {
        let key = SoftwareKey::generate(KeyType::Rsa2048).unwrap();
        for scheme in Scheme::ALL.into_iter().filter(|scheme| scheme.keytype() == "rsa") {
            let signature = key.sign(scheme, b"message").unwrap();
            for other in Scheme::ALL {
                let verified = key.public().verify_by(other, b"message", &signature);
                assert_eq!(verified.is_ok(), other == scheme, "made by {scheme}, read by {other}");
            }
        }
        for scheme in [Scheme::Ed25519, Scheme::EcdsaP256, Scheme::MlDsa65] {
            assert!(matches!(key.sign(scheme, b"m"), Err(SoftwareKeyError::Scheme { .. })), "{scheme}");
        }
    }
}
