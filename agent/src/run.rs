//! The agent's life: start, serve, reload, drain, end.
//!
//! Order matters: the process is hardened before anything secret is read, the state folder is locked before the
//! socket is touched, and the configuration is whole before either.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ledger::Ledger;
use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::args::Args;
use crate::config::Config;
use crate::door::{Admission, Door, lock_state, passed_socket};
use crate::paths::Paths;
use crate::repositories::Repositories;
use crate::serve;
use crate::split;
use crate::state::AppState;
use crate::tokens::{Places, Proofs, Tokens, descriptor};

/// Calls under way may finish for this long after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// Threads that are stuck in a module are left behind after this.
const LEAVE: Duration = Duration::from_secs(2);

/// Runs the agent until it is told to stop.
///
/// # Errors
/// A sentence on what kept it from starting or serving.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let began = Instant::now();
    descriptor::note_given();
    if rustix::process::geteuid().is_root() && !args.allow_root {
        bail!("tuf-agent does not run as root: run it as the user who owns the keys, or say --allow-root");
    }
    secmem::harden_process().context("the process cannot be protected from others of this user")?;
    warn_of_swap();
    // Whatever is made from here on is this user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let passed = passed_socket()?;
    let paths = Paths::find(args.config.as_deref(), args.socket.as_deref(), |name| std::env::var_os(name))?;
    let config = load(&paths)?;
    check_places(&paths, &config)?;
    let lock = lock_state(&paths.state)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // What takes time has threads of its own; waking a second worker takes longer than most of what is left.
        .worker_threads(1)
        .max_blocking_threads(64)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let result = runtime.block_on(live(&paths, config, passed, began));
    runtime.shutdown_timeout(LEAVE);
    // Only now may another agent take the state folder.
    drop(lock);
    result
}

/// Tries once what work on a whole key takes, so that whoever begins a ceremony knows before it; `status` has it as an alarm.
fn warn_of_swap() {
    let tried = secmem::on_locked_stack(|| ());
    if tried.is_err() || secmem::unlocked_secrets() > 0 {
        tracing::warn!(
            "memory cannot be locked, so that secrets may reach swap: raise its limit (ulimit -l, LimitMEMLOCK=)"
        );
    }
}

/// Whether the agent would take the configuration: nothing is started, opened or made.
///
/// # Errors
/// A sentence on what it is refused for.
pub fn check(args: &Args) -> anyhow::Result<()> {
    match args.config.as_deref() {
        Some(path) if path == Path::new("-") => drop(Config::read(std::io::stdin().lock())?),
        _ => {
            let paths =
                Paths::find(args.config.as_deref(), args.socket.as_deref(), |name| std::env::var_os(name))?;
            check_places(&paths, &load(&paths)?)?;
        }
    }
    Ok(())
}

async fn live(
    paths: &Paths,
    config: Config,
    passed: Option<UnixListener>,
    began: Instant,
) -> anyhow::Result<()> {
    // Handlers first: a signal during the start must not kill without the end of this function.
    let mut signals = Signals::new()?;
    let door = Arc::new(Door::open(&paths.socket, passed, config.allow_group)?);
    let state = open_state(paths, &config).await?;
    state.journal("agent.start", None, json!({"version": crate::VERSION})).await?;
    // Before anybody can ask: of a split key whose last proof was cut off, what is left whole goes now.
    split::finish(&state).await;
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve::serve(state.clone(), door.listener()?, stopped));
    let watcher = tokio::spawn({
        let state = state.clone();
        async move { state.tokens().watch().await }
    });
    state.tokens().recall_counts();
    state.tokens().unlock_unattended();
    notify(&[NotifyState::Ready]);
    tracing::info!(socket = %door.path().display(), ms = began.elapsed().as_millis(), "ready");
    let result = until_stopped(&state, paths, &door, &mut signals, server, stop).await;
    watcher.abort();
    end(&state).await;
    result
}

async fn open_state(paths: &Paths, config: &Config) -> anyhow::Result<AppState> {
    let program = std::env::current_exe().context("the agent's own program cannot be found")?;
    let folder = paths.state.clone();
    let ledger = tokio::task::spawn_blocking(move || Ledger::open(&folder))
        .await?
        .map_err(|error| anyhow::anyhow!("{error}; {}", error.remedy()))?;
    let ledger = Arc::new(ledger);
    let repositories = Repositories::open(Arc::clone(&ledger)).await.map_err(readable)?;
    let (state, credentials) = (paths.state.clone(), paths.credentials.clone());
    let splits = Arc::default();
    let proofs = Arc::new(Proofs::open(&state).map_err(readable)?);
    let logins = Arc::default();
    let places = Places { ledger: Arc::clone(&ledger), state, credentials, program, splits, proofs, logins };
    let tokens = Tokens::open(&config.tokens, places).map_err(readable)?;
    let state = AppState::new(ledger, repositories, tokens, Admission::new(config.allow_group));
    state.demand(config);
    Ok(state)
}

