//! One signature on the token, in the token's own form.

use std::ffi::c_ulong;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use tuf::key::{PublicKey, RsaHash, Scheme};

use super::faults::Fault;
use super::objects::private_of;
use super::protocol::{HostError, HostErrorKind};
use super::token::Live;

/// Signs with the private key of `key` by `scheme`: `data` is the digest for ECDSA and the whole message otherwise.
/// ECDSA gives r || s.
pub(crate) fn sign(
    pkcs11: &Pkcs11,
    live: &mut Live,
    key: &PublicKey,
    scheme: Scheme,
    data: &[u8],
) -> Result<Vec<u8>, Fault> {
    let handle = private_of(pkcs11, live, key)?;
    let session = live.work(pkcs11)?;
    match scheme {
        // Every module that was tried signs digests of wrong lengths without complaint.
        Scheme::EcdsaP256 => ecdsa(session, handle, exactly(data, 32)?),
        Scheme::EcdsaP384 => ecdsa(session, handle, exactly(data, 48)?),
        Scheme::Ed25519 => {
            let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
            Ok(session.sign(&pure, handle, data)?)
        }
        Scheme::RsaPss(hash) => Ok(pss(session, handle, hash, data)?),
        Scheme::RsaPkcs1(hash) => Ok(pkcs1(session, handle, hash, data)?),
        Scheme::EcdsaP521 | Scheme::MlDsa44 | Scheme::MlDsa65 | Scheme::MlDsa87 => {
            Err(HostError::new(HostErrorKind::Unsupported, format!("sign as {scheme}")).into())
        }
    }
}

fn ecdsa(session: &Session, handle: ObjectHandle, digest: &[u8]) -> Result<Vec<u8>, Fault> {
    Ok(session.sign(&Mechanism::Ecdsa, handle, digest)?)
}

/// rsassa-pss-sha…: MGF1 with the same digest, a salt as long as it. The token hashes where it can;
/// the answer to a mechanism that it lacks comes before anything is signed.
fn pss(session: &Session, handle: ObjectHandle, hash: RsaHash, message: &[u8]) -> Result<Vec<u8>, Error> {
    let (hash_alg, mgf) = match hash {
        RsaHash::Sha224 => (MechanismType::SHA224, PkcsMgfType::MGF1_SHA224),
        RsaHash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        RsaHash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        RsaHash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    };
    let params = PkcsPssParams { hash_alg, mgf, s_len: c_ulong::from(hash.salt()).into() };
    let whole = match hash {
        // cryptoki has no name for the one with SHA-224.
        RsaHash::Sha224 => None,
        RsaHash::Sha256 => Some(Mechanism::Sha256RsaPkcsPss(params)),
        RsaHash::Sha384 => Some(Mechanism::Sha384RsaPkcsPss(params)),
        RsaHash::Sha512 => Some(Mechanism::Sha512RsaPkcsPss(params)),
    };
    let hashed = || session.sign(&Mechanism::RsaPkcsPss(params), handle, &hash.digest(message));
    match whole.map(|mechanism| session.sign(&mechanism, handle, message)) {
        None | Some(Err(Error::Pkcs11(RvError::MechanismInvalid, _))) => hashed(),
        Some(outcome) => outcome,
    }
}

/// rsa-pkcs1v15-sha…: where the token does not hash, it signs the DigestInfo (RFC 8017, 9.2).
fn pkcs1(session: &Session, handle: ObjectHandle, hash: RsaHash, message: &[u8]) -> Result<Vec<u8>, Error> {
    let whole = match hash {
        RsaHash::Sha224 => Mechanism::Sha224RsaPkcs,
        RsaHash::Sha256 => Mechanism::Sha256RsaPkcs,
        RsaHash::Sha384 => Mechanism::Sha384RsaPkcs,
        RsaHash::Sha512 => Mechanism::Sha512RsaPkcs,
    };
    match session.sign(&whole, handle, message) {
        Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => {
            let info = [hash.digest_info(), &hash.digest(message)].concat();
            session.sign(&Mechanism::RsaPkcs, handle, &info)
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
