//! `tuf-conformance-client`: a TUF client with the command line of the public conformance suite.
//!
//! It judges by the crate `tuf` alone, the code that `tufctl verify` and the agent judge by; what is here fetches and
//! stores. `args` is the command line, `client` the workflow of section 5, `artifacts` target files, `store` what is
//! kept between runs, `web` HTTP. Exit code 0, or 1 with the reason on standard error.
#![forbid(unsafe_code)]

mod args;
mod artifacts;
mod client;
mod store;
mod web;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tuf::time::UtcTime;

use args::{Asked, Download, Init, Refresh};
use client::Client;
use store::Store;

fn main() -> ExitCode {
    match args::parse() {
        Ok(asked) => match run(&asked) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("refused: {error:#}"));
                ExitCode::FAILURE
            }
        },
        Err(exit) => exit,
    }
}

fn run(asked: &Asked) -> Result<()> {
    match asked {
        Asked::Init(init) => begin(init),
        Asked::Refresh(refresh) => updated(refresh).map(|_| ()),
        Asked::Download(download) => fetch_all(download),
    }
}

/// Stores the root that the user trusts (5.2).
fn begin(init: &Init) -> Result<()> {
    let path = &init.trusted_root;
    let bytes = std::fs::read(path).with_context(|| format!("the trusted root {}", path.display()))?;
    Store::open(&init.metadata_dir)?.begin(&bytes)
}

/// A client whose top-level metadata is up to date.
fn updated(refresh: &Refresh) -> Result<Client> {
    let store = Store::open(&refresh.metadata_dir)?;
    let mut client = Client::remembering(store, &refresh.metadata_url, now()?)?;
    client.refresh()?;
    Ok(client)
}

fn fetch_all(download: &Download) -> Result<()> {
    let mut client = updated(&download.refresh)?;
    for name in &download.target_names {
        let target = client.find(name)?;
        let place = artifacts::Place {
            base_url: &download.target_base_url,
            dir: &download.target_dir,
            consistent: client.consistent_snapshot(),
        };
        artifacts::download(client.web(), &place, name, &target)
            .with_context(|| format!("target {name:?}"))?;
    }
    Ok(())
}

/// The one moment of this run (5.1), from the C library's clock.
fn now() -> Result<UtcTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(UtcTime::from_unix(i64::try_from(since.as_secs()).context("the clock stands beyond all time")?))
}

/// A line on standard error: what was fetched, kept or refused.
#[expect(clippy::print_stderr, reason = "the one place that writes for people")]
fn say(line: &str) {
    eprintln!("tuf-conformance-client: {}", tuf::target::visible(line));
}
