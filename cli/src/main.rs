//! `tufctl`, the client of `tuf-agent`: it edits TUF repositories, shows what would be signed and asks the
//! agent for signatures. It holds no key, no state and no policy.
//!
//! `args` says what can be said, `commands` does it, `client` talks to the agent, `render` to people.
#![forbid(unsafe_code)]

mod args;
mod client;
mod commands;
mod context;
mod error;
mod interrupt;
mod keys;
mod prompt;
mod reading;
mod render;
mod secret;
mod shares;
mod usage;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::end(&error),
    };
    let context = context::Context::new(&cli.globals);
    let end = commands::run(&cli.command, &context);
    ExitCode::from(context.screen.finish(end))
}
