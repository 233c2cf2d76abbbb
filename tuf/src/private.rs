//! Private keys that were published by mistake: all can read them now.
//!
//! *Duty*: find where one stands inside a document, and say where, never what. *Trust*: the text is anybody's. *Invariant*:
//! what is returned names members that hold no secret themselves.
//!
//! Found are: texts that hold a private key in any armour, wherever they stand, member names too; members of key objects
//! whose name says "private"; and what **makes** one of the public keys that are looked for, as a seed or a scalar in
//! hexadecimal, base64 or a list of numbers. The last is a proof and needs no name.

mod texts;

use crate::{
    json::{Kind, Value},
    key::{Key, KeyType, PublicKey},
    metadata::Metadata,
};
use std::collections::{BTreeSet, HashSet};

/// The public keys whose private halves are looked for.
#[derive(Clone, Debug, Default)]
pub struct Publics {
    keys: BTreeSet<PublicKey>,
    kinds: BTreeSet<KeyType>,
}

impl Publics {
    /// Takes the keys that a root or a targets role brings.
    pub fn add(&mut self, metadata: &Metadata) {
        let delegations = metadata.as_targets().and_then(|targets| targets.delegations.as_ref());
        let keys = metadata.as_root().map(|root| &root.keys).or(delegations.map(|d| &d.keys));
        keys.into_iter().flat_map(|keys| keys.values()).for_each(|key| self.add_key(key));
    }

    /// Takes the key objects of a document that may be no metadata at all.
    pub fn add_objects(&mut self, value: Value<'_>) {
        if value.get("keyval").is_some() {
            Key::parse(value).iter().for_each(|key| self.add_key(key));
        }
        value
            .members()
            .map(|(_, inner)| inner)
            .chain(value.items())
            .for_each(|inner| self.add_objects(inner));
    }

    fn add_key(&mut self, key: &Key) {
        if let Ok(public) = key.public_key() {
            self.kinds.insert(public.key_type());
            self.keys.insert(public.clone());
        }
    }

    /// Whether these bytes are what one of the keys is made from: the seed of Ed25519, with or without its public key
    /// behind, or the scalar of an ECDSA key.
    fn made_by(&self, bytes: &[u8]) -> bool {
        let made = |kind, key: &dyn Fn() -> Option<PublicKey>| {
            self.kinds.contains(&kind) && key().is_some_and(|key| self.keys.contains(&key))
        };
        let seed = bytes.get(..32).filter(|_| matches!(bytes.len(), 32 | 64));
        let scalar = if bytes.len() == 33 { bytes.strip_prefix(&[0]) } else { Some(bytes) };
        made(KeyType::Ed25519, &|| {
            let key = ed25519_dalek::SigningKey::from_bytes(seed?.try_into().ok()?);
            PublicKey::from_ed25519(key.verifying_key().to_bytes()).ok()
        }) || made(KeyType::EcdsaP256, &|| {
            let key = p256::ecdsa::SigningKey::from_slice(scalar.filter(|bytes| bytes.len() == 32)?).ok()?;
            PublicKey::from_p256_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
        }) || made(KeyType::EcdsaP384, &|| {
            let key = p384::ecdsa::SigningKey::from_slice(scalar.filter(|bytes| bytes.len() == 48)?).ok()?;
            PublicKey::from_p384_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
        })
    }
}

/// Where a private key stands inside `value`, as a JSON pointer (RFC 6901); the first one.
pub fn private_key_in(value: Value<'_>, publics: &Publics) -> Option<String> {
    let text = String::from_utf8_lossy(value.raw());
    let mut search = Search { publics, armoured: texts::may_be_armoured(&text), tried: HashSet::new() };
    search.find(value, Place::default(), 0)
}

struct Search<'p> {
    publics: &'p Publics,
    /// Whether the document has the words of an armour anywhere: most have not, and then no text is looked into for them.
    armoured: bool,
    /// What was tried outside key objects.
    tried: HashSet<Vec<u8>>,
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
                    let inside = Place { in_key, private, digests: depth == ENTRY && raw == "\"hashes\"" };
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
        texts::decodings(&text).into_iter().any(|bytes| self.makes_a_key(bytes, place))
    }

    /// Bytes as a list of numbers.
    fn is_secret_list(&mut self, list: Value<'_>, place: Place) -> bool {
        if !matches!(list.len(), 32 | 33 | 48 | 64) {
            return false;
        }
        let bytes = list.items().map(|item| item.as_u64().and_then(|number| u8::try_from(number).ok()));
        let Some(bytes) = bytes.collect::<Option<Vec<u8>>>() else { return false };
        place.private || self.makes_a_key(bytes, place)
    }

    fn makes_a_key(&mut self, bytes: Vec<u8>, place: Place) -> bool {
        // Each costs some ten microseconds, and a role may hold a digest in the `custom` of each of 100,000 targets.
        if !place.in_key && (self.tried.len() >= MOST_TRIES || !self.tried.insert(bytes.clone())) {
            return false;
        }
        self.publics.made_by(&bytes)
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
/// Quotes and the shortest form of 32 bytes but the word of an armour.
const SHORTEST: usize = 16;

#[cfg(test)]
mod tests;
