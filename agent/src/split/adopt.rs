//! A set that this agent did not make: its manifest comes from another agent, or from before the state was lost.

use std::sync::Arc;

use backend::{KeyName, Origin};
use custody::SignedManifest;
use secmem::SecretBytes;
use serde_json::json;

use super::record::{SetState, SplitKey, SplitSet, Whole};
use super::resplit::REVOKES_NOTHING;
use super::{Found, of_public, refusals, set_json};
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{HeldKey, Slot};

/// Takes a manifest (`set.json`) in under this name; the set counts as alive, so that it goes on signing, and
/// its key gets no new role before its shares were seen to be there. Of a key that is here already it must be the newest.
///
/// # Errors
/// `KEY_FILE` for what is no manifest, or does not hold; `NAME_TAKEN`, `DUPLICATE_KEY`; `SHARE_INVALID` for a set that is
/// not newer than those that are here.
pub(crate) async fn adopt(
    state: &AppState,
    connection: &Connection,
    slot: Arc<Slot>,
    name: KeyName,
    file: SecretBytes,
) -> Result<(HeldKey, Vec<String>), Refusal> {
    let store = slot.split_store().ok_or_else(|| Refusal::internal("a token without split keys"))?;
    let read = move || SignedManifest::parse(file.reveal_secret_bytes());
    let manifest = tokio::task::spawn_blocking(read).await.map_err(Refusal::internal)?;
    let manifest = manifest.map_err(|error| refusals::manifest(&error))?;
    let _changing = state.splits().changing().await;
    slot.ensure_usable().await?;
    // One that is only being split, and whole in the file store, is no key of people yet.
    let here = of_public(state, manifest.public_key())
        .filter(|(_, _, key)| key.alive().is_some() || key.whole == Whole::Nowhere);
    if let Some((at, store, key)) = here {
        if at.name() != slot.name() {
            return Err(refusals::elsewhere(&key, at.name()));
        }
        if key.name != name {
            state.tokens().check_free(&name).await?;
        }
        let found = Found { slot: at, store, digest: manifest.digest(), key };
        return succeed(state, connection, &found, &name, manifest).await;
    }
    state.tokens().check_free(&name).await?;
    state.tokens().check_new(manifest.public_key(), &slot, false).await?;
    let set = SplitSet::new(SetState::Alive, manifest);
    let digest = set.manifest.digest();
    let key = Arc::new(SplitKey::new(name, Origin::Imported, Whole::Nowhere, set));
    let found = Found { slot: Arc::clone(&slot), store, key: Arc::clone(&key), digest };
    // What it has signed before is not known here, so it is none of the keys that were made here.
    state.journal("share.adopted", Some(connection.peer()), set_json(&key, found.set()?)).await?;
    found.put(SplitKey::clone(&key)).await?;
    let stored = key.stored().ok_or_else(|| Refusal::internal("a split key without a set"))?;
    let warnings = vec![unseen(&key)];
    Ok((HeldKey::here(slot, stored), warnings))
}

/// A newer set of a key that is here already, as after a backup that is older than the set: it is alive from now on, and
/// the key keeps its name.
async fn succeed(
    state: &AppState,
    connection: &Connection,
    found: &Found,
    name: &KeyName,
    manifest: SignedManifest,
) -> Result<(HeldKey, Vec<String>), Refusal> {
    check_newest(&found.key, &manifest)?;
    let mut key = SplitKey::clone(&found.key);
    let warnings = told(&key, name, &manifest);
    let set = SplitSet::new(SetState::Alive, manifest);
    let mut body = set_json(&key, &set);
    if let (Some(old), Some(members)) = (key.alive(), body.as_object_mut()) {
        members.insert("replaces".to_owned(), json!(old.manifest.digest().to_string()));
        members.insert("note".to_owned(), json!(REVOKES_NOTHING));
    }
    state.journal("share.adopted", Some(connection.peer()), body.clone()).await?;
    key.take_over(set);
    let stored = key.stored().ok_or_else(|| Refusal::internal("a split key without a set"))?;
    found.put(key).await?;
    state.journal("set.alive", Some(connection.peer()), body).await?;
    Ok((HeldKey::here(Arc::clone(&found.slot), stored), warnings))
}

/// Whether this set comes after all that are, or were, known here: one that was replaced or given up does not come back.
fn check_newest(key: &SplitKey, manifest: &SignedManifest) -> Result<(), Refusal> {
    if let Some(set) = key.set(&manifest.digest()) {
        return Err(match (set.state, key.alive()) {
            (SetState::Alive, _) => refusals::alive_already(key, set),
            (SetState::Proving, None) => refusals::unproven(key, set),
            (SetState::Proving, Some(_)) | (SetState::Dead, _) => refusals::dead_or_new(key, set),
        });
    }
    let newest = key.used().iter().map(|used| used.sequence).max().unwrap_or_default();
    if manifest.sequence() > newest { Ok(()) } else { Err(refusals::no_newer(key, manifest, newest)) }
}

/// What a person should know of a newer set.
fn told(key: &SplitKey, name: &KeyName, manifest: &SignedManifest) -> Vec<String> {
    let (kept, sequence) = (&key.name, manifest.sequence());
    let mut warnings = vec![unseen(key)];
    if let Some(old) = key.alive() {
        let old = old.manifest.sequence();
        warnings.push(format!(
            "set {sequence} of the key {kept} takes the place of set {old}, which is dead; {REVOKES_NOTHING}"
        ));
    }
    if manifest.previous().is_none_or(|before| key.set(&before).is_none()) {
        warnings
            .push(format!("the set that was replaced by set {sequence} of the key {kept} is not known here"));
    }
    if kept != name {
        warnings.push(format!("this very key is here already: it keeps its name {kept}"));
    }
    warnings
}

fn unseen(key: &SplitKey) -> String {
    format!(
        "nobody has proven a share of {} to this agent, and a newer set of the key may be in use: it gets no new role before it was rehearsed (tufctl share drill) or every custodian has run tufctl share confirm",
        key.name
    )
}
