//! The clocks: wall time for metadata, the boot clock for lifetimes (it counts through suspend and never jumps).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tuf::time::UtcTime;

/// Wall time, whole seconds.
#[must_use]
pub fn now() -> UtcTime {
    UtcTime::from_unix(clock_gettime(ClockId::Realtime).tv_sec)
}

/// Time since boot, suspend included.
#[must_use]
pub fn boot() -> Duration {
    let at = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(at.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Milliseconds on the boot clock.
#[must_use]
pub fn boot_ms() -> u64 {
    u64::try_from(boot().as_millis()).unwrap_or(u64::MAX)
}
