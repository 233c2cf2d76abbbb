//! Other people, other numbers, the same key. The new set is proven by all its custodians before the old one is dead.
//!
//! It revokes nothing: enough old shares still make the key. Both sets stand in one record, which is written whole, so
//! that a kill at any point leaves one that is alive.

use std::sync::Arc;

use custody::{Collected, Context, IterationExponent, SignedManifest, Used};
use policy::Reason;
use secmem::SecretBytes;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;
use tuf::word;
use tufagent_proto::v1::resplit_event::Event;
use tufagent_proto::v1::{
    EndResplitReply, EndResplitRequest, HandedShare, ResplitEvent, ResplitRequest, SplitReply,
};

use super::collection::{Purpose as For, Subject, Which};
use super::drill::gone;
use super::hand_out;
use super::record::{SetState, SplitKey, SplitSet, Whole};
use super::terms::Wanted;
use super::{Found, describe, gather, refusals, set_json};
use crate::clock;
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{HeldKey, Purpose};

/// Where events go.
type Events = mpsc::Sender<Result<ResplitEvent, Status>>;

/// Collects shares of the living set, makes another one of the same key and hands it out.
///
/// # Errors
/// As a signature by the key, and as a split.
pub(crate) async fn resplit(
    state: &AppState,
    connection: &Arc<Connection>,
    request: ResplitRequest,
    events: &Events,
) -> Result<(), Refusal> {
    let found = Found::by_digest(state, &request.set_sha256)?;
    let manifest = found.alive()?.manifest.clone();
    none_under_way(&found.key)?;
    let name = found.key.name.to_string();
    let wanted = Wanted::read(connection, &name, request.terms)?;
    found.slot.ensure_usable().await?;
    let purpose = Purpose::of(connection, "Its custodians give their shares for these terms.".to_owned());
    found.slot.confirm_split(&name, &purpose, &wanted.lines()).await?;
    let (terms, digest) = wanted.digest_after(&found.digest);
    let subject = Subject::of(For::Resplit, digest, terms);
    let (token, patience) = (found.slot.name(), found.slot.config().collect_for());
    let which = Which { key: &name, token, manifest: &manifest, store: &found.store, patience, at_least: 0 };
    let tell = |collection| send(events, Event::Collecting(collection));
    let gone = || async {
        events.closed().await;
        gone()
    };
    let gathered = gather(state, connection, which, subject, tell, gone).await?;
    // From here on nobody else changes the record; what was read of it is read again.
    let _changing = state.splits().changing().await;
    let found = Found::by_digest(state, &request.set_sha256)?;
    found.alive()?;
    none_under_way(&found.key)?;
    let mut body = set_json(&found.key, found.set()?);
    if let Some(members) = body.as_object_mut() {
        members.insert("terms".to_owned(), wanted.json());
        members.insert("custodians".to_owned(), json!(gathered.custodians));
        members.insert("note".to_owned(), json!(REVOKES_NOTHING));
    }
    state.journal("share.resplit", Some(connection.peer()), body).await?;
    gathered.check(state)?;
    let unwise = wanted.warnings();
    let (collected, using) = (gathered.collected, gathered.using);
    let used = found.key.used();
    let (made, shares) = tokio::task::spawn_blocking(move || make(&name, collected, &wanted, &used))
        .await
        .map_err(Refusal::internal)??;
    let reply = keep(state, connection, &found, (made, shares), unwise).await?;
    using.done();
    send(events, Event::Made(reply)).await
}

/// Blocks.
fn make(
    name: &str,
    mut collected: Collected,
    wanted: &Wanted,
    used: &[Used],
) -> Result<(SignedManifest, Vec<HandedShare>), Refusal> {
    let passphrase = SecretBytes::with_len(0, |_| {});
    let context = Context {
        key_name: name,
        made_at: clock::now(),
        exponent: IterationExponent::default(),
        passphrase: &passphrase,
        used,
    };
    let set = collected.resplit(&passphrase, &wanted.agreed, &context);
    let (manifest, shares) = set.map_err(|error| refusals::split(&error, name))?.into_parts();
    drop(collected);
    let handed = hand_out::seal_all(&manifest, shares, wanted)?;
    Ok((manifest, handed))
}

/// Durable before a share leaves.
async fn keep(
    state: &AppState,
    connection: &Connection,
    found: &Found,
    (manifest, shares): (SignedManifest, Vec<HandedShare>),
    mut warnings: Vec<String>,
) -> Result<SplitReply, Refusal> {
    let set = SplitSet::new(SetState::Proving, manifest);
    warnings.push(REVOKES_NOTHING.to_owned());
    let (described, body) = (describe(state, &found.slot, &found.key, &set), set_json(&found.key, &set));
    let mut key = SplitKey::clone(&found.key);
    key.add(set);
    let stored = key.stored().ok_or_else(|| Refusal::internal("a split key without a set"))?;
    let held = HeldKey::here(Arc::clone(&found.slot), stored);
    found.put(key).await?;
    state.journal("share.made", Some(connection.peer()), body).await?;
    Ok(SplitReply { key: Some(held.describe()), set: Some(described), shares, warnings })
}

/// One at a time.
fn none_under_way(key: &SplitKey) -> Result<(), Refusal> {
    let Some(set) = key.proving() else { return Ok(()) };
    let name = &key.name;
    Err(Refusal::new(Reason::NameTaken, format!("set {} of the key {name} waits for its proofs", set.manifest.sequence()))
        .remedy(format!(
            "finish it (tufctl share confirm, then tufctl share resplit {}) or give it up: tufctl share resplit {}",
            word::before(name.as_str(), "--phase commit"),
            word::before(name.as_str(), "--phase abort")
        ))
        .detail("key", name.as_str())
        .detail("set", set.manifest.digest().to_string()))
}

