//! Step three: the caller has seen what was understood and names its digest.

use policy::Reason;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_request::Part;

use super::client::Client;
use super::inspected::Inspected;
use crate::limits;
use crate::refusal::Refusal;

/// A request that was confirmed.
pub(super) struct Authorized {
    pub(super) inspected: Inspected,
    // Only this module makes one.
    _private: (),
}

/// Shows what was understood and waits for the digest.
pub(super) async fn confirm(client: &mut Client, inspected: Inspected) -> Result<Authorized, Refusal> {
    client.tell(Event::Inspected(inspected.describe())).await?;
    for skipped in inspected.skipped() {
        client.tell(Event::Skipped(skipped.clone())).await?;
    }
    let Part::Confirm(confirm) = client.next(limits::CONFIRM).await? else {
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
    Ok(Authorized { inspected, _private: () })
}
