//! Handing over work: the operations that each library implements, and the workloads, written once for all of them.

mod apalis;
mod bullmq;
mod sidekiq;
mod tidelock;

use std::any::Any;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::Notify;

use crate::protocol::{Outcome, Pace, Stage, Task};

/// Payload size in bytes.
const PAYLOAD: usize = 100;
/// The longest time for which a rate is measured.
const ENOUGH: Duration = Duration::from_secs(3);
/// Setting up or finishing must not take longer than this; otherwise the trial has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A library that hands items from producers to workers, with its recommended defaults.
pub(crate) trait Jobs: Clone + Send + Sync + 'static {
    /// Whether one call can enqueue many items.
    const BULK: bool = true;

    fn open(url: &str) -> impl Future<Output = Result<Self>> + Send;

    fn enqueue(&self, payload: String) -> impl Future<Output = Result<()>> + Send;

    /// Enqueues all of them, to be processed after the delay.
    fn enqueue_many(&self, payloads: Vec<String>, delay: Option<Duration>) -> impl Future<Output = Result<()>> + Send;

    /// Enqueues an item that runs only when all earlier ones of its key have ended.
    fn enqueue_ordered(&self, _payload: String, _key: &str) -> impl Future<Output = Result<()>> + Send {
        async { bail!("no per-key order") }
    }

    /// Whether it supports per-key order.
    const ORDERED: bool = false;

    /// Starts a worker with its own connections; it runs until the returned value is dropped.
    fn work(url: &str, handlers: usize, seen: Arc<Seen>) -> impl Future<Output = Result<Box<dyn Any>>>;

    /// Whether it supports a rate limit.
    const PACED: bool = false;

    /// The same, with a rate limit.
    fn work_paced(
        _url: &str,
        _handlers: usize,
        _seen: Arc<Seen>,
        _pace: Pace,
    ) -> impl Future<Output = Result<Box<dyn Any>>> {
        async { bail!("no rate limit") }
    }
}

/// What the handlers of a worker have received.
#[derive(Debug)]
pub(crate) struct Seen {
    wanted: usize,
    count: AtomicUsize,
    /// When each item arrived, if requested.
    arrivals: Option<Mutex<Vec<(usize, Instant)>>>,
    first: Mutex<Option<Instant>>,
    all: Notify,
}

impl Seen {
    fn counting(wanted: usize) -> Arc<Self> {
        Self::new(wanted, None)
    }

    fn timing(wanted: usize) -> Arc<Self> {
        Self::new(wanted, Some(Mutex::default()))
    }

    fn new(wanted: usize, arrivals: Option<Mutex<Vec<(usize, Instant)>>>) -> Arc<Self> {
        let (count, first, all) = (AtomicUsize::new(0), Mutex::default(), Notify::new());
        Arc::new(Self { wanted, count, arrivals, first, all })
    }

    /// Everything that a handler does.
    pub(crate) fn handle(&self, payload: &str) {
        if let Some(arrivals) = &self.arrivals {
            let number = payload.split('-').next().and_then(|number| number.parse().ok());
            let arrival = (number.expect("payloads begin with their number"), Instant::now());
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
        }
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        if before + 1 == self.wanted {
            self.all.notify_one();
        }
    }

    /// Waits until all items have arrived, or for the longest time of a rate; returns their number.
    async fn all(&self) -> Result<usize> {
        // A contender that is too slow for all its items still has a rate.
        let _ = tokio::time::timeout(ENOUGH, self.all.notified()).await;
        let count = self.count.load(Ordering::Relaxed);
        ensure!(count > 1, "{count} of {} items arrived", self.wanted);
        Ok(count.min(self.wanted))
    }

