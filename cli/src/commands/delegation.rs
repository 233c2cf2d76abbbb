//! `tufctl delegation`

use crate::args::DelegationCommand;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl delegation`.
pub(crate) fn run(_args: &DelegationCommand, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl delegation is not there yet"))
}
