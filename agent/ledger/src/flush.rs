//! What a flush is in this build: always the real one, except in builds that were made to measure.
//!
//! The cargo feature `unsafe-flush` is for `cargo xtask bench` alone. It is off by default, no other crate's default
//! switches it on, and a build that has it does not open a ledger before the environment says what a flush shall be:
//! it cannot be had by accident.

use std::fs::File;
use std::io;

use crate::LedgerError;

/// True in a build that was made to measure and must not hold anybody's keys.
pub const UNSAFE_FLUSH: bool = cfg!(feature = "unsafe-flush");

/// Fails in a build that was made to measure, unless it was told how.
#[cfg(not(feature = "unsafe-flush"))]
#[expect(clippy::unnecessary_wraps, reason = "in a build that was made to measure it may fail")]
pub(crate) const fn check() -> Result<(), LedgerError> {
    Ok(())
}

/// SQLite's word for how a commit is flushed.
#[cfg(not(feature = "unsafe-flush"))]
pub(crate) const fn synchronous() -> &'static str {
    "FULL"
}

/// Flushes a file's content.
#[cfg(not(feature = "unsafe-flush"))]
pub(crate) fn data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Flushes a file, or a folder's names.
#[cfg(not(feature = "unsafe-flush"))]
pub(crate) fn all(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// After a commit: a build that was made to measure may make each flush take longer.
#[cfg(not(feature = "unsafe-flush"))]
pub(crate) const fn committed() {}

#[cfg(feature = "unsafe-flush")]
pub(crate) use measured::{all, check, committed, data, synchronous};

#[cfg(feature = "unsafe-flush")]
mod measured {
    use std::sync::OnceLock;
    use std::time::Duration;

    use super::{File, LedgerError, io};

    /// Names what a flush is: `off`, or the milliseconds that are added to each.
    const VARIABLE: &str = "TUF_AGENT_UNSAFE_FLUSH";

    #[derive(Debug, Clone, Copy)]
    enum Flush {
        Off,
        Slower(Duration),
    }

    fn flush() -> Option<Flush> {
        static FLUSH: OnceLock<Option<Flush>> = OnceLock::new();
        *FLUSH.get_or_init(|| match std::env::var(VARIABLE).ok()?.as_str() {
            "off" => Some(Flush::Off),
            number => Some(Flush::Slower(Duration::from_millis(number.parse().ok()?))),
        })
    }

    pub(crate) fn check() -> Result<(), LedgerError> {
        let Some(flush) = flush() else {
            let what = "this build was made to measure (cargo feature unsafe-flush) and must not hold keys";
            let why = format!("{VARIABLE} is neither `off` nor the milliseconds to add to each flush");
            return Err(LedgerError::io(what, why));
        };
        tracing::warn!(?flush, "UNSAFE: this build was made to measure; what it signs may be forgotten");
        Ok(())
    }

    pub(crate) fn synchronous() -> &'static str {
        if matches!(flush(), Some(Flush::Off)) { "OFF" } else { "FULL" }
    }

    pub(crate) fn data(file: &File) -> io::Result<()> {
        if matches!(flush(), Some(Flush::Off)) { Ok(()) } else { file.sync_data() }
    }

    pub(crate) fn all(file: &File) -> io::Result<()> {
        if matches!(flush(), Some(Flush::Off)) { Ok(()) } else { file.sync_all() }
    }

    pub(crate) fn committed() {
        if let Some(Flush::Slower(more)) = flush() {
            std::thread::sleep(more);
        }
    }
}
