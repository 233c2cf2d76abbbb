//! Private keys that were published by mistake: all can read them now.
//!
//! *Duty*: find where one stands inside a document, and say where, never what. *Trust*: the text is anybody's. *Invariant*:
//! what is returned names members that hold no secret themselves.
//!
//! Found are: texts that hold a private key in any armour, wherever they stand, member names too; members of key objects
//! whose name says "private"; and what **makes** one of the public keys that are looked for, as a seed, a scalar or a secret
//! number of RSA in hexadecimal, base64 or a list of numbers, with or without the zeros that stand before it. The last is a
//! proof and needs no name.

mod made;
mod rsa;
mod texts;

use crate::json::{Kind, Value};
pub use made::Publics;
use std::collections::HashSet;

/// Where a private key stands inside `value`, as a JSON pointer (RFC 6901); the first one.
pub fn private_key_in(value: Value<'_>, publics: &Publics) -> Option<String> {
    let text = String::from_utf8_lossy(value.raw());
    let mut search = Search {
        publics,
        armoured: texts::may_be_armoured(&text),
        tried: HashSet::new(),
        tried_rsa: 0,
        powers: 0,
    };
    search.find(value, Place::default(), 0)
}

struct Search<'p> {
    publics: &'p Publics,
    /// Whether the document has the words of an armour anywhere: most have not, and then no text is looked into for them.
    armoured: bool,
    /// What was tried outside key objects.
    tried: HashSet<Vec<u8>>,
    /// How often RSA was tried.
    tried_rsa: usize,
    /// How often by a power.
    powers: usize,
}

/// What is known of where a value stands.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Inside a key object.
    in_key: bool,
    /// Below a member of it whose name says that it is private.
    private: bool,
    /// The digests of a listed file, which whoever verifies compares with the file.
    digests: bool,
    /// In the list of signatures.
    signatures: bool,
    /// One of them.
    signature: bool,
}

impl Search<'_> {
    fn find(&mut self, value: Value<'_>, place: Place, depth: u8) -> Option<String> {
        if depth > MOST_DEPTH {
            return None;
        }
        let deeper = depth.saturating_add(1);
        match value.kind() {
            Kind::String => self.is_secret(value, place).then(String::new),
            Kind::Array if self.is_secret_list(value, place) => Some(String::new()),
            Kind::Array => value
                .items()
                .enumerate()
                .find_map(|(index, item)| Some(format!("/{index}{}", self.find(item, place, deeper)?))),
            Kind::Object => {
                let in_key = place.in_key || value.get("keyval").is_some();
                value.members().find_map(|(name, inner)| {
                    // A name that is a secret itself is not told.
                    if self.is_secret(name, Place { in_key, ..Place::default() }) {
                        return Some(String::new());
                    }
                    let raw = name.raw_str();
                    if place.digests && matches!(raw, "\"sha256\"" | "\"sha512\"") {
                        return None;
                    }
                    let private =
                        place.private || in_key && name.as_str().is_some_and(|it| texts::says_private(&it));
                    let inside = Place {
                        in_key,
                        private,
                        digests: depth == ENTRY && raw == "\"hashes\"",
                        signatures: depth == 0 && raw == "\"signatures\"",
                        signature: place.signatures && raw == "\"sig\"",
                    };
                    let way = self.find(inner, inside, deeper)?;
                    Some(format!("/{}{way}", escape(&name.as_str().unwrap_or_default())))
                })
            }
            _ => None,
        }
    }

    fn is_secret(&mut self, text: Value<'_>, place: Place) -> bool {
        let raw = text.raw();
        let escaped = raw.contains(&b'\\');
        if place.private && raw.len() > 2 {
            return true;
        }
        // Nothing that short is a key.
        if raw.len() < SHORTEST || !(self.armoured || escaped || texts::may_be_encoded(raw)) {
            return false;
        }
        let Some(text) = text.as_str() else { return false };
        if texts::is_armoured(&text) || texts::is_encoded_private_key(&text) {
            return true;
        }
        texts::encodings(&text).into_iter().any(|bytes| self.makes_a_key(bytes, place))
    }

    /// Bytes as a list of numbers.
    fn is_secret_list(&mut self, list: Value<'_>, place: Place) -> bool {
        if !(self.publics.may_be_made_by(list.len()) || place.private && list.len() >= SHORTEST) {
            return false;
        }
        let bytes = list.items().map(|item| item.as_u64().and_then(|number| u8::try_from(number).ok()));
        let Some(bytes) = bytes.collect::<Option<Vec<u8>>>() else { return false };
        place.private || self.makes_a_key(bytes, place)
    }

    fn makes_a_key(&mut self, bytes: Vec<u8>, place: Place) -> bool {
        if !self.publics.may_be_made_by(bytes.len()) {
            return false;
        }
        if self.publics.may_be_of_rsa(bytes.len()) {
            // Some ten microseconds for each key, and signatures are as long.
            self.tried_rsa = self.tried_rsa.saturating_add(1);
            if self.tried_rsa > MOST_TRIES_OF_RSA {
                return false;
            }
        }
        // Each costs some ten microseconds, and a role may hold a digest in the `custom` of each of 100,000 targets.
        if !place.in_key && (self.tried.len() >= MOST_TRIES || !self.tried.insert(bytes.clone())) {
            return false;
        }
        self.publics.made_by(&bytes) || self.undoes_a_key(&bytes, place)
    }

    /// Whether bytes are an exponent of RSA that only a power tells.
    fn undoes_a_key(&mut self, bytes: &[u8], place: Place) -> bool {
        if !self.publics.needs_power(bytes) || place.signature && self.publics.have_signed(bytes) {
            return false;
        }
        self.powers = self.powers.saturating_add(1);
        self.powers <= MOST_POWERS && self.publics.undone_by(bytes)
    }
}

/// A member's name as a part of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

const MOST_DEPTH: u8 = 64;
/// How deep the entries of `signed.targets` and `signed.meta` lie.
const ENTRY: u8 = 3;
const MOST_TRIES: usize = 4096;
const MOST_TRIES_OF_RSA: usize = 4096;
const MOST_POWERS: usize = 64;
/// Quotes and the shortest form of 32 bytes but the word of an armour; numbers of a list.
const SHORTEST: usize = 16;

#[cfg(test)]
mod tests;
