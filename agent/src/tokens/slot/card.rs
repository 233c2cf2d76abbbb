//! Attempts at a card that counts them: one at a time, at the card that is meant, counted by us first (FAULTS C1 to C5).
//!
//! Trust: what the card tells of its tries, and our own count where it tells nothing. The order never changes: look which
//! card is there and what it tells, count the attempt durably, ask the card once, take the count back only when it
//! accepted the PIN or was certainly not asked.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use backend::BackendError;
use backend::pkcs11::{Asking, Card, Pkcs11Token, Spent};
use ledger::{ByItself, HeldBack, PinAttempt, PinLeave, PinOutcome, SourceMark};
use policy::Reason;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use super::count::{Counted, Proof};
use super::identity::{former_names, shown_as};
use super::refusals::HELD_BACK;
use super::since::Since;
use super::unlock::{Attempt, Shown};
use super::{Slot, lock};
use crate::config::TokenKind;
use crate::refusal::Refusal;

/// Where the token tells nothing, no more is tried after so many wrong ones (DESIGN section 4, rule 5).
pub(super) const MOST_WRONG: u32 = 3;

/// Who presents a PIN.
pub(super) enum Presenting {
    /// A person gave it, or wants the one of the source to be tried.
    Person(Attempt),
    /// The agent by itself, with what its source holds.
    Source(Sourced),
}

impl Presenting {
    /// When what leads to it began.
    pub(super) const fn since(&self) -> Since {
        match self {
            Self::Person(attempt) => attempt.since,
            Self::Source(sourced) => sourced.since,
        }
    }

    /// What was shown to the person who wants a last try.
    fn last_try(&self) -> Option<&Shown> {
        match self {
            Self::Person(attempt) => attempt.last_try.as_ref(),
            Self::Source(_) => None,
        }
    }

    /// Whether a person typed it.
    const fn is_typed(&self) -> bool {
        matches!(self, Self::Person(attempt) if !attempt.from_source)
    }

    /// Whether it is what the configured source holds.
    const fn is_from_source(&self) -> bool {
        match self {
            Self::Person(attempt) => attempt.from_source,
            Self::Source(_) => true,
        }
    }
}

/// What is known of the content of a source.
#[derive(Debug, Clone)]
pub(super) struct Sourced {
    /// When what needs it began.
    pub(super) since: Since,
    /// In this run the source held another content, which was not accepted: it has changed since.
    pub(super) changed: bool,
    /// This card accepted this very content, and showed no more tries gone than [`Proof::count_low`] says.
    pub(super) proof: Option<Proof>,
}

