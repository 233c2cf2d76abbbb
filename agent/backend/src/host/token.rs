//! One module and one of its tokens, inside the helper.
//!
//! Duty: load the module, find the token, keep it logged in, and get over everything that tokens do
//! when they are pulled and plugged in again. Invariants: one context per process; the session is
//! dropped after any error; object handles live as long as their session and login; the module is initialised again at
//! most once in 30 s, and never because of a PIN.

use std::time::Instant;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use tuf::key::Scheme;

use super::faults::{Action, Fault, action, device, may_be_worn, may_repeat, told};
use super::live::{Live, not_logged_in};
use super::module::ModuleFile;
use super::protocol::{HostError, HostErrorKind, Setup, TokenStatus, Wanted};
use super::reload::Reloads;
use super::reserved::{self, Threads};
use super::sign;
use super::single::SingleSign;
use crate::doctor::How;

/// The loaded module and, when it is there, the token.
pub(crate) struct TokenHost {
    pub(super) pkcs11: Pkcs11,
    pub(super) single: SingleSign,
    reserved: Option<String>,
    wanted: Wanted,
    /// So many signatures may be made at once.
    sessions: usize,
    threads: Threads,
    started: Started,
    reloads: Reloads,
    pub(super) live: Option<Live>,
    pub(super) order: super::always::Order,
    /// Signatures in a row that the module did not make, for a reason that may be its own.
    pub(super) worn: u32,
}

/// What C_Initialize came to.
enum Started {
    No,
    Yes,
    Refused(HostError),
}

