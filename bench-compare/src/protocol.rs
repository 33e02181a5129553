//! What this process and the one that measures it say to each other.

use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

/// One work with its measures; each work looks at those that concern it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Task {
    /// What is done.
    pub(crate) work: String,
    /// Where the server is.
    #[arg(long)]
    pub(crate) url: String,
    /// How many items.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) items: usize,
    /// How many callers that each await one call after the other, or how many handlers at once.
    #[arg(long, default_value_t = 1)]
    pub(crate) callers: usize,
    /// Items of one call in bulk.
    #[arg(long, default_value_t = 100)]
    pub(crate) batch: usize,
    /// Items per second, where the work is about latency at a load.
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// How long a work goes on that is not counted in items.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// How many items a rate limit allows in each of its windows.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) limit: u32,
    /// Milliseconds of one window of the rate limit.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) window: u32,
}

impl Task {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace { items: self.limit, window: Duration::from_millis(self.window.into()) }
    }
}

/// A rate limit: so many items in each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) items: u32,
    pub(crate) window: Duration,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) items: usize,
    pub(crate) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsupported: Option<String>,
}

impl Outcome {
    pub(crate) fn rate(items: usize, elapsed: Duration) -> Self {
        Self { items, seconds: elapsed.as_secs_f64(), ..Self::default() }
    }

    pub(crate) fn unsupported(reason: &str) -> Self {
        Self { unsupported: Some(reason.to_owned()), ..Self::default() }
    }

    /// Percentiles of the samples, and their number as items.
    pub(crate) fn latencies(mut samples: Vec<Duration>, elapsed: Duration) -> Self {
        samples.sort();
        Self {
            p50_ms: Some(percentile(&samples, 50)),
            p99_ms: Some(percentile(&samples, 99)),
            ..Self::rate(samples.len(), elapsed)
        }
    }
}

/// The value below which so many percent of the sorted samples lie, in milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).map_or(0.0, |sample| sample.as_secs_f64() * 1_000.0)
}

/// The conversation: `ready`, a line, the outcome, the end of the input.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    begun: bool,
}

impl Stage {
    /// Says that everything is connected, and waits to be told to begin.
    pub(crate) fn ready(&mut self) -> Result<()> {
        println!("ready");
        io::stdout().flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            bail!("the one who measures has gone");
        }
        self.begun = true;
        Ok(())
    }

    /// Tells the outcome, and stays as it is until it was looked at. Workers that still wait go with the process.
    pub(crate) fn finish(mut self, outcome: &Outcome) -> Result<()> {
        if !self.begun {
            self.ready()?;
        }
        println!("{}", serde_json::to_string(outcome)?);
        io::stdout().flush()?;
        io::stdin().lock().read_line(&mut String::new())?;
        std::process::exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;
    use std::time::Duration;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert!((percentile(&samples, 50) - 51.0).abs() < 1e-9);
        assert!((percentile(&samples, 99) - 100.0).abs() < 1e-9);
        assert!(percentile(&[], 50).abs() < 1e-9);
    }
}
