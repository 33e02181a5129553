//! Leases, settles and receipts.

use super::*;
use tidelock::{DAY, DeadReason, ErrorKind, MINUTE, Nacked, Receipt};

conformance!(a_lapsed_lease_is_over_for_everything, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish(&topic, "text").await;
    let first = take(&group).await;
    let receipt = first.receipt();
    clock.advance(MINUTE);
    assert!(!first.touch().await.unwrap());
    assert_eq!(group.nack(&receipt).await.unwrap(), Nacked::Stale);
    assert!(!group.dead_letter(&receipt, "no").await.unwrap());
    assert!(!group.give_back(&receipt).await.unwrap());
    assert!(!first.commit().await.unwrap());
    let second = take(&group).await;
    assert_eq!(second.attempt(), 2);
    assert!(second.fence() > receipt.fence());
    assert!(!group.commit(&receipt).await.unwrap(), "an old receipt settles nothing");
    assert!(second.commit().await.unwrap());
    assert_eq!(counts(&topic, "group").await, [0; 6]);
});

conformance!(a_lease_holds_until_its_end_and_not_longer, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = topic.reader("group").lease(20 * SECOND).build().unwrap();
    publish(&topic, "text").await;
    let held = take(&group).await;
    assert_eq!(held.lease_left(), 19_800 * MS);
    clock.advance(19_999 * MS);
    nothing(&group).await;
    assert!(held.touch().await.unwrap(), "held until the last millisecond");
    clock.advance(19_999 * MS);
    nothing(&group).await;
    assert!(held.touch().lease(SECOND).await.unwrap());
    assert!(held.lease_left() <= SECOND, "a touch replaces, and may shorten");
    clock.advance(SECOND);
    within(held.lost()).await;
    let again = group.try_recv().lease(5 * SECOND).await.unwrap().unwrap().event().unwrap();
    assert_eq!(again.attempt(), 2);
    clock.advance(5 * SECOND);
    assert_eq!(take(&group).await.attempt(), 3, "that of the receive wins");
});

conformance!(who_stalled_settles_nothing_although_the_next_one_died, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    publish(&topic, "text").await;
    let stalls = take(&reader(&topic, "group")).await;
    clock.advance(MINUTE);
    let dies = take(&reader(&texts(&world.open().await), "group")).await;
    assert!(!stalls.commit().await.unwrap());
    drop(dies);
    clock.advance(MINUTE);
    let third = take(&reader(&topic, "group")).await;
    assert_eq!(third.attempt(), 3);
});

conformance!(the_last_delivery_ends_in_the_dead_letters, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = topic.reader("group").max_deliveries(2).build().unwrap();
    publish_all(&topic, 0..2).await;
    for attempt in 1..=2 {
        let (fails, dies) = (take(&group).await, take(&group).await);
        assert_eq!((fails.attempt(), dies.attempt()), (attempt, attempt));
        let nacked = fails.nack().delay(DAY).error(&"why").await.unwrap();
        assert_eq!(matches!(nacked, Nacked::Requeued { .. }), attempt == 1, "{nacked:?}");
        clock.advance(DAY);
    }
    nothing(&group).await;
    let dead = group.dead_letters().list().await.unwrap().items;
    assert!(dead.iter().all(|letter| letter.reason == DeadReason::MaxDeliveriesExceeded && letter.attempts == 2));
    assert_eq!(dead.len(), 2, "also when the last one was a crash");
});

conformance!(a_nack_returns_after_its_delay, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = topic.reader("group").max_nack_delay(10 * SECOND).build().unwrap();
    publish_all(&topic, 0..2).await;
    let first = take(&group).await;
    let error = group.nack(&first.receipt()).delay(10 * SECOND + MS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    assert!(text.contains("exceeds max_nack_delay") && text.contains("10s") && text.contains("group"), "{text}");
    let nacked = first.nack().delay(10 * SECOND).reason("busy").error(&"disk").await.unwrap();
    assert_eq!(nacked, Nacked::Requeued { due: clock.now() + 10 * SECOND });
    assert_eq!(drain(&group).await, ["1"]);
    clock.advance(9_999 * MS);
    nothing(&group).await;
    clock.advance(MS);
    publish(&topic, "2").await;
    let again = take(&group).await;
    assert_eq!(
        (again.data().as_str(), again.attempt(), again.last_error()),
        ("0", 2, Some("disk")),
        "before newer ones"
    );
});

