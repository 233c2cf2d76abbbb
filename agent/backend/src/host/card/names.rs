//! Names for keys, which PIV does not have: kept in a data object of the card, so that they go where it goes.
//!
//! A line for each: the slot, the first half of the key's fingerprint, the name. A key that somebody else put into the slot
//! has another fingerprint, and so not the name.

use std::collections::BTreeMap;

use tuf::key::PublicKey;

use super::apdu::{Fault, Session};
use crate::card::SlotId;
use crate::host::protocol::{HostError, HostErrorKind};

/// What the card's object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(BTreeMap<SlotId, (String, String)>);

impl Names {
    /// Those of the card. An object that cannot be read says nothing.
    pub(super) fn read(session: &Session<'_>) -> Result<Self, Fault> {
        let object = session.object(OBJECT)?.unwrap_or_default();
        Ok(std::str::from_utf8(&object).ok().and_then(Self::parse).unwrap_or_default())
    }

    /// Those of a card whose names are to be changed: what this version does not understand is not overwritten.
    pub(super) fn read_to_change(session: &Session<'_>) -> Result<Self, Fault> {
        let object = session.object(OBJECT)?.unwrap_or_default();
        if object.is_empty() {
            return Ok(Self::default());
        }
        let known = std::str::from_utf8(&object).ok().and_then(Self::parse);
        known.ok_or_else(|| {
            let message = "the names of its keys (data object 5F5455) are not in a form that this version knows, and are \
                           not overwritten";
            HostError::new(HostErrorKind::Device, message)
                .remedy(
                    "use the version of tuf-agent that wrote them; if nobody needs them, clear the object: ykman piv objects \
                     import 0x5f5455 /dev/null",
                )
                .into()
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.strip_prefix(MAGIC)?.lines();
        let entry = |line: &str| {
            let mut words = line.split(' ');
            let (slot, fingerprint, name) = (words.next()?, words.next()?, words.next()?);
            let name: crate::KeyName = name.parse().ok()?;
            Some((slot.parse().ok()?, (fingerprint.to_owned(), name.to_string())))
        };
        Some(Self(lines.filter_map(entry).collect()))
    }

    fn text(&self) -> String {
        let line = |(slot, (fingerprint, name)): (&SlotId, &(String, String))| {
            format!("{slot} {fingerprint} {name}\n")
        };
        MAGIC.to_owned() + &self.0.iter().map(line).collect::<String>()
    }

    /// The name of the key in a slot, if it has one.
    pub(super) fn of(&self, slot: SlotId, key: &PublicKey) -> Option<&str> {
        let (fingerprint, name) = self.0.get(&slot)?;
        (*fingerprint == digits(key)).then_some(name)
    }

    /// Puts a name in, or takes one out. Needs the management key.
    pub(super) fn set(
        mut self,
        session: &Session<'_>,
        slot: SlotId,
        key: Option<(&PublicKey, &str)>,
    ) -> Result<(), Fault> {
        let before = self.clone();
        match key {
            Some((key, name)) => self.0.insert(slot, (digits(key), name.to_owned())),
            None => self.0.remove(&slot),
        };
        if self == before {
            return Ok(());
        }
        let text = self.text();
        if text.len() > MOST {
            let message = "the names of the card's keys are too long together; choose a shorter one";
            return Err(HostError::new(HostErrorKind::Unsupported, message).into());
        }
        session.put_object(OBJECT, text.as_bytes())
    }
}

fn digits(key: &PublicKey) -> String {
    key.fingerprint().to_string().chars().take(DIGITS).collect()
}

/// Among those that applications may define; no tool is known to use it.
const OBJECT: [u8; 3] = [0x5f, 0x54, 0x55];
const MAGIC: &str = "tuf-agent-names-v1\n";
const DIGITS: usize = 32;
/// An object has at most 3,052 bytes.
const MOST: usize = 3000;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PublicKey {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        PublicKey::from_ed25519(key.verifying_key().to_bytes()).unwrap()
    }

    #[test]
    fn a_name_belongs_to_the_key_that_it_was_given_and_to_no_other_in_its_slot() {
        let slot = SlotId::default();
        let names = Names([(slot, (digits(&key(1)), "root-a".to_owned()))].into());
        let read = Names::parse(&names.text()).unwrap();
        assert_eq!(read, names);
        assert_eq!(read.of(slot, &key(1)), Some("root-a"));
        assert_eq!(read.of(slot, &key(2)), None);
        assert_eq!(read.of("9a".parse().unwrap(), &key(1)), None);
    }

    #[test]
    fn an_object_of_somebody_else_says_nothing() {
        assert_eq!(Names::parse("9c 00 x\n"), None);
        for line in ["", "9c", "9c aa", "9b aa root", "9c aa a/b", "9c aa x.json"] {
            assert_eq!(Names::parse(&format!("{MAGIC}{line}\n")), Some(Names::default()), "{line}");
        }
    }
}
