//! Signatures as ring sees them: an implementation that shares no code with ours.

use ring::signature::{self as ring_signature, UnparsedPublicKey, VerificationAlgorithm};
use tuf::key::{KeyType, PublicKey};

/// Panics when ring does not accept the signature.
pub(super) fn check(key: &PublicKey, message: &[u8], signature: &[u8]) {
    let kind = key.key_type();
    let good = match kind {
        KeyType::Ed25519 => raw(key, &ring_signature::ED25519, message, signature),
        KeyType::EcdsaP256 => raw(key, &ring_signature::ECDSA_P256_SHA256_ASN1, message, signature),
        KeyType::EcdsaP384 => raw(key, &ring_signature::ECDSA_P384_SHA384_ASN1, message, signature),
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            let (n, e) = key.rsa_parts().unwrap();
            // Accepts a salt of 32 bytes alone.
            let parameters = &ring_signature::RSA_PSS_2048_8192_SHA256;
            ring_signature::RsaPublicKeyComponents { n: &n, e: &e }
                .verify(parameters, message, signature)
                .is_ok()
        }
        KeyType::EcdsaP521 | KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => {
            unreachable!("no token makes {kind} keys, and ring reads none")
        }
    };
    assert!(good, "ring does not accept a {kind} signature: {}", hex::encode(signature));
}

fn raw(
    key: &PublicKey,
    algorithm: &'static dyn VerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key.raw().unwrap()).verify(message, signature).is_ok()
}
