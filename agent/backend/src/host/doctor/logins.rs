//! What login and logout do to sessions, objects and handles (FAULTS D2).

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};

use super::Stop;
use super::bench::{Bench, Second, is_user};
use crate::doctor::{Facts, Finding, LoginFacts, Place};
use crate::host::attributes::attributes;
use crate::host::codec::Curve;
use crate::host::faults::told;
use crate::host::find::find_exactly;

pub(super) fn logins(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let session = bench.session()?;
    let mut facts = LoginFacts::default();
    let second = bench.second(&session)?;
    if let Second::Own(second) = &second {
        facts.shared = match is_user(second)? {
            true => Finding::Yes,
            false => Finding::No("the second session is not logged in".to_owned()),
        };
    }
    facts.second = second_login(bench, &second)?;
    drop(second);
    // A key of the token's own is looked at, never used.
    let there =
        find_exactly(&session, &[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)])?
            .first()
            .map(|handle| (*handle, id_of(&session, *handle)));
    let pair = bench.curve_pair(&session, Curve::P256, &[])?;
    bench.log_out(&session)?;
    let shown = find_exactly(&session, &[Attribute::Class(ObjectClass::PRIVATE_KEY)])?.len();
    facts.hides_private = match shown {
        0 => Finding::Yes,
        shown => Finding::No(format!("{shown} private keys are shown to anybody")),
    };
    bench.present(&session, UserType::User)?;
    // It is only read: it may be another object's by now, and a signature by it one with a key of the token's own.
    let old = match pair.reads_as_ours(pair.private()) {
        Ok(true) => Finding::Yes,
        Ok(false) => Finding::No("the old handle is another object".to_owned()),
        Err(error) => bench.refused("the old handle of a key", &error, &GONE),
    };
    match bench.place {
        Place::Session => facts.session_handle = old,
        Place::Token => facts.token_handle = old,
    }
    if let (Some((handle, Some(id))), Place::Session) = (there, bench.place) {
        facts.token_handle = match attributes(&session, handle, &[AttributeType::Id]) {
            Ok(found) if found.contains(&Attribute::Id(id)) => Finding::Yes,
            Ok(_) => Finding::No("the old handle is another object".to_owned()),
            Err(error) => bench.refused("the old handle of a key of the token", &error, &GONE),
        };
    }
    Ok(Facts { logins: Some(facts), ..Facts::default() })
}

/// What C_Login says to who is logged in. The PIN is the right one, so no try is at stake.
fn second_login(bench: &Bench<'_>, session: &Session) -> Result<Option<String>, Stop> {
    match bench.answer_to_login(session, UserType::User)? {
        Ok(()) => Ok(Some("CKR_OK".to_owned())),
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            Ok(Some("CKR_USER_ALREADY_LOGGED_IN".to_owned()))
        }
        Err(error) => {
            let said = bench.refused("a second login", &error, &[RvError::UserAnotherAlreadyLoggedIn]);
            Ok(said.is_no().then(|| told(&error)))
        }
    }
}

/// What is said of a handle that names nothing any more.
const GONE: [RvError; 2] = [RvError::ObjectHandleInvalid, RvError::KeyHandleInvalid];

fn id_of(session: &Session, handle: ObjectHandle) -> Option<Vec<u8>> {
    let found = attributes(session, handle, &[AttributeType::Id]).ok()?;
    found.into_iter().find_map(|a| if let Attribute::Id(id) = a { Some(id) } else { None })
}
