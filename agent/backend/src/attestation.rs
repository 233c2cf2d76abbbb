//! What a YubiKey says of a key in one of its slots, and whether it may be believed (FAULTS D9).
//!
//! Duty: from the certificate that the card makes for a slot's key, and that of the card's own attestation key (slot
//! F9), to who made the card, which card it is, and by what rules it uses the key. Pure: no card, no file, no clock.
//! Trust: the roots alone; each byte that a card gives may be a lie. Invariants: what comes out of [`check`] was signed,
//! link by link, by one of the roots, and is of the very key, slot and serial number that were asked about.
//!
//! Certificates are judged without a clock. The card copies the dates of its own certificate, which Yubico ends in 2052
//! or in the year 9999; they say nothing of the key, and a machine whose clock is wrong, as one that is kept off line
//! may well be, must come to the same answer.

mod certificate;
mod path;
mod roots;
mod statement;
#[cfg(test)]
mod tests;

use std::fmt;

use tuf::key::PublicKey;

use crate::card::{PinPolicy, SlotId, Touch};

pub use roots::{Roots, RootsError};

use certificate::Certificate;

/// What a card gives when it is asked for the attestation of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The slot in which the key was found.
    pub slot: SlotId,
    /// The serial number that the card gives when it is asked outside of any certificate.
    pub serial: u32,
    /// The certificate that the card made for the slot's key, DER.
    pub statement: Vec<u8>,
    /// The certificate of its attestation key, read from slot F9, DER.
    pub authority: Vec<u8>,
}

impl Given {
    /// The two certificates in PEM.
    #[must_use]
    pub fn to_pem(&self) -> Vec<String> {
        let pem = |der: &Vec<u8>| der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der);
        // Only a text of absurd length cannot be written.
        [&self.statement, &self.authority].into_iter().filter_map(|der| pem(der).ok()).collect()
    }
}

/// What is known of a key whose attestation is good. That there is one says that the key was made on the card: of a key
/// that was brought there it makes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The card's serial number.
    pub serial: u32,
    /// The card's firmware when it made the statement.
    pub firmware: Firmware,
    /// The slot of the key.
    pub slot: SlotId,
    /// When the key asks for the PIN.
    pub pin_policy: PinPolicy,
    /// When the key asks for a touch.
    pub touch_policy: Touch,
    /// The make of the card, for people; older firmware does not tell.
    pub form: Option<String>,
    /// The name of the root at which the chain ends.
    pub root: String,
}

/// A version of firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firmware {
    /// First number.
    pub major: u8,
    /// Second number.
    pub minor: u8,
    /// Third number.
    pub patch: u8,
}

impl Firmware {
    /// From `5.7.1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let &[major, minor, patch] = parts.as_slice() else { return None };
        Some(Self { major, minor, patch })
    }

    /// What its maker has published about this firmware that owners of ECDSA keys must know.
    #[must_use]
    pub fn advisory(self) -> Option<String> {
        ((self.major, self.minor) < (5, 7)).then(|| {
            format!(
                "firmware {self} has the flaw of Yubico's advisory YSA-2024-03: whoever holds the device for a while, \
                 knows the PIN and has laboratory equipment can work out an ECDSA key; firmware cannot be replaced, \
                 devices with 5.7 and later do not have the flaw"
            )
        })
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why an attestation is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// A certificate that cannot be read.
    #[error("{which} cannot be read: {why}")]
    Unreadable {
        /// Of which of the two.
        which: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate of something else.
    #[error(
        "what the device gave for the slot is no attestation of a PIV key, but a certificate of {subject}"
    )]
    NotAnAttestation {
        /// Of what.
        subject: String,
    },
    /// It is of another key.
    #[error("the attestation is of another key than the one in question")]
    WrongKey,
    /// It is of another device.
    #[error("the attestation is of the device {attested}, and the one that gave it says that it is {device}")]
    WrongSerial {
        /// What is attested.
        attested: u32,
        /// What the device says.
        device: u32,
    },
    /// It is of another slot.
    #[error("the attestation is of slot {attested}, and the key lies in slot {slot}")]
    WrongSlot {
        /// What is attested.
        attested: SlotId,
        /// Where the key is.
        slot: SlotId,
    },
    /// What a statement must say is not there, or not in the form that Yubico has published.
    #[error("the attestation does not say the {what} as it should: {why}")]
    Extension {
        /// What.
        what: &'static str,
        /// What is there instead.
        why: String,
    },
    /// Nobody who is trusted stands above this certificate.
    #[error("no root that is trusted has signed for {issuer}")]
    UnknownRoot {
        /// Who signed the last certificate.
        issuer: String,
    },
    /// A signature that does not verify.
    #[error("the signature on the certificate of {subject} is not that of {issuer}")]
    BrokenSignature {
        /// Whose certificate.
        subject: String,
        /// Who is said to have signed it.
        issuer: String,
    },
    /// A certificate that may not sign others, or not so many of them.
    #[error("{subject} may not sign certificates: {why}")]
    NotAnAuthority {
        /// Whose certificate.
        subject: String,
        /// What forbids it.
        why: &'static str,
    },
    /// A signature by an algorithm that is not supported.
    #[error("the certificate of {subject} is signed by an algorithm that is not supported: {oid}")]
    Algorithm {
        /// Whose certificate.
        subject: String,
        /// Its object identifier.
        oid: String,
    },
    /// More links than an attestation has.
    #[error("the chain of certificates has too many links")]
    TooLong,
}

impl AttestationError {
    /// One word for scripts.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::NotAnAttestation { .. } => "not-an-attestation",
            Self::WrongKey => "wrong-key",
            Self::WrongSerial { .. } => "wrong-serial",
            Self::WrongSlot { .. } => "wrong-slot",
            Self::Extension { .. } => "extension",
            Self::UnknownRoot { .. } => "unknown-root",
            Self::BrokenSignature { .. } => "broken-signature",
            Self::NotAnAuthority { .. } => "not-an-authority",
            Self::Algorithm { .. } => "algorithm",
            Self::TooLong => "too-long",
        }
    }
}

/// Judges what a card gave for `key`.
///
/// # Errors
/// [`AttestationError`]: then nothing that the card says of the key is to be believed.
pub fn check(given: &Given, key: &PublicKey, roots: &Roots) -> Result<Attestation, AttestationError> {
    let unreadable = |which| move |why: String| AttestationError::Unreadable { which, why };
    let statement =
        Certificate::parse(&given.statement).map_err(unreadable("the attestation that the device made"))?;
    let authority = Certificate::parse(&given.authority)
        .map_err(unreadable("the certificate of the device's attestation key (slot f9)"))?;
    // First what it is of, so that the names in later messages are those of an attestation.
    let slot = statement::slot(&statement)?;
    let root = path::climb(&statement, &authority, roots)?;
    let said = statement::read(&statement)?;
    if statement.public_key().as_ref() != Some(key) {
        return Err(AttestationError::WrongKey);
    }
    if said.serial != given.serial {
        return Err(AttestationError::WrongSerial { attested: said.serial, device: given.serial });
    }
    if slot != given.slot {
        return Err(AttestationError::WrongSlot { attested: slot, slot: given.slot });
    }
    Ok(Attestation {
        serial: said.serial,
        firmware: said.firmware,
        slot,
        pin_policy: said.pin_policy,
        touch_policy: said.touch_policy,
        form: said.form,
        root: root.subject(),
    })
}
