//! One module and one of its tokens, inside the helper.
//!
//! Duty: load the module, find the token, keep it logged in, and get over everything that tokens do
//! when they are pulled and plugged in again. Invariants: one context per process; exactly one C_Login
//! for a login; the session is dropped after any error; object handles live as long as their session.

use std::time::{Duration, Instant};

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;

use super::faults::{Action, Fault, action, device, told};
use super::module::ModuleFile;
use super::protocol::{HostError, HostErrorKind, TokenStatus, Wanted};
use super::reserved;

/// The loaded module and, when it is there, the token.
pub(crate) struct TokenHost {
    pkcs11: Pkcs11,
    reserved: Option<String>,
    wanted: Wanted,
    initialised: Option<Instant>,
    live: Option<Live>,
}

/// The token while it is there.
pub(crate) struct Live {
    pub(crate) slot: Slot,
    pub(crate) logged_in: bool,
    /// Private keys that were found in this session, by public key (SPKI, DER).
    pub(crate) found: Vec<(Vec<u8>, ObjectHandle)>,
    status: TokenStatus,
    /// Holds the login while `work` comes and goes: with its last session a token logs out.
    anchor: Session,
    work: Option<Session>,
}

impl TokenHost {
    /// Loads the module. A C_Initialize that fails is tried again by [`TokenHost::look`]: SoftHSM
    /// refuses it while its folder is gone.
    pub(crate) fn load(
        file: &ModuleFile,
        reserved: Option<String>,
        wanted: Wanted,
    ) -> Result<Self, HostError> {
        let by_descriptor = Pkcs11::new(file.load_path());
        let loaded = by_descriptor.or_else(|error| file.unchanged_path().map_or(Err(error), Pkcs11::new));
        let pkcs11 = loaded.map_err(|e| {
            let message = format!("the module {} cannot be loaded: {e}", file.path().display());
            HostError::new(HostErrorKind::Module, message)
        })?;
        Ok(Self { pkcs11, reserved, wanted, initialised: None, live: None })
    }

    /// The module's name for itself, such as "SoftHSM Implementation of PKCS11 2.6".
    pub(crate) fn library(&mut self) -> String {
        if self.initialise().is_err() {
            return String::new();
        }
        self.pkcs11.get_library_info().map_or_else(
            |_| String::new(),
            |info| {
                let version = info.library_version();
                format!("{} {}.{}", info.library_description(), version.major(), version.minor())
            },
        )
    }

    /// Looks whether the token is there, re-initialising a module that does not see it.
    pub(crate) fn look(&mut self) -> Result<TokenStatus, HostError> {
        if let Some(status) = self.look_at_live() {
            return Ok(status);
        }
        self.live = None;
        self.initialise()?;
        match self.search() {
            Err(error) if error.kind == HostErrorKind::Absent && self.may_reinitialise() => {
                self.reinitialise()?;
                self.search()
            }
            found => found,
        }?;
        self.look_at_live().ok_or_else(|| self.absent())
    }