    fn first(&self) -> Option<Instant> {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The arrival times, in order.
    fn times(&self) -> Vec<Instant> {
        let arrivals = self.arrivals.iter();
        let arrivals = arrivals.flat_map(|arrivals| arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let mut times: Vec<_> = arrivals.map(|(_, arrival)| arrival).collect();
        times.sort();
        times
    }

    /// The latency of each item; items are numbered in the order of their departures.
    fn delays(&self, departures: &[Instant]) -> Vec<Duration> {
        let arrivals =
            self.arrivals.iter().flat_map(|arrivals| arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone());
        arrivals
            .filter_map(|(number, arrival)| Some(arrival.saturating_duration_since(*departures.get(number)?)))
            .collect()
    }
}

pub(crate) fn payload(number: usize) -> String {
    format!("{number:08}-{}", "x".repeat(PAYLOAD - 9))
}

pub(crate) async fn run(contender: &str, stage: &mut Stage, task: &Task) -> Result<Outcome> {
    match contender {
        "tidelock-job" => work::<tidelock::Job<0>>(stage, task).await,
        "tidelock-job-prefetch" => work::<tidelock::Job<64>>(stage, task).await,
        "tidelock-queue" => work::<tidelock::Queue>(stage, task).await,
        "bullmq-official" => work::<bullmq::BullMq>(stage, task).await,
        "apalis-redis" => work::<apalis::Apalis>(stage, task).await,
        "rusty-sidekiq" => work::<sidekiq::Sidekiq>(stage, task).await,
        _ => bail!("there is no contender {contender}"),
    }
}

async fn work<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    match task.work.as_str() {
        "enqueue" => enqueue::<J>(stage, task).await,
        "bulk" if !J::BULK => Ok(Outcome::unsupported("no bulk enqueue")),
        "bulk" | "fill" => fill::<J>(stage, task, None).await,
        "delay" => fill::<J>(stage, task, Some(Duration::from_hours(1))).await,
        "process" => process::<J>(stage, task).await,
        "paced" | "held" if !J::PACED => Ok(Outcome::unsupported("no rate limit")),
        "paced" => process_paced::<J>(stage, task).await,
        "held" => held::<J>(stage, task).await,
        "flow" => flow::<J>(stage, task).await,
        "ordered" if !J::ORDERED => Ok(Outcome::unsupported("no per-key order")),
        "ordered" => flow_by_keys::<J>(stage, task).await,
        "idle" => idle::<J>(stage, task).await,
        "loaded" => loaded::<J>(stage, task).await,
        other => bail!("there is no workload {other}"),
    }
}

/// Runs `call` for each number below `items`; a caller takes the next number when its last call is answered.
pub(crate) async fn spread<F, Fut>(items: usize, callers: usize, call: F) -> Result<()>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (next, call) = (Arc::clone(&next), call.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= items {
                        return anyhow::Ok(());
                    }
                    call(number).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn enqueue_all<J: Jobs>(jobs: &J, task: &Task) -> Result<()> {
    let jobs = jobs.clone();
    spread(task.items, task.callers, move |number| {
        let jobs = jobs.clone();
        async move { jobs.enqueue(payload(number)).await }
    })
    .await
}

async fn enqueue<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let jobs = J::open(&task.url).await?;
    stage.ready()?;
    let start = Instant::now();
    enqueue_all(&jobs, task).await?;
    Ok(Outcome::rate(task.items, start.elapsed()))
}

async fn fill<J: Jobs>(stage: &mut Stage, task: &Task, delay: Option<Duration>) -> Result<Outcome> {
    let jobs = J::open(&task.url).await?;
    stage.ready()?;
    let start = Instant::now();
    for first in (0..task.items).step_by(task.batch) {
        let last = task.items.min(first + task.batch);
        jobs.enqueue_many((first..last).map(payload).collect(), delay).await?;
    }
    Ok(Outcome::rate(task.items, start.elapsed()))
}

/// Processes prepared items, from the first to the last.
async fn process<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    stage.ready()?;
    let seen = Seen::counting(task.items);
    let _worker = J::work(&task.url, task.callers, Arc::clone(&seen)).await?;
    worked_off(&seen).await
}

/// The same with a rate limit.
async fn process_paced<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    stage.ready()?;
    let seen = Seen::counting(task.items);
    let _worker = J::work_paced(&task.url, task.callers, Arc::clone(&seen), task.pace()).await?;
    worked_off(&seen).await
}

async fn worked_off(seen: &Seen) -> Result<Outcome> {
    let count = seen.all().await?;
    let elapsed = seen.first().context("nothing arrived")?.elapsed();
    Ok(Outcome::rate(count, elapsed))
}

/// What a rate limit lets through when there is always more work.
async fn held<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    stage.ready()?;
    let (seen, pace) = (Seen::timing(0), task.pace());
    let _worker = J::work_paced(&task.url, task.callers, Arc::clone(&seen), pace).await?;
    came(&seen, 1).await?;
    tokio::time::sleep(pace.window + task.duration()).await;
    let times = seen.times();
    ensure!(times.len() < task.items, "all {} items arrived: no limit holds them back", task.items);
    let (items, elapsed) = steady(&times, pace.items as usize).context("fewer than two windows arrived")?;
    Ok(Outcome::rate(items, elapsed))
}

