//! The order of deliveries.

use super::*;
use tidelock::{Place, Removed};

async fn five(queue: &Queue<String>) {
    for number in 0..5 {
        send(queue, &number.to_string()).await;
    }
}

/// All ready messages, in pages of one.
async fn listed(queue: &Queue<String>) -> Vec<String> {
    let mut page = queue.list(State::Ready).limit(1).await.unwrap();
    let mut texts = Vec::new();
    loop {
        texts.extend(page.items.iter().map(|message| message.decode::<String>().unwrap()));
        let Some(next) = &page.next else { return texts };
        page = queue.list(State::Ready).limit(1).after(next).await.unwrap();
    }
}

conformance!(plain_sends_are_first_in_first_out, async |world: World| {
    let queue = texts(&world.open().await);
    five(&queue).await;
    assert_eq!(drain(&queue).await, ["0", "1", "2", "3", "4"]);
});

conformance!(one_that_is_removed_lets_the_next_of_its_ordering_key_go, async |world: World| {
    let queue = texts(&world.open().await);
    let first = queue.send(&"first".to_owned()).ordering_key("key").await.unwrap();
    let other = queue.send(&"other".to_owned()).ordering_key("another").await.unwrap();
    for text in ["second", "third"] {
        queue.send(&text.to_owned()).ordering_key("key").await.unwrap();
    }
    // First what can be delivered, then what is blocked.
    assert_eq!(listed(&queue).await, ["first", "other", "second", "third"]);
    for removed in [first, other] {
        assert_eq!(queue.remove(removed.id).await.unwrap(), Removed::Removed);
    }
    let second = take(&queue).await;
    assert_eq!(data(&second), "second");
    assert!(queue.try_recv().await.unwrap().is_none(), "the third waits for the second");
    second.ack().await.unwrap();
    assert_eq!(drain(&queue).await, ["third"]);
    // Nothing is left that the next message of either key would have to wait for.
    queue.send(&"fourth".to_owned()).ordering_key("key").await.unwrap();
    queue.send(&"more".to_owned()).ordering_key("another").await.unwrap();
    assert_eq!(drain(&queue).await, ["fourth", "more"]);
});

conformance!(a_returned_message_keeps_its_place, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    five(&queue).await;
    take(&queue).await.nack().await.unwrap();
    assert_eq!(data(&take(&queue).await), "0");
    clock.advance(30 * SECOND);
    assert_eq!(drain(&queue).await, ["0", "1", "2", "3", "4"]);
});

conformance!(with_place_back_a_returned_message_goes_to_the_end, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").redelivery(Place::Back).build().unwrap();
    five(&queue).await;
    take(&queue).await.nack().await.unwrap();
    send(&queue, "5").await;
    // All within one millisecond; the order stays the same afterwards.
    assert_eq!(listed(&queue).await, ["1", "2", "3", "4", "0", "5"]);
    clock.advance(MS);
    send(&queue, "6").await;
    assert_eq!(drain(&queue).await, ["1", "2", "3", "4", "0", "5", "6"]);
});

conformance!(with_place_back_messages_take_turns, async |mut world: World| {
    let clock = world.pin();
    let queue =
        world.open().await.queue::<String>("texts").redelivery(Place::Back).max_deliveries(None).build().unwrap();
    five(&queue).await;
    for turn in 0..20 {
        let delivery = take(&queue).await;
        assert_eq!(data(&delivery), (turn % 5).to_string());
        delivery.nack().delay(if turn < 10 { Duration::ZERO } else { SECOND }).await.unwrap();
        if turn >= 10 && turn % 5 == 4 {
            clock.advance(SECOND);
        }
    }
    assert_eq!(drain(&queue).await, ["0", "1", "2", "3", "4"]);
});

conformance!(equal_due_times_go_by_send_order, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    for number in 0..12 {
        queue.send(&number.to_string()).delay(SECOND).await.unwrap();
    }
    nothing(&queue).await;
    clock.advance(SECOND);
    let order: Vec<_> = (0..12).map(|number| number.to_string()).collect();
    assert_eq!(drain(&queue).await, order);
});

conformance!(a_delayed_message_stands_behind_what_became_due_before, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    queue.send(&"later".to_owned()).delay(10 * MS).await.unwrap();
    clock.advance(5 * MS);
    send(&queue, "sooner").await;
    clock.advance(10 * MS);
    send(&queue, "last").await;
    assert_eq!(drain(&queue).await, ["sooner", "later", "last"]);
});

conformance!(sends_keep_their_order_when_the_clock_steps_back, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let first = send(&queue, "first").await;
    clock.set(tidelock::Timestamp::from_millis(clock.now().as_millis() - 5_000));
    let second = send(&queue, "second").await;
    assert!(first < second, "ids only grow");
    assert_eq!(drain(&queue).await, ["first", "second"]);
});

conformance!(priority_is_strict_and_survives_a_return, async |world: World| {
    let queue = texts(&world.open().await);
    send(&queue, "a").await;
    queue.send(&"b".to_owned()).priority(5).await.unwrap();
    queue.send(&"c".to_owned()).priority(5).await.unwrap();
    queue.send(&"urgent".to_owned()).priority(9).await.unwrap();
    let first = take(&queue).await;
    assert_eq!((data(&first), first.priority()), ("urgent", 9));
    first.nack().await.unwrap();
    assert_eq!(drain(&queue).await, ["urgent", "b", "c", "a"]);
});

conformance!(one_key_runs_in_order_and_one_at_a_time, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    for text in ["a1", "a2", "a3"] {
        queue.send(&text.to_owned()).ordering_key("a").await.unwrap();
    }
    queue.send(&"b1".to_owned()).ordering_key("b").await.unwrap();
    let mut ran = Vec::new();
    for _ in 0..2 {
        let head = take(&queue).await;
        assert_eq!((data(&head), head.ordering_key()), ("a1", Some("a")));
        ran.push(head.data().clone());
        head.nack().delay(200 * MS).await.unwrap();
        assert!(queue.peek(10).await.unwrap().iter().all(|info| info.ordering_key.as_deref() != Some("a")));
        clock.advance(200 * MS);
    }
    assert_eq!(stats(&queue).await.blocked, 2);
    ran.extend(drain(&queue).await);
    ran.retain(|text| text.starts_with('a'));
    assert_eq!(ran, ["a1", "a1", "a1", "a2", "a3"]);
});

conformance!(a_dead_head_frees_its_key, async |world: World| {
    let queue = texts(&world.open().await);
    for text in ["a1", "a2"] {
        queue.send(&text.to_owned()).ordering_key("a").await.unwrap();
    }
    let head = take(&queue).await;
    nothing(&queue).await;
    assert!(head.dead_letter("broken").await.unwrap());
    assert_eq!(drain(&queue).await, ["a2"]);
});

conformance!(recv_many_gives_at_most_one_per_key, async |world: World| {
    let queue = texts(&world.open().await);
    for (text, key) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        queue.send(&text.to_owned()).ordering_key(key).await.unwrap();
    }
    let heads = queue.recv_many(10).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.data().as_str()).collect::<Vec<_>>(), ["a1", "b1"]);
});
