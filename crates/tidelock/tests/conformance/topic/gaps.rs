//! Events that a reader can no longer get are reported: once, exactly, and before anything that follows.

use super::*;
use tidelock::Cursor;

/// A topic whose events are retained for 10 s.
fn brief(tide: &Tidelock) -> Topic<String> {
    tide.topic("texts").retention(10 * SECOND).build().unwrap()
}

/// The content of a gap, after checking that it ends just before `next`.
async fn told(topic: &Topic<String>, gap: Gap, next: &str) -> (Cursor, Option<u64>, GapCause) {
    let page = topic.read().after(gap.to).limit(1).await.unwrap().items;
    assert_eq!(page.into_iter().map(text_of).collect::<Vec<_>>(), [next], "`to` stands just before it");
    (gap.from, gap.missed, gap.cause)
}

fn trimmed(from: Cursor, missed: u64) -> (Cursor, Option<u64>, GapCause) {
    (from, Some(missed), GapCause::Trimmed)
}

fn replaced(from: Cursor) -> (Cursor, Option<u64>, GapCause) {
    (from, None, GapCause::Replaced)
}

conformance!(events_trimmed_in_the_middle_are_one_gap, async |mut world: World| {
    let clock = world.pin();
    let topic = brief(&world.open().await);
    let group = reader(&topic, "group");
    let mut follower = topic.follow().await.unwrap();
    let old = publish_all(&topic, 0..5).await;
    assert_eq!(take(&group).await.data(), "0");
    assert_eq!(next_text(&mut follower).await, "0");
    let cursor = old[0].cursor;
    clock.advance(10 * SECOND);
    let new = publish_all(&topic, 5..8).await;

    let expected = trimmed(cursor, 4);
    let page = topic.read().after(cursor).await.unwrap().items;
    let mut page = page.into_iter();
    assert_eq!(told(&topic, gap_of(page.next().unwrap()), "5").await, expected, "in a page it is the first item");
    assert_eq!(page.map(text_of).collect::<Vec<_>>(), numbers(5..8));
    assert_eq!(told(&topic, take_gap(&group).await, "5").await, expected);
    assert_eq!(drain(&group).await, numbers(5..8), "and nothing is lost with it");
    assert_eq!(info(&topic, "group").await.missed, 4);
    // A follower may still hand out what it has buffered; one that starts from the cursor cannot have it.
    let mut late = topic.follow().after(&cursor).await.unwrap();
    assert_eq!(told(&topic, gap_of(next(&mut late).await), "5").await, expected);
    assert_eq!(next_text(&mut late).await, "5");
    assert_eq!(info(&topic, "group").await.position, new[2].cursor);
});

conformance!(events_trimmed_at_the_very_start_are_told_to_whoever_stood_there, async |mut world: World| {
    let clock = world.pin();
    let topic = brief(&world.open().await);
    let start = topic.latest_cursor().await.unwrap();
    assert!(topic.groups().create("early", Start::Latest).await.unwrap());
    publish_all(&topic, 0..3).await;
    clock.advance(10 * SECOND);
    publish(&topic, "new").await;
    let expected = trimmed(start, 3);
    let gap = take_gap(&reader(&topic, "early")).await;
    assert_eq!(told(&topic, gap, "new").await, expected, "ordinal 0 of the life that began");
    assert_eq!(drain(&reader(&topic, "early")).await, ["new"]);
    let mut follower = topic.follow().after(&start).await.unwrap();
    assert_eq!(told(&topic, gap_of(next(&mut follower).await), "new").await, expected);
    assert_eq!(next_text(&mut follower).await, "new");
    // A reader that begins at the retained events has missed nothing.
    assert_eq!(drain(&reader(&topic, "late")).await, ["new"]);
    let mut earliest = topic.follow().start(Start::Earliest).await.unwrap();
    assert_eq!(next_text(&mut earliest).await, "new");
});

conformance!(a_log_that_is_empty_gives_its_gap_with_the_next_event, async |mut world: World| {
    let clock = world.pin();
    let topic = brief(&world.open().await);
    let group = reader(&topic, "group");
    let old = publish_all(&topic, 0..3).await;
    assert_eq!(take(&group).await.data(), "0");
    clock.advance(10 * SECOND);
    nothing(&group).await;
    let page = topic.read().after(old[0].cursor).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none(), "without such an event there is no gap yet");
    let waiting = tokio::spawn(group.recv().forever().into_future());
    publish(&topic, "new").await;
    let gap = gap_of(within(waiting).await.unwrap().unwrap().unwrap());
    assert_eq!(told(&topic, gap, "new").await, trimmed(old[0].cursor, 2));
    assert_eq!(drain(&group).await, ["new"]);
});

conformance!(an_idle_follower_is_told_what_was_trimmed_meanwhile, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").max_len(2).build().unwrap();
    let mut follower = topic.follow().await.unwrap();
    let first = publish(&topic, "first").await;
    assert_eq!(next_text(&mut follower).await, "first");
    publish_all(&topic, 0..10).await;
    let gap = gap_of(next(&mut follower).await);
    assert_eq!(told(&topic, gap, "8").await, trimmed(first.cursor, 8));
    assert_eq!((next_text(&mut follower).await, next_text(&mut follower).await), ("8".to_owned(), "9".to_owned()));
    clock.advance(SECOND);
    publish(&topic, "next").await;
    assert_eq!(next_text(&mut follower).await, "next", "no gap without a miss");
});

