//! Jobs: submits, throughput from submit to end, and the latency until a worker starts a job or learns of its cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidelock::job::{CancelOutcome, Job};
use tidelock::{Raw, SECOND, Tidelock};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::measure::{ROUNDS, Row, Table, median, percentile, rate};
use crate::noop::Stage;
use crate::on_redis::{payload, row};
use crate::server::Server;

const CALLERS: usize = 64;
type Failure = Box<dyn std::error::Error>;

pub async fn rows(table: &mut Table) -> Result<(), Failure> {
    let names = ["job.submit", "job.submit_many", "job.submit_many_4", "job.end_to_end"];
    if table.wants_any(&names) {
        let stage = Stage::open().await?;
        let tide = Tidelock::connect(&stage.server.url()).await?;
        submit(table, &stage, &tide).await?;
        submit_many(table, &stage, &tide, "job.submit_many", 1, ("1.0 N", "1.3 N")).await?;
        submit_many(table, &stage, &tide, "job.submit_many_4", 4, ("1.5 N", "2 N")).await?;
        end_to_end(table, &stage, &tide).await?;
    }
    if table.wants("job.start_latency") {
        start_latency(table).await?;
    }
    if table.wants("job.cancel_latency") {
        cancel_latency(table).await?;
    }
    if table.wants("job.memory") {
        memory(table).await?;
    }
    Ok(())
}

async fn submit(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    if !table.wants("job.submit") {
        return Ok(());
    }
    let job = tide.job::<Raw, ()>("bench.submit").build()?;
    let measured = stage
        .ratio(table, || {
            let submitter = job.clone();
            let submitting = rate(CALLERS, 1, move |_| {
                let job = submitter.clone();
                async move {
                    job.submit(&payload()).await.expect("the server answers");
                }
            });
            emptied(&job, submitting)
        })
        .await;
    table.push(row("job.submit", measured, ("0.7 N", "0.9 N")));
    Ok(())
}

/// Deletes the jobs after a round.
fn emptied(job: &Job<Raw, ()>, round: impl Future<Output = f64>) -> impl Future<Output = f64> {
    let job = job.clone();
    async move {
        let rate = round.await;
        job.delete().await.expect("the server answers");
        rate
    }
}

async fn submit_many(
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
    let job = tide.job::<Raw, ()>("bench.submit_many").build()?;
    let measured = stage
        .ratio(table, || {
            let submitter = job.clone();
            let submitting = rate(callers, 100, move |_| {
                let job = submitter.clone();
                async move {
                    let payload = payload();
                    let batch = (0..100).map(|_| job.submit(&payload));
                    job.submit_many(batch).await.expect("the server answers");
                }
            });
            emptied(&job, submitting)
        })
        .await;
    table.push(row(name, measured, target));
    Ok(())
}

/// Both ends have their own connection, as in two processes.
async fn end_to_end(table: &mut Table, stage: &Stage, tide: &Tidelock) -> Result<(), Failure> {
    const JOBS: usize = 10_000;
    if !table.wants("job.end_to_end") {
        return Ok(());
    }
    let at_work = Tidelock::connect(&stage.server.url()).await?;
    let submitting = tide.job::<Raw, ()>("bench.end_to_end").build()?;
    let working = at_work.job::<Raw, ()>("bench.end_to_end").build()?;
    let measured = stage
        .ratio(table, || {
            let (submitting, working) = (submitting.clone(), working.clone());
            async move {
                let jobs_per_s = through(&submitting, &working, JOBS).await.expect("the jobs are done");
                submitting.delete().await.expect("the server answers");
                jobs_per_s
            }
        })
        .await;
    let note = "10,000 jobs a round, from the first submit to the last end".to_owned();
    table.push(Row { note, ..row("job.end_to_end", measured, ("0.4 N", "0.6 N")) });
    Ok(())
}

