//! The delay that wrong PINs and passphrases earn, for each user of each token (FAULTS C9). Pure; the clock is the caller's.
//!
//! Whoever comes too early is told when to come again, and nothing is tried: no thread waits, and no other user does.

use std::collections::BTreeMap;
use std::time::Duration;

/// So many in a row cost nothing: slips of the finger.
const FREE: u32 = 3;
/// The first delay; each further wrong one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// No delay is longer, unless it is said otherwise.
const LONGEST: Duration = Duration::from_secs(600);
/// A user who has waited for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(3600);

/// Wrong ones since the last right one, by user; forgotten when the agent ends.
#[derive(Debug, Clone)]
pub(crate) struct Delays {
    of: BTreeMap<u32, Wrong>,
    longest: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self::at_most(LONGEST)
    }
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    not_before: Duration,
}

impl Delays {
    /// No delay is longer than this.
    pub(crate) const fn at_most(longest: Duration) -> Self {
        Self { of: BTreeMap::new(), longest }
    }

    /// How long this user still has to wait; none: now.
    pub(crate) fn left(&self, user: u32, now: Duration) -> Option<Duration> {
        let wrong = self.of.get(&user)?;
        Some(wrong.not_before.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// It was wrong.
    pub(crate) fn wrong(&mut self, user: u32, now: Duration) {
        self.of.retain(|_, wrong| now < wrong.not_before.saturating_add(FORGIVEN));
        let count = self.of.get(&user).map_or(0, |wrong| wrong.count).saturating_add(1);
        self.of.insert(user, Wrong { count, not_before: now.saturating_add(delay(count).min(self.longest)) });
    }

    /// It was right.
    pub(crate) fn right(&mut self, user: u32) {
        self.of.remove(&user);
    }
}

fn delay(count: u32) -> Duration {
    match count.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_delay_grows_and_is_bounded() {
        let delays: Vec<_> = (1..16).map(|count| delay(count).as_secs()).collect();
        assert_eq!(delays, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[test]
    fn of_a_hundred_wrong_ones_in_a_minute_few_are_tried_and_other_users_wait_for_nothing() {
        let mut delays = Delays::default();
        let mut tried = 0;
        for attempt in 0..100 {
            let now = SECOND * attempt * 6 / 10;
            if delays.left(1000, now).is_none() {
                tried += 1;
                delays.wrong(1000, now);
            }
            assert_eq!(delays.left(1001, now), None);
        }
        assert_eq!(tried, 9, "at 0, 0.6, 1.2 and 1.8 s, then 1, 2, 4, 8, 16 s later and more");
    }

    #[test]
    fn a_right_one_and_an_hour_forget() {
        let mut delays = Delays::default();
        (0..20).for_each(|_| delays.wrong(1, SECOND));
        assert_eq!(delays.left(1, SECOND), Some(LONGEST));
        assert_eq!(delays.left(1, SECOND + LONGEST), None);
        delays.wrong(2, SECOND + LONGEST + FORGIVEN);
        assert_eq!(delays.of.len(), 1, "the first user begins anew");
        delays.right(2);
        assert!(delays.of.is_empty());
    }
}
