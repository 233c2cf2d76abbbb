//! The commands of a YubiKey's PIV application, each as it is sent and what its answer means.

use tuf::key::{KeyType, PublicKey};
use zeroize::Zeroizing;

use super::apdu::{Data, Fault, Session, Status, nonsense};
use super::tlv::{tlv, value_of};
use crate::Origin;
use crate::card::{PinPolicy, SlotFacts, SlotId, Touch};
use crate::host::protocol::{HostError, HostErrorKind};

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotKey {
    pub(super) facts: SlotFacts,
    pub(super) algorithm: u8,
    pub(super) origin: Origin,
    /// Of a type that metadata has.
    pub(super) public: Option<PublicKey>,
}

/// What the card says of PIN or PUK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    pub(super) left: u32,
    /// Where it tells.
    pub(super) total: Option<u32>,
    /// It is the one of the factory, where it tells.
    pub(super) factory: Option<bool>,
}

impl Session<'_> {
    /// The serial number, where the PIV application is selected.
    pub(super) fn serial(&self) -> Result<Option<u32>, Fault> {
        match self.command([SERIAL, 0, 0], &[])? {
            (data, Status::DONE) => Ok(data.as_slice().try_into().ok().map(u32::from_be_bytes)),
            _ => Ok(None),
        }
    }

    /// The serial number of firmware 4, which its OTP application tells. That is selected then.
    pub(super) fn old_serial(&self) -> Result<Option<u32>, Fault> {
        if self.command([SELECT, 4, 0], OTP)?.1 != Status::DONE {
            return Ok(None);
        }
        match self.command([OTP_REQUEST, OTP_SERIAL, 0], &[])? {
            (data, Status::DONE) => Ok(data.as_slice().try_into().ok().map(u32::from_be_bytes)),
            _ => Ok(None),
        }
    }

    /// Selects the application. What it knew of the PIN and of the management key is forgotten.
    pub(super) fn select(&self) -> Result<bool, Fault> {
        Ok(self.command([SELECT, 4, 0], APPLICATION)?.1 == Status::DONE)
    }

    pub(super) fn version(&self) -> Result<[u8; 3], Fault> {
        let data = self.done([VERSION, 0, 0], &[], "telling its version")?;
        data.as_slice().try_into().map_err(|_| nonsense("telling its version"))
    }

    /// Whether the PIN is verified; the tries that it has, where it is not. Costs none.
    fn pin_state(&self) -> Result<Result<(), u32>, Fault> {
        match self.command([VERIFY, 0, PIN], &[])?.1 {
            Status::DONE => Ok(Ok(())),
            status => status.tries().map(Err).ok_or_else(|| status.refused("telling the tries of its PIN")),
        }
    }

    pub(super) fn pin_verified(&self) -> Result<bool, Fault> {
        Ok(self.pin_state()?.is_ok())
    }

    /// The tries of the PIN; of an old card whose PIN is verified nothing is told.
    pub(super) fn pin_tries(&self) -> Result<Option<Tries>, Fault> {
        if let Some(tries) = self.tries(PIN)? {
            return Ok(Some(tries));
        }
        Ok(self.pin_state()?.err().map(|left| Tries { left, ..Tries::default() }))
    }

    /// What is told of PIN or PUK without asking for them, from firmware 5.3 on.
    fn tries(&self, which: u8) -> Result<Option<Tries>, Fault> {
        let (data, status) = self.command([METADATA, 0, which], &[])?;
        let found = (status == Status::DONE).then(|| value_of(&[6], &data)).flatten();
        let Some([total, left]) = found else { return Ok(None) };
        let factory = value_of(&[5], &data).map(|is| is == [1]);
        Ok(Some(Tries { left: u32::from(*left), total: Some(u32::from(*total)), factory }))
    }

    pub(super) fn puk_tries(&self) -> Result<Option<Tries>, Fault> {
        self.tries(PUK)
    }

    /// Presents the PIN: one attempt.
    pub(super) fn verify(&self, pin: &[u8]) -> Result<Status, Fault> {
        Ok(self.command([VERIFY, 0, PIN], padded(pin)?.as_slice())?.1)
    }

    /// Another PIN in place of the old: one attempt with that.
    pub(super) fn change_pin(&self, old: &[u8], new: &[u8]) -> Result<Status, Fault> {
        self.two([CHANGE, 0, PIN], old, new)
    }

    pub(super) fn change_puk(&self, old: &[u8], new: &[u8]) -> Result<Status, Fault> {
        self.two([CHANGE, 0, PUK], old, new)
    }

    /// A new PIN, by the PUK: one attempt with that.
    pub(super) fn unblock(&self, puk: &[u8], pin: &[u8]) -> Result<Status, Fault> {
        self.two([UNBLOCK, 0, PIN], puk, pin)
    }

    fn two(&self, command: [u8; 3], one: &[u8], other: &[u8]) -> Result<Status, Fault> {
        let (one, other) = (padded(one)?, padded(other)?);
        let both = Zeroizing::new([one.as_slice(), other.as_slice()].concat());
        Ok(self.command(command, &both)?.1)
    }

    /// What a slot holds; none when it is empty.
    pub(super) fn slot(&self, slot: SlotId) -> Result<Option<SlotKey>, Fault> {
        let (data, status) = self.command([METADATA, 0, slot.number()], &[])?;
        match status {
            Status::DONE => slot_key(slot, &data).map(Some).ok_or_else(|| nonsense("telling of a slot")),
            Status::NOT_THERE | Status::NO_OBJECT => Ok(None),
            status => Err(status.refused("telling of a slot")),
        }
    }

    /// A private operation. The card may wait for a touch.
    pub(super) fn sign(&self, key: &SlotKey, data: &[u8]) -> Result<(Data, Status), Fault> {
        let template = tlv(&[0x7c], &[tlv(&[0x82], &[]), tlv(&[0x81], data)].concat());
        let (answer, status) =
            self.command([AUTHENTICATE, key.algorithm, key.facts.slot.number()], &template)?;
        let signature = value_of(&[0x7c], &answer).and_then(|inner| value_of(&[0x82], inner));
        Ok((Zeroizing::new(signature.unwrap_or_default().to_vec()), status))
    }

    /// Makes a key; gives its public half.
    pub(super) fn generate(&self, facts: SlotFacts, kind: KeyType) -> Result<PublicKey, Fault> {
        let algorithm = algorithm(kind)?;
        let wanted = [tlv(&[0x80], &[algorithm]), policies(facts)].concat();
        let data = self.done([GENERATE, 0, facts.slot.number()], &tlv(&[0xac], &wanted), "making a key")?;
        let public = value_of(&[0x7f, 0x49], &data).and_then(|inner| public_key(algorithm, inner));
        public.ok_or_else(|| nonsense("making a key"))
    }

    /// Stores a private key, given by its parts.
    pub(super) fn import(&self, facts: SlotFacts, kind: KeyType, parts: &[Data]) -> Result<(), Fault> {
        let first: u8 = if kind == KeyType::Ed25519 {
            7
        } else if parts.len() == 1 {
            6
        } else {
            1
        };
        let mut wanted = Zeroizing::new(Vec::with_capacity(IMPORT_MAX));
        for (tag, part) in (first..).zip(parts) {
            wanted.extend_from_slice(&Zeroizing::new(tlv(&[tag], part)));
        }
        wanted.extend_from_slice(&policies(facts));
        self.done([IMPORT, algorithm(kind)?, facts.slot.number()], &wanted, "storing a key").map(drop)
    }

    /// Destroys the key of a slot, from firmware 5.7 on.
    pub(super) fn delete(&self, slot: SlotId) -> Result<(), Fault> {
        self.done([MOVE, 0xff, slot.number()], &[], "removing a key").map(drop)
    }

    /// The certificate for a key that was made here; none for one that was not.
    pub(super) fn attest(&self, slot: SlotId) -> Result<Option<Data>, Fault> {
        match self.command([ATTEST, slot.number(), 0], &[])? {
            (data, Status::DONE) if !data.is_empty() => Ok(Some(data)),
            (_, Status(0x6a80 | 0x6a88 | 0x6d00 | 0x9000)) => Ok(None),
            (_, status) => Err(status.refused("attesting a key")),
        }
    }

    /// A data object; none when it is empty.
    pub(super) fn object(&self, id: [u8; 3]) -> Result<Option<Data>, Fault> {
        let (data, status) = self.command([GET_DATA, 0x3f, 0xff], &tlv(&[0x5c], &id))?;
        match status {
            Status::DONE => Ok(value_of(&[0x53], &data).map(|value| Zeroizing::new(value.to_vec()))),
            Status::NO_OBJECT => Ok(None),
            status => Err(status.refused("reading an object")),
        }
    }

    pub(super) fn put_object(&self, id: [u8; 3], value: &[u8]) -> Result<(), Fault> {
        // The value may be the management key that the PIN protects.
        let value = Zeroizing::new(tlv(&[0x53], value));
        let data = Zeroizing::new([tlv(&[0x5c], &id).as_slice(), value.as_slice()].concat());
        self.done([PUT_DATA, 0x3f, 0xff], &data, "writing an object").map(drop)
    }
}

