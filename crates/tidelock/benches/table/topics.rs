//! Topics on one Redis server over loopback: publishes, a group's work, and the latency to waiting readers and to
//! followers.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tidelock::topic::{Item, Topic};
use tidelock::{Raw, Tidelock};

use crate::measure::{Countdown, Row, Table, latencies, per_second, percentile, rate};
use crate::noop::Stage;
use crate::on_redis::{STORED, payload, row};
use crate::server::Server;

const CALLERS: usize = 64;
const FOLLOWERS: usize = 100;
type Failure = Box<dyn std::error::Error>;

pub async fn rows(table: &mut Table) -> Result<(), Failure> {
    let names = ["topic.publish", "topic.publish_many", "topic.publish_many_4", "topic.consume"];
    if table.wants_any(&names) {
        let stage = Stage::open().await?;
        let tide = Tidelock::connect(&stage.server.url()).await?;
        publish(table, &stage, &tide).await?;
        publish_many(table, &stage, &tide, "topic.publish_many", 1, ("", "")).await?;
        publish_many(table, &stage, &tide, "topic.publish_many_4", 4, ("2 N", "2.5 N")).await?;
        consume(table, &stage, &tide).await?;
    }
    if table.wants("topic.wake") {
        wake(table).await?;
    }
    if table.wants("topic.fan_out") {
        fan_out(table).await?;
    }
    if table.wants("topic.memory") {
        memory(table).await?;
    }
    Ok(())
}

async fn publish(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("topic.publish") {
        return Ok(());
    }
    let topic = tide.topic::<Raw>("bench.publish").build()?;
    let measured = stage
        .ratio(table, || {
            let publisher = topic.clone();
            let publishing = rate(CALLERS, 1, move |_| {
                let topic = publisher.clone();
                async move {
                    topic.publish(&payload()).await.expect("the server answers");
                }
            });
            emptied(&topic, publishing)
        })
        .await;
    table.push(row("topic.publish", measured, ("0.9 N", "1.1 N")));
    Ok(())
}

/// Deletes the topic after a round.
fn emptied(topic: &Topic<Raw>, round: impl Future<Output = f64>) -> impl Future<Output = f64> {
    let topic = topic.clone();
    async move {
        let rate = round.await;
        topic.delete().await.expect("the server answers");
        rate
    }
}

async fn publish_many(
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
    let topic = tide.topic::<Raw>("bench.publish_many").build()?;
    let measured = stage
        .ratio(table, || {
            let publisher = topic.clone();
            let publishing = rate(callers, 100, move |_| {
                let topic = publisher.clone();
                async move {
                    let payload = payload();
                    let batch = (0..100).map(|_| topic.publish(&payload));
                    topic.publish_many(batch).await.expect("the server answers");
                }
            });
            emptied(&topic, publishing)
        })
        .await;
    table.push(row(name, measured, target));
    Ok(())
}

/// Fills a topic, then measures how fast a group's worker with no-op handlers goes through it.
async fn consume(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("topic.consume") {
        return Ok(());
    }
    let topic = tide.topic::<Raw>("bench.consume").build()?;
    let measured = stage
        .ratio(table, || {
            let topic = topic.clone();
            async move {
                fill(&topic, STORED / 1_000).await;
                let countdown = Countdown::from(STORED);
                let counter = countdown.clone();
                let reader = topic.reader("bench").build().expect("the defaults are in range");
                let start = Instant::now();
                let worker = reader.process(move |_event| {
                    counter.count();
                    async { Ok(()) }
                });
                let report = worker.concurrency(CALLERS).run_until(countdown.over()).await;
                let measured = per_second(STORED, start);
                assert_eq!(report.expect("the server answers").acked, STORED as u64);
                topic.delete().await.expect("the server answers");
                measured
            }
        })
        .await;
    table.push(row("topic.consume", measured, ("1.0 N", "1.5 N")));
    Ok(())
}

async fn fill(topic: &Topic<Raw>, thousands: usize) {
    let payload = payload();
    for _ in 0..thousands {
        let batch = (0..1_000).map(|_| topic.publish(&payload));
        topic.publish_many(batch).await.expect("the server answers");
    }
}

