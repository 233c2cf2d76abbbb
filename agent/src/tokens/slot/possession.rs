//! Whether a token has the private half of a public key that it shows.

use std::sync::Arc;

use backend::{Backend, StoredKey};
use policy::Reason;
use tuf::key::PublicKey;
use tuf::preimage::{Signable, Statement, StatementKind};

use super::Slot;
use crate::config::TokenKind;
use crate::refusal::Refusal;

impl Slot {
    /// Has the key sign a statement, once, where anybody could have put its public half there. False: nobody can tell before it
    /// signs for its role, as it takes the PIN for each signature, or another scheme.
    ///
    /// # Errors
    /// `BAD_SIGNATURE` where it has no such private key; what keeps the token from being asked.
    pub async fn prove(self: &Arc<Self>, key: &StoredKey) -> Result<bool, Refusal> {
        if self.is_proven(&key.public) {
            return Ok(true);
        }
        self.ensure_usable().await?;
        let public = key.public.clone();
        let sign = move |backend: &dyn Backend| {
            let statement =
                Statement::new(StatementKind::Possession, &format!("key {}\n", public.fingerprint()));
            let scheme = public.key_type().default_scheme();
            backend.sign(&public, scheme, Signable::Statement(&statement))
        };
        match self.run(sign).await {
            Ok(_) => {
                self.note_proof(&key.public);
                Ok(true)
            }
            Err(refusal) if UNTOLD.contains(&refusal.reason) => Ok(false),
            Err(refusal) if NOT_ITS_OWN.contains(&refusal.reason) => Err(self.not_its_own(key, &refusal)),
            Err(refusal) => Err(refusal),
        }
    }

    /// The key has signed, or was made here.
    pub fn note_proof(&self, public: &PublicKey) {
        if !self.is_proven(public) {
            self.places.proofs.note(self.name(), public);
        }
    }

    fn is_proven(&self, public: &PublicKey) -> bool {
        // What other tokens show comes from the private half, or from the card's own slot.
        !matches!(self.config.kind, TokenKind::Pkcs11(_)) || self.places.proofs.has(self.name(), public)
    }

    fn not_its_own(&self, key: &StoredKey, refusal: &Refusal) -> Refusal {
        let (name, token) = (&key.name, self.name());
        let message = format!(
            "token {token} shows a public key {name} and does not sign with its private half ({}): whoever reaches the token may have \
             put it there",
            refusal.message
        );
        Refusal::new(Reason::BadSignature, message)
            .remedy(
                "give it to nobody before you know who did: look at the objects of the token with its own tool (pkcs11-tool \
                 --list-objects), and remove the public one that is not yours",
            )
            .detail("key", name.as_str())
            .detail("token", token)
    }
}

/// What a token says of a key whose private half it has not.
const NOT_ITS_OWN: [Reason; 2] = [Reason::BadSignature, Reason::KeyNotFound];
/// What says nothing of that.
const UNTOLD: [Reason; 2] = [Reason::PinRequired, Reason::Unsupported];
