//! Where the attestation of a card comes from: a root, the card's own key in F9, certificates for slots.

use std::sync::OnceLock;

use crate::key::{self, Key};
use crate::random::random;
use crate::state::{ATTESTATION_OBJECT, ATTESTATION_SLOT, State};
use crate::tlv::{tlv, value};

/// A certificate authority such as the maker of cards has.
#[derive(Debug, Clone)]
pub struct Root {
    /// No two have the same.
    name: String,
    key: Key,
    certificate: Vec<u8>,
    algorithm_of_cards: u8,
}

const CARD_NAME: &str = "Yubico PIV Attestation";

impl Root {
    /// A new one, P-384, whose cards attest by P-256.
    #[must_use]
    pub fn new() -> Self {
        Self::of(key::P384, key::P256)
    }

    /// A new one, RSA as cards of old have it.
    #[must_use]
    pub fn rsa() -> Self {
        Self::of(key::RSA2048, key::RSA2048)
    }

    /// One for all cards of this process that are given no other.
    #[must_use]
    pub fn shared() -> &'static Self {
        static ROOT: OnceLock<Root> = OnceLock::new();
        ROOT.get_or_init(Self::new)
    }

    #[allow(clippy::expect_used, reason = "the kinds are among those that there are")]
    fn of(algorithm: u8, algorithm_of_cards: u8) -> Self {
        let key = Key::generate(algorithm).expect("a key of the root");
        let name = format!("Virtual PIV Root CA {}", hex::encode(random(4)));
        let certificate = Certificate { issuer: &name, subject: &name, ..Certificate::new(&key) };
        let certificate = certificate.signed_by(&key).expect("the root's certificate");
        Self { name, key, certificate, algorithm_of_cards }
    }

    /// Its certificate, as a configuration names it.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        use p256::pkcs8::der::pem::{LineEnding, encode_string};
        encode_string("CERTIFICATE", LineEnding::LF, &self.certificate).unwrap_or_default()
    }

    /// An attestation key for a card, and its certificate.
    #[allow(clippy::expect_used, reason = "the kinds are among those that there are")]
    pub(crate) fn issue(&self) -> (Key, Vec<u8>) {
        let key = Key::generate(self.algorithm_of_cards).expect("an attestation key");
        let certificate = Certificate { issuer: &self.name, subject: CARD_NAME, ..Certificate::new(&key) };
        let certificate = certificate.signed_by(&self.key).expect("an attestation certificate");
        (key, certificate)
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::new()
    }
}

/// What a card's attestations are to say in place of the truth.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lies {
    pub(crate) serial: Option<u32>,
    pub(crate) firmware: Option<[u8; 3]>,
    pub(crate) policy: Option<[u8; 2]>,
    /// The certificate is over a key that is not in the slot.
    pub(crate) other_key: bool,
    /// Another key than that of F9 signs.
    pub(crate) other_signer: bool,
    /// It was valid until last century.
    pub(crate) expired: bool,
    /// The extensions are not there.
    pub(crate) bare: bool,
}

/// The certificate of a slot's key; `None` where the card cannot attest it.
pub(crate) fn attest(state: &State, slot_id: u8, lies: &Lies) -> Option<Vec<u8>> {
    let slot = state.slots.get(&slot_id).filter(|slot| slot.generated)?;
    let signer =
        state.slots.get(&ATTESTATION_SLOT).filter(|_| state.objects.contains_key(&ATTESTATION_OBJECT))?;
    let other = Key::generate(key::P256)?;
    let subject = format!("YubiKey PIV Attestation {slot_id:x}");
    let mut certificate = Certificate {
        issuer: CARD_NAME,
        subject: &subject,
        is_authority: false,
        ..Certificate::new(if lies.other_key { &other } else { &slot.key })
    };
    if lies.expired {
        certificate.until = "19991231235959Z";
    }
    if !lies.bare {
        let serial = lies.serial.unwrap_or(state.serial);
        let policy = lies.policy.unwrap_or([slot.pin_policy, slot.touch_policy]);
        certificate.extensions = vec![
            extension(3, &lies.firmware.unwrap_or(state.firmware)),
            extension(7, &integer(&serial.to_be_bytes())),
            extension(8, &policy),
            extension(9, &[USB_A]),
        ];
    }
    certificate.signed_by(if lies.other_signer { &other } else { &signer.key })
}

const USB_A: u8 = 1;

/// A certificate as an object of the card has it.
pub(crate) fn object(certificate: &[u8]) -> Vec<u8> {
    [tlv(0x70, certificate), tlv(0x71, &[0]), tlv(0xfe, &[])].concat()
}

/// The certificate in an object.
pub(crate) fn certificate_in(object: &[u8]) -> Option<&[u8]> {
    value(object, 0x70)
}

/// A certificate to be made.
struct Certificate<'a> {
    issuer: &'a str,
    subject: &'a str,
    until: &'a str,
    key: &'a Key,
    is_authority: bool,
    extensions: Vec<Vec<u8>>,
}

impl<'a> Certificate<'a> {
    fn new(key: &'a Key) -> Self {
        let until = "20520417000000Z";
        Self { issuer: "", subject: "", until, key, is_authority: true, extensions: Vec::new() }
    }

    fn signed_by(mut self, signer: &Key) -> Option<Vec<u8>> {
        if self.is_authority {
            let constraints = tlv(0x30, &tlv(0x01, &[0xff]));
            let critical = [tlv(0x06, &[0x55, 0x1d, 19]), tlv(0x01, &[0xff]), tlv(0x04, &constraints)];
            self.extensions.push(tlv(0x30, &critical.concat()));
        }
        // The algorithm stands in what is signed.
        let (algorithm, _) = signer.certify(&[])?;
        let from = if self.until < "2000" { "19990101000000Z" } else { "20160314000000Z" };
        let mut fields = vec![
            tlv(0xa0, &integer(&[2])),
            integer(&random(16)),
            algorithm.clone(),
            name(self.issuer),
            tlv(0x30, &[time(from), time(self.until)].concat()),
            name(self.subject),
            self.key.spki(),
        ];
        if !self.extensions.is_empty() {
            fields.push(tlv(0xa3, &tlv(0x30, &self.extensions.concat())));
        }
        let body = tlv(0x30, &fields.concat());
        let (_, signature) = signer.certify(&body)?;
        let bits = tlv(0x03, &[vec![0], signature].concat());
        Some(tlv(0x30, &[body, algorithm, bits].concat()))
    }
}

/// RFC 5280, 4.1.2.5: years to 2049 as UTCTime, later ones as GeneralizedTime.
fn time(text: &str) -> Vec<u8> {
    match text.get(2..) {
        Some(short) if text < "2050" => tlv(0x17, short.as_bytes()),
        _ => tlv(0x18, text.as_bytes()),
    }
}

/// A name of one part, the common name.
fn name(common: &str) -> Vec<u8> {
    let part = [tlv(0x06, &[0x55, 4, 3]), tlv(0x0c, common.as_bytes())].concat();
    tlv(0x30, &tlv(0x31, &tlv(0x30, &part)))
}

/// A number that is not negative.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if digits.first().is_none_or(|first| *first >= 0x80) {
        digits.insert(0, 0);
    }
    tlv(0x02, &digits)
}

/// 1.3.6.1.4.1.41482.3.ID
fn extension(id: u8, value: &[u8]) -> Vec<u8> {
    let oid = [0x2b, 6, 1, 4, 1, 0x82, 0xc4, 0x0a, 3, id];
    tlv(0x30, &[tlv(0x06, &oid), tlv(0x04, value)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positive_and_short() {
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0]), [2, 1, 0]);
    }
}
