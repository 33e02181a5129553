//! A report built in the background: it fails once, continues after its stored step, reports progress, and is joined.
//!
//! `cargo run --example job`, or with a server: `cargo run --example job -- redis://127.0.0.1`.

use std::time::Duration;

use futures_util::StreamExt;
use tidelock::job::{Item, Job, JobContext, JobError, JobEventKind, Joined};
use tidelock::{Backoff, MINUTE, SECOND, Tidelock};

#[tokio::main]
async fn main() -> tidelock::Result<()> {
    let tide = open().await?;
    let reports: Job<u32, String> = tide
        .job("example.reports")
        .attempts(3)
        .backoff(Backoff::exponential(Duration::from_millis(100)))
        .timeout(MINUTE)
        .build()?;
    reports.delete().await?;

    // Limits of all workers together, in every process: what the database bears.
    reports.set_concurrency_limit(8).await?;
    reports.set_rate_limit(100, SECOND).await?;

    let worker = reports.process(build).concurrency(4).spawn();

    // Submitting the same month twice gives one report.
    let report = reports.submit(&202_611).dedup_key("2026-11").await?;
    let again = reports.submit(&202_611).dedup_key("2026-11").await?;
    assert!(again.duplicate && again.id == report.id);

    let mut events = reports.events(report.id).follow().await?;
    while let Some(item) = events.next().await {
        let Item::Event(event) = item? else { continue };
        match event.kind {
            JobEventKind::Started { attempt, worker, .. } => println!("run {attempt} by {worker}"),
            JobEventKind::Step { id } => println!("step {id} is kept"),
            JobEventKind::Progress { value } => println!("{} %", value.decode::<u8>()?),
            JobEventKind::Retry { message, next_at, .. } => println!("{message}: again at {next_at}"),
            kind => println!("{kind:?}"),
        }
    }

    match reports.join(report.id).await? {
        Joined::Completed(text) => println!("{text}"),
        other => println!("no report: {other:?}"),
    }

    // Cancel a report: its handler is told to stop, and whatever it returns is ignored.
    let unwanted = reports.submit(&0).await?;
    reports.cancel(unwanted.id).reason("not wanted").await?;
    println!("{:?}", reports.join(unwanted.id).await?);

    println!("{:?}", worker.shutdown(SECOND).await);
    tide.shutdown(SECOND).await;
    Ok(())
}

/// The first run fails after the rows were read; the second one does not read them again.
async fn build(run: JobContext, month: u32) -> Result<String, JobError> {
    if month == 0 {
        let reason = run.cancelled().await;
        return Err(format!("stopped: {reason:?}").into());
    }
    let rows: u64 = run.step("read rows", async || Ok(u64::from(month) * 3)).await?;
    run.progress(&50)?;
    if run.attempt() == 1 {
        return Err("the printer is out of paper".into());
    }
    Ok(format!("{month}: {rows} rows"))
}

#[cfg(feature = "redis")]
async fn open() -> tidelock::Result<Tidelock> {
    match std::env::args().nth(1) {
        Some(url) => Tidelock::connect(&url).await,
        None => Ok(Tidelock::in_process()),
    }
}

#[cfg(not(feature = "redis"))]
async fn open() -> tidelock::Result<Tidelock> {
    Ok(Tidelock::in_process())
}
