//! Schedules: how soon a due slot reaches its target, and the cost of finding the next slot.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tidelock::scheduler::{Happening, Scheduler};
use tidelock::{Cron, Raw, SECOND, Schedule, Tidelock, Timestamp};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::measure::{Row, Table, percentile};
use crate::noop::Stage;
use crate::on_redis::payload;

type Failure = Box<dyn std::error::Error>;

pub async fn rows(table: &mut Table) -> Result<(), Failure> {
    if table.wants("scheduler.dispatch") {
        dispatch(table).await?;
    }
    if table.wants("scheduler.lateness") {
        lateness(table).await?;
    }
    Ok(())
}

/// A started scheduler, a handle in another process, and how late the target accepted each slot.
struct Fleet {
    leader: Scheduler,
    tide: Tidelock,
    accepted: UnboundedReceiver<u64>,
    _stage: Stage,
}

impl Fleet {
    async fn open() -> Result<Self, Failure> {
        let stage = Stage::open().await?;
        let (heard, accepted) = mpsc::unbounded_channel();
        let leader = Tidelock::connect(&stage.server.url())
            .await?
            .scheduler("bench")
            .on_event(move |event| {
                if let Happening::DispatchSubmitted { lateness, .. } = &event.what {
                    // Once the row is done, nobody receives any more.
                    let _ = heard.send(*lateness);
                }
            })
            .build()?;
        leader.start().await?;
        let tide = Tidelock::connect(&stage.server.url()).await?;
        Ok(Self { leader, tide, accepted, _stage: stage })
    }

    /// Registers one slot of one job at each instant. Returns the lateness of all, sorted.
    async fn run(&mut self, slots: impl Iterator<Item = Timestamp>) -> Result<Vec<Duration>, Failure> {
        let job = self.tide.job::<Raw, ()>("bench.scheduled").build()?;
        let scheduler = self.tide.scheduler("bench").build()?;
        let (ids, schedules): (Vec<_>, Vec<_>) = slots
            .enumerate()
            .map(|(number, slot)| (format!("schedule-{number}"), Schedule::once(slot).job(&job, &payload())))
            .unzip();
        let count = ids.len();
        stream::iter(ids.iter().zip(schedules))
            .map(|(id, schedule)| scheduler.register(id, schedule).into_future())
            .buffer_unordered(64)
            .try_collect::<Vec<_>>()
            .await?;
        if !self.accepted.is_empty() {
            return Err("registering took so long that slots were due before it was done".into());
        }
        let mut samples = Vec::new();
        while samples.len() < count {
            let next = tokio::time::timeout(30 * SECOND, self.accepted.recv()).await?;
            samples.push(Duration::from_millis(next.ok_or("the scheduler ended")?));
        }
        samples.sort();
        self.leader.stop().await?;
        Ok(samples)
    }
}

fn row(name: &'static str, samples: &[Duration], target: &'static str) -> Row {
    let (p50_ms, p99_ms) = (percentile(samples, 0.5), percentile(samples, 0.99));
    Row { name, backend: "redis", p50_ms, p99_ms, target, ..Row::default() }
}

/// The lateness of the last of a thousand schedules at the same instant.
async fn dispatch(table: &mut Table) -> Result<(), Failure> {
    let mut fleet = Fleet::open().await?;
    let due = Timestamp::from_millis(Timestamp::from_local_clock().as_millis() / 1_000 * 1_000 + 8_000);
    let samples = fleet.run((0..1_000).map(|_| due)).await?;
    let last = samples.last().copied().unwrap_or_default();
    let ops_per_s = 1_000.0 / last.as_secs_f64().max(0.001);
    let note = format!("the last of 1,000 was accepted {last:?} after they were due");
    table.push(Row { ops_per_s, note, ..row("scheduler.dispatch", &samples, "all within 1 s") });
    Ok(())
}

/// The lateness of slots at separate instants, one after the other.
async fn lateness(table: &mut Table) -> Result<(), Failure> {
    let mut fleet = Fleet::open().await?;
    let first = Timestamp::from_local_clock() + 4 * SECOND;
    let samples = fleet.run((0..300).map(|slot| first + slot * Duration::from_millis(37))).await?;
    let worst = samples.last().copied().unwrap_or_default();
    let row = row("scheduler.lateness", &samples, "p99 50 ms");
    let note = format!("p50 {} ms, p99 {} ms, worst {worst:?} of {}", row.p50_ms, row.p99_ms, samples.len());
    table.push(Row { note, ..row });
    Ok(())
}

/// Each expression in each zone, from instants spread over some decades. The fastest repetition of each call counts,
/// because the others were disturbed.
pub fn next_slot(table: &mut Table) -> Result<(), Failure> {
    let (mut samples, mut worst) = (Vec::new(), (Duration::ZERO, String::new()));
    for expression in EXPRESSIONS {
        for zone in ZONES {
            let cron = Cron::parse(expression)?.tz(zone)?;
            for step in 0..500 {
                // Not a whole number of days, so that all times of day and all seasons occur.
                let from = Timestamp::from_millis(1_700_000_000_000 + step * 1_900_000_123);
                let took = fastest(|| black_box(&cron).next_after(black_box(from)));
                if took > worst.0 {
                    worst = (took, format!("`{expression}` in {zone} after {from}"));
                }
                samples.push(took);
            }
        }
    }
    samples.sort();
    let (p50_ms, p99_ms) = (percentile(&samples, 0.5), percentile(&samples, 0.99));
    table.push(Row {
        name: "cron.next",
        backend: "in-process",
        ops_per_s: 1_000.0 / p50_ms,
        p50_ms,
        p99_ms,
        target: "5 µs, worst 100 µs",
        note: format!("p50 {:.0} ns, p99 {:.0} ns, worst {:?}: {}", p50_ms * 1e6, p99_ms * 1e6, worst.0, worst.1),
        ..Row::default()
    });
    Ok(())
}

/// Ordinary ones, rare dates, both day fields, and times that clocks skip or repeat.
const EXPRESSIONS: [&str; 10] = [
    "* * * * *",
    "*/5 * * * *",
    "* * * * * *",
    "0 7 * * MON-FRI",
    "30 2 * * *",
    "0 0 1 * *",
    "15 10,22 13 * FRI",
    "0 0 31 1-11/2 *",
    "59 59 23 31 12 *",
    "0 0 29 2 *",
];

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "+05:45"];

fn fastest<T>(call: impl Fn() -> T) -> Duration {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        black_box(call());
        start.elapsed()
    });
    times.min().unwrap_or_default()
}
