//! Which key has which name, remembered over restarts by its public half.
//!
//! Tokens may have keys of one label. Which of them goes by that alone must not depend on which token happens to be there:
//! `key remove NAME` would destroy another key than the day before. So a name stays with its key while that is on its token,
//! or may be: the token is away, or has not shown all that it has. And a card says of itself what it likes: one that shows another
//! key by the label of a key that is missing may be another card with the same serial number, so that key gets a name of
//! its own until a person gives the old one up (`key remove`) or says that another card is meant (`token unlock --serial`).
//! Invariants: each name is one key's; a key keeps its name while its label stays; a file for each name, replaced whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use backend::folder::{Folder, corrupt};
use backend::{BackendError, KeyName};
use policy::Reason;
use serde::{Deserialize, Serialize};
use tuf::key::PublicKey;

use super::HeldKey;
use crate::refusal::Refusal;

/// The names that keys have.
pub(super) struct Names {
    folder: Folder,
    given: Mutex<BTreeMap<String, Given>>,
    /// By token, the card on which its keys were when they got their names.
    cards: Mutex<BTreeMap<String, String>>,
}

/// Who has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    token: String,
    public: PublicKey,
}

/// The same in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    token: String,
    public: String,
}

/// What is known of where keys are now.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    /// The tokens of the configuration.
    pub(super) configured: BTreeSet<String>,
    /// Those that have just shown all keys that they have.
    pub(super) whole: BTreeSet<String>,
    /// Which card each device among those is.
    pub(super) cards: BTreeMap<String, String>,
    /// Keys that were on their tokens in this run and are there no more.
    pub(super) lost: BTreeSet<(String, PublicKey)>,
}

/// The card in its file.
#[derive(Serialize, Deserialize)]
struct KeptCard {
    card: String,
}

/// A key that its token should have, and has not, while another one there has its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// Its name.
    pub(super) name: String,
    /// Its token.
    pub(super) token: String,
    /// Its public half.
    pub(super) public: PublicKey,
    /// The name of the other one.
    pub(super) other: String,
}

impl Missing {
    /// For people.
    pub(super) fn told(&self) -> String {
        let Self { name, other, token, .. } = self;
        format!(
            "the key {name} is missing, and another one has its label, which is named {other} here: unless you have put it there, \
             this is another card than it says, or somebody had it: give it no role before you know. If you did, give the old \
             name up: tufctl key remove {name} (token {token})"
        )
    }
}

impl Names {
    /// Reads them from the state folder.
    ///
    /// # Errors
    /// For files that cannot be read: nobody knows then which key a name means.
    pub(super) fn open(state: &Path) -> Result<Self, Refusal> {
        let folder = Folder::new(state.join("names"));
        let read = read(&folder).and_then(|given| Ok((given, read_cards(&folder)?)));
        let (given, cards) = read.map_err(|error| {
            let reason = error.reason().parse().unwrap_or(Reason::Internal);
            Refusal::new(reason, format!("the names of keys: {error}")).remedy(error.remedy())
        })?;
        Ok(Self { folder, given: Mutex::new(given), cards: Mutex::new(cards) })
    }

