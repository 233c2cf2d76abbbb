//! YubiKeys as cards: what they say of themselves, their PUK and their management key.

use std::sync::Arc;

use policy::Reason;
use secmem::SecretBytes;
use serde_json::json;
use tufagent_proto::v1::{
    CardFactsReply, CardFactsRequest, ChangePukReply, ChangePukRequest, ProtectManagementKeyReply,
    ProtectManagementKeyRequest, Sealed, UnblockReply, UnblockRequest,
};

use super::last_try;
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{Attempt, PukAct, Purpose, Shown};

pub(super) async fn facts(
    state: AppState,
    _: Arc<Connection>,
    request: CardFactsRequest,
) -> Result<CardFactsReply, Refusal> {
    let facts = state.tokens().get(&request.name)?.card_facts().await?;
    Ok(CardFactsReply {
        serial: facts.serial,
        firmware: facts.version,
        default_pin: facts.default_pin,
        default_puk: facts.default_puk,
        default_management_key: facts.default_management_key,
        management_algorithm: facts.management_algorithm,
        management_key_protected: facts.management_key_protected,
        management_touch: facts.management_touch,
        pin_tries_left: facts.pin_tries_left,
        puk_tries_left: facts.puk_tries_left,
    })
}

pub(super) async fn change_puk(
    state: AppState,
    connection: Arc<Connection>,
    request: ChangePukRequest,
) -> Result<ChangePukReply, Refusal> {
    let slot = state.tokens().get(&request.name)?;
    let old = open(&connection, request.old_puk.as_ref(), format!("puk:{}", slot.name()))?;
    let new = open(&connection, request.new_puk.as_ref(), format!("new-puk:{}", slot.name()))?;
    state.journal("token.change-puk", Some(connection.peer()), json!({"token": slot.name()})).await?;
    let attempt = attempt(&connection, request.serial, None);
    slot.present_puk(PukAct::Change { old, new }, attempt).await?;
    Ok(ChangePukReply {})
}

pub(super) async fn unblock(
    state: AppState,
    connection: Arc<Connection>,
    request: UnblockRequest,
) -> Result<UnblockReply, Refusal> {
    let slot = state.tokens().get(&request.name)?;
    let last_try = last_try(&slot, request.last_try, request.shown.as_ref(), "unblock")?;
    let puk = open(&connection, request.puk.as_ref(), format!("puk:{}", slot.name()))?;
    let pin = open(&connection, request.new_pin.as_ref(), format!("new-secret:{}", slot.name()))?;
    let body = json!({"token": slot.name(), "last_try": request.last_try});
    state.journal("token.unblock", Some(connection.peer()), body).await?;
    let attempt = attempt(&connection, request.serial, last_try);
    slot.present_puk(PukAct::Unblock { puk, pin }, attempt).await?;
    Ok(UnblockReply { token: Some(slot.describe()) })
}

pub(super) async fn protect_management_key(
    state: AppState,
    connection: Arc<Connection>,
    request: ProtectManagementKeyRequest,
) -> Result<ProtectManagementKeyReply, Refusal> {
    let slot = state.tokens().get(&request.name)?;
    let use_of_seal = format!("old-management-key:{}", slot.name());
    let old =
        request.old_key.as_ref().map(|sealed| connection.seal().open(sealed, &use_of_seal)).transpose()?;
    let peer = connection.peer();
    slot.ensure_usable_for(&Purpose {
        text: "to give the YubiKey a new management key".to_owned(),
        terminal: peer.terminal(),
        user: peer.uid,
        caller: peer.journal_json(),
    })
    .await?;
    state.journal("token.management-key", Some(connection.peer()), json!({"token": slot.name()})).await?;
    slot.protect_management_key(old).await?;
    Ok(ProtectManagementKeyReply {})
}

fn open(
    connection: &Connection,
    sealed: Option<&Sealed>,
    use_of_seal: String,
) -> Result<SecretBytes, Refusal> {
    let missing = || {
        Refusal::new(Reason::PinRequired, "the PUK and what it is to be changed to are both needed")
            .remedy("seal both for this connection")
    };
    connection.seal().open(sealed.ok_or_else(missing)?, &use_of_seal)
}

fn attempt(connection: &Connection, serial: Option<String>, last_try: Option<Shown>) -> Attempt {
    let peer = connection.peer();
    let (user, caller) = (peer.uid, peer.journal_json());
    Attempt { last_try, serial, user, caller, ..Attempt::default() }
}
