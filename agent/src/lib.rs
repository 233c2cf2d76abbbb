//! The daemon: composition of door, configuration, tokens, pipeline and services.
//!
//! Duty: sign TUF metadata that it has read and understood, never bytes. Trust: the kernel's word on who calls,
//! its own state folder, its own configuration; nothing that a client sends.
//! Start reading at [`run`], then [`signing`].
#![forbid(unsafe_code)]

pub mod args;
mod awake;
pub mod backup;
pub mod clock;
pub mod config;
pub mod door;
mod health;
mod heavy;
pub mod intake;
pub mod limits;
pub mod log;
pub mod paths;
pub mod refusal;
pub mod repositories;
pub mod rpc;
pub mod run;
pub mod seal;
mod serve;
pub mod signing;
mod sparing;
pub mod split;
pub mod state;
pub mod tokens;

/// The version, as `--version`, `status` and the journal tell it; a build that was made to measure says so in it.
pub const VERSION: &str = if ledger::UNSAFE_FLUSH {
    concat!(env!("CARGO_PKG_VERSION"), "+unsafe-flush")
} else {
    env!("CARGO_PKG_VERSION")
};
