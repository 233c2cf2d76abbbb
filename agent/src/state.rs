//! What all services share.

use std::sync::{Arc, PoisonError};

use backend::attestation::Roots;
use ledger::Ledger;
use serde_json::{Value, json};
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use tonic::Status;

use crate::config::{Config, OriginRule};
use crate::door::{Admission, Connection, Peer};
use crate::refusal::Refusal;
use crate::repositories::Repositories;
use crate::split::Splits;
use crate::tokens::Tokens;

/// The running agent; a handle, cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

struct Parts {
    ledger: Arc<Ledger>,
    repositories: Repositories,
    tokens: Tokens,
    admission: Admission,
    splits: Splits,
    /// What roles demand of their keys, as the configuration says now.
    origins: std::sync::RwLock<Arc<[OriginRule]>>,
    /// Who may say what a YubiKey is.
    roots: std::sync::RwLock<Arc<Roots>>,
    /// Read by every signature under way, written by the end of the agent.
    signing: Arc<RwLock<()>>,
    /// Whether the agent is told to stop.
    stopping: watch::Sender<bool>,
}

impl AppState {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        ledger: Arc<Ledger>,
        repositories: Repositories,
        tokens: Tokens,
        admission: Admission,
    ) -> Self {
        let (signing, origins, roots) =
            (Arc::default(), std::sync::RwLock::default(), std::sync::RwLock::default());
        let (splits, stopping) = (Splits::default(), watch::Sender::new(false));
        Self(Arc::new(Parts {
            ledger,
            repositories,
            tokens,
            admission,
            splits,
            origins,
            roots,
            signing,
            stopping,
        }))
    }

    /// Watermarks and journal.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// What is known of repositories.
    #[must_use]
    pub fn repositories(&self) -> &Repositories {
        &self.0.repositories
    }

    /// The tokens and their keys.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// What calls about split keys share.
    #[must_use]
    pub fn splits(&self) -> &Splits {
        &self.0.splits
    }

    /// What roles demand of their keys.
    #[must_use]
    pub fn origins(&self) -> Arc<[OriginRule]> {
        Arc::clone(&self.0.origins.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who may say what a YubiKey is.
    #[must_use]
    pub fn roots(&self) -> Arc<Roots> {
        Arc::clone(&self.0.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what a configuration demands, and by whose word.
    pub fn demand(&self, config: &Config) {
        *self.0.origins.write().unwrap_or_else(PoisonError::into_inner) = config.origins.as_slice().into();
        *self.0.roots.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config.roots);
    }

    /// Who may connect.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Whether this connection may still be given a signature: its process lives and its user is still admitted.
    #[must_use]
    pub fn may_receive(&self, connection: &Connection) -> bool {
        connection.is_alive() && self.0.admission.admits(connection.peer())
    }

    /// Held while something is signed, so that its outcome is journalled before the ledger closes.
    pub async fn hold_open(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.0.signing).read_owned().await
    }

    /// Waits until nothing is being signed any more.
    pub async fn signed_out(&self) {
        drop(self.0.signing.write().await);
    }

    /// Calls on which nothing is asked for end now.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Ends when the agent is told to stop.
    pub async fn stopping(&self) {
        // The sender lives as long as this value.
        let _ = self.0.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Journals an event durably.
    ///
    /// # Errors
    /// `STATE_IO` when it cannot be recorded; then what it announces must not happen.
    pub async fn journal(&self, kind: &str, peer: Option<&Peer>, body: Value) -> Result<(), Refusal> {
        self.0.ledger.record_event(kind, with_caller(peer, body)).await?;
        Ok(())
    }

    /// Journals a refusal (it joins the next commit) and gives the status that carries it.
    pub fn refused(&self, peer: &Peer, call: &str, refusal: Refusal) -> Status {
        tracing::info!(call, reason = %refusal.reason, uid = peer.uid, pid = peer.pid, "refused: {refusal}");
        let body = json!({"call": call, "refusal": refusal.journal_json()});
        self.0.ledger.note_event("refused", with_caller(Some(peer), body));
        refusal.into()
    }
}

fn with_caller(peer: Option<&Peer>, mut body: Value) -> Value {
    if let (Some(peer), Some(members)) = (peer, body.as_object_mut()) {
        members.insert("caller".to_owned(), peer.journal_json());
    }
    body
}
