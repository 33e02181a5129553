//! Workers.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidelock::{Backoff, DeadReason, HandlerError, MINUTE, Raw};
use tokio::sync::{Barrier, Notify};

conformance!(what_a_handler_says_settles_the_message, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let mut ids = Vec::new();
    for text in ["good", "bad", "later", "fatal"] {
        ids.push(send(&queue, text).await);
    }
    let worker = queue.process(async |message| match message.as_str() {
        "good" => Ok(()),
        "bad" => Err(std::io::Error::other("disk").into()),
        "later" => Err(HandlerError::retry_after("busy", 7 * SECOND)),
        _ => Err(HandlerError::fatal("never")),
    });
    let worker = worker.concurrency(2).backoff(Backoff::exponential(4 * SECOND).jitter(0.0)).spawn();
    until(async || worker.stats().acked + worker.stats().nacked + worker.stats().dead == 4).await;
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.acked, report.nacked, report.dead, report.stale, report.given_back), (1, 2, 1, 0, 0));
    assert!(report.error.is_none());
    let error = async |index: usize| {
        let info = queue.get(ids[index]).await.unwrap().unwrap();
        (info.due, info.last_error.unwrap())
    };
    assert_eq!(error(1).await, (clock.now() + 4 * SECOND, "disk".to_owned()));
    assert_eq!(error(2).await, (clock.now() + 7 * SECOND, "busy".to_owned()));
    let dead = queue.dead_letters().get(ids[3]).await.unwrap().unwrap();
    assert_eq!((dead.reason, dead.last_error.as_deref()), (DeadReason::Rejected, Some("never")));
});

conformance!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    a_handler_that_panics_has_failed,
    async |mut world: World| {
        let clock = world.pin();
        let queue = texts(&world.open().await);
        let id = send(&queue, "text").await;
        let worker = queue.process(async |message| panic!("cannot bear {}", message.data()));
        let worker = worker.backoff(Backoff::exponential(4 * SECOND).jitter(0.0)).spawn();
        until(async || worker.stats().nacked == 1).await;
        within(worker.shutdown(SECOND)).await;
        let info = queue.get(id).await.unwrap().unwrap();
        assert_eq!(info.due, clock.now() + 4 * SECOND);
        assert_eq!(info.last_error.as_deref(), Some("the handler panicked: cannot bear text"));
    }
);

conformance!(the_default_backoff_doubles_from_a_second, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let id = send(&queue, "text").await;
    let worker = queue.process(async |_| Err("always".into())).spawn();
    for attempt in 1..10 {
        until(async || worker.stats().nacked == attempt).await;
        let due = queue.get(id).await.unwrap().unwrap().due;
        let (pause, base) = (due.since(clock.now()), SECOND * 2_u32.pow(u32::try_from(attempt).unwrap() - 1));
        let most = base.mul_f64(1.2).min(300 * SECOND);
        assert!(pause >= base.min(300 * SECOND).mul_f64(0.8) && pause <= most + MS, "attempt {attempt}: {pause:?}");
        clock.set(due);
    }
    until(async || worker.stats().dead == 1).await;
    let dead = queue.dead_letters().get(id).await.unwrap().unwrap();
    assert_eq!((dead.reason, dead.attempts), (DeadReason::MaxDeliveriesExceeded, 10));
});

conformance!(handlers_never_exceed_the_concurrency, async |world: World| {
    let queue = texts(&world.open().await);
    for number in 0..200 {
        send(&queue, &number.to_string()).await;
    }
    let counters = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(4)));
    let most = Arc::clone(&counters.1);
    let worker = queue.process_with(counters, async |(running, most, four), _| {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Needs four concurrent handlers to continue.
        four.wait().await;
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    let worker = worker.concurrency(4).prefetch(16).spawn();
    until(async || worker.stats().acked == 200).await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
    within(worker.shutdown(SECOND)).await;
});

conformance!(long_handlers_keep_their_leases, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    send(&queue, "long").await;
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let worker = queue.process_with((Arc::clone(&started), Arc::clone(&finish)), async |(started, finish), message| {
        started.notify_one();
        tokio::select! {
            () = finish.notified() => Ok(()),
            () = message.lost() => Err("lost".into()),
        }
    });
    let worker = worker.lease(SECOND).spawn();
    within(started.notified()).await;
    for _ in 0..30 {
        clock.advance(334 * MS);
        let end = clock.now() + SECOND;
        until(async || queue.list(State::Leased).await.unwrap().items[0].lease.as_ref().unwrap().end == end).await;
    }
    finish.notify_one();
    until(async || worker.stats().acked == 1).await;
    assert_eq!(stats(&queue).await.settled, 1);
});

