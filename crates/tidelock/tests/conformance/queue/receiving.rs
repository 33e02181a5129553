//! Waiting for messages.

use super::*;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use tidelock::Raw;

conformance!(a_look_that_is_dropped_gives_back_what_it_was_answered, async |world: World| {
    let queue = texts(&world.open().await);
    let looking = loop {
        send(&queue, "text").await;
        let mut looking = Box::pin(queue.try_recv().into_future());
        let Some(answered) = (&mut looking).now_or_never() else { break looking };
        answered.unwrap().expect("a message is there").ack().await.unwrap();
        if !world.has_processes() {
            // The answer is always there at once.
            return;
        }
    };
    until(async || stats(&queue).await.leased == 1).await;
    drop(looking);
    until(async || stats(&queue).await.ready == 1).await;
    assert_eq!(take(&queue).await.attempt(), 1);
});

conformance!(a_waiting_receive_is_woken_by_a_send, async |mut world: World| {
    world.pin();
    let queue = texts(&world.open().await);
    let other = texts(&world.open().await);
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    send(&other, "text").await;
    let delivery = within(waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(data(&delivery), "text");
});

conformance!(a_wait_ends_with_its_time, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let short = tokio::spawn(queue.recv().wait(200 * MS).into_future());
    let long = tokio::spawn(queue.recv().into_future());
    assert!(within(advancing(&clock, 50 * MS, short)).await.unwrap().unwrap().is_none());
    assert!(!long.is_finished());
    assert!(within(advancing(&clock, 5 * SECOND, long)).await.unwrap().unwrap().is_none());
});

conformance!(a_due_time_wakes_a_waiting_receive, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    queue.send(&"later".to_owned()).delay(10 * SECOND).await.unwrap();
    send(&queue, "held").await;
    let held = take(&queue).await;
    let waiting = tokio::spawn(queue.recv_many(2).forever().into_future());
    clock.advance(9_999 * MS);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    clock.advance(MS);
    let got = within(waiting).await.unwrap().unwrap();
    assert_eq!(got.iter().map(|one| one.data().as_str()).collect::<Vec<_>>(), ["later"]);
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    let again = within(advancing(&clock, SECOND, waiting)).await.unwrap().unwrap().unwrap();
    assert_eq!(data(&again), "held");
    assert!(!held.ack().await.unwrap(), "a lapsed lease goes to whoever waits");
});

conformance!(the_end_of_a_pause_wakes_a_waiting_receive, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    queue.pause().await.unwrap();
    send(&queue, "a").await;
    send(&queue, "b").await;
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    queue.resume().await.unwrap();
    assert!(within(waiting).await.unwrap().unwrap().unwrap().ack().await.unwrap());
    queue.pause().for_at_most(10 * SECOND).await.unwrap();
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    clock.advance(10 * SECOND);
    assert_eq!(data(&within(waiting).await.unwrap().unwrap().unwrap()), "b");
});

conformance!(a_new_window_of_a_rate_limit_wakes_waiting_receives, async |mut world: World| {
    let clock = world.pin();
    let tides = [world.open().await, world.open().await];
    let [queue, other] = tides.each_ref().map(texts);
    queue.set_rate_limit(2, 10 * SECOND).await.unwrap();
    for text in ["a", "b", "c", "d", "e"] {
        send(&queue, text).await;
    }
    assert_eq!(drain(&queue).await, ["a", "b"]);
    let mut waiting = FuturesUnordered::new();
    for queue in [&queue, &other, &other] {
        let mut receive = Box::pin(queue.recv().forever().into_future());
        assert!(futures_poll(receive.as_mut()).await.is_none());
        waiting.push(tokio::spawn(receive));
    }
    clock.advance(10 * SECOND);
    for _ in 0..2 {
        within(waiting.next()).await.unwrap().unwrap().unwrap().unwrap().ack().await.unwrap();
    }
    let shown = stats(&queue).await;
    assert_eq!(shown.ready, 1, "the third one waits for the next window: {shown:?}");
    queue.remove_rate_limit().await.unwrap();
    assert_eq!(data(&within(waiting.next()).await.unwrap().unwrap().unwrap().unwrap()), "e");
});