impl TokenHost {
    /// Loads the module; it is initialised by the first look.
    pub(crate) fn load(
        file: &ModuleFile,
        Setup { reserved, wanted, sessions, .. }: Setup,
    ) -> Result<Self, HostError> {
        let load = |path: &std::path::Path| {
            let pkcs11 = Pkcs11::new(path)?;
            let single = SingleSign::of(&pkcs11, path)?;
            Ok((pkcs11, single))
        };
        let by_descriptor = load(&file.load_path());
        let loaded = by_descriptor.or_else(|error: Error| file.unchanged_path().map_or(Err(error), load));
        let (pkcs11, single) = loaded.map_err(|e| {
            let why = if let Error::Pkcs11(..) = e { told(&e) } else { e.to_string() };
            let message = format!("the module {} cannot be loaded: {why}", file.path().display());
            HostError::new(HostErrorKind::Module, message)
        })?;
        let (started, reloads, order) = (Started::No, Reloads::default(), super::always::Order::default());
        let threads = Threads::One;
        Ok(Self {
            pkcs11,
            single,
            reserved,
            wanted,
            sessions,
            threads,
            started,
            reloads,
            live: None,
            order,
            worn: 0,
        })
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

    /// Looks whether the token is there. A module that cannot tell is initialised again, when that may be. One that has no
    /// such token is not: should it come back, a new helper sees it, whatever this one remembers.
    pub(crate) fn look(&mut self) -> Result<TokenStatus, HostError> {
        let fault = match self.look_once() {
            Ok(status) => return Ok(status),
            Err(Fault::Host(error)) => return Err(error),
            Err(Fault::Module(error) | Fault::Left(error, _)) => error,
        };
        if action(&fault) == Action::Full || !self.reload()? {
            return Err(device(fault));
        }
        self.look_once().map_err(host_error)
    }

    /// The same, leaving the module as it is.
    pub(super) fn look_once(&mut self) -> Result<TokenStatus, Fault> {
        if let Ok(status) = self.look_at_live() {
            return Ok(status);
        }
        self.live = None;
        self.initialise()?;
        self.search()?;
        self.look_at_live()
    }

    /// Module and slot, for [`super::doctor`], which opens sessions of its own. Without `keep` none stays open here, and
    /// with the last session a login ends.
    pub(crate) fn bare(&mut self, keep: bool) -> Result<(Pkcs11, SingleSign, Slot), HostError> {
        self.look()?;
        let Some(slot) = self.live.as_ref().map(|live| live.slot) else { return Err(self.absent()) };
        if !keep {
            self.live = None;
        }
        Ok((self.pkcs11.clone(), self.single.clone(), slot))
    }

    /// Forgets the login.
    pub(crate) fn logout(&mut self) {
        if let Some(live) = self.live.as_mut() {
            // Whatever it answers: without a session there is no login left.
            let _ = live.anchor.logout();
        }
        self.live = None;
    }

    /// Runs `job` with the token, and once more after a stale handle or a token that went and came, as the table of
    /// [`super::faults`] says. Nothing that may have been carried out is done twice.
    pub(crate) fn with_token<T>(
        &mut self,
        mut job: impl FnMut(&Pkcs11, &mut Live) -> Result<T, Fault>,
    ) -> Result<T, HostError> {
        match self.attempt(&mut job)? {
            Ok(value) => Ok(value),
            Err(fault) => {
                self.get_over(fault, true)?;
                self.last_attempt(job)
            }
        }
    }

    /// The same, not to be done once more.
    fn last_attempt<T>(
        &mut self,
        job: impl FnMut(&Pkcs11, &mut Live) -> Result<T, Fault>,
    ) -> Result<T, HostError> {
        match self.attempt(job)? {
            Ok(value) => Ok(value),
            Err(fault) => Err(self.get_over(fault, false).err().unwrap_or_else(|| self.absent())),
        }
    }

    fn attempt<T>(
        &mut self,
        mut job: impl FnMut(&Pkcs11, &mut Live) -> Result<T, Fault>,
    ) -> Result<Result<T, Fault>, HostError> {
        if self.live.is_none() {
            self.look()?;
        }
        let Some(live) = self.live.as_mut() else { return Err(self.absent()) };
        Ok(job(&self.pkcs11, live))
    }

    /// What is done after a fault. Fine: what was asked may be done `again`.
    fn get_over(&mut self, fault: Fault, again: bool) -> Result<(), HostError> {
        let fault = match fault {
            // SoftHSM shows a token without objects when its folder is gone.
            Fault::Host(error) if error.kind == HostErrorKind::KeyNotFound => {
                let status = self.look()?;
                return Err(if status.logged_in { error } else { not_logged_in() });
            }
            Fault::Host(error) => return Err(error),
            Fault::Left(error, left) => {
                let sure = format!("the module's {}; {left}", told(&error));
                let error = self.failed(error);
                return Err(match error.kind {
                    HostErrorKind::Device => HostError { message: sure, ..error },
                    _ => error,
                });
            }
            Fault::Module(error) => error,
        };
        // Gone, or only the handle? This says, and keeps the login if it can.
        if !again || !may_repeat(&fault) {
            return Err(self.failed(fault));
        }
        self.drop_sessions();
        self.look().map(drop)
    }

    /// What the table says to an answer after which nothing is done again.
    pub(super) fn failed(&mut self, fault: Error) -> HostError {
        let doing = action(&fault);
        // What cannot be done leaves nothing begun: the only session may be kept, and the login with it.
        if doing != Action::Unsupported || !self.live.as_ref().is_some_and(Live::works_in_anchor) {
            self.drop_sessions();
        }
        match doing {
            Action::Unsupported => HostError::new(HostErrorKind::Unsupported, told(&fault)),
            Action::LoginLost => {
                if let Some(live) = self.live.as_mut() {
                    live.logged_in = false;
                }
                not_logged_in()
            }
            Action::Reload => {
                self.live = None;
                match self.reload() {
                    Ok(true) => not_logged_in(),
                    Ok(false) => device(fault),
                    Err(error) => error,
                }
            }
            Action::Renew if may_be_worn(&fault) => {
                self.worn = self.worn.saturating_add(1);
                if self.worn < WORN_BY {
                    return self.look().err().unwrap_or_else(|| device(fault));
                }
                self.logout();
                HostError { kind: HostErrorKind::Worn, ..device(fault) }
            }
            _ => self.look().err().unwrap_or_else(|| device(fault)),
        }
    }

    /// One signature; see [`super::sign`].
    pub(crate) fn sign(
        &mut self,
        key: &[u8],
        scheme: Scheme,
        how: How,
        data: &[u8],
    ) -> Result<Vec<u8>, HostError> {
        let single = self.single.clone();
        let signature =
            self.with_token(|pkcs11, live| sign::sign(pkcs11, &single, live, key, (scheme, how), data))?;
        self.worn = 0;
        Ok(signature)
    }

    /// What follows after a thread of [`super::crew`] has failed to make a signature: it is made here, if that may be.
    pub(super) fn sign_after(
        &mut self,
        fault: Fault,
        key: &[u8],
        scheme: Scheme,
        how: How,
        data: &[u8],
    ) -> Result<Vec<u8>, HostError> {
        self.get_over(fault, true)?;
        let single = self.single.clone();
        let signature =
            self.last_attempt(|pkcs11, live| sign::sign(pkcs11, &single, live, key, (scheme, how), data))?;
        self.worn = 0;
        Ok(signature)
    }

    /// So many signatures may be made at once.
    pub(super) const fn sessions(&self) -> usize {
        match self.threads {
            Threads::Many => self.sessions,
            Threads::One => 1,
        }
    }

    /// A key that was found before, and a session, for a thread that signs with it. None where there is no such key or no
    /// further session, or where more than a signature is wanted of the token.
    pub(super) fn lend(&mut self, key: &[u8]) -> Option<(ObjectHandle, Session)> {
        let live = self.live.as_mut().filter(|live| live.logged_in)?;
        let key = live.known(key).filter(|found| !found.always)?.handle;
        Some((key, live.lend(&self.pkcs11)?))
    }

    /// What was lent is back.
    pub(super) fn give_back(&mut self, session: Option<Session>) {
        if session.is_some() {
            // It has signed.
            self.worn = 0;
        }
        if let Some(live) = self.live.as_mut() {
            live.give_back(session);
        }
    }

    /// After an error: the session is of no use any more. The login goes with it where it is the only one.
    pub(super) fn drop_sessions(&mut self) {
        match self.live.as_mut() {
            Some(live) if live.works_in_anchor() => self.live = None,
            Some(live) => live.drop_work(),
            None => {}
        }
    }

    /// The token that is in use, asked cheaply; an error when it does not answer as itself.
    pub(super) fn look_at_live(&mut self) -> Result<TokenStatus, Fault> {
        let absent = self.absent();
        let Some(live) = self.live.as_mut() else { return Err(absent.into()) };
        let info = self.pkcs11.get_token_info(live.slot)?;
        if info.serial_number() != live.status.serial || !matches(&self.wanted, &info) {
            return Err(absent.into());
        }
        live.anchor.get_session_info()?;
        live.status = TokenStatus { worn: self.worn > 0, ..status(&info, live.logged_in) };
        Ok(live.status.clone())
    }

    /// Finds the token among all slots; one that cannot be read never spoils the others.
    fn search(&mut self) -> Result<(), Fault> {
        let (mut found, mut unread) = (Vec::new(), None);
        for slot in self.pkcs11.get_slots_with_token()? {
            match self.pkcs11.get_token_info(slot) {
                Ok(info) if info.token_initialized() && matches(&self.wanted, &info) => {
                    found.push((slot, info))
                }
                Ok(_) => {}
                Err(error) => unread = Some(error),
            }
        }
        let (slot, info) = match (found.pop(), unread) {
            (Some(one), _) => one,
            (None, None) => return Err(self.absent().into()),
            (None, Some(error)) => {
                let mut absent = self.absent();
                absent.message.push_str(&format!(", as far as its slots can be read ({})", told(&error)));
                return Err(absent.into());
            }
        };
        if !found.is_empty() {
            let all = found.iter().map(|(_, info)| info).chain([&info]);
            let serials: Vec<_> = all.map(|info| format!("{:?}", info.serial_number())).collect();
            let message = format!(
                "the module has more than one token {}; their serials are {}",
                describe(&self.wanted),
                serials.join(", ")
            );
            return Err(HostError::new(HostErrorKind::Several, message).into());
        }
        self.live = Some(Live::open(&self.pkcs11, slot, &info, status(&info, false), self.pool())?);
        Ok(())
    }

    fn initialise(&mut self) -> Result<(), HostError> {
        match &self.started {
            Started::Yes => return Ok(()),
            Started::Refused(error) if !self.reloads.take(Instant::now()) => return Err(error.clone()),
            Started::Refused(_) | Started::No => {}
        }
        match reserved::initialise(&self.pkcs11, self.reserved.as_deref()) {
            Ok(threads) => {
                (self.started, self.threads) = (Started::Yes, threads);
                Ok(())
            }
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                self.started = Started::Yes;
                Ok(())
            }
            // SoftHSM answers so while its folder is gone: it may come back as a token may.
            Err(error) => {
                let message = format!(
                    "the module does not start ({}); is the folder where it keeps its tokens there?",
                    told(&error)
                );
                let refused = HostError::new(HostErrorKind::Absent, message);
                self.started = Started::Refused(refused.clone());
                Err(refused)
            }
        }
    }