conformance!(a_worker_that_lost_its_lease_sees_it, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    send(&queue, "frozen").await;
    let (started, lost) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let worker = queue.process_with((Arc::clone(&started), Arc::clone(&lost)), async |(started, lost), message| {
        if message.attempt() > 1 {
            return std::future::pending().await;
        }
        started.notify_one();
        message.lost().await;
        lost.notify_one();
        Err(HandlerError::fatal("too late to say so"))
    });
    let worker = worker.lease(SECOND).spawn();
    within(started.notified()).await;
    // As if the process had been frozen: no renewal came in time.
    clock.advance(5 * SECOND);
    within(lost.notified()).await;
    until(async || worker.stats().stale >= 1).await;
    let stats = stats(&queue).await;
    assert_eq!((stats.dead, stats.settled), (0, 0), "a stale settle has no other consequence");
    drop(worker);
});

conformance!(a_timeout_drops_the_handler_and_nacks, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let id = send(&queue, "slow").await;
    let started = Arc::new(Notify::new());
    let worker = queue.process_with(Arc::clone(&started), async |started, _| {
        started.notify_one();
        std::future::pending().await
    });
    let worker = worker.timeout(3 * SECOND).spawn();
    within(started.notified()).await;
    advancing(&clock, SECOND, until(async || worker.stats().nacked == 1)).await;
    let text = queue.get(id).await.unwrap().unwrap().last_error.unwrap();
    assert!(text.contains("3s"), "{text}");
});

/// Panics when it is dropped.
#[cfg(not(target_family = "wasm"))]
struct Bomb;

#[cfg(not(target_family = "wasm"))]
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

conformance!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    a_handler_that_panics_when_it_is_dropped_takes_no_slot_with_it,
    async |mut world: World| {
        let clock = world.pin();
        let queue = texts(&world.open().await);
        let id = send(&queue, "bomb").await;
        let started = Arc::new(Notify::new());
        let worker = queue.process_with(Arc::clone(&started), async |started, message| {
            if *message == "bomb" && message.attempt() == 1 {
                let _bomb = Bomb;
                started.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        let worker = worker.timeout(3 * SECOND).lease(60 * MINUTE).spawn();
        within(started.notified()).await;
        advancing(&clock, SECOND, until(async || worker.stats().nacked == 1)).await;
        send(&queue, "next").await;
        advancing(&clock, SECOND, until(async || worker.stats().acked == 2)).await;
        assert!(queue.get(id).await.unwrap().is_none());
        assert_eq!(within(worker.shutdown(SECOND)).await.left, 0);
    }
);

conformance!(a_prefetched_message_that_waits_for_long_is_given_back, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    for text in ["a", "b", "c"] {
        send(&queue, text).await;
    }
    let finish = Arc::new(Notify::new());
    let worker = queue.process_with(Arc::clone(&finish), async |finish, _| {
        finish.notified().await;
        Ok(())
    });
    let worker = worker.concurrency(1).prefetch(1).spawn();
    until(async || worker.stats().running == 1 && worker.stats().prefetched == 1).await;
    assert_eq!(stats(&queue).await.ready, 1, "no more than one is taken ahead");
    clock.advance(SECOND);
    until(async || worker.stats().given_back == 1).await;
    let stats_now = stats(&queue).await;
    assert_eq!((stats_now.ready, stats_now.leased), (2, 1));
    clock.advance(3 * SECOND);
    assert_eq!(worker.stats().prefetched, 0, "none is taken ahead until a handler has ended");
    let b = take(&queue).await;
    assert_eq!((data(&b), b.attempt()), ("b", 1));
    b.give_back().await.unwrap();
    finish.notify_one();
    until(async || worker.stats().acked == 1 && worker.stats().running == 1 && worker.stats().prefetched == 1).await;
    finish.notify_one();
    until(async || worker.stats().acked == 2).await;
    finish.notify_one();
    until(async || worker.stats().acked == 3).await;
});

conformance!(a_worker_starts_nothing_that_it_may_have_lost, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    for text in ["a", "b", "c"] {
        send(&queue, text).await;
    }
    let (taken, starts) = (Arc::new(Notify::new()), Arc::new(std::sync::Mutex::new(Vec::new())));
    let with = (clock.clone(), Arc::clone(&taken), Arc::clone(&starts));
    let worker = queue.process_with(with, async |(clock, taken, starts), message| {
        starts.lock().unwrap().push((message.attempt(), message.lease_left().is_zero()));
        if message.as_str() == "a" && message.attempt() == 1 {
            taken.notified().await;
            // As if the process had been stopped that long: nothing is renewed before the next handler begins.
            clock.advance(MINUTE);
        }
        Ok(())
    });
    let worker = worker.concurrency(1).prefetch(2).spawn();
    until(async || worker.stats().running == 1 && worker.stats().prefetched == 2).await;
    taken.notify_one();
    until(async || worker.stats().acked == 3).await;
    let starts = starts.lock().unwrap();
    assert!(starts.iter().all(|(_, is_lost)| !is_lost), "{starts:?}");
});

