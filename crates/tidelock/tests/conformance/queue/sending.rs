//! What a send stores, and what it rejects.

use super::*;
use serde_json::json;
use tidelock::{DAY, ErrorKind, Raw, Timestamp};

conformance!(a_message_carries_what_was_sent_with_it, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let value = json!({"n": 9_007_199_254_740_993_u64, "x": 0.1, "empty": [[], {}], "text": "\u{0}é🦀"});
    let request = queue.send(&"text".to_owned()).meta("a", &value).meta("b", &7).ordering_key("key").priority(3);
    let sent = request.traceparent(trace).await.unwrap();
    assert!(!sent.duplicate);
    let delivery = take(&queue).await;
    assert_eq!((delivery.id(), delivery.attempt(), delivery.priority()), (sent.id, 1, 3));
    assert_eq!(delivery.delivery_id(), format!("{}.{}", sent.id, delivery.fence()));
    assert_eq!((delivery.meta().get("a"), delivery.meta().get("b")), (Some(&value), Some(&json!(7))));
    assert_eq!((delivery.traceparent(), delivery.ordering_key()), (Some(trace), Some("key")));
    assert_eq!((delivery.enqueued_at(), delivery.last_error()), (clock.now(), None));
    assert_eq!(sent.id.to_string().parse::<tidelock::MessageId>().unwrap(), sent.id);
});

conformance!(bytes_come_back_unchanged_on_every_way, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let queue = tide.queue::<Raw>("raw").max_deliveries(3).build().unwrap();
    let payloads = [&b"[]"[..], b"{}", b"9007199254740993", b"0.1", b"\0", b"\xff\xfe", "🦀".as_bytes(), b""];
    for bytes in payloads {
        let mut value = Raw(bytes.to_vec());
        let request = queue.send(&value);
        value.0.push(1);
        let id = request.await.unwrap().id;
        let mut first = queue.try_recv().await.unwrap().unwrap();
        assert_eq!(first.0, bytes, "at the first receive");
        first.nack().await.unwrap();
        first = queue.try_recv().await.unwrap().unwrap();
        assert_eq!(first.0, bytes, "after a nack");
        assert_eq!(queue.get(id).await.unwrap().unwrap().raw, bytes, "in a look");
        clock.advance(30 * SECOND);
        let last = queue.try_recv().await.unwrap().unwrap();
        assert_eq!((last.0.as_slice(), last.attempt()), (bytes, 3), "after a lapse");
        last.nack().await.unwrap();
        assert_eq!(queue.dead_letters().get(id).await.unwrap().unwrap().raw, bytes, "as a dead letter");
        assert!(queue.dead_letters().requeue(id).await.unwrap());
        let again = queue.try_recv().await.unwrap().unwrap();
        assert_eq!((again.0.as_slice(), again.attempt(), again.id()), (bytes, 1, id), "after a requeue");
        assert!(again.ack().await.unwrap());
    }
});

conformance!(a_batch_is_stored_whole_or_not_at_all, async |world: World| {
    let tide = world.open().await;
    let queue = texts(&tide);
    let batch =
        ["a", "b", "c"].map(|text| queue.send(&text.to_owned()).dedup_key(if text == "c" { "b" } else { text }));
    let sent = queue.send_many(batch).await.unwrap();
    assert!(sent[0].id < sent[1].id);
    assert_eq!((sent[2].id, sent[2].duplicate), (sent[1].id, true), "of two equal keys the second is the duplicate");
    assert_eq!(drain(&queue).await, ["a", "b"]);

    let before = picture(&queue).await.unwrap();
    let bad = [queue.send(&"x".to_owned()), queue.send(&"y".to_owned()).priority(10)];
    let error = queue.send_many(bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("item 1"), "{error}");
    let other = [queue.send(&"x".to_owned()), queue.tenant("other").send(&"y".to_owned())];
    assert_eq!(queue.send_many(other).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let many = queue.send_many(std::iter::repeat_with(|| queue.send(&"x".to_owned()))).await.unwrap_err();
    assert_eq!(many.kind(), ErrorKind::PayloadTooLarge);
    assert_eq!(queue.send_many([]).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(picture(&queue).await.unwrap(), before);
    let thousand = (0..1_000).map(|number| queue.send(&number.to_string()));
    assert_eq!(queue.send_many(thousand).await.unwrap().len(), 1_000);
});

conformance!(a_batch_over_16_mib_is_refused, async |world: World| {
    let tide = world.open().await;
    let queue = tide.queue::<Raw>("raw").payload_limit(16 << 20).build().unwrap();
    let half = Raw(vec![b'x'; 8 << 20]);
    let error = queue.send_many([queue.send(&half), queue.send(&half), queue.send(&Raw(vec![1]))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.to_string().contains("item 2"), "{error}");
    assert_eq!(queue.stats().await.unwrap().accepted, 0);
    assert_eq!(queue.send_many([queue.send(&half), queue.send(&half)]).await.unwrap().len(), 2);
});

conformance!(the_payload_limit_counts_value_and_meta, async |world: World| {
    let tide = world.open().await;
    // Two quotes, and two bytes for each é; `{"k":1}` is seven.
    let queue = tide.queue::<String>("texts").payload_limit(29).build().unwrap();
    queue.send(&"é".repeat(10)).meta("k", &1).await.unwrap();
    let error = queue.send(&("é".repeat(10) + "a")).meta("k", &1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    let text = error.to_string();
    assert!(text.contains("payload exceeds limit") && text.contains("30") && text.contains("29"), "{text}");
    assert_eq!(stats(&queue).await.accepted, 1);
    let largest = tide.queue::<Raw>("largest").payload_limit(16 << 20).build().unwrap();
    let id = largest.send(&Raw(vec![7; 16 << 20])).await.unwrap().id;
    let delivery = largest.try_recv().await.unwrap().unwrap();
    assert!(delivery.dead_letter("large").await.unwrap());
    assert_eq!(largest.dead_letters().list().await.unwrap().items[0].raw.len(), 16 << 20);
    assert!(largest.dead_letters().requeue(id).await.unwrap());
    assert_eq!(largest.try_recv().await.unwrap().unwrap().0.len(), 16 << 20);
});

conformance!(a_dedup_key_gives_one_message_per_window, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let once = || queue.send(&"once".to_owned()).dedup_key("key").dedup_for(10 * SECOND);
    let first = once().await.unwrap();
    clock.advance(9_999 * MS);
    assert_eq!(drain(&queue).await, ["once"]);
    let second = once().dedup_for(DAY).await.unwrap();
    assert_eq!((second.id, second.duplicate), (first.id, true), "also when it is finished, and never extended");
    assert_eq!(stats(&queue).await.accepted, 1);
    clock.advance(MS);
    let third = once().await.unwrap();
    assert!(!third.duplicate && third.id > first.id);
    assert_eq!(drain(&queue).await, ["once"]);
});

conformance!(of_concurrent_sends_with_one_key_one_is_accepted, async |world: World| {
    let queue = texts(&world.open().await);
    let sends = (0..100).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.send(&"once".to_owned()).dedup_key("key").await.unwrap() })
    });
    let mut sent = Vec::new();
    for task in sends.collect::<Vec<_>>() {
        sent.push(task.await.unwrap());
    }
    assert_eq!(sent.iter().filter(|sent| !sent.duplicate).count(), 1);
    assert!(sent.iter().all(|one| one.id == sent[0].id));
    assert_eq!(drain(&queue).await, ["once"]);
});

