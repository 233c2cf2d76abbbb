//! Our own count of what a card was asked with PINs: in the ledger before each attempt, and what was last seen of it
//! (FAULTS C2).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend::pkcs11::{Attempts, Card, Settle, Tally};
use ledger::{Ledger, PinAttempt, PinLeave, PinOutcome};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use super::card::MOST_WRONG;
use super::identity::{identity, place};
use super::lock;
use super::since::Still;
use crate::config::TokenConfig;

/// A card that accepted a PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) card: String,
    /// It said then already that tries are gone: some say so for ever after the first wrong one.
    pub(super) count_low: bool,
}

/// What was last seen of our own count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Count {
    pub(super) wrong: u32,
    /// Which card accepted a PIN last.
    pub(super) accepted: Option<Proof>,
    /// That PIN is what the configured source held.
    pub(super) from_source: bool,
}

/// The cards to which PINs are presented, each by one entry at a time.
#[derive(Debug, Default)]
pub struct Logins(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Logins {
    /// Of the card of this name.
    pub(super) fn of(&self, card: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(lock(&self.0).entry(card.to_owned()).or_default())
    }
}

/// Counts what one token is asked.
pub(super) struct Counter {
    ledger: Arc<Ledger>,
    token: String,
    /// See [`identity::place`](super::identity::place).
    place: String,
    pub(super) seen: Mutex<Count>,
    /// The card that accepted its PIN last under this name, in this run or before.
    pub(super) bound: Mutex<Option<String>>,
}

impl Counter {
    pub(super) fn new(ledger: Arc<Ledger>, config: &TokenConfig) -> Self {
        let (token, place) = (config.name.to_string(), place(&config.kind));
        Self { ledger, token, place, seen: Mutex::default(), bound: Mutex::default() }
    }

    /// Under which name PINs of a card are counted here.
    pub(super) fn identity(&self, card: &Card) -> String {
        identity(card, &self.place)
    }

    /// Says to the ledger what came of an attempt. One that was wrong, or of unknown outcome, stays counted.
    pub(super) async fn settle(&self, outcome: Option<PinOutcome>, wrong: u32, proof: Proof) {
        let before = lock(&self.seen).clone();
        let Some(outcome) = outcome else {
            *lock(&self.seen) = Count { wrong, accepted: None, ..before };
            return;
        };
        let id = proof.card.clone();
        let now = match outcome {
            PinOutcome::Accepted { from_source, .. } => {
                Count { wrong: 0, accepted: Some(proof), from_source }
            }
            PinOutcome::Refused { .. } => Count { accepted: None, ..before },
            PinOutcome::NotMade { .. } => before,
        };
        let accepted = matches!(outcome, PinOutcome::Accepted { .. });
        match self.ledger.settle_pin_attempt(id.clone(), self.token.clone(), outcome).await {
            Ok(wrong) => {
                *lock(&self.seen) = Count { wrong, ..now };
                if accepted {
                    *lock(&self.bound) = Some(id);
                }
            }
            // Too high a count costs a question; too low a one could cost the card.
            Err(error) => tracing::warn!(token = self.token, "an attempt stays counted: {error}"),
        }
    }
}

impl Counter {
    /// Counts an attempt with a PIN that was accepted before; blocks. What settles it blocks, too.
    fn again(self: &Arc<Self>, runtime: &Handle, attempt: PinAttempt, proof: Proof) -> Option<Settle> {
        let from_source = attempt.from_source;
        let (wrong, source_before) = match runtime.block_on(self.ledger.count_pin_attempt(attempt)) {
            Ok(PinLeave::Counted { wrong_before, source_before }) => {
                (wrong_before.saturating_add(1), source_before)
            }
            Ok(PinLeave::Stopped(_) | PinLeave::HeldBack(_)) => return None,
            Err(error) => {
                tracing::warn!(
                    token = self.token,
                    "the PIN is not presented again, as that cannot be counted: {error}"
                );
                return None;
            }
        };
        // Until more is said of it.
        lock(&self.seen).wrong = wrong;
        let (counter, runtime) = (Arc::clone(self), runtime.clone());
        Some(Box::new(move |accepted| {
            let outcome = match accepted {
                // Nobody typed it now: it proves nothing of whoever asks.
                true => PinOutcome::Accepted { from_source, typed: false },
                false => PinOutcome::NotMade { source_before, typed: false },
            };
            runtime.block_on(counter.settle(Some(outcome), wrong, proof));
        }))
    }
}

/// An attempt that was counted, while the token is asked, and those that follow it with the same PIN.
pub(super) struct Counted {
    /// Whether anybody still wants it.
    pub(super) still: Still,
    pub(super) counter: Arc<Counter>,
    /// The first.
    pub(super) attempt: PinAttempt,
    pub(super) typed: bool,
    pub(super) proof: Proof,
    /// How many count, with it.
    pub(super) wrong: u32,
    /// What came of it is in the ledger.
    pub(super) settled: AtomicBool,
    /// Nobody else presents the card a PIN meanwhile.
    pub(super) alone: Mutex<Option<OwnedMutexGuard<()>>>,
    /// Held by who does.
    pub(super) one: Arc<tokio::sync::Mutex<()>>,
    pub(super) runtime: Handle,
}

impl Attempts for Counted {
    fn is_wanted(&self) -> bool {
        self.still.is_wanted()
    }

    fn accepted(&self) {
        let outcome = PinOutcome::Accepted { from_source: self.attempt.from_source, typed: self.typed };
        let settled = self.counter.settle(Some(outcome), self.wrong, self.proof.clone());
        self.runtime.block_on(settled);
        self.settled.store(true, Ordering::Relaxed);
        // What follows may take minutes.
        *lock(&self.alone) = None;
    }

    fn again(&self) -> Option<Settle> {
        // One that is accepted takes back all that is counted: nobody else's may be begun between its beginning and its end.
        let alone = if lock(&self.alone).is_some() { None } else { Some(self.hold()?) };
        if !self.still.is_wanted() {
            return None;
        }
        let attempt = PinAttempt {
            // Of a token that tells nothing no more is asked than of any, also where its answers get lost.
            by_person: false,
            by_itself: None,
            ..self.attempt.clone()
        };
        let settle = self.counter.again(&self.runtime, attempt, self.proof.clone())?;
        Some(Box::new(move |accepted| {
            settle(accepted);
            drop(alone);
        }))
    }
}

impl Counted {
    /// Waits, not for long, until nobody else presents the card a PIN.
    fn hold(&self) -> Option<OwnedMutexGuard<()>> {
        let one = Arc::clone(&self.one).lock_owned();
        self.runtime.block_on(async { tokio::time::timeout(WAITS_FOR_OTHERS, one).await }).ok()
    }
}

/// The helper that waits for it has a deadline of its own.
const WAITS_FOR_OTHERS: Duration = Duration::from_secs(5);

/// A YubiKey that forgot the PIN that it accepted is presented it again by its helper, in the middle of a request, and so is a
/// module that says only then that it knows no login for one signature: that is an attempt, too (DESIGN section 4, rule 5).
pub(super) struct Again(pub(super) Arc<Counter>);

impl Tally for Again {
    fn count(&self, card: &Card) -> Option<Settle> {
        let counter = Arc::clone(&self.0);
        // Requests to a card are made on threads that may block.
        let runtime = Handle::try_current().ok()?;
        let (proof, from_source) = (
            Proof { card: counter.identity(card), count_low: card.count_low },
            lock(&counter.seen).from_source,
        );
        let attempt = PinAttempt {
            card: proof.card.clone(),
            token: counter.token.clone(),
            // A card that tells its tries stops by them.
            limit: card.tries_left.is_none().then_some(MOST_WRONG),
            from_source,
            by_person: false,
            by_itself: None,
            about: json!({"serial": card.serial, "label": card.label, "again": true}),
        };
        counter.again(&runtime, attempt, proof)
    }
}