conformance!(a_gap_is_the_first_item_of_a_batch_and_told_to_one_reader, async |mut world: World| {
    let clock = world.pin();
    let (tide, other) = (world.open().await, world.open().await);
    let (topic, group) = (brief(&tide), reader(&brief(&other), "group"));
    publish_all(&topic, 0..3).await;
    assert_eq!(take(&group).await.data(), "0");
    clock.advance(10 * SECOND);
    publish_all(&topic, 3..6).await;
    let mut batch = reader(&topic, "group").recv_many(3).await.unwrap().into_iter();
    assert_eq!(gap_of(batch.next().unwrap()).missed, Some(2));
    let texts: Vec<_> = batch.map(|item| item.event().unwrap()).map(|event| event.data().clone()).collect();
    assert_eq!(texts, numbers(3..5), "the gap counts");
    assert_eq!(drain(&group).await, ["5"]);
});

conformance!(a_stream_tells_a_gap_in_its_place, async |mut world: World| {
    let clock = world.pin();
    let topic = brief(&world.open().await);
    for (round, prefetch) in [0, 4].into_iter().enumerate() {
        let group = reader(&topic, &format!("group {round}"));
        publish_all(&topic, 0..3).await;
        assert_eq!(take(&group).await.data(), "0");
        clock.advance(10 * SECOND);
        publish_all(&topic, 3..6).await;
        let mut items = Vec::new();
        let mut stream = group.stream().prefetch(prefetch).drain();
        while let Some(item) = within(stream.next()).await {
            items.push(match item.unwrap() {
                Item::Event(event) => {
                    let text = event.data().clone();
                    assert!(event.commit().await.unwrap());
                    text
                }
                other => format!("missed {:?}", gap_of(other).missed.unwrap()),
            });
        }
        assert_eq!(items, ["missed 2", "3", "4", "5"]);
        clock.advance(10 * SECOND);
    }
});

conformance!(a_gap_whose_receive_was_dropped_is_told_to_the_next, async |mut world: World| {
    let clock = world.pin();
    let topic = brief(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..3).await;
    assert_eq!(take(&group).await.data(), "0");
    clock.advance(10 * SECOND);
    publish_all(&topic, 3..6).await;
    // Dropped at every point of its way: before it is sent, while it is in flight, and after its answer has arrived.
    let (mut gaps, mut texts) = (Vec::new(), Vec::new());
    let mut seen = async |item: Item<EventDelivery<String>>| match item {
        Item::Event(event) => {
            texts.push(event.data().clone());
            assert_eq!(event.attempt(), 1);
            assert!(event.commit().await.unwrap());
            texts.len() + gaps.len()
        }
        gap => {
            gaps.push(gap_of(gap).missed);
            texts.len() + gaps.len()
        }
    };
    let mut count = 0;
    for polls in 0..20 {
        let mut receive = Box::pin(group.recv().into_future());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..polls {
            if let std::task::Poll::Ready(received) = receive.as_mut().poll(&mut context) {
                count = seen(received.unwrap().unwrap()).await;
                break;
            }
            tokio::task::yield_now().await;
        }
        if count == 4 {
            break;
        }
    }
    while count < 4 {
        count = seen(within(group.recv().into_future()).await.unwrap().unwrap()).await;
    }
    nothing(&group).await;
    texts.sort();
    assert_eq!((gaps, texts), (vec![Some(2)], numbers(3..6)), "once, and nothing is lost with it");
});

conformance!(a_gap_that_a_dropped_stream_took_ahead_is_told_to_the_next, async |mut world: World| {
    let clock = world.pin();
    let topic = brief(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..3).await;
    assert_eq!(take(&group).await.data(), "0");
    clock.advance(10 * SECOND);
    publish_all(&topic, 3..6).await;
    let mut stream = group.stream().prefetch(4);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    if let std::task::Poll::Ready(item) = stream.poll_next_unpin(&mut context) {
        assert_eq!(gap_of(item.unwrap().unwrap()).missed, Some(2), "it was quick");
        return;
    }
    until(async || counts(&topic, "group").await[1] == 4).await;
    drop(stream);
    assert_eq!(gap_of(within(group.recv().into_future()).await.unwrap().unwrap()).missed, Some(2));
    until(async || counts(&topic, "group").await[1] == 1).await;
    assert_eq!(drain(&group).await, numbers(3..6));
});

conformance!(a_deleted_topic_goes_on_as_another_log, async |world: World| {
    let topic = texts(&world.open().await);
    let watched = texts(&world.open().await);
    let group = reader(&watched, "group");
    let mut follower = watched.follow().await.unwrap();
    let old = publish_all(&topic, 0..3).await;
    assert_eq!(drain(&group).await, numbers(0..3));
    for number in 0..3_u32 {
        assert_eq!(next_text(&mut follower).await, number.to_string());
    }
    let waiting = tokio::spawn(group.recv().forever().into_future());
    let followed = tokio::spawn(async move { (next(&mut follower).await, follower) });
    assert!(topic.delete().await.unwrap());
    assert!(!topic.delete().await.unwrap(), "nothing is left");
    assert!(topic.groups().list().await.unwrap().is_empty());
    let new = publish(&topic, "new").await;

    let gap = gap_of(within(waiting).await.unwrap().unwrap().unwrap());
    assert_eq!((gap.from, gap.missed, gap.cause), replaced(old[2].cursor));
    assert_eq!(take(&group).await.event_id(), new.event_id);
    let (item, mut follower) = within(followed).await.unwrap();
    let gap = gap_of(item);
    assert_eq!((gap.from, gap.missed, gap.cause), replaced(old[2].cursor));
    assert_eq!(next_text(&mut follower).await, "new");
    // A cursor of the old life never skips a new event.
    let page = topic.read().after(old[1].cursor).await.unwrap().items;
    assert_eq!(gap_of(page[0].clone()).cause, GapCause::Replaced);
    assert_eq!(text_of(page[1].clone()), "new");
    assert_ne!(new.cursor, old[0].cursor);
});
