//! The helper of a token is started: its module is checked, pinned and confined before it is loaded; started anew when it is
//! of no use any more.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tuf::digest::Sha256Digest;

use super::helper::{CallError, Helper, NONSENSE};
use super::link::{Link, Shared};
use super::place::What;
use super::seen::Loaded;
use super::trouble::{Trouble, backend_error};
use crate::host::confine::Confinement;
use crate::host::protocol::{Reply, Request, Setup};
use crate::{BackendError, TokenState};

impl Shared {
    /// Sees that a helper runs that has loaded the module.
    pub(crate) fn ready(&self, link: &mut Link) -> Result<(), BackendError> {
        let ended = link.helper.as_mut().and_then(Helper::ended);
        if self.is_stopping() && (ended.is_some() || link.helper.is_none()) {
            return Err(self.stopped(link));
        }
        if let Some(status) = ended {
            let during = if self.is_signing() { " while it was signing" } else { "" };
            let trouble = self.bury(link, &format!("died ({status}){during}"));
            tracing::warn!(token = %self.config.name, "{trouble}");
        }
        self.renew_if_worn(link)?;
        if link.helper.is_some() {
            return Ok(());
        }
        let now = Instant::now();
        if let Some((trouble, until)) = &link.refused
            && now < *until
        {
            return Err(trouble.clone().into());
        }
        if let Some(wait) = link.policy.wait(now) {
            let (name, seconds) = (&self.config.name, wait.as_secs() + 1);
            let trouble = Trouble::Failed {
                why: format!(
                    "the helper of token {name} died again and again; it is started again in {seconds} s"
                ),
                remedy: format!(
                    "wait {seconds} s, then repeat the command; the agent's log has what the module said"
                ),
            };
            self.note(|seen| seen.failed(&trouble));
            return Err(trouble.into());
        }
        self.start(link)
    }

    /// Ends a helper whose module is of no use any more, and with it a login that may stand though it failed; the next one
    /// is started when that may be (FAULTS D2).
    pub(super) fn renew_if_worn(&self, link: &mut Link) -> Result<(), BackendError> {
        if !self.with_seen(|seen| seen.worn) {
            return Ok(());
        }
        if link.helper.is_none() {
            self.note(|seen| seen.worn = false);
            return Ok(());
        }
        self.renew(link)
    }

    /// Starts the module anew, in a new helper.
    pub(super) fn renew(&self, link: &mut Link) -> Result<(), BackendError> {
        self.retire(link);
        let now = Instant::now();
        let (token, left) = (&self.config.name, link.renewal_in(now));
        self.note(|seen| seen.worn = false);
        if left.is_zero() {
            tracing::warn!(%token, "its module is started anew, as its last answer says nothing of what it has done");
            link.renewed = Some(now);
            return self.start(link);
        }
        let trouble = Trouble::Failed {
            why: format!(
                "the module of token {token} is of no use since its last answer, and is started anew in {} s; no PIN is \
                 presented to it before",
                left.as_secs() + 1
            ),
            remedy: "try again then; look into the agent's log for what the module said".to_owned(),
        };
        tracing::warn!(%token, "{trouble}");
        self.note(|seen| seen.failed(&trouble));
        link.refused = Some((trouble.clone(), now + left));
        Err(trouble.into())
    }

    /// Ends the helper that serves, in order; nothing serves then.
    pub(super) fn retire(&self, link: &mut Link) {
        let old = link.helper.take();
        self.serve_by(link);
        if let Some(old) = old {
            old.stop();
        }
    }

    /// Starts a helper, checks the module, loads it, and looks for the token.
    pub(super) fn start(&self, link: &mut Link) -> Result<(), BackendError> {
        link.started = Some(Instant::now());
        let outcome = self.start_helper(link).and_then(|()| self.load(link));
        match outcome {
            Ok(()) => {
                link.refused = None;
                self.serve_by(link);
                // What it sees is noted; that the token is not there is no reason to end the helper.
                let _ = self.poll(link);
                Ok(())
            }
            Err(StartError::Refused(error)) => {
                link.helper = None;
                let trouble = Trouble::of(&error);
                let pause = if trouble.state() == TokenState::Absent { ABSENT_FOR } else { REFUSED_FOR };
                link.refused = Instant::now().checked_add(pause).map(|until| (trouble.clone(), until));
                self.note(|seen| seen.failed(&trouble));
                Err(error)
            }
            Err(StartError::Died(how)) => {
                let trouble = self.bury(link, &how);
                Err(trouble.into())
            }
        }
    }

    /// From here on this helper is the one that everybody means.
    pub(super) fn serve_by(&self, link: &Link) {
        let lane = link.helper.as_ref().map(|helper| Arc::clone(helper.lane()));
        *self.lane.lock().unwrap_or_else(PoisonError::into_inner) = lane;
        self.note(|seen| seen.pid = link.helper.as_ref().map(Helper::pid));
    }

    pub(super) fn start_helper(&self, link: &mut Link) -> Result<(), StartError> {
        link.helper = Some(self.new_helper()?);
        link.locks_done = self.seen_now().locks;
        Ok(())
    }

