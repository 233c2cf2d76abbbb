//! Keys that take the PIN for each signature (CKA_ALWAYS_AUTHENTICATE, FAULTS C7).
//!
//! C_SignInit, the login for that very operation and C_Sign follow each other with nothing between, since this process
//! does one thing at a time. Modules that know no such login (OpenSC's) are logged out and in again before the signature; where
//! that is found out with a PIN, which such a module may have looked at for all it says, the agent counts another attempt.
//! The PIN is that of one signature: it is presented once, and not kept. Up to it an answer of the module is met as with
//! every signature; once it was presented nothing is done again that would need it anew.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::types::RawAuthPin;
use tuf::key::Scheme;

use super::faults::Fault;
use super::line::Line;
use super::live::Live;
use super::objects::private_of;
use super::protocol::{HostError, HostErrorKind, TokenStatus, Wanted};
use super::search::status;
use super::sign::{Lacks, Ways, sign_now, ways};
use super::single::SingleSign;
use super::token::TokenHost;
use crate::doctor::How;

/// What the module was seen to want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// The login comes between C_SignInit and C_Sign, as the standard says.
    #[default]
    InContext,
    /// It comes before C_SignInit.
    Before,
}

/// How far a signature has come.
enum Stop {
    /// Before the PIN.
    Init(Error),
    /// The module knows no login in context, as it says.
    NoContext,
    /// It was presented, and is not right or nobody knows.
    Pin(Error),
    /// It was taken.
    Sign(Error),
}

impl Lacks for Stop {
    fn lacks_mechanism(&self) -> bool {
        matches!(self, Self::Init(error) if error.lacks_mechanism())
    }
}

impl TokenHost {
    /// Signs with the private key of `key` (SPKI, DER), presenting the PIN once; whether that was needed.
    pub(crate) fn sign_with_pin(
        &mut self,
        key: &[u8],
        (scheme, how): (Scheme, How),
        (pin, meant): (Vec<u8>, &Wanted),
        data: &[u8],
        line: &Line<'_>,
    ) -> Result<(Vec<u8>, bool), HostError> {
        let pin = RawAuthPin::new(Box::new(pin));
        let ways = ways(scheme, how, data)?;
        let before = self.may_ask(false, meant)?;
        if !self.with_token(|pkcs11, live| private_of(pkcs11, live, key))?.always {
            // It needs none: none is presented.
            return Ok((self.sign(key, scheme, how, data)?, false));
        }
        self.signs_now_by(key);
        let single = self.single.clone();
        let mut anew = false;
        if self.order == Order::InContext {
            let asked = self.with_token(|pkcs11, live| {
                match in_context(pkcs11, &single, live, (key, &ways), (&pin, meant))? {
                    Err(Stop::Init(error)) => Err(error.into()),
                    asked => Ok(asked),
                }
            });
            match asked? {
                Ok(signature) => {
                    self.has_signed(key);
                    return Ok((signature, true));
                }
                Err(Stop::NoContext) => self.order = Order::Before,
                Err(stop) => return Err(self.stopped(stop)),
            }
            // The operation that was begun goes with its session, and where that was the only one the token is looked for.
            self.drop_sessions();
            if let Err(error) = self.may_present_anew(&before, meant, line) {
                // It may have been wrong: nobody is logged in after that.
                self.logout();
                return Err(error);
            }
            anew = true;
        }
        let done = self.login_now(&pin, meant);
        let accepted = matches!(done, Ok(true));
        match done {
            Ok(presented) if anew => line.presented(presented),
            Ok(_) => {}
            Err(error) if anew && !is_of_pin(error.kind) => {
                self.logout();
                return Err(no_signature(&error.message));
            }
            Err(error) => return Err(error),
        }
        let signature = self.with_token(|pkcs11, live| {
            let found = private_of(pkcs11, live, key)?;
            Ok(sign_now(pkcs11, &single, live, &found, &ways)?)
        });
        let signature = signature.map_err(|error| if accepted { error.accepted() } else { error })?;
        self.has_signed(key);
        Ok((signature, true))
    }

