//! `tufctl completions SHELL`: a completion script on stdout.

use clap::CommandFactory;

use crate::args::Cli;
use crate::error::Failure;
use crate::render::Report;

/// The script; under `--json` a member of the document.
pub(crate) fn run(shell: clap_complete::Shell) -> Result<Report, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tufctl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Ok(Report::new(serde_json::json!({"shell": shell.to_string(), "script": script}), script))
}
