//! Tokens: listing, unlocking, locking.

mod card;

use std::sync::Arc;

use backend::pkcs11::ModuleLook;
use policy::Reason;
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tuf::digest::Sha256Digest;
use tufagent_proto::v1::tokens_server::Tokens;
use tufagent_proto::v1::{
    CardFactsReply, CardFactsRequest, ChangePukReply, ChangePukRequest, ChangeSecretReply,
    ChangeSecretRequest, DoctorEvent, DoctorRequest, LastTryShown, ListTokensReply, ListTokensRequest,
    LockTokenReply, LockTokenRequest, LookAtModuleReply, LookAtModuleRequest, ProtectManagementKeyReply,
    ProtectManagementKeyRequest, TrustTokenReply, TrustTokenRequest, UnblockReply, UnblockRequest,
    UnlockTokenReply, UnlockTokenRequest,
};

use super::{answer, doctor};
use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{Attempt, Shown, Since, Slot};

/// The service.
pub struct TokensService(pub AppState);

#[tonic::async_trait]
impl Tokens for TokensService {
    type DoctorStream = ReceiverStream<Result<DoctorEvent, Status>>;

    async fn doctor(&self, request: Request<DoctorRequest>) -> Result<Response<Self::DoctorStream>, Status> {
        answer(&self.0, "Tokens.Doctor", request, |state, connection, wanted| async move {
            Ok(ReceiverStream::new(doctor::examine(state, connection, wanted).await?))
        })
        .await
    }

