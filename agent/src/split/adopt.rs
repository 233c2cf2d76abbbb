//! A set that this agent did not make: its manifest comes from another agent, or from before the state was lost.

use std::sync::Arc;

use backend::{KeyName, Origin};
use custody::SignedManifest;
use secmem::SecretBytes;

use super::record::{SetState, SplitKey, SplitSet, Whole};
use super::{Found, refusals, set_json};
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{HeldKey, Slot};

/// Takes a manifest (`set.json`) in under this name; the set counts as alive, so that it goes on signing, and
/// its key gets no new role before its shares were seen to be there.
///
/// # Errors
/// `KEY_FILE` for what is no manifest, or does not hold; `DUPLICATE_KEY`.
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
    state.tokens().check_new(manifest.public_key(), &slot, false).await?;
    slot.ensure_usable().await?;
    let set = SplitSet::new(SetState::Alive, manifest);
    let digest = set.manifest.digest();
    let key = Arc::new(SplitKey::new(name, Origin::Imported, Whole::Nowhere, set));
    let found = Found { slot: Arc::clone(&slot), store, key: Arc::clone(&key), digest };
    // What it has signed before is not known here, so it is none of the keys that were made here.
    state.journal("share.adopted", Some(connection.peer()), set_json(&key, found.set()?)).await?;
    found.put(SplitKey::clone(&key)).await?;
    let stored = key.stored().ok_or_else(|| Refusal::internal("a split key without a set"))?;
    let warnings = vec![format!(
        "nobody has proven a share of {} to this agent, and a newer set of the key may be in use: it gets no new role before it was rehearsed (tufctl share drill) or every custodian has run tufctl share confirm",
        key.name
    )];
    Ok((HeldKey::here(slot, stored), warnings))
}
