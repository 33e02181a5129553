//! A backend whose clock jumps by hours, forwards and backwards.

use super::*;
use tidelock::job::{CancelOutcome, FailureCode, JobEventKind, RetryReason, StopReason};
use tidelock::{Backoff, HOUR, MINUTE, Timestamp};

use crate::harness::START;

/// Jobs whose deadlines are all hours away.
fn slow(tide: &Tidelock) -> Job<String, String> {
    let job = tide.job("texts").lease(HOUR).retention(10 * HOUR).max_wait(20 * HOUR).max_crashes(1_000);
    job.build().expect("the options are in range")
}

conformance!(a_clock_that_goes_back_takes_no_lease_and_starts_nothing_early, async |mut world: World| {
    let clock = world.pin();
    let (job, gate) = (slow(&world.open().await), Gate::default());
    let first = submit(&job, "first").await;
    // One run at a time, so that no claim is in flight while the pinned time moves.
    let worker = job.process_with(gate.clone(), async |gate, _, text| {
        gate.pass().await;
        Ok(text)
    });
    let worker = worker.concurrency(1).spawn();
    within(gate.entered.notified()).await;
    let delayed = job.submit(&"delayed".to_owned()).delay(2 * HOUR).await.unwrap().id;
    let before = info(&job, &first).await;
    for hours in [3, 9, 1] {
        clock.set(Timestamp::from_millis(START.as_millis() - hours * 3_600_000));
        assert_eq!(info(&job, &first).await, before, "the run goes on");
        assert_eq!(state(&job, &delayed).await, JobState::Submitted);
    }
    let second = submit(&job, "second").await;
    assert!(second > delayed && delayed > first, "ids grow all the same");
    clock.set(START + 20 * MINUTE);
    until(async || info(&job, &first).await.lease.as_ref().unwrap().end == START + 80 * MINUTE).await;
    gate.open.notify_one();
    assert_eq!(result(&job, &first).await, "first");
    within(gate.entered.notified()).await;
    let (first, second) = (info(&job, &first).await, info(&job, &second).await);
    assert!(second.state == JobState::Running && second.fence > first.fence && second.attempt == 1, "{second:?}");
    gate.open.notify_one();
    assert_eq!(result(&job, &second.id).await, "second");
    let due = START + 2 * HOUR;
    assert_eq!(info(&job, &delayed).await.due, due);
    for before in [1, 3_600_000, 1] {
        clock.set(Timestamp::from_millis(due.as_millis() - before));
        assert_eq!((stats(&job).await.delayed, worker.stats().running), (1, 0));
    }
    clock.set(due);
    within(gate.entered.notified()).await;
    gate.open.notify_one();
    assert_eq!(result(&job, &delayed).await, "delayed");
    assert_eq!((stats(&job).await.totals.crashes, worker.stats().stale), (0, 0));
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_clock_that_goes_far_on_ends_leases_and_waits_and_going_back_undoes_nothing, async |mut world: World| {
    let clock = world.pin();
    let (job, gate) = (slow(&world.open().await), Gate::default());
    let held = submit(&job, "held").await;
    let work = || {
        let worker = job.process_with(gate.clone(), async |gate, ctx, _| {
            if ctx.attempt() == 1 {
                gate.entered.notify_one();
                assert_eq!(ctx.cancelled().await, StopReason::LeaseLost);
                gate.entered.notify_one();
                gate.open.notified().await;
            }
            Ok(ctx.fence().to_string())
        });
        worker.concurrency(1)
    };
    let worker = work().spawn();
    within(gate.entered.notified()).await;
    let waiting = submit(&job, "waiting").await;
    let fence = info(&job, &held).await.fence;
    // Past the 20 hours that the first may wait, but not past those of the other, which count from the end of its
    // lease.
    clock.advance(20 * HOUR + 30 * MINUTE);
    match within(job.join(waiting)).await.unwrap() {
        Joined::Failed(failure) => assert_eq!((failure.code, failure.at), (FailureCode::Expired, START + 20 * HOUR)),
        other => panic!("{other:?}"),
    }
    let other = work().spawn();
    let (text, kept_until) = (result(&job, &held).await, clock.now() + 10 * HOUR);
    // The first worker notices the end of its lease before the clock goes back.
    within(gate.entered.notified()).await;
    clock.set(START);
    let ended = info(&job, &held).await;
    assert!(text == ended.fence.to_string() && ended.fence > fence, "{ended:?}");
    assert_eq!((ended.attempt, ended.crashes, ended.kept_until), (2, 1, Some(kept_until)));
    gate.open.notify_one();
    until(async || worker.stats().running == 0).await;
    assert_eq!(info(&job, &held).await, ended, "the run from before changes nothing");
    assert_eq!(job.cancel(held).await.unwrap(), CancelOutcome::AlreadyFinished(JobState::Completed));
    assert_eq!(state(&job, &waiting).await, JobState::Failed);
    clock.set(kept_until);
    assert!(job.get(held).await.unwrap().is_none(), "it was kept for ten hours");
    clock.set(START);
    assert!(job.get(held).await.unwrap().is_none(), "what is gone stays gone");
    within(worker.shutdown(SECOND)).await;
    within(other.shutdown(SECOND)).await;
});

conformance!(a_timeout_counts_from_its_claim_whatever_the_clock_did_between, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").lease(10 * HOUR).timeout(6 * HOUR).build().unwrap();
    let (id, gate) = (submit(&job, "slow").await, Gate::default());
    let worker = job.process_with(gate.clone(), async |gate, ctx, text| {
        gate.entered.notify_one();
        assert_eq!(ctx.cancelled().await, StopReason::Timeout);
        Ok(text)
    });
    let worker = worker.concurrency(1).spawn();
    within(gate.entered.notified()).await;
    let end = (START + 6 * HOUR).as_millis();
    for instant in [START.as_millis() - 7_200_000, end - 1, START.as_millis() + 1, end - 1] {
        clock.set(Timestamp::from_millis(instant));
        assert_eq!(state(&job, &id).await, JobState::Running);
    }
    clock.set(Timestamp::from_millis(end));
    match within(job.join(id)).await.unwrap() {
        Joined::TimedOut(failure) => assert_eq!((failure.code, failure.attempt), (FailureCode::Timeout, 1)),
        other => panic!("{other:?}"),
    }
    within(worker.shutdown(SECOND)).await;
});

