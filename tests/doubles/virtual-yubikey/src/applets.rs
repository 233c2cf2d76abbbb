//! SELECT, and the two small applications beside PIV.

use crate::apdu::{Answer, Command, NO_SUCH_INSTRUCTION, NOT_FOUND};
use crate::card::Powered;
use crate::piv;
use crate::session::Applet;
use crate::tlv::tlv;

const SELECT: u8 = 0xa4;
const PIV: &[u8] = &[0xa0, 0, 0, 3, 8];
const MANAGEMENT: &[u8] = &[0xa0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17];
const OTP: &[u8] = &[0xa0, 0, 0, 5, 0x27, 0x20, 1];

const READ_CONFIGURATION: u8 = 0x1d;
const OTP_REQUEST: u8 = 0x01;

/// One whole command.
pub(crate) fn handle(card: &mut Powered<'_>, command: &Command) -> Answer {
    if command.ins == SELECT && command.p1 == 4 {
        return select(card, &command.data);
    }
    match card.session.applet {
        Applet::Piv => piv::handle(card, command),
        Applet::Management if command.ins == READ_CONFIGURATION => Ok(configuration(card, command.p1)),
        Applet::Otp if (command.ins, command.p1) == (OTP_REQUEST, 0x10) => {
            Ok(card.state.serial.to_be_bytes().to_vec())
        }
        _ => Err(NO_SUCH_INSTRUCTION.into()),
    }
}

/// By the whole name, or by the beginning of that of PIV.
fn select(card: &mut Powered<'_>, name: &[u8]) -> Answer {
    let [major, minor, patch] = card.state.firmware;
    if name.starts_with(PIV) && PIV_WHOLE.starts_with(name) {
        card.session.select(Applet::Piv);
        let authority = tlv(0x79, &tlv(0x4f, PIV));
        return Ok(tlv(0x61, &[tlv(0x4f, &[0, 0, 0x10, 0, 1, 0]), authority].concat()));
    }
    if name == MANAGEMENT {
        card.session.select(Applet::Management);
        return Ok(format!("Virtual mgr - FW version {major}.{minor}.{patch}").into_bytes());
    }
    if name == OTP {
        card.session.select(Applet::Otp);
        return Ok(vec![major, minor, patch, 0, 0, 0]);
    }
    Err(NOT_FOUND.into())
}

const PIV_WHOLE: &[u8] = &[0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0];

/// Serial, version, form; of all applications it has PIV and OTP.
fn configuration(card: &Powered<'_>, page: u8) -> Vec<u8> {
    let has = [0, 0x11];
    let fields = if page == 0 {
        vec![
            tlv(0x01, &has),
            tlv(0x02, &card.state.serial.to_be_bytes()),
            tlv(0x03, &has),
            tlv(0x04, &[1]),
            tlv(0x05, &card.state.firmware),
            tlv(0x0a, &[0]),
        ]
    } else {
        Vec::new()
    };
    let fields = fields.concat();
    [vec![u8::try_from(fields.len()).unwrap_or_default()], fields].concat()
}
