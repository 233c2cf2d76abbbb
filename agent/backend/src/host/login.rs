//! The PIN at the token: one C_Login for one request, whatever comes of it (FAULTS C1, C3, C5).
//!
//! Errors tell apart what happened before the token was asked and what came of asking it: after C_Login or C_SetPIN
//! was called they are about the PIN, or unclear. A module is not initialised again after a wrong PIN: it could hide a
//! try that was counted. Invariants: before a PIN is presented nobody is logged in, as a module says "already logged in"
//! to whatever PIN; after one that was not accepted nobody is, whatever the module answered.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::types::RawAuthPin;

use super::faults::{Action, action, device, told};
use super::live::{Live, open};
use super::protocol::{HostError, HostErrorKind, TokenStatus, Wanted};
use super::token::TokenHost;
use crate::traced::tracer;

impl TokenHost {
    /// Presents the PIN: one C_Login, never a second one, and none to another token than the one that is meant.
    pub(crate) fn login(
        &mut self,
        pin: Vec<u8>,
        last_try: bool,
        meant: &Wanted,
    ) -> Result<TokenStatus, HostError> {
        let pin = RawAuthPin::new(Box::new(pin));
        self.may_ask(last_try, meant)?;
        let proven = self.login_now(&pin, meant)?;
        let absent = self.absent();
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        live.status.logged_in = true;
        let last = live.status.clone();
        // A token that is gone right after it took the PIN is seen to be gone by the next look.
        Ok(TokenStatus { proven, ..self.look_at_live().unwrap_or(last) })
    }

    /// Uses a token that wants no PIN. C_Login is not called: some take an empty PIN then, and others count it as wrong.
    pub(crate) fn enter(&mut self, meant: &Wanted) -> Result<TokenStatus, HostError> {
        let status = self.is_meant(meant)?;
        let absent = self.absent();
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        if !status.open {
            return Err(wants_one());
        }
        live.forget_found();
        live.logged_in = true;
        live.status.logged_in = true;
        Ok(live.status.clone())
    }

    /// The login itself, after the tries were read. False: the token has logins for nothing, and the PIN was not presented.
    pub(super) fn login_now(&mut self, pin: &RawAuthPin, meant: &Wanted) -> Result<bool, HostError> {
        not_traced()?;
        let absent = self.absent();
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        // An anchor that went stale would spend the one attempt on nothing.
        if live.anchor.get_session_info().is_err() {
            live.anchor = open(&self.pkcs11, live.slot).map_err(device)?;
            live.drop_work();
            // Another token may have come into the slot meanwhile.
            self.is_meant(meant)?;
        }
        let needless = self.end_logins(meant)?;
        let Some(live) = self.live.as_mut() else { return Err(absent) };
        if !needless && let Err(error) = live.anchor.login_with_raw(UserType::User, pin) {
            return Err(self.login_failed(error));
        }
        live.logged_in = true;
        Ok(!needless)
    }

    /// Sees that nobody is logged in, also not by a login that failed as far as was told. True: the token says that everybody
    /// is, always, as it wants no PIN.
    fn end_logins(&mut self, meant: &Wanted) -> Result<bool, HostError> {
        let Some(live) = self.live.as_mut() else { return Err(self.absent()) };
        live.drop_work();
        let stands = std::mem::take(&mut live.logged_in) || live.has_login();
        if stands && (live.anchor.logout().is_err() || live.has_login()) {
            // With its last session a token logs out, too.
            self.live = None;
            self.is_meant(meant)?;
        }
        let Some(live) = self.live.as_ref() else { return Err(self.absent()) };
        if !live.has_login() {
            return Ok(false);
        }
        if !self.wants_pin() {
            return Ok(true);
        }
        Err(HostError::new(
            HostErrorKind::Worn,
            "the module has somebody logged in, and does not end that; the PIN was not presented",
        ))
    }

    /// Without one everybody counts as logged in.
    fn wants_pin(&self) -> bool {
        let info = self.live.as_ref().and_then(|live| self.pkcs11.get_token_info(live.slot).ok());
        info.is_none_or(|info| info.login_required())
    }

    /// C_SetPIN: one attempt with the old PIN.
    pub(crate) fn change_pin(
        &mut self,
        old: &str,
        new: &str,
        last_try: bool,
        meant: &Wanted,
    ) -> Result<(), HostError> {
        self.may_ask(last_try, meant)?;
        self.is_of_length(new)?;
        not_traced()?;
        let mut outcome = self.set_pin(old, new)?;
        // NSS has who is logged in change the PIN, and has not looked at the old one: that is the attempt then.
        if let Err(Error::Pkcs11(RvError::UserNotLoggedIn, _)) = outcome {
            let pin = RawAuthPin::new(Box::new(old.as_bytes().to_vec()));
            let stood = self.live.as_ref().is_some_and(|live| live.logged_in);
            self.login_now(&pin, meant)?;
            let set = self.set_pin(old, new);
            if !stood {
                // Whatever came of it: nobody has unlocked the token.
                self.logout();
            }
            outcome = set.map_err(|error| HostError {
                kind: HostErrorKind::PinUnclear,
                message: format!("the old PIN was accepted, and was not changed: {}", error.message),
                ..error
            })?;
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => Err(self.login_failed(error)),
        }
    }

