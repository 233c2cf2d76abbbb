//! What the certificate of a slot's key says, in the extensions that Yubico has published for it.

use der::Decode as _;
use der::oid::ObjectIdentifier;

use super::certificate::Certificate;
use super::{AttestationError, Firmware};
use crate::card::{PinPolicy, SlotId, Touch};

const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
const FORM: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.9");

/// What the card calls the subject, before the slot. Its other applications attest by keys of the same root.
const SUBJECT: &str = "YubiKey PIV Attestation ";

/// What it says.
pub(super) struct Said {
    pub(super) firmware: Firmware,
    pub(super) serial: u32,
    pub(super) pin_policy: PinPolicy,
    pub(super) touch_policy: Touch,
    pub(super) form: Option<String>,
}

/// The slot that it is of.
pub(super) fn slot(statement: &Certificate) -> Result<SlotId, AttestationError> {
    let slot = statement.common_name().and_then(|name| name.strip_prefix(SUBJECT)?.parse().ok());
    slot.ok_or_else(|| AttestationError::NotAnAttestation { subject: statement.subject() })
}

pub(super) fn read(statement: &Certificate) -> Result<Said, AttestationError> {
    let odd = |what, why: &str| AttestationError::Extension { what, why: why.to_owned() };
    let required = |oid, what| statement.extension(oid).ok_or_else(|| odd(what, "it says nothing"));
    let firmware = match required(FIRMWARE, "firmware")? {
        &[major, minor, patch] => Firmware { major, minor, patch },
        _ => return Err(odd("firmware", "it is not of three bytes")),
    };
    let serial = u32::from_der(required(SERIAL, "serial number")?)
        .map_err(|_| odd("serial number", "it is no number of 32 bits"))?;
    let &[pin, touch] = required(POLICY, "PIN and touch policy")? else {
        return Err(odd("PIN and touch policy", "it is not of two bytes"));
    };
    let unknown = |what, byte: u8| odd(what, &format!("there is no policy {byte:02x}"));
    let form = match statement.extension(FORM) {
        None => None,
        Some(&[byte]) => Some(form(byte)),
        Some(_) => return Err(odd("form", "it is not of one byte")),
    };
    Ok(Said {
        firmware,
        serial,
        pin_policy: pin_policy(pin).ok_or_else(|| unknown("PIN policy", pin))?,
        touch_policy: touch_policy(touch).ok_or_else(|| unknown("touch policy", touch))?,
        form,
    })
}

fn pin_policy(byte: u8) -> Option<PinPolicy> {
    Some(match byte {
        1 => PinPolicy::Never,
        2 => PinPolicy::Once,
        3 => PinPolicy::Always,
        _ => return None,
    })
}

fn touch_policy(byte: u8) -> Option<Touch> {
    Some(match byte {
        1 => Touch::Never,
        2 => Touch::Always,
        3 => Touch::Cached,
        _ => return None,
    })
}

/// The make: the highest bit says that it is one of the FIPS series.
fn form(byte: u8) -> String {
    let make = match byte & 0x0f {
        1 => "USB-A keychain",
        2 => "USB-A nano",
        3 => "USB-C keychain",
        4 => "USB-C nano",
        5 => "USB-C and Lightning",
        6 => "USB-A with fingerprint reader",
        7 => "USB-C with fingerprint reader",
        _ => "unknown form",
    };
    if byte & 0x80 == 0 { make.to_owned() } else { format!("{make}, FIPS") }
}