/// Latency from the start of a publish in one process to the event at a reader that waited in another.
async fn wake(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let (publisher, receiver) =
        (Tidelock::connect(&stage.server.url()).await?, Tidelock::connect(&stage.server.url()).await?);
    let topic = publisher.topic::<Raw>("bench.wake").build()?;
    let reader = receiver.topic::<Raw>("bench.wake").build()?.reader("bench").build()?;
    let (mut samples, mut no_ops) = (Vec::new(), Vec::new());
    for round in 0..600 {
        let waiting = tokio::spawn(reader.recv().wait(Duration::from_secs(20)).into_future());
        wait_until_parked(&stage.server, "bench.wake").await?;
        let start = Instant::now();
        topic.publish(&payload()).await?;
        let event = waiting.await??.and_then(Item::event).ok_or("nothing was received")?;
        samples.push(start.elapsed());
        event.commit().await?;
        if round % 20 == 0 {
            no_ops.extend(latencies(20, || stage.call()).await);
        }
    }
    samples.sort();
    no_ops.sort();
    let no_op = percentile(&no_ops, 0.5);
    let (p50, p99) = (percentile(&samples, 0.5), percentile(&samples, 0.99));
    table.push(Row {
        name: "topic.wake",
        backend: "redis",
        ratio: p50 / no_op,
        p50_ms: p50,
        p99_ms: p99,
        target: "p50 4×, p99 15×",
        goal: "p50 3×, p99 8×",
        note: format!("p99 {:.1}× of a no-op's p50 {no_op:.3} ms", p99 / no_op),
        ..Row::default()
    });
    Ok(())
}

/// Waits until a process is in the list of parked ones.
async fn wait_until_parked(server: &Server, topic: &str) -> Result<(), Failure> {
    let key = format!("tidelock:{{topic/default/{topic}}}:parked");
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if server.command(&["HLEN", &key])?.int() == Some(1) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err("nobody parked".into())
}

/// Latency from the start of a publish in one process to the event at the last of a hundred followers in another, and
/// how often that process read the log for it.
async fn fan_out(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let (publisher, follower) =
        (Tidelock::connect(&stage.server.url()).await?, Tidelock::connect(&stage.server.url()).await?);
    let topic = publisher.topic::<Raw>("bench.fan_out").build()?;
    let followed = follower.topic::<Raw>("bench.fan_out").build()?;
    let (seen, mut sight) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..FOLLOWERS {
        let (mut events, seen) = (followed.follow().await?, seen.clone());
        tokio::spawn(async move {
            while let Some(Ok(Item::Event(_))) = events.next().await {
                if seen.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    let mut samples = Vec::new();
    let calls = scripts(&stage.server)?;
    for _ in 0..200 {
        wait_until_parked(&stage.server, "bench.fan_out").await?;
        let start = Instant::now();
        topic.publish(&payload()).await?;
        let mut last = start;
        for _ in 0..FOLLOWERS {
            last = last.max(sight.recv().await.ok_or("a follower ended")?);
        }
        samples.push(last - start);
    }
    // Each round is one publish, one read that finds its event, and one that parks.
    let reads = (scripts(&stage.server)? - calls - 200) / 200;
    samples.sort();
    let (p50, p99) = (percentile(&samples, 0.5), percentile(&samples, 0.99));
    table.push(Row {
        name: "topic.fan_out",
        backend: "redis",
        p50_ms: p50,
        p99_ms: p99,
        target: "one read of the log per batch",
        note: format!("{FOLLOWERS} followers, {reads} reads of the log for each event, the one that parks included"),
        ..Row::default()
    });
    Ok(())
}

fn scripts(server: &Server) -> Result<i64, Failure> {
    let stats = server.command(&["INFO", "commandstats"])?;
    let field = stats.field("cmdstat_evalsha").ok_or("INFO commandstats")?;
    let calls = field.split(['=', ',']).nth(1).and_then(|calls| calls.parse().ok());
    Ok(calls.ok_or("INFO commandstats")?)
}

/// The server memory of an event in addition to its payload.
async fn memory(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let tide = Tidelock::connect(&stage.server.url()).await?;
    let topic = tide.topic::<Raw>("bench.memory").build()?;
    topic.publish(&payload()).await?;
    let before = crate::memory::used(&stage.server)?;
    fill(&topic, 100).await;
    #[expect(clippy::cast_precision_loss, reason = "bytes of one test server are far below 2^52")]
    let over = (crate::memory::used(&stage.server)? - before) as f64 / 100_000.0 - 100.0;
    let note = format!("{over:.0} bytes an event over its payload");
    table.push(Row { name: "topic.memory", backend: "redis", ratio: over, note, ..Row::default() });
    Ok(())
}
