//! Measuring a token's module, and what the agent keeps of it.

use std::sync::{Arc, Mutex};

use backend::BackendError;
use backend::doctor::Diagnosis;
use backend::pkcs11::{Asking, Attempts, Pkcs11Token, Spent, Step};
use policy::Reason;
use secmem::SecretBytes;

use super::card::Presenting;
use super::count::Counted;
use super::refusals::HELD_BACK;
use super::since::Since;
use super::source::Source;
use super::unlock::Attempt;
use super::{Slot, lock};
use crate::config::PinSource;
use crate::refusal::Refusal;

impl Slot {
    /// Whether there is a module to measure.
    ///
    /// # Errors
    /// `UNSUPPORTED`.
    pub(crate) fn can_be_examined(&self) -> Result<(), Refusal> {
        let name = self.name();
        if self.is_card() {
            let message = format!("token {name} is a YubiKey, which has no module to measure");
            return Err(Refusal::new(Reason::Unsupported, message)
                .remedy(
                    "how it is, tries and warnings are told by tufctl token list, where a key of it was made by tufctl key attest \
                     KEY",
                )
                .detail("token", name));
        }
        if self.pkcs11.is_some() {
            return Ok(());
        }
        Err(Refusal::new(Reason::Unsupported, format!("token {name} has no module to measure"))
            .remedy("name a token of kind pkcs11: tufctl token list")
            .detail("token", name))
    }

    /// Measures the module in a helper of its own, with a PIN that a person gave or that the configuration names, and
    /// keeps what was found as the module's profile. False: nobody was logged in, so it is not kept.
    ///
    /// # Errors
    /// `PIN_INCORRECT` and what else one attempt gives; `STATE_IO` when it cannot be saved; `CANCELLED` when `progress`
    /// gave false.
    pub(crate) async fn examine(
        self: &Arc<Self>,
        secret: Option<SecretBytes>,
        attempt: Attempt,
        progress: impl FnMut(Step) -> bool + Send + 'static,
    ) -> Result<(Diagnosis, bool), Refusal> {
        self.can_be_examined()?;
        let Some(token) = self.pkcs11.clone() else { return Err(Refusal::internal("no module")) };
        let user = attempt.user;
        // What the source holds is presented as the agent presents it by itself: not what was refused in a run before.
        let (pin, how, content) = match secret {
            Some(secret) => (Ok(Arc::new(secret)), Presenting::Person(attempt), None),
            None => match self.pin_to_examine(attempt.since).await {
                Ok(source) => (Ok(source.pin), source.how, Some(source.content)),
                Err(why) => (Err(why), Presenting::Person(attempt), None),
            },
        };
        let _alone = Arc::clone(&self.examined).acquire_owned().await.map_err(Refusal::internal)?;
        // Taken by who measures: with the PIN, or without it where it was not to be presented.
        let progress = Arc::new(Mutex::new(Some(progress)));
        let why = match pin {
            Ok(pin) => {
                self.not_too_early(user)?;
                let steps = Arc::clone(&progress);
                let ask = move |token: &Pkcs11Token, asking: &Asking, counted: &Counted| {
                    let progress = lock(&steps).take();
                    let done = measure(token, Ok((&pin, asking)), counted, progress);
                    let spent = match &done {
                        // It stays counted: a later one of this entry was refused.
                        Ok((diagnosis, _)) if diagnosis.pin_refused => Spent::Perhaps,
                        // One that the token has accepted is settled, at once.
                        Ok(_) => Spent::Nothing,
                        Err(error) => Spent::by(error),
                    };
                    (spent, done)
                };
                let done = self.ask_card_aloud(&token, &how, ask).await;
                let logged_in = done
                    .as_ref()
                    .is_ok_and(|(diagnosis, _)| diagnosis.facts.logged_in && !diagnosis.pin_refused);
                self.note_delay(user, logged_in && content.is_none(), done.as_ref().err());
                match done {
                    // Not presented: what can be measured without it is.
                    Err(refusal) if may_go_without(&refusal) && lock(&progress).is_some() => {
                        if let Some(content) = content.filter(|_| refusal.details.contains_key(HELD_BACK)) {
                            self.note_presented(content, Some(&refusal));
                        }
                        refusal.message
                    }
                    done => {
                        if let Some(content) = content {
                            self.note_examined(content, &done);
                        }
                        return done.map_err(unwanted);
                    }
                }
            }
            Err(why) => why,
        };
        let work = move || {
            let progress = lock(&progress).take();
            measure(&token, Err(why), &(), progress)
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?;
        done.map_err(|error| unwanted(self.refusal(&error)))
    }

    /// What became of what the source holds.
    fn note_examined(&self, content: SecretBytes, done: &Result<(Diagnosis, bool), Refusal>) {
        match done {
            Ok((diagnosis, _)) if diagnosis.pin_refused => {
                let error = BackendError::SecretIncorrect { word: "PIN", tries_left: None };
                self.note_presented(content, Some(&self.refusal(&error)));
            }
            Ok((diagnosis, _)) if diagnosis.facts.logged_in => self.note_presented(content, None),
            Ok(_) => {}
            Err(refusal) => self.note_presented(content, Some(refusal)),
        }
    }

    /// The PIN of the configuration, or why there is none: doctor ends nobody's `lock` and tries no PIN twice.
    async fn pin_to_examine(&self, since: Since) -> Result<Source, String> {
        let name = self.name();
        if !self.config.pin.is_unattended() {
            return Err(format!("no PIN was given: tufctl token doctor {name} --pin-file FILE"));
        }
        if self.config.pin == PinSource::Unwanted {
            return Err("it is used without a PIN (pin = \"none\")".to_owned());
        }
        if self.may_unlock_itself().is_none() {
            let why = match lock(&self.lease).source.clone() {
                Some(trouble) => trouble.why,
                None => format!("somebody locked the token: tufctl token unlock {name}"),
            };
            return Err(why);
        }
        // What comes of an attempt that is under way with what it holds is waited for: nothing is tried twice.
        let sourcing = self.sourcing();
        let _alone = sourcing.by_itself.lock().await;
        self.by_itself_from_source(since).await.map_err(|refusal| refusal.message)
    }
}

/// Measures, and saves what was found.
fn measure(
    token: &Pkcs11Token,
    pin: Result<(&SecretBytes, &Asking), String>,
    attempts: &dyn Attempts,
    progress: Option<impl FnMut(Step) -> bool>,
) -> Result<(Diagnosis, bool), BackendError> {
    let mut progress = progress.ok_or(BackendError::Busy)?;
    let diagnosis = token.examine(pin, attempts, &mut progress)?;
    let saved = token.save_profile(&diagnosis)?;
    Ok((diagnosis, saved))
}

/// Whether the PIN was not presented, for what it is or has done before.
fn may_go_without(refusal: &Refusal) -> bool {
    refusal.reason == Reason::PinBlocked || refusal.details.contains_key(HELD_BACK)
}

/// Nobody waits any more: that is what "busy" means here.
fn unwanted(refusal: Refusal) -> Refusal {
    if refusal.reason == Reason::TokenBusy {
        return Refusal::new(Reason::Cancelled, "nobody waits for what is measured");
    }
    refusal
}
