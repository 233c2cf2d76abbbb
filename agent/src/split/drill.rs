//! A rehearsal of the recovery: the key is brought together and signs a statement that is never metadata.

use std::sync::Arc;

use custody::Drill;
use policy::Reason;
use secmem::SecretBytes;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;
use tuf::digest::Sha256Digest;
use tufagent_proto::v1::drill_event::Event;
use tufagent_proto::v1::{DrillEvent, DrillReport, DrillRequest};

use super::collection::{Purpose as For, Subject, Which};
use super::record::SplitKey;
use super::{Found, gather, refusals, set_json};
use crate::clock;
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::Purpose;

/// Where events go.
type Events = mpsc::Sender<Result<DrillEvent, Status>>;

/// Collects shares of a living set, proves that they make the key, and remembers when.
///
/// # Errors
/// As a signature by the key.
pub(crate) async fn drill(
    state: &AppState,
    connection: &Arc<Connection>,
    request: DrillRequest,
    events: &Events,
) -> Result<(), Refusal> {
    let found = Found::by_digest(state, &request.set_sha256)?;
    let manifest = found.alive()?.manifest.clone();
    let name = found.key.name.to_string();
    found.slot.ensure_usable().await?;
    let purpose = Purpose::of(connection, format!("a drill with the split key {name}; it signs no metadata"));
    found.slot.confirm_by_person(&purpose, &[]).await?;
    let about = json!({"drill": found.digest.to_string()}).to_string();
    let subject = Subject::of(For::Drill, Sha256Digest::of(about.as_bytes()), about);
    let (token, patience) = (found.slot.name(), found.slot.config().collect_for());
    let at_least = usize::try_from(request.shares).unwrap_or(usize::MAX).min(manifest.members().len());
    let which = Which { key: &name, token, manifest: &manifest, store: &found.store, patience, at_least };
    let tell = |collection| send(events, Event::Collecting(collection));
    let gone = || async {
        events.closed().await;
        gone()
    };
    let gathered = gather(state, connection, which, subject, tell, gone).await?;
    gathered.check(state)?;
    let at = clock::now();
    let (mut collected, custodians, using) = (gathered.collected, gathered.custodians, gathered.using);
    let prove = move || {
        let passphrase = SecretBytes::with_len(0, |_| {});
        let drill = collected.prove(at, &passphrase).map_err(|error| refusals::recover(&error, &name))?;
        // As anybody would check it.
        Drill::parse(drill.to_json().as_bytes(), collected.manifest()).map_err(|error| {
            Refusal::new(Reason::BadSignature, format!("the drill does not hold: {error}"))
        })?;
        Ok::<_, Refusal>(drill)
    };
    let drill = tokio::task::spawn_blocking(prove).await.map_err(Refusal::internal)??;
    remember(state, connection, &found.digest, &drill, &custodians).await?;
    using.done();
    let report = DrillReport {
        key: found.key.name.to_string(),
        custodians,
        statement: drill.to_json().to_owned(),
        sig: drill.signature().hex(),
        time: at.to_string(),
    };
    send(events, Event::Report(report)).await
}

/// That the set works, and when.
async fn remember(
    state: &AppState,
    connection: &Connection,
    digest: &Sha256Digest,
    drill: &Drill,
    custodians: &[String],
) -> Result<(), Refusal> {
    let _changing = state.splits().changing().await;
    // It may have changed meanwhile.
    let found = Found::by_digest(state, &digest.to_string())?;
    let mut body = set_json(&found.key, found.set()?);
    if let Some(members) = body.as_object_mut() {
        members.insert("custodians".to_owned(), json!(custodians));
        members.insert("sig".to_owned(), json!(drill.signature().hex()));
    }
    state.journal("share.drill", Some(connection.peer()), body).await?;
    let mut key = SplitKey::clone(&found.key);
    if let Some(set) = key.set_mut(digest) {
        set.drilled = Some(drill.at());
    }
    found.put(key).await
}

async fn send(events: &Events, event: Event) -> Result<(), Refusal> {
    events.send(Ok(DrillEvent { event: Some(event) })).await.map_err(|_| gone())
}

pub(super) fn gone() -> Refusal {
    Refusal::new(Reason::Cancelled, "the caller has gone; all shares that were given are wiped")
        .remedy("ask again")
}
