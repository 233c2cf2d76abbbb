//! Signatures, each in its turn; with the PIN where the key takes one for each.

use std::sync::Arc;

use backend::pkcs11::{Asking, Pkcs11Token, Spent};
use backend::{Backend, BackendError};
use policy::Reason;
use secmem::SecretBytes;
use tuf::key::{KeyType, PublicKey, Scheme, SignatureBytes};
use tuf::metadata::Metadata;
use tuf::preimage::Signable;

use super::{BLINK, Slot};
use crate::config::TokenKind;
use crate::limits;
use crate::refusal::Refusal;

/// What is signed, by which key.
#[derive(Clone)]
struct Order {
    key: PublicKey,
    scheme: Scheme,
    subject: Metadata,
}

impl Order {
    /// The backend verifies the signature against this very public key and scheme before it gives it out.
    fn carry_out(
        &self,
        backend: &dyn Backend,
        pin: Option<&SecretBytes>,
    ) -> Result<SignatureBytes, BackendError> {
        let preimage = self.subject.preimage();
        let what = Signable::Metadata(&preimage);
        match pin {
            None => backend.sign(&self.key, self.scheme, what),
            Some(pin) => backend.sign_with_pin(&self.key, self.scheme, what, pin),
        }
    }

    /// So small, and a key so fast, that another thread would cost more than it takes.
    fn is_quick(&self) -> bool {
        let fast = matches!(self.key.key_type(), KeyType::Ed25519 | KeyType::EcdsaP256);
        fast && u64::try_from(self.subject.bytes().len()).is_ok_and(|bytes| bytes <= limits::IN_PLACE)
    }
}

impl Slot {
    /// Signs metadata with a key of this token: one of the file store that takes microseconds here, at once.
    ///
    /// # Errors
    /// What the backend gives, with the token's name; `PIN_REQUIRED` for a key that takes the PIN for each signature on a
    /// token whose PIN a person types.
    pub async fn sign(
        self: &Arc<Self>,
        key: &PublicKey,
        scheme: Scheme,
        subject: &Metadata,
    ) -> Result<SignatureBytes, Refusal> {
        let order = Order { key: key.clone(), scheme, subject: subject.clone() };
        if self.config.kind == TokenKind::File && order.is_quick() {
            let _place = self.queue.acquire().await.map_err(Refusal::internal)?;
            self.lapse();
            return order.carry_out(self.backend.as_ref(), None).map_err(|error| self.refusal(&error));
        }
        let without = order.clone();
        let signed =
            self.run_blinking(&self.queue, BLINK, move |backend| without.carry_out(backend, None)).await;
        match signed {
            Err(refusal) if refusal.reason == Reason::PinRequired => self.sign_with_pin(order, refusal).await,
            signed => signed,
        }
    }

    /// The key takes the PIN for this signature (FAULTS C7): it is taken from its source anew, presented once, and kept
    /// nowhere. One that was wrong before is not tried again by itself.
    async fn sign_with_pin(
        self: &Arc<Self>,
        order: Order,
        wanted: Refusal,
    ) -> Result<SignatureBytes, Refusal> {
        let slot = Arc::clone(self);
        // Whoever asked may go away meanwhile: what came of it is still noted.
        let work = async move {
            let Some(token) = slot.pkcs11.clone().filter(|_| slot.may_unlock_itself().is_some()) else {
                return Err(wanted);
            };
            let _alone = slot.by_itself.lock().await;
            let source = slot.by_itself_from_source().await?;
            let _place = slot.queue.acquire().await.map_err(Refusal::internal)?;
            slot.lapse();
            let pin = Arc::clone(&source.pin);
            let ask = move |token: &Pkcs11Token, _: &Asking| {
                let signed = order.carry_out(token, Some(&pin));
                let spent = match &signed {
                    Ok(_) | Err(BackendError::BadSignature) => Spent::Accepted,
                    Err(error) => Spent::by(error),
                };
                (spent, signed)
            };
            let signed = slot.ask_card(&token, &source.how, ask).await;
            slot.note_presented(source.content, signed.as_ref().err());
            signed
        };
        tokio::spawn(work).await.map_err(Refusal::internal)?
    }
}
