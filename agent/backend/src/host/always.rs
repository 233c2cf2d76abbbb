//! Keys that take the PIN for each signature (CKA_ALWAYS_AUTHENTICATE, FAULTS C7).
//!
//! C_SignInit, the login for that very operation and C_Sign follow each other with nothing between, since this process
//! does one thing at a time. Modules that know no such login (OpenSC's) are logged out and in again before the signature.
//! The PIN is that of one signature: it is presented once, and not kept.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::UserType;
use cryptoki::types::RawAuthPin;
use tuf::key::Scheme;

use super::faults::{Action, action, device};
use super::objects::private_of;
use super::protocol::{HostError, HostErrorKind};
use super::sign::{Lacks, Ways, ways};
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
    Module(Error),
    /// The module knows no login in context; it has not looked at the PIN.
    NoContext,
    /// It was presented, and is not right or nobody knows.
    Pin(Error),
    /// It was taken.
    Sign(Error),
}

impl Lacks for Stop {
    fn lacks_mechanism(&self) -> bool {
        matches!(self, Self::Module(error) if error.lacks_mechanism())
    }
}

impl TokenHost {
    /// Signs with the private key of `key` (SPKI, DER), presenting the PIN once.
    pub(crate) fn sign_with_pin(
        &mut self,
        key: &[u8],
        (scheme, how): (Scheme, How),
        pin: Vec<u8>,
        data: &[u8],
    ) -> Result<Vec<u8>, HostError> {
        let pin = RawAuthPin::new(Box::new(pin));
        let ways = ways(scheme, how, data)?;
        self.may_ask(false, None)?;
        let found = self.with_token(|pkcs11, live| private_of(pkcs11, live, key))?;
        if !found.always {
            // It needs none: none is presented.
            return self.sign(key, scheme, how, data);
        }
        if self.order == Order::InContext {
            match self.in_context(&ways, found.handle, &pin) {
                Ok(signature) => return Ok(signature),
                Err(Stop::NoContext) => self.order = Order::Before,
                Err(stop) => return Err(self.stopped(stop)),
            }
            self.drop_sessions();
        }
        self.login_now(&pin, None)?;
        let found = self.with_token(|pkcs11, live| private_of(pkcs11, live, key))?;
        match self.once_more_for(&ways, found.handle) {
            Ok(signature) => Ok(signature),
            Err(stop) => Err(self.stopped(stop)),
        }
    }

    /// The critical section.
    fn in_context(&mut self, ways: &Ways<'_>, key: ObjectHandle, pin: &RawAuthPin) -> Result<Vec<u8>, Stop> {
        let (pkcs11, single) = (&self.pkcs11, &self.single);
        let Some(live) = self.live.as_mut() else { return Err(Stop::Module(gone())) };
        let session = live.work(pkcs11).map_err(Stop::Module)?;
        ways.first_that_it_has(|way| {
            session.sign_init(&way.mechanism, key).map_err(Stop::Module)?;
            match session.login_with_raw(UserType::ContextSpecific, pin) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(Error::Pkcs11(
                    RvError::OperationNotInitialized
                    | RvError::UserTypeInvalid
                    | RvError::FunctionNotSupported,
                    _,
                )) => return Err(Stop::NoContext),
                Err(error) => return Err(Stop::Pin(error)),
            }
            single.sign(session, &way.data).map_err(Stop::Sign)
        })
    }

    /// The signature that follows a login right before it.
    fn once_more_for(&mut self, ways: &Ways<'_>, key: ObjectHandle) -> Result<Vec<u8>, Stop> {
        let (pkcs11, single) = (&self.pkcs11, &self.single);
        let Some(live) = self.live.as_mut() else { return Err(Stop::Module(gone())) };
        let session = live.work(pkcs11).map_err(Stop::Module)?;
        ways.first_that_it_has(|way| {
            single.sign_whole(session, &way.mechanism, key, &way.data).map_err(Stop::Module)
        })
    }

    /// An operation that was begun is ended with its session, and a wrong PIN ends the login that stood.
    fn stopped(&mut self, stop: Stop) -> HostError {
        match stop {
            Stop::Pin(error) => {
                let refused = self.login_failed(error);
                self.logout();
                refused
            }
            Stop::Module(error) | Stop::Sign(error) => {
                self.drop_sessions();
                match action(&error) {
                    Action::Unsupported => HostError::new(HostErrorKind::Unsupported, error.to_string()),
                    _ => self.look().err().unwrap_or_else(|| device(error)),
                }
            }
            Stop::NoContext => HostError::new(HostErrorKind::Unsupported, "a login for one signature"),
        }
    }
}

fn gone() -> Error {
    Error::Pkcs11(RvError::TokenNotPresent, Function::SignInit)
}
