//! Order: lowest position first, and ordering keys one at a time.

use super::*;
use tidelock::HOUR;

async fn publish_keyed(topic: &Topic<String>, text: &str) {
    topic.publish(&text.to_owned()).ordering_key(&text[..1]).await.unwrap();
}

conformance!(a_failing_event_holds_back_its_key_alone, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    for text in ["a1", "b1", "a2", "b2", "a3"] {
        publish_keyed(&topic, text).await;
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        let first = take(&group).await;
        seen.push(first.data().clone());
        first.nack().delay(200 * MS).await.unwrap();
        seen.extend(drain(&group).await);
        clock.advance(200 * MS);
    }
    seen.extend(drain(&group).await);
    assert_eq!(seen, ["a1", "b1", "b2", "a1", "a1", "a2", "a3"]);
    assert_eq!(counts(&topic, "group").await, [0; 6]);
});

conformance!(a_dead_event_frees_its_key, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = topic.reader("group").max_deliveries(1).build().unwrap();
    for text in ["a1", "a2", "a3", "a4"] {
        publish_keyed(&topic, text).await;
    }
    let waiting = tokio::spawn({
        let group = group.clone();
        let first = take(&group).await;
        async move { (group.recv().forever().await.unwrap().unwrap().event().unwrap(), first) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "one at a time");
    let (second, _) = within(advancing(&clock, 10 * SECOND, waiting)).await.unwrap();
    assert_eq!(second.data(), "a2", "a crash in the last delivery");
    second.nack().await.unwrap();
    let third = take(&group).await;
    assert_eq!(third.data(), "a3", "a failure in the last delivery");
    assert!(third.dead_letter("no").await.unwrap());
    assert_eq!(drain(&group).await, ["a4"], "and a refusal");
});

conformance!(never_two_of_a_key_at_once, async |world: World| {
    let topic = texts(&world.open().await);
    for number in 0..40_u32 {
        let key = format!("key {}", number % 4);
        topic.publish(&format!("{:02}", number / 4)).ordering_key(&key).await.unwrap();
    }
    let busy = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashMap::<String, Option<String>>::new()));
    let mut workers = Vec::new();
    for _ in 0..3 {
        let group = reader(&texts(&world.open().await), "group");
        let worker = group.process_with(std::sync::Arc::clone(&busy), async |busy, event| {
            let key = event.ordering_key().unwrap().to_owned();
            {
                let mut busy = busy.lock().unwrap();
                let last = busy.insert(key.clone(), None);
                assert!(last.as_ref().is_none_or(Option::is_some), "two of {key} at once");
                let last = last.flatten().unwrap_or_default();
                assert!(*event.data() >= last, "{key}: {} after {last}", event.data());
            }
            tokio::task::yield_now().await;
            busy.lock().unwrap().insert(key, Some(event.data().clone()));
            if event.attempt() == 1 && event.data().ends_with('3') { Err("again".into()) } else { Ok(()) }
        });
        workers.push(worker.concurrency(4).backoff(tidelock::Backoff::fixed(MS)).spawn());
    }
    until(async || workers.iter().map(|worker| worker.stats().acked).sum::<u64>() == 40).await;
    for worker in workers {
        let report = within(worker.shutdown(SECOND)).await;
        assert_eq!(report.dead, 0);
    }
});

conformance!(a_reader_may_take_without_order, async |world: World| {
    let topic = texts(&world.open().await);
    for text in ["a1", "a2", "b1"] {
        publish_keyed(&topic, text).await;
    }
    let held = take(&reader(&topic, "group")).await;
    let unordered = topic.reader("group").ordered(false).build().unwrap();
    assert_eq!(drain(&unordered).await, ["a2", "b1"]);
    assert!(held.commit().await.unwrap());
});

conformance!(a_returned_event_comes_before_newer_ones, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..5).await;
    let (zero, one, _two) = (take(&group).await, take(&group).await, take(&group).await);
    one.nack().await.unwrap();
    zero.nack().await.unwrap();
    assert_eq!(drain(&group).await, ["0", "1", "3", "4"]);
});

conformance!(one_that_expires_behind_its_key_lets_nobody_pass, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(100 * MS).build().unwrap();
    let group = topic.reader("group").lease(HOUR).build().unwrap();
    publish_keyed(&topic, "a1").await;
    let held = take(&group).await;
    publish_keyed(&topic, "a2").await;
    clock.advance(50 * MS);
    publish_keyed(&topic, "a3").await;
    assert!(group.try_recv().await.unwrap().is_none(), "both are set aside");
    clock.advance(50 * MS);
    assert!(group.try_recv().await.unwrap().is_none(), "the second has ended, and the first is held");
    held.commit().await.unwrap();
    assert_eq!(drain(&group).await, ["a3"]);
});

conformance!(what_was_set_aside_for_too_long_expires, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(HOUR).build().unwrap();
    let group = topic.reader("group").lease(2 * HOUR).build().unwrap();
    for text in ["a1", "a2", "b1"] {
        publish_keyed(&topic, text).await;
    }
    let held = take(&group).await;
    assert_eq!(drain(&group).await, ["b1"]);
    clock.advance(HOUR);
    nothing(&group).await;
    let dead = group.dead_letters().list().await.unwrap().items;
    assert_eq!((dead.len(), dead[0].reason), (1, tidelock::DeadReason::Expired));
    assert_eq!((dead[0].decode().unwrap(), dead[0].attempts), ("a2".to_owned(), 0));
    assert!(held.commit().await.unwrap());
});
