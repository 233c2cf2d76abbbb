//! The PIV application: which instruction is whose, PINs, and what can be read.

mod keys;
mod prove;

use crate::apdu::{
    Answer, CONDITIONS, Command, NO_SUCH_INSTRUCTION, NO_SUCH_KEY, NOT_FOUND, NOT_SATISFIED, Stop,
    WRONG_DATA, WRONG_LENGTH, WRONG_PARAMETERS,
};
use crate::attest;
use crate::card::Powered;
use crate::state::{ATTESTATION_SLOT, Code};
use crate::tlv::{tlv, values};

pub(crate) const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE: u8 = 0x24;
const RESET_RETRY: u8 = 0x2c;
const GENERATE: u8 = 0x47;
const AUTHENTICATE: u8 = 0x87;
const GET_DATA: u8 = 0xcb;
const PUT_DATA: u8 = 0xdb;
const MOVE: u8 = 0xf6;
const METADATA: u8 = 0xf7;
const SERIAL: u8 = 0xf8;
const ATTEST: u8 = 0xf9;
const SET_RETRIES: u8 = 0xfa;
const RESET: u8 = 0xfb;
const VERSION: u8 = 0xfd;
const IMPORT: u8 = 0xfe;
const SET_MANAGEMENT_KEY: u8 = 0xff;

const PIN: u8 = 0x80;
const PUK: u8 = 0x81;
const MANAGEMENT: u8 = 0x9b;

/// Whether an instruction may change what the card keeps.
pub(crate) fn changes(ins: u8) -> bool {
    const CHANGING: [u8; 11] = [
        VERIFY,
        CHANGE_REFERENCE,
        RESET_RETRY,
        GENERATE,
        AUTHENTICATE,
        PUT_DATA,
        MOVE,
        SET_RETRIES,
        RESET,
        IMPORT,
        SET_MANAGEMENT_KEY,
    ];
    CHANGING.contains(&ins)
}

pub(crate) fn handle(card: &mut Powered<'_>, command: &Command) -> Answer {
    match command.ins {
        VERSION => Ok(card.state.firmware.to_vec()),
        SERIAL if card.state.is_since([5, 0, 3]) => Ok(card.state.serial.to_be_bytes().to_vec()),
        VERIFY => verify(card, command),
        CHANGE_REFERENCE => change(card, command),
        RESET_RETRY => unblock(card, command),
        METADATA if card.state.is_since([5, 3, 0]) => metadata(card, command.p2),
        GET_DATA => get_data(card, &command.data),
        PUT_DATA => put_data(card, &command.data),
        AUTHENTICATE if command.p2 == MANAGEMENT => prove::management(card, command),
        AUTHENTICATE => keys::operate(card, command),
        GENERATE => keys::generate(card, command),
        IMPORT => keys::import(card, command),
        MOVE if card.state.is_since([5, 7, 0]) => keys::relocate(card, command),
        ATTEST => attested(card, command.p1),
        SET_MANAGEMENT_KEY => prove::set(card, command),
        SET_RETRIES => set_retries(card, command),
        RESET => reset(card),
        _ => Err(NO_SUCH_INSTRUCTION.into()),
    }
}

fn authenticated(card: &Powered<'_>) -> Result<(), Stop> {
    if card.session.authenticated { Ok(()) } else { Err(NOT_SATISFIED.into()) }
}

fn verify(card: &mut Powered<'_>, command: &Command) -> Answer {
    if command.p2 != PIN {
        return Err(NO_SUCH_KEY.into());
    }
    match (command.p1, command.data.len()) {
        (0xff, 0) => card.session.verified(false),
        (0, 0) if card.session.pin_verified => {}
        (0, 0) => return Err(card.state.pin.refusal().into()),
        (0, 8) => {
            card.state.counters.verifies = card.state.counters.verifies.saturating_add(1);
            let tried = card.state.pin.try_out(&command.data);
            card.session.verified(tried.is_ok());
            tried?;
        }
        (0, _) => return Err(WRONG_LENGTH.into()),
        _ => return Err(WRONG_PARAMETERS.into()),
    }
    Ok(Vec::new())
}

fn change(card: &mut Powered<'_>, command: &Command) -> Answer {
    let code = match command.p2 {
        PIN => &mut card.state.pin,
        PUK => &mut card.state.puk,
        _ => return Err(NO_SUCH_KEY.into()),
    };
    replace(code, &command.data)?;
    card.session.verified(false);
    Ok(Vec::new())
}

/// The old value and the new one, one after another.
fn replace(code: &mut Code, data: &[u8]) -> Result<(), u16> {
    let (old, new) = data.split_at_checked(8).filter(|_| data.len() == 16).ok_or(WRONG_DATA)?;
    code.try_out(old)?;
    code.set(new)
}