conformance!(what_has_expired_takes_no_room_however_much_it_is, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let short = tide.queue::<String>("texts").max_age(SECOND).build().unwrap();
    let limited = tide.queue::<String>("texts").max_depth(1).build().unwrap();
    // More than one step carries out.
    let text = "expired".to_owned();
    short.send_many((0..450).map(|_| short.send(&text))).await.unwrap();
    clock.advance(SECOND);
    limited.send(&"fits".to_owned()).await.unwrap();
    assert_eq!(limited.send(&"too many".to_owned()).await.unwrap_err().kind(), ErrorKind::CapacityReached);
});

conformance!(max_depth_refuses_sends_and_nothing_else, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let queue = tide.queue::<String>("texts").max_depth(100).build().unwrap();
    let mut refused = 0;
    for number in 0..150 {
        match queue.send(&number.to_string()).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::CapacityReached, true));
                assert!(error.to_string().contains("100"), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 50);
    let taken = take(&queue).await;
    send(&queue, "fits").await;
    assert!(matches!(taken.nack().await.unwrap(), tidelock::Nacked::Requeued { .. }), "a nack is never refused");
    let held = [take(&queue).await, take(&queue).await];
    send(&queue, "fits too").await;
    clock.advance(30 * SECOND);
    drop(held);
    assert_eq!(stats(&queue).await.ready, 102, "nor is a lapse");
    let drained = drain(&queue).await;
    assert_eq!(drained[..100], (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
});

conformance!(an_instant_in_the_past_is_now, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    queue.send(&"past".to_owned()).at(Timestamp::from_millis(1)).await.unwrap();
    queue.send(&"future".to_owned()).at(clock.now() + SECOND).await.unwrap();
    assert_eq!(drain(&queue).await, ["past"]);
    clock.advance(SECOND);
    assert_eq!(drain(&queue).await, ["future"]);
});

conformance!(a_check_refuses_before_anything_is_sent, async |world: World| {
    let tide = world.open().await;
    let check = |text: &String| if text.contains('@') { Ok(()) } else { Err("no address") };
    let queue = tide.queue::<String>("texts").check(check).build().unwrap();
    queue.send(&"a@b".to_owned()).await.unwrap();
    let error = queue.send(&"ab".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().contains("no address"), "{error}");
    assert_eq!(stats(&queue).await.accepted, 1);
});

conformance!(tenants_share_nothing, async |world: World| {
    let queue = texts(&world.open().await);
    let other = queue.tenant("other");
    send(&queue, "mine").await;
    nothing(&other).await;
    send(&other, "theirs").await;
    assert_eq!(drain(&queue).await, ["mine"]);
    assert_eq!(drain(&other).await, ["theirs"]);
    for bad in ["", "a\0b", &"x".repeat(257)] {
        assert_eq!(queue.tenant(bad).stats().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
});

conformance!(a_full_queue_tells_how_many_there_are, async |world: World| {
    let tide = world.open().await;
    let (queue, limited) = (texts(&tide), tide.queue::<String>("texts").max_depth(2).build().unwrap());
    for _ in 0..3 {
        send(&queue, "text").await;
    }
    let text = "text".to_owned();
    let told = "3 messages are ready or delayed, limit 2";
    let error = limited.send(&text).await.unwrap_err();
    assert!(error.to_string().contains(told), "{error}");
    let error = limited.send_many([limited.send(&text), limited.send(&text).priority(1)]).await.unwrap_err();
    assert!(error.to_string().contains(told) && error.to_string().contains("item 0"), "{error}");
});
