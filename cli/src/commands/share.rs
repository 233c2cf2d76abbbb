//! `tufctl share …`: keys that are split among several people.

mod verify;

use crate::args::ShareCommand;
use crate::context::Context;
use crate::error::Failure;
use crate::render::Report;
use crate::shares;

/// Runs a `share` command.
pub(crate) fn run(command: &ShareCommand, context: &Context) -> Result<Report, Failure> {
    shares::harden();
    match command {
        ShareCommand::Verify(args) => verify::run(args, context),
    }
}
