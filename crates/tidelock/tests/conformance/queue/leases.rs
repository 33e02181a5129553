//! Leases, settles and receipts.

use super::*;
use std::sync::Arc;
use tidelock::{DAY, ErrorKind, Nacked, Receipt, State};

conformance!(a_lapsed_lease_is_over_for_everything, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    send(&queue, "text").await;
    let first = take(&queue).await;
    let receipt = first.receipt();
    clock.advance(30 * SECOND);
    assert!(!first.touch().await.unwrap());
    assert_eq!(queue.nack(&receipt).await.unwrap(), Nacked::Stale);
    assert!(!queue.dead_letter(&receipt, "no").await.unwrap());
    assert!(!queue.give_back(&receipt).await.unwrap());
    assert!(!first.ack().await.unwrap());
    let second = take(&queue).await;
    assert_eq!(second.attempt(), 2);
    assert!(second.fence() > receipt.fence());
    assert!(!queue.ack(&receipt).await.unwrap(), "an old receipt settles nothing");
    assert!(second.ack().await.unwrap());
    let stats = stats(&queue).await;
    assert_eq!((stats.accepted, stats.settled, stats.dead), (1, 1, 0));
});

conformance!(what_its_holder_is_done_with_is_over_for_it, async |mut world: World| {
    let _clock = world.pin();
    let tide = world.open().await;
    let queue = texts(&tide);
    send(&queue, "text").await;
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let worker = queue.process_with(Arc::clone(&kept), async |kept, message| {
        assert!(message.lease_left() > SECOND);
        kept.lock().unwrap().push(message);
        Err("again".into())
    });
    let worker = worker.backoff(tidelock::Backoff::fixed(DAY)).spawn();
    until(async || worker.stats().nacked == 1).await;
    let failed = kept.lock().unwrap().pop().expect("it outlives its handler");
    assert_eq!(failed.lease_left(), Duration::ZERO);
    within(failed.lost()).await;
    within(worker.shutdown(SECOND)).await;

    send(&queue, "given back at the end of a shutdown").await;
    let delivery = within(queue.recv().forever()).await.unwrap().unwrap();
    assert!(delivery.lease_left() > SECOND);
    assert!(!tide.shutdown(Duration::ZERO).await.is_clean());
    assert_eq!(delivery.lease_left(), Duration::ZERO);
    within(delivery.lost()).await;
});

conformance!(a_lease_holds_until_its_end_and_not_longer, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    send(&queue, "text").await;
    let held = queue.try_recv().lease(60 * SECOND).await.unwrap().unwrap();
    clock.advance(59_999 * MS);
    nothing(&queue).await;
    assert!(held.touch().await.unwrap(), "held until the last millisecond");
    clock.advance(59_999 * MS);
    nothing(&queue).await;
    assert!(held.touch().lease(SECOND).await.unwrap(), "as taken: 60 s again");
    assert!(held.lease_left() <= SECOND, "a touch replaces, and may shorten");
    clock.advance(SECOND);
    assert_eq!(take(&queue).await.attempt(), 2);
});

conformance!(the_holder_never_believes_in_its_lease_for_too_long, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    send(&queue, "text").await;
    let held = queue.try_recv().lease(10 * SECOND).await.unwrap().unwrap();
    assert_eq!(held.lease_left(), 9_900 * MS);
    clock.advance(9_899 * MS);
    assert!(tokio::time::timeout(MS, held.lost()).await.is_err());
    let lost = held.lost();
    clock.advance(MS);
    within(lost).await;
    assert_eq!(held.lease_left(), Duration::ZERO);
    assert!(held.touch().await.unwrap(), "the server's lease is longer by the margin");
});

conformance!(of_concurrent_settles_one_wins, async |world: World| {
    let queue = texts(&world.open().await);
    for _ in 0..20 {
        send(&queue, "text").await;
        let receipt = take(&queue).await.receipt();
        let (ack, nack, touch) = tokio::join!(
            queue.ack(&receipt).into_future(),
            queue.nack(&receipt).into_future(),
            queue.touch(&receipt).into_future()
        );
        let (ack, nack) = (ack.unwrap(), nack.unwrap());
        assert_ne!(ack, nack != Nacked::Stale, "exactly one of ack and nack wins");
        touch.unwrap();
        assert!(!queue.ack(&receipt).await.unwrap() && !queue.touch(&receipt).await.unwrap());
        drain(&queue).await;
    }
});

