//! How often a module may be initialised again (FAULTS D2). Pure; the clock is the caller's.

use std::time::{Duration, Instant};

/// Remembers when the module was last initialised again.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    last: Option<Instant>,
}

impl Reloads {
    /// Whether it may be done now; if so, it counts as done.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let may = self.last.is_none_or(|last| now.saturating_duration_since(last) >= APART);
        if may {
            self.last = Some(now);
        }
        may
    }
}

const APART: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_initialised_again_once_in_thirty_seconds() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut reloads = Reloads::default();
        assert!(reloads.take(at(0)));
        assert!((1..30).all(|second| !reloads.take(at(second))));
        assert!(reloads.take(at(30)));
        assert!(!reloads.take(at(31)));
    }
}