    /// What the module said of the login in context does not tell whether it has looked at the PIN. Another presentation of it is
    /// an attempt of its own, which the agent counts first; where the token tells of one that was wrong there is none.
    fn may_present_anew(
        &mut self,
        before: &TokenStatus,
        meant: &Wanted,
        line: &Line<'_>,
    ) -> Result<(), HostError> {
        let now = self.may_ask(false, meant).map_err(|error| no_signature(&error.message))?;
        if now.count_low && !before.count_low {
            return Err(no_signature("the token tells of a wrong one since"));
        }
        match line.may_present() {
            true => Ok(()),
            false => Err(no_signature("another attempt is not counted")),
        }
    }

    /// An operation that was begun is ended with its session, and a wrong PIN ends the login that stood.
    fn stopped(&mut self, stop: Stop) -> HostError {
        match stop {
            Stop::Pin(error) => {
                let refused = self.login_failed(error);
                self.logout();
                refused
            }
            Stop::Init(error) => {
                self.drop_sessions();
                self.failed(error)
            }
            Stop::Sign(error) => {
                self.drop_sessions();
                self.failed(error).accepted()
            }
            Stop::NoContext => HostError::new(HostErrorKind::Unsupported, "a login for one signature"),
        }
    }
}

/// The PIN was presented in a way that the module does not know, as it says.
fn no_signature(why: &str) -> HostError {
    let message = format!(
        "the module answered to the PIN of one signature that it knows no such login, and the PIN was not presented in another way: {why}"
    );
    HostError::new(HostErrorKind::PinUnclear, message).remedy(
        "make sure of the PIN and of the tries that are left, measure the module (tufctl token doctor NAME), then sign again",
    )
}

/// Whether an error is told of the PIN that was presented.
const fn is_of_pin(kind: HostErrorKind) -> bool {
    matches!(
        kind,
        HostErrorKind::PinIncorrect
            | HostErrorKind::PinIncorrectFinalTry
            | HostErrorKind::PinUnclear
            | HostErrorKind::PinWorn
            | HostErrorKind::PinLocked
    )
}

/// What C_Login(CKU_CONTEXT_SPECIFIC) says where the module knows no such login. Most have not looked at the PIN then.
pub(super) fn has_no_context_login(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(code, _) if NO_CONTEXT_LOGIN.contains(code))
}

/// The last is said of the login that stands, whatever the PIN.
pub(super) const NO_CONTEXT_LOGIN: [RvError; 4] = [
    RvError::OperationNotInitialized,
    RvError::UserTypeInvalid,
    RvError::FunctionNotSupported,
    RvError::UserAlreadyLoggedIn,
];

/// The critical section. A fault comes from before it.
fn in_context(
    pkcs11: &Pkcs11,
    single: &SingleSign,
    live: &mut Live,
    (key, ways): (&[u8], &Ways<'_>),
    (pin, meant): (&RawAuthPin, &Wanted),
) -> Result<Result<Vec<u8>, Stop>, Fault> {
    let key = private_of(pkcs11, live, key)?.handle;
    // Where it was looked for once more, another one may have been found.
    meant.check(&status(&pkcs11.get_token_info(live.slot)?, live.logged_in))?;
    let session = live.work(pkcs11)?;
    Ok(ways.first_that_it_has(|way| {
        session.sign_init(&way.mechanism, key).map_err(Stop::Init)?;
        match session.login_with_raw(UserType::ContextSpecific, pin) {
            Ok(()) => {}
            Err(error) if has_no_context_login(&error) => return Err(Stop::NoContext),
            Err(error) => return Err(Stop::Pin(error)),
        }
        single.sign(session, &way.data).map_err(Stop::Sign)
    }))
}
