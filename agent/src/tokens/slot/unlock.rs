//! A secret that a person gave, on its way to the token; and for how long the token then stays unlocked.

use std::sync::Arc;
use std::time::Duration;

use backend::pkcs11::{Asking, Pkcs11Token};
use backend::{BackendError, TokenState};
use policy::Reason;
use secmem::SecretBytes;
use serde_json::Value;

use super::card::Presenting;
use super::since::Since;
use super::source::digest;
use super::{Later, Lease, Slot, lock};
use crate::clock;
use crate::config::UnlockFor;
use crate::refusal::Refusal;

/// A delay of at most this is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How an attempt is made, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    /// Also when it may be the last one; a person at a terminal has said so, of this card.
    pub last_try: Option<Shown>,
    /// With what the configured source holds, which the person has tried once more.
    pub from_source: bool,
    /// The serial number that the person was shown: no other card gets the PIN.
    pub serial: Option<String>,
    /// When the person was asked, or spoke: a `lock` since then makes it void.
    pub since: Since,
    /// Who asked; wrong ones delay this user's next.
    pub user: u32,
    /// What the journal keeps of the caller.
    pub caller: Value,
}

/// What a person who wants a last try was shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The card; empty where it has no serial number.
    pub serial: String,
    /// Tries that are left, where the card tells.
    pub tries_left: Option<u32>,
    /// PINs in a row that it did not accept, by our own count.
    pub wrong: u32,
}

/// What is done with the secret.
pub(super) enum Act {
    Unlock(Arc<SecretBytes>),
    Change { old: SecretBytes, new: SecretBytes },
}

/// See [`Slot::begin_attempt`].
pub(super) struct UnderWay<'a> {
    slot: &'a Slot,
    by_person: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        {
            let mut lease = lock(&self.slot.lease);
            lease.under_way = lease.under_way.saturating_sub(1);
            lease.typed = lease.typed.saturating_sub(usize::from(self.by_person));
        }
        self.slot.lapse();
    }
}

impl Slot {
    /// One attempt with a secret that a person gave.
    ///
    /// # Errors
    /// `PIN_INCORRECT`, `PIN_BLOCKED`, `PIN_DELAYED`, `TOKEN_SWAPPED`, `TOKEN_LOCKED` when a `lock` came first, and what else
    /// the backend gives.
    pub async fn unlock(self: &Arc<Self>, secret: SecretBytes, attempt: Attempt) -> Result<(), Refusal> {
        self.wants_a_pin()?;
        let slot = Arc::clone(self);
        // Whoever asked may go away meanwhile: what came of it is still noted.
        let work = async move {
            let since = attempt.since;
            let _under_way = slot.begin_attempt(true);
            slot.present(Act::Unlock(Arc::new(secret)), Presenting::Person(attempt)).await?;
            slot.begin_lease(since, slot.lease_of_person())
        };
        tokio::spawn(work).await.map_err(Refusal::internal)?
    }

    /// One attempt with the old secret; a new one when it is right.
    ///
    /// # Errors
    /// As [`Slot::unlock`].
    pub async fn change_secret(
        self: &Arc<Self>,
        old: SecretBytes,
        new: SecretBytes,
        attempt: Attempt,
    ) -> Result<(), Refusal> {
        let slot = Arc::clone(self);
        let work = async move {
            let (before, after) = (digest(&old), digest(&new));
            let _under_way = slot.begin_attempt(true);
            slot.present(Act::Change { old, new }, Presenting::Person(attempt)).await?;
            slot.note_changed(before, &after).await;
            Ok(())
        };
        tokio::spawn(work).await.map_err(Refusal::internal)?
    }

