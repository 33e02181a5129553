//! The protocol between this process and the one that measures it.

use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

/// One workload with its parameters; each workload uses those that concern it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Task {
    /// The name of the workload.
    pub(crate) work: String,
    /// The URL of the server.
    #[arg(long)]
    pub(crate) url: String,
    /// The number of items.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) items: usize,
    /// The number of callers, each with one call at a time, or of parallel handlers.
    #[arg(long, default_value_t = 1)]
    pub(crate) callers: usize,
    /// Items per bulk call.
    #[arg(long, default_value_t = 100)]
    pub(crate) batch: usize,
    /// Items per second, for latency under load.
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// Duration in seconds of a workload that is not limited by items.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Items that a rate limit allows per window.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) limit: u32,
    /// Window of the rate limit in milliseconds.
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

/// A rate limit: a number of items per window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) items: u32,
    pub(crate) window: Duration,
}

/// The result.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) items: usize,
    pub(crate) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    /// Why it was not run.
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

    /// A result with the percentiles of the samples, and their number as items.
    pub(crate) fn latencies(mut samples: Vec<Duration>, elapsed: Duration) -> Self {
        samples.sort();
        Self {
            p50_ms: Some(percentile(&samples, 50)),
            p99_ms: Some(percentile(&samples, 99)),
            ..Self::rate(samples.len(), elapsed)
        }
    }
}

/// A percentile of the sorted samples, in milliseconds.
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
    /// Reports that everything is connected, and waits for the signal to begin.
    pub(crate) fn ready(&mut self) -> Result<()> {
        println!("ready");
        io::stdout().flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            bail!("the measuring process has gone");
        }
        self.begun = true;
        Ok(())
    }

    /// Prints the outcome, and keeps everything as it is until it has been inspected. Workers that still wait end with
    /// the process.
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