/// Serves until a signal or a fault; SIGHUP reloads.
async fn until_stopped(
    state: &AppState,
    paths: &Paths,
    door: &Door,
    signals: &mut Signals,
    mut server: tokio::task::JoinHandle<anyhow::Result<()>>,
    stop: watch::Sender<bool>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            ended = &mut server => return ended?.context("the server ended by itself"),
            told = signals.next() => match told {
                Told::Reload => reload(state, paths, door).await,
                Told::Stop(name) => {
                    tracing::info!(signal = name, "stopping: calls under way may finish");
                    break;
                }
            },
        }
    }
    notify(&[NotifyState::Stopping]);
    let _ = stop.send(true);
    door.close();
    state.stop();
    state.tokens().stop_waiting();
    tokio::select! {
        ended = &mut server => return ended?,
        () = tokio::time::sleep(DRAIN) => tracing::warn!("calls that did not finish in time are cut off"),
        () = signals.stop() => tracing::warn!("told again: calls under way are cut off"),
    }
    server.abort();
    Ok(())
}

/// Checks the new configuration whole, then switches; on any failure the old one stays.
async fn reload(state: &AppState, paths: &Paths, door: &Door) {
    let _ = NotifyState::monotonic_usec_now().map(|now| notify(&[NotifyState::Reloading, now]));
    let result = switch(state, paths, door).await;
    let body = match &result {
        Ok(()) => json!({"done": true}),
        Err(error) => json!({"done": false, "why": format!("{error:#}")}),
    };
    match result {
        Ok(()) => {
            tracing::info!("configuration reloaded");
            state.tokens().unlock_unattended();
        }
        Err(error) => tracing::error!("the new configuration is refused, the old one stays: {error:#}"),
    }
    if let Err(refusal) = state.journal("agent.reload", None, body).await {
        tracing::error!(%refusal, "the reload could not be journalled");
    }
    notify(&[NotifyState::Ready]);
}

/// The configuration, or why it is refused and which file that is.
fn load(paths: &Paths) -> anyhow::Result<Config> {
    Config::load(&paths.config, paths.config_named).with_context(|| paths.config.display().to_string())
}

/// A group may enter the socket's folder, and must not enter the state folder.
fn check_places(paths: &Paths, config: &Config) -> anyhow::Result<()> {
    if config.allow_group.is_some() && paths.socket.starts_with(&paths.state) {
        bail!(
            "allow_groups would open the state folder, in which the socket lies: set XDG_RUNTIME_DIR or name another \
             socket"
        );
    }
    Ok(())
}

async fn switch(state: &AppState, paths: &Paths, door: &Door) -> anyhow::Result<()> {
    let new = load(paths)?;
    check_places(paths, &new)?;
    // Everything that can fail comes before anything that changes.
    let tokens = state.tokens().prepare(&new.tokens).await.map_err(readable)?;
    door.change_group(new.allow_group)?;
    state.tokens().switch(tokens);
    state.demand(&new);
    state.admission().set_group(new.allow_group);
    Ok(())
}

/// Journals the end, ends the tokens and flushes the ledger.
async fn end(state: &AppState) {
    // A caller may be gone while its token still works: the outcome belongs into the journal.
    if tokio::time::timeout(LEAVE, state.signed_out()).await.is_err() {
        tracing::warn!("a signature that nobody waits for did not end in time: its outcome is unknown");
    }
    if let Err(refusal) = state.journal("agent.stop", None, json!({})).await {
        tracing::error!(%refusal, "the end could not be journalled");
    }
    let tokens = state.clone();
    let ending = tokio::task::spawn_blocking(move || tokens.tokens().shutdown());
    if tokio::time::timeout(LEAVE, ending).await.is_err() {
        tracing::warn!("a token did not end in time");
    }
    let ledger = state.clone();
    let _ = tokio::task::spawn_blocking(move || {
        ledger.repositories().write_behind();
        ledger.ledger().close();
    })
    .await;
}

/// A refusal as a sentence with its remedy.
fn readable(refusal: crate::refusal::Refusal) -> anyhow::Error {
    anyhow::anyhow!("{}; {}", refusal.message, refusal.remedy)
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be handled");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            reload: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.reload.recv() => Told::Reload,
        }
    }

    /// Waits for one that says stop.
    async fn stop(&mut self) {
        while matches!(self.next().await, Told::Reload) {}
    }
}

/// What a signal means.
enum Told {
    Reload,
    Stop(&'static str),
}
