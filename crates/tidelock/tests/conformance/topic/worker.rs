//! Workers of a group. What they share with the workers of queues is also tested there.

use super::*;
use std::sync::{Arc, Mutex};
use tidelock::{Backoff, DeadReason, HandlerError, MINUTE};
use tokio::sync::Notify;

conformance!(what_a_handler_says_settles_the_event, async |mut world: World| {
    world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    let mut ids = Vec::new();
    for text in ["good", "bad", "later", "fatal"] {
        ids.push(publish(&topic, text).await.event_id);
    }
    let worker = group.process(async |event| match event.as_str() {
        "good" => Ok(()),
        "bad" => Err(std::io::Error::other("disk").into()),
        "later" => Err(HandlerError::retry_after("busy", 7 * SECOND)),
        _ => Err(HandlerError::fatal("never")),
    });
    let worker = worker.concurrency(2).backoff(Backoff::exponential(4 * SECOND).jitter(0.0)).spawn();
    until(async || worker.stats().acked + worker.stats().nacked + worker.stats().dead == 4).await;
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.acked, report.nacked, report.dead, report.stale, report.given_back), (1, 2, 1, 0, 0));
    assert_eq!(counts(&topic, "group").await, [0, 0, 2, 0, 1, 0]);
    let dead = group.dead_letters().get(ids[3]).await.unwrap().unwrap();
    assert_eq!((dead.reason, dead.last_error.as_deref()), (DeadReason::Rejected, Some("never")));
});

conformance!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    a_handler_that_panics_has_failed,
    async |mut world: World| {
        world.pin();
        let topic = texts(&world.open().await);
        let group = reader(&topic, "group");
        publish(&topic, "text").await;
        let worker = group.process(async |event| panic!("cannot bear {}", event.data())).spawn();
        until(async || worker.stats().nacked == 1).await;
        within(worker.shutdown(SECOND)).await;
        assert_eq!(counts(&topic, "group").await, [0, 0, 1, 0, 0, 0]);
    }
);

conformance!(a_worker_retries_until_the_deliveries_are_used_up, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = topic.reader("group").max_deliveries(3).max_nack_delay(2 * SECOND).build().unwrap();
    let id = publish(&topic, "text").await.event_id;
    let worker = group.process(async |event| Err(format!("attempt {}", event.attempt()).into())).spawn();
    until(async || worker.stats().nacked == 1).await;
    clock.advance(1_200 * MS);
    until(async || worker.stats().nacked == 2).await;
    // Its backoff would be longer, but is capped by the reader's maximum.
    clock.advance(2 * SECOND);
    until(async || worker.stats().dead == 1).await;
    let dead = group.dead_letters().get(id).await.unwrap().unwrap();
    assert_eq!((dead.reason, dead.attempts), (DeadReason::MaxDeliveriesExceeded, 3));
    assert_eq!(dead.last_error.as_deref(), Some("attempt 3"));
});

conformance!(a_worker_renews_and_tells_what_was_lost, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(MINUTE).build().unwrap();
    let group = reader(&topic, "group");
    let (started, mut first) = tokio::sync::mpsc::unbounded_channel();
    let finish = Arc::new(Notify::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    publish(&topic, "0").await;
    let worker = group.process_with((started, Arc::clone(&finish), Arc::clone(&told)), async |state, event| {
        let (started, finish, told) = state;
        told.lock().unwrap().push(event.data().clone());
        if event.data() == "0" {
            started.send(event).unwrap();
            finish.notified().await;
        }
        Ok(())
    });
    let gaps = Arc::clone(&told);
    let worker = worker.on_gap(move |gap| gaps.lock().unwrap().push(format!("missed {:?}", gap.missed)));
    let worker = worker.prefetch(0).lease(10 * SECOND).consumer("worker").spawn();
    let first = within(first.recv()).await.unwrap();
    publish_all(&topic, 1..3).await;
    for _ in 0..15 {
        clock.advance(4 * SECOND);
        // Renewed, although the handler does nothing for it.
        until(async || first.lease_left() == 9_900 * MS).await;
    }
    assert_eq!(info(&topic, "group").await.oldest_open_holder.as_deref(), Some("worker"));
    publish_all(&topic, 3..5).await;
    finish.notify_one();
    until(async || worker.stats().acked == 3).await;
    within(worker.shutdown(SECOND)).await;
    assert_eq!(*told.lock().unwrap(), ["0", "missed Some(2)", "3", "4"], "before any event behind it");
});

conformance!(a_stopped_worker_leaves_nothing_held, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..50).await;
    let started = Arc::new(Notify::new());
    let worker = group.process_with(Arc::clone(&started), async |started, event| {
        if event.data() == "3" {
            started.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let worker = worker.concurrency(2).prefetch(8).shutdown_grace(Duration::ZERO);
    let report = within(worker.run_until(async { started.notified().await })).await.unwrap();
    assert!(report.given_back >= 1, "{report:?}");
    // Events that were being delivered when it stopped are given back in the background.
    until(async || counts(&topic, "group").await[1] == 0).await;
    let [unread, _, waiting, ..] = counts(&topic, "group").await;
    assert_eq!(unread + waiting, 50 - report.acked);
    let left = drain(&group).await;
    assert_eq!(left.len(), usize::try_from(50 - report.acked).unwrap());
    assert!(left.contains(&"3".to_owned()));
});

conformance!(a_handler_that_takes_too_long_is_dropped, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish(&topic, "text").await;
    let worker = group.process(async |_| std::future::pending().await).timeout(5 * SECOND).spawn();
    within(advancing(&clock, SECOND, until(async || worker.stats().nacked >= 1))).await;
    within(worker.shutdown(Duration::ZERO)).await;
    clock.advance(MINUTE);
    assert!(take(&group).await.last_error().unwrap().contains("5s"));
});
