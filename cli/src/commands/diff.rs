//! `tufctl diff`

use std::path::Path;

use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;

/// Runs `tufctl diff`.
pub(crate) fn run(_dir: &Path, _context: &Context) -> Result<Report, Failure> {
    Err(Failure::new(reason::UNSUPPORTED, "tufctl diff is not there yet"))
}
