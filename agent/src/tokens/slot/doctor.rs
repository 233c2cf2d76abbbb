//! Measuring a token's module, and what the agent keeps of it.

use std::sync::Arc;

use backend::BackendError;
use backend::doctor::Diagnosis;
use backend::pkcs11::Step;
use policy::Reason;
use secmem::SecretBytes;

use super::{Slot, lock};
use crate::refusal::Refusal;

impl Slot {
    /// Whether there is a module to measure.
    ///
    /// # Errors
    /// `UNSUPPORTED`.
    pub(crate) fn can_be_examined(&self) -> Result<(), Refusal> {
        if self.pkcs11.is_some() {
            return Ok(());
        }
        let name = self.name();
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
        &self,
        secret: Option<SecretBytes>,
        progress: impl FnMut(Step) -> bool + Send + 'static,
    ) -> Result<(Diagnosis, bool), Refusal> {
        self.can_be_examined()?;
        let Some(token) = self.pkcs11.clone() else { return Err(Refusal::internal("no module")) };
        let by_person = secret.is_some();
        let pin = match secret {
            Some(secret) => Ok(Arc::new(secret)),
            None => self.pin_to_examine().await,
        };
        let alone = Arc::clone(&self.examined).acquire_owned().await.map_err(Refusal::internal)?;
        let work = move || {
            let _alone = alone;
            let pin = pin.as_deref().map_err(Clone::clone);
            let diagnosis = token.examine(pin, progress)?;
            let saved = token.save_profile(&diagnosis)?;
            Ok((diagnosis, saved))
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?;
        done.map_err(|error| match error {
            BackendError::Busy => Refusal::new(Reason::Cancelled, "nobody waits for what is measured"),
            error => {
                let refusal = self.refusal(&error);
                if !by_person {
                    self.note_source(&refusal);
                }
                refusal
            }
        })
    }

    /// The PIN of the configuration, or why there is none: doctor ends nobody's `lock` and tries no PIN twice.
    async fn pin_to_examine(&self) -> Result<Arc<SecretBytes>, String> {
        let name = self.name();
        if !self.config.pin.is_unattended() {
            return Err(format!("no PIN was given: tufctl token doctor {name} --pin-file FILE"));
        }
        if self.may_unlock_itself().is_none() {
            let why = match lock(&self.lease).source.clone() {
                Some(trouble) => trouble.why,
                None => format!("somebody locked the token: tufctl token unlock {name}"),
            };
            return Err(why);
        }
        self.fetch().await.map_err(|refusal| refusal.message)
    }
}