conformance!(an_ack_wakes_a_receive_that_waits_for_a_concurrency_limit, async |world: World| {
    let tides = [world.open().await, world.open().await];
    let [queue, other] = tides.each_ref().map(texts);
    queue.set_concurrency_limit(1).await.unwrap();
    for text in ["a", "b", "c"] {
        send(&queue, text).await;
    }
    let held = take(&queue).await;
    let waiting = tokio::spawn(other.recv().forever().into_future());
    tokio::task::yield_now().await;
    held.ack().await.unwrap();
    let held = within(waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(data(&held), "b");
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    tokio::task::yield_now().await;
    other.set_concurrency_limit(2).await.unwrap();
    assert_eq!(data(&within(waiting).await.unwrap().unwrap().unwrap()), "c");
});

conformance!(a_freed_key_wakes_a_waiting_receive, async |world: World| {
    let queue = texts(&world.open().await);
    for text in ["a1", "a2"] {
        queue.send(&text.to_owned()).ordering_key("a").await.unwrap();
    }
    let head = take(&queue).await;
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    tokio::task::yield_now().await;
    head.ack().await.unwrap();
    assert_eq!(data(&within(waiting).await.unwrap().unwrap().unwrap()), "a2");
});

conformance!(receivers_of_a_process_are_served_in_order_of_arrival, async |world: World| {
    let queue = texts(&world.open().await);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut receive = Box::pin(queue.recv().forever().into_future());
        // The first poll takes the place in the line.
        assert!(futures_poll(receive.as_mut()).await.is_none());
        waiting.push(receive);
    }
    for number in 0..20 {
        send(&queue, &number.to_string()).await;
    }
    for (number, receive) in waiting.into_iter().enumerate() {
        assert_eq!(data(&within(receive).await.unwrap().unwrap()), number.to_string());
    }
});

/// Polls once.
async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

conformance!(different_leases_in_one_line_are_kept_apart, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let short = tokio::spawn(queue.recv().lease(SECOND).forever().into_future());
    let long = tokio::spawn(queue.recv().lease(50 * SECOND).consumer("long").forever().into_future());
    send(&queue, "x").await;
    send(&queue, "y").await;
    let (short, long) = (within(short).await.unwrap().unwrap().unwrap(), within(long).await.unwrap().unwrap().unwrap());
    let (one, other) = (queue.get(short.id()).await.unwrap().unwrap(), queue.get(long.id()).await.unwrap().unwrap());
    assert_eq!(one.lease.unwrap().end, clock.now() + SECOND);
    let lease = other.lease.unwrap();
    assert_eq!((lease.end, lease.consumer.as_str()), (clock.now() + 50 * SECOND, "long"));
});

conformance!(a_dropped_receive_loses_nothing, async |world: World| {
    let queue = texts(&world.open().await);
    for _ in 0..crate::harness::scale(1_000) {
        let waiting = tokio::spawn(queue.recv().forever().into_future());
        for _ in 0..fastrand::usize(..3) {
            tokio::task::yield_now().await;
        }
        let id = send(&queue, "text").await;
        for _ in 0..fastrand::usize(..4) {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        // If the task got as far as its end, its result is the delivery; otherwise the message was given back.
        let delivery = match waiting.await {
            Ok(received) => received.unwrap().unwrap(),
            Err(_) => within(queue.recv().forever()).await.unwrap().unwrap(),
        };
        assert_eq!((delivery.id(), delivery.attempt()), (id, 1), "no attempt is used");
        assert!(delivery.ack().await.unwrap());
    }
});

conformance!(a_request_that_was_never_polled_does_nothing, async |world: World| {
    let queue = texts(&world.open().await);
    let text = "text".to_owned();
    drop(queue.send(&text).into_future());
    drop(queue.recv().into_future());
    send(&queue, "real").await;
    let receipt = take(&queue).await.receipt();
    drop(queue.ack(&receipt).into_future());
    let stats = stats(&queue).await;
    assert_eq!((stats.accepted, stats.leased), (1, 1));
    assert!(queue.ack(&receipt).await.unwrap());
});

conformance!(a_polled_settle_is_sent_although_it_is_dropped, async |world: World| {
    let queue = texts(&world.open().await);
    for _ in 0..20 {
        send(&queue, "text").await;
    }
    for delivery in queue.recv_many(20).await.unwrap() {
        let mut ack = delivery.ack().into_future();
        let _ = futures_poll(&mut ack).await;
        drop(ack);
    }
    until(async || stats(&queue).await.settled == 20).await;
});

conformance!(a_good_message_behind_a_hundred_expired_ones_is_found_at_once, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let brief = tide.queue::<String>("texts").max_age(SECOND).build().unwrap();
    for _ in 0..1_000 / 10 {
        brief.send(&"expired".to_owned()).priority(9).await.unwrap();
    }
    let queue = texts(&tide);
    send(&queue, "good").await;
    clock.advance(SECOND);
    assert_eq!(data(&take(&queue).await), "good");
    assert_eq!(stats(&queue).await.dead, 100);
});

