//! Leases, heartbeats, timeouts, crashes.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tidelock::job::{FailureCode, StopReason};
use tidelock::{ErrorKind, HOUR, MINUTE, Timestamp};

conformance!(long_handlers_keep_their_leases, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").lease(SECOND).build().unwrap();
    let id = submit(&job, "long").await;
    let gate = Gate::default();
    let worker = job.process_with(gate.clone(), async |gate, ctx, text| {
        gate.entered.notify_one();
        tokio::select! {
            () = gate.open.notified() => Ok(text),
            reason = ctx.cancelled() => Err(format!("{reason:?}").into()),
        }
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    for _ in 0..30 {
        clock.advance(334 * MS);
        let end = clock.now() + SECOND;
        until(async || info(&job, &id).await.lease.as_ref().unwrap().end == end).await;
    }
    gate.open.notify_one();
    assert_eq!(result(&job, &id).await, "long");
    assert_eq!(info(&job, &id).await.attempt, 1);
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_frozen_worker_wakes_to_a_fired_token_and_is_stale, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").lease(SECOND).build().unwrap();
    let id = submit(&job, "text").await;
    let (gate, reasons) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let work = || {
        job.process_with((gate.clone(), Arc::clone(&reasons)), async |(gate, reasons), ctx, _| {
            if ctx.attempt() > 1 {
                return Ok(format!("{} after {} crash", ctx.attempt(), ctx.crashes()));
            }
            gate.entered.notify_one();
            let reason = ctx.cancelled().await;
            reasons.lock().unwrap().push(reason);
            gate.open.notified().await;
            Ok("stale".to_owned())
        })
    };
    // One run at a time, so that no claim is in flight while the pinned time moves.
    let worker = work().concurrency(1).spawn();
    within(gate.entered.notified()).await;
    clock.advance(6 * SECOND);
    until(async || reasons.lock().unwrap().len() == 1).await;
    assert_eq!(reasons.lock().unwrap()[0], StopReason::LeaseLost);
    let other = work().concurrency(1).spawn();
    assert_eq!(result(&job, &id).await, "2 after 1 crash");
    gate.open.notify_one();
    until(async || worker.stats().running == 0).await;
    let info = info(&job, &id).await;
    assert_eq!((info.attempt, info.crashes, info.failures), (2, 1, 0));
    within(worker.shutdown(SECOND)).await;
    within(other.shutdown(SECOND)).await;
});

conformance!(crashes_end_a_job_after_max_crashes, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> =
        tide.job("texts").max_crashes(3).manual_heartbeat().lease(SECOND).stop_grace(Duration::ZERO).build().unwrap();
    let id = submit(&job, "kills").await;
    let seen = Seen::default();
    let worker = job.process_with(seen.clone(), async |seen, ctx, _| {
        seen.add(ctx.attempt().to_string());
        std::future::pending().await
    });
    // One run at a time, so that no claim is in flight while the pinned time moves.
    let worker = worker.concurrency(1).spawn();
    for runs in 1..=3 {
        until(async || seen.len() == runs).await;
        clock.advance(SECOND);
    }
    match within(job.join(id)).await.unwrap() {
        Joined::Failed(failure) => assert_eq!((failure.code, failure.at), (FailureCode::Crashed, clock.now())),
        other => panic!("{other:?}"),
    }
    assert_eq!(seen.all(), ["1", "2", "3"]);
    assert_eq!(stats(&job).await.totals.crashes, 3);
    within(worker.shutdown(Duration::ZERO)).await;
});

conformance!(with_manual_heartbeats_a_run_lives_by_them, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").manual_heartbeat().lease(SECOND).build().unwrap();
    let id = submit(&job, "text").await;
    let gate = Gate::default();
    let worker = || {
        let worker = job.process_with(gate.clone(), async |gate, ctx, text| {
            if ctx.attempt() > 1 {
                return Ok(text);
            }
            for _ in 0..8 {
                gate.pass().await;
                ctx.heartbeat().await?;
            }
            gate.pass().await;
            assert_eq!(ctx.heartbeat().await.unwrap_err().kind(), ErrorKind::LeaseLost);
            Ok("stale".to_owned())
        });
        worker.spawn()
    };
    let first = worker();
    for _ in 0..8 {
        within(gate.entered.notified()).await;
        clock.advance(250 * MS);
        gate.open.notify_one();
        let end = clock.now() + SECOND;
        until(async || info(&job, &id).await.lease.as_ref().unwrap().end == end).await;
    }
    within(gate.entered.notified()).await;
    assert_eq!(info(&job, &id).await.attempt, 1);
    clock.advance(SECOND);
    // In the same worker, the second run would wait for the end of the first. And a worker that asked before the time
    // moved by a whole lease would have got a run that it cannot prove, and given it back.
    let second = worker();
    assert_eq!(result(&job, &id).await, "text");
    gate.open.notify_one();
    until(async || first.stats().running + second.stats().running == 0).await;
    assert_eq!(info(&job, &id).await.attempt, 2);
    for worker in [first, second] {
        within(worker.shutdown(SECOND)).await;
    }
});

