//! The connection of a token to its helper: asked, lost, buried, ended; and what was last seen of the token, which can be
//! read at any time.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::helper::{CallError, Helper, NONSENSE};
use super::lane::Lane;
use super::meanwhile::{Asked, OfCard, Tally};
use super::place::Place;
use super::restart::RestartPolicy;
use super::seen::Seen;
use super::stopping::Stopping;
use super::trouble::{Ended, Trouble, backend_error};
use crate::host::protocol::{HostError, HostErrorKind, Reply, Request, TokenStatus, Wanted};
use crate::{BackendError, TokenInfo, TokenState};

/// What the threads of a token share.
pub(crate) struct Shared {
    pub(crate) config: Place,
    pub(crate) wanted: Wanted,
    pub(crate) exe: PathBuf,
    pub(crate) on_change: OnceLock<Listener>,
    link: Mutex<Link>,
    seen: Mutex<Seen>,
    /// Of the helper that serves.
    pub(super) lane: Mutex<Option<Arc<Lane>>>,
    looked: Condvar,
    wake: Arc<(Mutex<Wake>, Condvar)>,
    /// Wants to know when the card is asked for the next signature.
    pub(super) asked: Mutex<Option<Asked>>,
    /// Counts what a card is asked again with the PIN that it accepted.
    pub(super) tally: OnceLock<Box<dyn Tally>>,
    pub(super) stopping: Stopping,
}

/// Hears of each change of the state.
pub(crate) type Listener = Box<dyn Fn(&TokenInfo) + Send + Sync>;

/// The helper, held by whoever talks to it.
#[derive(Default)]
pub(crate) struct Link {
    pub(super) helper: Option<Helper>,
    pub(super) policy: RestartPolicy,
    /// A module that may not be loaded is not looked at again before then.
    pub(super) refused: Option<(Trouble, Instant)>,
    /// The last [`Seen::locks`] that the helper was told of.
    pub(super) locks_done: u64,
    /// When the helper was started.
    pub(super) started: Option<Instant>,
    /// When new helpers were last started to look for missing keys, and when one took over.
    pub(super) searched: Searched,
    /// When one was last started because the module was of no use any more.
    pub(super) renewed: Option<Instant>,
}

impl Link {
    /// How long until the module may be started anew for what it answered.
    pub(super) fn renewal_in(&self, now: Instant) -> Duration {
        let since = |then| now.saturating_duration_since(then);
        self.renewed.map_or(Duration::ZERO, |then| RENEWED_APART.saturating_sub(since(then)))
    }
}

#[derive(Default)]
pub(super) struct Searched {
    pub(super) last: Option<Instant>,
    pub(super) found: Option<Instant>,
}

#[derive(Default)]
struct Wake {
    now: bool,
    stop: bool,
}

pub(crate) type Answer = (Reply, Zeroizing<Vec<u8>>);

impl Shared {
    pub(crate) fn new(config: Place, wanted: Wanted, exe: PathBuf) -> Self {
        Self {
            config,
            wanted,
            exe,
            on_change: OnceLock::new(),
            link: Mutex::default(),
            seen: Mutex::default(),
            lane: Mutex::default(),
            looked: Condvar::new(),
            wake: Arc::default(),
            asked: Mutex::default(),
            tally: OnceLock::new(),
            stopping: Stopping::default(),
        }
    }

