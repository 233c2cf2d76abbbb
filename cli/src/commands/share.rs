//! `tufctl share …`: keys that are split among several people.

mod collect;
mod give;
mod rehearse;
mod sets;
mod verify;

use crate::args::ShareCommand;
use crate::context::Context;
use crate::error::Failure;
use crate::render::Report;
use crate::shares;

pub(crate) use sets::generate;

/// Runs a `share` command.
pub(crate) fn run(command: &ShareCommand, context: &Context) -> Result<Report, Failure> {
    shares::harden();
    match command {
        ShareCommand::Verify(args) => verify::run(args, context),
        ShareCommand::Split(args) => sets::split(args, context),
        ShareCommand::Confirm(args) => sets::confirm(args, context),
        ShareCommand::List => sets::list(context),
        ShareCommand::Manifest { key } => sets::manifest(key, context),
        ShareCommand::Collect(args) => collect::run(args, context),
        ShareCommand::Give(args) => give::give(args, context),
        ShareCommand::Seal(args) => give::seal(args, context),
        ShareCommand::Drill(args) => rehearse::drill(args, context),
        ShareCommand::Resplit(args) => rehearse::resplit(args, context),
    }
}
