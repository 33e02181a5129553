//! Stopping workers, and shutting down.

use super::*;
use std::sync::Arc;
use tidelock::{ErrorKind, HOUR, Nacked};
use tokio::sync::Notify;

conformance!(a_stopped_worker_waits_for_its_handlers_and_gives_back_the_rest, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    for text in ["fast", "slow", "unstarted"] {
        send(&queue, text).await;
    }
    let finish = Arc::new(Notify::new());
    let worker = queue.process_with(Arc::clone(&finish), async |finish, message| {
        if message.as_str() != "fast" {
            return std::future::pending().await;
        }
        finish.notified().await;
        Ok(())
    });
    let worker = worker.concurrency(2).prefetch(1).spawn();
    until(async || worker.stats().running == 2 && worker.stats().prefetched == 1).await;
    let shutdown = tokio::spawn(worker.shutdown(10 * SECOND));
    let unstarted = within(queue.recv().forever()).await.unwrap().unwrap();
    assert_eq!((data(&unstarted), unstarted.attempt()), ("unstarted", 1));
    assert!(!shutdown.is_finished());
    finish.notify_one();
    until(async || stats(&queue).await.settled == 1).await;
    assert!(!shutdown.is_finished(), "the slow one has the whole grace");
    clock.advance(10 * SECOND);
    let report = within(shutdown).await.unwrap();
    assert_eq!((report.acked, report.nacked, report.given_back, report.stale), (1, 0, 2, 0));
    let slow = take(&queue).await;
    assert_eq!((data(&slow), slow.attempt()), ("slow", 1), "no attempt is used");
});

conformance!(shutdown_grace_is_the_default_grace, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    send(&queue, "slow").await;
    let started = Arc::new(Notify::new());
    let worker = queue.process_with(Arc::clone(&started), async |started, _| {
        started.notify_one();
        std::future::pending().await
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = worker.lease(HOUR).shutdown_grace(5 * SECOND);
    let running = tokio::spawn(worker.run_until(async { stopped.await.unwrap() }));
    within(started.notified()).await;
    stop.send(()).unwrap();
    clock.advance(4_999 * MS);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!running.is_finished());
    assert_eq!(within(advancing(&clock, SECOND, running)).await.unwrap().unwrap().given_back, 1);
    assert_eq!(drain(&queue).await, ["slow"]);
});

conformance!(a_worker_stopped_at_any_instant_loses_and_repeats_nothing, async |world: World| {
    let queue = texts(&world.open().await);
    for round in 0..crate::harness::scale(1_000) {
        for number in 0..8 {
            send(&queue, &number.to_string()).await;
        }
        let done = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
        let worker = queue.process_with(Arc::clone(&done), async |done, message| {
            if fastrand::bool() {
                tokio::task::yield_now().await;
            }
            assert!(done.lock().unwrap().insert(message.id()), "handed out twice");
            Ok(())
        });
        let worker = worker.concurrency(3).spawn();
        for _ in 0..round % 40 {
            tokio::task::yield_now().await;
        }
        let report = within(worker.shutdown(HOUR)).await;
        assert_eq!(report.acked, done.lock().unwrap().len() as u64, "all that was finished is settled");
        assert_eq!((report.stale, report.nacked), (0, 0));
        until_leased(&queue, 0).await;
        for delivery in queue.recv_many(100).wait(Duration::ZERO).await.unwrap() {
            assert_eq!(delivery.attempt(), 1);
            assert!(done.lock().unwrap().insert(delivery.id()), "finished, and handed out again");
            assert!(delivery.ack().await.unwrap());
        }
        assert_eq!(done.lock().unwrap().len(), 8);
    }
});

conformance!(dropping_a_worker_is_the_stop_signal, async |world: World| {
    let queue = texts(&world.open().await);
    send(&queue, "text").await;
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let worker = queue.process_with((Arc::clone(&started), Arc::clone(&finish)), async |(started, finish), _| {
        started.notify_one();
        finish.notified().await;
        Ok(())
    });
    let mut running = Box::pin(worker.run_until(std::future::pending()));
    tokio::select! {
        _ = &mut running => unreachable!("nobody stops it"),
        () = within(started.notified()) => {}
    }
    drop(running);
    finish.notify_one();
    until(async || stats(&queue).await.settled == 1).await;
    send(&queue, "not taken").await;
    assert_eq!(drain(&queue).await, ["not taken"]);
});

