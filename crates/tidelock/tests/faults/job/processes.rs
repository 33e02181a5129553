//! Jobs whose workers are processes that are killed, frozen, or end themselves.

use tidelock::{FailureCode, StopReason};

use super::*;
use crate::stage::Other;

/// Long enough for a busy machine: it lapses only if a process is killed or frozen.
const LEASE: Duration = Duration::from_secs(2);
/// So short that leases also lapse by chance.
const SHORT_LEASE: Duration = Duration::from_millis(400);

/// The other process of the test below: stores a step of each run, prints it, and holds the runs until it is ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder_of_steps() {
    let Some(url) = Other::url() else { return };
    let job = job(&open(&url).await, LEASE);
    let worker = job.process(async |ctx, input| {
        let kept = ctx.step("one", async || Ok(input + 1_000)).await?;
        println!("holding {kept}");
        ctx.step("two", std::future::pending::<Result<u64, _>>).await
    });
    worker.concurrency(3).run_until(std::future::pending()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_ran_is_run_elsewhere_without_its_kept_steps() {
    let Some(server) = server() else { return };
    let job = job(&open(&server.url()).await, LEASE);
    let mut other = Other::start("job::processes::holder_of_steps", &server.url());
    let sent = within(job.submit_many((0..3).map(|input| job.submit(&input)))).await.unwrap();
    for _ in 0..3 {
        other.says("holding").await;
    }
    other.signal("-KILL");
    let worker = job.process(async |ctx, input| {
        assert_eq!((ctx.attempt(), ctx.crashes(), ctx.failures()), (2, 1, 0));
        let kept: u64 = ctx.step("one", async || Err("it is run again".into())).await?;
        let two = ctx.step("two", async || Ok(input + 1)).await?;
        Ok(kept * 10 + two)
    });
    let worker = worker.concurrency(3).spawn();
    for (input, sent) in (0..).zip(&sent) {
        assert_eq!(result(&job, sent.id).await, (input + 1_000) * 10 + input + 1);
        assert_eq!(story(&told(&job, sent.id).await), 1);
    }
    let totals = job.stats().await.unwrap().totals;
    assert_eq!((totals.completed, totals.crashes, totals.retries), (3, 3, 0), "{totals:?}");
    within(worker.shutdown(WAIT)).await;
    account(&job, &server).await;
}

/// The other process of the test below: runs one job until it is told to stop, and then returns a result all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_one() {
    let Some(url) = Other::url() else { return };
    let job = job(&open(&url).await, LEASE);
    let worker = job.process(async |ctx, _| {
        println!("holding {}", ctx.fence());
        let reason = ctx.cancelled().await;
        let step = ctx.step("late", async || Ok(1)).await;
        println!("told {} {}", reason == StopReason::LeaseLost, step.is_err());
        Ok(999)
    });
    let worker = worker.spawn();
    until("its run is over", async || worker.stats().stale == 1).await;
    println!("stale {:?}", worker.stats().completed);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_wakes_to_a_lost_lease_and_changes_nothing() {
    let Some(server) = server() else { return };
    let job = job(&open(&server.url()).await, LEASE);
    let mut other = Other::start("job::processes::late_one", &server.url());
    let id = within(job.submit(&1)).await.unwrap().id;
    let fence: u64 = other.says("holding").await["holding ".len()..].parse().unwrap();
    other.signal("-STOP");
    let runs = Runs::default();
    let worker = runs.worker(&job);
    // Due when the other one has been frozen for three leases.
    let later = within(job.submit(&2).delay(3 * LEASE)).await.unwrap().id;
    assert_eq!(result(&job, id).await, 2);
    assert_eq!(result(&job, later).await, 4);
    let before = job.get(id).await.unwrap().unwrap();
    assert!(before.attempt == 2 && before.crashes == 1 && before.fence > fence, "{before:?}");
    other.signal("-CONT");
    assert_eq!(other.says("told").await, "told true true");
    assert_eq!(other.says("stale").await, "stale 0");
    assert_eq!(job.get(id).await.unwrap().unwrap(), before, "nothing has changed");
    let events = told(&job, id).await;
    assert_eq!(story(&events), 1);
    assert_eq!(events.iter().filter(|event| event.is_terminal()).count(), 1, "{events:?}");
    assert_eq!(runs.of(1), 1);
    within(worker.shutdown(WAIT)).await;
    account(&job, &server).await;
}

/// The other process of the test below: one of the inputs ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_itself() {
    let Some(url) = Other::url() else { return };
    let job = job(&open(&url).await, LEASE);
    let worker = job.process(async |ctx, input| {
        if input == 13 {
            println!("ending {}", ctx.attempt());
            std::process::abort();
        }
        Ok(input * 2)
    });
    println!("working");
    worker.concurrency(4).run_until(std::future::pending()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ends_its_process_is_started_max_crashes_times() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let job = job(&tide, LEASE);
    let deadly: Job<u64, u64> = tide.job("j").lease(LEASE).max_crashes(3).build().unwrap();
    let thirteen = within(deadly.submit(&13)).await.unwrap().id;
    let others = within(job.submit_many((20..40).map(|input| job.submit(&input)))).await.unwrap();
    for attempt in 1..=3 {
        let mut other = Other::start("job::processes::one_that_ends_itself", &server.url());
        assert_eq!(other.says("ending").await, format!("ending {attempt}"));
    }
    match within(job.join(thirteen)).await.unwrap() {
        Joined::Failed(failure) => assert_eq!((failure.code, failure.attempt), (FailureCode::Crashed, 3)),
        other => panic!("{other:?}"),
    }
    let mut other = Other::start("job::processes::one_that_ends_itself", &server.url());
    other.says("working").await;
    let more = within(job.submit(&40)).await.unwrap();
    for (input, sent) in (20..).zip(others.iter().chain([&more])) {
        assert_eq!(result(&job, sent.id).await, input * 2);
        story(&told(&job, sent.id).await);
    }
    let events = told(&job, thirteen).await;
    assert_eq!(story(&events), 2, "the third crash was its end");
    let started = events.iter().filter(|event| matches!(event, JobEventKind::Started { .. })).count();
    assert_eq!(started, 3, "{events:?}");
    account(&job, &server).await;
}

/// The other processes of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several() {
    let Some(url) = Other::url() else { return };
    let job = job(&open(&url).await, SHORT_LEASE);
    let worker = job.process(async |ctx, input| {
        let kept = ctx.step("one", async || Ok(input * 2)).await?;
        // Some work in which it can be killed or frozen.
        let work = Duration::from_millis(input % 8 * 5);
        let told = tokio::time::timeout(work, ctx.cancelled()).await;
        ctx.progress(&told.is_ok())?;
        Ok(kept)
    });
    println!("working");
    worker.concurrency(8).run_until(std::future::pending()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_killed_and_frozen_at_random_complete_every_job_once() {
    let Some(server) = server() else { return };
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let (mut random, url) = (fastrand::Rng::with_seed(seed), server.url());
    let job = job(&open(&url).await, SHORT_LEASE);
    let start = || Other::start("job::processes::one_of_several", &url);
    let (mut others, mut frozen) = ([start(), start(), start()], None::<usize>);
    let (count, mut sent) = (scale(10_000), Vec::new());
    while sent.len() < count {
        let batch = (sent.len()..(sent.len() + 50).min(count)).map(|input| job.submit(&(input as u64)));
        let batch = within(job.submit_many(batch)).await.unwrap();
        sent.extend(batch.into_iter().map(|sent| sent.id));
        let so_far = random.u64(sent.len() as u64 / 2..sent.len() as u64);
        until("some are completed", async || job.stats().await.unwrap().completed >= so_far).await;
        if let Some(thawed) = frozen.take() {
            others[thawed].signal("-CONT");
        }
        let hit = random.usize(..others.len());
        if random.bool() {
            others[hit].signal("-STOP");
            frozen = Some(hit);
        } else {
            others[hit].signal("-KILL");
            others[hit] = start();
        }
    }
    if let Some(thawed) = frozen {
        others[thawed].signal("-CONT");
    }
    let mut crashes = 0;
    for (input, id) in (0..).zip(&sent) {
        assert_eq!(result(&job, *id).await, input * 2);
        crashes += story(&told(&job, *id).await);
    }
    let stats = job.stats().await.unwrap();
    assert_eq!((stats.totals.submitted, stats.completed), (count as u64, count as u64), "{stats:?}");
    assert_eq!((stats.totals.crashes, stats.totals.retries), (crashes, 0), "{stats:?}");
    eprintln!("{} jobs, {crashes} crashes, {} stale settles", count, stats.totals.stale);
    account(&job, &server).await;
}
