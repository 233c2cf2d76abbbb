//! The PIN at the token: one C_Login for one request, whatever comes of it (FAULTS C1, C3, C5).
//!
//! Errors tell apart what happened before the token was asked and what came of asking it: after C_Login or C_SetPIN
//! was called they are about the PIN, or unclear. A module is not initialised again after that: it could hide a try
//! that was counted.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::types::RawAuthPin;

use super::faults::{device, told};
use super::live::open;
use super::protocol::{HostError, HostErrorKind, TokenStatus};
use super::token::TokenHost;
use crate::traced::tracer;

impl TokenHost {
    /// Presents the PIN: one C_Login, never a second one, and none to another token than the one that is meant.
    pub(crate) fn login(
        &mut self,
        pin: Vec<u8>,
        last_try: bool,
        serial: Option<&str>,
    ) -> Result<TokenStatus, HostError> {
        let pin = RawAuthPin::new(Box::new(pin));
        self.may_ask(last_try, serial)?;
        let proven = self.login_now(&pin, serial)?;
        let absent = self.absent();
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        live.status.logged_in = true;
        let last = live.status.clone();
        // A token that is gone right after it took the PIN is seen to be gone by the next look.
        Ok(TokenStatus { proven, ..self.look_at_live().unwrap_or(last) })
    }

    /// The login itself, after the tries were read. False: "already logged in", and nobody has looked at the PIN.
    pub(super) fn login_now(&mut self, pin: &RawAuthPin, serial: Option<&str>) -> Result<bool, HostError> {
        not_traced()?;
        let absent = self.absent();
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        // An anchor that went stale would spend the one attempt on nothing.
        if live.anchor.get_session_info().is_err() {
            live.anchor = open(&self.pkcs11, live.slot).map_err(device)?;
            live.drop_work();
            // Another token may have come into the slot meanwhile.
            self.is_meant(serial)?;
        }
        // To a login that stands a module answers "already logged in" without a look at the PIN.
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        live.drop_work();
        if std::mem::take(&mut live.logged_in) && live.anchor.logout().is_err() {
            // With its last session a token logs out, too.
            self.live = None;
            self.is_meant(serial)?;
        }
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        let proven = match live.anchor.login_with_raw(UserType::User, pin) {
            Ok(()) => true,
            // A login belongs to the whole process: it stands. Not where the session knows nothing of it: keys that cannot
            // be seen would count as lost.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) if live.has_login() => false,
            Err(error) => return Err(self.login_failed(error)),
        };
        live.logged_in = true;
        Ok(proven)
    }

    /// C_SetPIN: one attempt with the old PIN.
    pub(crate) fn change_pin(
        &mut self,
        old: &str,
        new: &str,
        last_try: bool,
        serial: Option<&str>,
    ) -> Result<(), HostError> {
        self.may_ask(last_try, serial)?;
        not_traced()?;
        let Some(live) = self.live.as_mut() else { return Err(self.absent()) };
        let outcome = live.work(&self.pkcs11).map_err(device)?.set_pin(&old.into(), &new.into());
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Pkcs11(RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.drop_sessions();
                Err(HostError::new(
                    HostErrorKind::PinRefused,
                    "the token does not take it (length or characters)",
                ))
            }
            Err(error) => Err(self.login_failed(error)),
        }
    }

    /// Before each attempt: it is the token that is meant, and what it tells about its tries (FAULTS C3, C5).
    pub(super) fn may_ask(&mut self, last_try: bool, serial: Option<&str>) -> Result<(), HostError> {
        let status = self.is_meant(serial)?;
        match (status.blocked, status.final_try && !last_try) {
            (true, _) => {
                Err(HostError::new(HostErrorKind::PinLocked, "the token says that its PIN is locked"))
            }
            (_, true) => Err(HostError::new(HostErrorKind::FinalTry, "the token says that one try is left")),
            _ => Ok(()),
        }
    }

    fn is_meant(&mut self, serial: Option<&str>) -> Result<TokenStatus, HostError> {
        let status = self.look()?;
        match serial {
            Some(serial) if serial != status.serial => Err(HostError::new(
                HostErrorKind::Swapped,
                format!("the PIN is for serial {serial:?}, and serial {:?} is there", status.serial),
            )),
            _ => Ok(status),
        }
    }

    /// The token was asked, and has not taken the PIN, or nobody knows whether it has.
    pub(super) fn login_failed(&mut self, error: Error) -> HostError {
        let kind = match &error {
            Error::Pkcs11(RvError::PinIncorrect, _) => HostErrorKind::PinIncorrect,
            Error::Pkcs11(RvError::PinLocked, _) => HostErrorKind::PinLocked,
            // A PIN of the wrong form is a wrong PIN (ykcs11 answers so to an empty one).
            Error::Pkcs11(
                RvError::PinLenRange | RvError::PinInvalid | RvError::ArgumentsBad,
                Function::Login,
            ) => HostErrorKind::PinIncorrect,
            _ => HostErrorKind::PinUnclear,
        };
        self.drop_sessions();
        let final_try = self.look_at_live().is_ok_and(|status| status.final_try);
        match (kind, final_try) {
            (HostErrorKind::PinIncorrect, true) => {
                HostError::new(HostErrorKind::PinIncorrectFinalTry, "the PIN is wrong")
            }
            (HostErrorKind::PinIncorrect, false) => HostError::new(kind, "the PIN is wrong"),
            (kind, _) => HostError::new(kind, format!("the module's {}", told(&error))),
        }
    }
}

/// Whoever traces this process would read the PIN along.
pub(super) fn not_traced() -> Result<(), HostError> {
    match tracer("self") {
        Ok(None) => Ok(()),
        Ok(Some(tracer)) => Err(HostError::new(
            HostErrorKind::Traced,
            format!("process {tracer} traces the token's helper, and would see the PIN"),
        )),
        Err(error) => Err(HostError::new(
            HostErrorKind::Traced,
            format!("whether the token's helper is traced cannot be seen: {error}"),
        )),
    }
}
