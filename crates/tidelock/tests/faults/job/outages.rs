//! Jobs while their server is unavailable, and what is left of them in the end.

use std::collections::BTreeMap;

use tidelock::job::CancelOutcome;
use tidelock::{HOUR, JobError, StopReason};
use tokio::sync::mpsc;

use super::*;

/// Jobs behind a proxy, whose calls give up soon.
async fn impatient(proxy: &Proxy) -> Tidelock {
    hasty(&proxy.url(), 300 * MS).await
}

/// Makes the server unavailable for everything behind the proxy.
async fn go_away(proxy: &Proxy) {
    proxy.refuse(true);
    proxy.cut();
    until("all connections are gone", async || proxy.open_connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_nobody_heard_is_told_when_the_connection_is_back() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (tide, witness) = (open(&proxy.url()).await, open(&server.url()).await);
    for manual in [false, true] {
        // The next renewal is far away, or never happens.
        let define = |tide: &Tidelock| -> Job<u64, u64> {
            let job = tide.job(if manual { "manual" } else { "usual" }).lease(HOUR);
            if manual { job.manual_heartbeat() } else { job }.build().unwrap()
        };
        let (behind, witness) = (define(&tide), define(&witness));
        let (told, mut hears) = mpsc::unbounded_channel();
        let worker = behind.process_with(told, async |told, ctx, input| {
            told.send(None).map_err(|error| error.to_string())?;
            told.send(Some(ctx.cancelled().await)).map_err(|error| error.to_string())?;
            Ok(input)
        });
        let worker = worker.spawn();
        let id = within(behind.submit(&1)).await.unwrap().id;
        assert_eq!(within(hears.recv()).await, Some(None));
        go_away(&proxy).await;
        assert_eq!(within(witness.cancel(id)).await.unwrap(), CancelOutcome::Cancelled);
        proxy.refuse(false);
        assert_eq!(within(hears.recv()).await, Some(Some(StopReason::Cancelled)));
        let report = within(worker.shutdown(WAIT)).await;
        assert_eq!((report.stale, report.completed), (1, 0), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_without_its_server_ends_soon_after_its_grace() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (behind, witness) = (job(&impatient(&proxy).await, HOUR), job(&open(&server.url()).await, HOUR));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let worker = behind.process_with(Arc::clone(&gate), async |gate, _, input| {
        gate.acquire().await?.forget();
        Ok(input)
    });
    let worker = worker.concurrency(2).spawn();
    let ids = [1, 2].map(|input| witness.submit(&input));
    let ids = within(witness.submit_many(ids)).await.unwrap();
    until("both run", async || worker.stats().running == 2).await;
    go_away(&proxy).await;
    // One has ended before the stop signal, and one is dropped at the end of the grace.
    gate.add_permits(1);
    until("one has ended", async || worker.stats().running == 1).await;
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.left, report.completed, report.given_back, report.stale), (2, 0, 0, 0), "{report:?}");
    for sent in ids {
        assert_eq!(witness.get(sent.id).await.unwrap().unwrap().state, JobState::Running, "its lease goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_failed_in_an_outage_runs_again_before_the_next_one() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let define = |tide: &Tidelock| -> Job<u64, u64> { tide.job("j").lease(HOUR).attempts(2).build().unwrap() };
    let job = define(&impatient(&proxy).await);
    let witness = define(&open(&server.url()).await);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (started, mut starts) = mpsc::unbounded_channel();
    let worker = job.process_with((started, Arc::clone(&gate)), async |(started, gate), ctx, input| {
        started.send(input).map_err(|error| error.to_string())?;
        if input % 2 == 0 && ctx.failures() == 0 {
            gate.acquire().await?.forget();
            return Err::<u64, JobError>("once".into());
        }
        Ok(input)
    });
    let worker = worker.spawn();
    for round in 0..4 {
        let (first, second) = (round * 2, round * 2 + 1);
        within(witness.submit_many([witness.submit(&first), witness.submit(&second)])).await.unwrap();
        assert_eq!(within(starts.recv()).await, Some(first));
        go_away(&proxy).await;
        let before = proxy.connections();
        gate.add_permits(1);
        // By then, the first request has failed.
        until("it was tried for a while", async || proxy.connections() > before + 6).await;
        proxy.refuse(false);
        assert_eq!(within(starts.recv()).await, Some(first), "it keeps its place");
        assert_eq!(within(starts.recv()).await, Some(second));
        until("both are over", async || worker.stats().completed == second + 1).await;
    }
    let report = within(worker.shutdown(WAIT)).await;
    assert_eq!((report.completed, report.retried, report.stale), (8, 4, 0), "{report:?}");
}

/// The number of entries of each key of jobs, except keys that are kept for an hour or less.
fn entries(server: &Server) -> BTreeMap<String, i64> {
    let keys = server.command(&["KEYS", "*{job/*"]).unwrap();
    let keys = keys.items().iter().filter_map(|key| key.text().map(str::to_owned));
    let passing = |key: &String| [":record", ":parked", ":answers:"].iter().any(|part| key.contains(part));
    let count = |key: String| {
        let kind = server.command(&["TYPE", &key]).unwrap();
        let counts = match kind.text().unwrap() {
            "hash" => "HLEN",
            "zset" => "ZCARD",
            "list" => "LLEN",
            // It has been removed meanwhile.
            _ => return (key, 0),
        };
        let count = server.command(&[counts, &key]).unwrap().int().unwrap();
        (key, count)
    };
    keys.filter(|key| !passing(key)).map(count).filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_jobs_after_their_retention_though_nobody_calls() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let mut jobs = Vec::new();
    for name in ["one", "two"] {
        let job = tide.job(name).attempts(2).retention(10 * SECOND).dedup_for(SECOND);
        let job: Job<u64, u64> = job.build().unwrap();
        let id = within(job.submit(&1)).await.unwrap().id;
        within(job.cancel(id)).await.unwrap();
        within(job.remove(id)).await.unwrap();
        jobs.push(job);
    }
    let empty = entries(&server);
    assert_eq!(empty.values().sum::<i64>(), 10, "what stays of each: {empty:?}");
    for job in &jobs {
        let worker = job.process(async |ctx, input| {
            let kept = ctx.step("kept", async || Ok(vec![input; 100])).await?;
            ctx.progress(&kept.len())?;
            if input % 3 == 0 { Err("no".into()) } else { Ok(input) }
        });
        let worker = worker.concurrency(4).spawn();
        let mut ids = Vec::new();
        for input in 0..scale(300) as u64 {
            let (key, line) = (format!("key {input}"), format!("line {}", input % 7));
            let request = job.submit(&input).priority(u8::try_from(input % 4).unwrap());
            let request = if input % 2 == 0 { request.dedup_key(&key) } else { request.ordering_key(&line) };
            ids.push(within(request).await.unwrap().id);
            if input % 5 == 0 {
                within(job.cancel(*ids.last().unwrap())).await.unwrap();
            }
        }
        let reader = job.events(ids[1]).reader("readers").build().unwrap();
        drop(within(reader.recv()).await);
        for id in ids {
            within(job.join(id)).await.unwrap();
        }
        within(worker.shutdown(WAIT)).await;
    }
    assert_ne!(entries(&server), empty);
    until("nothing is left", async || entries(&server) == empty).await;
}

/// A claim whose worker was told that the outcome is unknown: what it claimed is not left to its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_claimed_unheard_of_is_given_back() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (behind, witness) = (job(&impatient(&proxy).await, HOUR), job(&open(&server.url()).await, HOUR));
    // The script is loaded, and nobody behind the proxy is woken.
    let first = within(witness.submit(&0)).await.unwrap().id;
    let runs = Runs::default();
    let before = runs.worker(&witness);
    assert_eq!(result(&witness, first).await, 0);
    within(before.shutdown(WAIT)).await;
    let id = within(witness.submit(&1)).await.unwrap().id;
    proxy.refuse(true);
    proxy.drop_reply_after(1);
    let worker = runs.worker(&behind);
    until("it is claimed", async || witness.get(id).await.unwrap().unwrap().state == JobState::Running).await;
    // Longer than its calls are repeated.
    let asked = proxy.connections();
    until("it was tried for a while", async || proxy.connections() > asked + 6).await;
    proxy.refuse(false);
    assert_eq!(result(&witness, id).await, 2);
    assert_eq!(runs.of(1), 1, "it was started once");
    let report = within(worker.shutdown(WAIT)).await;
    assert_eq!((report.completed, report.stale), (1, 0), "{report:?}");
    account(&witness, &server).await;
}
