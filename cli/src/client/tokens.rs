//! Tokens, whatever they are: which there are, unlocking and locking them, their modules.

use tufagent_proto::v1;

use super::Agent;
use super::calls::incomplete;
use super::seal::SealUse;
use crate::error::{Failure, reason};
use crate::secret::Secret;

impl Agent {
    /// All tokens.
    pub(crate) fn tokens(&self) -> Result<Vec<v1::Token>, Failure> {
        Ok(self.ask(self.tokens_client().list(v1::ListTokensRequest {}))?.tokens)
    }

    /// The token of this name.
    pub(crate) fn token(&self, name: &str) -> Result<v1::Token, Failure> {
        let tokens = self.tokens()?;
        let names: Vec<_> = tokens.iter().map(|token| token.name.as_str()).collect();
        let remedy = format!("there are: {}", names.join(", "));
        tokens.iter().find(|token| token.name == name).cloned().ok_or_else(|| {
            Failure::new(reason::TOKEN_UNKNOWN, format!("no such token: {name}"))
                .remedy(remedy)
                .detail("token", name)
        })
    }

    /// One attempt to unlock; without a secret the agent uses the source of its configuration. With a serial number no
    /// other card is asked; a last try is made at the card that a person was shown, as it was.
    pub(crate) fn unlock(
        &self,
        name: &str,
        secret: Option<&Secret>,
        shown: Option<v1::LastTryShown>,
        serial: Option<&str>,
    ) -> Result<v1::Token, Failure> {
        let secret = secret.map(|secret| self.seal(&SealUse::Unlock(name), secret)).transpose()?;
        let serial = serial.map(str::to_owned);
        let (name, last_try) = (name.into(), shown.is_some());
        self.ask_to_unlock(v1::UnlockTokenRequest {
            name,
            secret,
            last_try,
            serial,
            shown,
            asked_at_locks: None,
        })
    }

    /// The same with what a person was asked for something else (a signature, say), when the token was as it is here: whoever
    /// says `lock` since then ends that.
    pub(crate) fn unlock_for_use(&self, token: &v1::Token, secret: &Secret) -> Result<v1::Token, Failure> {
        self.ask_to_unlock(v1::UnlockTokenRequest {
            name: token.name.clone(),
            secret: Some(self.seal(&SealUse::Unlock(&token.name), secret)?),
            serial: token.serial.clone(),
            asked_at_locks: Some(token.locks),
            ..v1::UnlockTokenRequest::default()
        })
    }

    fn ask_to_unlock(&self, request: v1::UnlockTokenRequest) -> Result<v1::Token, Failure> {
        self.wait(self.tokens_client().unlock(request))?.token.ok_or_else(incomplete)
    }

    /// Locks one token, or all of them for an empty name.
    pub(crate) fn lock(&self, name: &str) -> Result<Vec<v1::Token>, Failure> {
        Ok(self.wait(self.tokens_client().lock(v1::LockTokenRequest { name: name.into() }))?.tokens)
    }

    /// Changes a token's secret; with a serial number of no other card. A last try is as that of [`Self::unlock`].
    pub(crate) fn change_secret(
        &self,
        name: &str,
        old: &Secret,
        new: &Secret,
        shown: Option<v1::LastTryShown>,
        serial: Option<&str>,
    ) -> Result<(), Failure> {
        let request = v1::ChangeSecretRequest {
            name: name.into(),
            old_secret: Some(self.seal(&SealUse::Unlock(name), old)?),
            new_secret: Some(self.seal(&SealUse::NewSecret(name), new)?),
            serial: serial.map(str::to_owned),
            last_try: shown.is_some(),
            shown,
        };
        self.wait(self.tokens_client().change_secret(request)).map(drop)
    }

    /// Which file lies where the token's module is looked for, and which one is trusted.
    pub(crate) fn look_at_module(&self, name: &str) -> Result<v1::LookAtModuleReply, Failure> {
        self.wait(self.tokens_client().look_at_module(v1::LookAtModuleRequest { name: name.into() }))
    }

    /// Trusts the module of the digest that was shown.
    pub(crate) fn trust(&self, name: &str, sha256: &str) -> Result<v1::TrustTokenReply, Failure> {
        let request = v1::TrustTokenRequest { name: name.into(), sha256: sha256.into() };
        self.wait(self.tokens_client().trust(request))
    }

    /// Measures a token's module; `step` hears of each step.
    pub(crate) fn doctor(
        &self,
        name: &str,
        secret: Option<&Secret>,
        step: &mut dyn FnMut(&v1::DoctorStep),
    ) -> Result<v1::DoctorReport, Failure> {
        let secret = secret.map(|secret| self.seal(&SealUse::Unlock(name), secret)).transpose()?;
        let request = v1::DoctorRequest { name: name.into(), secret };
        let mut stream = self.wait(self.tokens_client().doctor(request))?;
        while let Some(event) = self.next(&mut stream)? {
            match event.event {
                Some(v1::doctor_event::Event::Step(now)) => step(&now),
                Some(v1::doctor_event::Event::Report(report)) => return Ok(*report),
                None => {}
            }
        }
        Err(incomplete())
    }
}
