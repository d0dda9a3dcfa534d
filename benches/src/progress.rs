//! How far a scenario is, where somebody watches.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the terminal; nothing where standard error is none.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// So many steps lie ahead.
    pub(crate) fn new(name: &'static str, steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{prefix:12} {bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        bar.tick();
        Self(bar)
    }

    /// One is done; what comes next.
    pub(crate) fn step(&self, next: impl Into<String>) {
        self.0.inc(1);
        self.0.set_message(next.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
