//! Step five: the token has signed, and the signature was verified in software.

use std::time::Duration;

use tuf::key::SignatureBytes;
use tufagent_proto::v1::SignWaiting;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_waiting::For;

use super::client::{Client, cancelled};
use super::recorded::Recorded;
use super::signers::Signer;
use crate::refusal::Refusal;
use crate::tokens::Typed;

/// A token that answers within this time is not worth a word.
const NOTICE: Duration = Duration::from_millis(300);

/// One verified signature that has not left yet.
pub(super) struct Signed {
    signer: Signer,
    signature: SignatureBytes,
    // Only this module makes one.
    _private: (),
}

impl Signed {
    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(super) fn signature(&self) -> &SignatureBytes {
        &self.signature
    }
}

/// Lets the token sign; says so when it takes a while; a client that goes away ends the wait.
pub(super) async fn sign(
    client: &Client,
    recorded: &Recorded,
    mut signer: Signer,
) -> Result<Signed, (Signer, Refusal)> {
    let typed = signer.typed.take();
    let made = {
        let mut making = std::pin::pin!(make(recorded, &signer, typed));
        tokio::select! {
            made = &mut making => made,
            gone = wait_aloud(client, &signer) => Err(gone),
        }
    };
    match made {
        Ok(signature) => Ok(Signed { signer, signature, _private: () }),
        Err(refusal) => Err((signer, refusal)),
    }
}

/// Tells the client what it waits for, if it waits at all; ends when the client has gone.
async fn wait_aloud(client: &Client, signer: &Signer) -> Refusal {
    tokio::select! {
        () = tokio::time::sleep(NOTICE) => {}
        () = client.gone() => return cancelled("the caller has gone"),
    }
    let waiting = SignWaiting {
        what: For::Token.into(),
        key: signer.key.name.clone(),
        token: signer.key.slot.name().to_owned(),
    };
    if let Err(refusal) = client.tell(Event::Waiting(waiting)).await {
        return refusal;
    }
    client.gone().await;
    cancelled("the caller has gone")
}

/// The token signs, and the signature is verified against this very public key and scheme before it comes out.
async fn make(recorded: &Recorded, signer: &Signer, typed: Option<Typed>) -> Result<SignatureBytes, Refusal> {
    let (slot, public) = (&signer.key.slot, &signer.key.stored.public);
    // The token may have locked itself while a person was reading.
    slot.ensure_usable().await?;
    match typed {
        None => slot.sign(public, signer.scheme, recorded.subject()).await,
        Some(typed) => slot.sign_typed(public, signer.scheme, recorded.subject(), typed).await,
    }
}
