//! `tufctl bump`

use crate::args::BumpArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl bump`.
pub(crate) fn run(_args: &BumpArgs, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl bump is not there yet"))
}
