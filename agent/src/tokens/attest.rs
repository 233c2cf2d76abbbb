//! Where a key on a YubiKey comes from, by the certificates that the card gives and the roots that are trusted.
//!
//! Trust: nothing that the card or its helper says; only what a root of the configuration has signed for.

use backend::attestation::{self, Attestation, Given, Roots};
use backend::{BackendError, Origin};
use policy::Reason;

use super::HeldKey;
use crate::refusal::Refusal;

/// A key that its device's maker vouches for.
pub struct Attested {
    /// What is known of it.
    pub attestation: Attestation,
    /// The certificates by which it is known.
    pub given: Given,
}

impl HeldKey {
    /// Asks the card for the attestation of this key, and judges it. Needs no PIN.
    ///
    /// # Errors
    /// `UNSUPPORTED` for a key that is on no YubiKey; `VERIFICATION` when it is not proven to have been made there; what
    /// keeps the card from being asked otherwise.
    pub async fn attest(&self, roots: &Roots) -> Result<Attested, Refusal> {
        let name = &self.name;
        if !self.slot.is_card() {
            let message =
                format!("the key {name} is on no YubiKey: other tokens have no certificates of their maker");
            return Err(Refusal::new(Reason::Unsupported, message)
                .remedy(format!(
                    "a role can demand what a PKCS#11 token says of its keys: origin = \"token\" in a [[role]] of the \
                     configuration; token {} holds this one",
                    self.slot.name()
                ))
                .detail("key", name.as_str())
                .detail("token", self.slot.name()));
        }
        if self.stored.origin == Origin::Imported {
            return Err(self.unproven(
                "imported",
                "it was brought there and not made there, so the device attests nothing",
            ));
        }
        if self.lost {
            return Err(self.gone());
        }
        let given =
            match self.slot.attestation_of(&self.stored).await.map_err(|refusal| self.missed(refusal))? {
                Ok(given) => given,
                Err(why) => return Err(self.unproven("none", &why)),
            };
        let judged = attestation::check(&given, &self.stored.public, roots);
        let attestation = judged.map_err(|error| self.unproven(error.word(), &error.to_string()))?;
        Ok(Attested { attestation, given })
    }

    fn unproven(&self, word: &str, why: &str) -> Refusal {
        let (name, token) = (&self.name, self.slot.name());
        let message =
            format!("that the key {name} was made on the YubiKey of token {token} is not proven: {why}");
        let remedy = match word {
            "unknown-root" | "broken-signature" => {
                "a device with other roots than Yubico's needs them in the configuration: attestation_roots = [\"/PATH.pem\"]; \
                 if this one should have Yubico's, do not trust it"
            }
            "imported" | "none" => "make a new key on the device: tufctl key generate NAME --token TOKEN",
            _ => "do not trust this key: make a new one on a device that you trust",
        };
        Refusal::new(Reason::Verification, message)
            .remedy(remedy)
            .detail("key", name.as_str())
            .detail("token", token)
            .detail("why", word)
    }
}

impl super::Slot {
    /// What the card gives for a key of its; inside, why it gives nothing.
    async fn attestation_of(&self, key: &backend::StoredKey) -> Result<Result<Given, String>, Refusal> {
        let Some(card) = self.card() else { return Ok(Err("it is no YubiKey".to_owned())) };
        let key = key.clone();
        self.run(move |_| {
            let slot = key.place.map(|place| place.slot).unwrap_or_default();
            let serial = card.card_facts()?.serial;
            match card.attest(&key.public) {
                Ok(said) => {
                    Ok(Ok(Given { slot, serial, statement: said.certificate, authority: said.signer }))
                }
                Err(BackendError::Unsupported { what }) => Ok(Err(format!("the device cannot {what}"))),
                Err(error) => Err(error),
            }
        })
        .await
    }
}
