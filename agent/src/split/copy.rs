//! Records of split keys, as a backup takes and gives them; and whole copies, which no backup brings back.

use std::sync::Arc;

use backend::BackendError;
use policy::Reason;
use tuf::word;

use super::record::{SplitKey, SplitSet, Whole};
use super::{Found, SplitStore, of_public};
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{HeldKey, Slot};

/// A record: the token, the key, and the file.
pub(crate) struct Copied {
    /// The token's name.
    pub(crate) token: String,
    /// The key's name.
    pub(crate) key: String,
    /// Its record.
    pub(crate) bytes: Vec<u8>,
}

/// All records; blocks.
///
/// # Errors
/// While those of a token cannot be used.
pub(crate) fn records(stores: &[(Arc<Slot>, Arc<SplitStore>)]) -> Result<Vec<Copied>, BackendError> {
    let mut all = Vec::new();
    for (slot, store) in stores {
        let of = |(key, bytes)| Copied { token: slot.name().to_owned(), key, bytes };
        all.extend(store.records()?.into_iter().map(of));
    }
    Ok(all)
}

/// Takes in what is not here, and records in which a later set is alive than here: backups may be restored in any order.
/// What else is here is as new or newer, and stays: so does a key that is whole here, if it was not `restored` just now, and whose
/// split only waited for proofs then, which was given up since. Names of keys that were added, and of those whose
/// token is not configured, or whose record does not hold, or whose name is taken.
///
/// # Errors
/// `STATE_IO`.
pub(crate) async fn take_in(
    state: &AppState,
    records: Vec<Copied>,
    restored: &[String],
) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let (mut added, mut left_out) = (Vec::new(), Vec::new());
    let _changing = state.splits().changing().await;
    let held = state.tokens().keys().await;
    let is_whole = |key: &&HeldKey| key.slot.file_store().is_some() && !restored.contains(&key.name);
    let whole: Vec<_> = held.iter().filter(is_whole).map(|key| &key.stored.public).collect();
    for Copied { token, key: name, bytes } in records {
        let store = state.tokens().split_stores().into_iter().find(|(slot, _)| slot.name() == token);
        let Some((slot, store)) = store else {
            left_out.push(name);
            continue;
        };
        let Ok(key) = store.read_record(&name, &bytes) else {
            left_out.push(name);
            continue;
        };
        let here = key.public().and_then(|public| of_public(state, public));
        if let Some((at, _, here)) = here {
            let is_later = alive_since(&key) > alive_since(&here);
            if is_later && (at.name(), &here.name) == (slot.name(), &key.name) {
                slot.run(move |_| store.put(key)).await?;
                added.push(name);
            }
            continue;
        }
        if key.alive().is_none() && key.public().is_some_and(|public| whole.contains(&public)) {
            continue;
        }
        if store.all().iter().any(|other| other.name == key.name) {
            left_out.push(name);
            continue;
        }
        slot.run(move |_| store.put(key)).await?;
        added.push(name);
    }
    Ok((added, left_out))
}

/// The number of the set that is alive; 0 for none.
fn alive_since(key: &SplitKey) -> u64 {
    key.alive().map_or(0, |set| set.manifest.sequence())
}

/// A backup from before a key was split has it whole: of one that is proven and whole nowhere that copy goes again, be it
/// that the copy was restored just now, or the record that says so. Gives the names.
///
/// # Errors
/// `STATE_IO`.
pub(crate) async fn take_whole_copies_away(
    state: &AppState,
    restored: &[String],
    records: &[String],
) -> Result<Vec<String>, Refusal> {
    let mut gone = Vec::new();
    for key in state.tokens().keys().await {
        let Some(store) = key.slot.file_store() else { continue };
        let public = key.stored.public.clone();
        let Some((_, _, split)) = of_public(state, &public) else { continue };
        let is_new = restored.contains(&key.name) || records.iter().any(|name| *name == *split.name.as_str());
        let is_proven = split.alive().is_some_and(SplitSet::is_proven);
        if !(is_new && split.whole == Whole::Nowhere && is_proven) {
            continue;
        }
        let taken = public.clone();
        key.slot.run(move |_| store.destroy_split_key(&taken)).await?;
        key.slot.forget(&public);
        gone.push(key.name);
    }
    Ok(gone)
}

/// The record of a key of which this one, of the file store, is the whole copy; mostly there is none.
pub(crate) struct WholeCopy(Option<Found>);

impl WholeCopy {
    /// Looks; records are to be held still from here on.
    pub(crate) fn of(state: &AppState, key: &HeldKey) -> Self {
        let found = of_public(state, &key.stored.public).filter(|_| key.slot.file_store().is_some());
        Self(found.and_then(|(slot, store, split)| {
            let digest = split.sets().last()?.manifest.digest();
            Some(Found { slot, store, key: split, digest })
        }))
    }

    /// Whether it may be removed: as long as not all custodians have proven their shares it is all that surely works.
    ///
    /// # Errors
    /// `SHARE_UNPROVEN`, unless it is forced.
    pub(crate) fn check(&self, name: &str, force: bool) -> Result<(), Refusal> {
        let Some(found) = self.0.as_ref().filter(|found| !found.key.may_serve() && !force) else {
            return Ok(());
        };
        let abort = word::before(name, "--abort");
        let message = format!(
            "the key {name} is being split, and not all custodians have proven their shares: this is its whole copy"
        );
        Err(Refusal::new(Reason::ShareUnproven, message)
            .remedy(format!(
                "have them prove theirs, which takes it away (tufctl share confirm); or give the split up first: tufctl share split {abort}; or say --force"
            ))
            .detail("key", name)
            .detail("set", found.digest.to_string()))
    }

    /// It was removed.
    ///
    /// # Errors
    /// `STATE_IO`.
    pub(crate) async fn note_removed(self) -> Result<(), Refusal> {
        let Some(found) = self.0 else { return Ok(()) };
        let mut key = SplitKey::clone(&found.key);
        key.whole = Whole::Nowhere;
        found.put(key).await
    }
}
