//! What the health service says: alive, ready to sign, and each token.
//!
//! `tufagent.v1.Agent` is alive: it serves as long as the process does. The empty name and `tufagent.v1.Signing` are
//! ready: they serve while the ledger can commit, and again as soon as it can. `token/NAME` serves while that token is
//! unlocked.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tufagent_proto::v1::agent_server::AgentServer;
use tufagent_proto::v1::signing_server::SigningServer;

use crate::rpc::agent::AgentService;
use crate::rpc::signing::SigningService;
use crate::state::AppState;

/// How often the ledger is looked at while nothing happens.
const CALM: Duration = Duration::from_secs(2);
/// How often while it cannot commit.
const TROUBLED: Duration = Duration::from_millis(500);

/// Keeps the health service up to date until `stopped` turns true; then nothing serves any more.
pub(crate) async fn report(state: AppState, health: HealthReporter, mut stopped: watch::Receiver<bool>) {
    health.set_service_status(ALIVE, ServingStatus::Serving).await;
    let mut told = state.ledger().trouble();
    let mut was = None;
    loop {
        let trouble = state.ledger().probe().await.err();
        if let (Some(error), None) = (&was, &trouble) {
            recovered(&state, error).await;
        }
        set(&health, &state, trouble.is_none()).await;
        let pause = if trouble.is_none() { CALM } else { TROUBLED };
        was = trouble;
        told.mark_unchanged();
        tokio::select! {
            // An error means that the sender is gone, which is the end too.
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = told.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    for name in READY {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
}

async fn set(health: &HealthReporter, state: &AppState, ready: bool) {
    let status = |serves| if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in READY {
        health.set_service_status(name, status(ready)).await;
    }
    for token in state.tokens().all().iter().map(|slot| slot.describe()) {
        let name = format!("token/{}", token.name);
        health.set_service_status(name, status(ready && token.state == "unlocked")).await;
    }
}

/// That nothing could be recorded for a while belongs into the record.
async fn recovered(state: &AppState, error: &ledger::LedgerError) {
    tracing::info!("the ledger commits again");
    if let Err(refusal) = state.journal("state.recovered", None, json!({"after": error.to_string()})).await {
        tracing::error!(%refusal, "the recovery could not be journalled");
    }
}

const ALIVE: &str = AgentServer::<AgentService>::NAME;
const READY: [&str; 2] = ["", SigningServer::<SigningService>::NAME];
