//! `tuf-agent`: a TUF signing daemon. What it does is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use tuf_agent::args::{Args, Inner};

fn main() -> ExitCode {
    let args = Args::parse();
    // A helper is dispatched before anything else: no log, no runtime, no state.
    if let Some(Inner::HostToken { .. }) = args.inner {
        return host_token();
    }
    if args.check {
        return checked(&tuf_agent::run::check(&args));
    }
    let filter = std::env::var("TUF_AGENT_LOG").or_else(|_| std::env::var("RUST_LOG"));
    tuf_agent::log::start(filter.ok().as_deref());
    ended(tuf_agent::run::run(&args))
}

/// What it says goes to the agent's own log.
fn host_token() -> ExitCode {
    let result = backend::host::run();
    if result.is_err() {
        tuf_agent::log::start(None);
    }
    ended(result.map_err(anyhow::Error::from))
}

/// For who asks, and no log: the sentence alone.
#[allow(clippy::print_stderr, reason = "it is the answer to a command")]
fn checked(result: &anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", tuf_agent::log::one_line(format!("{error:#}").as_bytes(), false));
            ExitCode::FAILURE
        }
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
