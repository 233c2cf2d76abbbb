//! A token that wants no PIN, as an NSS database without a password does. What holds for others holds for it, too: it is
//! used after an unlock and until a `lock`. The configuration has to say so (`pin = "none"`), as the word of the token alone
//! must not have keys used that are meant to be behind a PIN.

use backend::{BackendError, TokenState};
use policy::Reason;

use super::identity::shown_as;
use super::since::Since;
use super::source::SourceTrouble;
use super::{Slot, lock};
use crate::config::PinSource;
use crate::refusal::Refusal;

impl Slot {
    /// Uses it from now on, in its turn; one that wants a PIN is left alone.
    pub(super) async fn enter(&self, since: Since, serial: Option<String>) -> Result<(), Refusal> {
        let Some(token) = self.pkcs11.clone() else { return Err(self.unusable()) };
        let _place = tokio::select! {
            biased;
            // What it waits for may take long.
            () = self.locked_since(since) => return self.unless_locked_since(since),
            place = self.unlocks.acquire() => place.map_err(Refusal::internal)?,
        };
        self.lapse();
        // As people are shown it.
        let card = token.last_seen();
        self.recall_bound().await?;
        let is_said = serial.as_ref().is_some_and(|shown| *shown == shown_as(&card));
        // Nothing but its identity tells it from another one, that wants no PIN either.
        if let Some(refusal) = self.not_ours(&card).filter(|_| !is_said) {
            return Err(refusal);
        }
        let named = card.is_named();
        let serial = if is_said { Some(card.serial) } else { serial.or(named.then_some(card.serial)) };
        let still = self.still(since);
        let work = move || match still.is_wanted() {
            true => token.enter(serial),
            false => Err(BackendError::LockedMeanwhile),
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?;
        done.map_err(|error| self.not_entered(&error))?;
        self.bind().await?;
        self.begin_lease(since, None)
    }

    /// The name means this card from now on.
    async fn bind(&self) -> Result<(), Refusal> {
        let Some(card) = self.pkcs11.as_ref().map(|token| token.last_seen()) else { return Ok(()) };
        let id = self.known_as(&card).await?;
        self.places.ledger.bind_card(id.clone(), self.name().to_owned()).await?;
        *lock(&self.counter.bound) = Some(id);
        Ok(())
    }

    /// # Errors
    /// `USAGE` where the configuration says that there is none: it would be wrong, whatever it is.
    pub(super) fn wants_a_pin(&self) -> Result<(), Refusal> {
        if self.config.pin != PinSource::Unwanted {
            return Ok(());
        }
        let name = self.name();
        let message =
            format!("token {name} is used without a PIN (pin = \"none\"), and this one was not presented");
        Err(Refusal::new(Reason::Usage, message)
            .remedy(format!("tufctl token unlock {name}"))
            .detail("token", name))
    }

    /// Whoever finds it locked later is told the reason, too.
    fn not_entered(&self, error: &BackendError) -> Refusal {
        let refusal = self.refusal(error);
        if let (BackendError::Failed { why, .. }, TokenState::Locked) = (error, self.backend.state()) {
            let (why, remedy) = (why.clone(), refusal.remedy.clone());
            lock(&self.lease).source = Some(SourceTrouble { why, remedy, unread: false });
        }
        refusal
    }

    /// What is to be told of a token that says that it wants no PIN where one is configured.
    pub(super) fn says_it_is_open(&self) -> Option<String> {
        let token = self.pkcs11.as_ref().filter(|token| !token.is_card())?;
        let locked = self.config.pin != PinSource::Unwanted && self.state() == TokenState::Locked;
        (locked && token.last_seen().open).then(|| {
            "by its own words it wants no PIN (CKF_LOGIN_REQUIRED is not set): pin = \"none\" in its entry has it used without"
                .to_owned()
        })
    }
}
