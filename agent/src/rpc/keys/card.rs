//! What keys on YubiKeys are asked for, and what a person is told of their card.

use std::sync::Arc;

use backend::KeyOptions;
use backend::attestation::Firmware;
use backend::card::CardOptions;
use policy::Reason;
use serde_json::{Value, json};
use tuf::key::KeyType;
use tufagent_proto::v1;

use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{HeldKey, Slot};

/// From the wire; the management key is opened.
pub(super) fn options(
    connection: &Connection,
    wanted: Option<&v1::CardOptions>,
    name: impl std::fmt::Display,
) -> Result<KeyOptions, Refusal> {
    let Some(wanted) = wanted else { return Ok(KeyOptions::default()) };
    let usage = |why: String| Refusal::new(Reason::Usage, why).remedy("see tufctl key generate --help");
    let given = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let card = CardOptions {
        slot: given(&wanted.slot).map(|text| text.parse()).transpose().map_err(usage)?,
        touch: given(&wanted.touch).map(|text| text.parse()).transpose().map_err(usage)?,
        pin: given(&wanted.pin_policy).map(|text| text.parse()).transpose().map_err(usage)?,
        overwrite: wanted.overwrite,
    };
    let open = |sealed| connection.seal().open(sealed, &format!("management-key:{name}"));
    Ok(KeyOptions { card, management_key: wanted.management_key.as_ref().map(open).transpose()? })
}

/// What the journal keeps of it.
pub(super) fn note(body: &mut Value, options: &KeyOptions) {
    let Some(members) = body.as_object_mut().filter(|_| options.card != CardOptions::default()) else {
        return;
    };
    let CardOptions { slot, touch, pin, overwrite } = options.card;
    let words = [
        ("slot", slot.map(|slot| slot.to_string())),
        ("touch", touch.map(|touch| touch.as_str().to_owned())),
        ("pin_policy", pin.map(|pin| pin.as_str().to_owned())),
    ];
    for (name, word) in words {
        members.extend(word.map(|word| (name.to_owned(), word.into())));
    }
    if overwrite {
        members.insert("overwrite".to_owned(), json!(true));
    }
}

/// The key whose place the new one takes, if that was said. As when it is removed: one that still serves a role goes only
/// by force, and the journal keeps from whom it was taken.
///
/// # Errors
/// `KEY_IN_USE`.
pub(super) async fn replaced(
    state: &AppState,
    slot: &Arc<Slot>,
    options: &KeyOptions,
    wanted: Option<&v1::CardOptions>,
    body: &mut Value,
) -> Result<Option<HeldKey>, Refusal> {
    let place = options.card.slot.unwrap_or_default();
    let is_there = |key: &HeldKey| {
        Arc::ptr_eq(&key.slot, slot) && key.stored.place.is_some_and(|is| is.slot == place) && !key.lost
    };
    let keys = if options.card.overwrite { state.tokens().keys().await } else { Vec::new() };
    let Some(key) = keys.into_iter().find(is_there) else { return Ok(None) };
    let force = wanted.is_some_and(|wanted| wanted.force);
    let serves = super::served(state, &key, force).await?;
    super::note_force(body, force, &serves);
    Ok(Some(key))
}

/// Whether the card that holds this key removes any: said before somebody types a PIN or a management key for it.
///
/// # Errors
/// `UNSUPPORTED`, with what destroys the key all the same.
pub(super) async fn can_remove(key: &HeldKey, force: bool) -> Result<(), Refusal> {
    let Some(place) = key.stored.place.filter(|_| !key.lost) else { return Ok(()) };
    // One that cannot be asked now says so when it is to be changed.
    let Ok(facts) = key.slot.card_facts().await else { return Ok(()) };
    let removes = |firmware: Firmware| (firmware.major, firmware.minor) >= REMOVES;
    if Firmware::parse(&facts.version).is_none_or(removes) {
        return Ok(());
    }
    let (name, token, kind) = (&key.name, key.slot.name(), key.stored.public.key_type());
    let force = if force { " --force" } else { "" };
    let message =
        format!("token {token}: removing a key needs firmware 5.7, and this YubiKey has {}", facts.version);
    Err(Refusal::new(Reason::Unsupported, message)
        .remedy(format!(
            "nothing empties a slot of it but a reset of its PIV application (ykman piv reset), which destroys all keys there; \
             another key in its place destroys {name} alone: tufctl key generate NEW --token {token} --slot {} --type {kind} \
             --overwrite{force}",
            place.slot
        ))
        .detail("key", name.as_str())
        .detail("token", token))
}

/// The first firmware that removes keys.
const REMOVES: (u8, u8) = (5, 7);

/// It is gone on purpose; with what a person should know of it.
pub(super) async fn forget(state: &AppState, replaced: Option<HeldKey>) -> Vec<String> {
    let Some(key) = replaced else { return Vec::new() };
    key.slot.forget(&key.stored.public);
    state.tokens().forget_name(&key);
    let serves = state.repositories().served_by(&key.stored.public).await.unwrap_or_default();
    let roles: Vec<_> = serves.iter().map(ToString::to_string).collect();
    let roles =
        if roles.is_empty() { String::new() } else { format!("; it still served {}", roles.join(", ")) };
    vec![format!("the key {} was in that slot and is gone{roles}", key.name)]
}

/// What a person should know of the card that holds this new key.
pub(super) async fn warnings(key: &HeldKey) -> Vec<String> {
    if key.stored.place.is_none() {
        return Vec::new();
    }
    let token = key.slot.name();
    let mut warnings = Vec::new();
    match key.slot.card_facts().await {
        Ok(facts) => {
            let values = [
                ("PIN", facts.default_pin),
                ("PUK", facts.default_puk),
                ("management key", facts.default_management_key),
            ];
            for (what, _) in values.into_iter().filter(|(_, factory)| *factory == Some(true)) {
                warnings.push(format!(
                    "the {what} of token {token} is still the one of the factory, which everybody knows"
                ));
            }
            warnings.extend(Firmware::parse(&facts.version).and_then(Firmware::advisory));
        }
        Err(refusal) => tracing::debug!(token, "what the card says of itself is not known: {refusal}"),
    }
    if key.stored.public.key_type() == KeyType::Ed25519 {
        warnings.push(format!(
            "the key {} signs short files only: Ed25519 on a YubiKey takes the whole file, of a few kilobytes at most; for \
             any length take ecdsa-p256",
            key.name
        ));
    }
    warnings
}
