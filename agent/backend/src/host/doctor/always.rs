//! Keys that demand a login for each signature: whether they do, and by which order of calls they sign (FAULTS C7).

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use sha2::{Digest, Sha256};

use super::Stop;
use super::bench::{Bench, MESSAGE};
use super::curves::verifies;
use super::pair::Pair;
use crate::doctor::{AlwaysFacts, Facts, Finding, Place};
use crate::host::always::NO_CONTEXT_LOGIN;
use crate::host::codec::Curve;
use crate::host::faults::told;

/// Whether such a key can be made, and refuses to sign without a login of its own.
pub(super) fn demands(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let home = bench.session()?;
    let made = pair(bench, &home);
    let mut always = AlwaysFacts { made: bench.tried("a key pair", &made), ..AlwaysFacts::default() };
    if let Ok(pair) = made {
        if !pair.always {
            always.made = Finding::No("the key does not say so afterwards".to_owned());
        }
        let session = bench.second(&home)?;
        let digest = Sha256::digest(MESSAGE);
        // Some let the first one pass that follows a login.
        let first = session.sign(&Mechanism::Ecdsa, pair.private(), &digest);
        let refused = match first {
            Ok(_) => session.sign(&Mechanism::Ecdsa, pair.private(), &digest),
            refused => refused,
        };
        always.honoured = match refused {
            Err(Error::Pkcs11(RvError::UserNotLoggedIn, _)) => Finding::Yes,
            Ok(_) => Finding::No("it signs without a login".to_owned()),
            Err(error) => {
                bench.miss("a signature without one", told(&error));
                Finding::Unknown
            }
        };
        if always.honoured.is_yes() {
            always.session_lives = match session.sign(&Mechanism::Ecdsa, pair.private(), &digest) {
                Err(error @ Error::Pkcs11(RvError::OperationActive, _)) => Finding::No(told(&error)),
                _ => Finding::Yes,
            };
        }
    }
    Ok(Facts { always: Some(always), ..Facts::default() })
}

/// C_SignInit, C_Login(CKU_CONTEXT_SPECIFIC), C_Sign, with nothing between: the order in which the agent signs.
pub(super) fn context(bench: &Bench<'_>, whole: bool) -> Result<Facts, Stop> {
    let home = bench.session()?;
    let pair = pair(bench, &home)?;
    let key = pair.key()?;
    let digest = Sha256::digest(MESSAGE);
    let (mechanism, data) =
        if whole { (Mechanism::EcdsaSha256, MESSAGE) } else { (Mechanism::Ecdsa, digest.as_slice()) };
    let signed = || -> Result<Vec<u8>, Stop> {
        let session = bench.second(&home)?;
        session.sign_init(&mechanism, pair.private())?;
        bench.answer_to_login(&session, UserType::ContextSpecific)??;
        Ok(bench.single.sign(&session, data)?)
    };
    let found = bench.judged_by(
        "C_Login(CKU_CONTEXT_SPECIFIC)",
        signed(),
        |raw| verifies(&key, Curve::P256, raw),
        &NO_CONTEXT_LOGIN,
    )?;
    let always = match whole {
        true => AlwaysFacts { context_hash: found, ..AlwaysFacts::default() },
        false => AlwaysFacts { context_digest: found, ..AlwaysFacts::default() },
    };
    Ok(Facts { always: Some(always), ..Facts::default() })
}

/// C_Logout, C_Login, C_Sign. A key that lies in a session is gone after the logout.
pub(super) fn fresh_login(bench: &Bench<'_>) -> Result<Facts, Stop> {
    if bench.place == Place::Session {
        return Err(Stop::Why("a key that lies in a session does not outlive a logout".to_owned()));
    }
    let session = bench.session()?;
    let pair = pair(bench, &session)?;
    let key = pair.key()?;
    bench.log_in_anew(&session)?;
    pair.find_again()?;
    let signed = session.sign(&Mechanism::Ecdsa, pair.private(), &Sha256::digest(MESSAGE));
    let fresh_login = bench.judged("CKM_ECDSA", signed, |raw| verifies(&key, Curve::P256, raw))?;
    Ok(Facts { always: Some(AlwaysFacts { fresh_login, ..AlwaysFacts::default() }), ..Facts::default() })
}

fn pair<'s>(bench: &Bench<'_>, session: &'s Session) -> Result<Pair<'s>, Error> {
    bench.curve_pair(session, Curve::P256, &[Attribute::AlwaysAuthenticate(true)])
}
