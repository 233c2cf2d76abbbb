//! A new set of a key that had none: one that is made here, or one that the file store holds whole.

use std::sync::Arc;

use backend::filestore::FileStore;
use backend::{KeyName, Origin};
use custody::{Context, IterationExponent, NewSet, SignedManifest, SplitKind};
use policy::Reason;
use secmem::SecretBytes;
use serde_json::{Value, json};
use tuf::key::{KeyType, PublicKey};
use tuf::word;
use tufagent_proto::v1::split_request::Of;
use tufagent_proto::v1::{HandedShare, SplitReply, SplitRequest};

use super::hand_out;
use super::record::{SetState, SplitKey, SplitSet, Whole};
use super::terms::Wanted;
use super::{Found, SplitStore, describe, of_public, refusals, serving};
use crate::clock;
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{HeldKey, Purpose, Slot};

/// What is to be split.
struct Source {
    name: KeyName,
    kind: SplitKind,
    origin: Origin,
    whole: Whole,
    /// None: a key is made.
    secret: Option<SecretBytes>,
}

/// Makes a key, or takes one of the file store, splits it and hands the shares out.
///
/// # Errors
/// `WEAK_SET`, `NAME_TAKEN`, `DUPLICATE_KEY`, `UNSUPPORTED`, `TOKEN_LOCKED`, `CALLER` and others: then there is no set.
pub(crate) async fn split(
    state: AppState,
    connection: Arc<Connection>,
    request: SplitRequest,
) -> Result<SplitReply, Refusal> {
    let slot = token(&state, &request.token)?;
    let store = slot.split_store().ok_or_else(|| no_shares(slot.name()))?;
    let of = request.of.ok_or_else(|| usage("it was not said which key is to be split"))?;
    let name = match &of {
        Of::NewKey(new) => new.name.clone(),
        Of::Key(name) => name.clone(),
    };
    let wanted = Wanted::read(&connection, &name, request.terms)?;
    slot.ensure_usable().await?;
    // People are asked while nothing is held that others wait for.
    let whole = match &of {
        Of::NewKey(_) => None,
        Of::Key(_) => Some(allowed(&state, &connection, &name, &wanted).await?),
    };
    let purpose = Purpose::of(&connection, String::new());
    slot.confirm_split(&name, &purpose, &wanted.lines()).await?;
    // What is begun from here on is done to its end, also when the caller goes away.
    let open = state.hold_open().await;
    let work = async move {
        let _open = open;
        let _names = state.tokens().hold_names().await;
        let _changing = state.splits().changing().await;
        let source = match (of, whole) {
            (Of::NewKey(new), _) => new_key(&state, &name, &new.r#type).await?,
            (Of::Key(_), whole) => whole_key(&state, &name, whole, request.keep).await?,
        };
        made(&state, &connection, (slot, store), source, wanted).await
    };
    tokio::spawn(work).await.map_err(Refusal::internal)?
}

/// The set, durably, and its shares, each for its custodian.
async fn made(
    state: &AppState,
    connection: &Connection,
    (slot, store): (Arc<Slot>, Arc<SplitStore>),
    source: Source,
    wanted: Wanted,
) -> Result<SplitReply, Refusal> {
    if store.all().iter().any(|key| key.name == source.name) {
        return Err(Refusal::new(
            Reason::NameTaken,
            format!("token {} has a key named {} already", slot.name(), source.name),
        )
        .remedy("forget that one first: tufctl key remove NAME, or, while its set waits for proofs, tufctl share split NAME --abort; or choose another name")
        .detail("key", source.name.as_str()));
    }
    let (asked, unwise) = (asked_json(&slot, &source, &wanted), wanted.warnings());
    state.journal("share.split", Some(connection.peer()), asked).await?;
    let Source { name, kind, origin, whole, secret } = source;
    let of_file_store = secret.is_some();
    let make = {
        let name = name.clone();
        move || {
            let (manifest, shares) = make(&name, kind, secret, &wanted)?;
            let handed = hand_out::seal_all(&manifest, shares, &wanted)?;
            Ok::<(SignedManifest, Vec<HandedShare>), Refusal>((manifest, handed))
        }
    };
    let (manifest, shares) = tokio::task::spawn_blocking(make).await.map_err(Refusal::internal)??;
    let set = SplitSet::new(SetState::Proving, manifest);
    let digest = set.manifest.digest();
    let key = Arc::new(SplitKey::new(name, origin, whole, set));
    let found = Found { slot: Arc::clone(&slot), store, key: Arc::clone(&key), digest };
    // Durable before a share leaves: one whose manifest nobody has is of no use.
    found.put(SplitKey::clone(&key)).await?;
    if !of_file_store {
        state.journal("key.made", Some(connection.peer()), made_json(&found)?).await?;
    }
    state.journal("share.made", Some(connection.peer()), super::set_json(&key, found.set()?)).await?;
    let mut warnings = warnings(&key, found.set()?, unwise);
    if let Some(public) = key.public().filter(|_| of_file_store) {
        let serves = state.repositories().served_by(public).await.unwrap_or_default();
        warnings.extend(serving::of_roles(&key, &serves));
    }
    let stored = key.stored().ok_or_else(|| Refusal::internal("a split key without a set"))?;
    let held = HeldKey::here(Arc::clone(&slot), stored);
    let set = describe(state, &slot, &key, found.set()?);
    Ok(SplitReply { key: Some(serving::described(state, &held)), set: Some(set), shares, warnings })
}

/// The token that is named; with no name the only one that holds split keys.
fn token(state: &AppState, name: &str) -> Result<Arc<Slot>, Refusal> {
    if !name.is_empty() {
        let slot = state.tokens().get(name)?;
        return if slot.is_split() { Ok(slot) } else { Err(no_shares(name)) };
    }
    let mut all = state.tokens().split_stores();
    match (all.pop(), all.len()) {
        (Some((only, _)), 0) => Ok(only),
        (None, _) => Err(Refusal::new(Reason::TokenUnknown, "no token of kind shares is configured").remedy(
            "add one to the configuration: [[token]] with a name and kind = \"shares\"; then reload: systemctl --user reload tuf-agent",
        )),
        (Some(_), _) => Err(usage("there is more than one token of kind shares, so it must be named by --token")),
    }
}

fn no_shares(name: &str) -> Refusal {
    Refusal::new(Reason::Unsupported, format!("token {name} holds no split keys"))
        .remedy("name a token of kind shares")
        .detail("token", name)
}

fn usage(why: &str) -> Refusal {
    Refusal::new(Reason::Usage, why).remedy("see tufctl share --help")
}

fn kind_of(key_type: KeyType) -> Result<SplitKind, Refusal> {
    SplitKind::of(key_type).ok_or_else(|| {
        Refusal::new(Reason::Unsupported, format!("keys of type {key_type} cannot be split"))
            .remedy("take ed25519 or ecdsa-p256")
    })
}

async fn new_key(state: &AppState, name: &str, key_type: &str) -> Result<Source, Refusal> {
    let key_type: KeyType =
        key_type.parse().map_err(|_| usage(&format!("there is no key type {key_type:?}")))?;
    let kind = kind_of(key_type)?;
    let name = crate::tokens::key_name(name)?;
    state.tokens().check_free(&name).await?;
    Ok(Source { name, kind, origin: Origin::Generated, whole: Whole::Nowhere, secret: None })
}

/// A key of the file store that this caller may split: all shares together are the key itself, so that where the store has
/// `confirm` a person says yes to whom each of them goes.
async fn allowed(
    state: &AppState,
    connection: &Connection,
    name: &str,
    wanted: &Wanted,
) -> Result<PublicKey, Refusal> {
    let peer = connection.peer();
    if peer.uid != rustix::process::geteuid().as_raw() {
        let message = format!("the key {name} would leave the file store, for a caller who is another user");
        return Err(Refusal::new(Reason::Caller, message)
            .remedy("have the user of the agent split it")
            .detail("key", name));
    }
    let (key, _) = in_file_store(state, name).await?;
    kind_of(key.stored.public.key_type())?;
    let purpose = Purpose::of(connection, format!("to split the key {name} among people"));
    key.slot.ensure_usable_for(&purpose).await?;
    let purpose = Purpose::of(connection, "Enough shares together are the key itself.".to_owned());
    key.slot.confirm_split(name, &purpose, &wanted.lines()).await?;
    Ok(key.stored.public)
}

/// The key of this name, not split yet, and the file store that has it.
async fn in_file_store(state: &AppState, name: &str) -> Result<(HeldKey, Arc<FileStore>), Refusal> {
    let key = state.tokens().key(name).await?;
    let Some(file) = key.slot.file_store() else {
        let message = format!("the key {name} lies on token {}, which gives no key out", key.slot.name());
        return Err(Refusal::new(Reason::Unsupported, message)
            .remedy("split a key of the file store, or make a new one: tufctl key generate NAME --token TOKEN --threshold M --custodian C")
            .detail("key", name));
    };
    if let Some((_, _, split)) = of_public(state, &key.stored.public) {
        let (again, abort) = (word::last(name), word::before(name, "--abort"));
        let (what, remedy) = match split.alive() {
            Some(_) => ("is split already", format!("other people or numbers: tufctl share resplit {again}")),
            None => (
                "is being split already",
                format!(
                    "have its custodians run tufctl share confirm; other people or numbers: tufctl share split {abort}, then split it again"
                ),
            ),
        };
        return Err(Refusal::new(Reason::DuplicateKey, format!("the key {name} {what}"))
            .remedy(remedy)
            .detail("key", name));
    }
    Ok((key, file))
}

/// The same key as was allowed, in locked memory.
async fn whole_key(
    state: &AppState,
    name: &str,
    allowed: Option<PublicKey>,
    keep: bool,
) -> Result<Source, Refusal> {
    let (key, file) = in_file_store(state, name).await?;
    let public = key.stored.public.clone();
    if allowed.as_ref() != Some(&public) {
        return Err(Refusal::new(Reason::KeyNotFound, format!("the key {name} is another one now"))
            .remedy("see the keys: tufctl key list; then split it again")
            .detail("key", name));
    }
    let kind = kind_of(public.key_type())?;
    // It may have been locked since.
    key.slot.ensure_usable().await?;
    let secret = key.slot.run(move |_| file.copy_secret_to_split_it(&public)).await?;
    let whole = if keep { Whole::Stays } else { Whole::Goes };
    Ok(Source { name: key.stored.name, kind, origin: key.stored.origin, whole, secret: Some(secret) })
}

/// Blocks.
fn make(
    name: &KeyName,
    kind: SplitKind,
    secret: Option<SecretBytes>,
    wanted: &Wanted,
) -> Result<(SignedManifest, Vec<custody::NewShare>), Refusal> {
    let passphrase = SecretBytes::with_len(0, |_| {});
    let context = Context {
        key_name: name.as_str(),
        made_at: clock::now(),
        exponent: IterationExponent::default(),
        passphrase: &passphrase,
        used: &[],
    };
    let made = match secret {
        None => NewSet::generate(kind, &wanted.agreed, &context),
        Some(secret) => NewSet::of_secret(&secret, kind, &wanted.agreed, &context, None),
    };
    Ok(made.map_err(|error| refusals::split(&error, name.as_str()))?.into_parts())
}

fn asked_json(slot: &Slot, source: &Source, wanted: &Wanted) -> Value {
    json!({
        "key": source.name.as_str(),
        "token": slot.name(),
        "type": source.kind.key_type().to_string(),
        "of": if source.secret.is_some() { "file store" } else { "new" },
        "keep": source.whole == Whole::Stays,
        "terms": wanted.json(),
    })
}

/// As of every key that is made.
fn made_json(found: &Found) -> Result<Value, Refusal> {
    let set = found.set()?;
    Ok(json!({
        "name": found.key.name.as_str(),
        "token": found.slot.name(),
        "type": set.manifest.kind().key_type().to_string(),
        "keyid": set.manifest.keyid().to_string(),
        "origin": found.key.origin.as_str(),
        "set": set.manifest.digest().to_string(),
    }))
}

/// What people should know of it.
fn warnings(key: &SplitKey, set: &SplitSet, mut warnings: Vec<String>) -> Vec<String> {
    let name = &key.name;
    warnings.push(format!(
        "the key {name} signs nothing and serves no role before {} proven (tufctl share confirm)",
        match set.manifest.terms().count() {
            1 => "its one share is".to_owned(),
            all => format!("all {all} shares are"),
        }
    ));
    match key.whole {
        Whole::Nowhere => {}
        Whole::Goes => warnings.push(format!(
            "the whole copy of {name} goes from the file store with the last proof; backups and flash cells may still hold it: a new key, split when it is made, is better"
        )),
        Whole::Stays => warnings.push(format!(
            "the whole copy of {name} stays in the file store: whoever has that and its passphrase needs no shares"
        )),
    }
    warnings
}
