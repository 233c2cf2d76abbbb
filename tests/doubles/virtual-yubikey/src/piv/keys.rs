//! Keys in slots: made, imported, moved, used.

use super::authenticated;
use crate::apdu::{Answer, Command, NO_SUCH_KEY, NOT_SUPPORTED, WRONG_DATA, WRONG_PARAMETERS};
use crate::card::Powered;
use crate::key::{self, Key};
use crate::session::{PIN_ALWAYS, PIN_NEVER, TOUCH_NEVER};
use crate::state::{ATTESTATION_SLOT, Slot, State};
use crate::tlv::{tlv, value, values};

const TEMPLATE: u16 = 0x7c;
const PIN_POLICY: u16 = 0xaa;
const TOUCH_POLICY: u16 = 0xab;

pub(super) fn generate(card: &mut Powered<'_>, command: &Command) -> Answer {
    authenticated(card)?;
    is_for_keys(command.p2)?;
    let template = value(&command.data, 0xac).ok_or(WRONG_DATA)?;
    let Some(&[algorithm]) = value(template, 0x80) else { return Err(WRONG_DATA.into()) };
    is_known(card.state, algorithm)?;
    let (pin_policy, touch_policy) = policies(command.p2, template)?;
    let key = Key::generate(algorithm).ok_or(WRONG_DATA)?;
    let public = tlv(0x7f49, &key.public());
    card.state.slots.insert(command.p2, Slot { key, pin_policy, touch_policy, generated: true });
    Ok(public)
}

pub(super) fn import(card: &mut Powered<'_>, command: &Command) -> Answer {
    authenticated(card)?;
    is_for_keys(command.p2)?;
    let algorithm = command.p1;
    is_known(card.state, algorithm)?;
    let part = |tag| value(&command.data, tag).ok_or(WRONG_DATA);
    let key = match algorithm {
        key::P256 | key::P384 => Key::import(algorithm, part(0x06)?),
        key::ED25519 => Key::import(algorithm, part(0x07)?),
        _ => Key::import_rsa(algorithm, part(0x01)?, part(0x02)?),
    };
    let key = key.ok_or(WRONG_DATA)?;
    let (pin_policy, touch_policy) = policies(command.p2, &command.data)?;
    card.state.slots.insert(command.p2, Slot { key, pin_policy, touch_policy, generated: false });
    Ok(Vec::new())
}

/// To another slot, or nowhere.
pub(super) fn relocate(card: &mut Powered<'_>, command: &Command) -> Answer {
    authenticated(card)?;
    let (to, from) = (command.p1, command.p2);
    is_for_keys(from)?;
    if to != 0xff {
        is_for_keys(to)?;
        if card.state.slots.contains_key(&to) {
            return Err(WRONG_DATA.into());
        }
    }
    let slot = card.state.slots.remove(&from).ok_or(NO_SUCH_KEY)?;
    if to != 0xff {
        card.state.slots.insert(to, slot);
    }
    Ok(Vec::new())
}

pub(super) fn operate(card: &mut Powered<'_>, command: &Command) -> Answer {
    let slot = card.state.slots.get(&command.p2).ok_or(NO_SUCH_KEY)?;
    if slot.key.algorithm() != command.p1 || command.p2 == ATTESTATION_SLOT {
        return Err(WRONG_PARAMETERS.into());
    }
    let template = value(&command.data, TEMPLATE).ok_or(WRONG_DATA)?;
    let fields = values(template).ok_or(WRONG_DATA)?;
    if fields.iter().any(|(tag, _)| *tag == 0x85) {
        // No key agreement here.
        return Err(NOT_SUPPORTED.into());
    }
    let input = fields.iter().find(|(tag, _)| *tag == 0x81).ok_or(WRONG_DATA)?.1;
    card.session.check_pin(slot.pin_policy)?;
    card.session.check_touch(slot.touch_policy)?;
    let result = slot.key.operate(input).ok_or(WRONG_DATA)?;
    card.session.pin_fresh = false;
    card.state.counters.signatures = card.state.counters.signatures.saturating_add(1);
    Ok(tlv(TEMPLATE, &tlv(0x82, &result)))
}

fn is_for_keys(slot: u8) -> Result<(), u16> {
    if matches!(slot, 0x82..=0x95 | 0x9a | 0x9c..=0x9e | ATTESTATION_SLOT) {
        Ok(())
    } else {
        Err(WRONG_PARAMETERS)
    }
}

/// Long RSA keys and Edwards curves came with 5.7.
fn is_known(state: &State, algorithm: u8) -> Result<(), u16> {
    let is_known = match algorithm {
        key::P256 | key::P384 | key::RSA2048 => true,
        key::ED25519 | key::RSA3072 | key::RSA4096 => state.is_since([5, 7, 0]),
        _ => false,
    };
    if is_known { Ok(()) } else { Err(WRONG_DATA) }
}

/// As they are asked for, or as the slot has them.
fn policies(slot: u8, fields: &[u8]) -> Result<(u8, u8), u16> {
    let asked = |tag| match value(fields, tag) {
        None | Some([0]) => Ok(None),
        Some(&[policy @ 1..=3]) => Ok(Some(policy)),
        Some(_) => Err(WRONG_DATA),
    };
    let usual = match slot {
        0x9c => PIN_ALWAYS,
        0x9e => PIN_NEVER,
        _ => 2,
    };
    Ok((asked(PIN_POLICY)?.unwrap_or(usual), asked(TOUCH_POLICY)?.unwrap_or(TOUCH_NEVER)))
}