    /// Presents the PIN: one C_Login, never a second one.
    pub(crate) fn login(&mut self, pin: Vec<u8>, last_try: bool) -> Result<TokenStatus, HostError> {
        self.tries_allow(last_try)?;
        let Some(live) = self.live.as_mut() else { return Err(self.absent()) };
        // An anchor that went stale would spend the one attempt on nothing.
        if live.anchor.get_session_info().is_err() {
            live.anchor = open(&self.pkcs11, live.slot).map_err(device)?;
            live.work = None;
        }
        live.found.clear();
        if live.logged_in {
            // To a login that stands a module answers "already logged in" without a look at the PIN.
            let _ = live.anchor.logout();
            live.logged_in = false;
            live.work = None;
        }
        let outcome = live.anchor.login_with_raw(UserType::User, &RawAuthPin::new(Box::new(pin)));
        match outcome {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                live.logged_in = true;
                self.look()
            }
            Err(error) => Err(self.login_failed(error)),
        }
    }

    /// Forgets the login.
    pub(crate) fn logout(&mut self) {
        if let Some(live) = self.live.as_mut() {
            // Whatever it answers: without a session there is no login left.
            let _ = live.anchor.logout();
        }
        self.live = None;
    }

    /// C_SetPIN: one attempt with the old PIN.
    pub(crate) fn change_pin(&mut self, old: &str, new: &str) -> Result<(), HostError> {
        self.tries_allow(false)?;
        let Some(live) = self.live.as_mut() else { return Err(self.absent()) };
        let outcome = live.work(&self.pkcs11)?.set_pin(&old.into(), &new.into());
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Pkcs11(RvError::PinInvalid | RvError::PinLenRange, _)) => {
                live.work = None;
                Err(HostError::new(
                    HostErrorKind::PinRefused,
                    "the token does not take it (length or characters)",
                ))
            }
            Err(error) => Err(self.login_failed(error)),
        }
    }

    /// Runs `job` with the token, and once more after a stale handle or a token that went and came.
    /// For jobs that change nothing when they fail; a signature that failed was never made.
    pub(crate) fn with_token<T>(
        &mut self,
        mut job: impl FnMut(&Pkcs11, &mut Live) -> Result<T, Fault>,
    ) -> Result<T, HostError> {
        let mut again = true;
        loop {
            if self.live.is_none() {
                self.look()?;
            }
            let Some(live) = self.live.as_mut() else { return Err(self.absent()) };
            let fault = match job(&self.pkcs11, live) {
                Ok(value) => return Ok(value),
                // SoftHSM shows a token without objects when its folder is gone.
                Err(Fault::Host(error)) if error.kind == HostErrorKind::KeyNotFound => {
                    let status = self.look()?;
                    return Err(if status.logged_in { error } else { not_logged_in() });
                }
                Err(Fault::Host(error)) => return Err(error),
                Err(Fault::Module(error)) => error,
            };
            live.work = None;
            live.found.clear();
            match action(&fault) {
                Action::Refind if again => {
                    // Gone, or only the handle? This says, and keeps the login if it can.
                    self.look()?;
                    again = false;
                }
                Action::LoginLost => {
                    live.logged_in = false;
                    return Err(not_logged_in());
                }
                Action::Unsupported => {
                    return Err(HostError::new(HostErrorKind::Unsupported, fault.to_string()));
                }
                Action::Refind | Action::Report => {
                    self.look()?;
                    return Err(device(fault));
                }
            }
        }
    }

    /// What the token tells about its tries, read before each attempt (FAULTS C3).
    fn tries_allow(&mut self, last_try: bool) -> Result<(), HostError> {
        let status = self.look()?;
        match (status.blocked, status.final_try && !last_try) {
            (true, _) => {
                Err(HostError::new(HostErrorKind::PinLocked, "the token says that its PIN is locked"))
            }
            (_, true) => Err(HostError::new(HostErrorKind::FinalTry, "the token says that one try is left")),
            _ => Ok(()),
        }
    }

    fn login_failed(&mut self, error: Error) -> HostError {
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
        if let Some(live) = self.live.as_mut() {
            live.work = None;
        }
        let after = self.look();
        match (kind, after) {
            (HostErrorKind::PinIncorrect, Ok(TokenStatus { final_try: true, .. })) => {
                HostError::new(HostErrorKind::PinIncorrectFinalTry, "the PIN is wrong")
            }
            (HostErrorKind::PinIncorrect, _) => HostError::new(kind, "the PIN is wrong"),
            (HostErrorKind::PinUnclear, Err(absent)) => absent,
            (kind, _) => HostError::new(kind, format!("the module's {}", told(&error))),
        }
    }

    /// The token that is in use, asked cheaply; `None` when it does not answer as itself.
    fn look_at_live(&mut self) -> Option<TokenStatus> {
        let live = self.live.as_mut()?;
        let info = self.pkcs11.get_token_info(live.slot).ok()?;
        if info.serial_number() != live.status.serial || !matches(&self.wanted, &info) {
            return None;
        }
        live.anchor.get_session_info().ok()?;
        live.status = status(&info, live.logged_in);
        Some(live.status.clone())
    }

    /// Finds the token among all slots; one that cannot be read never spoils the others.
    fn search(&mut self) -> Result<(), HostError> {
        let slots = self.pkcs11.get_slots_with_token().map_err(device)?;
        let mut found = slots
            .into_iter()
            .filter_map(|slot| Some((slot, self.pkcs11.get_token_info(slot).ok()?)))
            .filter(|(_, info)| info.token_initialized() && matches(&self.wanted, info));
        let (slot, info) = found.next().ok_or_else(|| self.absent())?;
        if found.next().is_some() {
            let message =
                format!("the module has two tokens {}; name the one by its serial", describe(&self.wanted));
            return Err(HostError::new(HostErrorKind::Device, message));
        }
        drop(found);
        let anchor = open(&self.pkcs11, slot).map_err(device)?;
        let status = status(&info, false);
        self.live = Some(Live { slot, logged_in: false, found: Vec::new(), status, anchor, work: None });
        Ok(())
    }

    fn initialise(&mut self) -> Result<(), HostError> {
        if self.initialised.is_some() {
            return Ok(());
        }
        match reserved::initialise(&self.pkcs11, self.reserved.as_deref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                self.initialised = Some(Instant::now());
                Ok(())
            }
            Err(error) => Err(HostError::new(
                HostErrorKind::Absent,
                format!(
                    "the module does not start ({}); is the folder where it keeps its tokens there?",
                    told(&error)
                ),
            )),
        }
    }

    /// With no token there is no session that it could disturb, and modules such as SoftHSM see
    /// a token that came back in no other way.
    fn may_reinitialise(&self) -> bool {
        self.initialised.is_none_or(|last| last.elapsed() >= REINITIALISE_AFTER)
    }

    fn reinitialise(&mut self) -> Result<(), HostError> {
        self.live = None;
        // Whatever it answers, C_Initialize is what counts.
        let _ = self.pkcs11.clone().finalize();
        self.initialised = None;
        self.initialise()
    }

    fn absent(&self) -> HostError {
        HostError::new(HostErrorKind::Absent, format!("the module has no token {}", describe(&self.wanted)))
    }
}

