//! Step three: the caller has seen what was understood and names its digest.

use std::time::Duration;

use ledger::UnderWay;
use policy::Reason;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_request::Part;

use super::asked;
use super::client::Client;
use super::inspected::Inspected;
use crate::awake;
use crate::limits;
use crate::refusal::Refusal;
use crate::state::AppState;

/// A program answers within this time.
const AT_ONCE: Duration = Duration::from_millis(10);

/// A program on this machine that computes nothing more answers within this time.
const BLINK: Duration = Duration::from_micros(200);

/// A request that was confirmed.
pub(super) struct Authorized {
    pub(super) inspected: Inspected,
    // Only this module makes one.
    _private: (),
}

/// Shows what was understood and waits for the digest.
///
/// A program that has computed the digest itself may send it at once: it holds for this content alone. Whoever takes
/// longer than a program is no longer waited for by others that could share a flush with it.
pub(super) async fn confirm(
    agent: &AppState,
    client: &mut Client,
    mut inspected: Inspected,
    under_way: UnderWay,
) -> Result<(Authorized, UnderWay), Refusal> {
    show(client, &inspected).await?;
    let (part, under_way) = {
        let mut next = std::pin::pin!(client.next(limits::CONFIRM));
        let blink = if agent.ledger().is_alone() { BLINK } else { Duration::ZERO };
        match awake::within(blink, next.as_mut()).await {
            Some(part) => (part?, under_way),
            None => match tokio::time::timeout(AT_ONCE, next.as_mut()).await {
                Ok(part) => (part?, under_way),
                Err(_) => {
                    drop(under_way);
                    // A person may read for minutes: what is large and soon made anew is not kept for them.
                    inspected.preimage = None;
                    (next.await?, agent.ledger().under_way())
                }
            },
        }
    };
    let Part::Confirm(confirm) = part else {
        return Err(Refusal::new(Reason::ConfirmationMissing, "what was shown was not confirmed")
            .remedy("send confirm with the digest that inspected gave"));
    };
    let digest = inspected.digest().to_string();
    if confirm.sha256 != digest {
        let message = format!("another digest was confirmed than the one that was shown ({digest})");
        return Err(Refusal::new(Reason::ConfirmationMissing, message)
            .remedy("look at the difference again and confirm its digest")
            .detail("sha256", digest));
    }
    check_person(&inspected, confirm.person)?;
    let mut under_way = under_way;
    if asked::is_asked(&inspected.signers) {
        // Nobody waits for a person, as above.
        drop(under_way);
        inspected.preimage = None;
        asked::ask(agent, client, &mut inspected).await?;
        under_way = agent.ledger().under_way();
    }
    Ok((Authorized { inspected, _private: () }, under_way))
}

/// Tells what was understood, and which keys will not sign.
pub(super) async fn show(client: &Client, inspected: &Inspected) -> Result<(), Refusal> {
    client.tell(Event::Inspected(inspected.describe()?)).await?;
    for skipped in inspected.skipped() {
        client.tell(Event::Skipped(skipped.clone())).await?;
    }
    Ok(())
}

/// Some things a person says, and no program in a person's place (DESIGN section 4, rule 3).
fn check_person(inspected: &Inspected, said: bool) -> Result<(), Refusal> {
    let Some((reason, concern)) = inspected.person.first().filter(|_| !said) else { return Ok(()) };
    Err(Refusal::new(*reason, format!("{concern}; no person has said yes to it"))
        .remedy("look at it on a terminal: tufctl sign DIR")
        .detail("role", inspected.role.to_string())
        .detail("version", inspected.subject.version().get()))
}
