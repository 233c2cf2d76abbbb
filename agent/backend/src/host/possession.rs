//! Whether a private key of the token is that of a public key: it signs a statement that says so, before it is destroyed.

use cryptoki::error::{Error, RvError};
use cryptoki::session::Session;
use tuf::key::{PublicKey, Scheme};
use tuf::preimage::{Signable, Statement, StatementKind};

use super::codec::{Curve, ecdsa_from_der, ecdsa_to_der};
use super::faults::{Action, Fault, action};
use super::objects::KeyObject;
use super::sign::ways;
use super::single::SingleSign;
use crate::doctor::How;
use crate::pkcs11::taken;

/// What a signature has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Its,
    NotIts,
    /// There is none: the key takes the PIN for each, or signs nothing.
    Nothing,
}

/// Has `private` sign as `key` would.
pub(super) fn shown(
    single: &SingleSign,
    session: &Session,
    key: &PublicKey,
    private: &KeyObject,
    (scheme, how): (Scheme, How),
) -> Result<Shown, Fault> {
    if private.always {
        return Ok(Shown::Nothing);
    }
    let statement = Statement::new(StatementKind::Possession, &format!("remove {}\n", key.fingerprint()));
    let data = taken(scheme, how, &Signable::Statement(&statement)).into_owned();
    let signed = ways(scheme, how, &data)?
        .first_that_it_has(|way| single.sign_whole(session, &way.mechanism, private.handle, &way.data));
    let raw = match signed {
        Ok(raw) => raw,
        Err(error) if signs_nothing(&error) => return Ok(Shown::Nothing),
        // What passes says nothing of the key.
        Err(error) => return Err(error.into()),
    };
    let verifies = |bytes: &[u8]| key.verify_by(scheme, statement.bytes(), bytes).is_ok();
    let in_form = |curve| {
        let fixed = [Some(raw.clone()), ecdsa_from_der(curve, &raw)];
        fixed.into_iter().flatten().filter_map(|fixed| ecdsa_to_der(curve, &fixed)).any(|der| verifies(&der))
    };
    let its = match scheme {
        Scheme::EcdsaP256 => in_form(Curve::P256),
        Scheme::EcdsaP384 => in_form(Curve::P384),
        _ => verifies(&raw),
    };
    Ok(if its { Shown::Its } else { Shown::NotIts })
}

/// What is said by the key, or of what it can do.
fn signs_nothing(error: &Error) -> bool {
    let Error::Pkcs11(code, _) = error else { return action(error) == Action::Unsupported };
    matches!(
        code,
        RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::FunctionNotSupported
            | RvError::KeySizeRange
            | RvError::KeyTypeInconsistent
            | RvError::KeyFunctionNotPermitted
    )
}