    /// Gives each key its name: the one that it has had, or its label, or that with the start of its fingerprint where
    /// another key has the label for its name. Gives those that are missing where another one has their label.
    pub(super) fn give(&self, held: &mut [HeldKey], lost: &mut [HeldKey], at: &Whereabouts) -> Vec<Missing> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = self.missed(&given, held, at);
        let mut taken = BTreeSet::new();
        let mut nameless = Vec::new();
        for key in held.iter_mut() {
            match had(&given, key, &taken) {
                Some(name) => {
                    taken.insert(name.clone());
                    key.name = name;
                }
                None => nameless.push(key),
            }
        }
        for key in nameless {
            let is_missed = |name: &String| {
                missed.contains(name) && given.get(name).is_some_and(|given| given.token == key.slot.name())
            };
            let is_free =
                |name: &String| !taken.contains(name) && !reserved(&given, name, at) && !is_missed(name);
            let Some(name) = candidates(key).find(is_free) else { continue };
            self.note(&mut given, &name, key, &taken);
            taken.insert(name.clone());
            key.name = name;
        }
        for key in lost {
            if let Some(name) = had(&given, key, &taken) {
                key.name = name;
            }
        }
        self.note_cards(at);
        let other = |name: &String| {
            let key = held.iter().find(|key| key.stored.name.as_str() == name.as_str())?;
            let Given { token, public } = given.get(name).filter(|given| given.token == key.slot.name())?;
            let (token, public) = (token.clone(), public.clone());
            Some(Missing { name: name.clone(), token, public, other: key.name.clone() })
        };
        missed.iter().filter_map(other).collect()
    }

    /// The names of keys that are not on the card that had them last.
    fn missed(
        &self,
        given: &BTreeMap<String, Given>,
        held: &[HeldKey],
        at: &Whereabouts,
    ) -> BTreeSet<String> {
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        // Of those that an earlier version has named nothing is known but that the token is the one of this name.
        let is_same = |token: &String| {
            at.cards.get(token).is_some_and(|now| cards.get(token).is_none_or(|card| card == now))
        };
        let shown: BTreeSet<_> = held.iter().map(|key| (key.slot.name(), &key.stored.public)).collect();
        let is_held = |of: &Given| shown.contains(&(of.token.as_str(), &of.public));
        let missed = given.iter().filter(|(_, of)| is_same(&of.token) && !is_held(of));
        missed.map(|(name, _)| name.clone()).collect()
    }

    fn note_cards(&self, at: &Whereabouts) {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        for (token, card) in &at.cards {
            if cards.get(token) == Some(card) {
                continue;
            }
            let bytes = serde_json::to_vec(&KeptCard { card: card.clone() }).unwrap_or_default();
            let write = || self.folder.create()?.write(&format!("{CARD}{token}{END}"), &bytes, true);
            if let Err(error) = write() {
                tracing::warn!(token, "which card its keys were on is not known after a restart: {error}");
            }
            cards.insert(token.clone(), card.clone());
        }
    }

    /// This key was made here under its name, which goes with it.
    pub(super) fn assign(&self, key: &HeldKey) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        self.note(&mut given, &key.name, key, &BTreeSet::new());
    }

    /// The token whose key has this name, though nobody sees it now.
    pub(super) fn reserved_by(&self, name: &KeyName, at: &Whereabouts) -> Option<String> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name.to_string();
        given.get(&name).filter(|_| reserved(&given, &name, at)).map(|given| given.token.clone())
    }

    /// The key is gone on purpose: another one may have its name.
    pub(super) fn forget(&self, key: &HeldKey) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        self.drop_names(&mut given, key, &BTreeSet::new());
    }

    fn note(&self, given: &mut BTreeMap<String, Given>, name: &str, key: &HeldKey, taken: &BTreeSet<String>) {
        self.drop_names(given, key, taken);
        let now = Given { token: key.slot.name().to_owned(), public: key.stored.public.clone() };
        let kept = Kept { token: now.token.clone(), public: hex::encode(now.public.spki_der()) };
        let write = || {
            let bytes = serde_json::to_vec(&kept).unwrap_or_default();
            self.folder.create()?.write(&file_name(name), &bytes, true)
        };
        if let Err(error) = write() {
            tracing::warn!(key = name, "which key has this name is not known after a restart: {error}");
        }
        given.insert(name.to_owned(), now);
    }

    /// One that has another label now gives up its name; two objects of one key have a name each.
    fn drop_names(&self, given: &mut BTreeMap<String, Given>, key: &HeldKey, taken: &BTreeSet<String>) {
        let is_its = |given: &Given| given.token == key.slot.name() && given.public == key.stored.public;
        let names: Vec<_> = given
            .iter()
            .filter(|(name, given)| is_its(given) && !taken.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            given.remove(&name);
            let removed = self.folder.open().and_then(|folder| match folder {
                Some(folder) => folder.remove(&file_name(&name)),
                None => Ok(()),
            });
            if let Err(error) = removed {
                tracing::warn!(key = name, "the name is kept for a key that has it no more: {error}");
            }
        }
    }
}

