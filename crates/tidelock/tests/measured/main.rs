//! What is reported: each metric and span, in process and on a server, seen by a recorder and a subscriber of the test.
//!
//! Both are thread-local, so each test has a runtime of its own on its thread.

#![cfg(feature = "metrics")]

mod calls;
mod handlers;
mod locks;
mod scheduler;
mod told;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder};
use metrics::{SharedString, Unit};
use tidelock::{ManualClock, Tidelock, Timestamp};

/// Everything that was measured, by name and labels.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

impl Heard {
    /// The values measured as `name`, with labels as in `tidelock.queue.acked{queue=mail}`: increments of a counter or
    /// gauge, values of a distribution.
    fn all(&self, name: &str) -> Vec<f64> {
        self.0.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    fn sum(&self, name: &str) -> f64 {
        self.all(name).iter().sum()
    }

    /// Compares the sums of the named metrics.
    #[track_caller]
    fn shows(&self, sums: &[(&str, f64)]) {
        for (name, sum) in sums {
            let all = || self.0.lock().unwrap().keys().cloned().collect::<Vec<_>>();
            assert!((self.sum(name) - sum).abs() < 1e-9, "{name}: {} and not {sum}, of {:?}", self.sum(name), all());
        }
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name =
            if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{}}}", key.name(), labels.join(",")) };
        Arc::new(Series { heard: self.clone(), name })
    }
}

struct Series {
    heard: Heard,
    name: String,
}

impl Series {
    fn push(&self, value: f64) {
        self.heard.0.lock().unwrap().entry(self.name.clone()).or_default().push(value);
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.push(f64::from(u32::try_from(value).unwrap()));
    }

    fn absolute(&self, _: u64) {
        unreachable!("counters are added to");
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.push(value);
    }

    fn decrement(&self, value: f64) {
        self.push(-value);
    }

    fn set(&self, _: f64) {
        unreachable!("gauges go up and down");
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

impl Recorder for Heard {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

/// Opens `backend` with a clock that stands still; `None` if its server does not run.
async fn open(backend: &str) -> Option<(Tidelock, ManualClock)> {
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    if backend == "in_process" {
        return Some((Tidelock::in_process_with(&clock), clock));
    }
    let tide = Tidelock::connect(&server(backend)?).prefix(&prefix()).clock(&clock);
    Some((tide.await.expect("the test's server answers"), clock))
}

/// The URL of a server of this run; `None` if it does not run.
fn server(name: &str) -> Option<String> {
    let url = tidelock_testkit::shared_servers().into_iter().find(|(other, _)| other == name).map(|(_, url)| url);
    if url.is_none() {
        assert!(!tidelock_testkit::is_ci(), "{name} must run in CI");
        eprintln!("skipped: TIDELOCK_TEST_SERVERS names no {name}");
    }
    url
}

/// A separate prefix for each test.
fn prefix() -> String {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(10).collect();
    format!("t.measured.{random}")
}

/// Runs a test on one thread.
fn on_one_thread(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body);
}

/// Runs one test function of a `Tidelock`, its clock and its metrics in process and on a server.
macro_rules! measured {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;

            fn run_on(backend: &str) {
                $crate::on_one_thread(async {
                    let heard = $crate::Heard::default();
                    let _heard = metrics::set_default_local_recorder(&heard);
                    if let Some((tide, clock)) = $crate::open(backend).await {
                        let body = $body;
                        body(tide, clock, heard.clone()).await;
                    }
                });
            }

            #[test]
            fn in_process() {
                run_on("in_process");
            }

            #[test]
            fn redis70() {
                run_on("redis70");
            }
        }
    };
}

pub(crate) use measured;

/// Everything that a test waits for happens within this time.
const SOON: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it comes soon")
}

/// Lets other tasks run until `met` holds.
async fn until(met: impl Fn() -> bool) {
    let all = async {
        while !met() {
            tokio::task::yield_now().await;
        }
    };
    within(all).await;
}
