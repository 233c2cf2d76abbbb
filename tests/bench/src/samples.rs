//! Times of one thing, done many times.

use std::time::{Duration, Instant};

/// Times, in microseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e6);
    }

    /// Does it once and adds its time.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.push(began.elapsed());
        done
    }

    /// How many they are.
    pub(crate) fn number(&self) -> usize {
        self.0.len()
    }

    /// The median, microseconds.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The time that this part of them (0 to 1) does not exceed, microseconds.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1).expect("at least one sample");
        sorted[(last as f64 * part).round() as usize]
    }
}