/// The name that the key has had, unless its label is another one now.
fn had(given: &BTreeMap<String, Given>, key: &HeldKey, taken: &BTreeSet<String>) -> Option<String> {
    let label = key.stored.name.as_str();
    let is_its = |given: &Given| given.public == key.stored.public && given.token == key.slot.name();
    if given.get(label).is_some_and(is_its) && !taken.contains(label) {
        return Some(label.to_owned());
    }
    let made_of_it = |name: &str| name.strip_prefix(label).is_some_and(|rest| rest.starts_with('-'));
    let mut all = given.range(label.to_owned()..).take_while(|(name, _)| name.starts_with(label));
    all.find(|(name, given)| made_of_it(name) && is_its(given) && !taken.contains(*name))
        .map(|(name, _)| name.clone())
}

/// Whether the name is that of a key that is on its token still, as far as is known.
fn reserved(given: &BTreeMap<String, Given>, name: &str, at: &Whereabouts) -> bool {
    given.get(name).is_some_and(|Given { token, public }| {
        at.configured.contains(token)
            && !at.whole.contains(token)
            && !at.lost.contains(&(token.clone(), public.clone()))
    })
}

/// The names that a key may have, the shortest first.
fn candidates(key: &HeldKey) -> impl Iterator<Item = String> {
    let label = key.stored.name.to_string();
    let fingerprint = key.stored.public.fingerprint().to_string();
    let longer = {
        let label = label.clone();
        let token = key.slot.name().to_owned();
        let starts = (8..=fingerprint.len()).step_by(8);
        let of_copies = format!("{label}-{fingerprint}-{token}");
        starts
            .filter_map(move |end| fingerprint.get(..end).map(|start| format!("{label}-{start}")))
            .chain([of_copies])
    };
    std::iter::once(label).chain(longer)
}

fn read(folder: &Folder) -> Result<BTreeMap<String, Given>, BackendError> {
    let mut all = BTreeMap::new();
    let Some(open) = folder.open()? else { return Ok(all) };
    // What is left is looked for again at the next start.
    let _ = open.remove_leftovers();
    for file in open.names()? {
        let Some(name) = file.strip_prefix(BEGIN).and_then(|file| file.strip_suffix(END)) else { continue };
        let Some(bytes) = open.read(&file)? else { continue };
        let path = folder.path().join(&file);
        let why = |what: String| corrupt(&path, what);
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| why(e.to_string()))?;
        let public = hex::decode(&kept.public).map_err(|e| why(e.to_string()))?;
        let public = PublicKey::from_spki_der(&public).map_err(|e| why(e.to_string()))?;
        all.insert(name.to_owned(), Given { token: kept.token, public });
    }
    Ok(all)
}

fn read_cards(folder: &Folder) -> Result<BTreeMap<String, String>, BackendError> {
    let mut all = BTreeMap::new();
    let Some(open) = folder.open()? else { return Ok(all) };
    for file in open.names()? {
        let Some(token) = file.strip_prefix(CARD).and_then(|file| file.strip_suffix(END)) else { continue };
        let Some(bytes) = open.read(&file)? else { continue };
        let kept: KeptCard =
            serde_json::from_slice(&bytes).map_err(|e| corrupt(&folder.path().join(&file), e.to_string()))?;
        all.insert(token.to_owned(), kept.card);
    }
    Ok(all)
}

/// A key may be called whatever begins with a dot.
fn file_name(name: &str) -> String {
    format!("{BEGIN}{name}{END}")
}

const BEGIN: &str = "key-";
const CARD: &str = "card-";
const END: &str = ".json";
