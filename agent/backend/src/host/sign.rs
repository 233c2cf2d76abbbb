//! One signature on the token, in the token's own form.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use sha2::{Digest, Sha256};
use tuf::key::{KeyType, PublicKey};

use super::faults::Fault;
use super::objects::private_of;
use super::protocol::{HostError, HostErrorKind};
use super::token::Live;

/// Signs with the private key of `key`: `data` is the digest for ECDSA and the whole message otherwise.
/// ECDSA gives r || s.
pub(crate) fn sign(pkcs11: &Pkcs11, live: &mut Live, key: &PublicKey, data: &[u8]) -> Result<Vec<u8>, Fault> {
    let handle = private_of(pkcs11, live, key)?;
    let session = live.work(pkcs11)?;
    match key.key_type() {
        // Every module that was tried signs digests of wrong lengths without complaint.
        KeyType::EcdsaP256 => ecdsa(session, handle, exactly(data, 32)?),
        KeyType::EcdsaP384 => ecdsa(session, handle, exactly(data, 48)?),
        KeyType::Ed25519 => {
            let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
            Ok(session.sign(&pure, handle, data)?)
        }
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => Ok(pss(session, handle, data)?),
    }
}

fn ecdsa(session: &Session, handle: ObjectHandle, digest: &[u8]) -> Result<Vec<u8>, Fault> {
    Ok(session.sign(&Mechanism::Ecdsa, handle, digest)?)
}

/// rsassa-pss-sha256: SHA-256, MGF1 with SHA-256, salt of 32 bytes. The token hashes where it can;
/// the answer to a mechanism that it lacks comes before anything is signed.
fn pss(session: &Session, handle: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Error> {
    let params =
        PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32.into() };
    match session.sign(&Mechanism::Sha256RsaPkcsPss(params), handle, message) {
        Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => {
            let digest = Sha256::digest(message);
            session.sign(&Mechanism::RsaPkcsPss(params), handle, digest.as_slice())
        }
        outcome => outcome,
    }
}

fn exactly(digest: &[u8], len: usize) -> Result<&[u8], HostError> {
    match digest.len() == len {
        true => Ok(digest),
        false => Err(HostError::new(
            HostErrorKind::Protocol,
            format!("a digest of {} bytes where one of {len} belongs", digest.len()),
        )),
    }
}
