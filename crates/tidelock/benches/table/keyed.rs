//! Registries and ephemeral stores on one Redis server over loopback.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tidelock::registry::EventKind;
use tidelock::{Raw, SECOND, Tidelock};

use crate::measure::{Row, Table, latencies, percentile, rate};
use crate::noop::Stage;
use crate::on_redis::{payload, row};

const CALLERS: usize = 64;
type Failure = Box<dyn std::error::Error>;

pub async fn rows(table: &mut Table) -> Result<(), Failure> {
    let names = [
        "registry.upsert",
        "registry.get",
        "registry.touch",
        "registry.list_page",
        "ephemeral.upsert",
        "ephemeral.touch",
    ];
    if table.wants_any(&names) {
        let stage = Stage::open().await?;
        let tide = Tidelock::connect(&stage.server.url()).await?;
        registry(table, &stage, &tide).await?;
        ephemeral(table, &stage, &tide).await?;
    }
    if table.wants("registry.list_page") {
        list_page(table).await?;
    }
    if table.wants("ephemeral.expire_lateness") {
        expire_lateness(table).await?;
    }
    if table.wants("ephemeral.fan_out") {
        fan_out(table).await?;
    }
    Ok(())
}

fn key(caller: usize) -> String {
    format!("apps/mail/i-{caller}")
}

/// Measures one row: calls of 64 callers, each for its own record.
async fn calls<Fut: Future<Output = ()> + Send + 'static>(
    table: &mut Table,
    stage: &Stage,
    (name, target, goal): (&'static str, &'static str, &'static str),
    call: impl Fn(String) -> Fut + Clone + Send + Sync + 'static,
) {
    if !table.wants(name) {
        return;
    }
    let measured = stage
        .ratio(table, || {
            let call = call.clone();
            rate(CALLERS, 1, move |caller| call(key(caller)))
        })
        .await;
    table.push(row(name, measured, (target, goal)));
}

async fn registry(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    let registry = tide.registry::<Raw>("bench").build()?;
    for caller in 0..CALLERS {
        registry.upsert(&key(caller), &payload()).ttl(60 * SECOND).await?;
    }
    let of = registry.clone();
    calls(table, stage, ("registry.upsert", "0.5 N", "0.8 N"), move |key| {
        let upsert = of.upsert(&key, &payload()).ttl(60 * SECOND);
        async { drop(upsert.await.expect("the server answers")) }
    })
    .await;
    let of = registry.clone();
    calls(table, stage, ("registry.get", "0.9 N", "1.0 N"), move |key| {
        let get = of.get(&key);
        async { drop(get.await.expect("the server answers").expect("it is there")) }
    })
    .await;
    calls(table, stage, ("registry.touch", "0.6 N", "1.0 N"), move |key| {
        let touch = registry.touch(&key);
        async {
            touch.await.expect("the server answers");
        }
    })
    .await;
    Ok(())
}

async fn ephemeral(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    let store = tide.ephemeral::<Raw>("bench").ttl(60 * SECOND).build()?;
    let of = store.clone();
    calls(table, stage, ("ephemeral.upsert", "0.5 N", "0.8 N"), move |key| {
        let upsert = of.upsert(&key, &payload());
        async { drop(upsert.await.expect("the server answers")) }
    })
    .await;
    for caller in 0..CALLERS {
        store.upsert(&key(caller), &payload()).await?;
    }
    calls(table, stage, ("ephemeral.touch", "0.6 N", ""), move |key| {
        let touch = store.touch(&key);
        async {
            touch.await.expect("the server answers");
        }
    })
    .await;
    Ok(())
}