/// Items and time from the start of the second window to the start of the last one, so that it makes no difference
/// whether a limit lets the items of a window through at once or one by one. The first window may be partial.
fn steady(times: &[Instant], window: usize) -> Option<(usize, Duration)> {
    let last = times.len().checked_sub(1)? / window * window;
    let items = last.checked_sub(window).filter(|items| *items > 0)?;
    Some((items, times[last] - times[window]))
}

/// From the first enqueue to the last handler, with enqueueing and processing at the same time.
async fn flow<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let jobs = J::open(&task.url).await?;
    let seen = Seen::counting(task.items);
    let _worker = J::work(&task.url, task.callers, Arc::clone(&seen)).await?;
    stage.ready()?;
    let start = Instant::now();
    enqueue_all(&jobs, task).await?;
    let count = seen.all().await?;
    Ok(Outcome::rate(count, start.elapsed()))
}

/// The same with a hundred ordering keys.
async fn flow_by_keys<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let jobs = J::open(&task.url).await?;
    let seen = Seen::counting(task.items);
    let _worker = J::work(&task.url, task.callers, Arc::clone(&seen)).await?;
    stage.ready()?;
    let start = Instant::now();
    spread(task.items, task.callers, move |number| {
        let jobs = jobs.clone();
        async move { jobs.enqueue_ordered(payload(number), &format!("key-{}", number % 100)).await }
    })
    .await?;
    let count = seen.all().await?;
    Ok(Outcome::rate(count, start.elapsed()))
}

/// Latency from the start of an enqueue to the start of its handler, with an idle worker.
async fn idle<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    const PAUSE: Duration = Duration::from_millis(5);
    let jobs = J::open(&task.url).await?;
    let seen = Seen::timing(1);
    let _worker = J::work(&task.url, task.callers, Arc::clone(&seen)).await?;
    jobs.enqueue(payload(0)).await?;
    came(&seen, 1).await?;
    stage.ready()?;
    let (start, mut departures) = (Instant::now(), vec![Instant::now()]);
    while departures.len() <= task.items && start.elapsed() < task.duration() {
        tokio::time::sleep(PAUSE).await;
        let number = departures.len();
        departures.push(Instant::now());
        jobs.enqueue(payload(number)).await?;
        came(&seen, number + 1).await?;
    }
    let delays = seen.delays(&departures).split_off(1);
    Ok(Outcome::latencies(delays, start.elapsed()))
}

/// Waits until this many items have arrived. It polls often, because a notification would wake a task on the measured
/// path.
async fn came(seen: &Seen, items: usize) -> Result<()> {
    let start = Instant::now();
    while seen.count.load(Ordering::Relaxed) < items {
        if start.elapsed() > PATIENCE {
            bail!("item {items} did not arrive");
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    Ok(())
}

/// The same at a given load: items depart by the clock, whatever happens to those before them.
async fn loaded<J: Jobs>(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let jobs = J::open(&task.url).await?;
    let seen = Seen::timing(0);
    let _worker = J::work(&task.url, task.callers, Arc::clone(&seen)).await?;
    stage.ready()?;
    let (start, mut departures, mut calls) = (Instant::now(), Vec::new(), tokio::task::JoinSet::new());
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while start.elapsed() < task.duration() {
        ticks.tick().await;
        while start + Duration::from_secs_f64(as_f64(departures.len()) / task.rate) <= Instant::now() {
            let (jobs, number) = (jobs.clone(), departures.len());
            departures.push(Instant::now());
            calls.spawn(async move { jobs.enqueue(payload(number)).await });
        }
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    came(&seen, departures.len()).await?;
    Ok(Outcome::latencies(seen.delays(&departures), start.elapsed()))
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::steady;
    use std::time::{Duration, Instant};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_steady_rate_is_the_same_in_bursts_and_one_by_one() {
        let now = Instant::now();
        let bursts: Vec<_> = (0..47).map(|number| now + MS * 100 * (number / 10)).collect();
        assert_eq!(steady(&bursts, 10), Some((30, 300 * MS)));
        let even: Vec<_> = (0..47).map(|number| now + MS * 10 * number).collect();
        assert_eq!(steady(&even, 10), Some((30, 300 * MS)));
    }

    #[test]
    fn less_than_a_window_behind_the_first_is_no_rate() {
        let now = Instant::now();
        assert_eq!(steady(&[], 10), None);
        assert_eq!(steady(&[now; 20], 10), None);
        assert_eq!(steady(&[now; 21], 10), Some((10, Duration::ZERO)));
    }
}
