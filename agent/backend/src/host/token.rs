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
use cryptoki::slot::Slot;
use tuf::key::Scheme;

use super::faults::{Action, Fault, action, device, may_be_worn, may_repeat, told};
use super::line::Teller;
use super::live::{Live, not_logged_in};
use super::module::ModuleFile;
use super::protocol::{HostError, HostErrorKind, Setup, TokenStatus, Wanted};
use super::reload::Reloads;
use super::reserved::{self, Threads};
use super::search::{matches, status};
use super::sign;
use super::single::SingleSign;
use crate::doctor::How;

/// The loaded module and, when it is there, the token.
pub(crate) struct TokenHost {
    pub(super) pkcs11: Pkcs11,
    pub(super) single: SingleSign,
    reserved: Option<String>,
    pub(super) wanted: Wanted,
    /// Slots that are asked last: a helper before has hung in them.
    pub(super) last: Vec<u64>,
    /// Hears which slot is asked, while a request is carried out.
    pub(super) teller: Option<Teller>,
    /// So many signatures may be made at once.
    sessions: usize,
    threads: Threads,
    started: Started,
    reloads: Reloads,
    pub(super) live: Option<Live>,
    pub(super) order: super::always::Order,
    /// Signatures in a row that the module did not make, for a reason that may be its own.
    pub(super) worn: u32,
    /// The key by which it signs now (SPKI, DER).
    signs_by: Vec<u8>,
    /// Keys that failed until the module was started anew, and have not signed since: what they fail by is their own.
    unwell: Vec<Vec<u8>>,
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
        Setup { reserved, wanted, sessions, last, unwell, .. }: Setup,
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
            last,
            teller: None,
            sessions,
            threads,
            started,
            reloads,
            live: None,
            order,
            worn: 0,
            signs_by: Vec::new(),
            unwell: unwell.iter().filter_map(|key| hex::decode(key).ok()).collect(),
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

    /// The end: nothing stays open at the device, or at the server of one. Whoever waits for it does not wait for long.
    pub(crate) fn end(mut self) {
        self.logout();
        if matches!(self.started, Started::Yes) {
            let _ = self.pkcs11.finalize();
        }
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
            // A key that its device does not let sign costs other keys no login.
            Action::Renew if may_be_worn(&fault) && self.unwell.contains(&self.signs_by) => {
                self.look().err().unwrap_or_else(|| device(fault))
            }
            Action::Renew if may_be_worn(&fault) => {
                self.worn = self.worn.saturating_add(1);
                if self.worn < WORN_BY {
                    return self.look().err().unwrap_or_else(|| device(fault));
                }
                self.logout();
                let unwell = Some(hex::encode(&self.signs_by));
                HostError { kind: HostErrorKind::Worn, unwell, ..device(fault) }
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
        self.signs_now_by(key);
        let signature =
            self.with_token(|pkcs11, live| sign::sign(pkcs11, &single, live, key, (scheme, how), data))?;
        self.has_signed(key);
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
        self.signs_now_by(key);
        self.get_over(fault, true)?;
        let single = self.single.clone();
        let signature =
            self.last_attempt(|pkcs11, live| sign::sign(pkcs11, &single, live, key, (scheme, how), data))?;
        self.has_signed(key);
        Ok(signature)
    }

    /// What fails from here on, fails for this key.
    pub(super) fn signs_now_by(&mut self, key: &[u8]) {
        key.clone_into(&mut self.signs_by);
    }

    /// The module works, and by this key.
    pub(super) fn has_signed(&mut self, key: &[u8]) {
        self.worn = 0;
        self.unwell.retain(|unwell| unwell != key);
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
        // Of such a key it is to be seen here whether it signs.
        if self.unwell.iter().any(|unwell| unwell == key) {
            return None;
        }
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
        if !live.status.only().fits(&status(&info, false)) || !matches(&self.wanted, &info) {
            return Err(absent.into());
        }
        live.anchor.get_session_info()?;
        live.status = TokenStatus { worn: self.worn > 0, ..status(&info, live.logged_in) };
        Ok(live.status.clone())
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
    pub(super) const fn pool(&self) -> usize {
        if self.sessions() > 1 { self.sessions() } else { 0 }
    }
}

fn host_error(fault: Fault) -> HostError {
    match fault {
        Fault::Host(error) => error,
        Fault::Module(error) | Fault::Left(error, _) => device(error),
    }
}

/// So many signatures in a row that fail so say that the module has lost what it works with: the service of the token was
/// started anew, say. One alone may be about that signature, and costs no login.
const WORN_BY: u32 = 2;