    /// C_Finalize and C_Initialize, at most once in 30 s; false when it may not be now. The login is gone afterwards.
    fn reload(&mut self) -> Result<bool, HostError> {
        if !self.reloads.take(Instant::now()) {
            return Ok(false);
        }
        self.live = None;
        // Whatever it answers, C_Initialize is what counts.
        let _ = self.pkcs11.clone().finalize();
        self.started = Started::No;
        self.initialise()?;
        Ok(true)
    }

    /// One signature at a time needs none.
    const fn pool(&self) -> usize {
        if self.sessions() > 1 { self.sessions() } else { 0 }
    }

    pub(super) fn absent(&self) -> HostError {
        HostError::new(HostErrorKind::Absent, format!("the module has no token {}", describe(&self.wanted)))
    }
}

fn host_error(fault: Fault) -> HostError {
    match fault {
        Fault::Host(error) => error,
        Fault::Module(error) | Fault::Left(error, _) => device(error),
    }
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
        model: info.model().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        final_try: info.user_pin_final_try(),
        count_low: info.user_pin_count_low(),
        blocked: info.user_pin_locked(),
        pin_pad: info.protected_authentication_path(),
        logged_in,
        ..TokenStatus::default()
    }
}

/// So many signatures in a row that fail so say that the module has lost what it works with: the service of the token was
/// started anew, say. One alone may be about that signature, and costs no login.
const WORN_BY: u32 = 2;

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
