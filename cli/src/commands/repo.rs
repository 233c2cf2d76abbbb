//! `tufctl repo`

use crate::args::RepoCommand;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl repo`.
pub(crate) fn run(_args: &RepoCommand, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl repo is not there yet"))
}
