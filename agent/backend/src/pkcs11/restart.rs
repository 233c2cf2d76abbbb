//! When a helper that died may be started again: at once the first time, with back-off from the
//! second death within a minute. Pure; the clock is the caller's.

use std::time::{Duration, Instant};

/// Remembers deaths, and says when the next start may be.
#[derive(Debug, Default)]
pub(crate) struct RestartPolicy {
    recent: Vec<Instant>,
    not_before: Option<Instant>,
}

impl RestartPolicy {
    /// Notes that a helper died, or could not be started.
    pub(crate) fn died(&mut self, now: Instant) {
        self.recent.retain(|death| now.saturating_duration_since(*death) < WINDOW);
        self.recent.push(now);
        self.not_before = match self.recent.len() {
            0 | 1 => None,
            n => now.checked_add(back_off(n)),
        };
    }

    /// How long the next start must still wait; `None` when it may be now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.not_before?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

/// 1 s after the second death within the window, then doubled up to 32 s, which keeps the count
/// of deaths in the window above one for as long as they go on.
fn back_off(deaths: usize) -> Duration {
    let doublings = u32::try_from(deaths.saturating_sub(2)).unwrap_or(u32::MAX).min(MAX_DOUBLINGS);
    Duration::from_secs(1 << doublings)
}

const WINDOW: Duration = Duration::from_secs(60);
const MAX_DOUBLINGS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_death_costs_no_wait_and_the_second_within_a_minute_does() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut policy = RestartPolicy::default();
        assert_eq!(policy.wait(at(0)), None);
        policy.died(at(0));
        assert_eq!(policy.wait(at(0)), None);
        policy.died(at(10));
        assert_eq!(policy.wait(at(10)), Some(Duration::from_secs(1)));
        assert_eq!(policy.wait(at(11)), None);
        policy.died(at(11));
        assert_eq!(policy.wait(at(11)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_wait_has_a_cap_and_quiet_forgets() {
        let start = Instant::now();
        let mut policy = RestartPolicy::default();
        for n in 0..100 {
            policy.died(start + Duration::from_millis(n));
        }
        let last = start + Duration::from_millis(99);
        assert_eq!(policy.wait(last), Some(Duration::from_secs(32)));
        policy.died(last + Duration::from_secs(61));
        assert_eq!(policy.wait(last + Duration::from_secs(61)), None);
    }
}
