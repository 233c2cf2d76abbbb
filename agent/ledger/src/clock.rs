//! The clocks that entries are stamped with.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tuf::time::UtcTime;

/// Where the ledger takes its times from; tests hand in their own.
pub trait Clock: Send + Sync {
    /// Wall time.
    fn now(&self) -> UtcTime;
    /// Milliseconds since boot, suspend included; never goes back while the machine runs.
    fn boot_ms(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UtcTime {
        // Through the C library, as the agent reads it.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UtcTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    fn boot_ms(&self) -> u64 {
        let at = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
        let millis = u64::try_from(at.tv_nsec / 1_000_000).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(millis)
    }
}