conformance!(a_heartbeat_can_set_the_lease, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").manual_heartbeat().build().unwrap();
    let id = submit(&job, "text").await;
    let gate = Gate::default();
    let worker = job.process_with(gate.clone(), async |gate, ctx, text| {
        ctx.heartbeat().lease(100 * SECOND).await?;
        gate.pass().await;
        Ok(text)
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    assert_eq!(info(&job, &id).await.lease.as_ref().unwrap().end, clock.now() + 100 * SECOND);
    gate.open.notify_one();
    result(&job, &id).await;
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_timeout_stops_the_run_and_counts_as_a_failure, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").timeout(3 * SECOND).attempts(2).build().unwrap();
    let id = submit(&job, "slow").await;
    let (gate, reasons) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let worker = job.process_with((gate.clone(), Arc::clone(&reasons)), async |(gate, reasons), ctx, text| {
        gate.entered.notify_one();
        let reason = ctx.cancelled().await;
        reasons.lock().unwrap().push(reason);
        Ok(text)
    });
    let worker = worker.spawn();
    for failures in 1..=2 {
        within(gate.entered.notified()).await;
        assert_eq!(info(&job, &id).await.failures, failures - 1);
        clock.advance(2_999 * MS);
        assert_eq!(worker.stats().running, 1);
        clock.advance(MS);
        until(async || info(&job, &id).await.failures == failures).await;
    }
    match within(job.join(id)).await.unwrap() {
        Joined::TimedOut(failure) => assert_eq!((failure.code, failure.attempt), (FailureCode::Timeout, 2)),
        other => panic!("after a timeout even `Ok` is one: {other:?}"),
    }
    assert_eq!(*reasons.lock().unwrap(), [StopReason::Timeout, StopReason::Timeout]);
    assert_eq!(state(&job, &id).await, JobState::TimedOut);
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_handler_that_ignores_its_timeout_is_dropped_after_stop_grace, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").timeout(3 * SECOND).stop_grace(2 * SECOND).build().unwrap();
    let id = submit(&job, "hangs").await;
    let gate = Gate::default();
    let worker = job.process_with(gate.clone(), async |gate, ctx, _| {
        gate.entered.notify_one();
        ctx.cancelled().await;
        gate.entered.notify_one();
        std::future::pending().await
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    clock.advance(3 * SECOND);
    // The grace begins when the worker notices this.
    within(gate.entered.notified()).await;
    clock.advance(1_999 * MS);
    assert_eq!(state(&job, &id).await, JobState::Running);
    advancing(&clock, MS, until_state(&job, &id, JobState::TimedOut)).await;
    within(worker.shutdown(SECOND)).await;
});

conformance!(heartbeats_do_not_move_a_timeout, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> =
        tide.job("texts").manual_heartbeat().lease(SECOND).timeout(3 * SECOND).build().unwrap();
    let (id, gate, reasons) = (submit(&job, "text").await, Gate::default(), Seen::default());
    let worker = job.process_with((gate.clone(), reasons.clone()), async |(gate, reasons), ctx, text| {
        for lease in [SECOND, 2 * SECOND, HOUR].into_iter().cycle() {
            if let Some(reason) = ctx.stop_reason() {
                reasons.add(format!("{reason:?}"));
                break;
            }
            ctx.heartbeat().lease(lease).await?;
            gate.pass().await;
        }
        Ok(text)
    });
    let worker = worker.spawn();
    let end = clock.now() + 3 * SECOND;
    for before in [2_500, 2_000, 1_500, 1_000, 500, 2, 1, 0] {
        within(gate.entered.notified()).await;
        assert_eq!(reasons.len(), 0);
        clock.set(Timestamp::from_millis(end.as_millis() - before));
        gate.open.notify_one();
    }
    match within(job.join(id)).await.unwrap() {
        Joined::TimedOut(failure) => assert_eq!((failure.code, failure.at), (FailureCode::Timeout, end)),
        other => panic!("{other:?}"),
    }
    assert_eq!(reasons.all(), ["Timeout"]);
    within(worker.shutdown(SECOND)).await;
});

/// Counts a handler's future as long as it lives.
struct Living(Arc<AtomicUsize>);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

conformance!(runs_of_a_job_never_overlap_in_one_worker, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job = tide.job("texts").manual_heartbeat().lease(SECOND).stop_grace(10 * MINUTE);
    let job: Job<String, String> = job.build().unwrap();
    let (gate, living) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let worker = job.process_with((gate.clone(), Arc::clone(&living)), async |(gate, living), ctx, _| {
        let alive = living.fetch_add(1, Ordering::SeqCst) + 1;
        let _living = Living(living);
        if ctx.attempt() > 1 || ctx.crashes() > 0 {
            return Ok(format!("{alive} alive"));
        }
        gate.entered.notify_one();
        // It ignores the stop.
        std::future::pending().await
    });
    let worker = worker.concurrency(4).spawn();
    for lapses in [true, false] {
        let id = submit(&job, "text").await;
        within(gate.entered.notified()).await;
        if lapses {
            clock.advance(SECOND);
        } else {
            job.cancel(id).await.unwrap();
            job.retry(id).await.unwrap();
            // A retried job counts its runs from the beginning.
            within(gate.entered.notified()).await;
            assert_eq!(living.load(Ordering::SeqCst), 1);
            clock.advance(SECOND);
        }
        assert_eq!(result(&job, &id).await, "1 alive");
    }
    until(async || worker.stats().running == 0).await;
    assert_eq!(within(worker.shutdown(SECOND)).await.completed, 2);
});

conformance!(a_handler_that_hangs_ends_by_its_timeout_however_long_its_lease_is, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    // Grace and lease in either order, and a lease whose margin is longer than the grace.
    let spans = [(SECOND, 2 * SECOND), (SECOND, Duration::ZERO), (3 * SECOND, SECOND), (HOUR, 5 * SECOND)];
    for (lease, grace) in spans {
        let (timeout, gate) = (3 * lease, Gate::default());
        let job = tide.job("texts").lease(lease).timeout(timeout).stop_grace(grace).attempts(2);
        let job: Job<String, String> = job.build().unwrap();
        let (id, reasons, run) = (submit(&job, "hangs").await, Seen::default(), Arc::new(Mutex::new(None)));
        let parts = (gate.clone(), reasons.clone(), Arc::clone(&run));
        let worker = job.process_with(parts, async |(gate, reasons, run), ctx, _| {
            *run.lock().unwrap() = Some(ctx.clone());
            gate.entered.notify_one();
            reasons.add(format!("{:?}", ctx.cancelled().await));
            gate.open.notify_one();
            std::future::pending().await
        });
        let worker = worker.spawn();
        for failures in 1..=2 {
            within(gate.entered.notified()).await;
            let (over, dropped) = (clock.now() + timeout, clock.now() + timeout + grace);
            let latest = dropped + lease.min(2 * MINUTE);
            let ctx = run.lock().unwrap().take().unwrap();
            let renewed_up_to = async |instant| {
                while clock.now() + lease / 3 < instant {
                    clock.advance(lease / 3);
                    // By the run itself, up to the margin of a hundredth. Until the run knows of a renewal, it has to
                    // assume the previous lease, whose end may be the same but whose margin is wider.
                    let left = latest.min(clock.now() + lease).since(clock.now());
                    until(async || ctx.lease_left() + MS > left * 99 / 100).await;
                }
                clock.set(instant);
            };
            renewed_up_to(over).await;
            within(gate.open.notified()).await;
            renewed_up_to(dropped).await;
            until(async || info(&job, &id).await.failures == failures).await;
        }
        match within(job.join(id)).await.unwrap() {
            Joined::TimedOut(failure) => assert_eq!((failure.code, failure.attempt), (FailureCode::Timeout, 2)),
            other => panic!("{other:?}"),
        }
        assert_eq!((reasons.all(), info(&job, &id).await.crashes), (vec!["Timeout".to_owned(); 2], 0));
        let report = within(worker.shutdown(SECOND)).await;
        assert_eq!((report.retried, report.failed, report.stale), (1, 1, 0));
    }
});
