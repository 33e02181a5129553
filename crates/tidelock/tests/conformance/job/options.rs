//! Each option has its effect: for each there is a test that fails if it is ignored.

use super::*;
use tidelock::Backoff;
use tidelock::job::FailureCode;

/// The rules stored with a job, as far as they are shown.
async fn shown(job: &Job<String, String>, id: &JobId) -> (u32, u32) {
    let info = info(job, id).await;
    (info.attempts, info.max_crashes)
}

conformance!(options_of_the_submit_win_and_are_kept_with_the_job, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").attempts(2).max_crashes(7).max_wait(SECOND).build().unwrap();
    let plain = submit(&job, "plain").await;
    let text = "own".to_owned();
    let own = job.submit(&text).attempts(5).max_wait(9 * SECOND).await.unwrap().id;
    assert_eq!((shown(&job, &plain).await, shown(&job, &own).await), ((2, 7), (5, 7)));
    // Another handle has other options: those of the job count.
    let other: Job<String, String> = tide.job("texts").attempts(100).build().unwrap();
    clock.advance(SECOND);
    assert_eq!(state(&other, &plain).await, JobState::Failed);
    assert_eq!(info(&other, &plain).await.last_failure.as_ref().unwrap().code, FailureCode::Expired);
    let worker = other.process(async |_, _| Err("no".into())).spawn();
    within(other.join(own)).await.unwrap();
    assert_eq!(info(&other, &own).await.failures, 5);
    within(worker.shutdown(SECOND)).await;
});

conformance!(the_lease_is_the_jobs, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").lease(7 * SECOND).build().unwrap();
    let handle = submit(&job, "handle").await;
    let own = job.submit(&"own".to_owned()).lease(9 * SECOND).await.unwrap().id;
    let worker = texts(&tide).process(async |_, _| std::future::pending().await).concurrency(2).spawn();
    until(async || worker.stats().running == 2).await;
    assert_eq!(info(&job, &handle).await.lease.as_ref().unwrap().end, clock.now() + 7 * SECOND);
    assert_eq!(info(&job, &own).await.lease.as_ref().unwrap().end, clock.now() + 9 * SECOND);
    within(worker.shutdown(Duration::ZERO)).await;
});

conformance!(the_timeout_and_the_backoff_of_a_submit, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let text = "text".to_owned();
    let request = job.submit(&text).attempts(2).timeout(SECOND).backoff(Backoff::fixed(5 * SECOND).jitter(0.0));
    let id = request.await.unwrap().id;
    let worker = job.process(async |ctx, text| {
        ctx.cancelled().await;
        Ok(text)
    });
    let worker = worker.spawn();
    until(async || worker.stats().running == 1).await;
    clock.advance(SECOND);
    until(async || info(&job, &id).await.failures == 1).await;
    assert_eq!(info(&job, &id).await.due, clock.now() + 5 * SECOND);
    within(worker.shutdown(SECOND)).await;
});

conformance!(retention_is_kept_with_the_job, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").retention(SECOND).build().unwrap();
    let id = submit(&job, "text").await;
    texts(&tide).cancel(id).await.unwrap();
    assert_eq!(info(&job, &id).await.kept_until, Some(clock.now() + SECOND));
    clock.advance(SECOND);
    assert!(job.get(id).await.unwrap().is_none());
});

conformance!(max_depth_refuses_submits_and_revivals_only, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").max_depth(1).attempts(2).build().unwrap();
    let ended = submit(&job, "ended").await;
    job.cancel(ended).await.unwrap();
    let id = submit(&job, "text").await;
    assert_eq!(job.retry(ended).await.unwrap_err().kind(), tidelock::ErrorKind::CapacityReached);
    assert_eq!(state(&job, &ended).await, JobState::Cancelled);
    let gate = Gate::default();
    let worker = job.process_with(gate.clone(), async |gate, ctx, text| {
        if ctx.attempt() > 1 || text == "fills" {
            return Ok(text);
        }
        gate.pass().await;
        Err(JobError::retry_after("again", SECOND))
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    submit(&job, "fills").await;
    gate.open.notify_one();
    until(async || info(&job, &id).await.failures == 1).await;
    clock.advance(SECOND);
    assert_eq!(result(&job, &id).await, "text", "returning runs are never refused");
    within(worker.shutdown(SECOND)).await;
});

conformance!(messages_and_reasons_are_cut, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let worker = job.process(async |_, _| Err("é".repeat(4_000).into())).spawn();
    match within(job.join(id)).await.unwrap() {
        Joined::Failed(failure) => {
            assert!(failure.message.len() <= 4_096 && failure.message.ends_with('…'), "{}", failure.message.len());
        }
        other => panic!("{other:?}"),
    }
    within(worker.shutdown(SECOND)).await;
    let id = submit(&job, "text").await;
    job.cancel(id).reason(&"é".repeat(1_000)).await.unwrap();
    let reason = info(&job, &id).await.cancel_reason.clone().unwrap();
    assert!(reason.len() <= 1_024 && reason.ends_with('…'), "{}", reason.len());
});
