//! Summaries of several trials of one contender, and the rows of the tables.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use super::contenders::{Contender, LIMIT};
use super::programs::shown_version;
use super::trial::Trial;
use super::works::{Kind, Work};

/// The trials of one contender in one workload.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) contender: &'static Contender,
    pub(super) items: usize,
    trials: Vec<Trial>,
}

impl Samples {
    pub(super) fn new(contender: &'static Contender, items: usize) -> Self {
        Self { contender, items, trials: Vec::new() }
    }

    pub(super) fn push(&mut self, trial: Trial) {
        self.trials.push(trial);
    }

    /// A contender that has failed once is not tried again.
    pub(super) fn goes_on(&self) -> bool {
        self.failure().is_none()
    }

    fn failure(&self) -> Option<&str> {
        self.trials.iter().find_map(Trial::failure)
    }

    fn all(&self, figure: impl Fn(&Trial) -> Option<f64>) -> Vec<f64> {
        let mut figures: Vec<_> = self.trials.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    fn median(&self, figure: impl Fn(&Trial) -> Option<f64>) -> Option<f64> {
        median(&self.all(figure))
    }

    pub(super) fn ops_per_s(&self) -> f64 {
        self.median(Trial::ops_per_s).unwrap_or_default()
    }

    /// The median of the ratios of adjacent trials.
    fn ratio(&self, other: &Self, figure: impl Fn(&Trial) -> Option<f64>) -> Option<f64> {
        let pairs = self.trials.iter().zip(&other.trials);
        let mut ratios: Vec<_> = pairs.filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?)).collect();
        ratios.sort_by(f64::total_cmp);
        median(&ratios)
    }

    pub(super) fn json(&self) -> Value {
        let trials: Vec<_> = self.trials.iter().map(Trial::json).collect();
        json!({ "contender": self.contender.name, "items": self.items, "trials": trials })
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

/// One row of a table. What was not measured, or is irrelevant to the workload, is left empty.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) work: &'static Work,
    pub(super) contender: &'static Contender,
    pub(super) version: String,
    pub(super) figures: Figures,
    /// Why there are no figures.
    pub(super) failure: Option<String>,
    pub(super) items: usize,
    runs: usize,
}

#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) ops_per_s: Option<f64>,
    pub(super) range: Option<(f64, f64)>,
    /// Relative to the first contender of the workload.
    pub(super) ratio: Option<f64>,
    /// Relative to what a limit allows.
    pub(super) share_of_limit: Option<f64>,
    /// Relative to the no-op script.
    pub(super) ratio_to_n: Option<f64>,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) server_us_per_item: Option<f64>,
    pub(super) client_us_per_item: Option<f64>,
    pub(super) server_bytes_per_item: Option<f64>,
    pub(super) startup_ms: Option<f64>,
}

/// A row for each contender that ran.
pub(super) fn rows(work: &'static Work, samples: &[Samples]) -> Result<Vec<Row>> {
    let limit = samples.iter().find(|sample| sample.contender.name == LIMIT);
    let first = samples.first();
    samples.iter().map(|sample| row(work, sample, first, limit)).collect()
}

fn row(work: &'static Work, sample: &Samples, first: Option<&Samples>, limit: Option<&Samples>) -> Result<Row> {
    let failure = sample.failure().map(str::to_owned);
    let figures = if failure.is_some() { Figures::default() } else { figures(work, sample, first, limit) };
    let (contender, version) = (sample.contender, shown_version(sample.contender)?);
    Ok(Row { work, contender, version, figures, failure, items: sample.items, runs: sample.trials.len() })
}

fn figures(work: &Work, sample: &Samples, first: Option<&Samples>, limit: Option<&Samples>) -> Figures {
    let startup_ms = sample.median(|trial| Some(trial.startup_ms()));
    if let Kind::Memory(_) = work.kind {
        let server_bytes_per_item = sample.median(Trial::bytes_per_item);
        let ratio = first.and_then(|first| sample.ratio(first, Trial::bytes_per_item));
        return Figures {
            server_bytes_per_item,
            ratio,
            ops_per_s: sample.median(Trial::ops_per_s),
            ..Figures::default()
        };
    }
    let rates = sample.all(Trial::ops_per_s);
    let measure = if work.kind == Kind::Latency { Trial::p50_ms } else { Trial::ops_per_s };
    let share_of_limit = (work.kind == Kind::Held).then(|| Some(median(&rates)? / work.allowed_per_s())).flatten();
    Figures {
        ops_per_s: median(&rates),
        share_of_limit,
        range: rates.first().copied().zip(rates.last().copied()),
        ratio: first.and_then(|first| sample.ratio(first, measure)),
        ratio_to_n: limit.and_then(|limit| sample.ratio(limit, Trial::ops_per_s)),
        p50_ms: sample.median(Trial::p50_ms),
        p99_ms: sample.median(Trial::p99_ms),
        server_us_per_item: sample.median(Trial::server_us_per_item),
        client_us_per_item: sample.median(Trial::client_us_per_item),
        server_bytes_per_item: None,
        startup_ms,
    }
}

impl Row {
    pub(super) fn json(&self) -> Value {
        let figures = &self.figures;
        json!({
            "work": self.work.name,
            "contender": self.contender.name,
            "version": self.version,
            "ops_per_s": rounded(figures.ops_per_s, 1.0),
            "ops_per_s_min": rounded(figures.range.map(|(least, _)| least), 1.0),
            "ops_per_s_max": rounded(figures.range.map(|(_, most)| most), 1.0),
            "ratio": rounded(figures.ratio, 1_000.0),
            "share_of_limit": rounded(figures.share_of_limit, 1_000.0),
            "ratio_to_n": rounded(figures.ratio_to_n, 1_000.0),
            "p50_ms": rounded(figures.p50_ms, 1_000.0),
            "p99_ms": rounded(figures.p99_ms, 1_000.0),
            "server_us_per_item": rounded(figures.server_us_per_item, 100.0),
            "client_us_per_item": rounded(figures.client_us_per_item, 100.0),
            "server_bytes_per_item": rounded(figures.server_bytes_per_item, 1.0),
            "startup_ms": rounded(figures.startup_ms, 10.0),
            "items": self.items,
            "runs": self.runs,
            "lacks": self.contender.lacks,
            "failure": self.failure,
        })
    }

    /// The row as progress output.
    pub(super) fn line(&self) -> String {
        let figures = &self.figures;
        let mut line = format!("{:<26}", self.contender.label);
        if let Some(failure) = &self.failure {
            return line + failure;
        }
        for (figure, unit, digits) in [
            (figures.ops_per_s, "/s", 0),
            (figures.ratio, "×", 2),
            (figures.p50_ms, "ms p50", 3),
            (figures.p99_ms, "ms p99", 3),
            (figures.server_bytes_per_item, "bytes", 0),
            (figures.server_us_per_item, "µs server", 1),
            (figures.client_us_per_item, "µs client", 1),
        ] {
            if let Some(figure) = figure {
                let _ = write!(line, "{figure:>10.digits$} {unit}");
            }
        }
        line
    }
}

fn rounded(figure: Option<f64>, parts: f64) -> Option<f64> {
    figure.map(|figure| (figure * parts).round() / parts)
}

#[cfg(test)]
mod tests {
    use super::{median, rounded};

    #[test]
    fn the_median_is_one_of_the_runs() {
        assert_eq!(median(&[1.0, 5.0, 9.0]), Some(5.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn figures_are_rounded_for_people() {
        assert_eq!(rounded(Some(1.23456), 100.0), Some(1.23));
        assert_eq!(rounded(None, 100.0), None);
    }
}
