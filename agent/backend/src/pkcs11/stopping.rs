//! The end of the agent. A card that waits for a touch cannot be told that nobody wants it any more: its helper is ended, and
//! whoever waits is told at once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::link::{Link, Shared};
use crate::BackendError;

/// Whether the agent ends, and whether the card waits for a touch: looked at together.
#[derive(Debug, Default)]
pub(super) struct Stopping(Mutex<Now>);

#[derive(Debug, Default, Clone, Copy)]
struct Now {
    stops: bool,
    /// [`super::seen::Seen::locks`] when the request began that the card is asked for, and that waits for a touch.
    touch: Option<u64>,
}

impl Shared {
    fn now<T>(&self, change: impl FnOnce(&mut Now) -> T) -> T {
        change(&mut self.stopping.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The card is asked for what waits for a touch, by a request that began after so many calls of `lock`.
    pub(super) fn wait_for_touch(&self, locks: u64) {
        let stops = self.now(|now| {
            now.touch = Some(locks);
            now.stops
        });
        if stops {
            self.kill_helper();
        }
    }

    pub(super) fn end_of_touch(&self) {
        self.now(|now| now.touch = None);
    }

    /// Whether the card still waits for a touch for what was asked of it before somebody said `lock`.
    pub(super) fn waits_in_vain(&self) -> bool {
        let locks = self.with_seen(|seen| seen.locks);
        self.now(|now| now.touch.is_some_and(|then| then != locks))
    }

    /// Whether the agent ends.
    pub(super) fn is_stopping(&self) -> bool {
        self.now(|now| now.stops)
    }

    /// From now on no touch is waited for, and no helper is started.
    pub(super) fn stop_waiting(&self) {
        let touch = self.now(|now| {
            now.stops = true;
            now.touch.is_some()
        });
        if touch {
            self.kill_helper();
        }
    }

    /// The helper was ended on purpose, or is not to be started any more.
    pub(super) fn stopped(&self, link: &mut Link) -> BackendError {
        drop(link.helper.take());
        self.serve_by(link);
        tracing::info!(token = %self.config.name, "its helper is ended with the agent");
        BackendError::Stopping { touch: self.config.is_card() }
    }

    /// Ends the helper and the background thread. A call under way gets a moment, then its helper
    /// is killed.
    pub(crate) fn shutdown(&self) {
        self.rest();
        self.now(|now| now.stops = true);
        let end = Instant::now() + SHUTDOWN_GRACE;
        loop {
            if let Some(mut link) = self.try_link() {
                if let Some(helper) = link.helper.take() {
                    helper.stop();
                }
                self.note(|seen| seen.pid = None);
                return;
            }
            if Instant::now() >= end {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill_helper();
    }

    fn kill_helper(&self) {
        // Whoever holds the link has not waited for this process, so its id is still its own.
        let pid =
            self.seen().pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
