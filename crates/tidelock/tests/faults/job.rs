//! Jobs when their server, their connections or other processes fail.

mod outages;
mod processes;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidelock::job::{Item, JobEventKind, RetryReason};
use tidelock::{Job, JobId, JobState, Joined, RunningJobWorker, SECOND, Tidelock};
use tidelock_testkit::{Proxy, Server, scale};

use crate::stage::{durable_server, hasty, keys_without_lifetime, open, server, until, within};

const MS: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_secs(30);

/// Jobs that may crash any number of times.
fn job(tide: &Tidelock, lease: Duration) -> Job<u64, u64> {
    tide.job("j").lease(lease).max_crashes(1_000).build().expect("the options are good")
}

/// How often each input was run.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<HashMap<u64, usize>>>);

impl Runs {
    fn of(&self, input: u64) -> usize {
        self.0.lock().unwrap().get(&input).copied().unwrap_or_default()
    }

    /// A worker that counts its runs here and returns twice the input.
    fn worker(&self, job: &Job<u64, u64>) -> RunningJobWorker {
        let worker = job.process_with(self.clone(), async |runs, _, input| {
            *runs.0.lock().unwrap().entry(input).or_default() += 1;
            Ok(input * 2)
        });
        worker.concurrency(8).spawn()
    }
}

/// Waits for the end of a job; returns its result.
async fn result(job: &Job<u64, u64>, id: JobId) -> u64 {
    match within(job.join(id).wait(WAIT)).await.expect("the server answers") {
        Joined::Completed(result) => result,
        other => panic!("{id}: {other:?}"),
    }
}

/// The events of a job.
pub async fn told(job: &Job<u64, u64>, id: JobId) -> Vec<JobEventKind> {
    let page = within(job.events(id).read().limit(1_000)).await.expect("the server answers");
    page.items.into_iter().filter_map(Item::event).map(|event| event.kind).collect()
}

/// Checks the events of a job that has ended: it was submitted once, each run has a number, a higher fence than the one
/// before and one end, and nothing followed the end of the job. Returns how often it ran again after a crash.
pub fn story(events: &[JobEventKind]) -> u64 {
    let (mut runs, mut last_fence, mut running, mut crashed) = (0, 0, false, 0);
    let (first, rest) = events.split_first().expect("it was submitted");
    let (end, between) = rest.split_last().expect("it has ended");
    assert!(matches!(first, JobEventKind::Submitted), "{events:?}");
    for event in between {
        match event {
            JobEventKind::Started { attempt, fence, .. } => {
                assert!(!running && *attempt == runs + 1 && *fence > last_fence, "{events:?}");
                (runs, last_fence, running) = (*attempt, *fence, true);
            }
            JobEventKind::Retry { attempt, reason, .. } => {
                assert!(running && *attempt == runs, "{events:?}");
                running = false;
                crashed += u64::from(*reason == RetryReason::Crashed);
            }
            JobEventKind::Step { .. } | JobEventKind::Progress { .. } => assert!(running, "{events:?}"),
            other => panic!("{other:?} in {events:?}"),
        }
    }
    assert!(running && end.is_terminal(), "{events:?}");
    crashed
}

