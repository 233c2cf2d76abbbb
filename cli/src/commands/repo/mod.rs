//! `tufctl repo …`: begin, take over and show repositories.

mod adopt;
mod init;
mod lost;
mod reset_watermark;
mod show;
mod whole;

use crate::args::RepoCommand;
use crate::context::Context;
use crate::error::Failure;
use crate::render::Report;

/// Runs a `repo` command.
pub(crate) fn run(command: &RepoCommand, context: &Context) -> Result<Report, Failure> {
    match command {
        RepoCommand::Init(args) => init::run(args, context),
        RepoCommand::Adopt(args) => adopt::run(args, context),
        RepoCommand::Show(args) => show::run(args, context),
        RepoCommand::ResetWatermark(args) => reset_watermark::run(args, context),
    }
}
