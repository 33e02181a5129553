//! One thread, no server: the cost of the models and the handles alone.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidelock::ratelimit::Limit;
use tidelock::topic::Item;
use tidelock::{Tidelock, Value};

use crate::measure::{ROUNDS, Row, Table, median};
use crate::on_redis::payload;

type Failure = Box<dyn std::error::Error>;

/// An ordinary small value.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    cents: u32,
}

pub fn rows(table: &mut Table) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if table.wants("queue.in_process_raw") {
            let rate = queue(payload()).await?;
            push(table, "queue.in_process_raw", rate, "1,000,000/s", "3,000,000/s");
        }
        if table.wants("queue.in_process_json") {
            let order = Order { id: 1, customer: "customer-000001".to_owned(), cents: 4_200 };
            let rate = queue(order).await?;
            push(table, "queue.in_process_json", rate, "600,000/s", "3,000,000/s");
        }
        if table.wants("topic.in_process_raw") {
            let rate = topic(payload()).await?;
            push(table, "topic.in_process_raw", rate, "1,000,000/s", "3,000,000/s");
        }
        if table.wants("topic.in_process_json") {
            let order = Order { id: 1, customer: "customer-000001".to_owned(), cents: 4_200 };
            let rate = topic(order).await?;
            push(table, "topic.in_process_json", rate, "600,000/s", "3,000,000/s");
        }
        if table.wants("job.in_process") {
            crate::jobs::in_process(table).await?;
        }
        if table.wants("cron.next") {
            crate::schedules::next_slot(table)?;
        }
        if table.wants("ratelimit.in_process") {
            ratelimit(table).await?;
        }
        if table.wants("retry.overhead") {
            retry(table).await;
        }
        Ok(())
    })
}

fn push(table: &mut Table, name: &'static str, ops_per_s: f64, target: &'static str, goal: &'static str) {
    table.push(Row { name, backend: "in-process", ops_per_s, target, goal, ..Row::default() });
}

/// Sends, receives and acks, each counted as one operation.
async fn queue<T: Value>(value: T) -> Result<f64, Failure> {
    const MESSAGES: u32 = 100_000;
    let tide = Tidelock::in_process();
    let queue = tide.queue::<T>("bench").build()?;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..MESSAGES {
            queue.send(&value).await?;
            let delivery = queue.try_recv().await?.ok_or("nothing was received")?;
            black_box(delivery.ack().await?);
        }
        rates.push(f64::from(3 * MESSAGES) / start.elapsed().as_secs_f64());
    }
    Ok(median(rates))
}

/// Publishes, receives and commits, each counted as one operation.
async fn topic<T: Value>(value: T) -> Result<f64, Failure> {
    const EVENTS: u32 = 100_000;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let tide = Tidelock::in_process();
        let topic = tide.topic::<T>("bench").build()?;
        let reader = topic.reader("bench").build()?;
        let start = Instant::now();
        for _ in 0..EVENTS {
            topic.publish(&value).await?;
            let event = reader.try_recv().await?.and_then(Item::event).ok_or("nothing was received")?;
            black_box(event.commit().await?);
        }
        rates.push(f64::from(3 * EVENTS) / start.elapsed().as_secs_f64());
    }
    Ok(median(rates))
}

/// Compares with the keyed limiter of the `governor` crate, in turn and on the same keys.
async fn ratelimit(table: &mut Table) -> Result<(), Failure> {
    const CHECKS: u32 = 500_000;
    let keys: Vec<String> = (0..1_000).map(|key| format!("user:{key}")).collect();
    let tide = Tidelock::in_process();
    let ours = tide.ratelimit("bench").limit(Limit::per_second(1_000_000_000)).build()?;
    let quota = governor::Quota::per_second(NonZeroU32::MAX);
    let theirs = governor::RateLimiter::<String, _, _>::keyed(quota);
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (key, _) in keys.iter().cycle().zip(0..CHECKS) {
            let _ = black_box(ours.check(key).await?);
        }
        let our_time = start.elapsed();
        let start = Instant::now();
        for (key, _) in keys.iter().cycle().zip(0..CHECKS) {
            black_box(theirs.check_key(key).is_ok());
        }
        rates.push(f64::from(CHECKS) / our_time.as_secs_f64());
        ratios.push(start.elapsed().as_secs_f64() / our_time.as_secs_f64());
    }
    table.push(Row {
        name: "ratelimit.in_process",
        backend: "in-process",
        ops_per_s: median(rates),
        ratio: median(ratios),
        target: "0.5 of governor",
        note: "ratio to governor's keyed limiter".to_owned(),
        ..Row::default()
    });
    Ok(())
}

/// Compares a call that succeeds at once with and without a retry around it.
async fn retry(table: &mut Table) {
    const CALLS: u32 = 1_000_000;
    let mut overheads = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for call in 0..CALLS {
            black_box(operation(black_box(call)).await.is_ok());
        }
        let bare = start.elapsed();
        let start = Instant::now();
        for call in 0..CALLS {
            black_box(tidelock::retry(async |_| operation(black_box(call)).await).await.is_ok());
        }
        overheads.push(start.elapsed().saturating_sub(bare).as_secs_f64() / f64::from(CALLS));
    }
    let overhead = Duration::from_secs_f64(median(overheads));
    table.push(Row {
        name: "retry.overhead",
        backend: "in-process",
        ops_per_s: 1.0 / overhead.as_secs_f64().max(1e-9),
        target: "100 ns",
        note: format!("{overhead:?} per successful call"),
        ..Row::default()
    });
}

fn operation(call: u32) -> std::future::Ready<Result<u32, std::io::Error>> {
    std::future::ready(Ok(call))
}
