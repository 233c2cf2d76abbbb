//! Keys: one name space over all tokens.

use std::sync::Arc;

use backend::attestation::Attestation;
use backend::{KeyName, Removed};
use policy::Reason;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};
use tuf::key::KeyType;
use tuf::word;
use tufagent_proto::v1::keys_server::Keys;
use tufagent_proto::v1::{
    AttestKeyReply, AttestKeyRequest, GenerateKeyReply, GenerateKeyRequest, ImportKeyReply, ImportKeyRequest,
    ListKeysReply, ListKeysRequest, MayServeReply, MayServeRequest, RemoveKeyReply, RemoveKeyRequest,
};

mod card;

use super::answer;
use crate::config::TokenKind;
use crate::door::Connection;
use crate::limits;
use crate::refusal::Refusal;
use crate::repositories::RoleOfKey;
use crate::signing;
use crate::split;
use crate::state::AppState;
use crate::tokens::{Attested, HeldKey, Purpose, Slot, key_name};

/// The service.
pub struct KeysService(pub AppState);

#[tonic::async_trait]
impl Keys for KeysService {
    async fn list(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysReply>, Status> {
        answer(&self.0, "Keys.List", request, |state, _, wanted| async move {
            let tokens = state.tokens();
            let keys = if wanted.to_sign { tokens.keys_to_sign().await } else { tokens.keys_to_show().await };
            Ok(ListKeysReply { keys: keys.iter().map(|key| split::described(&state, key)).collect() })
        })
        .await
    }

    async fn generate(
        &self,
        request: Request<GenerateKeyRequest>,
    ) -> Result<Response<GenerateKeyReply>, Status> {
        answer(&self.0, "Keys.Generate", request, generate).await
    }

    async fn import(&self, request: Request<ImportKeyRequest>) -> Result<Response<ImportKeyReply>, Status> {
        answer(&self.0, "Keys.Import", request, import).await
    }

    async fn remove(&self, request: Request<RemoveKeyRequest>) -> Result<Response<RemoveKeyReply>, Status> {
        answer(&self.0, "Keys.Remove", request, remove).await
    }

    async fn attest(&self, request: Request<AttestKeyRequest>) -> Result<Response<AttestKeyReply>, Status> {
        answer(&self.0, "Keys.Attest", request, attest).await
    }

    async fn may_serve(&self, request: Request<MayServeRequest>) -> Result<Response<MayServeReply>, Status> {
        answer(&self.0, "Keys.MayServe", request, |state, _, wanted| async move {
            if wanted.keys.len() > limits::KEYS_NAMED {
                return Err(Refusal::new(Reason::Limit, format!("{} keys were named", wanted.keys.len()))
                    .remedy("name the keys of the role")
                    .detail("limit", limits::KEYS_NAMED));
            }
            if wanted.role.is_empty() {
                let unasked = signing::possessed(&state, &wanted.keys).await?;
                return Ok(MayServeReply { unasked, warnings: Vec::new() });
            }
            let role = wanted.role.parse().map_err(|error| {
                Refusal::new(Reason::NameInvalid, format!("{:?} is no role's name: {error}", wanted.role))
                    .remedy("name a role")
            })?;
            let unasked = signing::may_serve(&state, &wanted.repository, &role, &wanted.keys).await?;
            let mut warnings = split::by_hand(&state, &role, &wanted.keys).await;
            let held = state.tokens().keys_to_sign().await;
            let named = held.iter().filter(|key| wanted.keys.contains(&key.name));
            let keys: Vec<_> = named.map(|key| (key.name.as_str(), &key.stored.public)).collect();
            warnings.extend(state.repositories().serving_elsewhere(&wanted.repository, &keys).await?);
            Ok(MayServeReply { unasked, warnings })
        })
        .await
    }
}

/// A module may leave out what a new key was to be: older ones know no CKA_COPYABLE, and it is made without.
async fn not_kept_as_asked(key: &HeldKey) -> Option<String> {
    if !matches!(key.slot.config().kind, TokenKind::Pkcs11(_)) {
        return None;
    }
    let (name, token, public) = (&key.name, key.slot.name(), key.stored.public.clone());
    let told = key.slot.run(move |backend| backend.made_here(&public)).await;
    match told.err()? {
        refusal if refusal.reason == Reason::Origin => Some(format!(
            "not all that was asked for is so of {name}: {}; it signs, but a role with origin = \"token\" does not take it",
            refusal.message
        )),
        refusal => {
            tracing::debug!(token, "what the token says of the key {name} is not known: {refusal}");
            None
        }
    }
}

async fn generate(
    state: AppState,
    connection: Arc<Connection>,
    request: GenerateKeyRequest,
) -> Result<GenerateKeyReply, Refusal> {
    let kind: KeyType = request.r#type.parse().map_err(|_| {
        Refusal::new(Reason::Usage, format!("there is no key type {:?}", request.r#type))
            .remedy("the types are ed25519, ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 and rsa-4096")
    })?;
    let name = key_name(&request.name)?;
    let options = card::options(&connection, request.card.as_ref(), &name)?;
    let slot = state.tokens().get(&request.token)?;
    if slot.is_split() {
        return Err(needs_people(&slot, &name));
    }
    let _names = state.tokens().hold_names().await;
    state.tokens().check_free(&name).await?;
    slot.ensure_usable_for(&Purpose::of(&connection, format!("to make the key {name} ({kind})"))).await?;
    let mut body = json!({"name": name.as_str(), "token": slot.name(), "type": kind.to_string()});
    card::note(&mut body, &options);
    let replaced = card::replaced(&state, &slot, &options, request.card.as_ref(), &mut body).await?;
    state.journal("key.generate", Some(connection.peer()), body).await?;
    let stored = slot.run(move |backend| backend.generate_with(&name, kind, &options)).await?;
    slot.note_proof(&stored.public);
    let key = HeldKey::here(slot, stored);
    state.tokens().assign_name(&key);
    state.journal("key.made", Some(connection.peer()), made(&key)).await?;
    let mut warnings = card::forget(&state, replaced).await;
    warnings.extend(card::warnings(&key).await);
    warnings.extend(not_kept_as_asked(&key).await);
    Ok(GenerateKeyReply { key: Some(key.describe()), warnings })
}

async fn import(
    state: AppState,
    connection: Arc<Connection>,
    request: ImportKeyRequest,
) -> Result<ImportKeyReply, Refusal> {
    let name = key_name(&request.name)?;
    let options = card::options(&connection, request.card.as_ref(), &name)?;
    let slot = state.tokens().get(&request.token)?;
    let use_of_seal = format!("import:{name}");
    let sealed = request.file.as_ref().ok_or_else(|| Refusal::new(Reason::Usage, "no key file was given"))?;
    let file = connection.seal().open(sealed, &use_of_seal)?;
    if slot.is_split() {
        let _names = state.tokens().hold_names().await;
        let (key, warnings) = split::adopt(&state, &connection, slot, name, file).await?;
        return Ok(ImportKeyReply { key: Some(key.describe()), warnings });
    }
    let passphrase =
        request.passphrase.as_ref().map(|sealed| connection.seal().open(sealed, &use_of_seal)).transpose()?;
    // An encrypted file costs a key derivation: not on a thread that serves others.
    let parsed =
        tokio::task::spawn_blocking(move || backend::import::parse_private_key(&file, passphrase.as_ref()));
    let imported = parsed.await.map_err(Refusal::internal)?.map_err(|error| {
        let reason = error.reason().parse().unwrap_or(Reason::KeyFile);
        Refusal::new(reason, error.to_string()).remedy(error.remedy())
    })?;
    let _names = state.tokens().hold_names().await;
    state.tokens().check_free(&name).await?;
    let backup = request.duplicate;
    state.tokens().check_new(imported.public(), &slot, backup).await?;
    slot.ensure_usable_for(&Purpose::of(&connection, format!("to import the key {name}"))).await?;
    // Asked again: what a locked token holds is seen only now.
    let copies = state.tokens().check_new(imported.public(), &slot, backup).await?;
    let mut body = json!({"name": name.as_str(), "token": slot.name()});
    if let Some(members) = body.as_object_mut().filter(|_| !copies.is_empty()) {
        let copies: Vec<_> =
            copies.iter().map(|key| json!({"name": key.name, "token": key.slot.name()})).collect();
        members.insert("copies".to_owned(), copies.into());
    }
    card::note(&mut body, &options);
    let replaced = card::replaced(&state, &slot, &options, request.card.as_ref(), &mut body).await?;
    state.journal("key.import", Some(connection.peer()), body).await?;
    let stored = slot.run(move |backend| backend.import_with(&name, imported, &options)).await?;
    slot.note_proof(&stored.public);
    let key = HeldKey::here(slot, stored);
    state.tokens().assign_name(&key);
    state.journal("key.made", Some(connection.peer()), made(&key)).await?;
    let warning = format!(
        "the key {} was not made on token {}: a copy of it may exist elsewhere, as in the file that it came from",
        key.name,
        key.slot.name()
    );
    let mut warnings = vec![warning];
    warnings.extend(copies.iter().map(|copy| with_copy(&key, copy)));
    warnings.extend(card::forget(&state, replaced).await);
    warnings.extend(card::warnings(&key).await);
    Ok(ImportKeyReply { key: Some(key.describe()), warnings })
}

/// What a person should know of a key that two tokens hold from now on.
fn with_copy(key: &HeldKey, copy: &HeldKey) -> String {
    format!(
        "the key {} on token {} is the same as {} on token {}: whoever has one of them can sign as both, a role counts them \
         once, and which of them signs is said each time (--key {} or --key {})",
        key.name,
        key.slot.name(),
        copy.name,
        copy.slot.name(),
        key.name,
        copy.name
    )
}

async fn attest(
    state: AppState,
    _: Arc<Connection>,
    request: AttestKeyRequest,
) -> Result<AttestKeyReply, Refusal> {
    let key = state.tokens().key(&request.name).await?;
    let Attested { attestation, given } = key.attest(&state.roots()).await?;
    let Attestation { serial, firmware, slot, pin_policy, touch_policy, form, root } = attestation;
    Ok(AttestKeyReply {
        key: Some(key.describe()),
        serial,
        firmware: firmware.to_string(),
        slot: slot.to_string(),
        pin_policy: pin_policy.as_str().to_owned(),
        touch_policy: touch_policy.as_str().to_owned(),
        form,
        root,
        warnings: firmware.advisory().into_iter().collect(),
        certificates: given.to_pem(),
    })
}

async fn remove(
    state: AppState,
    connection: Arc<Connection>,
    request: RemoveKeyRequest,
) -> Result<RemoveKeyReply, Refusal> {
    let _names = state.tokens().hold_names().await;
    let key = state.tokens().key(&request.name).await?;
    is_as_shown(&key, &request)?;
    let options = card::options(&connection, request.card.as_ref(), &request.name)?;
    split::WholeCopy::of(&state, &key).check(&key.name, request.force)?;
    card::can_remove(&key, request.force).await?;
    // A key that is on no token any more is only forgotten.
    let serves = served(&state, &key, request.force).await?;
    if !key.lost {
        let why = format!("to remove the key {}", key.name);
        key.slot.ensure_usable_for(&Purpose::of(&connection, why)).await?;
    }
    // Nobody is asked any more while others wait; what was looked at is looked at again.
    let is_split = key.slot.is_split() || split::of_public(&state, &key.stored.public).is_some();
    let _changing = if is_split { Some(state.splits().changing().await) } else { None };
    let copy = split::WholeCopy::of(&state, &key);
    copy.check(&key.name, request.force)?;
    let mut body = made(&key);
    note_force(&mut body, request.force, &serves);
    state.journal("key.remove", Some(connection.peer()), body).await?;
    let mut warnings = Vec::new();
    if !key.lost {
        let public = key.stored.public.clone();
        if key.slot.run(move |backend| backend.remove_with(&public, &options)).await? == Removed::PublicHalf {
            state.journal("key.private-half-stays", Some(connection.peer()), made(&key)).await?;
            warnings.push(private_half_stays(&key));
        }
    }
    key.slot.forget(&key.stored.public);
    state.tokens().forget_name(&key);
    copy.note_removed().await?;
    Ok(RemoveKeyReply { warnings })
}

/// The public object alone was removed.
fn private_half_stays(key: &HeldKey) -> String {
    format!(
        "only the public half of {} was removed: the private half on token {} that has its id stays, as it is not of this key, or \
         could not sign to show that it is",
        key.name,
        key.slot.name()
    )
}

/// Whoever says yes to the end of a key says it of the one that was shown, not of one that has its name by now.
fn is_as_shown(key: &HeldKey, request: &RemoveKeyRequest) -> Result<(), Refusal> {
    let keyid = key.stored.public.to_key().computed_keyid().to_string();
    let differs = |shown: &str, is: &str| !shown.is_empty() && shown != is;
    if !differs(&request.keyid, &keyid) && !differs(&request.token, key.slot.name()) {
        return Ok(());
    }
    let (name, token) = (&key.name, key.slot.name());
    let message =
        format!("the key {name} is another one now than the one that was shown, so none was removed");
    Err(Refusal::new(Reason::KeyNotFound, message)
        .remedy(format!("look which it is: tufctl key show {}", word::last(name.as_str())))
        .detail("key", name.as_str())
        .detail("token", token)
        .detail("keyid", keyid))
}

/// A split key is made with the people who hold its shares.
fn needs_people(slot: &Slot, name: &KeyName) -> Refusal {
    let token = slot.name();
    let message = format!("token {token} makes keys that are split among people, and nobody was named");
    Refusal::new(Reason::Usage, message)
        .remedy(format!(
            "tufctl key generate {}",
            word::before(name.as_str(), &format!("--token {token} --threshold M --custodian NAME ..."))
        ))
        .detail("token", token)
}

/// The roles that lose a key; only one that serves none goes without `force`.
async fn served(state: &AppState, key: &HeldKey, force: bool) -> Result<Vec<RoleOfKey>, Refusal> {
    let serves =
        if key.lost { Ok(Vec::new()) } else { state.repositories().served_by(&key.stored.public).await };
    if force { Ok(serves.unwrap_or_default()) } else { unused(key, serves?) }
}

/// What the journal keeps of it.
fn note_force(body: &mut Value, force: bool, serves: &[RoleOfKey]) {
    if let Some(members) = body.as_object_mut().filter(|_| force) {
        members.insert("force".to_owned(), json!(true));
        members.insert("serves".to_owned(), serves.iter().map(|of| Value::from(of.to_string())).collect());
    }
}

/// A role that would lose the key is a role that may never reach its threshold again.
fn unused(key: &HeldKey, serves: Vec<RoleOfKey>) -> Result<Vec<RoleOfKey>, Refusal> {
    let Some(first) = serves.first() else { return Ok(serves) };
    let (role, repository) = (first.role.to_string(), first.repository.name.to_string());
    let replace = if first.role.is_top_level() { "root replace-key" } else { "delegation edit" };
    Err(Refusal::new(
        Reason::KeyInUse,
        format!("the key {} still serves {}", key.name, RoleOfKey::list(&serves)),
    )
    .remedy(format!("give the role another key first (tufctl {replace}) and publish that; or say --force"))
    .detail("key", key.name.as_str())
    .detail("role", role)
    .detail("repository", repository))
}

fn made(key: &HeldKey) -> Value {
    let mut body = json!({
        "name": key.name,
        "token": key.slot.name(),
        "type": key.stored.public.key_type().to_string(),
        "keyid": key.stored.public.to_key().computed_keyid().to_string(),
        "origin": key.stored.origin.as_str(),
    });
    if let (Some(place), Some(members)) = (key.stored.place, body.as_object_mut()) {
        members.insert("slot".to_owned(), place.slot.to_string().into());
        members.insert("touch".to_owned(), place.touch.as_str().into());
        members.insert("pin_policy".to_owned(), place.pin.as_str().into());
    }
    body
}
