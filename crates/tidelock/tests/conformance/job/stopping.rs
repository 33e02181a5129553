//! Stopping workers, and shutting down.

use super::*;
use tidelock::HOUR;
use tidelock::job::StopReason;

conformance!(a_stopped_worker_waits_for_its_handlers_and_gives_back_the_rest, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let (fast, slow) = (submit(&job, "fast").await, submit(&job, "slow").await);
    let (gate, reasons) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let worker = job.process_with((gate.clone(), Arc::clone(&reasons)), async |(gate, reasons), ctx, text| {
        if text == "slow" && ctx.attempt() == 1 {
            return std::future::pending().await;
        }
        let reason = ctx.cancelled().await;
        reasons.lock().unwrap().push(reason);
        gate.pass().await;
        Ok(text)
    });
    let worker = worker.concurrency(2).spawn();
    until(async || worker.stats().running == 2).await;
    let shutdown = tokio::spawn(worker.shutdown(10 * SECOND));
    within(gate.entered.notified()).await;
    assert_eq!(*reasons.lock().unwrap(), [StopReason::Shutdown]);
    gate.open.notify_one();
    assert_eq!(result(&job, &fast).await, "fast", "after a shutdown `Ok` completes");
    assert!(!shutdown.is_finished(), "the slow one has the whole grace");
    clock.advance(10 * SECOND);
    let report = within(shutdown).await.unwrap();
    assert_eq!((report.completed, report.given_back, report.failed, report.stale), (1, 1, 0, 0));
    let info = info(&job, &slow).await;
    assert_eq!((info.state, info.failures, info.crashes), (JobState::Submitted, 0, 0));
    let worker = job.process(echo).spawn();
    assert_eq!(result(&job, &slow).await, "slow");
    within(worker.shutdown(SECOND)).await;
});

conformance!(an_error_after_the_stop_signal_is_a_release, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let worker = job.process(async |ctx, text: String| {
        if ctx.attempt() > 1 {
            return Ok(text);
        }
        ctx.cancelled().await;
        Err("stopping".into())
    });
    let worker = worker.spawn();
    until(async || worker.stats().running == 1).await;
    let report = within(worker.shutdown(10 * SECOND)).await;
    assert_eq!((report.given_back, report.retried, report.failed), (1, 0, 0));
    assert_eq!((info(&job, &id).await.failures, info(&job, &id).await.state), (0, JobState::Submitted));
});

conformance!(dropping_a_worker_is_the_stop_signal, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let worker = job.process(async |_, _| std::future::pending().await).shutdown_grace(Duration::ZERO).spawn();
    until(async || worker.stats().running == 1).await;
    drop(worker);
    let other = job.process(echo).spawn();
    assert_eq!(result(&job, &id).await, "text");
    within(other.shutdown(SECOND)).await;
});

conformance!(a_shutdown_drains_workers_within_its_own_grace, async |world: World| {
    let tide = world.open().await;
    let job = texts(&tide);
    let id = submit(&job, "text").await;
    let worker = job.process(async |_, _| std::future::pending().await).spawn();
    until(async || worker.stats().running == 1).await;
    let witness = texts(&world.open().await);
    if world.has_processes() {
        within(tide.shutdown(Duration::ZERO)).await;
        until_state(&witness, &id, JobState::Submitted).await;
        assert_eq!(info(&witness, &id).await.crashes, 0);
    }
    drop(worker);
});

conformance!(a_later_stop_signal_may_leave_less_time, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job = texts(&tide);
    submit(&job, "text").await;
    let (gate, told) = (Gate::default(), Gate::default());
    let worker = job.process_with((gate.clone(), told.clone()), async |(gate, told), ctx, _| {
        gate.entered.notify_one();
        ctx.cancelled().await;
        told.entered.notify_one();
        std::future::pending().await
    });
    let worker = worker.shutdown_grace(HOUR).spawn();
    within(gate.entered.notified()).await;
    let closing = tokio::spawn(async move { tide.shutdown(HOUR).await });
    within(told.entered.notified()).await;
    let mut shutdown = std::pin::pin!(worker.shutdown(10 * SECOND));
    tokio::select! {
        biased;
        report = &mut shutdown => panic!("the handler has ten seconds: {report:?}"),
        () = tokio::task::yield_now() => clock.advance(10 * SECOND),
    }
    let report = within(shutdown).await;
    assert_eq!((report.given_back, report.left), (1, 0));
    assert!(within(closing).await.unwrap().is_clean());
});

conformance!(a_worker_stopped_at_any_instant_loses_and_repeats_nothing, async |world: World| {
    let job = texts(&world.open().await);
    for round in 0..crate::harness::scale(600) {
        let texts: Vec<String> = (0..6).map(|number| number.to_string()).collect();
        job.submit_many(texts.iter().map(|text| job.submit(text))).await.unwrap();
        let done = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let work = || {
            job.process_with(Arc::clone(&done), async |done, ctx, text| {
                if fastrand::bool() {
                    tokio::task::yield_now().await;
                }
                assert!(done.lock().unwrap().insert(ctx.id()), "ran to its end twice");
                Ok(text)
            })
        };
        let worker = work().concurrency(3).spawn();
        for _ in 0..round % 40 {
            tokio::task::yield_now().await;
        }
        let report = within(worker.shutdown(60 * SECOND)).await;
        assert_eq!((report.stale, report.failed, report.retried), (0, 0, 0));
        assert_eq!(report.completed, done.lock().unwrap().len() as u64, "what was finished is settled");
        let rest = work().concurrency(6).spawn();
        until(async || done.lock().unwrap().len() == 6 && stats(&job).await.running == 0).await;
        within(rest.shutdown(SECOND)).await;
    }
});