conformance!(recv_many_takes_what_is_there, async |world: World| {
    let queue = texts(&world.open().await);
    assert!(queue.recv_many(10).wait(Duration::ZERO).await.unwrap().is_empty());
    for number in 0..15 {
        send(&queue, &number.to_string()).await;
    }
    let first = queue.recv_many(10).await.unwrap();
    assert_eq!(first.len(), 10);
    assert_eq!(queue.recv_many(1_000).await.unwrap().len(), 5);
    let receipts: Vec<_> = first.iter().map(Delivery::receipt).collect();
    assert_eq!(queue.ack_many(&receipts).await.unwrap(), vec![true; 10]);
});

conformance!(many_bytes_come_in_several_answers, async |world: World| {
    let queue = world.open().await.queue::<Raw>("raw").payload_limit(16 << 20).build().unwrap();
    for _ in 0..3 {
        queue.send(&Raw(vec![1; 7 << 20])).await.unwrap();
    }
    let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(queue.recv().forever().into_future())).collect();
    for receive in waiting {
        assert_eq!(within(receive).await.unwrap().unwrap().unwrap().0.len(), 7 << 20);
    }
});

conformance!(a_hundred_consumers_share_without_overlap, async |world: World| {
    let count = crate::harness::scale(5_000);
    let queue = texts(&world.open().await);
    let other = texts(&world.open().await);
    let seen = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let consumers: Vec<_> = (0..100)
        .map(|number| {
            let (queue, seen) = (if number % 2 == 0 { queue.clone() } else { other.clone() }, Arc::clone(&seen));
            tokio::spawn(async move {
                loop {
                    let delivery = queue.recv().forever().await.unwrap().unwrap();
                    assert!(seen.lock().unwrap().insert(delivery.id()), "handed out twice: {delivery:?}");
                    assert!(delivery.ack().await.unwrap());
                }
            })
        })
        .collect();
    for number in 0..count {
        send(&queue, &number.to_string()).await;
    }
    until(async || stats(&queue).await.settled == count as u64).await;
    consumers.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(seen.lock().unwrap().len(), count);
});

conformance!(who_waits_while_much_is_overdue_is_not_forgotten, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let due = clock.now() + SECOND;
    let line = "line".to_owned();
    queue.send_many((0..250).map(|_| queue.send(&line).at(due).ordering_key("a"))).await.unwrap();
    queue.send(&"behind".to_owned()).at(due + MS).await.unwrap();
    let receive = || Box::pin(queue.recv().forever().into_future());
    let (mut first, mut second) = (receive(), receive());
    assert!(futures_poll(first.as_mut()).await.is_none() && futures_poll(second.as_mut()).await.is_none());
    // The first step makes only the head of the line deliverable, and leaves more overdue.
    clock.advance(SECOND + MS);
    let (first, second) = within(async { tokio::join!(first, second) }).await;
    assert_eq!((data(&first.unwrap().unwrap()), data(&second.unwrap().unwrap())), ("line", "behind"));
});

conformance!(one_large_message_makes_no_takes_small, async |world: World| {
    let queue = world.open().await.queue::<Raw>("raw").payload_limit(16 << 20).build().unwrap();
    queue.send(&Raw(vec![1; 15 << 20])).await.unwrap();
    queue.send_many((0..20).map(|_| queue.send(&Raw(vec![2; 1 << 10])))).await.unwrap();
    assert_eq!(queue.recv_many(1).await.unwrap()[0].0.len(), 15 << 20);
    assert_eq!(queue.recv_many(30).await.unwrap().len(), 20);
    // What does not fit is left for the next receive.
    queue.send(&Raw(vec![3; 1 << 10])).await.unwrap();
    queue.send(&Raw(vec![1; 16 << 20])).await.unwrap();
    queue.send(&Raw(vec![4; 1 << 10])).await.unwrap();
    for expected in [3, 1, 4] {
        let taken = queue.recv_many(10).await.unwrap();
        assert_eq!(taken.iter().map(|one| one.0[0]).collect::<Vec<_>>(), [expected]);
    }
});
