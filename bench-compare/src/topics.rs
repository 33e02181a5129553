//! Event logs: publishing, consuming in a group, and fan-out to followers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tidelock::Tidelock;
use tidelock::topic::{Item, Topic};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::jobs::{PATIENCE, payload, spread};
use crate::limit::connect;
use crate::protocol::{Outcome, Stage, Task};

const NAME: &str = "compare";
const GROUP: &str = "group";
const FOLLOWERS: usize = 100;

pub(crate) async fn run(contender: &str, stage: &mut Stage, task: &Task) -> Result<Outcome> {
    match (contender, task.work.as_str()) {
        ("tidelock-topic", "publish") => publish(stage, task).await,
        ("tidelock-topic", "log") => log(stage, task).await,
        ("tidelock-topic", "consume") => consume(stage, task).await,
        ("tidelock-topic", "fan-out") => fan_out(stage, task).await,
        ("streams", "publish") => publish_bare(stage, task).await,
        ("streams", "log") => log_bare(stage, task).await,
        ("streams", "consume") => consume_bare(stage, task).await,
        ("streams", "fan-out") => fan_out_bare(stage, task).await,
        (_, work) => bail!("{contender} does no {work}"),
    }
}

async fn topic(url: &str) -> Result<Topic<String>> {
    Ok(Tidelock::connect(url).await?.topic(NAME).build()?)
}

async fn publish(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let topic = topic(&task.url).await?;
    stage.ready()?;
    let start = Instant::now();
    spread(task.items, task.callers, move |number| {
        let topic = topic.clone();
        async move { Ok(topic.publish(&payload(number)).await.map(drop)?) }
    })
    .await?;
    Ok(Outcome::rate(task.items, start.elapsed()))
}

/// Fills a log with bulk publishes.
async fn log(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let topic = topic(&task.url).await?;
    stage.ready()?;
    let start = Instant::now();
    for first in (0..task.items).step_by(task.batch) {
        let last = task.items.min(first + task.batch);
        topic.publish_many((first..last).map(|number| topic.publish(&payload(number)))).await?;
    }
    Ok(Outcome::rate(task.items, start.elapsed()))
}

async fn consume(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let topic = topic(&task.url).await?;
    stage.ready()?;
    let reader = topic.reader(GROUP).build()?;
    let start = Instant::now();
    let (items, seen, all) = (task.items, Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    let done = Arc::clone(&all);
    let worker = reader.process(move |_event| {
        if seen.fetch_add(1, Ordering::Relaxed) + 1 == items {
            done.notify_one();
        }
        async { Ok(()) }
    });
    // It stops when it has committed the last one.
    worker.concurrency(task.callers).run_until(async move { all.notified().await }).await?;
    Ok(Outcome::rate(items, start.elapsed()))
}

async fn fan_out(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let (published, followed) = (topic(&task.url).await?, topic(&task.url).await?);
    let (seen, sight) = unbounded_channel();
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
    let publish = move |number| {
        let topic = published.clone();
        async move { Ok(topic.publish(&payload(number)).await.map(drop)?) }
    };
    to_all(stage, task, sight, publish).await
}

/// Latency from the start of a publish to the last follower.
async fn to_all<Fut: Future<Output = Result<()>>>(
    stage: &mut Stage,
    task: &Task,
    mut sight: UnboundedReceiver<Instant>,
    publish: impl Fn(usize) -> Fut,
) -> Result<Outcome> {
    stage.ready()?;
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < task.items && begin.elapsed() < task.duration() {
        // Give the followers time to wait again.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let start = Instant::now();
        publish(samples.len()).await?;
        let mut last = start;
        for _ in 0..FOLLOWERS {
            let seen = tokio::time::timeout(PATIENCE, sight.recv()).await?;
            last = last.max(seen.context("a follower ended")?);
        }
        samples.push(last - start);
    }
    Ok(Outcome::latencies(samples, begin.elapsed()))
}

/// One event.
fn add(number: usize) -> redis::Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(NAME).arg("*").arg("data").arg(payload(number));
    command
}

async fn publish_bare(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let connection = connect(&task.url).await?;
    stage.ready()?;
    let start = Instant::now();
    spread(task.items, task.callers, move |number| {
        let mut connection = connection.clone();
        async move { Ok(add(number).query_async::<String>(&mut connection).await.map(drop)?) }
    })
    .await?;
    Ok(Outcome::rate(task.items, start.elapsed()))
}

async fn log_bare(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let mut connection = connect(&task.url).await?;
    stage.ready()?;
    let start = Instant::now();
    for first in (0..task.items).step_by(task.batch) {
        let mut pipeline = redis::pipe();
        for number in first..task.items.min(first + task.batch) {
            pipeline.add_command(add(number)).ignore();
        }
        pipeline.query_async::<()>(&mut connection).await?;
    }
    Ok(Outcome::rate(task.items, start.elapsed()))
}

/// What a hand-written loop does: reads 100 events, and acknowledges them together.
async fn consume_bare(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let mut connection = connect(&task.url).await?;
    let mut create = redis::cmd("XGROUP");
    create.arg("CREATE").arg(NAME).arg(GROUP).arg(0).query_async::<()>(&mut connection).await?;
    stage.ready()?;
    let (start, mut seen) = (Instant::now(), 0);
    while seen < task.items {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("consumer").arg("COUNT").arg(100).arg("STREAMS").arg(NAME).arg(">");
        let ids = ids(&read.query_async(&mut connection).await?);
        if ids.is_empty() {
            bail!("{seen} of {} events arrived", task.items);
        }
        seen += ids.len();
        redis::cmd("XACK").arg(NAME).arg(GROUP).arg(ids).query_async::<()>(&mut connection).await?;
    }
    Ok(Outcome::rate(seen, start.elapsed()))
}

/// The ids in `[[stream, [[id, fields], …]]]`.
fn ids(reply: &Value) -> Vec<Vec<u8>> {
    let items = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        _ => Vec::new(),
    };
    let streams = items(reply);
    let entries = streams.iter().filter_map(|stream| items(stream).get(1).map(items)).flatten();
    let id = |entry: Value| match items(&entry).first() {
        Some(Value::BulkString(id)) => Some(id.clone()),
        _ => None,
    };
    entries.filter_map(id).collect()
}

/// One connection per follower, because a blocking read occupies it.
async fn fan_out_bare(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let connection = connect(&task.url).await?;
    let (seen, sight) = unbounded_channel();
    for _ in 0..FOLLOWERS {
        tokio::spawn(follow_bare(connect(&task.url).await?, seen.clone()));
    }
    let publish = move |number| {
        let mut connection = connection.clone();
        async move { Ok(add(number).query_async::<String>(&mut connection).await.map(drop)?) }
    };
    to_all(stage, task, sight, publish).await
}

async fn follow_bare(mut connection: MultiplexedConnection, seen: UnboundedSender<Instant>) -> Result<()> {
    let mut last = b"$".to_vec();
    loop {
        let mut read = redis::cmd("XREAD");
        read.arg("BLOCK").arg(0).arg("STREAMS").arg(NAME).arg(&last);
        for id in ids(&read.query_async(&mut connection).await?) {
            seen.send(Instant::now())?;
            last = id;
        }
    }
}
