//! Rounds, medians and the printed table.

use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;

/// Duration of one round of one row.
pub const ROUND: Duration = Duration::from_millis(700);
/// Rounds of a row; the median counts.
pub const ROUNDS: usize = 5;

/// One line of the table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub name: &'static str,
    pub backend: &'static str,
    /// Operations per second, or 0 if the row measures something else.
    pub ops_per_s: f64,
    /// Relative to the reference that the target names: N, the p50 of a no-op, or another library.
    pub ratio: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The value to reach, in words.
    pub target: &'static str,
    pub goal: &'static str,
    /// Other observations.
    pub note: String,
}

/// The rows of a run.
#[derive(Debug, Default)]
pub struct Table {
    only: Option<String>,
    no_op: Vec<f64>,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(only: Option<String>) -> Self {
        Self { only, ..Self::default() }
    }

    /// Whether a row is requested.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }

    pub fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    pub fn push_no_op(&mut self, rate: f64) {
        self.no_op.push(rate);
    }

    pub fn push(&mut self, row: Row) {
        eprintln!("{:<28} {:>12.0}/s  {:>6.2}  {}", row.name, row.ops_per_s, row.ratio, row.note);
        self.rows.push(row);
    }

    fn n(&self) -> f64 {
        median(self.no_op.clone())
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "backend": row.backend,
                    "ops_per_s": row.ops_per_s.round(),
                    "ratio": (row.ratio * 1_000.0).round() / 1_000.0,
                    "p50_ms": row.p50_ms,
                    "p99_ms": row.p99_ms,
                    "target": row.target,
                    "goal": row.goal,
                    "note": row.note,
                })
            })
            .collect();
        json!({ "n": self.n().round(), "rows": rows })
    }

    pub fn text(&self) -> String {
        let mut text = format!("N = {:.0} no-op scripts per second, 64 callers, one connection\n\n", self.n());
        text.push_str("| row | backend | per second | ratio | target | goal | p50 ms | p99 ms | |\n");
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let blank =
                |value: f64, digits: usize| if value == 0.0 { String::new() } else { format!("{value:.digits$}") };
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                row.backend,
                blank(row.ops_per_s, 0),
                blank(row.ratio, 2),
                row.target,
                row.goal,
                blank(row.p50_ms, 3),
                blank(row.p99_ms, 3),
                row.note,
            );
        }
        text
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The value below which `share` of the sorted samples lie, in milliseconds.
pub fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).map_or(0.0, |duration| duration.as_secs_f64() * 1_000.0)
}

/// Operations per second of `callers` tasks that each await one operation after the other.
pub async fn rate<F, Fut>(callers: usize, per_call: usize, operation: F) -> f64
where
    F: Fn(usize) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (operation, stop) = (operation.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut count = 0_usize;
                while !stop.load(Ordering::Relaxed) {
                    operation(caller).await;
                    count += per_call;
                }
                count
            })
        })
        .collect();
    tokio::time::sleep(ROUND).await;
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for task in tasks {
        total += task.await.expect("a benchmark's caller does not panic");
    }
    per_second(total, start)
}

/// Operations per second of `callers` tasks that share `total` operations.
pub async fn rate_of<F, Fut>(callers: usize, total: usize, operation: F) -> f64
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let begun = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (operation, begun) = (operation.clone(), Arc::clone(&begun));
            tokio::spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < total {
                    operation().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a benchmark's caller does not panic");
    }
    per_second(total, start)
}

/// The rate of `count` operations since `start`.
pub fn per_second(count: usize, start: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of one round are far below 2^52")]
    let count = count as f64;
    count / start.elapsed().as_secs_f64()
}

/// Counts handled items and signals when all are done.
#[derive(Clone)]
pub struct Countdown(Arc<(AtomicUsize, Notify)>);

impl Countdown {
    pub fn from(total: usize) -> Self {
        Self(Arc::new((AtomicUsize::new(total), Notify::new())))
    }

    pub fn count(&self) {
        if self.0.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.1.notify_one();
        }
    }

    pub async fn over(self) {
        self.0.1.notified().await;
    }
}

/// The latencies of one caller's operations, sorted.
pub async fn latencies<Fut: Future<Output = ()>>(count: usize, mut operation: impl FnMut() -> Fut) -> Vec<Duration> {
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        operation().await;
        samples.push(start.elapsed());
    }
    samples.sort();
    samples
}
