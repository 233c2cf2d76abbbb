//! `token doctor`, on the agent's side: a helper of its own, one probe at a time.
//!
//! Duty: order of the probes, deadlines, a new helper where the module did not survive one. Trust: what the helper
//! says is facts for people and hints for signing, nothing that a signature is believed by. Invariants: the helper
//! that signs is not touched; a PIN is presented once, and again only after this token took it; the module is the
//! trusted one.

use secmem::SecretBytes;
use tuf::digest::Sha256Digest;

use super::helper::{CallError, Helper, NONSENSE};
use super::link::Shared;
use super::meanwhile::{Attempts, OfDoctor};
use super::trouble::backend_error;
use super::{Asking, Pkcs11Token};
use crate::BackendError;
use crate::doctor::{Diagnosis, Facts, Finding, NotMeasured, Trouble};
use crate::host::doctor::Probe;
use crate::host::protocol::{HostErrorKind, Reply, Request, Setup, Wanted};

/// How far a measurement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Counts from one.
    pub number: usize,
    /// So many there are.
    pub of: usize,
    /// What is measured now, for people.
    pub what: &'static str,
}

impl Pkcs11Token {
    /// Measures the module, in a helper of its own. Without a PIN it finds out what nobody needs to log in for;
    /// `no_pin` says why there is none. `progress` is told of each step; when it gives false the measuring ends,
    /// with nothing left on the token. `attempts` counts what is presented of the PIN.
    ///
    /// # Errors
    /// [`BackendError::SecretIncorrect`] and what else an unlock gives, after one attempt; what keeps the module from
    /// being loaded; [`BackendError::Absent`] without the token; [`BackendError::Busy`] when `progress` ended it.
    pub fn examine(
        &self,
        pin: Result<(&SecretBytes, &Asking), String>,
        attempts: &dyn Attempts,
        mut progress: impl FnMut(Step) -> bool,
    ) -> Result<Diagnosis, BackendError> {
        let asking = pin.as_ref().map(|(_, asking)| (*asking).clone()).unwrap_or_default();
        let mut examination = Examination::begin(&self.shared, pin.map(|(pin, _)| pin), asking, attempts)?;
        let mut wanted = true;
        for (index, probe) in Probe::ALL.into_iter().enumerate() {
            let step = Step { number: index.saturating_add(1), of: Probe::ALL.len(), what: probe.name() };
            wanted = wanted && progress(step);
            // Whoever went away leaves the cleaning to be done.
            if wanted || probe == Probe::Leave {
                examination.make(probe)?;
            }
        }
        examination.leave_nothing()?;
        let diagnosis = examination.end();
        if wanted { Ok(diagnosis) } else { Err(BackendError::Busy) }
    }
}

struct Examination<'a> {
    shared: &'a Shared,
    helper: Option<Helper>,
    module: String,
    sha256: Sha256Digest,
    pin: Result<&'a SecretBytes, String>,
    asking: Asking,
    attempts: &'a dyn Attempts,
    logged_in: bool,
    restarts: u32,
    /// The PIN was refused after it had been taken.
    refused: bool,
    facts: Facts,
}

impl<'a> Examination<'a> {
    fn begin(
        shared: &'a Shared,
        pin: Result<&'a SecretBytes, String>,
        asking: Asking,
        attempts: &'a dyn Attempts,
    ) -> Result<Self, BackendError> {
        let (helper, module, sha256) = start(shared)?;
        let facts = Facts::default();
        let helper = Some(helper);
        Ok(Self {
            shared,
            helper,
            module,
            sha256,
            pin,
            asking,
            attempts,
            logged_in: false,
            restarts: 0,
            refused: false,
            facts,
        })
    }

    /// One probe, unless something stands against it.
    fn make(&mut self, probe: Probe) -> Result<(), BackendError> {
        if let Some(why) = self.against(probe)? {
            self.miss(probe, &why);
            return Ok(());
        }
        let Some(helper) = self.helper.as_mut() else { return Ok(()) };
        let alone = self.facts.sessions.as_ref().is_some_and(|s| s.refused.is_some() && s.opened < 2);
        let request =
            Request::Probe { probe, place: self.facts.place, alone, meant: self.asking.meant.clone() };
        let pin = match (&self.pin, probe.is_public()) {
            (Ok(pin), false) => pin.reveal_secret_bytes(),
            _ => &[],
        };
        if !pin.is_empty() {
            helper.not_traced()?;
        }
        let deadline = self.shared.config.deadline;
        let limit = if probe.is_slow() { deadline.saturating_mul(SLOW) } else { deadline };
        match helper.call_aloud(&request, &[pin], limit, &OfDoctor::new(self.attempts)) {
            Ok((Reply::Facts { facts }, _)) => {
                if probe == Probe::Leave {
                    // It looks anew.
                    self.facts.left.clear();
                }
                let shaken = is_shaken(&facts);
                self.facts.add(*facts);
                self.know_the_token();
                if shaken {
                    self.refresh();
                }
            }
            Ok(_) => self.fell(probe, "gave an answer that does not belong to the question"),
            Err(CallError::Host(error)) if error.kind == HostErrorKind::Absent && probe == Probe::Words => {
                return Err(backend_error(error));
            }
            // What was measured is of one token, and so is what follows: nothing of two is kept.
            Err(CallError::Host(error)) if error.kind == HostErrorKind::Swapped => {
                return Err(backend_error(error));
            }
            Err(CallError::Host(error)) => {
                if error.kind == HostErrorKind::PinIncorrect {
                    self.refused = true;
                    self.pin = Err(error.message.clone());
                }
                self.miss(probe, &error.message);
            }
            Err(CallError::Broken(how)) => self.fell(probe, &how),
        }
        Ok(())
    }

