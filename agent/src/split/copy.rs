//! Records of split keys, as a backup takes and gives them; and whole copies, which no backup brings back.

use std::sync::Arc;

use backend::BackendError;

use super::record::Whole;
use super::{SplitStore, of_public};
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::Slot;

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

/// Takes in what is not here. What is here is as new or newer, and stays. Names of keys that were added, and of those whose
/// token is not configured, or whose record does not hold, or whose name is taken.
///
/// # Errors
/// `STATE_IO`.
pub(crate) async fn take_in(
    state: &AppState,
    records: Vec<Copied>,
) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let (mut added, mut left_out) = (Vec::new(), Vec::new());
    let _changing = state.splits().changing().await;
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
        if key.public().is_some_and(|public| of_public(state, public).is_some()) {
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

/// A backup from before a key was split has it whole: of one that is proven and whole nowhere that copy goes again. Gives
/// the names.
///
/// # Errors
/// `STATE_IO`.
pub(crate) async fn take_whole_copies_away(
    state: &AppState,
    restored: &[String],
) -> Result<Vec<String>, Refusal> {
    let mut gone = Vec::new();
    for key in state.tokens().keys().await {
        let Some(store) = key.slot.file_store().filter(|_| restored.contains(&key.name)) else { continue };
        let public = key.stored.public.clone();
        let split = of_public(state, &public).map(|(_, _, split)| split);
        if !split.is_some_and(|split| split.whole == Whole::Nowhere && split.alive().is_some()) {
            continue;
        }
        let taken = public.clone();
        key.slot.run(move |_| store.destroy_split_key(&taken)).await?;
        key.slot.forget(&public);
        gone.push(key.name);
    }
    Ok(gone)
}
