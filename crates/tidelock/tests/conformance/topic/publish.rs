//! What a publish appends, and what it rejects.

use super::*;
use serde_json::json;
use tidelock::{Cursor, DAY, ErrorKind, EventId, HOUR, Raw};

conformance!(an_event_carries_what_was_published_with_it, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let value = json!({"n": 9_007_199_254_740_993_u64, "x": 0.1, "empty": [[], {}], "text": "\u{0}é🦀"});
    let mut follower = topic.follow().await.unwrap();
    let request = topic.publish(&"text".to_owned()).meta("a", &value).meta("b", &7).ordering_key("key");
    let published = request.traceparent(trace).await.unwrap();
    assert!(!published.duplicate);
    assert_eq!(published.event_id.cursor(), published.cursor);
    let text = published.cursor.to_string();
    assert_eq!(text, published.event_id.to_string());
    assert!(text.len() <= 80 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    assert_eq!(text.parse::<Cursor>().unwrap(), published.cursor);
    assert_eq!(text.parse::<EventId>().unwrap(), published.event_id);
    let stored = serde_json::to_string(&published).unwrap();
    assert_eq!(serde_json::from_str::<Published>(&stored).unwrap(), published);

    let delivery = take(&reader(&topic, "group")).await;
    let followed = next(&mut follower).await.event().unwrap();
    let page = topic.read().await.unwrap().items.pop().unwrap().event().unwrap();
    assert_eq!(delivery.attempt(), 1);
    assert_eq!(delivery.last_error(), None);
    for event in [&**delivery, &followed, &page] {
        assert_eq!((event.event_id(), event.cursor()), (published.event_id, published.cursor));
        assert_eq!((event.meta().get("a"), event.meta().get("b")), (Some(&value), Some(&json!(7))));
        assert_eq!((event.traceparent(), event.ordering_key()), (Some(trace), Some("key")));
        assert_eq!((event.published_at(), event.data().as_str()), (clock.now(), "text"));
    }
});

conformance!(bytes_come_back_unchanged_on_every_way, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let topic = tide.topic::<Raw>("raw").build().unwrap();
    let group = topic.reader("group").max_deliveries(3).build().unwrap();
    let mut follower = topic.follow().await.unwrap();
    let payloads = [&b"[]"[..], b"{}", b"9007199254740993", b"0.1", b"\0", b"\xff\xfe", "🦀".as_bytes(), b""];
    let next = async || group.try_recv().await.unwrap().unwrap().event().unwrap();
    for bytes in payloads {
        let mut value = Raw(bytes.to_vec());
        let request = topic.publish(&value);
        value.0.push(1);
        let id = request.await.unwrap().event_id;
        assert_eq!(within(follower.next()).await.unwrap().unwrap().event().unwrap().0, bytes, "followed");
        let page = topic.read().newest_first().limit(1).await.unwrap();
        assert_eq!(page.items.into_iter().next().unwrap().event().unwrap().0, bytes, "in a page");
        let mut first = next().await;
        assert_eq!(first.0, bytes, "at the first receive");
        first.nack().await.unwrap();
        first = next().await;
        assert_eq!(first.0, bytes, "after a nack");
        clock.advance(60 * SECOND);
        let last = next().await;
        assert_eq!((last.0.as_slice(), last.attempt()), (bytes, 3), "after a lapse");
        last.nack().await.unwrap();
        assert_eq!(group.dead_letters().get(id).await.unwrap().unwrap().raw, bytes, "as a dead letter");
        assert!(group.dead_letters().requeue(id).await.unwrap());
        let again = next().await;
        assert_eq!((again.0.as_slice(), again.attempt(), again.event_id()), (bytes, 1, id), "after a requeue");
        assert!(again.commit().await.unwrap());
    }
});