    /// Without a PIN that is for one, it is the one that the first probe found.
    fn know_the_token(&mut self) {
        if let (true, Some(token)) = (self.asking.meant == Wanted::default(), &self.facts.token) {
            let words = [&token.serial, &token.label, &token.manufacturer, &token.model];
            self.asking.meant = Wanted::only(words.map(|word| word.trim_end_matches(['\0', ' '])));
        }
    }

    /// Why a probe is not made. Logs in before the first that needs it.
    fn against(&mut self, probe: Probe) -> Result<Option<String>, BackendError> {
        if self.helper.is_none() {
            return Ok(Some("the module did not come back after it died".to_owned()));
        }
        if probe.is_public() {
            return Ok(None);
        }
        if let Err(why) = &self.pin {
            let open = self.facts.token.as_ref().is_some_and(|token| !token.login_required);
            self.facts.logged_in |= open;
            return Ok(if open { None } else { Some(why.clone()) });
        }
        self.log_in()?;
        if let Err(why) = &self.pin {
            return Ok(Some(why.clone()));
        }
        if probe.makes_keys() && self.facts.place.is_none() {
            let missed = &self.facts.not_measured;
            let why = missed.iter().find(|missed| missed.is_of(Probe::Place.name()));
            let none = || "it makes no keys that can be removed again".to_owned();
            return Ok(Some(why.map_or_else(none, |missed| missed.why.clone())));
        }
        Ok(self.without_ground(probe).map(str::to_owned))
    }

