//! One signature on the token, in the token's own form.

use std::borrow::Cow;
use std::ffi::c_ulong;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use tuf::key::{RsaHash, Scheme};

use super::faults::Fault;
use super::live::{Found, Live};
use super::objects::private_of;
use super::protocol::{HostError, HostErrorKind};
use super::single::SingleSign;
use crate::doctor::How;

/// A mechanism, and what it is given.
pub(super) struct Way<'a> {
    pub(super) mechanism: Mechanism<'static>,
    pub(super) data: Cow<'a, [u8]>,
}

/// How a signature may be made.
pub(super) struct Ways<'a> {
    better: Option<Way<'a>>,
    last: Way<'a>,
}

/// Signs with the private key of `key` (SPKI, DER) by `scheme`: `data` is the digest for ECDSA, unless the module hashes
/// it, and the whole message otherwise. ECDSA gives r || s.
pub(crate) fn sign(
    pkcs11: &Pkcs11,
    single: &SingleSign,
    live: &mut Live,
    key: &[u8],
    (scheme, how): (Scheme, How),
    data: &[u8],
) -> Result<Vec<u8>, Fault> {
    let ways = ways(scheme, how, data)?;
    let found = private_of(pkcs11, live, key)?;
    if found.always {
        let message = "the key takes the PIN anew for each signature";
        return Err(HostError::new(HostErrorKind::PinEachUse, message).into());
    }
    Ok(sign_now(pkcs11, single, live, &found, &ways)?)
}

/// The signature itself, by a key that was found and may sign now.
pub(super) fn sign_now(
    pkcs11: &Pkcs11,
    single: &SingleSign,
    live: &mut Live,
    key: &Found,
    ways: &Ways<'_>,
) -> Result<Vec<u8>, Error> {
    let session = live.work(pkcs11)?;
    ways.first_that_it_has(|way| single.sign_whole(session, &way.mechanism, key.handle, &way.data))
}

/// A scheme, by its name.
pub(super) fn scheme(name: &str) -> Result<Scheme, HostError> {
    name.parse().map_err(|_| HostError::new(HostErrorKind::Protocol, "the request lacks a scheme"))
}

/// What came is no request at all.
pub(super) fn no_request() -> HostError {
    HostError::new(HostErrorKind::Protocol, "the request lacks its parts")
}

impl Ways<'_> {
    /// Of a module that was measured to hash nothing the other way is not asked for first.
    fn measured(self, how: How) -> Self {
        if how == How::Digest { Self { better: None, ..self } } else { self }
    }

    /// By the first mechanism that the token has: the answer to one that it lacks comes before anything is done.
    pub(super) fn first_that_it_has<T, E: Lacks>(
        &self,
        mut with: impl FnMut(&Way<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match self.better.as_ref().map(&mut with) {
            None => with(&self.last),
            Some(Err(error)) if error.lacks_mechanism() => with(&self.last),
            Some(done) => done,
        }
    }
}

/// An error that may say that the token has no such mechanism.
pub(super) trait Lacks {
    fn lacks_mechanism(&self) -> bool;
}

impl Lacks for Error {
    fn lacks_mechanism(&self) -> bool {
        matches!(self, Self::Pkcs11(RvError::MechanismInvalid, _))
    }
}