conformance!(a_receipt_settles_from_anywhere, async |world: World| {
    let queue = texts(&world.open().await);
    for text in ["a", "b", "c", "d"] {
        send(&queue, text).await;
    }
    let elsewhere = texts(&world.open().await);
    let (text, receipt) = take(&queue).await.into_parts();
    let stored = serde_json::to_string(&receipt).unwrap();
    let receipt: Receipt = serde_json::from_str(&stored).unwrap();
    assert_eq!((text.as_str(), receipt.fence()), ("a", receipt.fence()));
    assert!(elsewhere.ack(&receipt).await.unwrap());
    let receipts: Vec<_> = queue.recv_many(3).await.unwrap().iter().map(tidelock::Delivery::receipt).collect();
    assert!(elsewhere.give_back(&receipts[1]).await.unwrap());
    assert_eq!(elsewhere.ack_many(&receipts).await.unwrap(), [true, false, true]);
    assert_eq!(elsewhere.ack_many(&[]).await.unwrap(), [] as [bool; 0]);
    let error = queue.tenant("other").ack(&receipts[1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(drain(&queue).await, ["c"]);
});

conformance!(a_give_back_uses_no_attempt, async |world: World| {
    let queue = texts(&world.open().await);
    send(&queue, "a").await;
    send(&queue, "b").await;
    let first = take(&queue).await;
    let fence = first.fence();
    assert!(first.give_back().await.unwrap());
    let again = take(&queue).await;
    assert_eq!((data(&again), again.attempt()), ("a", 1));
    assert!(again.fence() > fence);
});

conformance!(max_deliveries_counts_nacks_and_lapses, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").max_deliveries(3).build().unwrap();
    let id = send(&queue, "text").await;
    assert!(matches!(take(&queue).await.nack().error(&"first").await.unwrap(), Nacked::Requeued { .. }));
    drop(take(&queue).await);
    clock.advance(30 * SECOND);
    let last = take(&queue).await;
    assert_eq!((last.attempt(), last.last_error()), (3, Some("first")));
    clock.advance(30 * SECOND);
    nothing(&queue).await;
    let dead = queue.dead_letters().get(id).await.unwrap().unwrap();
    assert_eq!((dead.reason, dead.attempts), (tidelock::DeadReason::MaxDeliveriesExceeded, 3));
    assert_eq!(dead.moved_at, clock.now(), "by its deadline, not by who noticed");

    let endless = world.open().await.queue::<String>("endless").max_deliveries(None).build().unwrap();
    send(&endless, "text").await;
    for attempt in 1..30 {
        let delivery = take(&endless).await;
        assert_eq!(delivery.attempt(), attempt);
        delivery.nack().await.unwrap();
    }
});

conformance!(a_nack_waits_and_tells_why, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let id = send(&queue, "text").await;
    let nack = take(&queue).await.nack().delay(5 * SECOND).reason(&"é".repeat(600)).error(&"x".repeat(5_000));
    assert_eq!(nack.await.unwrap(), Nacked::Requeued { due: clock.now() + 5 * SECOND });
    let info = queue.get(id).await.unwrap().unwrap();
    assert_eq!((info.state, info.due, info.attempts), (State::Delayed, clock.now() + 5 * SECOND, 1));
    assert_eq!(info.note.unwrap(), format!("{}…", "é".repeat(510)));
    assert_eq!(info.last_error.unwrap().len(), 4_096);
    clock.advance(4_999 * MS);
    nothing(&queue).await;
    clock.advance(MS);
    assert_eq!(drain(&queue).await, ["text"]);
});

conformance!(a_refused_nack_changes_nothing, async |world: World| {
    let queue = world.open().await.queue::<String>("texts").max_nack_delay(SECOND).build().unwrap();
    send(&queue, "text").await;
    let receipt = take(&queue).await.receipt();
    let error = queue.nack(&receipt).delay(1_001 * MS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    assert!(text.contains("exceeds max_nack_delay") && text.contains("1.001s") && text.contains("1s"), "{text}");
    assert!(matches!(queue.nack(&receipt).delay(SECOND).await.unwrap(), Nacked::Requeued { .. }));
});

conformance!(numbers_survive_the_deletion_of_the_queue, async |world: World| {
    let queue = texts(&world.open().await);
    let old = send(&queue, "old").await;
    let receipt = take(&queue).await.receipt();
    assert!(queue.delete().await.unwrap());
    assert!(!queue.delete().await.unwrap(), "there was nothing left");
    let new = send(&queue, "new").await;
    assert!(new > old);
    assert!(!queue.ack(&receipt).await.unwrap());
    let delivery = take(&queue).await;
    assert!(delivery.fence() > receipt.fence());
    assert!(delivery.ack().await.unwrap());
    assert_eq!(stats(&queue).await.ready, 0);
});

conformance!(an_empty_text_is_none, async |world: World| {
    let queue = texts(&world.open().await);
    let id = send(&queue, "text").await;
    take(&queue).await.nack().reason("why").error(&"broke").await.unwrap();
    take(&queue).await.nack().reason("").error(&"").await.unwrap();
    let info = queue.get(id).await.unwrap().unwrap();
    assert_eq!((info.note.as_deref(), info.last_error.as_deref()), (Some("why"), Some("broke")));
    assert_eq!(queue.pause().await.unwrap(), tidelock::Changed::Yes);
    assert_eq!(queue.pause().reason("").await.unwrap(), tidelock::Changed::No);
});
