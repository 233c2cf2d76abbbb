//! The clocks: wall time for metadata, the boot clock for lifetimes (it counts through suspend and never jumps).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tuf::time::UtcTime;

/// Wall time, whole seconds; read through the C library, so that what shifts its clock shifts this one too. A clock
/// before 1970 reads as 1970, when nothing has expired and nothing may be signed for long.
#[must_use]
pub fn now() -> UtcTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UtcTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Time since boot, suspend included.
#[must_use]
pub fn boot() -> Duration {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> Duration {
    let at = clock_gettime(clock);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(at.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// How long the machine has slept since boot.
#[must_use]
pub fn slept() -> Duration {
    boot().saturating_sub(read(ClockId::Monotonic))
}

/// Milliseconds on the boot clock.
#[must_use]
pub fn boot_ms() -> u64 {
    u64::try_from(boot().as_millis()).unwrap_or(u64::MAX)
}
