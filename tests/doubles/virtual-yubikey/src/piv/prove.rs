//! Proving by the management key, on both sides, and changing it.

use super::authenticated;
use crate::apdu::{Answer, Command, NOT_SATISFIED, WRONG_DATA, WRONG_PARAMETERS};
use crate::card::Powered;
use crate::mgm::ManagementKey;
use crate::random::random;
use crate::tlv::{tlv, value, values};

/// The four forms of a general authentication with 9B.
pub(super) fn management(card: &mut Powered<'_>, command: &Command) -> Answer {
    let key = card.state.management.clone();
    if command.p1 != key.algorithm && command.p1 != 0 {
        return Err(WRONG_PARAMETERS.into());
    }
    let template = value(&command.data, 0x7c).ok_or(WRONG_DATA)?;
    let fields = values(template).ok_or(WRONG_DATA)?;
    let field = |tag| fields.iter().find(|(it, _)| *it == tag).map(|(_, value)| *value);
    match (field(0x80), field(0x81), field(0x82)) {
        (Some([]), _, _) => {
            let witness = random(key.block_len());
            let sealed = key.encrypt(&witness).ok_or(WRONG_DATA)?;
            (card.session.witness, card.session.challenge) = (Some(witness), None);
            Ok(tlv(0x7c, &tlv(0x80, &sealed)))
        }
        (Some(witness), challenge, _) => {
            check(card, &key, card.session.witness.as_deref() == Some(witness))?;
            let Some(challenge) = challenge else { return Ok(Vec::new()) };
            let answer = key.encrypt(challenge).ok_or(WRONG_DATA)?;
            Ok(tlv(0x7c, &tlv(0x82, &answer)))
        }
        (None, Some([]), _) => {
            let challenge = random(key.block_len());
            (card.session.witness, card.session.challenge) = (None, Some(challenge.clone()));
            Ok(tlv(0x7c, &tlv(0x81, &challenge)))
        }
        (None, None, Some(answer)) => {
            let expected = card.session.challenge.as_ref().and_then(|challenge| key.encrypt(challenge));
            check(card, &key, expected.as_deref() == Some(answer))?;
            Ok(Vec::new())
        }
        _ => Err(WRONG_DATA.into()),
    }
}

/// One try for each witness or challenge, right or wrong.
fn check(card: &mut Powered<'_>, key: &ManagementKey, is_right: bool) -> Result<(), crate::apdu::Stop> {
    if is_right && key.touch {
        card.session.check_touch(2)?;
    }
    (card.session.witness, card.session.challenge) = (None, None);
    card.state.counters.authentications = card.state.counters.authentications.saturating_add(1);
    card.session.authenticated = is_right;
    if is_right { Ok(()) } else { Err(NOT_SATISFIED.into()) }
}

pub(super) fn set(card: &mut Powered<'_>, command: &Command) -> Answer {
    authenticated(card)?;
    let touch = match (command.p1, command.p2) {
        (0xff, 0xff) => false,
        (0xff, 0xfe) => true,
        _ => return Err(WRONG_PARAMETERS.into()),
    };
    let (algorithm, rest) = command.data.split_first().ok_or(WRONG_DATA)?;
    let key = value(rest, 0x9b).ok_or(WRONG_DATA)?;
    let key = ManagementKey::new(*algorithm, key, touch, card.state.firmware).ok_or(WRONG_DATA)?;
    card.state.management = key;
    Ok(Vec::new())
}