fn slot_key(slot: SlotId, data: &[u8]) -> Option<SlotKey> {
    let [algorithm] = value_of(&[1], data)? else { return None };
    let [pin, touch] = value_of(&[2], data)? else { return None };
    let pin = match pin {
        1 => PinPolicy::Never,
        2 => PinPolicy::Once,
        3 => PinPolicy::Always,
        _ => return None,
    };
    let touch = match touch {
        1 => Touch::Never,
        2 => Touch::Always,
        3 => Touch::Cached,
        _ => return None,
    };
    let origin = match value_of(&[3], data) {
        Some([1]) => Origin::Generated,
        Some([2]) => Origin::Imported,
        _ => Origin::Unknown,
    };
    let public = value_of(&[4], data).and_then(|inner| public_key(*algorithm, inner));
    Some(SlotKey { facts: SlotFacts { slot, touch, pin }, algorithm: *algorithm, origin, public })
}

fn public_key(algorithm: u8, inner: &[u8]) -> Option<PublicKey> {
    let point = || value_of(&[0x86], inner);
    match algorithm {
        P256 => PublicKey::from_p256_sec1(point()?).ok(),
        P384 => PublicKey::from_p384_sec1(point()?).ok(),
        ED25519 => PublicKey::from_ed25519(point()?.try_into().ok()?).ok(),
        RSA2048 | RSA3072 | RSA4096 => {
            PublicKey::from_rsa(value_of(&[0x81], inner)?, value_of(&[0x82], inner)?).ok()
        }
        _ => None,
    }
}

