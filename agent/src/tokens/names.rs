//! Which key has which name, remembered over restarts by its public half.
//!
//! Tokens may have keys of one label. Which of them goes by that alone must not depend on which token happens to be there:
//! `key remove NAME` would destroy another key than the day before. So a name stays with its key while that is on its token,
//! or may be: the token is away, or has not shown all that it has.
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
    /// Keys that were on their tokens in this run and are there no more.
    pub(super) lost: BTreeSet<(String, PublicKey)>,
}

impl Names {
    /// Reads them from the state folder.
    ///
    /// # Errors
    /// For files that cannot be read: nobody knows then which key a name means.
    pub(super) fn open(state: &Path) -> Result<Self, Refusal> {
        let folder = Folder::new(state.join("names"));
        let given = read(&folder).map_err(|error| {
            let reason = error.reason().parse().unwrap_or(Reason::Internal);
            Refusal::new(reason, format!("the names of keys: {error}")).remedy(error.remedy())
        })?;
        Ok(Self { folder, given: Mutex::new(given) })
    }

    /// Gives each key its name: the one that it has had, or its label, or that with the start of its fingerprint where
    /// another key has the label for its name.
    pub(super) fn give(&self, held: &mut [HeldKey], lost: &mut [HeldKey], at: &Whereabouts) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
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
            let is_free = |name: &String| !taken.contains(name) && !reserved(&given, name, at);
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

/// A key may be called whatever begins with a dot.
fn file_name(name: &str) -> String {
    format!("{BEGIN}{name}{END}")
}

const BEGIN: &str = "key-";
const END: &str = ".json";
