//! One collection from its opening to its end, and what others give to it.

use std::sync::Arc;
use std::time::Duration;

use policy::Reason;
use tufagent_proto::v1::{self, EndCollectionReply, EndCollectionRequest, GiveShareReply, GiveShareRequest};

use super::collection::{Gathered, Outcome, Subject, Which, ended_json, gathered_json, is_alive};
use super::store::Stop;
use super::{of_public, refusals, refuse_unproven};
use crate::door::Connection;
use crate::limits;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::HeldKey;

/// Opens a collection for this caller and waits until enough shares were given. Journalled at its opening and its end.
///
/// # Errors
/// `LIMIT`, `SHARES_MISSING`, `TOKEN_LOCKED`, `CANCELLED`: nothing of it is left then.
pub(crate) async fn gather<T, G>(
    state: &AppState,
    connection: &Connection,
    which: Which<'_>,
    subject: Subject,
    tell: impl Fn(v1::Collection) -> T,
    gone: impl Fn() -> G,
) -> Result<Gathered, Refusal>
where
    T: Future<Output = Result<(), Refusal>>,
    G: Future<Output = Refusal>,
{
    let open = state.splits().collections().open(&which, subject, connection.peer())?;
    let body = open.json();
    state.journal("share.collect", Some(connection.peer()), body.clone()).await?;
    let stands = || is_alive(state, which.manifest, which.key);
    let gathered = open.gather(tell, gone, stands).await.and_then(|gathered| {
        // A new configuration may have come before anybody listened for it.
        let stores = state.tokens().split_stores();
        match stores.iter().any(|(_, store)| std::ptr::eq(&**store, which.store)) {
            true => Ok(gathered),
            false => Err(refusals::stopped(which.token, Stop::Left)),
        }
    });
    match gathered {
        Ok(gathered) => {
            // Who took part stands in the record before the key is made whole.
            let done = gathered_json(&body, &gathered.custodians);
            state.journal("share.collected", Some(connection.peer()), done).await?;
            Ok(gathered)
        }
        Err(refusal) => {
            // It has ended whether or not that can be written down.
            let end = ended_json(&body, &refusal);
            if let Err(error) = state.journal("share.collect-ended", Some(connection.peer()), end).await {
                tracing::warn!("the end of a collection could not be journalled: {error}");
            }
            Err(refusal)
        }
    }
}

/// The same for a signature by this key.
///
/// # Errors
/// As [`gather`].
pub(crate) async fn gather_for<T, G>(
    state: &AppState,
    connection: &Connection,
    key: &HeldKey,
    subject: Subject,
    tell: impl Fn(v1::Collection) -> T,
    gone: impl Fn() -> G,
) -> Result<Gathered, Refusal>
where
    T: Future<Output = Result<(), Refusal>>,
    G: Future<Output = Refusal>,
{
    let (slot, store, split) =
        of_public(state, &key.stored.public).ok_or_else(|| Refusal::internal("a split key has no record"))?;
    let set = split.alive().ok_or_else(|| refuse_unproven(&split))?;
    let (token, patience) = (slot.name(), slot.config().collect_for());
    let which =
        Which { key: &key.name, token, manifest: &set.manifest, store: &store, patience, at_least: 0 };
    gather(state, connection, which, subject, tell, gone).await
}

/// Gives one share to a collection that is open.
///
/// # Errors
/// `SHARE_INVALID`, `SHARES_MISSING` for a collection that has ended, `USAGE` for a share that was sealed for something
/// else, `PIN_DELAYED`: nothing has changed then.
pub(crate) async fn give(
    state: &AppState,
    connection: &Connection,
    request: GiveShareRequest,
) -> Result<GiveShareReply, Refusal> {
    let peer = connection.peer();
    let collection = state.splits().collections().find(&request.collection, peer)?;
    let sealed = request.share.as_ref().ok_or_else(|| {
        Refusal::new(Reason::Usage, "no share was given").remedy("seal one to the key of the collection")
    })?;
    state.splits().not_too_early(peer.uid).await?;
    let words = collection.open_sealed(sealed)?;
    let taking = Arc::clone(&collection);
    let given = tokio::task::spawn_blocking(move || taking.give(&words)).await.map_err(Refusal::internal)?;
    let given = state.splits().note(peer.uid, given)?;
    let patience = if given.complete && request.wait { limits::OUTCOME } else { Duration::ZERO };
    let outcome = match collection.outcome(patience).await {
        Outcome::Open => "",
        Outcome::Done => "done",
        Outcome::Failed => "failed",
    };
    Ok(GiveShareReply {
        custodian: given.custodian.to_string(),
        collection: Some(given.collection),
        complete: given.complete,
        outcome: outcome.to_owned(),
    })
}

/// Ends a collection that waits for shares, for its opener; the call that opened it tells what came of it.
///
/// # Errors
/// `SHARES_MISSING` for one that has enough shares, or has ended.
pub(crate) async fn end_collection(
    state: AppState,
    connection: Arc<Connection>,
    request: EndCollectionRequest,
) -> Result<EndCollectionReply, Refusal> {
    let collection = state.splits().collections().find(&request.collection, connection.peer())?;
    Ok(EndCollectionReply { collection: Some(collection.end()?) })
}
