//! `tufctl root`

use crate::args::RootCommand;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl root`.
pub(crate) fn run(_args: &RootCommand, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl root is not there yet"))
}