conformance!(a_shutdown_ends_waits_and_gives_back_what_is_held, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let queue = texts(&tide);
    // In process there is only one process; on a server, a second one can watch.
    let watcher = texts(&world.open().await);
    send(&queue, "settled in time").await;
    send(&queue, "left").await;
    let (settled, left) = (take(&queue).await, take(&queue).await);
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    let empty = tide.queue::<String>("empty").build().unwrap();
    let waiting_on_empty = tokio::spawn(empty.recv().forever().into_future());
    tokio::task::yield_now().await;
    let shutdown = tokio::spawn(async move { tide.shutdown(10 * SECOND).await });
    for waiting in [waiting, waiting_on_empty] {
        assert_eq!(within(waiting).await.unwrap().unwrap_err().kind(), ErrorKind::ShuttingDown);
    }
    assert_eq!(queue.try_recv().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(settled.ack().await.unwrap(), "what is held may be finished");
    assert!(!shutdown.is_finished());
    clock.advance(10 * SECOND);
    let report = within(shutdown).await.unwrap();
    // A take that is being answered at this instant would be listed too.
    let held = report.left.iter().filter(|left| left.kind != "receive");
    assert_eq!(held.map(|left| (left.kind, left.count)).collect::<Vec<_>>(), [("delivery", 1)]);
    assert_eq!(left.ack().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(queue.stats().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    if world.has_processes() {
        let again = take(&watcher).await;
        assert_eq!((data(&again), again.attempt()), ("left", 1), "no attempt is used");
        assert!(matches!(again.nack().await.unwrap(), Nacked::Requeued { .. }));
    }
});

conformance!(a_shutdown_gives_back_what_a_receive_got_and_did_not_look_at, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let queue = texts(&tide);
    let watcher = texts(&world.open().await);
    let mut receiving = Box::pin(queue.recv().wait(HOUR).into_future());
    assert!(futures_util::FutureExt::now_or_never(&mut receiving).is_none());
    let behind = tokio::spawn(queue.recv().wait(HOUR).into_future());
    send(&queue, "unseen").await;
    send(&queue, "seen").await;
    // Receivers are served in order: by then the first one has its message.
    let seen = within(behind).await.unwrap().unwrap().unwrap();
    assert_eq!(data(&seen), "seen");
    assert!(seen.ack().await.unwrap());
    let shutdown = tokio::spawn(async move { tide.shutdown(2 * SECOND).await });
    let report = within(advancing(&clock, SECOND, shutdown)).await.unwrap();
    let held = report.left.iter().filter(|left| left.kind != "receive");
    assert_eq!(held.map(|left| (left.kind, left.count)).collect::<Vec<_>>(), [("delivery", 1)]);
    let seen = within(receiving).await;
    assert_eq!(seen.map(|seen| seen.is_some()).unwrap_err().kind(), ErrorKind::ShuttingDown, "nobody could settle it");
    if world.has_processes() {
        let again = take(&watcher).await;
        assert_eq!((data(&again), again.attempt()), ("unseen", 1), "no attempt is used");
    }
});

conformance!(a_shutdown_drains_workers_within_its_own_grace, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let queue = texts(&tide);
    let watcher = texts(&world.open().await);
    send(&queue, "stuck").await;
    let started = Arc::new(Notify::new());
    let worker = queue.process_with(Arc::clone(&started), async |started, _| {
        started.notify_one();
        std::future::pending().await
    });
    let running = tokio::spawn(worker.shutdown_grace(HOUR).run_until(std::future::pending()));
    within(started.notified()).await;
    let shutdown = tokio::spawn(async move { tide.shutdown(2 * SECOND).await });
    // In small steps, so that what is in flight when the shutdown begins has time to end.
    let report = within(advancing(&clock, 10 * MS, shutdown)).await.unwrap();
    let worker = within(running).await.unwrap().unwrap();
    assert!(report.left.len() <= 1, "{report:?}");
    assert_eq!(worker.given_back, 1);
    if world.has_processes() {
        assert_eq!(take(&watcher).await.attempt(), 1);
    }
});
