//! The cost of waiting: the latency from a send to a parked receiver, and a thousand receivers without messages.

use std::time::{Duration, Instant};

use tidelock::{Raw, Tidelock};

use crate::measure::{Row, Table, latencies, percentile};
use crate::noop::Stage;
use crate::on_redis::payload;
use crate::server::Server;

type Failure = Box<dyn std::error::Error>;

pub async fn rows(table: &mut Table) -> Result<(), Failure> {
    if table.wants("queue.wake") {
        wake(table).await?;
    }
    if table.wants("queue.parked") {
        parked(table, "queue.parked", 1).await?;
    }
    if table.wants("queue.parked_apart") {
        parked(table, "queue.parked_apart", 1_000).await?;
    }
    Ok(())
}

/// Latency from the start of a send in one process to the message at a receiver that waited in another.
async fn wake(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let (sender, receiver) =
        (Tidelock::connect(&stage.server.url()).await?, Tidelock::connect(&stage.server.url()).await?);
    let sending = sender.queue::<Raw>("bench.wake").build()?;
    let receiving = receiver.queue::<Raw>("bench.wake").build()?;
    let (mut samples, mut no_ops) = (Vec::new(), Vec::new());
    for round in 0..600 {
        let waiting = tokio::spawn(receiving.recv().wait(Duration::from_secs(20)).into_future());
        wait_until_parked(&stage.server).await?;
        let start = Instant::now();
        sending.send(&payload()).await?;
        let delivery = waiting.await??.ok_or("nothing was received")?;
        samples.push(start.elapsed());
        delivery.ack().await?;
        if round % 20 == 0 {
            no_ops.extend(latencies(20, || stage.call()).await);
        }
    }
    samples.sort();
    no_ops.sort();
    let no_op = percentile(&no_ops, 0.5);
    let (p50, p99) = (percentile(&samples, 0.5), percentile(&samples, 0.99));
    table.push(Row {
        name: "queue.wake",
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

/// Waits until the receiver's process is in the queue's list of parked ones.
async fn wait_until_parked(server: &Server) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if server.command(&["ZCARD", "tidelock:{queue/default/bench.wake}:parked"])?.int() == Some(1) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err("the receiver did not park".into())
}

/// A thousand receivers on `queues` queues for ten seconds: connections, and CPU of client and server.
async fn parked(table: &mut Table, name: &'static str, queues: usize) -> Result<(), Failure> {
    const IDLE: Duration = Duration::from_secs(10);
    let stage = Stage::open().await?;
    let before = connections(&stage.server)?;
    let tide = Tidelock::connect(&stage.server.url()).await?;
    let mut waiting = Vec::new();
    for receiver in 0..1_000 {
        let queue = tide.queue::<Raw>(&format!("bench.parked.{}", receiver % queues)).build()?;
        waiting.push(tokio::spawn(queue.recv().wait(Duration::from_mins(1)).into_future()));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let opened = connections(&stage.server)? - before;
    let server = stage.server.pid().ok_or("the server runs")?;
    let (client_start, server_start) = (cpu("self")?, cpu(&server.to_string())?);
    tokio::time::sleep(IDLE).await;
    let client = (cpu("self")? - client_start) / IDLE.as_secs_f64();
    let server = (cpu(&server.to_string())? - server_start) / IDLE.as_secs_f64();
    for task in &waiting {
        task.abort();
    }
    table.push(Row {
        name,
        backend: "redis",
        ratio: client + server,
        target: "3 connections, 2 % CPU",
        goal: "0.5 %",
        note: format!("{opened} connections, CPU client {client:.2} % + server {server:.2} %"),
        ..Row::default()
    });
    Ok(())
}

fn connections(server: &Server) -> Result<i64, Failure> {
    let clients = server.command(&["INFO", "clients"])?;
    Ok(clients.field("connected_clients").and_then(|count| count.parse().ok()).ok_or("INFO clients")?)
}

/// CPU time of a process so far, in hundredths of a second: percent of a core when divided by seconds.
fn cpu(process: &str) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok(ticks(11) + ticks(12))
}
