//! The progress of the run, on stderr: a bar on a terminal, otherwise a line from time to time.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::audit::Figures;
use crate::value::count;

const TEMPLATE: &str = "{bar:32} {pos:>6}/{len} orders  {msg}";
/// How often a line is written without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(TEMPLATE).expect("the template is valid");
            ProgressBar::new(0).with_style(style.progress_chars("━╸ "))
        });
        Self { bar, last_line: Instant::now() }
    }

    pub(crate) fn show(&mut self, figures: Figures) {
        let Figures { accepted, settled, dead, .. } = figures;
        let done = settled + dead;
        if let Some(bar) = &self.bar {
            bar.set_length(accepted);
            bar.set_position(done);
            bar.set_message(format!("{} failed", count(dead)));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            eprintln!("{} of {} orders, {} failed", count(done), count(accepted), count(dead));
        }
    }

    /// Prints a line that stays.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
