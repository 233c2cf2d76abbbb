//! `tufctl sign`

use crate::args::SignArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl sign`.
pub(crate) fn run(_args: &SignArgs, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl sign is not there yet"))
}
