//! Throughput and latency of each operation on one Redis server over loopback.

use std::time::Instant;

use tidelock::queue::Queue;
use tidelock::ratelimit::Limit;
use tidelock::{Raw, Tidelock};

use crate::measure::{Countdown, Row, Table, latencies, per_second, percentile, rate, rate_of};
use crate::noop::Stage;

const CALLERS: usize = 64;
/// The number of messages that are stored before a round, and taken by it.
pub const STORED: usize = 100_000;
type Failure = Box<dyn std::error::Error>;

/// A payload of 100 bytes.
pub fn payload() -> Raw {
    Raw(vec![b'x'; 100])
}

pub async fn rows(table: &mut Table) -> Result<(), Failure> {
    let names = [
        "ratelimit.check",
        "mutex.acquire_release",
        "queue.send",
        "queue.send_many",
        "queue.send_many_4",
        "queue.process",
        "queue.recv_ack",
        "queue.send_alone",
    ];
    if !table.wants_any(&names) {
        return Ok(());
    }
    let stage = Stage::open().await?;
    let tide = Tidelock::connect(&stage.server.url()).await?;
    ratelimit(table, &stage, &tide).await?;
    mutex(table, &stage, &tide).await?;
    send(table, &stage, &tide).await?;
    send_many(table, &stage, &tide, "queue.send_many", 1, ("1.3 N", "2 N")).await?;
    send_many(table, &stage, &tide, "queue.send_many_4", 4, ("2 N", "3 N")).await?;
    process(table, &stage, &tide).await?;
    recv_ack(table, &stage, &tide).await?;
    send_alone(table, &stage, &tide).await
}

pub fn row(name: &'static str, (ops_per_s, ratio): (f64, f64), (target, goal): (&'static str, &'static str)) -> Row {
    Row { name, backend: "redis", ops_per_s, ratio, target, goal, ..Row::default() }
}

async fn ratelimit(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("ratelimit.check") {
        return Ok(());
    }
    let limiter = tide.ratelimit("bench").limit(Limit::per_second(1_000_000)).build()?;
    let measured = stage
        .ratio(table, || {
            let limiter = limiter.clone();
            rate(CALLERS, 1, move |caller| {
                let limiter = limiter.clone();
                async move {
                    let verdict = limiter.check(&format!("user:{caller}")).await.expect("the server answers");
                    assert!(!verdict.limited, "the limit is far above what one connection asks");
                }
            })
        })
        .await;
    table.push(row("ratelimit.check", measured, ("0.55 N", "0.8 N")));
    Ok(())
}

async fn mutex(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("mutex.acquire_release") {
        return Ok(());
    }
    let mutex = tide.mutex("bench").build()?;
    let measured = stage
        .ratio(table, || {
            let mutex = mutex.clone();
            rate(CALLERS, 1, move |caller| {
                let mutex = mutex.clone();
                async move {
                    let resource = format!("resource:{caller}");
                    let guard = mutex.try_lock(&resource).await.expect("the server answers").expect("uncontended");
                    guard.release().await.expect("the server answers");
                }
            })
        })
        .await;
    table.push(row("mutex.acquire_release", measured, ("0.25 N", "0.4 N")));
    Ok(())
}

async fn send(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("queue.send") {
        return Ok(());
    }
    let queue = tide.queue::<Raw>("bench.send").build()?;
    let measured = stage
        .ratio(table, || {
            let sender = queue.clone();
            let sending = rate(CALLERS, 1, move |_| {
                let queue = sender.clone();
                async move {
                    queue.send(&payload()).await.expect("the server answers");
                }
            });
            let queue = queue.clone();
            async move {
                let rate = sending.await;
                queue.delete().await.expect("the server answers");
                rate
            }
        })
        .await;
    table.push(row("queue.send", measured, ("1.0 N", "1.4 N")));
    Ok(())
}

async fn send_many(
    table: &mut Table,
    stage: &Stage,
    tide: &Tidelock,
    name: &'static str,
    callers: usize,
    target: (&'static str, &'static str),
) -> Result<(), Failure> {
    if !table.wants(name) {
        return Ok(());
    }
    let queue = tide.queue::<Raw>("bench.send_many").build()?;
    let measured = stage
        .ratio(table, || {
            let sender = queue.clone();
            let sending = rate(callers, 100, move |_| {
                let queue = sender.clone();
                async move {
                    let payload = payload();
                    queue.send_many((0..100).map(|_| queue.send(&payload))).await.expect("the server answers");
                }
            });
            let queue = queue.clone();
            async move {
                let rate = sending.await;
                queue.delete().await.expect("the server answers");
                rate
            }
        })
        .await;
    table.push(row(name, measured, target));
    Ok(())
}

/// Fills the queue before a round of a worker or of receivers.
async fn fill(queue: &Queue<Raw>) {
    let payload = payload();
    for _ in 0..STORED / 1_000 {
        let batch = (0..1_000).map(|_| queue.send(&payload));
        queue.send_many(batch).await.expect("the server answers");
    }
}

/// The rate at which a worker with no-op handlers empties a queue.
async fn process(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("queue.process") {
        return Ok(());
    }
    let queue = tide.queue::<Raw>("bench.process").build()?;
    let measured = stage
        .ratio(table, || {
            let queue = queue.clone();
            async move {
                fill(&queue).await;
                let countdown = Countdown::from(STORED);
                let counter = countdown.clone();
                let start = Instant::now();
                let worker = queue.process(move |_message| {
                    counter.count();
                    async { Ok(()) }
                });
                let report = worker.concurrency(CALLERS).run_until(countdown.over()).await;
                let measured = per_second(STORED, start);
                assert_eq!(report.expect("the server answers").acked, STORED as u64);
                queue.delete().await.expect("the server answers");
                measured
            }
        })
        .await;
    table.push(row("queue.process", measured, ("1.0 N", "2 N")));
    Ok(())
}

async fn recv_ack(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("queue.recv_ack") {
        return Ok(());
    }
    let queue = tide.queue::<Raw>("bench.recv_ack").build()?;
    let measured = stage
        .ratio(table, || {
            let queue = queue.clone();
            async move {
                fill(&queue).await;
                let receiver = queue.clone();
                let measured = rate_of(CALLERS, STORED, move || {
                    let queue = receiver.clone();
                    async move {
                        let delivery = queue.recv().await.expect("the server answers").expect("the queue is full");
                        assert!(delivery.ack().await.expect("the server answers"), "held");
                    }
                })
                .await;
                queue.delete().await.expect("the server answers");
                measured
            }
        })
        .await;
    table.push(row("queue.recv_ack", measured, ("0.5 N", "0.65 N")));
    Ok(())
}

/// Compares the latency of one caller's send with that of one caller's no-op, in turn.
async fn send_alone(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("queue.send_alone") {
        return Ok(());
    }
    let queue = tide.queue::<Raw>("bench.send_alone").build()?;
    let (mut no_ops, mut sends) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        no_ops.extend(latencies(400, || stage.call()).await);
        sends.extend(
            latencies(400, || async {
                queue.send(&payload()).await.expect("the server answers");
            })
            .await,
        );
    }
    no_ops.sort();
    sends.sort();
    queue.delete().await?;
    let (p50, p99) = (percentile(&sends, 0.5), percentile(&sends, 0.99));
    let no_op = percentile(&no_ops, 0.5);
    table.push(Row {
        p50_ms: p50,
        p99_ms: p99,
        note: format!("no-op p50 {no_op:.3} ms"),
        ..row("queue.send_alone", (1_000.0 / p50, p50 / no_op), ("p50 1.4×", "1.25×"))
    });
    Ok(())
}
