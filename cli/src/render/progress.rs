//! Progress bars: only on a terminal, only for work that takes longer than half a second, gone when done.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Screen;

/// Work whose size in bytes is known.
pub(crate) struct Progress {
    label: &'static str,
    draws: bool,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar that is labelled with what is done, such as "hashing".
    pub(crate) fn new(screen: Screen, label: &'static str) -> Self {
        Self { label, draws: screen.draws(), began: Instant::now(), bar: None }
    }

    /// `done` of `total` bytes.
    pub(crate) fn update(&mut self, done: u64, total: u64) {
        if !self.draws || (self.bar.is_none() && self.began.elapsed() < PATIENCE) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total).with_message(self.label);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const PATIENCE: Duration = Duration::from_millis(500);
const TEMPLATE: &str = "{msg} {bar:30} {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left";