    /// A helper that has loaded nothing yet.
    pub(super) fn new_helper(&self) -> Result<Helper, StartError> {
        let (name, exe) = (&self.config.name, &self.exe);
        Helper::start(exe, &self.config, self.waker()).map_err(|e| {
            StartError::Died(format!("cannot be started ({} host-token {name}): {e}", exe.display()))
        })
    }

    /// Has the module's file checked and hashed: where it lies, and its digest.
    pub(super) fn open(&self, helper: &mut Helper) -> Result<Opened, StartError> {
        let module = self.config.module().map_err(StartError::Refused)?;
        let setup = Setup {
            module: module.path.display().to_string(),
            reserved: module.reserved.clone(),
            wanted: self.wanted.clone(),
            sessions: module.sessions,
            last: self.with_seen(|seen| seen.slow_slots.clone()),
            unwell: self.with_seen(|seen| seen.unwell.clone()),
        };
        let died = || StartError::Died(NONSENSE.to_owned());
        match helper.call(&Request::Open(setup), &[], self.config.deadline)?.0 {
            Reply::Opened { path, sha256 } => {
                Ok(Opened { path, sha256: sha256.parse().map_err(|_| died())? })
            }
            _ => Err(died()),
        }
    }

    pub(super) fn load(&self, link: &mut Link) -> Result<(), StartError> {
        if let What::Card(serial) = self.config.what {
            return self.open_card(link, serial);
        }
        let Some(helper) = link.helper.as_mut() else { return Err(StartError::Died(NONSENSE.to_owned())) };
        let opened = self.open(helper)?;
        let module = self.config.module().map_err(StartError::Refused)?;
        module.digest.check(&opened.path, opened.sha256).map_err(StartError::Refused)?;
        self.load_opened(link, opened)
    }

    /// Loads a file that was opened, and is trusted.
    pub(super) fn load_opened(&self, link: &mut Link, opened: Opened) -> Result<(), StartError> {
        let Opened { path, sha256 } = opened;
        let module = self.config.module().map_err(StartError::Refused)?;
        let measured = self.measured(&path, sha256);
        self.note(|seen| seen.measured = measured);
        let Some(helper) = link.helper.as_mut() else { return Err(StartError::Died(NONSENSE.to_owned())) };
        let confinement = helper.confine(module, self.config.deadline)?;
        let Confinement { confined, gap } = confinement.clone();
        // Also of a module that cannot be loaded then.
        self.note(|seen| seen.confinement = confinement);
        let library = helper.load(self.config.deadline)?;
        self.note_loaded(Loaded { path, sha256: sha256.to_string(), library, confined, gap });
        Ok(())
    }

    /// While a token is absent its module is loaded again and again: it is told once, as long as it is the same.
    fn note_loaded(&self, loaded: Loaded) {
        let now = Arc::new(loaded);
        let before = self.note(|seen| seen.loaded.replace(Arc::clone(&now)));
        if before.as_ref() == Some(&now) {
            return;
        }
        let Loaded { path, sha256, library, confined, gap } = now.as_ref();
        let (token, gap) = (&self.config.name, gap.as_deref().unwrap_or_default());
        tracing::info!(%token, %path, %sha256, %library, confined, gap, "module loaded");
        if let Some(listener) = self.on_change.get() {
            listener(&self.info());
        }
    }

    /// Tells the helper which card it hosts.
    fn open_card(&self, link: &mut Link, serial: u32) -> Result<(), StartError> {
        let nonsense = || StartError::Died(NONSENSE.to_owned());
        let helper = link.helper.as_mut().ok_or_else(nonsense)?;
        let request = Request::OpenCard { serial, token: self.config.name.to_string() };
        match helper.call(&request, &[], self.config.deadline)?.0 {
            Reply::Confined(confinement) => {
                self.note_confined(confinement);
                Ok(())
            }
            _ => Err(nonsense()),
        }
    }

    /// What the helper of a card is kept to stands in the log once, as long as it is the same.
    fn note_confined(&self, now: Confinement) {
        let before = self.note(|seen| std::mem::replace(&mut seen.confinement, now.clone()));
        if before != now {
            let (token, gap) = (&self.config.name, now.gap.unwrap_or_default());
            tracing::info!(%token, confined = now.confined, gap, "helper of a YubiKey confined");
        }
    }
}

/// A module's file that a helper has checked and hashed, and loads if it is told to.
pub(super) struct Opened {
    pub(super) path: String,
    pub(super) sha256: Sha256Digest,
}

/// Why no helper was started.
pub(super) enum StartError {
    /// Its module may not be loaded; no fault of the helper.
    Refused(BackendError),
    /// It did not come so far.
    Died(String),
}

impl From<CallError> for StartError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Host(error) => Self::Refused(backend_error(error)),
            CallError::Broken(how) => Self::Died(how),
        }
    }
}

const REFUSED_FOR: Duration = Duration::from_secs(10);
/// What is not there may come at any moment.
const ABSENT_FOR: Duration = Duration::from_secs(1);