impl Live {
    /// The session for work, opened when there is none.
    pub(crate) fn work(&mut self, pkcs11: &Pkcs11) -> Result<&Session, HostError> {
        if self.work.is_none() {
            self.work = Some(open(pkcs11, self.slot).map_err(device)?);
            self.found.clear();
        }
        self.work.as_ref().ok_or_else(not_logged_in)
    }

    /// # Errors
    /// When the PIN was not presented.
    pub(crate) fn need_login(&self) -> Result<(), HostError> {
        if self.logged_in { Ok(()) } else { Err(not_logged_in()) }
    }
}

/// Read-write where the token allows it.
fn open(pkcs11: &Pkcs11, slot: Slot) -> Result<Session, Error> {
    pkcs11.open_rw_session(slot).or_else(|error| match error {
        Error::Pkcs11(RvError::TokenWriteProtected, _) => pkcs11.open_ro_session(slot),
        error => Err(error),
    })
}

fn matches(wanted: &Wanted, info: &TokenInfo) -> bool {
    let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    fits(&wanted.label, info.label())
        && fits(&wanted.serial, info.serial_number())
        && fits(&wanted.manufacturer, info.manufacturer_id())
        && fits(&wanted.model, info.model())
}

fn status(info: &TokenInfo, logged_in: bool) -> TokenStatus {
    TokenStatus {
        label: info.label().to_owned(),
        serial: info.serial_number().to_owned(),
        final_try: info.user_pin_final_try(),
        blocked: info.user_pin_locked(),
        logged_in,
    }
}

fn describe(wanted: &Wanted) -> String {
    let parts = [
        ("label", &wanted.label),
        ("serial", &wanted.serial),
        ("manufacturer", &wanted.manufacturer),
        ("model", &wanted.model),
    ];
    let named: Vec<String> =
        parts.iter().filter_map(|(what, value)| Some(format!("with {what} {:?}", value.as_ref()?))).collect();
    named.join(" and ")
}

fn not_logged_in() -> HostError {
    HostError::new(HostErrorKind::NotLoggedIn, "the token wants its PIN first")
}

/// A person who plugs a token in again waits at most five seconds for it to show; the agent asks
/// every two.
const REINITIALISE_AFTER: Duration = Duration::from_millis(1500);