/// How a token may make a signature by `scheme`, the better way first. Every module that was tried signs digests of wrong
/// lengths without complaint, so the length is ours to see to (FAULTS D6).
pub(super) fn ways(scheme: Scheme, how: How, data: &[u8]) -> Result<Ways<'_>, HostError> {
    let only = |mechanism| Ways { better: None, last: Way { mechanism, data: data.into() } };
    Ok(match scheme {
        Scheme::EcdsaP256 if how == How::Whole => only(Mechanism::EcdsaSha256),
        Scheme::EcdsaP384 if how == How::Whole => only(Mechanism::EcdsaSha384),
        Scheme::EcdsaP256 => exactly(data, 32).map(|()| only(Mechanism::Ecdsa))?,
        Scheme::EcdsaP384 => exactly(data, 48).map(|()| only(Mechanism::Ecdsa))?,
        Scheme::Ed25519 => only(Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure))),
        Scheme::RsaPss(hash) => pss(hash, data).measured(how),
        Scheme::RsaPkcs1(hash) => pkcs1(hash, data).measured(how),
        Scheme::EcdsaP521 | Scheme::MlDsa44 | Scheme::MlDsa65 | Scheme::MlDsa87 => {
            return Err(HostError::new(HostErrorKind::Unsupported, format!("sign as {scheme}")));
        }
    })
}

/// rsassa-pss-sha…: MGF1 with the same digest, a salt as long as it. The token hashes where it can.
fn pss(hash: RsaHash, message: &[u8]) -> Ways<'_> {
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
    let last = Way { mechanism: Mechanism::RsaPkcsPss(params), data: Cow::Owned(hash.digest(message)) };
    Ways { better: whole.map(|mechanism| Way { mechanism, data: message.into() }), last }
}

/// rsa-pkcs1v15-sha…: where the token does not hash, it signs the DigestInfo (RFC 8017, 9.2).
fn pkcs1(hash: RsaHash, message: &[u8]) -> Ways<'_> {
    let whole = match hash {
        RsaHash::Sha224 => Mechanism::Sha224RsaPkcs,
        RsaHash::Sha256 => Mechanism::Sha256RsaPkcs,
        RsaHash::Sha384 => Mechanism::Sha384RsaPkcs,
        RsaHash::Sha512 => Mechanism::Sha512RsaPkcs,
    };
    let info = [hash.digest_info(), &hash.digest(message)].concat();
    let better = Some(Way { mechanism: whole, data: message.into() });
    Ways { better, last: Way { mechanism: Mechanism::RsaPkcs, data: Cow::Owned(info) } }
}

fn exactly(digest: &[u8], len: usize) -> Result<(), HostError> {
    match digest.len() == len {
        true => Ok(()),
        false => Err(HostError::new(
            HostErrorKind::Protocol,
            format!("a digest of {} bytes where one of {len} belongs", digest.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_another_length_goes_to_no_token() {
        for (scheme, len) in [(Scheme::EcdsaP256, 32), (Scheme::EcdsaP384, 48)] {
            for wrong in [0, 20, len - 1, len + 1, 64] {
                let refused = ways(scheme, How::InOrder, &vec![1; wrong]).err().map(|error| error.kind);
                assert_eq!(refused, Some(HostErrorKind::Protocol), "{scheme} {wrong}");
            }
            assert!(ways(scheme, How::InOrder, &vec![1; len]).is_ok());
            // The module hashes: whatever length.
            assert!(ways(scheme, How::Whole, &[1; 4000]).is_ok());
        }
    }

    #[test]
    fn a_mechanism_that_the_token_lacks_leads_to_the_next_way_and_any_other_error_ends_it() {
        let ways = ways(Scheme::RsaPkcs1(RsaHash::Sha256), How::InOrder, b"message").ok().unwrap();
        let asked = |codes: [Option<RvError>; 2]| {
            let mut asked = 0;
            let outcome = ways.first_that_it_has(|_| {
                asked += 1;
                let error = |code| Error::Pkcs11(code, cryptoki::context::Function::SignInit);
                codes[asked - 1].map_or(Ok(()), |code| Err(error(code)))
            });
            (asked, outcome.is_ok())
        };
        let lacks = Some(RvError::MechanismInvalid);
        assert_eq!(asked([lacks, None]), (2, true));
        assert_eq!(asked([None, None]), (1, true));
        assert_eq!(asked([Some(RvError::GeneralError), None]), (1, false));
        assert_eq!(asked([lacks, lacks]), (2, false));
    }
}
