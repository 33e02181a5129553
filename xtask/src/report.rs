//! What ran, how long it took, and what was skipped.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tidelock_testkit::is_ci;

/// The line above a summary, and the prefix of each line that reports something skipped.
const SUMMARY: &str = "== summary";
const SKIPPED: &str = "skipped: ";

/// Collects what a task does, for the summary at its end.
#[derive(Debug)]
pub(crate) struct Report {
    start: Instant,
    sections: Vec<(&'static str, Duration)>,
    skipped: Vec<String>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), sections: Vec::new(), skipped: Vec::new() }
    }

    /// Runs one section under a heading; its error contains its name.
    pub(crate) fn section<T>(&mut self, name: &'static str, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = run(self).with_context(|| format!("section {name}"))?;
        eprintln!("-- {name}: {}", seconds(start.elapsed()));
        self.sections.push((name, start.elapsed()));
        Ok(outcome)
    }

    /// Records that something is skipped; fails in CI, where nothing is skipped.
    pub(crate) fn skip(&mut self, what_and_why: String) -> Result<()> {
        if is_ci() {
            bail!("{what_and_why} (nothing is skipped in CI)");
        }
        self.leave_out(what_and_why);
        Ok(())
    }

    /// Records that something is skipped because it is not available anywhere yet, not even in CI.
    pub(crate) fn leave_out(&mut self, what_and_why: String) {
        eprintln!("{SKIPPED}{what_and_why}");
        self.skipped.push(what_and_why);
    }

    /// Adopts what a run of other sections skipped, from the summary at the end of its output.
    pub(crate) fn adopt(&mut self, said: &str) {
        let (_, summary) = said.rsplit_once(SUMMARY).unwrap_or_default();
        self.skipped.extend(summary.lines().filter_map(|line| line.strip_prefix(SKIPPED)).map(str::to_owned));
    }

    pub(crate) fn summary(&self) {
        eprintln!("\n{SUMMARY}");
        for (name, elapsed) in &self.sections {
            eprintln!("{name:<16}{:>9}", seconds(*elapsed));
        }
        eprintln!("{:<16}{:>9}", "all", seconds(self.start.elapsed()));
        for reason in &self.skipped {
            eprintln!("{SKIPPED}{reason}");
        }
        if self.skipped.is_empty() {
            eprintln!("nothing was skipped");
        }
    }
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn what_others_skipped_is_reported_once() {
        let mut report = Report::new();
        report.adopt("== npm\nskipped: bun\n== summary\nnpm 1.0 s\nskipped: bun\nskipped: deno\n");
        report.adopt("it printed no summary");
        assert_eq!(report.skipped, ["bun", "deno"]);
    }
}
