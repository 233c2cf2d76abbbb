//! `tuf-agent`: a TUF signing daemon. What it does is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use tuf_agent::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = std::env::var("TUF_AGENT_LOG").or_else(|_| std::env::var("RUST_LOG"));
    tuf_agent::log::start(filter.ok().as_deref());
    match tuf_agent::run::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
