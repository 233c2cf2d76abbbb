//! The server: every service behind the door, with limits on what one connection may cost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use policy::Reason;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::transport::Server;

use crate::door::{Incoming, Peer, Shares, TurnedAway};
use crate::health;
use crate::limits;
use crate::rpc::services;
use crate::state::AppState;

/// Serves until `stopped` turns true, then lets calls under way finish.
///
/// # Errors
/// When a service cannot be built or the transport fails.
pub(crate) async fn serve(
    state: AppState,
    listener: UnixListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let shares = shares();
    let noted = Noted::new(state.clone());
    let note = move |peer: &Peer, why| noted.note(peer, why);
    let incoming = Incoming::new(listener, state.admission().clone(), Arc::clone(&shares), note);
    let (services, health) = services(&state).context("the reflection service cannot be built")?;
    let signal = health::report(state, health, stopped);
    let serving = Server::builder()
        .max_concurrent_streams(limits::STREAMS)
        .http2_max_header_list_size(limits::HEADERS_READ)
        .http2_max_pending_accept_reset_streams(Some(limits::RESETS))
        .http2_keepalive_interval(Some(limits::KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_ANSWER))
        .initial_stream_window_size(limits::WINDOW)
        .initial_connection_window_size(limits::WINDOW)
        .serve_with_incoming_shutdown(services, incoming, signal);
    tokio::select! {
        served = serving => served.context("serving failed"),
        () = sweep(&shares) => Ok(()),
    }
}

/// As many connections as open files allow, and memory in proportion to the machine's.
fn shares() -> Arc<Shares> {
    let connections = limits::connections(raise_open_files());
    let system = rustix::system::sysinfo();
    let memory = system.totalram.saturating_mul(u64::from(system.mem_unit));
    Shares::new(connections, limits::BYTES.min(memory / 4))
}

/// Gives the process the open files that it wants, where the system lets it; what it has then.
fn raise_open_files() -> Option<u64> {
    let has = getrlimit(Resource::Nofile);
    let enough = has.current.is_none_or(|files| files >= limits::FILES_WANTED);
    if enough {
        return has.current;
    }
    let wanted = limits::FILES_WANTED.min(has.maximum.unwrap_or(limits::FILES_WANTED));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: has.maximum }) {
        Ok(()) => Some(wanted),
        Err(_) => has.current,
    }
}

/// Closes connections that are past their deadlines, for ever.
async fn sweep(shares: &Shares) {
    loop {
        tokio::time::sleep(limits::SWEEP).await;
        let closed = shares.sweep();
        if closed > 0 {
            tracing::info!(closed, "connections that were idle or did not take their answers were closed");
        }
    }
}

/// Notes callers that were turned away, a few a minute: nobody must be able to fill the disk.
struct Noted {
    state: AppState,
    strangers: Mutex<(Instant, u32)>,
    too_many: Mutex<(Instant, u32)>,
}

const A_MINUTE: Duration = Duration::from_secs(60);
const NOTED_A_MINUTE: u32 = 10;

impl Noted {
    fn new(state: AppState) -> Self {
        let window = || Mutex::new((Instant::now(), 0));
        Self { state, strangers: window(), too_many: window() }
    }

    fn note(&self, peer: &Peer, why: TurnedAway) {
        let (uid, pid) = (peer.uid, peer.pid);
        match why {
            TurnedAway::Stranger if is_seldom(&self.strangers) => {
                tracing::warn!(uid, pid, "turned away: this user may not connect");
                self.state.ledger().note_event("door.refused", json!({"caller": peer.journal_json()}));
            }
            TurnedAway::TooMany if is_seldom(&self.too_many) => {
                tracing::warn!(uid, pid, "turned away: too many connections are at work");
                let body = json!({"caller": peer.journal_json(), "reason": Reason::Limit.as_str()});
                self.state.ledger().note_event("door.refused", body);
            }
            TurnedAway::Stranger | TurnedAway::TooMany => {}
        }
    }
}

/// True for the first few times in a minute.
fn is_seldom(window: &Mutex<(Instant, u32)>) -> bool {
    let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
    if window.0.elapsed() > A_MINUTE {
        *window = (Instant::now(), 0);
    }
    window.1 = window.1.saturating_add(1);
    window.1 <= NOTED_A_MINUTE
}
