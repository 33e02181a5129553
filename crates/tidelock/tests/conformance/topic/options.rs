//! Options that no other file tests.

use super::*;
use tidelock::MINUTE;

conformance!(max_in_flight_holds_back_what_is_new, async |world: World| {
    let topic = texts(&world.open().await);
    let group = topic.reader("group").max_in_flight(2).build().unwrap();
    publish_all(&topic, 0..5).await;
    let batch = group.recv_many(10).await.unwrap();
    assert_eq!(batch.len(), 2);
    nothing(&group).await;
    let mut events = batch.into_iter().map(|item| item.event().unwrap());
    let (zero, one) = (events.next().unwrap(), events.next().unwrap());
    one.nack().delay(MINUTE).await.unwrap();
    nothing(&group).await;
    let waiting = tokio::spawn({
        let group = group.clone();
        async move { group.recv().forever().await.unwrap().unwrap().event().unwrap() }
    });
    tokio::task::yield_now().await;
    assert!(zero.commit().await.unwrap());
    assert_eq!(within(waiting).await.unwrap().data(), "2", "a settle makes room, and wakes who waits");
    assert_eq!(take(&reader(&topic, "group")).await.data(), "3", "it is this reader's limit");
});

conformance!(a_wait_ends_with_its_time, async |mut world: World| {
    let clock = world.pin();
    let group = reader(&texts(&world.open().await), "group");
    assert!(group.recv().wait(Duration::ZERO).await.unwrap().is_none());
    assert!(group.recv_many(3).wait(Duration::ZERO).await.unwrap().is_empty());
    let short = tokio::spawn(group.recv().wait(200 * MS).into_future());
    let long = tokio::spawn(group.recv().into_future());
    assert!(within(advancing(&clock, 50 * MS, short)).await.unwrap().unwrap().is_none());
    assert!(!long.is_finished());
    assert!(within(advancing(&clock, 5 * SECOND, long)).await.unwrap().unwrap().is_none());
});

conformance!(a_receiver_is_woken_by_whatever_makes_an_event_deliverable, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&texts(&world.open().await), "group");
    let wait = || tokio::spawn(group.recv().forever().into_future());
    let waiting = wait();
    publish(&topic, "text").await;
    let event = within(waiting).await.unwrap().unwrap().unwrap().event().unwrap();
    let waiting = wait();
    tokio::task::yield_now().await;
    event.nack().await.unwrap();
    let event = within(waiting).await.unwrap().unwrap().unwrap().event().unwrap();
    assert_eq!(event.attempt(), 2, "a return");
    event.nack().delay(10 * SECOND).await.unwrap();
    let waiting = wait();
    clock.advance(10 * SECOND);
    let event = within(waiting).await.unwrap().unwrap().unwrap().event().unwrap();
    assert_eq!(event.attempt(), 3, "a due time");
    drop(event);
    // In one step, so that the next lease has its full length.
    clock.advance(60 * SECOND);
    let event = within(wait()).await.unwrap().unwrap().unwrap().event().unwrap();
    assert_eq!(event.attempt(), 4, "the end of a lease");
    let id = event.event_id();
    assert!(event.dead_letter("no").await.unwrap());
    let waiting = wait();
    tokio::task::yield_now().await;
    assert!(group.dead_letters().requeue(id).await.unwrap());
    let event = within(waiting).await.unwrap().unwrap().unwrap().event().unwrap();
    assert_eq!(event.attempt(), 1, "a requeue");
});

conformance!(receivers_of_one_process_are_served_in_order_of_arrival, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(Box::pin(group.recv().forever().into_future()));
        let last = waiting.last_mut().unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(last.as_mut().poll(&mut context).is_pending());
    }
    for (number, waiting) in waiting.into_iter().enumerate() {
        publish(&topic, &number.to_string()).await;
        let event = within(waiting).await.unwrap().unwrap().event().unwrap();
        assert_eq!(event.data(), &number.to_string());
    }
});

conformance!(a_stream_waits_on_and_ends_when_told, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut stream = group.stream().lease(MINUTE).consumer("stream").until(async { stopped.await.unwrap() });
    for number in 0..3_u32 {
        let (_, next) = tokio::join!(publish_all(&topic, number..number + 1), within(stream.next()));
        let event = next.unwrap().unwrap().event().unwrap();
        assert_eq!(event.data(), &number.to_string());
        assert_eq!(info(&topic, "group").await.oldest_open_holder.as_deref(), Some("stream"));
        assert!(event.commit().await.unwrap());
    }
    stop.send(()).unwrap();
    publish(&topic, "left").await;
    assert!(within(stream.next()).await.is_none());
    assert!(within(stream.next()).await.is_none(), "it stays ended");
    assert_eq!(drain(&group).await, ["left"]);
});

conformance!(what_a_stream_took_ahead_is_given_back, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..4).await;
    let mut stream = group.stream().prefetch(3);
    let first = within(stream.next()).await.unwrap().unwrap().event().unwrap();
    until(async || counts(&topic, "group").await[1] == 4).await;
    drop(stream);
    until(async || counts(&topic, "group").await[1] == 1).await;
    assert!(first.commit().await.unwrap());
    let batch = group.recv_many(10).await.unwrap();
    let attempts: Vec<_> = batch.into_iter().map(|item| item.event().unwrap().attempt()).collect();
    assert_eq!(attempts, [1, 1, 1]);
});