conformance!(what_is_given_back_was_never_taken, async |world: World| {
    let topic = texts(&world.open().await);
    let group = topic.reader("group").max_deliveries(1).build().unwrap();
    publish_all(&topic, 0..2).await;
    for _ in 0..3 {
        let held = take(&group).await;
        assert_eq!((held.data().as_str(), held.attempt()), ("0", 1));
        assert!(held.give_back().await.unwrap());
    }
    assert_eq!(drain(&group).await, ["0", "1"]);
});

conformance!(a_dropped_receive_gives_back_what_it_took, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..3).await;
    for polls in 1..10 {
        let mut receive = Box::pin(group.recv().into_future());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..polls {
            if let std::task::Poll::Ready(received) = receive.as_mut().poll(&mut context) {
                let event = received.unwrap().unwrap().event().unwrap();
                // An event given back earlier may not have arrived yet: then this is another one.
                assert_eq!(event.attempt(), 1);
                assert!(event.give_back().await.unwrap());
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    within(async {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            if let Some(item) = group.recv().await.unwrap() {
                let event = item.event().unwrap();
                assert_eq!(event.attempt(), 1, "no attempt is used");
                seen.push(event.data().clone());
                assert!(event.commit().await.unwrap());
            }
        }
        seen.sort();
        assert_eq!(seen, numbers(0..3));
    })
    .await;
});

conformance!(a_receipt_settles_from_anywhere_and_only_where_it_belongs, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    let elsewhere = reader(&texts(&world.open().await), "group");
    publish_all(&topic, 0..6).await;
    let mut receipts = Vec::new();
    for _ in 0..6 {
        let (_, receipt) = take(&group).await.into_parts();
        let stored = serde_json::to_string(&receipt).unwrap();
        receipts.push(serde_json::from_str::<Receipt>(&stored).unwrap());
    }
    for foreign in [reader(&topic, "other"), reader(&topic.tenant("other"), "group")] {
        let error = foreign.commit(&receipts[0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("\"group\""), "{error}");
    }
    let queue = world.open().await.queue::<String>("texts").build().unwrap();
    assert_eq!(queue.ack(&receipts[0]).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(elsewhere.touch(&receipts[0]).lease(DAY).await.unwrap());
    assert!(elsewhere.commit(&receipts[0]).await.unwrap());
    assert!(!elsewhere.commit(&receipts[0]).await.unwrap());
    assert!(matches!(elsewhere.nack(&receipts[1]).await.unwrap(), Nacked::Requeued { .. }));
    assert!(elsewhere.give_back(&receipts[2]).await.unwrap());
    assert!(elsewhere.dead_letter(&receipts[3], "no").await.unwrap());
    assert_eq!(elsewhere.commit_many(&receipts[3..]).await.unwrap(), [false, true, true]);
    assert_eq!(drain(&group).await, ["1", "2"]);
});

conformance!(a_delivery_id_tells_groups_and_attempts_apart, async |world: World| {
    let topic = texts(&world.open().await);
    publish(&topic, "text").await;
    let mut ids = std::collections::HashSet::new();
    for group in ["one", "two"] {
        for _ in 0..2 {
            let held = take(&reader(&topic, group)).await;
            assert!(ids.insert(held.delivery_id()));
            held.nack().await.unwrap();
        }
    }
});

conformance!(the_holder_is_shown, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..2).await;
    let held = group.try_recv().consumer("me").await.unwrap().unwrap().event().unwrap();
    assert_eq!(info(&topic, "group").await.oldest_open_holder.as_deref(), Some("me"));
    assert!(held.commit().await.unwrap());
    let _held = take(&group).await;
    assert!(info(&topic, "group").await.oldest_open_holder.unwrap().len() > 12, "the name of the process");
});
