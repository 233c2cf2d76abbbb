//! `tufctl verify`

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl verify`.
pub(crate) fn run(_args: &VerifyArgs, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl verify is not there yet"))
}
