//! Deliveries as a stream.

use super::*;
use futures_util::{FutureExt, StreamExt};

use crate::harness::START;

conformance!(a_stream_waits_on_and_ends_when_told, async |world: World| {
    let queue = texts(&world.open().await);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut stream = queue.stream().consumer("stream").until(async { stopped.await.unwrap() });
    for number in 0..3 {
        let text = number.to_string();
        let (_, next) = tokio::join!(send(&queue, &text), within(stream.next()));
        let delivery = next.unwrap().unwrap();
        assert_eq!(data(&delivery), number.to_string());
        assert_eq!(queue.get(delivery.id()).await.unwrap().unwrap().lease.unwrap().consumer, "stream");
        assert!(delivery.ack().await.unwrap());
    }
    stop.send(()).unwrap();
    send(&queue, "left").await;
    assert!(within(stream.next()).await.is_none());
    assert!(within(stream.next()).await.is_none(), "it stays ended");
    assert_eq!(drain(&queue).await, ["left"]);
});

conformance!(drain_ends_when_nothing_is_deliverable, async |world: World| {
    let queue = texts(&world.open().await);
    for prefetch in [0, 4] {
        for number in 0..10 {
            send(&queue, &number.to_string()).await;
        }
        queue.send(&"later".to_owned()).delay(tidelock::HOUR).await.unwrap();
        let mut seen = Vec::new();
        let mut stream = queue.stream().prefetch(prefetch).drain();
        while let Some(delivery) = within(stream.next()).await {
            let delivery = delivery.unwrap();
            seen.push(delivery.data().clone());
            assert!(delivery.ack().await.unwrap());
        }
        assert_eq!(seen, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    }
});

conformance!(what_a_stream_took_ahead_is_renewed_and_given_back, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    for number in 0..4 {
        send(&queue, &number.to_string()).await;
    }
    let mut stream = queue.stream().lease(30 * SECOND).prefetch(3);
    let first = within(stream.next()).await.unwrap().unwrap();
    assert_eq!(data(&first), "0");
    until_leased(&queue, 4).await;
    let until_renewed = async |end: tidelock::Timestamp, moves: Duration| {
        until(async || {
            clock.advance(moves);
            let leased = queue.list(State::Leased).await.unwrap().items;
            leased.iter().filter(|info| info.lease.as_ref().unwrap().end >= end).count() >= 3
        })
        .await;
    };
    // A message that enters the buffer after a renewal is renewed by the next one, so the time moves on here.
    clock.advance(10 * SECOND);
    until_renewed(START + 31 * SECOND, 5 * MS).await;
    for _ in 0..10 {
        clock.advance(12 * SECOND);
        // The three in the buffer are renewed; the caller has to touch the one that was handed out.
        until_renewed(clock.now() + 30 * SECOND, Duration::ZERO).await;
    }
    assert_eq!(queue.list(State::Leased).await.unwrap().items.len(), 3);
    drop(stream);
    until_leased(&queue, 0).await;
    assert!(!first.ack().await.unwrap());
    let all = queue.recv_many(10).await.unwrap();
    let attempts: Vec<_> = all.iter().map(|one| (one.data().as_str(), one.attempt())).collect();
    assert_eq!(attempts, [("0", 2), ("1", 1), ("2", 1), ("3", 1)]);
});

conformance!(a_stream_refuses_what_is_out_of_range, async |world: World| {
    let queue = texts(&world.open().await);
    for mut stream in [
        queue.stream().prefetch(1_001),
        queue.stream().lease(99 * MS).prefetch(1),
        queue.stream().lease(Duration::ZERO),
        queue.stream().consumer(""),
    ] {
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), tidelock::ErrorKind::InvalidArgument);
        assert!(stream.next().await.is_none());
    }
    send(&queue, "short leases need no prefetch").await;
    assert!(queue.stream().lease(MS).next().await.unwrap().is_ok());
});

in_process!(what_came_with_the_stop_signal_is_the_last, async || {
    let queue = texts(&Tidelock::in_process());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut stream = queue.stream().until(async { stopped.await.unwrap() });
    assert!(stream.next().now_or_never().is_none());
    // Both are there before anything else runs.
    send(&queue, "text").now_or_never().unwrap();
    stop.send(()).unwrap();
    assert_eq!(data(&within(stream.next()).await.unwrap().unwrap()), "text");
    assert!(within(stream.next()).await.is_none());
});