conformance!(a_batch_is_appended_whole_or_not_at_all, async |world: World| {
    let topic = texts(&world.open().await);
    let batch =
        ["a", "b", "c"].map(|text| topic.publish(&text.to_owned()).dedup_key(if text == "c" { "b" } else { text }));
    let published = topic.publish_many(batch).await.unwrap();
    assert_eq!((published[2].event_id, published[2].duplicate), (published[1].event_id, true));
    assert_eq!(published.iter().filter(|published| published.duplicate).count(), 1);
    assert_eq!(page_texts(&topic).await, ["a", "b"]);

    let before = picture(&topic, "group").await.unwrap();
    let bad = [topic.publish(&"x".to_owned()), topic.publish(&"y".to_owned()).ordering_key("")];
    let error = topic.publish_many(bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("item 1"), "{error}");
    let other = [topic.publish(&"x".to_owned()), topic.tenant("other").publish(&"y".to_owned())];
    assert_eq!(topic.publish_many(other).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let many = topic.publish_many(std::iter::repeat_with(|| topic.publish(&"x".to_owned()))).await.unwrap_err();
    assert_eq!(many.kind(), ErrorKind::PayloadTooLarge);
    assert_eq!(topic.publish_many([]).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(picture(&topic, "group").await.unwrap(), before);
    assert_eq!(publish_all(&topic, 0..1_000).await.len(), 1_000);
});

conformance!(a_batch_over_16_mib_is_refused, async |world: World| {
    let topic = world.open().await.topic::<Raw>("raw").payload_limit(16 << 20).build().unwrap();
    let half = Raw(vec![b'x'; 8 << 20]);
    let batch = [topic.publish(&half), topic.publish(&half), topic.publish(&Raw(vec![1]))];
    let error = topic.publish_many(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.to_string().contains("item 2"), "{error}");
    assert_eq!(topic.stats().await.unwrap().events, 0);
    assert_eq!(topic.publish_many([topic.publish(&half), topic.publish(&half)]).await.unwrap().len(), 2);
});

conformance!(the_payload_limit_counts_value_and_meta, async |world: World| {
    let tide = world.open().await;
    // Two quotes, and two bytes for each é; `{"k":1}` is seven.
    let topic = tide.topic::<String>("texts").payload_limit(29).build().unwrap();
    topic.publish(&"é".repeat(10)).meta("k", &1).await.unwrap();
    let error = topic.publish(&("é".repeat(10) + "a")).meta("k", &1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    let text = error.to_string();
    assert!(text.contains("payload exceeds limit") && text.contains("30") && text.contains("29"), "{text}");
    assert_eq!(topic.stats().await.unwrap().published_total, 1);
    let largest = tide.topic::<Raw>("largest").payload_limit(16 << 20).build().unwrap();
    let group = largest.reader("group").build().unwrap();
    let mut follower = largest.follow().await.unwrap();
    let id = largest.publish(&Raw(vec![7; 16 << 20])).await.unwrap().event_id;
    let next = async || group.try_recv().await.unwrap().unwrap().event().unwrap();
    assert!(next().await.dead_letter("large").await.unwrap());
    assert_eq!(group.dead_letters().list().await.unwrap().items[0].raw.len(), 16 << 20);
    assert!(group.dead_letters().requeue(id).await.unwrap());
    assert_eq!(next().await.0.len(), 16 << 20);
    assert_eq!(within(follower.next()).await.unwrap().unwrap().event().unwrap().0.len(), 16 << 20);
    let page = largest.read().await.unwrap().items;
    assert_eq!(page.into_iter().next().unwrap().event().unwrap().0.len(), 16 << 20);
    let error = largest.publish(&Raw(vec![7; (16 << 20) + 1])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
});

conformance!(a_dedup_key_gives_one_event_per_window, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let once = || topic.publish(&"once".to_owned()).dedup_key("key").dedup_for(10 * SECOND);
    let first = once().await.unwrap();
    clock.advance(9_999 * MS);
    let second = once().dedup_for(DAY).await.unwrap();
    assert_eq!((second.event_id, second.cursor, second.duplicate), (first.event_id, first.cursor, true));
    assert_eq!(topic.stats().await.unwrap().events, 1);
    clock.advance(MS);
    let third = once().await.unwrap();
    assert!(!third.duplicate && third.event_id != first.event_id, "the window is never extended");
    let a_week = topic.publish(&"week".to_owned()).dedup_key("week").await.unwrap();
    clock.advance((7 * DAY).saturating_sub(MS));
    let again = topic.publish(&"week".to_owned()).dedup_key("week").await.unwrap();
    assert_eq!((again.event_id, again.duplicate), (a_week.event_id, true), "7 days unless said otherwise");
});

conformance!(a_dedup_key_is_forgotten_with_its_event, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(SECOND).build().unwrap();
    let once = || topic.publish(&"once".to_owned()).dedup_key("key").dedup_for(HOUR);
    let first = once().await.unwrap();
    clock.advance(999 * MS);
    assert_eq!((once().await.unwrap().event_id, once().await.unwrap().duplicate), (first.event_id, true));
    clock.advance(1_001 * MS);
    let second = once().await.unwrap();
    assert!(!second.duplicate);
    assert_eq!(page_texts(&topic).await, ["once"]);
    assert!(once().await.unwrap().duplicate);
});

conformance!(of_concurrent_publishes_with_one_key_one_is_appended, async |world: World| {
    let topic = texts(&world.open().await);
    let publishes = (0..100).map(|_| {
        let topic = topic.clone();
        tokio::spawn(async move { topic.publish(&"once".to_owned()).dedup_key("key").await.unwrap() })
    });
    let mut published = Vec::new();
    for task in publishes.collect::<Vec<_>>() {
        published.push(task.await.unwrap());
    }
    assert_eq!(published.iter().filter(|one| !one.duplicate).count(), 1);
    assert!(published.iter().all(|one| one.event_id == published[0].event_id));
    assert_eq!(page_texts(&topic).await, ["once"]);
});

conformance!(publishes_that_are_awaited_in_turn_keep_their_order, async |world: World| {
    let (topic, other) = (texts(&world.open().await), texts(&world.open().await));
    let mut expected = Vec::new();
    for number in 0..50_u32 {
        let from = if number % 2 == 0 { &topic } else { &other };
        publish(from, &number.to_string()).await;
        expected.push(number.to_string());
    }
    assert_eq!(page_texts(&topic).await, expected);
});

conformance!(a_check_refuses_before_anything_is_sent, async |world: World| {
    let check = |text: &String| if text.contains('@') { Ok(()) } else { Err("no address") };
    let topic = world.open().await.topic::<String>("texts").check(check).build().unwrap();
    publish(&topic, "a@b").await;
    let error = topic.publish(&"ab".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().contains("no address"), "{error}");
    assert_eq!(topic.stats().await.unwrap().events, 1);
});

conformance!(tenants_share_nothing, async |world: World| {
    let topic = texts(&world.open().await);
    let other = topic.tenant("other");
    let mine = publish(&topic, "mine").await;
    assert!(page_texts(&other).await.is_empty());
    nothing(&reader(&other, "group")).await;
    publish(&other, "theirs").await;
    assert_eq!(drain(&reader(&topic, "group")).await, ["mine"]);
    assert_eq!(drain(&reader(&other, "group")).await, ["theirs"]);
    assert_eq!(other.read().after(mine.cursor).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    for bad in ["", "a\0b", &"x".repeat(257)] {
        assert_eq!(topic.tenant(bad).stats().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
});

conformance!(names_never_meet, async |world: World| {
    let tide = world.open().await;
    let names = ["a:b", "a%3Ab", "a/b", "a{b}", "a", "A", "{a}", "é", "e\u{301}", "a b"];
    for name in names {
        publish(&tide.topic(name).build().unwrap(), name).await;
    }
    for name in names {
        let topic = tide.topic(name).build().unwrap();
        for group in names {
            assert_eq!(drain(&reader(&topic, group)).await, [name], "group {group}");
        }
    }
});

conformance!(what_cannot_be_encoded_is_refused_before_anything_is_sent, async |world: World| {
    let odd = std::collections::BTreeMap::from([((1_u8, 2_u8), 3_u8)]);
    let topic = world.open().await.topic("odd").build().unwrap();
    let error = topic.publish(&odd).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    let texts = texts(&world.open().await);
    let error = texts.publish(&"text".to_owned()).meta("odd", &odd).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("odd"), "{error}");
    let batch = [texts.publish(&"good".to_owned()), texts.publish(&"text".to_owned()).meta("odd", &odd)];
    let error = texts.publish_many(batch).await.unwrap_err();
    assert!(error.to_string().contains("item 1"), "{error}");
    assert_eq!(topic.stats().await.unwrap().events + texts.stats().await.unwrap().events, 0);
});
