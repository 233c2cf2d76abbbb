//! What a card keeps without power.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::attest::Root;
use crate::key::Key;
use crate::mgm::ManagementKey;

/// A card: serial, firmware, PINs, keys, objects. It can lie in a drawer, and be put into any reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    pub(crate) serial: u32,
    pub(crate) firmware: [u8; 3],
    pub(crate) pin: Code,
    pub(crate) puk: Code,
    pub(crate) management: ManagementKey,
    pub(crate) slots: BTreeMap<u8, Slot>,
    #[serde(with = "hexed")]
    pub(crate) objects: BTreeMap<u32, Vec<u8>>,
    pub(crate) counters: Counters,
}

/// What was done to a card in all its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counters {
    /// VERIFY with a PIN, right or wrong.
    pub verifies: u64,
    /// Private-key operations that gave a result.
    pub signatures: u64,
    /// Authentications by the management key that were tried.
    pub authentications: u64,
}

/// A PIN or PUK.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Code {
    pub(crate) value: [u8; 8],
    pub(crate) total: u8,
    pub(crate) left: u8,
    factory: [u8; 8],
}

/// A slot with a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Slot {
    #[serde(with = "kept_key")]
    pub(crate) key: Key,
    pub(crate) pin_policy: u8,
    pub(crate) touch_policy: u8,
    pub(crate) generated: bool,
}

pub(crate) const ATTESTATION_SLOT: u8 = 0xf9;
pub(crate) const ATTESTATION_OBJECT: u32 = 0x005f_ff01;

impl State {
    /// A new card with the factory's PIN, PUK and management key; its attestation key is certified by `root`.
    #[must_use]
    pub fn new(serial: u32, firmware: [u8; 3], root: &Root) -> Self {
        let mut state = Self {
            serial,
            firmware,
            pin: Code::new(*b"123456\xff\xff"),
            puk: Code::new(*b"12345678"),
            management: ManagementKey::factory(firmware),
            slots: BTreeMap::new(),
            objects: BTreeMap::new(),
            counters: Counters::default(),
        };
        let (key, certificate) = root.issue();
        state.slots.insert(ATTESTATION_SLOT, Slot { key, pin_policy: 1, touch_policy: 1, generated: false });
        state.objects.insert(ATTESTATION_OBJECT, crate::attest::object(&certificate));
        state
    }

    /// The same card with another PIN: six to eight bytes.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[allow(clippy::panic, reason = "so a test fails")]
    pub fn with_pin(mut self, pin: &str) -> Self {
        let mut value = pin.as_bytes().to_vec();
        value.resize(8, 0xff);
        if self.pin.set(&value).is_err() {
            panic!("no PIN for a card: {pin}");
        }
        self
    }

    /// The same card, which takes its management key only with a touch.
    #[must_use]
    pub fn with_management_touch(mut self) -> Self {
        self.management.touch = true;
        self
    }

    /// The same card with a data object, such as `5F5455`.
    #[must_use]
    pub fn with_object(mut self, id: u32, value: &[u8]) -> Self {
        self.objects.insert(id, value.to_vec());
        self
    }

    /// A data object.
    #[must_use]
    pub fn object(&self, id: u32) -> Option<&[u8]> {
        self.objects.get(&id).map(Vec::as_slice)
    }

    /// A card that was kept.
    ///
    /// # Errors
    /// One sentence.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Keeps it: written beside and renamed, so that a file that is there is whole.
    ///
    /// # Errors
    /// One sentence.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let beside = file.with_extension("new");
        let text = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, file))
            .map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Its serial number.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// What was done to it.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the firmware is this or newer.
    pub(crate) fn is_since(&self, firmware: [u8; 3]) -> bool {
        self.firmware >= firmware
    }

    /// As RESET leaves it: what the factory put there for attestation stays.
    pub(crate) fn reset(&mut self) {
        self.pin = Code::new(self.pin.factory);
        self.puk = Code::new(self.puk.factory);
        self.management = ManagementKey::factory(self.firmware);
        self.slots.retain(|slot, _| *slot == ATTESTATION_SLOT);
        self.objects.retain(|object, _| *object == ATTESTATION_OBJECT);
    }
}

impl Code {
    fn new(factory: [u8; 8]) -> Self {
        Self { value: factory, total: 3, left: 3, factory }
    }

    pub(crate) fn is_factory(&self) -> bool {
        self.value == self.factory
    }

    /// One try. A wrong one costs; a right one brings all back.
    pub(crate) fn try_out(&mut self, value: &[u8]) -> Result<(), u16> {
        if self.left == 0 {
            return Err(crate::apdu::BLOCKED);
        }
        if value != self.value {
            self.left = self.left.saturating_sub(1);
            return Err(self.refusal());
        }
        self.left = self.total;
        Ok(())
    }

    /// What a refusal says: the tries left, or that there are none.
    pub(crate) fn refusal(&self) -> u16 {
        if self.left == 0 { crate::apdu::BLOCKED } else { 0x63c0 | u16::from(self.left.min(15)) }
    }

    /// A new value: six to eight bytes, and then FF.
    pub(crate) fn set(&mut self, value: &[u8]) -> Result<(), u16> {
        let value: [u8; 8] = value.try_into().map_err(|_| crate::apdu::WRONG_DATA)?;
        let len = value.iter().position(|byte| *byte == 0xff).unwrap_or(value.len());
        if len < 6 || value.iter().skip(len).any(|byte| *byte != 0xff) {
            return Err(crate::apdu::WRONG_DATA);
        }
        self.value = value;
        self.left = self.total;
        Ok(())
    }

    /// Another number of tries, and the factory's value.
    pub(crate) fn set_total(&mut self, total: u8) {
        *self = Self { total, left: total, ..Self::new(self.factory) };
    }
}

mod kept_key {
    use super::Key;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(key: &Key, to: S) -> Result<S::Ok, S::Error> {
        (key.algorithm(), hex::encode(key.secret())).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Key, D::Error> {
        let (algorithm, secret) = <(u8, String)>::deserialize(from)?;
        let secret = hex::decode(secret).map_err(D::Error::custom)?;
        Key::from_secret(algorithm, &secret).ok_or_else(|| D::Error::custom("this is no key"))
    }
}

mod hexed {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer>(all: &BTreeMap<u32, Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        let all: BTreeMap<_, _> = all.iter().map(|(id, data)| (id, hex::encode(data))).collect();
        all.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<u32, Vec<u8>>, D::Error> {
        let all = BTreeMap::<u32, String>::deserialize(from)?;
        all.into_iter().map(|(id, data)| Ok((id, hex::decode(data).map_err(D::Error::custom)?))).collect()
    }
}
