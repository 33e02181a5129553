//! Cancelling, removing, and races for the final state.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidelock::Removed;
use tidelock::job::{CancelOutcome, JobEventKind, StopReason};

conformance!(a_waiting_job_leaves_at_once_and_never_starts, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let delayed = job.submit(&"later".to_owned()).delay(SECOND).await.unwrap().id;
    assert_eq!(job.cancel(id).reason("no need").await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(job.cancel(delayed).await.unwrap(), CancelOutcome::Cancelled);
    let now = stats(&job).await;
    assert_eq!((now.ready, now.delayed, now.cancelled), (0, 0, 2));
    assert_eq!(job.cancel(id).reason("again").await.unwrap(), CancelOutcome::AlreadyFinished(JobState::Cancelled));
    match job.join(id).await.unwrap() {
        Joined::Cancelled { reason } => assert_eq!(reason.as_deref(), Some("no need"), "the first reason stays"),
        other => panic!("{other:?}"),
    }
    let worker = job.process(async |_, text: String| panic!("{text} was cancelled")).spawn();
    assert_eq!(worker.stats().running, 0);
    within(worker.shutdown(SECOND)).await;
    let absent: JobId = "1".parse().unwrap();
    assert_eq!(job.cancel(absent).await.unwrap(), CancelOutcome::NotFound);
});

conformance!(a_cancel_reaches_the_handler_in_another_process, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let id = submit(&job, "text").await;
    let gate = Gate::default();
    let reason = Arc::new(Mutex::new(None));
    let worker = other.process_with((gate.clone(), Arc::clone(&reason)), async |(gate, reason), ctx, text| {
        gate.entered.notify_one();
        let why = ctx.cancelled().await;
        assert_eq!(ctx.stop_reason(), Some(why));
        *reason.lock().unwrap() = Some(why);
        Ok(text)
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    assert_eq!(job.cancel(id).await.unwrap(), CancelOutcome::Cancelled);
    until(async || reason.lock().unwrap().is_some()).await;
    assert_eq!(*reason.lock().unwrap(), Some(StopReason::Cancelled));
    until(async || worker.stats().running == 0).await;
    assert_eq!(state(&job, &id).await, JobState::Cancelled, "what it returned changes nothing");
    assert!(info(&job, &id).await.result.is_none());
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_handler_that_ignores_a_cancel_is_dropped_after_stop_grace, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").stop_grace(3 * SECOND).build().unwrap();
    let id = submit(&job, "text").await;
    let gate = Gate::default();
    let worker = job.process_with(gate.clone(), async |gate, _, _| {
        gate.entered.notify_one();
        std::future::pending().await
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    job.cancel(id).await.unwrap();
    clock.advance(2_999 * MS);
    assert_eq!(worker.stats().running, 1);
    advancing(&clock, SECOND, until(async || worker.stats().running == 0)).await;
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_cancel_at_any_instant_has_one_outcome, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    let effects = Arc::new(AtomicUsize::new(0));
    let worker = other.process_with(Arc::clone(&effects), async |effects, _, text| {
        for _ in 0..fastrand::usize(..4) {
            tokio::task::yield_now().await;
        }
        effects.fetch_add(1, Ordering::SeqCst);
        Ok(text)
    });
    let worker = worker.concurrency(8).spawn();
    let (mut completed, mut cancelled) = (0, 0);
    for _ in 0..crate::harness::scale(2_000) {
        let id = submit(&job, "text").await;
        for _ in 0..fastrand::usize(..60) {
            tokio::task::yield_now().await;
        }
        let outcome = job.cancel(id).await.unwrap();
        let joined = within(job.join(id)).await.unwrap();
        let events = events(&job, &id).await;
        let last = &events.last().unwrap().kind;
        match outcome {
            CancelOutcome::Cancelled => {
                cancelled += 1;
                assert!(matches!(joined, Joined::Cancelled { .. }), "{joined:?}");
                assert!(matches!(last, JobEventKind::Cancelled { .. }), "{events:?}");
            }
            CancelOutcome::AlreadyFinished(JobState::Completed) => {
                completed += 1;
                assert!(matches!(joined, Joined::Completed(_)), "{joined:?}");
                assert!(matches!(last, JobEventKind::Completed), "{events:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(events[0].kind, JobEventKind::Submitted));
        let ends = events.iter().filter(|event| event.kind.is_terminal()).count();
        assert_eq!(ends, 1, "{events:?}");
    }
    let totals = stats(&job).await.totals;
    assert_eq!((totals.completed, totals.cancelled), (completed, cancelled));
    assert!(effects.load(Ordering::SeqCst) as u64 >= completed);
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_removal_takes_what_does_not_run, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let gate = Gate::default();
    let worker = job.process_with(gate.clone(), async |gate, _, text| {
        gate.pass().await;
        Ok(text)
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    assert_eq!(job.remove(id).await.unwrap(), Removed::Held);
    let waiting = submit(&job, "waiting").await;
    assert_eq!(job.remove(waiting).await.unwrap(), Removed::Removed);
    gate.open.notify_one();
    result(&job, &id).await;
    assert_eq!(job.remove(id).await.unwrap(), Removed::Removed);
    assert_eq!(job.remove(id).await.unwrap(), Removed::Absent);
    assert!(matches!(job.join(id).await.unwrap(), Joined::NotFound));
    let now = stats(&job).await;
    assert_eq!((now.ready, now.running, now.completed), (0, 0, 0));
    within(worker.shutdown(SECOND)).await;
});