    /// Waits until nobody else talks to the helper. Each call has a deadline, so this ends.
    pub(crate) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Shared::link`], but gives up at once.
    pub(crate) fn try_link(&self) -> Option<MutexGuard<'_, Link>> {
        match self.link.try_lock() {
            Ok(link) => Some(link),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// A copy of what was last seen.
    pub(crate) fn seen(&self) -> Seen {
        self.seen_now().clone()
    }

    /// What was last seen, looked at in its place.
    pub(crate) fn with_seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen_now())
    }

    pub(super) fn seen_now(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what was seen, and tells the listener when the state is another one.
    pub(crate) fn note<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let mut seen = self.seen_now();
        let before = seen.state;
        let result = change(&mut seen);
        let changed = seen.state != before;
        if seen.state != Some(TokenState::Unlocked) {
            seen.each_use.clear();
        }
        drop(seen);
        self.looked.notify_all();
        if let (true, Some(listener)) = (changed, self.on_change.get()) {
            listener(&self.info());
        }
        result
    }

    /// Waits until something was seen of the token.
    pub(crate) fn first_look(&self, limit: Duration) -> bool {
        let seen = self.seen_now();
        let waited = self.looked.wait_timeout_while(seen, limit, |seen| seen.state.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.state.is_some()
    }

    pub(crate) fn info(&self) -> TokenInfo {
        let mut info = self.with_seen(|seen| seen.info(&self.config, &self.wanted));
        if info.state == TokenState::Locked && self.waits_in_vain() {
            info.problem.get_or_insert_with(|| IN_VAIN.to_owned());
        }
        info
    }

    /// Of that what it can be used for.
    pub(crate) fn state(&self) -> TokenState {
        self.with_seen(|seen| seen.state.unwrap_or(TokenState::Absent))
    }

    /// One request to the helper, which is started when it does not run. `what` is for people: "while
    /// it was ...".
    pub(crate) fn call(
        &self,
        link: &mut Link,
        what: &str,
        request: &Request,
        tail: &[&[u8]],
        limit: Duration,
    ) -> Result<Answer, BackendError> {
        self.ready(link)?;
        self.look_if_absent(link);
        self.finish_lock(link);
        let Some(helper) = link.helper.as_mut() else { return Err(BackendError::Locked) };
        // A management key may be in it, or nothing.
        let empty = tail.iter().all(|part| part.is_empty());
        if request.carries_secret() && !empty {
            helper.not_traced()?;
        }
        // A module that was given no PIN presents none, whatever it says.
        let listens = request.presents_pin() || self.config.is_card();
        let of_card = OfCard::new(self);
        let listener: &dyn super::meanwhile::Listener = if listens { &of_card } else { &() };
        match helper.call_aloud(request, tail, limit, listener) {
            Ok(answer) => {
                if self.config.is_card() && self.trouble_was_seen() {
                    // It has come back, before anybody looked.
                    let _ = self.poll(link);
                }
                Ok(answer)
            }
            Err(CallError::Host(error)) => {
                self.note_error(&error);
                // What comes of it is noted.
                let _ = self.renew_if_worn(link);
                if self.config.is_card() && says_nothing_of_the_card(&error) {
                    // It may have lost its PIN, or be gone.
                    let _ = self.poll(link);
                }
                Err(backend_error(error))
            }
            Err(CallError::Broken(how)) => {
                let error = match self.is_stopping() {
                    true => self.stopped(link),
                    false => self.lost(link, what, &how).into(),
                };
                Err(if request.presents_pin() {
                    BackendError::AttemptUnknown { why: error.to_string(), remedy: None }
                } else {
                    error
                })
            }
        }
    }

    /// Whether it was not there, or not to be used, when it was last looked at.
    fn trouble_was_seen(&self) -> bool {
        self.with_seen(|seen| matches!(seen.state, Some(TokenState::Absent | TokenState::Failed)))
    }

    /// Where the helper takes small signatures.
    pub(crate) fn lane(&self) -> Option<Arc<Lane>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the helper whether the token is there.
    pub(crate) fn poll(&self, link: &mut Link) -> Result<(), BackendError> {
        self.ask_how_it_is(link, &Request::Poll)
    }

    /// The same, by [`Request::Poll`] or [`Request::Look`].
    pub(super) fn ask_how_it_is(&self, link: &mut Link, request: &Request) -> Result<(), BackendError> {
        self.finish_lock(link);
        let Some(helper) = link.helper.as_mut() else { return Ok(()) };
        match helper.call(request, &[], self.config.deadline) {
            Ok((Reply::Status(status), _)) => {
                self.note_status(status, link);
                self.read_keys_of_arrival(link);
                Ok(())
            }
            Ok(_) => Err(self.lost(link, "looking for the token", NONSENSE).into()),
            Err(CallError::Host(error))
                if matches!(error.kind, HostErrorKind::Absent | HostErrorKind::Held) =>
            {
                self.note_error(&error);
                Err(backend_error(error))
            }
            // What another program does to the card says nothing of it.
            Err(CallError::Host(error)) if error.kind == HostErrorKind::Busy => Err(backend_error(error)),
            Err(CallError::Host(error)) => {
                let why = error.message.clone();
                let error = backend_error(error);
                self.note(|seen| seen.unusable(why, error.remedy()));
                Err(error)
            }
            Err(CallError::Broken(how)) => Err(self.lost(link, "looking for the token", &how).into()),
        }
    }

    /// The helper is of no use: ends it, starts the next one when that may be, and says so.
    pub(super) fn lost(&self, link: &mut Link, what: &str, how: &str) -> Ended {
        let login = self.with_seen(|seen| seen.state == Some(TokenState::Unlocked));
        // Whoever looks for the token finds a helper that ended under a signature, too.
        let what = if self.is_signing() { "signing" } else { what };
        let trouble = self.bury(link, &format!("{how} while it was {what}"));
        let started = match link.policy.wait(Instant::now()) {
            None if !self.is_stopping() => self.start(link),
            _ => Ok(()),
        };
        let ended = match started {
            Ok(()) if self.is_stopping() => {
                let why = format!("{trouble}; the agent is being stopped");
                Ended { why, again_in: None, login, remedy: None }
            }
            Ok(()) => Self::ended(link, &trouble.to_string(), login),
            Err(error) => {
                let why = format!("{trouble}; starting it again failed: {error}");
                Ended { why, again_in: None, login, remedy: Some(error.remedy()) }
            }
        };
        tracing::warn!(token = %self.config.name, "{}", ended.why);
        ended
    }

    /// What a call gets that waited for a helper, which then ended: the token is locked because of that.
    pub(crate) fn lost_login(&self, link: &Link) -> Ended {
        let how = self.seen().lost_login.unwrap_or_else(|| "its helper ended".to_owned());
        Self::ended(link, &how, true)
    }

    /// What a helper did, and whether there is another one by now.
    pub(super) fn ended(link: &Link, how: &str, login: bool) -> Ended {
        let wait = link.policy.wait(Instant::now()).filter(|_| link.helper.is_none());
        let again_in = wait.map(|wait| wait.as_secs().saturating_add(1));
        let next = match (again_in, &link.helper) {
            (Some(seconds), _) => format!("it is started again in {seconds} s"),
            (None, Some(_)) => "it was started again".to_owned(),
            (None, None) => "it is started again".to_owned(),
        };
        Ended { why: format!("{how}; {next}"), again_in, login, remedy: None }
    }

    /// Whether the helper that serves owes somebody a signature.
    pub(super) fn is_signing(&self) -> bool {
        self.lane().is_some_and(|lane| lane.is_signing())
    }

    /// Notes the end of the helper.
    pub(super) fn bury(&self, link: &mut Link, how: &str) -> Trouble {
        let dead = link.helper.take();
        let lane = dead.as_ref().map(|helper| Arc::clone(helper.lane()));
        if let Some(slot) = dead.as_ref().and_then(Helper::hangs_in) {
            self.note(|seen| seen.hung_in(slot));
        }
        self.serve_by(link);
        drop(dead);
        link.policy.died(Instant::now());
        let trouble = Trouble::Failed {
            why: format!("the helper of token {} {how}", self.config.name),
            remedy: "repeat the command; the agent's log has what the module said".to_owned(),
        };
        if let Some(lane) = lane {
            lane.died_of(&trouble.to_string());
        }
        self.note(|seen| seen.failed(&trouble));
        trouble
    }

    /// A `lock` that found the helper busy is done now.
    pub(crate) fn finish_lock(&self, link: &mut Link) {
        let locks = self.seen_now().locks;
        if link.locks_done == locks {
            return;
        }
        if let Some(helper) = link.helper.as_mut()
            && helper.call(&Request::Logout, &[], self.config.deadline).is_err()
        {
            // A login that cannot be given up by word is given up with its process.
            link.helper = None;
        }
        link.locks_done = locks;
    }

    /// A login that a `lock` has overtaken counts for nothing: it is given up next.
    pub(crate) fn note_status(&self, status: TokenStatus, link: &Link) {
        self.note(|seen| {
            let overtaken = seen.locks != link.locks_done;
            seen.answered(status, overtaken);
        });
    }

    pub(super) fn note_error(&self, error: &HostError) {
        let worn = matches!(error.kind, HostErrorKind::Worn | HostErrorKind::PinWorn);
        self.note(|seen| {
            seen.refused(error);
            seen.worn |= worn;
        });
        if worn {
            self.rouse();
        }
    }

    /// Ends the background thread.
    pub(super) fn rest(&self) {
        rouse(&self.wake, |wake| wake.stop = true);
    }

    /// Has the background thread look at once.
    pub(crate) fn rouse(&self) {
        rouse(&self.wake, |wake| wake.now = true);
    }

    /// What a helper calls that has something to tell.
    pub(super) fn waker(&self) -> impl Fn() + Send + 'static + use<> {
        let wake = Arc::clone(&self.wake);
        move || rouse(&wake, |wake| wake.now = true)
    }

    /// Sleeps until the next look is due or something happened. False: the end.
    pub(crate) fn wait_for_work(&self) -> bool {
        let (lock, condvar) = &*self.wake;
        let nap = self.next_look();
        let wake = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = condvar.wait_timeout_while(wake, nap, |wake| !wake.now && !wake.stop);
        let mut wake = waited.unwrap_or_else(PoisonError::into_inner).0;
        wake.now = false;
        !wake.stop
    }
}

/// Something went wrong between card and helper.
fn says_nothing_of_the_card(error: &HostError) -> bool {
    matches!(error.kind, HostErrorKind::Device | HostErrorKind::PinUnclear | HostErrorKind::Swapped)
}

fn rouse(wake: &(Mutex<Wake>, Condvar), change: impl FnOnce(&mut Wake)) {
    change(&mut wake.0.lock().unwrap_or_else(PoisonError::into_inner));
    wake.1.notify_all();
}

const IN_VAIN: &str = "it still waits for the touch of a request that `lock` has ended: what it signs is thrown away, and it forgets \
                       its PIN when that wait ends";
/// A new helper is the module initialised again (FAULTS D2).
const RENEWED_APART: Duration = Duration::from_secs(30);