    /// One attempt, in its turn; counted and bound to a card where the token is one.
    pub(super) fn present(self: &Arc<Self>, act: Act, how: Presenting) -> Later<'_, ()> {
        Box::pin(async move {
            if let Presenting::Person(attempt) = &how {
                self.wait_a_little(attempt.user).await;
            }
            let since = how.since();
            let _place = tokio::select! {
                biased;
                // What it waits for may take long.
                () = self.locked_since(since) => return self.unless_locked_since(since),
                place = self.unlocks.acquire() => place.map_err(Refusal::internal)?,
            };
            self.lapse();
            // Looked at in turn: of many attempts that come together each knows of those before it.
            if let Presenting::Person(attempt) = &how {
                self.not_too_early(attempt.user)?;
            }
            let done = match &self.pkcs11 {
                Some(token) => {
                    let ask = move |token: &Pkcs11Token, asking: &Asking| {
                        let presented = match act {
                            Act::Unlock(pin) => token.present(&pin, asking),
                            Act::Change { old, new } => token.present_change(&old, &new, asking),
                        };
                        (presented.spent, presented.result)
                    };
                    self.ask_card(token, &how, ask).await
                }
                None => {
                    let backend = Arc::clone(&self.backend);
                    let still = self.still(since);
                    let work = move || match act {
                        _ if !still.is_wanted() => Err(BackendError::LockedMeanwhile),
                        Act::Unlock(secret) => backend.unlock(&secret),
                        Act::Change { old, new } => backend.change_secret(&old, &new),
                    };
                    let done = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?;
                    done.map_err(|error| self.refusal(&error))
                }
            };
            if let Presenting::Person(attempt) = &how {
                self.note_delay(attempt.user, !attempt.from_source, done.as_ref().err());
            }
            done
        })
    }

    /// What an attempt means for the next one of this user. That the secret of the configuration is right says nothing of
    /// the user, who need not know it (FAULTS C9): `proves` is whether the user gave it.
    pub(super) fn note_delay(&self, user: u32, proves: bool, refused: Option<&Refusal>) {
        let mut delays = lock(&self.delays);
        match refused {
            None if proves => delays.right(user),
            None => {}
            Some(refusal) if refusal.reason == Reason::PinIncorrect => delays.wrong(user, clock::boot()),
            Some(_) => {}
        }
    }

    /// A short delay is waited for, at nobody's cost but the caller's; a longer one is told.
    pub(super) async fn wait_a_little(&self, user: u32) {
        let left = lock(&self.delays).left(user, clock::boot());
        if let Some(left) = left.filter(|left| *left <= PATIENCE) {
            tokio::time::sleep(left.saturating_add(Duration::from_millis(5))).await;
        }
    }

    /// # Errors
    /// `PIN_DELAYED` for a user whose wrong ones were several.
    pub fn not_too_early(&self, user: u32) -> Result<(), Refusal> {
        let Some(left) = lock(&self.delays).left(user, clock::boot()) else { return Ok(()) };
        let seconds = left.as_secs().saturating_add(1);
        let (name, word) = (self.name(), self.backend.info().kind.secret_word());
        let message = format!(
            "token {name}: several {word}s were wrong, so the next one is looked at in {seconds} s; this one was not tried"
        );
        Err(Refusal::new(Reason::PinDelayed, message)
            .remedy(format!("make sure of the {word}, then try again in {seconds} s"))
            .detail("token", name)
            .detail("retry_in_seconds", seconds))
    }

    /// Until when an unlock by a person lasts that is made now.
    pub(super) fn lease_of_person(&self) -> Option<Duration> {
        match self.config.unlock_for {
            UnlockFor::Time(time) if !self.config.pin.is_unattended() => {
                Some(clock::boot().saturating_add(time))
            }
            UnlockFor::Time(_) | UnlockFor::Forever => None,
        }
    }

    /// An attempt that may unlock the token. Once none is under way any more, it is unlocked only where one went well.
    pub(super) fn begin_attempt(&self, by_person: bool) -> UnderWay<'_> {
        let mut lease = lock(&self.lease);
        if self.backend.state() != TokenState::Unlocked && lease.under_way == 0 {
            lease.granted = false;
        }
        lease.under_way = lease.under_way.saturating_add(1);
        lease.typed = lease.typed.saturating_add(usize::from(by_person));
        UnderWay { slot: self, by_person }
    }

    /// After an unlock. A `lock` that came meanwhile wins.
    pub(super) fn begin_lease(&self, since: Since, until: Option<Duration>) -> Result<(), Refusal> {
        {
            let mut lease = lock(&self.lease);
            if self.now() != since {
                // Where somebody has unlocked it after that, what stands is theirs; a helper has undone the other by itself.
                if lease.held {
                    lease.source = None;
                    self.backend.lock();
                }
                // What is said of it looks at the lease again.
                drop(lease);
                return Err(self.refusal(&BackendError::LockedMeanwhile));
            }
            let (slept, under_way) = (clock::slept(), lease.under_way);
            *lease = Lease { until, slept, granted: true, under_way, ..Lease::default() };
        }
        if secmem::unlocked_secrets() > 0 {
            tracing::warn!(
                "secrets are not locked in memory and may reach swap: raise the limit (ulimit -l)"
            );
        }
        Ok(())
    }
}
