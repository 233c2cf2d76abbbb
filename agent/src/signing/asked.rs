//! Between confirmation and intent: what people are asked, by pinentry or through the client (DESIGN section 3), and the
//! shares of a split key.
//!
//! A PIN that was not given, a no, or a share too few must not leave an intent behind: it would count as signed.

use policy::Reason;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_request::Part;
use tufagent_proto::v1::sign_waiting::For;
use tufagent_proto::v1::{SignAsk, SignCollect, SignWaiting};

use super::client::{Client, cancelled};
use super::inspected::Inspected;
use super::signers::{Signer, skipped_event};
use crate::config::PinSource;
use crate::limits;
use crate::refusal::{Refusal, plain};
use crate::split::{self, Gathered, Subject};
use crate::state::AppState;
use crate::tokens::{Attempt, Purpose, Typed};

/// Asks for each key; those for which the answer is no are left out, and the last of them ends the call.
pub(super) async fn ask(
    agent: &AppState,
    client: &mut Client,
    inspected: &mut Inspected,
) -> Result<(), Refusal> {
    let mut kept = Vec::with_capacity(inspected.signers.len());
    let (mut first, mut said_no) = (None, Vec::new());
    for mut signer in std::mem::take(&mut inspected.signers) {
        let asked = match said_before(&said_no, &signer) {
            Some(refusal) => Err(refusal),
            None => one(agent, client, inspected, &mut signer).await,
        };
        match asked {
            Ok(()) => kept.push(signer),
            Err(refusal) => {
                said_no.push((signer.key.slot.name().to_owned(), refusal.clone()));
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

/// What came of asking for the PIN of this key's token, or for a yes to it, for the key before: nobody is asked again at once.
fn said_before(said_no: &[(String, Refusal)], signer: &Signer) -> Option<Refusal> {
    let slot = &signer.key.slot;
    if !is_asked_by_pinentry(signer) {
        return None;
    }
    // Unlocked, it is for each key that its PIN is asked for.
    let still = |refusal: &Refusal| {
        refusal.reason == Reason::ConfirmationMissing
            || slot.state() == backend::TokenState::Locked && !slot.signs_locked(&signer.key.stored)
    };
    let before = said_no.iter().find(|(token, refusal)| token == slot.name() && still(refusal));
    before.map(|(_, refusal)| refusal.clone())
}

/// Whether anybody is asked for one of these keys.
pub(super) fn is_asked(signers: &[Signer]) -> bool {
    let asks =
        |signer: &Signer| signer.pin_each_time || signer.key.slot.is_split() || is_asked_by_pinentry(signer);
    signers.iter().any(asks)
}

/// Finds out which keys take the PIN for each signature from a person, as far as their tokens tell now.
pub(super) async fn look(signers: &mut [Signer]) -> bool {
    for signer in signers.iter_mut() {
        let asks = signer.key.slot.asks_for_each_signature(&signer.key.stored.public).await;
        // A token that does not answer says so when it is to sign.
        signer.pin_each_time = asks.unwrap_or(false);
    }
    signers.iter().any(|signer| signer.pin_each_time)
}

fn is_asked_by_pinentry(signer: &Signer) -> bool {
    let config = signer.key.slot.config();
    config.confirm.is_some() || matches!(config.pin, PinSource::Pinentry(_))
}

/// The name of a role, cut where it is so long that the digest would not fit beside it (FAULTS E5).
fn shown(role: &str) -> String {
    let plain = plain(role);
    match plain.char_indices().nth(MOST_OF_NAME) {
        Some((end, _)) => format!("{}\u{2026}", plain.get(..end).unwrap_or_default()),
        None => plain.into_owned(),
    }
}

/// Characters of a role's name in a dialogue.
const MOST_OF_NAME: usize = 120;

async fn one(
    agent: &AppState,
    client: &mut Client,
    inspected: &Inspected,
    signer: &mut Signer,
) -> Result<(), Refusal> {
    if is_asked_by_pinentry(signer) {
        let asking = by_pinentry(client, inspected, signer);
        signer.typed = tokio::select! {
            asked = asking => asked?,
            () = client.gone() => return Err(cancelled("the caller has gone")),
        };
    }
    if signer.pin_each_time && signer.typed.is_none() {
        signer.typed = Some(by_client(client, inspected, signer).await?);
    }
    if signer.key.slot.is_split() {
        signer.gathered = Some(by_custodians(agent, client, inspected, signer).await?);
    }
    Ok(())
}

/// Enough shares, given for exactly this content.
async fn by_custodians(
    agent: &AppState,
    client: &Client,
    inspected: &Inspected,
    signer: &Signer,
) -> Result<Gathered, Refusal> {
    let subject = Subject {
        purpose: split::Purpose::Sign,
        sha256: inspected.digest(),
        repository: inspected.record.name.to_string(),
        role: inspected.role.to_string(),
        version: inspected.subject.version().get(),
        difference_json: inspected.difference_json()?,
        terms_json: String::new(),
        warnings: inspected.warnings.clone(),
        root: inspected.record.root,
    };
    let tell = |collection| client.tell(Event::Collect(SignCollect { collection: Some(collection) }));
    let gone = || async {
        client.gone().await;
        cancelled("the caller has gone; all shares that were given are wiped")
    };
    split::gather_for(agent, client.connection(), &signer.key, subject, tell, gone).await
}

/// A yes, the PIN that unlocks the token, and the PIN for this signature, as far as each is wanted.
async fn by_pinentry(
    client: &Client,
    inspected: &Inspected,
    signer: &Signer,
) -> Result<Option<Typed>, Refusal> {
    let (slot, peer) = (&signer.key.slot, client.connection().peer());
    let text = format!(
        "{} version {} of {}\nkey {}\nsha256 {}",
        shown(inspected.role.as_str()),
        inspected.subject.version(),
        plain(inspected.record.name.as_str()),
        signer.key.name,
        inspected.digest()
    );
    let purpose = Purpose { text, terminal: peer.terminal(), user: peer.uid, caller: peer.journal_json() };
    let waiting = |what: For| {
        let (key, token) = (signer.key.name.clone(), slot.name().to_owned());
        client.tell(Event::Waiting(SignWaiting { what: what.into(), key, token, ..SignWaiting::default() }))
    };
    if slot.config().confirm.is_some() {
        waiting(For::Confirmation).await?;
        slot.confirm_by_person(&purpose, &inspected.warnings).await?;
    }
    // A key that takes no PIN, or takes it with the signature, wants none before.
    let stored = &signer.key.stored;
    if !(slot.signs_locked(stored) || slot.unlocks_with_signature(stored)) {
        if slot.state() == backend::TokenState::Locked {
            waiting(For::Pin).await?;
        }
        slot.ensure_usable_for(&purpose).await?;
    }
    // Of a token that was locked nobody knew before.
    if !slot.asks_for_each_signature(&signer.key.stored.public).await? {
        return Ok(None);
    }
    if matches!(slot.config().pin, PinSource::Pinentry(_)) {
        waiting(For::Pin).await?;
    }
    slot.ask_for_signature(&purpose).await
}

/// The client has a person type it.
async fn by_client(client: &mut Client, inspected: &Inspected, signer: &Signer) -> Result<Typed, Refusal> {
    let (slot, name) = (&signer.key.slot, signer.key.name.as_str());
    let missing = |why: &str| {
        Refusal::new(Reason::PinRequired, format!("token {}: {name} takes the PIN for each signature, and {why}", slot.name()))
            .remedy(
                "sign at a terminal: tufctl sign DIR asks for it there; for signatures without a person give the token a `pin` \
                 in the configuration from which the agent can take it",
            )
            .detail("token", slot.name())
    };
    if !inspected.client_asks {
        return Err(missing("nobody is there to type it"));
    }
    let peer = client.connection().peer();
    let (user, caller) = (peer.uid, peer.journal_json());
    let since = slot.now();
    slot.not_too_early(user)?;
    slot.look_before_asking(false).await?;
    let token = slot.describe();
    let serial = token.serial.clone();
    client.tell(Event::Ask(SignAsk { key: name.to_owned(), token: Some(token) })).await?;
    let Part::Pin(pin) = client.next(limits::CONFIRM).await? else {
        return Err(missing("something else was sent than the PIN that was asked for"));
    };
    let sealed = pin.secret.ok_or_else(|| missing("nothing was typed"))?;
    let purpose = format!("sign:{}:{}", slot.name(), inspected.digest());
    let secret = client.connection().seal().open(&sealed, &purpose)?;
    Ok(Typed { secret, attempt: Attempt { serial, since, user, caller, ..Attempt::default() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_a_role_is_cut_and_leaves_room_for_the_digest() {
        assert_eq!(shown("targets"), "targets");
        let hostile = "\u{202e}".repeat(83);
        assert_eq!(shown(&hostile).chars().count(), MOST_OF_NAME + 1);
        assert!(shown(&hostile).starts_with("\\u{202e}"));
    }
}
