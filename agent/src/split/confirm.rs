//! Proofs: each custodian shows once that they have their share. With the last one the key is alive, and what was left of
//! it whole goes.
//!
//! The record says that the set is alive before the whole copy goes: killed anywhere, either the whole copy or a complete
//! proven set is there, and the next start finishes.

use std::sync::Arc;

use custody::{CustodianRef, Share};
use policy::Reason;
use secmem::SecretBytes;
use serde_json::{Value, json};
use tuf::word;
use tufagent_proto::v1::{ConfirmShareReply, ConfirmShareRequest};

use super::record::{SetState, SplitKey, Whole};
use super::{Found, describe, refusals, set_json};
use crate::door::{Connection, Peer};
use crate::refusal::Refusal;
use crate::state::AppState;

/// One custodian's proof.
///
/// # Errors
/// `SHARE_INVALID` for a share that does not belong; nothing has changed then.
pub(crate) async fn confirm(
    state: AppState,
    connection: Arc<Connection>,
    request: ConfirmShareRequest,
) -> Result<ConfirmShareReply, Refusal> {
    let peer = connection.peer();
    let sealed = request.share.as_ref().ok_or_else(|| {
        Refusal::new(Reason::Usage, "no share was given").remedy("seal it for this connection")
    })?;
    state.splits().not_too_early(peer.uid).await?;
    let words = connection.seal().open(sealed, &format!("confirm:{}", request.set_sha256))?;
    // A record that is being written is written to its end before another one, also when the caller goes away.
    let open = state.hold_open().await;
    let work = async move {
        let _open = open;
        proven(&state, connection.peer(), &request, words).await
    };
    tokio::spawn(work).await.map_err(Refusal::internal)?
}

async fn proven(
    state: &AppState,
    peer: &Peer,
    request: &ConfirmShareRequest,
    words: SecretBytes,
) -> Result<ConfirmShareReply, Refusal> {
    let _changing = state.splits().changing().await;
    let found = Found::by_digest(state, &request.set_sha256)?;
    if found.set()?.state == SetState::Dead {
        return Err(refusals::dead(&found.key, found.set()?));
    }
    let key = Arc::clone(&found.key);
    let digest = found.digest;
    let look = move || whose(&key, &digest, &words);
    let looked = tokio::task::spawn_blocking(look).await.map_err(Refusal::internal)?;
    let custodian = state.splits().note(peer.uid, looked)?;
    let key = note(state, peer, &found, &custodian).await?;
    let (key, notes) = settle(state, Some(peer), &found, key).await?;
    let set = key.set(&found.digest).ok_or_else(|| refusals::unknown_set(&request.set_sha256))?;
    let set = describe(state, &found.slot, &key, set);
    Ok(ConfirmShareReply { custodian: custodian.to_string(), set: Some(set), notes })
}

/// Blocks.
fn whose(
    key: &SplitKey,
    digest: &tuf::digest::Sha256Digest,
    words: &SecretBytes,
) -> Result<CustodianRef, Refusal> {
    let share = Share::parse(words.reveal_secret_bytes()).map_err(|error| refusals::unreadable(&error))?;
    let set = key.set(digest).ok_or_else(|| refusals::unknown_set(&digest.to_string()))?;
    set.manifest.who_has(&share).map_err(|error| refusals::share(&error, &set.manifest, key.name.as_str()))
}

/// Writes the proof down; the last one of a first set makes it alive in the same breath.
async fn note(
    state: &AppState,
    peer: &Peer,
    found: &Found,
    custodian: &CustodianRef,
) -> Result<SplitKey, Refusal> {
    let mut key = SplitKey::clone(&found.key);
    let first = key.alive().is_none();
    let Some(set) = key.set_mut(&found.digest) else { return Err(refusals::unknown_set("")) };
    if !set.confirm(custodian) {
        return Ok(key);
    }
    let alive = first && set.is_proven();
    if alive {
        set.state = SetState::Alive;
    }
    let mut body = set_json(&found.key, found.set()?);
    add(&mut body, "custodian", json!(custodian.to_string()));
    state.journal("share.confirmed", Some(peer), body.clone()).await?;
    found.put(key.clone()).await?;
    if alive {
        state.journal("set.alive", Some(peer), body).await?;
    }
    Ok(key)
}

