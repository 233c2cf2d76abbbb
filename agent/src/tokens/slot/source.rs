//! Unlocking with a secret that needs no person: from a file, a descriptor or a credential.

use std::sync::Arc;

use policy::Reason;
use secmem::SecretBytes;

use super::{SPENT, Slot, lock};
use crate::config::PinSource;
use crate::refusal::Refusal;
use crate::tokens::pin;

/// Why the configured secret was of no use.
#[derive(Debug, Clone)]
pub(super) struct SourceTrouble {
    /// It was presented and was wrong, or may have been: it is not tried again by itself.
    pub(super) spent: bool,
    /// For people.
    pub(super) why: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Slot {
    /// One attempt with the secret from the configured source; ends a `lock` that a person said.
    ///
    /// # Errors
    /// `PIN_REQUIRED` when a person has to type it; otherwise as [`Slot::unlock`].
    pub async fn unlock_from_source(&self) -> Result<(), Refusal> {
        let _alone = self.by_itself.lock().await;
        let locks = lock(&self.lease).locks;
        self.present_source(locks).await
    }

    /// One attempt with the configured secret, begun when `lock` had been said `locks` times.
    pub(super) async fn present_source(&self, locks: u64) -> Result<(), Refusal> {
        let secret = match self.fetch().await {
            Ok(secret) => secret,
            Err(refusal) => {
                self.note_source(&refusal);
                return Err(self.name_it(refusal));
            }
        };
        match self.run_in(&self.unlocks, move |backend| backend.unlock(&secret)).await {
            Ok(()) => self.begin_lease(locks, None),
            Err(refusal) => {
                self.note_source(&refusal);
                Err(refusal)
            }
        }
    }

    /// Remembers why the configured secret was of no use, for whoever finds the token locked.
    pub(super) fn note_source(&self, refusal: &Refusal) {
        let (place, again) = (self.config.pin.place(), format!("then: tufctl token unlock {}", self.name()));
        let trouble = if refusal.reason == Reason::PinIncorrect {
            let word = self.backend.info().kind.secret_word();
            let why = format!("the {word} in {place} is wrong, and is not tried again by itself");
            SourceTrouble { spent: true, why, remedy: format!("correct it, {again}") }
        } else if refusal.details.contains_key(SPENT) {
            // Nobody knows what the attempt came to: it may have cost a try.
            let why = format!("{}; it is not tried again by itself", refusal.message);
            SourceTrouble { spent: true, why, remedy: format!("make sure of it, {again}") }
        } else if refusal.reason == Reason::SecretFile {
            SourceTrouble { spent: false, why: refusal.message.clone(), remedy: refusal.remedy.clone() }
        } else {
            return;
        };
        let mut lease = lock(&self.lease);
        // What was spent stays so until an unlock.
        let spent = trouble.spent || lease.source.as_ref().is_some_and(|before| before.spent);
        lease.source = Some(SourceTrouble { spent, ..trouble });
    }

    /// When its secret needs no person, nobody said `lock`, and the secret was not wrong: how often `lock` was said.
    pub(super) fn may_unlock_itself(&self) -> Option<u64> {
        let lease = lock(&self.lease);
        let spent = lease.source.as_ref().is_some_and(|trouble| trouble.spent);
        let may = self.config.pin.is_unattended() && !lease.held && !spent;
        may.then_some(lease.locks)
    }

    pub(super) async fn fetch(&self) -> Result<Arc<SecretBytes>, Refusal> {
        if let Some(secret) = lock(&self.from_descriptor).clone() {
            return Ok(secret);
        }
        let (source, credentials) = (self.config.pin.clone(), self.credentials.clone());
        let fetched = tokio::task::spawn_blocking(move || pin::fetch(&source, credentials.as_deref())).await;
        let secret = Arc::new(fetched.map_err(Refusal::internal)??);
        if matches!(self.config.pin, PinSource::Fd(_)) {
            *lock(&self.from_descriptor) = Some(Arc::clone(&secret));
        }
        Ok(secret)
    }
}
