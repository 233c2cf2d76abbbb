//! What a helper says before it answers: that its card is asked for what waits for a touch, and that the PIN which was
//! accepted is to be presented again, which the agent counts first (DESIGN section 4, rule 5; FAULTS C2).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::link::Shared;
use super::present::Card;

/// Counts, durably, what a card is asked again with the PIN that it accepted.
pub trait Tally: Send + Sync {
    /// Counts one that is about to be made. None: it could not be counted, so it must not be made.
    fn count(&self, card: &Card) -> Option<Settle>;
}

/// Counts, durably, what doctor presents of a PIN to its own helper. The first attempt was counted before.
pub trait Attempts {
    /// False: somebody said `lock`, so none is to be made any more.
    fn is_wanted(&self) -> bool {
        true
    }

    /// The token has accepted it.
    fn accepted(&self);

    /// Another is about to be made with the PIN that was accepted. None: it could not be counted, so it must not be made.
    fn again(&self) -> Option<Settle>;
}

/// Of no PIN none is presented.
impl Attempts for () {
    fn accepted(&self) {}

    fn again(&self) -> Option<Settle> {
        None
    }
}

/// Hears it for one probe of doctor's.
pub(super) struct OfDoctor<'a> {
    attempts: &'a dyn Attempts,
    settle: Mutex<Option<Settle>>,
}

impl<'a> OfDoctor<'a> {
    pub(super) fn new(attempts: &'a dyn Attempts) -> Self {
        Self { attempts, settle: Mutex::new(None) }
    }
}

impl Listener for OfDoctor<'_> {
    fn presents(&self) -> bool {
        // What nothing was said of stays counted.
        drop(self.settle.lock().unwrap_or_else(PoisonError::into_inner).take());
        let counted = self.attempts.again();
        let may = counted.is_some();
        *self.settle.lock().unwrap_or_else(PoisonError::into_inner) = counted;
        may
    }

    fn presented(&self, accepted: bool) {
        let settle = self.settle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(settle) = settle {
            settle(accepted);
        }
    }
}

/// Ends an attempt that was counted: the card accepted the PIN, or says that it has counted nothing. Without a word the
/// attempt stays counted.
pub type Settle = Box<dyn FnOnce(bool) + Send>;

/// Is called when a card is asked for a signature that may wait for a touch.
pub(super) type Asked = Box<dyn Fn() + Send>;

/// Hears what a helper says while it carries out a request.
pub(super) trait Listener {
    /// The card is asked for what waits for a touch.
    fn asked(&self) {}

    /// Whether the PIN may be presented again.
    fn presents(&self) -> bool {
        false
    }

    /// What came of that.
    fn presented(&self, _accepted: bool) {}
}

/// Hears nothing.
impl Listener for () {}

/// Hears it for one request to a card.
pub(super) struct OfCard<'a> {
    shared: &'a Shared,
    /// [`super::seen::Seen::locks`] when it began: one that comes before the card is heard of ends it, too.
    locks: u64,
    /// Counts what it was asked for: no request has a PIN presented more than once beside its own.
    asked_again: AtomicBool,
    settle: Mutex<Option<Settle>>,
}

impl<'a> OfCard<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let locks = shared.with_seen(|seen| seen.locks);
        Self { shared, locks, asked_again: AtomicBool::new(false), settle: Mutex::new(None) }
    }

    fn settle(&self) -> MutexGuard<'_, Option<Settle>> {
        self.settle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OfCard<'_> {
    fn drop(&mut self) {
        self.shared.end_of_touch();
    }
}

impl Listener for OfCard<'_> {
    fn asked(&self) {
        self.shared.wait_for_touch(self.locks);
        // Not called while the lock is held.
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(asked) = asked {
            asked();
        }
    }

    fn presents(&self) -> bool {
        let Some(tally) = self.shared.tally.get() else { return false };
        if self.asked_again.swap(true, Ordering::Relaxed) {
            return false;
        }
        if self.shared.with_seen(|seen| seen.locks) != self.locks {
            return false;
        }
        let counted = tally.count(&Card::of(self.shared.seen().status));
        let may = counted.is_some();
        *self.settle() = counted;
        may
    }

    fn presented(&self, accepted: bool) {
        if let Some(settle) = self.settle().take() {
            settle(accepted);
        }
    }
}
