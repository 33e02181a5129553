//! Failures, and what follows them.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use tidelock::Backoff;
use tidelock::job::{FailureCode, JobEventKind, RetryOutcome, RetryReason};

conformance!(a_job_that_always_fails_runs_attempts_times, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let backoff = Backoff::exponential(4 * SECOND).max(10 * SECOND).jitter(0.2);
    let job: Job<String, String> = tide.job("texts").attempts(4).backoff(backoff).build().unwrap();
    let id = submit(&job, "text").await;
    let runs = Arc::new(AtomicU32::new(0));
    let worker = job.process_with(Arc::clone(&runs), async |runs, _, _| {
        runs.fetch_add(1, Ordering::SeqCst);
        Err(std::io::Error::other("disk").into())
    });
    let worker = worker.spawn();
    for failures in 1..4 {
        until(async || info(&job, &id).await.failures == failures).await;
        let (due, now) = (info(&job, &id).await.due, clock.now());
        let base = (4 * SECOND * 2_u32.pow(failures - 1)).min(10 * SECOND);
        let pause = due.since(now);
        assert!(
            pause >= base.mul_f64(0.8) && pause <= (base.mul_f64(1.2) + MS).min(10 * SECOND),
            "{failures}: {pause:?}"
        );
        clock.set(due);
    }
    match within(job.join(id)).await.unwrap() {
        Joined::Failed(failure) => {
            assert_eq!((failure.code, failure.message.as_str(), failure.attempt), (FailureCode::Error, "disk", 4));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(runs.load(Ordering::SeqCst), 4);
    assert_eq!(info(&job, &id).await.last_failures.len(), 4);
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.retried, report.failed, report.completed), (3, 1, 0));
    let totals = stats(&job).await.totals;
    assert_eq!((totals.retries, totals.failed, totals.crashes), (3, 1, 0));
});

conformance!(without_backoff_a_job_runs_again_at_once, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").attempts(3).build().unwrap();
    let id = submit(&job, "text").await;
    let worker = job.process(async |ctx, text| if ctx.attempt() < 3 { Err("again".into()) } else { Ok(text) }).spawn();
    result(&job, &id).await;
    assert_eq!(info(&job, &id).await.finished_at, Some(clock.now()));
    within(worker.shutdown(SECOND)).await;
});

conformance!(what_a_handler_says_is_kept, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").attempts(9).build().unwrap();
    let mut ids = Vec::new();
    for text in ["fatal", "later", "reschedule"] {
        ids.push(submit(&job, text).await);
    }
    let worker = job.process(async |ctx, text| match text.as_str() {
        "fatal" => Err(JobError::fatal("never")),
        "later" => Err(JobError::retry_after("busy", 7 * SECOND)),
        "reschedule" if ctx.attempt() < 3 => Err(JobError::reschedule(SECOND)),
        _ => Ok(text),
    });
    let worker = worker.concurrency(3).spawn();
    until(async || worker.stats().failed == 1 && worker.stats().retried == 2).await;
    match job.join(ids[0]).await.unwrap() {
        Joined::Failed(failure) => assert_eq!((failure.code, failure.message.as_str()), (FailureCode::Fatal, "never")),
        other => panic!("{other:?}"),
    }
    let later = info(&job, &ids[1]).await;
    assert_eq!((later.due, later.failures), (clock.now() + 7 * SECOND, 1), "kept exactly");
    let rescheduled = info(&job, &ids[2]).await;
    assert_eq!((rescheduled.due, rescheduled.failures, rescheduled.reschedules), (clock.now() + SECOND, 0, 1));
    clock.advance(SECOND);
    until(async || info(&job, &ids[2]).await.reschedules == 2).await;
    clock.advance(SECOND);
    result(&job, &ids[2]).await;
    within(worker.shutdown(SECOND)).await;
});

conformance!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    a_handler_that_panics_has_failed,
    async |world: World| {
        let job: Job<String, String> = world.open().await.job("texts").attempts(2).build().unwrap();
        let id = submit(&job, "text").await;
        let worker =
            job.process(async |ctx, text| if ctx.attempt() == 1 { panic!("cannot bear it") } else { Ok(text) });
        let worker = worker.spawn();
        until(async || worker.stats().retried == 1 && worker.stats().completed == 1).await;
        let panicked = info(&job, &id).await;
        assert_eq!(panicked.last_failures[0].message, "the handler panicked: cannot bear it");
        within(worker.shutdown(SECOND)).await;
    }
);

conformance!(a_failed_job_is_revived_at_a_new_place, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").attempts(2).build().unwrap();
    let id = submit(&job, "bad").await;
    let fail = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let worker = job.process_with(Arc::clone(&fail), async |fail, ctx, text| {
        let stored = ctx.step("once", async || Ok(ctx.attempt())).await?;
        if fail.load(Ordering::SeqCst) { Err("bad".into()) } else { Ok(format!("{text} {stored} {}", ctx.attempt())) }
    });
    let worker = worker.spawn();
    within(job.join(id)).await.unwrap();
    fail.store(false, Ordering::SeqCst);
    clock.advance(SECOND);
    assert_eq!(job.retry(id).await.unwrap(), RetryOutcome::Submitted);
    assert_eq!(result(&job, &id).await, "bad 1 1", "attempts begin anew, and the steps are kept");
    assert_eq!(job.retry(id).await.unwrap(), RetryOutcome::NotRetryable(JobState::Completed));
    let absent: JobId = "1".parse().unwrap();
    assert_eq!(job.retry(absent).await.unwrap(), RetryOutcome::NotFound);
    within(worker.shutdown(SECOND)).await;
});

conformance!(the_events_of_a_retry_say_when_it_goes_on, async |mut world: World| {
    let clock = world.pin();
    let backoff = Backoff::fixed(5 * SECOND).jitter(0.5);
    let job: Job<String, String> = world.open().await.job("texts").attempts(2).backoff(backoff).build().unwrap();
    let id = submit(&job, "text").await;
    let worker = job.process(async |_, _| Err("no".into())).spawn();
    until(async || worker.stats().retried == 1).await;
    let due = info(&job, &id).await.due;
    clock.set(due);
    within(job.join(id)).await.unwrap();
    let events = events(&job, &id).await;
    let retry = events.iter().find_map(|event| match &event.kind {
        JobEventKind::Retry { attempt, reason, message, next_at } => {
            Some((*attempt, *reason, message.clone(), *next_at, event.at))
        }
        _ => None,
    });
    let (attempt, reason, message, next_at, at) = retry.expect("there is a retry");
    assert_eq!((attempt, reason, message.as_str(), next_at), (1, RetryReason::Error, "no", due));
    assert!(next_at.since(at) >= 2_500 * MS && next_at.since(at) <= 5_000 * MS * 3 / 2);
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_returned_job_keeps_its_place, async |world: World| {
    // Many runs, because between the end of each run and the next claim another job might slip in.
    const RUNS: u32 = 200;
    let job: Job<String, String> = world.open().await.job("texts").attempts(RUNS).build().unwrap();
    for text in ["first", "second"] {
        submit(&job, text).await;
    }
    let seen = Seen::default();
    let worker = job.process_with(seen.clone(), async |seen, ctx, text| {
        seen.add(&text);
        if text == "first" && ctx.attempt() < u64::from(RUNS) { Err("again".into()) } else { Ok(text) }
    });
    let worker = worker.spawn();
    until(async || worker.stats().completed == 2).await;
    let mut expected = vec!["first"; RUNS as usize];
    expected.push("second");
    assert_eq!(seen.all(), expected);
    within(worker.shutdown(SECOND)).await;
});