/// Pages of 100 out of 100,000 records.
async fn list_page(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let tide = Tidelock::connect(&stage.server.url()).await?;
    let registry = tide.registry::<Raw>("bench").max_entries(200_000).build()?;
    for hundred in 0..1_000 {
        let upserts = (0..100).map(|one| {
            let key = format!("apps/{hundred:04}/i-{one:03}");
            let upsert = registry.upsert(&key, &payload());
            async move { upsert.await }
        });
        futures_util::future::try_join_all(upserts).await?;
    }
    let mut page = registry.list().limit(100).await?;
    let mut samples = Vec::new();
    while let Some(next) = page.next {
        let start = Instant::now();
        page = registry.list().limit(100).after(&next).await?;
        samples.push(start.elapsed());
    }
    samples.sort();
    let no_op = percentile(&latencies(400, || stage.call()).await, 0.5);
    let (p50, p99) = (percentile(&samples, 0.5), percentile(&samples, 0.99));
    table.push(Row {
        name: "registry.list_page",
        backend: "redis",
        ops_per_s: 1_000.0 / p50,
        ratio: p50 / no_op,
        p50_ms: p50,
        p99_ms: p99,
        target: "2 ms",
        note: format!("100 of 100,000 records; ratio to a no-op's p50 {no_op:.3} ms"),
        ..Row::default()
    });
    Ok(())
}

/// Latency from a record's deadline to its `Expire` at a watcher in another process, with no other traffic.
async fn expire_lateness(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let (writer, watcher) =
        (Tidelock::connect(&stage.server.url()).await?, Tidelock::connect(&stage.server.url()).await?);
    let store = writer.ephemeral::<Raw>("bench").ttl(Duration::from_millis(30)).build()?;
    let mut changes = watcher.ephemeral::<Raw>("bench").ttl(SECOND).build()?.follow().await?;
    let mut samples = Vec::new();
    for record in 0..300 {
        let entry = store.upsert(&format!("record-{record}"), &payload()).await?;
        let deadline = entry.expires_at.ok_or("a record without a deadline")?;
        loop {
            let event = changes.next().await.ok_or("the follower ended")??;
            if matches!(event.kind, EventKind::Expire { .. }) {
                // Both processes and the server are on one machine, so they share a clock.
                let now = std::time::SystemTime::now();
                samples.push(now.duration_since(deadline.into()).unwrap_or_default());
                break;
            }
        }
    }
    samples.sort();
    table.push(Row {
        name: "ephemeral.expire_lateness",
        backend: "redis",
        p50_ms: percentile(&samples, 0.5),
        p99_ms: percentile(&samples, 0.99),
        target: "p99 10 ms",
        note: "deadline to `Expire` at a watcher in another process".to_owned(),
        ..Row::default()
    });
    Ok(())
}

/// Latency from the start of an upsert to its event at the last of a thousand watchers in another process.
async fn fan_out(table: &mut Table) -> Result<(), Failure> {
    const WATCHERS: usize = 1_000;
    let stage = Stage::open().await?;
    let (writer, watcher) =
        (Tidelock::connect(&stage.server.url()).await?, Tidelock::connect(&stage.server.url()).await?);
    let store = writer.ephemeral::<Raw>("bench").ttl(60 * SECOND).build()?;
    let watched = watcher.ephemeral::<Raw>("bench").ttl(60 * SECOND).build()?;
    let (seen, mut sight) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        let (mut changes, seen) = (watched.follow().await?, seen.clone());
        tokio::spawn(async move { while changes.next().await.is_some() && seen.send(Instant::now()).is_ok() {} });
    }
    let mut samples = Vec::new();
    for round in 0..100 {
        let start = Instant::now();
        store.upsert(&key(round % 8), &payload()).await?;
        let mut last = start;
        for _ in 0..WATCHERS {
            last = last.max(sight.recv().await.ok_or("a watcher ended")?);
        }
        samples.push(last - start);
    }
    samples.sort();
    table.push(Row {
        name: "ephemeral.fan_out",
        backend: "redis",
        p50_ms: percentile(&samples, 0.5),
        p99_ms: percentile(&samples, 0.99),
        target: "20 ms",
        note: format!("event to the last of {WATCHERS} watchers in one process"),
        ..Row::default()
    });
    Ok(())
}
