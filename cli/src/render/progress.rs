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

/// Work in steps of which nobody knows how long each takes.
pub(crate) struct Steps {
    draws: bool,
    bar: Option<ProgressBar>,
}

impl Steps {
    /// Nothing is shown before the first step.
    pub(crate) fn new(screen: Screen) -> Self {
        Self { draws: screen.draws(), bar: None }
    }

    /// Step `number` of `of` begins.
    pub(crate) fn at(&mut self, number: u32, of: u32, what: &str) {
        if !self.draws {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(of.into());
            if let Ok(style) = ProgressStyle::with_template(STEPS) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_length(of.into());
        bar.set_position(number.into());
        bar.set_message(super::visible(what).into_owned());
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const STEPS: &str = "{spinner} measuring {bar:22} {pos} of {len} · {elapsed} · {msg}";
const TICK: Duration = Duration::from_millis(120);
const PATIENCE: Duration = Duration::from_millis(500);
const TEMPLATE: &str = "{msg} {bar:30} {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left";
