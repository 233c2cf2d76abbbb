//! The PUK of a YubiKey, and its management key: what a person does to a card, not to keys.
//!
//! One entry of a PUK is one attempt, at the card that is meant, after a look at the tries that it has left. A PUK that is
//! blocked cannot be had back without the loss of all keys, so the last try is left to a person who was shown that.

use std::sync::Arc;

use backend::BackendError;
use backend::pkcs11::Spent;
use ledger::PinOutcome;
use policy::Reason;
use secmem::SecretBytes;

use super::Slot;
use super::card::{Presenting, blocking};
use super::count::Proof;
use super::unlock::{Attempt, Shown};
use crate::refusal::Refusal;

/// What is done with the PUK.
pub enum PukAct {
    /// A new PUK.
    Change {
        /// The one that the card has.
        old: SecretBytes,
        /// The one that it gets.
        new: SecretBytes,
    },
    /// A new PIN, with all its tries.
    Unblock {
        /// The PUK.
        puk: SecretBytes,
        /// The new PIN.
        pin: SecretBytes,
    },
}

impl Slot {
    /// One attempt with the PUK, or none.
    ///
    /// # Errors
    /// `PIN_INCORRECT` and `PIN_BLOCKED`, both of the PUK; `UNSUPPORTED` for what is no YubiKey; what else the card gives.
    pub async fn present_puk(self: &Arc<Self>, act: PukAct, attempt: Attempt) -> Result<(), Refusal> {
        let slot = Arc::clone(self);
        // Whoever asked may go away meanwhile: what came of it is still noted.
        let work = async move {
            slot.wait_a_little(attempt.user).await;
            let _place = slot.unlocks.acquire().await.map_err(Refusal::internal)?;
            slot.not_too_early(attempt.user)?;
            let user = attempt.user;
            let done = slot.ask_for_puk(act, attempt).await;
            slot.note_delay(user, true, done.as_ref().err());
            done
        };
        tokio::spawn(work).await.map_err(Refusal::internal)?
    }

    async fn ask_for_puk(&self, act: PukAct, attempt: Attempt) -> Result<(), Refusal> {
        let token = self.need_card()?;
        let looking = Arc::clone(&token);
        let looked = blocking(move || Ok((looking.card()?, looking.card_facts()?))).await?;
        let (card, facts) = looked.map_err(|error| self.refusal(&error))?;
        let id = self.counter.identity(&card);
        if facts.puk_tries_left == Some(0) {
            let both = card.blocked;
            return Err(self.refusal(if both {
                &BackendError::BothBlocked
            } else {
                &BackendError::PukBlocked
            }));
        }
        may_try(self.name(), &card.serial, facts.puk_tries_left, attempt.last_try.as_ref())?;
        let last_try = attempt.last_try.is_some();
        self.is_meant(&card, &id, &Presenting::Person(attempt)).await?;
        let meant = (Some(card.serial), last_try);
        let unblocks = matches!(act, PukAct::Unblock { .. });
        let asked = Arc::clone(&token);
        let presented = blocking(move || match act {
            PukAct::Change { old, new } => asked.present_puk_change(&old, &new, meant),
            PukAct::Unblock { puk, pin } => asked.present_unblock(&puk, &pin, meant),
        })
        .await?;
        if unblocks && presented.spent == Spent::Accepted {
            // A new PIN: what was wrong with the one before counts no more.
            let proof = Proof { card: id, count_low: false };
            self.counter
                .settle(Some(PinOutcome::Accepted { from_source: false, typed: true }), 0, proof)
                .await;
            // Seen at once, not at the next look.
            let _ = blocking(move || token.card()).await;
        }
        presented.result.map_err(|error| self.refusal(&error))
    }

    /// A new management key, at random, that the card keeps where its PIN opens it; needs the token unlocked. `old` is the
    /// one that it has; none: the one that is kept so already.
    ///
    /// # Errors
    /// `MANAGEMENT_KEY`; `UNSUPPORTED` for what is no YubiKey; what else the card gives.
    pub async fn protect_management_key(&self, old: Option<SecretBytes>) -> Result<(), Refusal> {
        let token = self.need_card()?;
        self.run(move |_| token.change_management_key(old.as_ref(), None, true)).await
    }
}

/// Whether there may be an attempt at the PUK, by the tries that the card tells of.
fn may_try(name: &str, serial: &str, left: Option<u32>, shown: Option<&Shown>) -> Result<(), Refusal> {
    let refused = |message: String| Refusal::new(Reason::PinBlocked, message).detail("token", name);
    let agreed = format!("make sure of the PUK, then at a terminal: tufctl token unblock {name} --last-try");
    match (left, shown) {
        (Some(1), None) => Err(refused(format!(
            "token {name}: one more wrong PUK blocks it for ever, so it was not tried; 1 try left"
        ))
        .remedy(agreed)
        .detail("tries_left", 1)),
        (None, None) => Err(refused(format!(
            "token {name} does not say how many tries its PUK has left; one more wrong one may block it for ever, \
             so it was not tried"
        ))
        .remedy(agreed)),
        (left, Some(shown)) if shown.serial != serial || shown.tries_left != left => {
            let message = format!(
                "token {name} is not as it was shown when a last try was agreed to, so none was made"
            );
            Err(Refusal::new(Reason::ConfirmationMissing, message)
                .remedy(format!("look at it again: tufctl token unblock {name} --last-try"))
                .detail("token", name))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_puk_whose_tries_are_one_or_not_known_is_left_to_a_person_who_was_shown_that() {
        let shown = |tries_left| Shown { serial: "1".to_owned(), tries_left, wrong: 0 };
        let tried =
            |left, shown: Option<&Shown>| may_try("yk", "1", left, shown).map_err(|error| error.reason);
        for left in [None, Some(1)] {
            assert_eq!(tried(left, None), Err(Reason::PinBlocked), "{left:?}");
            assert_eq!(tried(left, Some(&shown(left))), Ok(()), "{left:?}");
            assert_eq!(tried(left, Some(&shown(Some(2)))), Err(Reason::ConfirmationMissing), "{left:?}");
        }
        assert_eq!(tried(Some(2), None), Ok(()));
        assert!(may_try("yk", "2", Some(1), Some(&shown(Some(1)))).is_err());
    }
}