/// The new set takes over, or is forgotten.
///
/// # Errors
/// `SHARE_UNPROVEN` while a custodian has not proven their share.
pub(crate) async fn end_resplit(
    state: AppState,
    connection: Arc<Connection>,
    request: EndResplitRequest,
) -> Result<EndResplitReply, Refusal> {
    // A record that is being written is written to its end before another one, also when the caller goes away.
    let open = state.hold_open().await;
    let work = async move {
        let _open = open;
        end(&state, &connection, &request).await
    };
    tokio::spawn(work).await.map_err(Refusal::internal)?
}

async fn end(
    state: &AppState,
    connection: &Connection,
    request: &EndResplitRequest,
) -> Result<EndResplitReply, Refusal> {
    let _changing = state.splits().changing().await;
    let found = Found::by_digest(state, &request.set_sha256)?;
    let set = found.set()?;
    if set.state == SetState::Dead {
        return Err(refusals::dead(&found.key, set));
    }
    match (request.commit, set.state) {
        (true, SetState::Alive) => {
            // Asked again after an answer that was lost.
            let set = describe(state, &found.slot, &found.key, set);
            Ok(EndResplitReply { set: Some(set), notes: Vec::new() })
        }
        (false, SetState::Alive) => Err(Refusal::new(
            Reason::Usage,
            format!(
                "set {} of the key {} is alive: there is nothing to give up",
                set.manifest.sequence(),
                found.key.name
            ),
        )
        .remedy(format!("to forget the key: tufctl key remove {}", word::last(found.key.name.as_str())))),
        (true, _) => commit(state, connection, &found).await,
        (false, _) => abort(state, connection, &found).await,
    }
}

async fn commit(
    state: &AppState,
    connection: &Connection,
    found: &Found,
) -> Result<EndResplitReply, Refusal> {
    let set = found.set()?;
    if !set.is_proven() {
        return Err(refusals::unproven(&found.key, set));
    }
    let mut body = set_json(&found.key, set);
    if let (Some(old), Some(members)) = (found.key.alive(), body.as_object_mut()) {
        members.insert("replaces".to_owned(), json!(old.manifest.digest().to_string()));
        members.insert("note".to_owned(), json!(REVOKES_NOTHING));
    }
    state.journal("set.replace", Some(connection.peer()), body.clone()).await?;
    let mut key = SplitKey::clone(&found.key);
    key.replace(&found.digest);
    found.put(key.clone()).await?;
    state.journal("set.alive", Some(connection.peer()), body).await?;
    let alive = key.alive().ok_or_else(|| Refusal::internal("no set is alive"))?;
    let described = describe(state, &found.slot, &key, alive);
    Ok(EndResplitReply { set: Some(described), notes: vec![REVOKES_NOTHING.to_owned()] })
}

async fn abort(state: &AppState, connection: &Connection, found: &Found) -> Result<EndResplitReply, Refusal> {
    let body = set_json(&found.key, found.set()?);
    let (name, whole) = (&found.key.name, found.key.whole);
    let left = SplitKey::clone(&found.key).without_proving();
    if left.is_none() && whole != Whole::Nowhere {
        whole_is_there(state, &found.key).await?;
    }
    state.journal("set.abort", Some(connection.peer()), body).await?;
    let given_up = "shares of it that were handed out still make the key: have them destroyed";
    if let Some(left) = left {
        found.put(left.clone()).await?;
        let set = left.alive().map(|set| describe(state, &found.slot, &left, set));
        let note = format!("the set that was alive stays so; the new one is given up, and {given_up}");
        return Ok(EndResplitReply { set, notes: vec![note] });
    }
    let (store, forgotten) = (Arc::clone(&found.store), name.clone());
    found.slot.run(move |_| store.forget(&forgotten)).await?;
    if let Some(public) = found.key.public() {
        found.slot.forget(public);
    }
    let note = match whole {
        Whole::Nowhere => format!("the key {name} is forgotten, and was whole nowhere; {given_up}"),
        Whole::Goes | Whole::Stays => {
            format!("the key {name} is whole in the file store, as before; {given_up}")
        }
    };
    Ok(EndResplitReply { set: None, notes: vec![note] })
}

/// Looks whether the file store really has the key: these shares may be all there is of it.
async fn whole_is_there(state: &AppState, key: &SplitKey) -> Result<(), Refusal> {
    let files = state.tokens().all().into_iter().find(|slot| slot.file_store().is_some());
    let held = match files {
        Some(files) => files.run(|backend| backend.keys()).await?,
        None => Vec::new(),
    };
    if held.iter().any(|stored| Some(&stored.public) == key.public()) {
        return Ok(());
    }
    let name = &key.name;
    Err(Refusal::new(Reason::KeyNotFound, format!("the whole copy of {name} is not in the file store: these shares are all there is of it"))
        .remedy(format!(
            "have every custodian prove their share (tufctl share confirm), or bring the copy back (tufctl restore); to be without the key: tufctl key remove {}",
            word::last(name.as_str())
        ))
        .detail("key", name.as_str()))
}

/// Said wherever a set takes the place of another.
pub(super) const REVOKES_NOTHING: &str = "this revokes nothing: enough shares of the old set still make the key, so they must be destroyed; a custodian who is no longer trusted means a new key (tufctl root replace-key)";

async fn send(events: &Events, event: Event) -> Result<(), Refusal> {
    events.send(Ok(ResplitEvent { event: Some(event) })).await.map_err(|_| gone())
}