fn algorithm(kind: KeyType) -> Result<u8, HostError> {
    match kind {
        KeyType::EcdsaP256 => Ok(P256),
        KeyType::EcdsaP384 => Ok(P384),
        KeyType::Ed25519 => Ok(ED25519),
        KeyType::Rsa2048 => Ok(RSA2048),
        KeyType::Rsa3072 => Ok(RSA3072),
        KeyType::Rsa4096 => Ok(RSA4096),
        kind => Err(HostError::new(HostErrorKind::Unsupported, format!("a YubiKey has no {kind} keys"))),
    }
}

fn policies(facts: SlotFacts) -> Vec<u8> {
    let pin = match facts.pin {
        PinPolicy::Never => 1,
        PinPolicy::Once => 2,
        PinPolicy::Always => 3,
    };
    let touch = match facts.touch {
        Touch::Never => 1,
        Touch::Always => 2,
        Touch::Cached => 3,
    };
    [tlv(&[0xaa], &[pin]), tlv(&[0xab], &[touch])].concat()
}

/// As the card takes it: eight bytes. Not an array: one that is handed on leaves copies on the stack that nobody wipes.
fn padded(pin: &[u8]) -> Result<Data, HostError> {
    let mut padded = Zeroizing::new(vec![0xff; 8]);
    match padded.get_mut(..pin.len()) {
        Some(place) if !pin.is_empty() => {
            place.copy_from_slice(pin);
            Ok(padded)
        }
        _ => {
            Err(HostError::new(HostErrorKind::PinRefused, "a YubiKey's PIN and PUK have one to eight bytes"))
        }
    }
}

const APPLICATION: &[u8] = &[0xa0, 0, 0, 3, 8];
const OTP: &[u8] = &[0xa0, 0, 0, 5, 0x27, 0x20, 1];
const OTP_REQUEST: u8 = 0x01;
const OTP_SERIAL: u8 = 0x10;
pub(super) const PIN: u8 = 0x80;
pub(super) const PUK: u8 = 0x81;
const SELECT: u8 = 0xa4;
const VERIFY: u8 = 0x20;
const CHANGE: u8 = 0x24;
const UNBLOCK: u8 = 0x2c;
const GENERATE: u8 = 0x47;
pub(super) const AUTHENTICATE: u8 = 0x87;
const GET_DATA: u8 = 0xcb;
const PUT_DATA: u8 = 0xdb;
const MOVE: u8 = 0xf6;
pub(super) const METADATA: u8 = 0xf7;
const SERIAL: u8 = 0xf8;
const ATTEST: u8 = 0xf9;
const VERSION: u8 = 0xfd;
const IMPORT: u8 = 0xfe;
pub(super) const SET_MANAGEMENT_KEY: u8 = 0xff;

const P256: u8 = 0x11;
const P384: u8 = 0x14;
const ED25519: u8 = 0xe0;
const RSA2048: u8 = 0x07;
const RSA3072: u8 = 0x05;
const RSA4096: u8 = 0x16;
/// So that the buffer is not moved while it is filled.
const IMPORT_MAX: usize = 4096;
