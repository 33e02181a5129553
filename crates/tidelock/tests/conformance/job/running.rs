//! Workers, and the context of a handler.

use super::*;
use futures_util::FutureExt;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidelock::job::FailureCode;
use tidelock::{Changed, Raw};
use tokio::sync::Semaphore;

conformance!(a_job_runs_and_its_result_is_kept, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let kept = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&kept);
    let worker = job.process(move |ctx: JobContext, text| {
        assert_eq!((ctx.attempt(), ctx.failures(), ctx.crashes()), (1, 0, 0));
        assert!(ctx.lease_left() > 20 * SECOND && ctx.fence() > 0);
        let result = format!("{text} by {}", ctx.id());
        *keeps.lock().unwrap() = Some(ctx);
        async { Ok(result) }
    });
    let worker = worker.worker_name("w-1").spawn();
    assert_eq!(result(&job, &id).await, format!("text by {id}"));
    let info = info(&job, &id).await;
    assert_eq!((info.state, info.attempt), (JobState::Completed, 1));
    assert_eq!((info.started_at, info.finished_at), (Some(clock.now()), Some(clock.now())));
    assert_eq!(info.kept_until, Some(clock.now() + 7 * tidelock::DAY));
    assert!(kept.lock().unwrap().as_ref().expect("it ran").lease_left().is_zero(), "the handler has ended");
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.completed, report.failed, report.stale), (1, 0, 0));
});

conformance!(a_handle_without_worker_runs_nothing, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let idle = job.process(echo);
    assert_eq!(state(&job, &id).await, JobState::Submitted);
    drop(idle);
});

conformance!(handlers_never_exceed_the_concurrency, async |world: World| {
    let job = texts(&world.open().await);
    for number in 0..100 {
        submit(&job, &number.to_string()).await;
    }
    let counters =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Barrier::new(4)));
    let most = Arc::clone(&counters.1);
    let worker = job.process_with(counters, async |(running, most, four), _, text| {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Needs four concurrent runs to continue.
        four.wait().await;
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(text)
    });
    let worker = worker.concurrency(4).spawn();
    until(async || worker.stats().completed == 100).await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
    within(worker.shutdown(SECOND)).await;
});

conformance!(nothing_waits_unstarted_in_a_worker, async |world: World| {
    let job = texts(&world.open().await);
    let gate = Gate::default();
    for text in ["a", "b", "c"] {
        submit(&job, text).await;
    }
    let worker = job.process_with(gate.clone(), async |gate, _, text| {
        gate.pass().await;
        Ok(text)
    });
    let worker = worker.concurrency(1).spawn();
    within(gate.entered.notified()).await;
    let now = stats(&job).await;
    assert_eq!((now.ready, now.running), (2, 1));
    for completed in 1..=3 {
        gate.open.notify_one();
        until(async || worker.stats().completed == completed).await;
    }
    within(worker.shutdown(SECOND)).await;
});

conformance!(two_workers_of_one_name_share_the_jobs, async |world: World| {
    let tide = world.open().await;
    let (first, second) = (Seen::default(), Seen::default());
    let work = |seen: &Seen| {
        texts(&tide).process_with(seen.clone(), async |seen, _, text| {
            seen.add(&text);
            tokio::task::yield_now().await;
            Ok(text)
        })
    };
    let (a, b) = (work(&first).concurrency(2).spawn(), work(&second).concurrency(2).spawn());
    let job = texts(&tide);
    let mut rounds = 0;
    while first.len() == 0 || second.len() == 0 {
        let id = submit(&job, "text").await;
        submit(&job, "text").await;
        submit(&job, "text").await;
        submit(&job, "text").await;
        submit(&job, "text").await;
        result(&job, &id).await;
        rounds += 1;
        assert!(rounds < 1_000, "only one of two workers gets jobs");
    }
    within(a.shutdown(SECOND)).await;
    let seen = first.len();
    let id = submit(&job, "after").await;
    result(&job, &id).await;
    assert_eq!(first.len(), seen, "no handler of a worker that has ended starts");
    within(b.shutdown(SECOND)).await;
});

