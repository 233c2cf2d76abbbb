//! The delay that wrong passphrases earn.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Wrong passphrases since the last right one; forgotten when the agent ends.
#[derive(Default)]
pub(super) struct Attempts {
    wrong: u32,
    not_before: Option<Instant>,
}

impl Attempts {
    /// Waits until the next check may begin.
    pub(super) fn wait(&self) {
        let left = self.not_before.map(|at| at.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            sleep(left);
        }
    }

    pub(super) fn failed(&mut self) {
        self.wrong = self.wrong.saturating_add(1);
        self.not_before = Instant::now().checked_add(delay(self.wrong));
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// Two slips of the finger are free, then a quarter of a second that doubles up to eight seconds.
fn delay(wrong: u32) -> Duration {
    match wrong.checked_sub(3) {
        None => Duration::ZERO,
        Some(doublings) => FIRST.saturating_mul(1 << doublings.min(5)),
    }
}

const FIRST: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_and_is_bounded() {
        let delays: Vec<_> = (0..12).map(|n| delay(n).as_millis()).collect();
        assert_eq!(delays, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000, 8000]);
        assert_eq!(delay(u32::MAX), Duration::from_secs(8));
    }

    #[test]
    fn a_right_passphrase_forgets_the_wrong_ones() {
        let mut attempts = Attempts::default();
        for _ in 0..5 {
            attempts.failed();
        }
        assert!(attempts.not_before.is_some());
        attempts.succeeded();
        assert!(attempts.wrong == 0 && attempts.not_before.is_none());
    }
}
