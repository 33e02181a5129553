//! Workers that claim jobs ahead of free handlers.

use super::*;
use tidelock::job::CancelOutcome;

/// A worker with one handler, which waits at the gate with each job.
fn gated(job: &Job<String, String>, gate: &Gate, seen: &Seen) -> tidelock::JobWorker<String, String> {
    job.process_with((gate.clone(), seen.clone()), async |(gate, seen), _, text| {
        seen.add(&text);
        gate.pass().await;
        Ok(text)
    })
}

async fn submit_all(job: &Job<String, String>, texts: &[&str]) -> Vec<JobId> {
    let mut ids = Vec::new();
    for text in texts {
        ids.push(submit(job, text).await);
    }
    ids
}

conformance!(prefetched_jobs_start_in_order_one_behind_the_other, async |world: World| {
    let job = texts(&world.open().await);
    let ids = submit_all(&job, &["a", "b", "c", "d", "e"]).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let worker = gated(&job, &gate, &seen).prefetch(2).spawn();
    until(async || worker.stats().running == 1 && worker.stats().prefetched == 2).await;
    within(gate.entered.notified()).await;
    let now = stats(&job).await;
    assert_eq!((now.ready, now.running), (2, 3), "no more than two are claimed ahead");
    for completed in 1..=5 {
        assert_eq!(seen.len(), completed, "one handler runs at a time");
        gate.open.notify_one();
        if completed < 5 {
            within(gate.entered.notified()).await;
        }
    }
    for (id, text) in ids.iter().zip(["a", "b", "c", "d", "e"]) {
        assert_eq!(result(&job, id).await, text);
        assert_eq!(info(&job, id).await.attempt, 1);
    }
    assert_eq!(seen.all(), ["a", "b", "c", "d", "e"]);
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.completed, report.given_back, report.left), (5, 0, 0));
});

conformance!(a_prefetched_job_that_waits_for_long_is_given_back, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let ids = submit_all(&job, &["a", "b", "c"]).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let worker = gated(&job, &gate, &seen).prefetch(1).spawn();
    until(async || worker.stats().running == 1 && worker.stats().prefetched == 1).await;
    within(gate.entered.notified()).await;
    clock.advance(SECOND);
    until(async || worker.stats().given_back == 1).await;
    let now = info(&job, &ids[1]).await;
    assert_eq!((now.state, now.failures, now.crashes), (JobState::Submitted, 0, 0));
    clock.advance(3 * SECOND);
    assert_eq!((worker.stats().prefetched, stats(&job).await.ready), (0, 2), "until a handler has ended");
    let other = job.process(async |_, text| Ok(text)).spawn();
    assert_eq!(result(&job, &ids[1]).await, "b");
    assert_eq!(result(&job, &ids[2]).await, "c");
    within(other.shutdown(SECOND)).await;
    let ids = submit_all(&job, &["d", "e", "f"]).await;
    gate.open.notify_one();
    within(gate.entered.notified()).await;
    until(async || worker.stats().prefetched == 1).await;
    assert_eq!(state(&job, &ids[2]).await, JobState::Submitted);
    for id in &ids {
        gate.open.notify_one();
        result(&job, id).await;
    }
    assert_eq!(seen.all(), ["a", "d", "e", "f"]);
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_short_lease_does_not_end_while_its_job_is_prefetched, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let first = submit(&job, "first").await;
    let short = job.submit(&"short".to_owned()).lease(100 * MS).await.unwrap().id;
    let (gate, seen) = (Gate::default(), Seen::default());
    let worker = gated(&job, &gate, &seen).prefetch(1).spawn();
    until(async || worker.stats().running == 1 && worker.stats().prefetched == 1).await;
    clock.advance(25 * MS);
    until(async || worker.stats().given_back == 1).await;
    clock.advance(200 * MS);
    let now = info(&job, &short).await;
    assert_eq!((now.state, now.crashes), (JobState::Submitted, 0));
    gate.open.notify_one();
    assert_eq!(result(&job, &first).await, "first");
    within(worker.shutdown(Duration::ZERO)).await;
});

conformance!(a_stopped_worker_gives_back_what_it_prefetched, async |world: World| {
    let job = texts(&world.open().await);
    let ids = submit_all(&job, &["a", "b", "c", "d"]).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let worker = gated(&job, &gate, &seen).prefetch(3).spawn();
    until(async || worker.stats().running == 1 && worker.stats().prefetched == 3).await;
    let shutdown = tokio::spawn(worker.shutdown(10 * SECOND));
    until(async || stats(&job).await.ready == 3).await;
    gate.open.notify_one();
    let report = within(shutdown).await.unwrap();
    assert_eq!((report.completed, report.given_back, report.left), (1, 3, 0));
    assert_eq!(seen.all(), ["a"]);
    let other = job.process(async |_, text| Ok(text)).spawn();
    for id in &ids[1..] {
        result(&job, id).await;
        let now = info(&job, id).await;
        assert_eq!((now.failures, now.crashes), (0, 0));
    }
    within(other.shutdown(SECOND)).await;
});

conformance!(a_prefetched_job_that_is_cancelled_does_not_start, async |world: World| {
    let job = texts(&world.open().await);
    let ids = submit_all(&job, &["a", "b", "c"]).await;
    let seen = Seen::default();
    let worker = job.process_with(seen.clone(), async |seen, ctx: JobContext, text| {
        seen.add(&text);
        if text == "a" {
            ctx.cancelled().await;
        }
        Ok(text)
    });
    let worker = worker.prefetch(2).spawn();
    until(async || worker.stats().running == 1 && worker.stats().prefetched == 2).await;
    assert_eq!(job.cancel(ids[1]).await.unwrap(), CancelOutcome::Cancelled);
    // News come in order: once the first has heard of its own cancel, that of the second was heard.
    assert_eq!(job.cancel(ids[0]).await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(result(&job, &ids[2]).await, "c");
    assert_eq!(seen.all(), ["a", "c"]);
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.completed, report.stale, report.left), (1, 2, 0));
});

conformance!(a_failed_job_runs_again_beside_prefetched_ones, async |world: World| {
    let job = world.open().await.job::<String, String>("texts").attempts(2).build().unwrap();
    let count = crate::harness::scale(500);
    for number in 0..count {
        submit(&job, &number.to_string()).await;
    }
    let work = job.process(
        async |ctx: JobContext, text: String| {
            if ctx.attempt() == 1 && text.ends_with('7') { Err("once".into()) } else { Ok(text) }
        },
    );
    let worker = work.concurrency(3).prefetch(20).spawn();
    until(async || worker.stats().completed == count as u64).await;
    assert_eq!(worker.stats().retried, count as u64 / 10);
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.completed, report.failed, report.stale), (count as u64, 0, 0));
});