conformance!(a_batch_of_jobs_runs_once_each, async |world: World| {
    let job = texts(&world.open().await);
    let count = crate::harness::scale(5_000);
    let texts: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    for part in texts.chunks(500) {
        job.submit_many(part.iter().map(|text| job.submit(text))).await.unwrap();
    }
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let mut workers = Vec::new();
    for _ in 0..2 {
        let work = self::texts(&world.open().await).process_with(Arc::clone(&seen), async |seen, ctx, text| {
            assert!(seen.lock().unwrap().insert(ctx.id()));
            Ok(text)
        });
        workers.push(work.concurrency(32).spawn());
    }
    until(async || stats(&job).await.completed == count as u64).await;
    let mut completed = 0;
    for worker in workers {
        let report = within(worker.shutdown(SECOND)).await;
        assert_eq!((report.stale, report.failed, report.retried), (0, 0, 0));
        completed += report.completed;
    }
    assert_eq!(completed, count as u64);
});

conformance!(an_undecodable_input_fails_alone, async |world: World| {
    let tide = world.open().await;
    let numbers: Job<u64, u64> = tide.job("numbers").attempts(9).build().unwrap();
    let raw: Job<Raw, u64> = tide.job("numbers").build().unwrap();
    let many = async |numbers: &Job<u64, u64>, range: std::ops::Range<u64>| {
        numbers.submit_many(range.map(|number| numbers.submit(&number))).await.unwrap()
    };
    let mut good = many(&numbers, 0..250).await;
    let bad = raw.submit(&Raw(b"x".to_vec())).await.unwrap().id;
    good.extend(many(&numbers, 250..500).await);
    let worker = numbers.process(async |_, number| Ok(number)).concurrency(8).spawn();
    until(async || worker.stats().completed == 500 && worker.stats().failed == 1).await;
    for (number, sent) in (0..).zip(good) {
        assert_eq!(numbers.join(sent.id).await.unwrap(), Joined::Completed(number));
    }
    match numbers.join(bad).await.unwrap() {
        Joined::Failed(failure) => assert_eq!(failure.code, FailureCode::Undecodable),
        other => panic!("{other:?}"),
    }
    assert_eq!(numbers.get(bad).await.unwrap().unwrap().input.as_bytes(), b"x");
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.completed, report.failed, report.retried, report.stale), (500, 1, 0, 0));
});

conformance!(a_result_that_is_too_large_ends_unencodable_after_one_run, async |world: World| {
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").payload_limit(20).attempts(5).build().unwrap();
    let id = submit(&job, "x").await;
    let worker = job.process(async |_, text| Ok(text.repeat(19))).spawn();
    match within(job.join(id)).await.unwrap() {
        Joined::Failed(failure) => assert_eq!((failure.code, failure.attempt), (FailureCode::Unencodable, 1)),
        other => panic!("{other:?}"),
    }
    within(worker.shutdown(SECOND)).await;
});