conformance!(an_undecodable_message_does_not_stop_a_worker, async |world: World| {
    let tide = world.open().await;
    let numbers = tide.queue::<u64>("numbers").build().unwrap();
    let raw = tide.queue::<Raw>("numbers").build().unwrap();
    numbers.send(&1).await.unwrap();
    raw.send(&Raw(b"x".to_vec())).await.unwrap();
    numbers.send(&2).await.unwrap();
    let worker = numbers.process(async |_| Ok(())).spawn();
    until(async || worker.stats().acked == 2 && worker.stats().dead == 1).await;
    let dead = numbers.dead_letters().list().await.unwrap().items;
    assert_eq!((dead[0].raw.as_slice(), dead[0].reason), (&b"x"[..], DeadReason::Undecodable));
});

conformance!(keys_stay_in_order_over_workers_and_failures, async |world: World| {
    let queue = world.open().await.queue::<String>("texts").max_deliveries(None).build().unwrap();
    let count = crate::harness::scale(500);
    for number in 0..count {
        let key = ["a", "b", "c"][number % 3];
        queue.send(&number.to_string()).ordering_key(key).await.unwrap();
    }
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let running = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let mut workers = Vec::new();
    for _ in 0..3 {
        let queue = texts(&world.open().await);
        let worker = queue.process_with((Arc::clone(&log), Arc::clone(&running)), async |(log, running), message| {
            let key = message.ordering_key().unwrap().to_owned();
            assert!(running.lock().unwrap().insert(key.clone()), "two of one key at once");
            tokio::task::yield_now().await;
            let failed = message.attempt() == 1 && fastrand::u8(..4) == 0;
            if !failed {
                log.lock().unwrap().push((key.clone(), message.parse::<usize>().unwrap()));
            }
            running.lock().unwrap().remove(&key);
            if failed { Err("again".into()) } else { Ok(()) }
        });
        workers.push(worker.concurrency(4).backoff(Backoff::fixed(Duration::ZERO)).spawn());
    }
    until(async || stats(&queue).await.settled == count as u64).await;
    let log = log.lock().unwrap();
    for key in ["a", "b", "c"] {
        let of_key: Vec<_> = log.iter().filter(|(of, _)| of == key).map(|(_, number)| *number).collect();
        assert!(of_key.is_sorted(), "{key}: {of_key:?}");
    }
    assert_eq!(log.len(), count);
});

conformance!(a_batch_of_work_is_done_once_each, async |world: World| {
    let queue = texts(&world.open().await);
    let count = crate::harness::scale(10_000);
    for part in (0..count).collect::<Vec<_>>().chunks(500) {
        queue.send_many(part.iter().map(|number| queue.send(&number.to_string()))).await.unwrap();
    }
    let seen = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let worker = queue.process_with(Arc::clone(&seen), async |seen, message| {
        assert!(seen.lock().unwrap().insert(message.id()));
        Ok(())
    });
    let worker = worker.concurrency(64).spawn();
    until(async || stats(&queue).await.settled == count as u64).await;
    let report = within(worker.shutdown(MINUTE)).await;
    assert_eq!((report.acked, report.nacked, report.stale), (count as u64, 0, 0));
});
