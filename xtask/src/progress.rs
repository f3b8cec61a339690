//! Progress on the terminal: bars where the amount is known, spinners where it is not.
//!
//! Indicatif draws nothing when standard error is not a terminal; the line that [`Step::done`] prints
//! is there in both cases, so that a log of a build in CI says what happened.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One piece of work that takes a while.
pub struct Step {
    bar: ProgressBar,
    what: String,
    started: Instant,
}

/// Work whose amount is not known.
pub fn spinner(what: impl Into<String>) -> Step {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(120));
    Step::new(bar, what.into())
}

/// Work on a known number of bytes.
pub fn bytes(what: impl Into<String>, total: u64) -> Step {
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    Step::new(bar, what.into())
}

impl Step {
    fn new(bar: ProgressBar, what: String) -> Step {
        bar.set_message(what.clone());
        Step {
            bar,
            what,
            started: Instant::now(),
        }
    }

    /// So many more bytes are done.
    pub fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Ends the work with one line of what came of it.
    pub fn done(self, result: &str) {
        self.bar.finish_and_clear();
        eprintln!(
            "{}: {result} ({:.1} s)",
            self.what,
            self.started.elapsed().as_secs_f32()
        );
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