/// What follows from the record as it is now, with notes for people.
async fn settle(
    state: &AppState,
    peer: Option<&Peer>,
    found: &Found,
    key: SplitKey,
) -> Result<(SplitKey, Vec<String>), Refusal> {
    let name = key.name.clone();
    let Some(alive) = key.alive() else { return Ok((key, Vec::new())) };
    if alive.manifest.digest() != found.digest {
        // A new set of a key that is alive: whoever made it says when it takes over.
        let proven = key.proving().is_some_and(|set| set.is_proven());
        let commit = word::before(name.as_str(), "--phase commit");
        let note = format!("every custodian has proven their share: tufctl share resplit {commit}");
        return Ok((key, proven.then_some(note).into_iter().collect()));
    }
    match key.whole {
        Whole::Nowhere => Ok((key, Vec::new())),
        Whole::Stays => {
            Ok((key, vec![format!("the whole copy of {name} stays in the file store, as it was asked for")]))
        }
        Whole::Goes if alive.is_proven() => destroy_whole(state, peer, found, key).await,
        Whole::Goes => Ok((key, Vec::new())),
    }
}

/// The set is alive and proven: the whole copy goes.
async fn destroy_whole(
    state: &AppState,
    peer: Option<&Peer>,
    found: &Found,
    mut key: SplitKey,
) -> Result<(SplitKey, Vec<String>), Refusal> {
    let name = key.name.clone();
    let Some(public) = key.public().cloned() else { return Ok((key, Vec::new())) };
    let files =
        state.tokens().all().into_iter().find_map(|slot| slot.file_store().map(|store| (slot, store)));
    let Some((files, store)) = files else {
        return Ok((
            key,
            vec![format!(
                "the file store is not configured now: the whole copy of {name} goes when the agent starts with it"
            )],
        ));
    };
    let mut body = set_json(&key, key.alive().ok_or_else(|| refusals::unknown_set(""))?);
    add(&mut body, "token", json!(files.name()));
    state.journal("key.whole-destroy", peer, body.clone()).await?;
    let gone = public.clone();
    let was_there = files.run(move |_| store.destroy_split_key(&gone)).await?;
    files.forget(&public);
    key.whole = Whole::Nowhere;
    found.put(key.clone()).await?;
    state.journal("key.whole-destroyed", peer, body).await?;
    let note = if was_there {
        format!(
            "every custodian has proven their share: the whole copy of {name} is gone from the file store; backups and flash cells may still hold it, so a new key, split when it is made, is better"
        )
    } else {
        format!("every custodian has proven their share: {name} is whole nowhere here")
    };
    Ok((key, vec![note]))
}

/// What an end of the agent has interrupted; at its start.
pub(crate) async fn finish(state: &AppState) {
    let _changing = state.splits().changing().await;
    for (slot, store) in state.tokens().split_stores() {
        for key in store.all() {
            let Some(alive) = key.alive().filter(|_| key.whole == Whole::Goes) else { continue };
            let found = Found {
                slot: Arc::clone(&slot),
                store: Arc::clone(&store),
                digest: alive.manifest.digest(),
                key: Arc::clone(&key),
            };
            match settle(state, None, &found, SplitKey::clone(&key)).await {
                Ok((_, notes)) => notes.iter().for_each(|note| tracing::info!(key = %key.name, "{note}")),
                Err(refusal) => tracing::error!(
                    key = %key.name,
                    remedy = refusal.remedy,
                    "the whole copy of a split key could not be taken away: {refusal}"
                ),
            }
        }
    }
}

fn add(body: &mut Value, name: &str, value: Value) {
    if let Some(members) = body.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
