//! The way of one signature (DESIGN section 3).
//!
//! Duty: from what a client sends to a signature that may leave. Trust: nothing that the client says; what it
//! sent is parsed here, and `tuf` alone builds what can be signed.
//! Invariants: each step takes what the step before gave, and only that step can make it: `Received`,
//! `Inspected`, `Authorized`, `Recorded`, `Signed`. No signature exists before its intent is durable, and none
//! leaves unverified or to a caller that is gone.

mod asked;
mod authorized;
mod client;
mod elsewhere;
mod inspected;
mod length;
mod origin;
mod proven;
mod received;
mod recorded;
mod signed;
mod signers;

pub use client::{Client, Requests};
pub(crate) use origin::{may_serve, possessed};

use tufagent_proto::v1::SignBegin;

use crate::refusal::Refusal;
use crate::state::AppState;

/// Signs one role's metadata with every key that was asked for, as far as each can.
///
/// # Errors
/// The refusal of the step that said no. Signatures that left before are journalled as signed.
pub async fn sign(agent: &AppState, client: &mut Client, begin: SignBegin) -> Result<(), Refusal> {
    let looks = begin.look;
    // caller (at the door) -> limits
    let received = received::receive(agent, client, begin).await?;
    // Many that are under way share a flush.
    let under_way = agent.ledger().under_way();
    // parse -> which repository, role, key? -> watermark -> policy
    let inspected = inspected::inspect(agent, received).await?;
    if looks {
        return authorized::show(client, &inspected).await;
    }
    // what was understood is shown; confirmation
    let (authorized, _under_way) = authorized::confirm(agent, client, inspected, under_way).await?;
    // intent, durable; the watermark is judged in the same transaction
    let mut recorded = recorded::record(agent, client, authorized).await?;
    while let Some(signer) = recorded.next_signer() {
        // PIN and touch -> token signs -> verified in software
        let signed = signed::sign(agent, client, &recorded, signer).await;
        // caller asked again -> reply
        recorded.release(agent, client, signed).await;
    }
    // outcome joins the next commit
    recorded.close(agent)
}