/// The account after a fault: every accepted job is in one state, and the only key without an expiry is that of the
/// format.
async fn account(job: &Job<u64, u64>, server: &Server) {
    let stats = within(job.stats()).await.expect("the server answers");
    let waiting = stats.ready + stats.delayed + stats.running;
    let ended = stats.completed + stats.failed + stats.cancelled + stats.timed_out;
    assert_eq!(waiting + ended, stats.totals.submitted, "{stats:?}");
    assert_eq!(keys_without_lifetime(server), ["tidelock:format"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_makes_no_second_job_and_no_second_run() {
    let Some(server) = server() else { return };
    let proxy = Arc::new(Proxy::start(server.port()).await.unwrap());
    let behind = job(&open(&proxy.url()).await, WAIT);
    let witness = job(&open(&server.url()).await, WAIT);
    let count = scale(1_000) as u64;
    let mut ids = Vec::new();
    for input in 0..count {
        let (key, request) = (format!("k{input}"), behind.submit(&input));
        proxy.drop_reply_after(1);
        let keyed = input % 2 == 1;
        let sent = within(if keyed { request.dedup_key(&key) } else { request }).await.unwrap();
        assert!(!sent.duplicate && ids.last().is_none_or(|last| *last < sent.id), "{sent:?}");
        ids.push(sent.id);
        if keyed {
            proxy.drop_reply_after(1);
            let again = within(behind.submit(&0).dedup_key(&key)).await.unwrap();
            assert!(again.duplicate && again.id == sent.id, "{again:?}");
        }
    }
    assert_eq!(witness.stats().await.unwrap().totals.submitted, count);
    let runs = Runs::default();
    let worker = behind.process_with((runs.clone(), Arc::clone(&proxy)), async |(runs, proxy), _, input| {
        *runs.0.lock().unwrap().entry(input).or_default() += 1;
        // The reply to the settle, or to a claim on the same trip.
        proxy.drop_reply_after(1);
        Ok(input * 2)
    });
    let worker = worker.spawn();
    for (input, id) in (0..).zip(&ids) {
        assert_eq!(result(&witness, *id).await, input * 2);
    }
    let report = within(worker.shutdown(WAIT)).await;
    assert_eq!((report.completed, report.stale, report.given_back), (count, 0, 0), "{report:?}");
    for (input, id) in (0..).zip(&ids) {
        assert_eq!(runs.of(input), 1, "no second effect of {input}");
        assert_eq!(story(&told(&witness, *id).await), 0);
    }
    let totals = witness.stats().await.unwrap().totals;
    assert_eq!((totals.completed, totals.crashes, totals.stale, totals.retries), (count, 0, 0, 0), "{totals:?}");
    account(&witness, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_byte_loses_no_job_and_doubles_none() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let behind = job(&open(&proxy.url()).await, 300 * MS);
    let witness = job(&open(&server.url()).await, 300 * MS);
    let runs = Runs::default();
    let worker = runs.worker(&behind);
    let (count, mut accepted, mut keyed) = (scale(600), HashSet::new(), 0);
    for at in 0..count {
        // Somewhere within the submits, or the claims and settles that follow from them.
        proxy.cut_after_request_bytes(at * 3_000 / count + 1);
        let input = at as u64;
        if at % 2 == 0 {
            accepted.extend(within(behind.submit(&input)).await.ok().map(|sent| (sent.id, input)));
            continue;
        }
        let key = format!("k{at}");
        let first = within(behind.submit(&input).dedup_key(&key)).await;
        let again = within(witness.submit(&input).dedup_key(&key)).await.unwrap();
        keyed += 1;
        if let Ok(first) = first {
            assert!(!first.duplicate && again.duplicate && first.id == again.id, "{first:?} {again:?}");
        }
        accepted.insert((again.id, input));
    }
    for (id, input) in &accepted {
        assert_eq!(result(&witness, *id).await, input * 2);
        story(&told(&witness, *id).await);
    }
    within(worker.shutdown(WAIT)).await;
    until("all have ended", async || {
        let stats = witness.stats().await.unwrap();
        stats.completed == stats.totals.submitted
    })
    .await;
    let totals = witness.stats().await.unwrap().totals;
    // A submit whose error left the outcome unknown may have been accepted.
    let unkeyed = count as u64 - keyed;
    assert!((accepted.len() as u64..=keyed + unkeyed).contains(&totals.submitted), "{totals:?}");
    account(&witness, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_with_its_data_has_lost_no_job() {
    let Some(server) = durable_server() else { return };
    let tide = open(&server.url()).await;
    let (job, held) = (job(&tide, 300 * MS), Arc::new(tokio::sync::Semaphore::new(0)));
    let worker = job.process_with(Arc::clone(&held), async |held, ctx, input| {
        let kept = ctx.step("before", async || Ok(input * 2)).await?;
        if input == 0 && held.acquire().await.is_err() {
            return Err("the test is over".into());
        }
        Ok(kept)
    });
    let worker = worker.concurrency(4).spawn();
    let long = within(job.submit(&0).dedup_key("long")).await.unwrap().id;
    let delayed = within(job.submit(&1).delay(SECOND)).await.unwrap().id;
    until("the long one has kept its step", async || job.get(long).await.unwrap().unwrap().steps == 1).await;
    let joining = tokio::spawn(job.join(long).forever().into_future());
    let before = within(job.submit_many((2..20).map(|input| job.submit(&input)))).await.unwrap();
    server.restart().unwrap();
    let after = within(job.submit_many((20..40).map(|input| job.submit(&input)))).await.unwrap();
    assert!(after[0].id > before.last().unwrap().id);
    let again = within(job.submit(&9).dedup_key("long")).await.unwrap();
    assert!(again.duplicate && again.id == long, "{again:?}");
    for (input, sent) in (2..).zip(before.iter().chain(&after)) {
        assert_eq!(result(&job, sent.id).await, input * 2);
    }
    assert_eq!(result(&job, delayed).await, 2);
    held.add_permits(100);
    assert_eq!(within(joining).await.unwrap().unwrap(), Joined::Completed(0), "who joins is told");
    story(&told(&job, long).await);
    within(worker.shutdown(WAIT)).await;
    account(&job, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_server_repeats_no_number_and_its_workers_go_on() {
    let Some(server) = server() else { return };
    let job = job(&open(&server.url()).await, WAIT);
    let (fences, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let worker = job.process_with((fences, Arc::clone(&gate)), async |(fences, gate), ctx, input| {
        fences.send((input, ctx.fence())).map_err(|error| error.to_string())?;
        if input == 1 && gate.acquire().await.is_err() {
            return Err("the test is over".into());
        }
        Ok(input * 2)
    });
    let worker = worker.concurrency(2).spawn();
    let first = within(job.submit(&1).dedup_key("k")).await.unwrap();
    let (_, fence) = within(seen.recv()).await.unwrap();
    until("the worker waits", async || !server.command(&["KEYS", "*parked*"]).unwrap().items().is_empty()).await;
    server.command(&["FLUSHALL"]).unwrap();
    let second = within(job.submit(&2).dedup_key("k")).await.unwrap();
    assert!(!second.duplicate && second.id > first.id, "{second:?}");
    let (input, later) = within(seen.recv()).await.unwrap();
    assert!(input == 2 && later > fence, "{later} after {fence}");
    assert_eq!(result(&job, second.id).await, 4);
    gate.add_permits(100);
    until("the run from before is over", async || worker.stats().running == 0).await;
    assert_eq!(within(job.join(first.id)).await.unwrap(), Joined::NotFound);
    let report = within(worker.shutdown(WAIT)).await;
    assert_eq!((report.completed, report.stale), (1, 1), "{report:?}");
    let stats = job.stats().await.unwrap();
    assert_eq!((stats.totals.submitted, stats.completed), (1, 1), "a settle from before has no effect");
}

/// Checks that `future` is not answered during an outage of four seconds.
async fn outlasts<F: Future + Unpin>(mut future: F) -> F {
    assert!(tokio::time::timeout(4 * SECOND, &mut future).await.is_err(), "it is answered in an outage");
    future
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_an_error_to_who_joins_and_a_pause_to_who_works() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 500 * MS).await;
    let (behind, witness) = (job(&tide, 15 * SECOND), job(&open(&server.url()).await, 15 * SECOND));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (entered, mut started) = tokio::sync::mpsc::unbounded_channel();
    let worker = behind.process_with((entered, Arc::clone(&gate)), async |(entered, gate), _, input| {
        entered.send(input).map_err(|error| error.to_string())?;
        gate.acquire().await?.forget();
        Ok(input * 2)
    });
    let worker = worker.spawn();
    for (round, stalled) in (0..).zip([false, true]) {
        let id = within(witness.submit(&round)).await.unwrap().id;
        let next = within(witness.submit(&(round + 10))).await.unwrap().id;
        within(started.recv()).await.unwrap();
        let joining = tokio::spawn(behind.join(id).forever().into_future());
        let mut limited = behind.join(id).wait(3 * SECOND).into_future();
        assert!(tokio::time::timeout(200 * MS, &mut limited).await.is_err(), "it looks, and then it waits");
        let limited = tokio::spawn(limited);
        until("it is joined", async || !server.command(&["KEYS", "*watchers*"]).unwrap().items().is_empty()).await;
        if stalled {
            proxy.stall(true);
        } else {
            proxy.refuse(true);
            proxy.cut();
        }
        // Finished while the server cannot be told.
        gate.add_permits(1);
        let looking = async {
            let answer = within(limited).await.unwrap();
            assert!(answer.is_err(), "an outage at the limit is not what was seen before: {answer:?}");
            for wait in [0, 1, 20, 300] {
                let answer = within(behind.join(id).wait(wait * MS)).await;
                let error = answer.expect_err("an outage is not `NotFound` and not `StillRunning`");
                assert!(error.is_retryable(), "{error}");
            }
        };
        let (joining, ()) = tokio::join!(outlasts(joining), looking);
        assert_eq!(witness.get(id).await.unwrap().unwrap().state, JobState::Running);
        proxy.stall(false);
        proxy.refuse(false);
        assert_eq!(within(joining).await.unwrap().unwrap(), Joined::Completed(round * 2));
        gate.add_permits(1);
        assert_eq!(result(&behind, next).await, (round + 10) * 2);
        within(started.recv()).await.unwrap();
        assert_eq!(story(&told(&witness, id).await), 0);
        // A claim that the server carried out after its caller had given up leaves the run to its lease, but no longer.
        assert!(story(&told(&witness, next).await) <= u64::from(stalled));
    }
    let report = within(worker.shutdown(WAIT)).await;
    assert_eq!((report.completed, report.stale), (4, 0), "{report:?}");
    account(&witness, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_outages_and_completes_every_job() {
    let Some(server) = durable_server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let behind = job(&open(&proxy.url()).await, 500 * MS);
    let witness = job(&open(&server.url()).await, 500 * MS);
    let runs = Runs::default();
    let worker = runs.worker(&behind);
    let count = scale(3_000) as u64;
    let mut ids = Vec::new();
    for input in 0..count {
        ids.push(within(witness.submit(&input)).await.unwrap().id);
        match input % 100 {
            20 => proxy.cut(),
            50 => proxy.drop_reply_after(2),
            80 => proxy.cut_after_request_bytes(900),
            _ => {}
        }
    }
    for (input, id) in (0..).zip(&ids) {
        assert_eq!(result(&witness, *id).await, input * 2);
        let crashes = story(&told(&witness, *id).await);
        assert!(runs.of(input) as u64 <= crashes + 1, "a run for each claim");
    }
    let report = within(worker.shutdown(WAIT)).await;
    assert!(report.error.is_none() && report.failed == 0, "{report:?}");
    assert_eq!(witness.stats().await.unwrap().completed, count);
    account(&witness, &server).await;
}