    /// Probes about what another probe has shown not to be there.
    fn without_ground(&self, probe: Probe) -> Option<&'static str> {
        let makes = |name: &str| self.facts.curves.get(name).is_some_and(|c| !c.accepted.is_empty());
        match probe {
            Probe::EddsaParameters | Probe::EddsaParts | Probe::EddsaLong => {
                (!makes("ed25519")).then_some("no Ed25519 key was made")
            }
            Probe::DigestLengths | Probe::Logins | Probe::Always => {
                (!makes("ecdsa-p256")).then_some("no P-256 key was made")
            }
            Probe::AlwaysContextDigest | Probe::AlwaysContextHash | Probe::AlwaysFreshLogin => {
                let always = self.facts.always.as_ref();
                match always.map(|always| (&always.made, &always.honoured)) {
                    Some((Finding::Yes, Finding::Yes)) => None,
                    Some((Finding::Yes, Finding::No(_))) => {
                        Some("a key that demands a login for each signature signs without one")
                    }
                    Some((Finding::Yes, Finding::Unknown)) => Some(
                        "whether a key that demands a login for each signature signs without one is not known",
                    ),
                    _ => Some("no key was made that demands a login for each signature"),
                }
            }
            _ => None,
        }
    }

    /// The one attempt with a PIN that nobody has proven yet.
    fn log_in(&mut self) -> Result<(), BackendError> {
        let (Ok(pin), false, Some(helper)) = (&self.pin, self.logged_in, self.helper.as_mut()) else {
            return Ok(());
        };
        helper.not_traced()?;
        if !self.attempts.is_wanted() {
            return Err(BackendError::LockedMeanwhile);
        }
        self.logged_in = true;
        let Asking { last_try, meant } = self.asking.clone();
        let login = Request::Login { last_try, meant };
        match helper.call(&login, &[pin.reveal_secret_bytes()], self.shared.config.deadline) {
            Ok((Reply::Status(status), _)) if status.logged_in => {
                self.facts.logged_in = true;
                // Whatever ends the measuring, the token has accepted it. One that wants no PIN has not looked at it.
                if status.proven {
                    self.attempts.accepted();
                }
                Ok(())
            }
            Ok(_) => {
                let why = "the helper's answer makes no sense".to_owned();
                Err(BackendError::AttemptUnknown { why, remedy: None })
            }
            // Not presented, but for a token that says so only then, of which it stays counted: what can be measured without it
            // is.
            Err(CallError::Host(error))
                if matches!(
                    error.kind,
                    HostErrorKind::FinalTry | HostErrorKind::PinLocked | HostErrorKind::PinUnasked
                ) =>
            {
                self.refused = error.kind == HostErrorKind::PinLocked;
                self.pin = Err(error.message);
                Ok(())
            }
            Err(CallError::Host(error)) => Err(backend_error(error)),
            Err(CallError::Broken(how)) => Err(BackendError::AttemptUnknown {
                why: format!("doctor's helper {how} while it was logging in"),
                remedy: None,
            }),
        }
    }

    fn miss(&mut self, probe: Probe, why: &str) {
        let missed = NotMeasured { probe: probe.name().to_owned(), why: why.to_owned() };
        self.facts.not_measured.push(missed);
    }

    /// The module did not survive a probe: that is a fact, and the next one has a new helper.
    fn fell(&mut self, probe: Probe, how: &str) {
        let trouble = Trouble { probe: probe.name().to_owned(), how: how.to_owned() };
        tracing::warn!(token = %self.shared.config.name, probe = trouble.probe, "doctor's helper {how}");
        self.facts.troubles.push(trouble);
        self.helper = None;
        self.restarts = self.restarts.saturating_add(1);
        if self.restarts <= MOST_RESTARTS {
            self.refresh();
        }
    }

    /// Another helper for the next probe.
    fn refresh(&mut self) {
        self.stop_helper();
        match start(self.shared) {
            // Another file in its place is another module.
            Ok((helper, _, sha256)) if sha256 == self.sha256 => self.helper = Some(helper),
            Ok(_) => {}
            Err(error) => tracing::warn!(token = %self.shared.config.name, "doctor's helper: {error}"),
        }
    }

    /// A module may keep an object that an operation was begun with (tpm2-pkcs11 does after a refused signature): a helper
    /// that began none removes it.
    fn leave_nothing(&mut self) -> Result<(), BackendError> {
        if self.facts.left.is_empty() {
            return Ok(());
        }
        self.stop_helper();
        self.helper = Some(start(self.shared)?.0);
        self.make(Probe::Leave)
    }

    fn stop_helper(&mut self) {
        if let Some(helper) = self.helper.take() {
            helper.stop();
        }
    }

    fn end(mut self) -> Diagnosis {
        self.stop_helper();
        let Self { module, sha256, facts, refused, .. } = self;
        Diagnosis { module, sha256, facts, pin_refused: refused }
    }
}

/// A signature failed in a way after which nobody knows what the module is worth: what is measured next shall not suffer
/// from it (tpm2-pkcs11 makes no key any more in that process).
fn is_shaken(facts: &Facts) -> bool {
    let text = serde_json::to_string(facts).unwrap_or_default();
    ["GENERAL_ERROR", "DEVICE_ERROR", "FUNCTION_FAILED", "DEVICE_MEMORY", "HOST_MEMORY"]
        .iter()
        .any(|code| text.contains(&format!("C_Sign gave CKR_{code}")))
}

/// A helper that has loaded the module, which is the trusted one.
fn start(shared: &Shared) -> Result<(Helper, String, Sha256Digest), BackendError> {
    let config = &shared.config;
    let module = config.module()?;
    let failed = |how: &str| BackendError::Failed {
        why: format!("doctor's helper of token {} {how}", config.name),
        remedy: "look into the agent's log for what the module said".to_owned(),
    };
    let broken = |error: CallError| match error {
        CallError::Host(error) => backend_error(error),
        CallError::Broken(how) => failed(&how),
    };
    let mut helper = Helper::start(&shared.exe, config, || ())
        .map_err(|e| failed(&format!("cannot be started ({}): {e}", shared.exe.display())))?;
    let setup = Setup {
        module: module.path.display().to_string(),
        reserved: module.reserved.clone(),
        wanted: shared.wanted.clone(),
        sessions: 1,
        last: shared.with_seen(|seen| seen.slow_slots.clone()),
        unwell: Vec::new(),
    };
    let opened = helper.call(&Request::Open(setup), &[], config.deadline).map_err(broken)?.0;
    let Reply::Opened { path, sha256 } = opened else { return Err(failed(NONSENSE)) };
    let sha256: Sha256Digest = sha256.parse().map_err(|_| failed(NONSENSE))?;
    module.digest.check(&path, sha256)?;
    let confinement = helper.confine(module, config.deadline).map_err(broken)?;
    shared.note(|seen| seen.confinement = confinement);
    helper.load(config.deadline).map_err(broken)?;
    Ok((helper, path, sha256))
}

/// What takes long on some devices gets so many deadlines: three minutes, as key generation has.
const SLOW: u32 = 12;
/// A module that dies more often is not worth the rest.
const MOST_RESTARTS: u32 = 8;
