//! Before each use: is the token there, and is it unlocked, or does it unlock itself?

use std::sync::Arc;
use std::time::Duration;

use backend::card::PinPolicy;
use backend::{StoredKey, TokenState};

use super::since::Since;
use super::{Later, Slot, lock};
use crate::config::TokenKind;
use crate::refusal::Refusal;

/// How long a device may take to say its first word after the start.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// The same for whoever only asks how it is, or waits for others: a module that hangs shall not keep them.
const GLANCE: Duration = Duration::from_secs(2);

impl Slot {
    /// Before a use: unlocks by itself where the secret needs no person and nobody said `lock`.
    ///
    /// # Errors
    /// The refusal that says why the token cannot be used now.
    pub fn ensure_usable(self: &Arc<Self>) -> Later<'_, ()> {
        Box::pin(async move {
            self.first_look().await;
            if self.is_usable()? {
                return Ok(());
            }
            if self.may_unlock_itself().is_none() {
                self.recall_bound().await?;
                return Err(self.unusable());
            }
            let slot = Arc::clone(self);
            // Whoever asked may go away meanwhile: what came of it is still noted.
            let work = async move {
                // Whoever was first has unlocked it, or has found that the secret is wrong.
                let sourcing = slot.sourcing();
                let _alone = sourcing.by_itself.lock().await;
                if slot.is_usable()? {
                    return Ok(());
                }
                // Read together: a `lock` from here on wins over this attempt.
                let Some(since) = slot.may_unlock_itself() else { return Err(slot.unusable()) };
                slot.present_source(since, None).await
            };
            tokio::spawn(work).await.map_err(Refusal::internal)?
        })
    }

    /// Whether the card signs with this key though it is locked: the key takes no PIN, nobody said `lock`, and the
    /// configuration does not demand that it is unlocked all the same.
    #[must_use]
    pub fn signs_locked(&self, key: &StoredKey) -> bool {
        let TokenKind::Yubikey(card) = &self.config.kind else { return false };
        let takes_none = key.place.is_some_and(|place| place.pin == PinPolicy::Never);
        takes_none && !card.need_unlock && !lock(&self.lease).held && self.state() == TokenState::Locked
    }

    /// Whether the PIN that this key takes for each signature unlocks the card with the first one, when a person gives it.
    #[must_use]
    pub fn unlocks_with_signature(&self, key: &StoredKey) -> bool {
        let takes_it = key.place.is_some_and(|place| place.pin == PinPolicy::Always);
        takes_it && !self.config.pin.is_unattended() && self.state() == TokenState::Locked
    }

    /// For what begins now; none where a `lock` holds.
    pub(super) fn now_unless_held(&self) -> Option<Since> {
        let lease = lock(&self.lease);
        (!lease.held).then(|| self.now())
    }

    /// Whether it surely unlocks itself before its next use. Not where a PIN was not accepted: the one that the agent has is held
    /// back then while tries are gone, or may be the one; nor while a person's attempt is under way, as nobody knows how that ends.
    pub(super) fn surely_unlocks_itself(&self) -> bool {
        let settled = {
            let lease = lock(&self.lease);
            lease.typed == 0 && lease.source.is_none()
        };
        settled && self.may_unlock_itself().is_some() && lock(&self.counter.seen).wrong == 0
    }

    /// False: it is locked.
    fn is_usable(&self) -> Result<bool, Refusal> {
        match self.state() {
            // An unlock that a `lock` has overtaken may not have been undone yet.
            TokenState::Unlocked => Ok(!lock(&self.lease).held),
            TokenState::Locked => Ok(false),
            TokenState::Absent | TokenState::Failed | TokenState::Blocked => Err(self.unusable()),
        }
    }

    /// True when it is locked and will be unlocked by its first use, or now.
    pub(in crate::tokens) async fn waits_for_its_source(&self) -> bool {
        self.first_look().await;
        self.state() == TokenState::Locked && self.may_unlock_itself().is_some()
    }

    /// Right after the start nothing is known of a device yet: whoever needs it waits a little for the first word on it.
    pub(in crate::tokens) async fn first_look(&self) {
        self.look_within(FIRST_LOOK).await;
    }

    /// The same for who only asks how it is: a device that hangs costs them this time after the start, and not each time.
    pub(in crate::tokens) async fn first_look_after_start(&self) {
        self.look_within(GLANCE.saturating_sub(self.opened.elapsed())).await;
    }

    /// What is told of a device of which nothing is known yet.
    pub(super) fn unheard_of(&self) -> Option<String> {
        let seconds = self.opened.elapsed().as_secs();
        (!self.is_heard_of()).then(|| {
            format!(
                "nothing was heard of it in the {seconds} s since it was opened: its module is slow, or hangs"
            )
        })
    }

    /// Whether anything is known of it yet.
    pub(super) fn is_heard_of(&self) -> bool {
        self.pkcs11.as_ref().is_none_or(|token| token.first_look(Duration::ZERO))
    }

    async fn look_within(&self, limit: Duration) {
        if self.is_heard_of() || limit.is_zero() {
            return;
        }
        if let Some(token) = self.pkcs11.clone() {
            let looked = tokio::task::spawn_blocking(move || token.first_look(limit)).await;
            if !matches!(looked, Ok(true)) {
                tracing::debug!(token = self.name(), "nothing is known of the token yet");
            }
        }
    }
}
