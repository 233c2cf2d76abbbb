//! Step five: the token has signed, and the signature was verified in software.

use std::sync::Arc;
use std::time::Duration;

use backend::card::Touch;
use tuf::key::SignatureBytes;
use tufagent_proto::v1::SignWaiting;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_waiting::For;

use super::client::{Client, cancelled};
use super::recorded::Recorded;
use super::signers::Signer;
use crate::refusal::Refusal;
use crate::split::{self, Gathered};
use crate::state::AppState;
use crate::tokens::{Turn, Typed};

/// A token that answers within this time is not worth a word.
const NOTICE: Duration = Duration::from_millis(300);

/// A card tells nobody that it waits for a touch: one that should have signed by now does.
const UNTOUCHED: Duration = Duration::from_millis(120);

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
    agent: &AppState,
    client: &Client,
    recorded: &Recorded,
    mut signer: Signer,
) -> Result<Signed, (Signer, Refusal)> {
    let (typed, gathered) = (signer.typed.take(), signer.gathered.take());
    let turn = Arc::default();
    let made = {
        let mut making = std::pin::pin!(make(agent, recorded, &signer, typed, gathered, &turn));
        tokio::select! {
            made = &mut making => made,
            gone = wait_aloud(client, recorded, &signer, &turn) => Err(gone),
        }
    };
    match made {
        Ok(signature) => Ok(Signed { signer, signature, _private: () }),
        Err(refusal) => Err((signer, refusal)),
    }
}

/// Tells the client what it waits for, if it waits at all; ends when the client has gone.
async fn wait_aloud(client: &Client, recorded: &Recorded, signer: &Signer, turn: &Turn) -> Refusal {
    let told = async {
        let mut came = std::pin::pin!(turn.come());
        let touch = wants_touch(signer);
        if touch && tokio::time::timeout(NOTICE, came.as_mut()).await.is_ok() {
            tokio::time::sleep(UNTOUCHED).await;
            return client.tell(Event::Waiting(waiting(recorded, signer, For::Touch))).await;
        }
        if !touch {
            tokio::time::sleep(NOTICE).await;
        }
        client.tell(Event::Waiting(waiting(recorded, signer, For::Token))).await?;
        if touch {
            // Others came first: nobody is to touch it for them on this one's word.
            came.await;
            tokio::time::sleep(UNTOUCHED).await;
            client.tell(Event::Waiting(waiting(recorded, signer, For::Touch))).await?;
        }
        Ok(())
    };
    let told = tokio::select! {
        told = told => told,
        () = client.gone() => return cancelled("the caller has gone"),
    };
    if let Err(refusal) = told {
        return refusal;
    }
    client.gone().await;
    cancelled("the caller has gone")
}

fn wants_touch(signer: &Signer) -> bool {
    signer.key.stored.place.is_some_and(|place| place.touch != Touch::Never)
}

/// What is waited for, and of a touch what it is given for.
fn waiting(recorded: &Recorded, signer: &Signer, what: For) -> SignWaiting {
    let slot = &signer.key.slot;
    let waiting = SignWaiting {
        what: what.into(),
        key: signer.key.name.clone(),
        token: slot.name().to_owned(),
        ..SignWaiting::default()
    };
    if what != For::Touch {
        return waiting;
    }
    let subject = recorded.subject();
    SignWaiting {
        serial: slot.describe().serial.unwrap_or_default(),
        role: recorded.role().to_string(),
        version: subject.version().get(),
        sha256: subject.digest().to_string(),
        ..waiting
    }
}

/// The token signs, and the signature is verified against this very public key and scheme before it comes out.
async fn make(
    agent: &AppState,
    recorded: &Recorded,
    signer: &Signer,
    typed: Option<Typed>,
    gathered: Option<Gathered>,
    turn: &Arc<Turn>,
) -> Result<SignatureBytes, Refusal> {
    let (slot, public) = (&signer.key.slot, &signer.key.stored.public);
    if let Some(gathered) = gathered {
        return split::sign(agent, &signer.key, signer.scheme, recorded.subject(), gathered).await;
    }
    // The token may have locked itself while a person was reading.
    let stored = &signer.key.stored;
    if !(slot.signs_locked(stored) || typed.is_some() && slot.unlocks_with_signature(stored)) {
        slot.ensure_usable().await?;
    }
    let made = match typed {
        None => slot.sign(public, signer.scheme, recorded.subject(), turn).await,
        Some(typed) => slot.sign_typed(public, signer.scheme, recorded.subject(), typed, turn).await,
    };
    let made = made.map_err(|refusal| signer.key.missed(refusal))?;
    // It was verified by this public key.
    slot.note_proof(public);
    Ok(made)
}