conformance!(progress_is_shown_while_it_runs_and_the_last_one_after, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let gate = Gate::default();
    let id = submit(&job, "text").await;
    let worker = job.process_with(gate.clone(), async |gate, ctx, text| {
        ctx.progress(&1)?;
        ctx.progress(&2)?;
        gate.pass().await;
        ctx.progress(&3)?;
        Ok(text)
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    let shown = async || info(&job, &id).await.progress.as_ref().map(|value| value.decode::<u32>().unwrap());
    advancing(&clock, 100 * MS, until(async || shown().await == Some(2))).await;
    gate.open.notify_one();
    result(&job, &id).await;
    assert_eq!(shown().await, Some(3));
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_pause_stops_starts_everywhere_and_ends, async |mut world: World| {
    let clock = world.pin();
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    job.pause().for_at_most(10 * SECOND).reason("upgrade").await.unwrap();
    let worker = other.process(echo).spawn();
    let id = submit(&job, "text").await;
    assert_eq!(stats(&other).await.paused.unwrap().reason.as_deref(), Some("upgrade"));
    clock.advance(9_999 * MS);
    assert_eq!(state(&job, &id).await, JobState::Submitted);
    clock.advance(MS);
    assert_eq!(result(&job, &id).await, "text");
    job.pause().await.unwrap();
    let id = submit(&job, "second").await;
    assert_eq!(stats(&job).await.ready, 1);
    job.resume().await.unwrap();
    assert_eq!(result(&job, &id).await, "second");
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_rate_limit_holds_for_all_workers_together, async |mut world: World| {
    let clock = world.pin();
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    assert_eq!(job.set_rate_limit(3, 10 * SECOND).await.unwrap(), Changed::Yes);
    assert_eq!(other.set_rate_limit(3, 10 * SECOND).await.unwrap(), Changed::No);
    let workers = [job.process(echo).concurrency(4).spawn(), other.process(echo).concurrency(4).spawn()];
    for _ in 0..7 {
        submit(&job, "text").await;
    }
    let completed = async |count: u64| until(async || stats(&job).await.totals.completed == count).await;
    completed(3).await;
    let shown = stats(&other).await;
    let limit = shown.rate_limit.unwrap();
    assert_eq!((limit.limit, limit.per, limit.used), (3, 10 * SECOND, 3));
    assert_eq!((limit.window_ends, shown.ready), (Some(clock.now() + 10 * SECOND), 4));
    clock.advance(9_999 * MS);
    assert_eq!(stats(&other).await.ready, 4);
    clock.advance(MS);
    completed(6).await;
    assert_eq!(stats(&job).await.ready, 1, "nothing waits in a worker");
    assert_eq!(job.remove_rate_limit().await.unwrap(), Changed::Yes);
    completed(7).await;
    assert_eq!(job.remove_rate_limit().await.unwrap(), Changed::No);
    for worker in workers {
        within(worker.shutdown(SECOND)).await;
    }
    job.set_rate_limit(1, SECOND).await.unwrap();
    assert!(job.delete().await.unwrap());
    assert_eq!(stats(&job).await.rate_limit, None);
});

conformance!(a_concurrency_limit_holds_for_all_workers_together, async |world: World| {
    let (job, other) = (texts(&world.open().await), texts(&world.open().await));
    assert_eq!(job.set_concurrency_limit(3).await.unwrap(), Changed::Yes);
    assert_eq!(other.set_concurrency_limit(3).await.unwrap(), Changed::No);
    let gate = Arc::new(Semaphore::new(0));
    let [worker, second] = [&job, &other].map(|job| {
        let worker = job.process_with(Arc::clone(&gate), async |gate, _, text: String| {
            gate.acquire().await.expect("it is never closed").forget();
            Ok(text)
        });
        worker.concurrency(4).spawn()
    });
    for _ in 0..6 {
        submit(&job, "text").await;
    }
    // Completed, running, ready.
    let shows = async |wanted: (u64, u64, u64)| {
        until(async || {
            let shown = stats(&other).await;
            (shown.completed, shown.running, shown.ready) == wanted
        })
        .await;
    };
    shows((0, 3, 3)).await;
    gate.add_permits(2);
    shows((2, 3, 1)).await;
    assert_eq!(job.set_concurrency_limit(1).await.unwrap(), Changed::Yes);
    gate.add_permits(2);
    shows((4, 1, 1)).await;
    assert_eq!(job.remove_concurrency_limit().await.unwrap(), Changed::Yes);
    shows((4, 2, 0)).await;
    gate.add_permits(2);
    shows((6, 0, 0)).await;
    for worker in [worker, second] {
        within(worker.shutdown(SECOND)).await;
    }
    job.set_concurrency_limit(1).await.unwrap();
    assert!(job.delete().await.unwrap());
    assert_eq!(stats(&job).await.concurrency_limit, None);
});

conformance!(a_change_that_is_asked_once_and_left_alone_holds_up_no_other, async |world: World| {
    let job = texts(&world.open().await);
    let mut left_alone = Box::pin(job.pause().into_future());
    let answer = (&mut left_alone).now_or_never();
    within(job.resume().into_future()).await.unwrap();
    // It was sent, and its answer is there when it is polled again.
    match answer {
        Some(answer) => answer.unwrap(),
        None => within(left_alone).await.unwrap(),
    };
});
