//! The server: every service behind the door, with limits on what one connection may cost.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::transport::Server;

use crate::door::{Incoming, Peer};
use crate::health;
use crate::rpc::services;
use crate::state::AppState;

/// Calls at once on one connection. Roles wait for one confirmation, each in a call of its own.
const MAX_STREAMS: u32 = 256;
/// All headers of one call, bytes.
const MAX_HEADERS: u32 = 16 * 1024;
/// Streams that a client may open and reset before the connection is closed.
const MAX_RESETS: usize = 32;
/// A silent connection is asked whether it lives, and given this long to answer.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Room for a chunk in flight, bytes.
const WINDOW: u32 = 2 << 20;

/// Serves until `stopped` turns true, then lets calls under way finish.
///
/// # Errors
/// When a service cannot be built or the transport fails.
pub(crate) async fn serve(
    state: AppState,
    listener: UnixListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let turned_away = TurnedAway::new(state.clone());
    let incoming = Incoming::new(listener, state.admission().clone(), move |peer| turned_away.note(peer));
    let (services, health) = services(&state).context("the reflection service cannot be built")?;
    let signal = health::report(state, health, stopped);
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_with_incoming_shutdown(services, incoming, signal)
        .await
        .context("serving failed")
}

/// Journals callers that were turned away at the door, a few a minute: a stranger must not fill the disk.
struct TurnedAway {
    state: AppState,
    window: Mutex<(Instant, u32)>,
}

const A_MINUTE: Duration = Duration::from_secs(60);
const NOTED_A_MINUTE: u32 = 10;

impl TurnedAway {
    fn new(state: AppState) -> Self {
        Self { state, window: Mutex::new((Instant::now(), 0)) }
    }

    fn note(&self, peer: &Peer) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0.elapsed() > A_MINUTE {
            *window = (Instant::now(), 0);
        }
        window.1 = window.1.saturating_add(1);
        if window.1 <= NOTED_A_MINUTE {
            tracing::warn!(uid = peer.uid, pid = peer.pid, "turned away: this user may not connect");
            self.state.ledger().note_event("door.refused", json!({"caller": peer.journal_json()}));
        }
    }
}
