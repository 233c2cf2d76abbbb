//! Signatures as ring sees them: an implementation that shares no code with ours.

use ring::signature::{self as ring_signature, RsaParameters, UnparsedPublicKey, VerificationAlgorithm};
use tuf::key::{PublicKey, RsaHash, Scheme};

/// Panics when ring does not accept the signature.
pub(super) fn check(key: &PublicKey, scheme: Scheme, message: &[u8], signature: &[u8]) {
    let good = match scheme {
        Scheme::Ed25519 => raw(key, &ring_signature::ED25519, message, signature),
        Scheme::EcdsaP256 => raw(key, &ring_signature::ECDSA_P256_SHA256_ASN1, message, signature),
        Scheme::EcdsaP384 => raw(key, &ring_signature::ECDSA_P384_SHA384_ASN1, message, signature),
        // Of PSS it accepts a salt as long as the digest alone.
        Scheme::RsaPss(RsaHash::Sha256) => {
            rsa(key, &ring_signature::RSA_PSS_2048_8192_SHA256, message, signature)
        }
        Scheme::RsaPss(RsaHash::Sha384) => {
            rsa(key, &ring_signature::RSA_PSS_2048_8192_SHA384, message, signature)
        }
        Scheme::RsaPss(RsaHash::Sha512) => {
            rsa(key, &ring_signature::RSA_PSS_2048_8192_SHA512, message, signature)
        }
        Scheme::RsaPkcs1(RsaHash::Sha256) => {
            rsa(key, &ring_signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
        }
        Scheme::RsaPkcs1(RsaHash::Sha384) => {
            rsa(key, &ring_signature::RSA_PKCS1_2048_8192_SHA384, message, signature)
        }
        Scheme::RsaPkcs1(RsaHash::Sha512) => {
            rsa(key, &ring_signature::RSA_PKCS1_2048_8192_SHA512, message, signature)
        }
        // ring knows none with SHA-224; that it verifies in software, `Backend::sign` has seen to.
        Scheme::RsaPss(RsaHash::Sha224) | Scheme::RsaPkcs1(RsaHash::Sha224) => true,
        Scheme::EcdsaP521 | Scheme::MlDsa44 | Scheme::MlDsa65 | Scheme::MlDsa87 => {
            unreachable!("no token makes keys for {scheme}, and ring reads none")
        }
    };
    assert!(good, "ring does not accept a signature by {scheme}: {}", hex::encode(signature));
}

fn raw(
    key: &PublicKey,
    algorithm: &'static dyn VerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key.raw().unwrap()).verify(message, signature).is_ok()
}

fn rsa(key: &PublicKey, parameters: &'static RsaParameters, message: &[u8], signature: &[u8]) -> bool {
    let (n, e) = key.rsa_parts().unwrap();
    ring_signature::RsaPublicKeyComponents { n: &n, e: &e }.verify(parameters, message, signature).is_ok()
}
