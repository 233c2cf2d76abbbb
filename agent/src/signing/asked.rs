//! Between confirmation and intent: what the agent itself asks a person, by pinentry (DESIGN section 3).
//!
//! A PIN that was not given, or a no, must not leave an intent behind: it would count as signed.

use tufagent_proto::v1::SignWaiting;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_waiting::For;

use super::client::{Client, cancelled};
use super::inspected::Inspected;
use super::signers::{Signer, skipped_event};
use crate::config::PinSource;
use crate::refusal::{Refusal, plain};
use crate::tokens::Purpose;

/// Asks for each key; those for which the answer is no are left out, and the last of them ends the call.
pub(super) async fn ask(client: &Client, inspected: &mut Inspected) -> Result<(), Refusal> {
    let mut kept = Vec::with_capacity(inspected.signers.len());
    let mut first = None;
    for signer in std::mem::take(&mut inspected.signers) {
        if !is_asked_for(&signer) {
            kept.push(signer);
            continue;
        }
        match one(client, inspected, &signer).await {
            Ok(()) => kept.push(signer),
            Err(refusal) => {
                client.tell(Event::Skipped(skipped_event(&signer, &refusal))).await?;
                first.get_or_insert(refusal.detail("key", signer.key.name.as_str()));
            }
        }
    }
    inspected.signers = kept;
    match first {
        Some(refusal) if inspected.signers.is_empty() => Err(refusal),
        _ => Ok(()),
    }
}

fn is_asked_for(signer: &Signer) -> bool {
    let config = signer.key.slot.config();
    config.confirm.is_some() || matches!(config.pin, PinSource::Pinentry(_))
}

async fn one(client: &Client, inspected: &Inspected, signer: &Signer) -> Result<(), Refusal> {
    let (slot, peer) = (&signer.key.slot, client.connection().peer());
    let text = format!(
        "{} version {} of {}\nkey {}\nsha256 {}",
        plain(inspected.role.as_str()),
        inspected.subject.version(),
        plain(inspected.record.name.as_str()),
        signer.key.name,
        inspected.digest()
    );
    let purpose = Purpose { text, terminal: peer.terminal(), user: peer.uid, caller: peer.journal_json() };
    let waiting = |what: For| {
        let (key, token) = (signer.key.name.clone(), slot.name().to_owned());
        client.tell(Event::Waiting(SignWaiting { what: what.into(), key, token }))
    };
    let asking = async {
        if slot.config().confirm.is_some() {
            waiting(For::Confirmation).await?;
            slot.confirm_by_person(&purpose).await?;
        }
        if slot.state() == backend::TokenState::Locked {
            waiting(For::Pin).await?;
        }
        slot.ensure_usable_for(&purpose).await
    };
    tokio::select! {
        asked = asking => asked,
        () = client.gone() => Err(cancelled("the caller has gone")),
    }
}
