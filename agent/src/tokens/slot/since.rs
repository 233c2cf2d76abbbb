//! What began before somebody said `lock` is void after it: no PIN is presented for it any more, nobody is asked, and no
//! unlock of it stands (CONTRACT section 1: `lock` holds until `unlock`).

use backend::BackendError;
use tokio::sync::watch;

use super::Slot;
use crate::refusal::Refusal;

/// When something began, by how often `lock` had been said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since(u64);

impl Since {
    /// As [`Since::number`] gave it.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self(number)
    }

    /// For a client that says it again.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Whether that is still wanted; for whoever has no [`Slot`] at hand.
#[derive(Debug, Clone)]
pub(super) struct Still {
    said: watch::Receiver<u64>,
    since: Since,
}

impl Still {
    /// False: somebody has said `lock`.
    pub(super) fn is_wanted(&self) -> bool {
        *self.said.borrow() == self.since.0
    }
}

impl Slot {
    /// For what begins now.
    #[must_use]
    pub fn now(&self) -> Since {
        Since(*self.said.borrow())
    }

    pub(super) fn still(&self, since: Since) -> Still {
        Still { said: self.said.subscribe(), since }
    }

    /// # Errors
    /// `TOKEN_LOCKED` when somebody has said `lock` since.
    pub(super) fn unless_locked_since(&self, since: Since) -> Result<(), Refusal> {
        if self.now() == since { Ok(()) } else { Err(self.refusal(&BackendError::LockedMeanwhile)) }
    }

    /// Waits until somebody says `lock`, if nobody has.
    pub(super) async fn locked_since(&self, since: Since) {
        // The sender lives as long as the slot.
        let _ = self.said.subscribe().wait_for(|said| *said != since.0).await;
    }
}