fn unblock(card: &mut Powered<'_>, command: &Command) -> Answer {
    let (puk, new) = command.data.split_at_checked(8).ok_or(WRONG_DATA)?;
    if command.p2 != PIN {
        return Err(NO_SUCH_KEY.into());
    }
    card.state.puk.try_out(puk)?;
    card.state.pin.set(new)?;
    card.session.verified(false);
    Ok(Vec::new())
}

fn metadata(card: &Powered<'_>, slot_id: u8) -> Answer {
    let code = |code: &Code| {
        let fields = [tlv(1, &[0xff]), tlv(5, &[code.is_factory().into()]), tlv(6, &[code.total, code.left])];
        Ok(fields.concat())
    };
    match slot_id {
        PIN => code(&card.state.pin),
        PUK => code(&card.state.puk),
        MANAGEMENT => {
            let key = &card.state.management;
            let is_factory = key.is_factory(card.state.firmware);
            let touch = if key.touch { 2 } else { 1 };
            Ok([tlv(1, &[key.algorithm]), tlv(2, &[0, touch]), tlv(5, &[is_factory.into()])].concat())
        }
        _ => {
            let slot = card.state.slots.get(&slot_id).ok_or(NO_SUCH_KEY)?;
            let origin = if slot.generated { 1 } else { 2 };
            let fields = [
                tlv(1, &[slot.key.algorithm()]),
                tlv(2, &[slot.pin_policy, slot.touch_policy]),
                tlv(3, &[origin]),
                tlv(4, &slot.key.public()),
            ];
            Ok(fields.concat())
        }
    }
}

/// Objects that only somebody with the PIN may read: printed information, fingerprints, face, eyes.
const WITH_PIN: [u32; 4] = [0x005f_c109, 0x005f_c103, 0x005f_c108, 0x005f_c121];
const DISCOVERY: [u8; 20] =
    [0x7e, 0x12, 0x4f, 0x0b, 0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0, 0x5f, 0x2f, 2, 0x40, 0];

fn object_id(bytes: &[u8]) -> Option<u32> {
    matches!(bytes.len(), 1..=3).then(|| bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte)))
}

fn get_data(card: &Powered<'_>, data: &[u8]) -> Answer {
    let fields = values(data).ok_or(WRONG_DATA)?;
    let &[(0x5c, id)] = fields.as_slice() else { return Err(WRONG_DATA.into()) };
    let id = object_id(id).ok_or(WRONG_DATA)?;
    if id == 0x7e {
        return Ok(DISCOVERY.to_vec());
    }
    if WITH_PIN.contains(&id) && !card.session.pin_verified {
        return Err(NOT_SATISFIED.into());
    }
    card.state.objects.get(&id).map(|object| tlv(0x53, object)).ok_or(NOT_FOUND.into())
}

fn put_data(card: &mut Powered<'_>, data: &[u8]) -> Answer {
    authenticated(card)?;
    let fields = values(data).ok_or(WRONG_DATA)?;
    let &[(0x5c, id), (0x53, object)] = fields.as_slice() else { return Err(WRONG_DATA.into()) };
    let id = object_id(id).ok_or(WRONG_DATA)?;
    if object.is_empty() {
        card.state.objects.remove(&id);
    } else {
        card.state.objects.insert(id, object.to_vec());
    }
    Ok(Vec::new())
}

fn attested(card: &Powered<'_>, slot_id: u8) -> Answer {
    if !card.state.slots.contains_key(&slot_id) {
        return Err(NO_SUCH_KEY.into());
    }
    if slot_id == ATTESTATION_SLOT {
        return Err(WRONG_DATA.into());
    }
    Ok(attest::attest(card.state, slot_id, card.lies).ok_or(WRONG_DATA)?)
}

fn set_retries(card: &mut Powered<'_>, command: &Command) -> Answer {
    authenticated(card)?;
    if !card.session.pin_verified {
        return Err(NOT_SATISFIED.into());
    }
    if command.p1 == 0 || command.p2 == 0 {
        return Err(WRONG_DATA.into());
    }
    card.state.pin.set_total(command.p1);
    card.state.puk.set_total(command.p2);
    card.session.verified(false);
    Ok(Vec::new())
}

/// Only where nobody can get in any more.
fn reset(card: &mut Powered<'_>) -> Answer {
    if card.state.pin.left > 0 || card.state.puk.left > 0 {
        return Err(CONDITIONS.into());
    }
    card.state.reset();
    let applet = card.session.applet;
    card.session.select(applet);
    Ok(Vec::new())
}