impl Slot {
    /// One attempt, or none: `ask` presents the PIN once, to the card of this serial number, and says what it may have cost.
    pub(super) async fn ask_card<T: Send + 'static>(
        &self,
        token: &Arc<Pkcs11Token>,
        how: &Presenting,
        ask: impl FnOnce(&Pkcs11Token, &Asking) -> (Spent, Result<T, BackendError>) + Send + 'static,
    ) -> Result<T, Refusal> {
        self.ask_card_aloud(token, how, move |token, asking, _| ask(token, asking)).await
    }

    /// The same; what is asked may take long after the card has answered, and says at once that it did.
    pub(super) async fn ask_card_aloud<T: Send + 'static>(
        &self,
        token: &Arc<Pkcs11Token>,
        how: &Presenting,
        ask: impl FnOnce(&Pkcs11Token, &Asking, &Counted) -> (Spent, Result<T, BackendError>) + Send + 'static,
    ) -> Result<T, Refusal> {
        let (card, id, alone) = self.card_alone(token).await?;
        let tells = card.tries_left.is_some();
        let last_try = how.last_try().is_some();
        self.correct_count(&id, card.tries_gone).await?;
        self.may_ask(&card, &id, how).await?;
        self.unless_locked_since(how.since())?;
        let (attempt, wrong, source_before) = self.count(&card, &id, how, last_try).await?;
        let asking = Asking { last_try, meant: card.meant() };
        let asked = Arc::clone(token);
        let proof = Proof { card: id, count_low: card.count_low };
        let (still, one) = (self.still(how.since()), self.places.logins.of(&proof.card));
        let counted = Counted {
            still: still.clone(),
            counter: Arc::clone(&self.counter),
            attempt,
            typed: how.is_typed(),
            proof: proof.clone(),
            wrong,
            settled: AtomicBool::new(false),
            alone: Mutex::new(Some(alone)),
            one,
            runtime: Handle::current(),
        };
        // Others wait until what came of it is in the ledger.
        let (spent, result, settled, _alone) = blocking(move || {
            if !still.is_wanted() {
                return (Spent::Nothing, Err(BackendError::LockedMeanwhile), false, counted.alone);
            }
            let (spent, result) = ask(&asked, &asking, &counted);
            (spent, result, counted.settled.into_inner(), counted.alone)
        })
        .await?;
        let outcome = match spent {
            // What came of this very attempt is in the ledger.
            Spent::Accepted | Spent::Nothing if settled => {
                return result.map_err(|error| self.refusal(&error));
            }
            Spent::Perhaps if result.as_ref().is_err_and(is_refusal) => {
                Some(PinOutcome::Refused { from_source: how.is_from_source() })
            }
            Spent::Perhaps => None,
            Spent::Accepted => {
                Some(PinOutcome::Accepted { from_source: how.is_from_source(), typed: how.is_typed() })
            }
            Spent::Nothing => Some(PinOutcome::NotMade { source_before, typed: how.is_typed() }),
        };
        self.counter.settle(outcome, wrong, proof).await;
        result.map_err(|error| match spent {
            Spent::Perhaps => {
                let refusal = self.refusal(&error).detail("wrong", wrong);
                let was_last = !tells && wrong >= MOST_WRONG && refusal.reason == Reason::PinIncorrect;
                if was_last { refusal.remedy(self.by_last_try()) } else { refusal }
            }
            Spent::Nothing | Spent::Accepted => self.refusal(&error),
        })
    }

    /// The card that is there, for whoever is the only one to present it a PIN now: several entries may mean one card, and a
    /// reload may replace one whose login is under way.
    async fn card_alone(
        &self,
        token: &Arc<Pkcs11Token>,
    ) -> Result<(Card, String, OwnedMutexGuard<()>), Refusal> {
        let look = || {
            let looking = Arc::clone(token);
            blocking(move || looking.card())
        };
        let mut card = look().await?.map_err(|error| self.refusal(&error))?;
        loop {
            let id = self.known_as(&card).await?;
            let one = self.places.logins.of(&id);
            if let Ok(alone) = Arc::clone(&one).try_lock_owned() {
                return Ok((card, id, alone));
            }
            let alone = one.lock_owned().await;
            // What it tells of its tries may be another thing now.
            card = look().await?.map_err(|error| self.refusal(&error))?;
            if self.known_as(&card).await? == id {
                return Ok((card, id, alone));
            }
        }
    }

    /// Under which name its PIN is counted; what an earlier version counted goes on.
    pub(super) async fn known_as(&self, card: &Card) -> Result<String, Refusal> {
        let (id, former) = (self.counter.identity(card), former_names(card));
        if !former.shared.contains(&id) {
            self.places.ledger.adopt_pin_record(former, id.clone(), self.name().to_owned()).await?;
        }
        Ok(id)
    }

    /// Our own count is not higher than what the card says itself is gone: an attempt whose answer nobody saw was accepted.
    async fn correct_count(&self, id: &str, gone: Option<u32>) -> Result<(), Refusal> {
        let Some(gone) = gone else { return Ok(()) };
        let wrong = self.places.ledger.correct_pin_count(id.to_owned(), self.name().to_owned(), gone).await?;
        lock(&self.counter.seen).wrong = wrong;
        Ok(())
    }

    /// The card that is meant, with tries that it may be asked for.
    async fn may_ask(&self, card: &Card, id: &str, how: &Presenting) -> Result<(), Refusal> {
        self.is_meant(card, id, how).await?;
        if card.blocked {
            let both = card.puk_blocked;
            return Err(self.refusal(if both { &BackendError::BothBlocked } else { &BackendError::Blocked }));
        }
        match how.last_try() {
            None if card.final_try => {
                return Err(self.refusal(&BackendError::LastTry { tries_left: Some(1) }));
            }
            None => {}
            Some(shown) => self.is_as_shown(card, id, shown).await?,
        }
        Ok(())
    }

    /// Who says yes to a last try says it of this card with these tries: the agent compares, and takes nobody's word for it.
    async fn is_as_shown(&self, card: &Card, id: &str, shown: &Shown) -> Result<(), Refusal> {
        let wrong = self.places.ledger.pin_record(id.to_owned()).await?.for_person();
        lock(&self.counter.seen).wrong = wrong;
        let tries_left = if card.final_try { Some(1) } else { card.tries_left };
        let now = Shown { serial: shown_as(card), tries_left, wrong };
        if *shown == now {
            return Ok(());
        }
        let name = self.name();
        let message =
            format!("token {name} is not as it was shown when a last try was agreed to, so none was made");
        Err(Refusal::new(Reason::ConfirmationMissing, message)
            .remedy(format!("look at it again: tufctl token unlock {name} --last-try"))
            .detail("token", name)
            .detail("serial", now.serial)
            .detail("wrong", now.wrong))
    }

    /// Counts the attempt, durably: how many were not accepted with it, and whether the source was tried before it.
    async fn count(
        &self,
        card: &Card,
        id: &str,
        how: &Presenting,
        last_try: bool,
    ) -> Result<(PinAttempt, u32, SourceMark), Refusal> {
        let (by_itself, caller) = match how {
            Presenting::Person(attempt) => (None, attempt.caller.clone()),
            Presenting::Source(sourced) => (Some(self.by_itself(card, id, sourced).await?), Value::Null),
        };
        let mut about = json!({"serial": card.serial, "label": card.label, "caller": caller});
        if let (Some(shown), Some(members)) = (how.last_try(), about.as_object_mut()) {
            let shown = json!({"serial": shown.serial, "tries_left": shown.tries_left, "wrong": shown.wrong});
            members.insert("shown".to_owned(), shown);
        }
        let attempt = PinAttempt {
            card: id.to_owned(),
            token: self.name().to_owned(),
            // A card that tells its tries stops by them.
            limit: (!last_try && card.tries_left.is_none()).then_some(MOST_WRONG),
            from_source: how.is_from_source(),
            by_person: by_itself.is_none(),
            by_itself,
            about,
        };
        match self.places.ledger.count_pin_attempt(attempt.clone()).await? {
            PinLeave::Counted { wrong_before, source_before } => {
                Ok((attempt, wrong_before.saturating_add(1), source_before))
            }
            PinLeave::Stopped(wrong) => {
                lock(&self.counter.seen).wrong = wrong;
                Err(self.stopped(wrong))
            }
            PinLeave::HeldBack(why) => Err(self.held_back(why)),
        }
    }

    /// No other card than the one that the PIN is for (FAULTS C5).
    pub(super) async fn is_meant(&self, card: &Card, id: &str, how: &Presenting) -> Result<(), Refusal> {
        let shown = match how {
            Presenting::Person(attempt) => attempt.serial.as_deref(),
            Presenting::Source(_) => None,
        };
        let as_shown = shown_as(card);
        match shown {
            Some(shown) if shown == as_shown => return Ok(()),
            // Of one without a serial number that alone says nothing.
            Some(shown) if shown == card.serial => {}
            Some(shown) => {
                let why = format!("the PIN is for serial {shown:?}, and serial {as_shown:?} is there");
                return Err(self.refusal(&BackendError::Swapped { why }));
            }
            None if self.names_serial() && !card.has_no_serial() => return Ok(()),
            None => {}
        }
        let bound = self.recall_bound().await?;
        match bound.and_then(|bound| self.is_not(&bound, card, id)) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// What is known of the content that is presented without a person. Once this card has not accepted what the source held,
    /// it gets no more of it, unless that is seen to change in this run: after a restart nothing tells a content from the one
    /// before. One that it accepted it gets only while it tells of no try that is gone since (FAULTS C1).
    async fn by_itself(&self, card: &Card, id: &str, sourced: &Sourced) -> Result<ByItself, Refusal> {
        let proof = sourced.proof.as_ref().filter(|proof| proof.card == id);
        if proof.is_some_and(|proof| card.count_low && !proof.count_low) {
            return Err(self.held_back(HeldBack::TriesGone));
        }
        Ok(ByItself {
            changed: sourced.changed,
            source_is: self.source_stamp().await,
            proven: proof.is_some(),
        })
    }

    fn held_back(&self, why: HeldBack) -> Refusal {
        let (name, place) = (self.name(), self.config.pin.place());
        match why {
            HeldBack::Tried => self.not_by_itself(&format!(
                "a PIN that no person typed (in {place}, or where another entry of this card has it) was tried before, and the card \
                 has not accepted it"
            )),
            HeldBack::Replaced => self
                .not_by_itself(&format!("{place} holds the PIN that change-pin has replaced"))
                .remedy(format!("put the new one there, or: tufctl token unlock {name}")),
            HeldBack::TriesGone => self.not_by_itself("tries of the PIN are gone since it was last accepted"),
        }
    }

    fn not_by_itself(&self, why: &str) -> Refusal {
        let name = self.name();
        Refusal::new(Reason::TokenLocked, format!("token {name} is locked: {why}"))
            .remedy(format!("make sure of it, then: tufctl token unlock {name}"))
            .detail("token", name)
            .detail(HELD_BACK, true)
    }

    fn stopped(&self, wrong: u32) -> Refusal {
        let name = self.name();
        let message = format!("token {name}: {}, so it was not tried", stopped_because(wrong));
        Refusal::new(Reason::PinBlocked, message)
            .remedy(self.by_last_try())
            .detail("token", name)
            .detail("wrong", wrong)
    }

    /// The way on once no further PIN is tried.
    fn by_last_try(&self) -> String {
        format!(
            "make sure of the PIN and of the tries that the card has left, then at a terminal: \
             tufctl token unlock {0} --last-try (where the PIN has expired: tufctl token change-pin {0} --last-try)",
            self.name()
        )
    }

    /// What a person should know of our own count before giving a PIN.
    pub(super) fn count_problem(&self) -> Option<String> {
        let wrong = lock(&self.counter.seen).wrong;
        let tells = matches!(self.config.kind, TokenKind::Yubikey(_));
        (wrong >= MOST_WRONG && !tells)
            .then(|| format!("{}: no further one is tried without --last-try", stopped_because(wrong)))
    }

    /// Reads our own count of the card that is there, to tell of it before anybody asks.
    pub(in crate::tokens) async fn recall_count(&self) {
        self.first_look().await;
        let info = self.backend.info();
        if self.pkcs11.is_none() || !matches!(info.state, backend::TokenState::Locked) {
            return;
        }
        let Some(card) = self.pkcs11.as_ref().map(|token| token.last_seen()) else { return };
        let Ok(id) = self.known_as(&card).await else { return };
        if let Ok(record) = self.places.ledger.pin_record(id).await {
            lock(&self.counter.seen).wrong = record.for_person();
        }
    }
}

/// Whether the card itself has said that the PIN is not the right one.
fn is_refusal(error: &BackendError) -> bool {
    matches!(
        error,
        BackendError::SecretIncorrect { .. }
            | BackendError::SecretChanged { .. }
            | BackendError::Blocked
            | BackendError::BothBlocked
    )
}

fn stopped_because(wrong: u32) -> String {
    format!("{wrong} PINs in a row were not accepted, and the card does not tell how many tries are left")
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)
}
