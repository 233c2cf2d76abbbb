//! What a YubiKey is asked for beside what every token can do: slots and policies, and what it says of itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A slot of the PIV application: 9a, 9c, 9d, 9e, or 82 to 95.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotId(u8);

impl SlotId {
    /// Those that hold keys for people, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = Self> {
        [0x9a, 0x9c, 0x9d, 0x9e].into_iter().chain(0x82..=0x95).map(Self)
    }

    /// Whether it is one of 82 to 95, which have no use of their own.
    #[must_use]
    pub const fn is_retired(self) -> bool {
        matches!(self.0, 0x82..=0x95)
    }

    /// As the card numbers it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl Default for SlotId {
    /// The one for signatures.
    fn default() -> Self {
        Self(0x9c)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl FromStr for SlotId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found =
            u8::from_str_radix(text, 16).ok().and_then(|number| Self::all().find(|slot| slot.0 == number));
        found
            .filter(|_| text.len() == 2)
            .ok_or_else(|| format!("{text:?} is no slot for keys: name one of 9a, 9c, 9d, 9e, and 82 to 95"))
    }
}

impl TryFrom<String> for SlotId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SlotId> for String {
    fn from(slot: SlotId) -> Self {
        slot.to_string()
    }
}

/// When a key wants to be touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Touch {
    /// Not at all.
    #[default]
    Never,
    /// For each signature.
    Always,
    /// For a signature when the last touch is more than 15 seconds ago.
    Cached,
}

/// When a key wants the PIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinPolicy {
    /// Not at all.
    Never,
    /// Once, until the card forgets it.
    #[default]
    Once,
    /// For each signature.
    Always,
}

impl Touch {
    /// The word used in JSON and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::Cached => "cached",
        }
    }
}

impl PinPolicy {
    /// The word used in JSON and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Once => "once",
            Self::Always => "always",
        }
    }
}

impl FromStr for Touch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Never, Self::Always, Self::Cached]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no touch policy: it is always, cached or never"))
    }
}

impl FromStr for PinPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Never, Self::Once, Self::Always]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no PIN policy: it is once, always or never"))
    }
}

/// Where a key lies, and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFacts {
    /// Its slot.
    pub slot: SlotId,
    /// When it wants to be touched.
    pub touch: Touch,
    /// When it wants the PIN.
    pub pin: PinPolicy,
}

/// What a key on a YubiKey is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardOptions {
    /// In which slot; 9c where nothing is said.
    pub slot: Option<SlotId>,
    /// When it wants to be touched; never where nothing is said.
    pub touch: Option<Touch>,
    /// When it wants the PIN; once where nothing is said.
    pub pin: Option<PinPolicy>,
    /// In place of the key that the slot holds.
    pub overwrite: bool,
}

/// What a YubiKey says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardFacts {
    /// Its serial number.
    pub serial: u32,
    /// Its firmware, such as "5.7.1".
    pub version: String,
    /// Whether the PIN is the one of the factory; none where the card does not tell.
    pub default_pin: Option<bool>,
    /// The same of the PUK.
    pub default_puk: Option<bool>,
    /// The same of the management key.
    pub default_management_key: Option<bool>,
    /// The management key's algorithm: `3des`, `aes-128`, `aes-192` or `aes-256`.
    pub management_algorithm: String,
    /// The management key lies on the card, where the PIN opens it.
    pub management_key_protected: bool,
    /// The card takes it only with a touch.
    pub management_touch: bool,
    /// Tries that are left for the PIN.
    pub pin_tries_left: Option<u32>,
    /// Tries that are left for the PUK, where the card tells.
    pub puk_tries_left: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_that_holds_keys_for_people() {
        for text in ["9a", "9c", "9d", "9e", "82", "95"] {
            assert_eq!(text.parse::<SlotId>().unwrap().to_string(), text);
        }
        for text in ["", "9b", "f9", "80", "96", "0x9c", "9C ", "+9c", "009c"] {
            assert!(text.parse::<SlotId>().is_err(), "{text}");
        }
        assert_eq!(SlotId::all().count(), 24);
    }
}