    /// A new PIN that the token takes by its length; otherwise the old one is not presented either.
    fn is_of_length(&self, new: &str) -> Result<(), HostError> {
        let info = self.live.as_ref().and_then(|live| self.pkcs11.get_token_info(live.slot).ok());
        let Some((least, most)) = info.map(|info| (info.min_pin_length(), info.max_pin_length())) else {
            return Ok(());
        };
        // Some tell nothing, or nonsense.
        if most == 0 || most < least || (least..=most).contains(&new.len()) {
            return Ok(());
        }
        let why = format!("the token takes those of {least} to {most} bytes");
        Err(HostError::new(HostErrorKind::PinRefused, why))
    }

    fn set_pin(&mut self, old: &str, new: &str) -> Result<Result<(), Error>, HostError> {
        let Some(live) = self.live.as_mut() else { return Err(self.absent()) };
        Ok(live.work(&self.pkcs11).map_err(device)?.set_pin(&old.into(), &new.into()))
    }

    /// Before each attempt: it is the token that is meant, and what it tells about its tries (FAULTS C3, C5).
    pub(super) fn may_ask(&mut self, last_try: bool, meant: &Wanted) -> Result<TokenStatus, HostError> {
        let status = self.is_meant(meant)?;
        if status.pin_pad {
            return Err(pin_pad());
        }
        match (status.blocked, status.final_try && !last_try) {
            (true, _) => {
                Err(HostError::new(HostErrorKind::PinLocked, "the token says that its PIN is locked")
                    .unasked())
            }
            (_, true) => Err(HostError::new(HostErrorKind::FinalTry, "the token says that one try is left")),
            _ => Ok(status),
        }
    }

    fn is_meant(&mut self, meant: &Wanted) -> Result<TokenStatus, HostError> {
        let status = self.look()?;
        meant.check(&status).map(|()| status)
    }

    /// The token was asked, and has not taken the PIN, or nobody knows whether it has.
    pub(super) fn login_failed(&mut self, error: Error) -> HostError {
        let kind = match &error {
            Error::Pkcs11(RvError::PinIncorrect, _) => HostErrorKind::PinIncorrect,
            Error::Pkcs11(RvError::PinLocked, _) => HostErrorKind::PinLocked,
            // A PIN of the wrong form is a wrong PIN.
            Error::Pkcs11(RvError::PinLenRange | RvError::PinInvalid, Function::Login) => {
                HostErrorKind::PinIncorrect
            }
            // Whatever else it says, it was asked: of what it has looked at there is only its word.
            _ => HostErrorKind::PinUnclear,
        };
        // It may have taken place all the same.
        self.logout();
        let final_try = self.look_once().is_ok_and(|status| status.final_try);
        let stands = self.live.as_ref().is_some_and(Live::has_login) && self.wants_pin();
        let already = matches!(error, Error::Pkcs11(RvError::UserAlreadyLoggedIn, _));
        let kind = match stands || already || action(&error) == Action::Renew {
            true => HostErrorKind::PinWorn,
            false => kind,
        };
        match (kind, final_try) {
            (HostErrorKind::PinIncorrect, true) => {
                HostError::new(HostErrorKind::PinIncorrectFinalTry, "the PIN is wrong")
            }
            (HostErrorKind::PinIncorrect, false) => HostError::new(kind, "the PIN is wrong"),
            (kind, _) => unclear(kind, &error),
        }
    }
}

/// Where the PIN is typed at the device, C_Login takes none, and waits for as long as somebody types.
fn pin_pad() -> HostError {
    HostError::new(
        HostErrorKind::PinUnasked,
        "the token has its PIN typed at the device itself (CKF_PROTECTED_AUTHENTICATION_PATH), which tuf-agent does not \
         support; the PIN was not presented",
    )
    .remedy(
        "let the module take the PIN from programs, in its own configuration (OpenSC: enable_pinpad = false), or use a token \
         that does",
    )
}

/// The configuration says that there is none.
fn wants_one() -> HostError {
    HostError::new(
        HostErrorKind::PinUnasked,
        "the token says that it wants a PIN (CKF_LOGIN_REQUIRED), and is configured as one that wants none (pin = \"none\")",
    )
    .remedy("name in its entry of the configuration where its PIN comes from, then: tufctl token unlock NAME")
}

/// What the module says does not tell whether it has counted a try. Where it names a reason, that has a way out of its own.
fn unclear(kind: HostErrorKind, error: &Error) -> HostError {
    let (why, remedy) = match error {
        Error::Pkcs11(RvError::UserPinNotInitialized, Function::Login) => (
            "the token says that it has no user PIN yet",
            "give it one with its vendor's tool, as its security officer (pkcs11-tool --init-pin, say), then: tufctl token \
             unlock NAME",
        ),
        Error::Pkcs11(RvError::PinExpired, Function::Login) => (
            "the token says that its PIN has expired, and must be changed first (tufctl token change-pin)",
            "give it a new one: tufctl token change-pin NAME, or its vendor's tool",
        ),
        Error::Pkcs11(RvError::ArgumentsBad, Function::Login) => (
            "the module says that it takes no PIN in this way",
            "look with the token's own tool how it takes its PIN (one that is typed at the device is not supported), then: tufctl \
             token unlock NAME",
        ),
        Error::Pkcs11(RvError::PinInvalid | RvError::PinLenRange, Function::SetPIN) => (
            "the token takes the new PIN, or the old one, for none by its length or characters",
            "make sure of the old PIN, and choose another new one",
        ),
        _ => return HostError::new(kind, format!("the module's {}", told(error))),
    };
    HostError::new(kind, format!("{why} (the module's {})", told(error))).remedy(remedy)
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
