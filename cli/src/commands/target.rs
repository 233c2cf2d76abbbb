//! `tufctl target`

use crate::args::TargetCommand;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl target`.
pub(crate) fn run(_args: &TargetCommand, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl target is not there yet"))
}
