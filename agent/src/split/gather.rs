//! One collection from its opening to its end, and what others give to it.

use policy::Reason;
use tufagent_proto::v1::{self, GiveShareReply, GiveShareRequest};

use super::collection::{Gathered, Subject, Which, ended_json, gathered_json};
use super::{of_public, refuse_unproven};
use crate::door::Connection;
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
    match open.gather(tell, gone).await {
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
    let which = Which { key: &key.name, token: slot.name(), manifest: &set.manifest, store: &store };
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
    let taking = std::sync::Arc::clone(&collection);
    let given = tokio::task::spawn_blocking(move || taking.give(&words)).await.map_err(Refusal::internal)?;
    let custodian = state.splits().note(peer.uid, given)?;
    Ok(GiveShareReply { custodian: custodian.to_string(), collection: Some(collection.describe()) })
}