    async fn list(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensReply>, Status> {
        answer(&self.0, "Tokens.List", request, |state, _, _| async move {
            Ok(ListTokensReply { tokens: state.tokens().describe().await })
        })
        .await
    }

    async fn unlock(
        &self,
        request: Request<UnlockTokenRequest>,
    ) -> Result<Response<UnlockTokenReply>, Status> {
        answer(&self.0, "Tokens.Unlock", request, unlock).await
    }

    async fn lock(&self, request: Request<LockTokenRequest>) -> Result<Response<LockTokenReply>, Status> {
        answer(&self.0, "Tokens.Lock", request, lock).await
    }

    async fn change_secret(
        &self,
        request: Request<ChangeSecretRequest>,
    ) -> Result<Response<ChangeSecretReply>, Status> {
        answer(&self.0, "Tokens.ChangeSecret", request, change_secret).await
    }

    async fn look_at_module(
        &self,
        request: Request<LookAtModuleRequest>,
    ) -> Result<Response<LookAtModuleReply>, Status> {
        answer(&self.0, "Tokens.LookAtModule", request, |state, _, wanted| async move {
            let look = state.tokens().get(&wanted.name)?.look_at_module().await?;
            let ModuleLook { path, sha256, trusted, .. } = look;
            Ok(LookAtModuleReply { path, sha256: sha256.to_string(), trusted: trusted.to_string() })
        })
        .await
    }

    async fn trust(&self, request: Request<TrustTokenRequest>) -> Result<Response<TrustTokenReply>, Status> {
        answer(&self.0, "Tokens.Trust", request, trust).await
    }

    async fn card_facts(
        &self,
        request: Request<CardFactsRequest>,
    ) -> Result<Response<CardFactsReply>, Status> {
        answer(&self.0, "Tokens.CardFacts", request, card::facts).await
    }

    async fn change_puk(
        &self,
        request: Request<ChangePukRequest>,
    ) -> Result<Response<ChangePukReply>, Status> {
        answer(&self.0, "Tokens.ChangePuk", request, card::change_puk).await
    }

    async fn unblock(&self, request: Request<UnblockRequest>) -> Result<Response<UnblockReply>, Status> {
        answer(&self.0, "Tokens.Unblock", request, card::unblock).await
    }

    async fn protect_management_key(
        &self,
        request: Request<ProtectManagementKeyRequest>,
    ) -> Result<Response<ProtectManagementKeyReply>, Status> {
        answer(&self.0, "Tokens.ProtectManagementKey", request, card::protect_management_key).await
    }
}

async fn unlock(
    state: AppState,
    connection: Arc<Connection>,
    request: UnlockTokenRequest,
) -> Result<UnlockTokenReply, Refusal> {
    let slot = state.tokens().get(&request.name)?;
    // A person who says `unlock` says it now; what a PIN was asked for before is of then.
    let since = request.asked_at_locks.map_or_else(|| slot.now(), Since::of);
    if request.asked_at_locks.is_some() {
        // It was typed to use a key: of the card that has it, whatever serial number the screen has shown.
        slot.is_no_stranger().await?;
    }
    let by_person = request.secret.is_some();
    let attempt = Attempt {
        last_try: last_try(&slot, request.last_try, request.shown.as_ref(), "unlock")?,
        from_source: false,
        serial: request.serial.clone(),
        since,
        user: connection.peer().uid,
        caller: connection.peer().journal_json(),
    };
    match &request.secret {
        // Sealed for the name that the client gave: an empty one means the only token.
        Some(sealed) => {
            let secret = connection.seal().open(sealed, &format!("unlock:{}", slot.name()))?;
            slot.unlock(secret, attempt).await?;
        }
        None => slot.unlock_from_source(attempt, connection.peer().terminal()).await?,
    }
    state.tokens().note_unlocked();
    let body = json!({"token": slot.name(), "by_person": by_person, "last_try": request.last_try});
    state.journal("token.unlock", Some(connection.peer()), body).await?;
    Ok(UnlockTokenReply { token: Some(slot.describe()) })
}

/// A flag alone is no person's word: it names the card and its tries as they were shown, and the card is compared with that.
fn last_try(
    slot: &Slot,
    wanted: bool,
    shown: Option<&LastTryShown>,
    command: &str,
) -> Result<Option<Shown>, Refusal> {
    let name = slot.name();
    match (wanted, shown) {
        (false, _) => Ok(None),
        (true, Some(shown)) => Ok(Some(Shown {
            serial: shown.serial.clone(),
            tries_left: shown.pin_tries_left,
            wrong: shown.pins_wrong,
        })),
        (true, None) => Err(Refusal::new(
            Reason::ConfirmationMissing,
            format!("token {name}: nobody was shown the card and its tries, so no last try is made"),
        )
        .remedy(format!("say so at a terminal: tufctl token {command} {name} --last-try"))
        .detail("token", name)),
    }
}

async fn lock(
    state: AppState,
    connection: Arc<Connection>,
    request: LockTokenRequest,
) -> Result<LockTokenReply, Refusal> {
    let slots = match request.name.as_str() {
        "" => state.tokens().all(),
        name => vec![state.tokens().get(name)?],
    };
    // First the locking, then the record: a full disk must not keep a token unlocked.
    let retired = state.tokens().retired();
    let meant = retired.iter().filter(|slot| request.name.is_empty() || slot.name() == request.name);
    for slot in slots.iter().chain(meant) {
        slot.lock();
    }
    let names: Vec<_> = slots.iter().map(|slot| slot.name()).collect();
    state.journal("token.lock", Some(connection.peer()), json!({"tokens": names})).await?;
    Ok(LockTokenReply { tokens: slots.iter().map(|slot| slot.describe()).collect() })
}

async fn change_secret(
    state: AppState,
    connection: Arc<Connection>,
    request: ChangeSecretRequest,
) -> Result<ChangeSecretReply, Refusal> {
    let slot = state.tokens().get(&request.name)?;
    let since = slot.now();
    let missing = || {
        Refusal::new(Reason::PinRequired, "the old and the new secret are both needed")
            .remedy("seal both for this connection")
    };
    let old = request.old_secret.as_ref().ok_or_else(missing)?;
    let new = request.new_secret.as_ref().ok_or_else(missing)?;
    let old = connection.seal().open(old, &format!("unlock:{}", slot.name()))?;
    let new = connection.seal().open(new, &format!("new-secret:{}", slot.name()))?;
    state.journal("token.change-secret", Some(connection.peer()), json!({"token": slot.name()})).await?;
    let attempt = Attempt {
        last_try: last_try(&slot, request.last_try, request.shown.as_ref(), "change-pin")?,
        from_source: false,
        serial: request.serial,
        since,
        user: connection.peer().uid,
        caller: connection.peer().journal_json(),
    };
    slot.change_secret(old, new, attempt).await?;
    Ok(ChangeSecretReply {})
}

async fn trust(
    state: AppState,
    connection: Arc<Connection>,
    request: TrustTokenRequest,
) -> Result<TrustTokenReply, Refusal> {
    let slot = state.tokens().get(&request.name)?;
    let name = slot.name();
    let shown: Sha256Digest = request.sha256.parse().map_err(|_| {
        Refusal::new(
            Reason::ConfirmationMissing,
            format!("token {name}: nobody was shown the module, so it is not trusted"),
        )
        .remedy(format!("see what lies there, and say yes to it: tufctl token trust {name}"))
        .detail("token", name)
    })?;
    let look = slot.look_again(shown).await?;
    let before = look.trusted.to_string();
    let body =
        json!({"token": name, "path": look.path, "trusted_before": before, "sha256": shown.to_string()});
    state.journal("token.trust", Some(connection.peer()), body).await?;
    let ModuleLook { path, sha256, trusted, .. } = slot.trust_module(shown).await?;
    Ok(TrustTokenReply { sha256: sha256.to_string(), path, trusted_before: trusted.to_string() })
}
