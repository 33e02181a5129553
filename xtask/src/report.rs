//! What ran, how long it took, and what was skipped.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tidelock_testkit::is_ci;

/// The line above a summary, and the beginning of each line that tells what was skipped.
const SUMMARY: &str = "== summary";
const SKIPPED: &str = "skipped: ";

/// Collected while a task runs, for the summary at its end.
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

    /// Runs one part under a heading; its failure carries its name.
    pub(crate) fn section<T>(&mut self, name: &'static str, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = run(self).with_context(|| format!("section {name}"))?;
        eprintln!("-- {name}: {}", seconds(start.elapsed()));
        self.sections.push((name, start.elapsed()));
        Ok(outcome)
    }

    /// Goes on without something; in CI, where nothing is skipped, fails instead.
    pub(crate) fn skip(&mut self, what_and_why: String) -> Result<()> {
        if is_ci() {
            bail!("{what_and_why} (nothing is skipped in CI)");
        }
        self.leave_out(what_and_why);
        Ok(())
    }

    /// Goes on without something that cannot be had anywhere yet, also in CI.
    pub(crate) fn leave_out(&mut self, what_and_why: String) {
        eprintln!("{SKIPPED}{what_and_why}");
        self.skipped.push(what_and_why);
    }

    /// Takes over what a run of other sections skipped, from what it said: its summary ends that.
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
        report.adopt("it told no summary");
        assert_eq!(report.skipped, ["bun", "deno"]);
    }
}