/// Jobs per second, from the first submit of 64 submitters to the last end at a worker of 64 handlers, concurrently.
async fn through(submitting: &Job<Raw, ()>, working: &Job<Raw, ()>, jobs: usize) -> Result<f64, Failure> {
    let worker = working.process(|_run, _input| async { Ok(()) }).concurrency(CALLERS).spawn();
    let taken = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    for _ in 0..CALLERS {
        let (job, taken) = (submitting.clone(), Arc::clone(&taken));
        tokio::spawn(async move {
            while taken.fetch_add(1, Ordering::Relaxed) < jobs {
                job.submit(&payload()).await.expect("the backend answers");
            }
        });
    }
    while worker.stats().completed < jobs as u64 {
        if start.elapsed() > 60 * SECOND {
            return Err(format!("{:?} after a minute", worker.stats()).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let elapsed = start.elapsed();
    worker.shutdown(SECOND).await;
    #[expect(clippy::cast_precision_loss, reason = "counts of one round are far below 2^52")]
    let jobs = jobs as f64;
    Ok(jobs / elapsed.as_secs_f64())
}

/// Latency from the start of a submit in one process to the start of the handler at an idle worker in another.
async fn start_latency(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let (submitter, at_work) =
        (Tidelock::connect(&stage.server.url()).await?, Tidelock::connect(&stage.server.url()).await?);
    let job = submitter.job::<Raw, ()>("bench.start").build()?;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let worker = at_work
        .job::<Raw, ()>("bench.start")
        .build()?
        .process(move |_run, _input| {
            let sent = begun.send(Instant::now());
            async move { Ok(sent?) }
        })
        .spawn();
    let mut samples = Vec::new();
    for round in 1..=600 {
        wait_until_parked(&stage.server, "bench.start").await?;
        let start = Instant::now();
        job.submit(&payload()).await?;
        samples.push(next(&mut begins).await?.saturating_duration_since(start));
        while worker.stats().completed < round {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    worker.shutdown(SECOND).await;
    table.push(latency("job.start_latency", samples, ("p99 5 ms", "")));
    Ok(())
}

/// Waits until a process is in the list of parked ones.
async fn wait_until_parked(server: &Server, job: &str) -> Result<(), Failure> {
    let key = format!("tidelock:{{job/default/{job}}}:parked");
    let deadline = Instant::now() + 5 * SECOND;
    while Instant::now() < deadline {
        if server.command(&["ZCARD", &key])?.int() == Some(1) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err("the worker did not park".into())
}

async fn next(instants: &mut UnboundedReceiver<Instant>) -> Result<Instant, Failure> {
    Ok(tokio::time::timeout(30 * SECOND, instants.recv()).await?.ok_or("the worker ended")?)
}

fn latency(name: &'static str, mut samples: Vec<Duration>, (target, goal): (&'static str, &'static str)) -> Row {
    samples.sort();
    let (p50_ms, p99_ms) = (percentile(&samples, 0.5), percentile(&samples, 0.99));
    let note = format!("p50 {p50_ms:.3} ms, p99 {p99_ms:.3} ms of {}", samples.len());
    Row { name, backend: "redis", p50_ms, p99_ms, target, goal, note, ..Row::default() }
}

/// Latency from the start of a cancel in one process to the handler that waits for it in another.
async fn cancel_latency(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let (canceller, at_work) =
        (Tidelock::connect(&stage.server.url()).await?, Tidelock::connect(&stage.server.url()).await?);
    let job = canceller.job::<Raw, ()>("bench.cancel").build()?;
    let ((begun, mut begins), (told, mut tidings)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let worker = at_work
        .job::<Raw, ()>("bench.cancel")
        .build()?
        .process(move |run, _input| {
            let (begun, told) = (begun.clone(), told.clone());
            async move {
                begun.send(Instant::now())?;
                run.cancelled().await;
                Ok(told.send(Instant::now())?)
            }
        })
        .spawn();
    let mut samples = Vec::new();
    for _ in 0..600 {
        let submitted = job.submit(&payload()).await?;
        next(&mut begins).await?;
        let start = Instant::now();
        if job.cancel(submitted.id).await? != CancelOutcome::Cancelled {
            return Err("the job was over before it was cancelled".into());
        }
        samples.push(next(&mut tidings).await?.saturating_duration_since(start));
    }
    worker.shutdown(SECOND).await;
    table.push(latency("job.cancel_latency", samples, ("p99 10 ms", "p99 5 ms")));
    Ok(())
}

/// The server memory of a queued job in addition to its payload.
async fn memory(table: &mut Table) -> Result<(), Failure> {
    let stage = Stage::open().await?;
    let tide = Tidelock::connect(&stage.server.url()).await?;
    let job = tide.job::<Raw, ()>("bench.memory").build()?;
    let payload = payload();
    job.submit(&payload).await?;
    let before = crate::memory::used(&stage.server)?;
    for _ in 0..100 {
        job.submit_many((0..1_000).map(|_| job.submit(&payload))).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "bytes of one test server are far below 2^52")]
    let over = (crate::memory::used(&stage.server)? - before) as f64 / 100_000.0 - 100.0;
    let note = format!("{over:.0} bytes a job over its payload");
    table.push(Row { name: "job.memory", backend: "redis", ratio: over, note, ..Row::default() });
    Ok(())
}

/// Submits, runs and settles jobs; the three count as one operation.
pub async fn in_process(table: &mut Table) -> Result<(), Failure> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let job = Tidelock::in_process().job::<Raw, ()>("bench").build()?;
        rates.push(through(&job, &job, 20_000).await?);
    }
    let ops_per_s = median(rates);
    table.push(Row { name: "job.in_process", backend: "in-process", ops_per_s, ..Row::default() });
    Ok(())
}