/// Checks the events of a job that has ended: it was submitted once, the numbers and fences of its runs increase, each
/// run ended in one way, and nothing followed the end. Returns the fence of its last run, and how often it crashed.
fn runs(events: &[JobEventKind]) -> (u64, u64) {
    let [JobEventKind::Submitted, between @ .., end] = events else { panic!("{events:?}") };
    let (mut runs, mut last, mut crashes, mut running) = (0, 0, 0, false);
    for event in between {
        match event {
            JobEventKind::Started { attempt, fence, .. } => {
                assert!(!running && *attempt == runs + 1 && *fence > last, "{events:?}");
                (runs, last, running) = (*attempt, *fence, true);
            }
            JobEventKind::Retry { attempt, reason, .. } => {
                assert!(running && *attempt == runs, "{events:?}");
                assert!(
                    matches!(reason, RetryReason::Crashed | RetryReason::Error | RetryReason::Released),
                    "{events:?}"
                );
                crashes += u64::from(*reason == RetryReason::Crashed);
                running = false;
            }
            other => panic!("{other:?} in {events:?}"),
        }
    }
    assert!(running && end.is_terminal(), "{events:?}");
    (last, crashes)
}

conformance!(a_clock_that_jumps_at_random_ends_each_job_once, async |mut world: World| {
    let clock = world.pin();
    let (tide, other) = (world.open().await, world.open().await);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let jobs = |tide: &Tidelock| -> Job<String, String> {
        let job =
            tide.job("texts").lease(HOUR).attempts(3).backoff(Backoff::fixed(HOUR)).max_crashes(1_000).max_wait(None);
        job.build().unwrap()
    };
    let (job, elsewhere) = (jobs(&tide), jobs(&other));
    let work = |job: &Job<String, String>| {
        let worker = job.process(async |ctx, text| match text.as_str() {
            "fails once" if ctx.failures() == 0 => Err("once".into()),
            _ => Ok(ctx.fence().to_string()),
        });
        worker.concurrency(4).spawn()
    };
    let workers = [work(&job), work(&elsewhere)];
    let (mut ids, mut furthest): (Vec<JobId>, _) = (Vec::new(), START);
    for _ in 0..crate::harness::scale(1_000) {
        for _ in 0..random.usize(1..4) {
            let text = if random.u8(..4) == 0 { "fails once" } else { "text" };
            let delay = if random.bool() { Duration::ZERO } else { random.u32(1..300) * MINUTE };
            let id = job.submit(&text.to_owned()).delay(delay).await.unwrap().id;
            assert!(ids.last().is_none_or(|last| *last < id), "ids grow");
            furthest = furthest.max(clock.now() + delay);
            ids.push(id);
        }
        let by = random.u64(1..5 * 3_600_000);
        let now = clock.now().as_millis();
        clock.set(Timestamp::from_millis(if random.bool() { now + by } else { now - by }));
        for _ in 0..random.usize(..20) {
            tokio::task::yield_now().await;
        }
    }
    clock.set(clock.now().max(furthest));
    let over = async || {
        let stats = stats(&job).await;
        stats.completed == stats.totals.submitted
    };
    // If a claim was in flight when the time moved, its lease has to end first; a failed one is due an hour later.
    advancing(&clock, MINUTE, until(over)).await;
    let mut crashes = 0;
    for id in &ids {
        let events: Vec<_> = events(&job, id).await.into_iter().map(|event| event.kind).collect();
        let (last, crashed) = runs(&events);
        assert_eq!(result(&job, id).await, last.to_string(), "the result of the last run: {events:?}");
        assert_eq!(u64::from(info(&job, id).await.crashes), crashed, "{events:?}");
        crashes += crashed;
    }
    let totals = stats(&job).await.totals;
    assert_eq!((totals.submitted, totals.completed), (ids.len() as u64, ids.len() as u64), "{totals:?}");
    assert_eq!(totals.crashes, crashes, "{totals:?}");
    eprintln!("{} jobs, {crashes} crashes, {} retries", ids.len(), totals.retries);
    for worker in workers {
        within(worker.shutdown(SECOND)).await;
    }
});
