//! Reading what is retained, page by page.

use super::*;
use tidelock::PageToken;

conformance!(pages_go_both_ways, async |world: World| {
    let topic = texts(&world.open().await);
    let published = publish_all(&topic, 0..10).await;
    let page = topic.read().limit(4).await.unwrap();
    let next = page.next.unwrap();
    assert_eq!(page.items.into_iter().map(text_of).collect::<Vec<_>>(), numbers(0..4));
    assert_eq!(next, PageToken::from(&published[3].cursor), "a page tells the cursor for the next");
    let page = topic.read().after(&next).limit(6).await.unwrap();
    assert_eq!(page.items.into_iter().map(text_of).collect::<Vec<_>>(), numbers(4..10));
    assert_eq!(page.next, None);

    let page = topic.read().newest_first().limit(4).await.unwrap();
    assert_eq!(page.items.into_iter().map(text_of).collect::<Vec<_>>(), ["9", "8", "7", "6"]);
    let page = topic.read().newest_first().after(page.next.unwrap()).await.unwrap();
    assert_eq!(page.items.into_iter().map(text_of).collect::<Vec<_>>(), ["5", "4", "3", "2", "1", "0"]);
    assert_eq!(page.next, None);
    let page = topic.read().newest_first().after(published[1].cursor).await.unwrap();
    assert_eq!(page.items.into_iter().map(text_of).collect::<Vec<_>>(), ["0"]);
    assert!(topic.read().after(published[9].cursor).await.unwrap().items.is_empty());
});

conformance!(a_page_has_a_hundred_events_unless_told_otherwise, async |world: World| {
    let topic = texts(&world.open().await);
    publish_all(&topic, 0..150).await;
    assert_eq!(topic.read().await.unwrap().items.len(), 100);
    assert_eq!(topic.read().newest_first().await.unwrap().items.len(), 100);
});

conformance!(a_page_of_large_events_is_short_but_never_empty, async |world: World| {
    let topic = world.open().await.topic::<String>("texts").payload_limit(16 << 20).build().unwrap();
    for _ in 0..3 {
        publish(&topic, &"x".repeat(9 << 20)).await;
    }
    let (mut pages, mut events, mut after) = (0, 0, None);
    loop {
        let request = topic.read();
        let page = match &after {
            Some(token) => request.after(token).await.unwrap(),
            None => request.await.unwrap(),
        };
        (pages, events) = (pages + 1, events + page.items.len());
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!((pages, events), (3, 3));
});

conformance!(a_topic_never_written_to_reads_as_empty, async |world: World| {
    let topic = texts(&world.open().await);
    let cursor = topic.latest_cursor().await.unwrap();
    assert!(topic.read().await.unwrap().items.is_empty());
    assert!(topic.read().newest_first().await.unwrap().items.is_empty());
    assert!(topic.read().after(cursor).await.unwrap().items.is_empty());
    let stats = topic.stats().await.unwrap();
    assert_eq!((stats.events, stats.first, stats.latest, stats.oldest_at), (0, None, cursor, None));
    assert_eq!((stats.published_total, stats.groups, stats.retention, stats.max_len), (0, 0, None, None));
    assert!(!topic.delete().await.unwrap(), "looking created nothing");
    let first = publish(&topic, "first").await;
    let page = topic.read().after(cursor).await.unwrap().items;
    assert_eq!(page.into_iter().map(text_of).collect::<Vec<_>>(), ["first"], "it stands before the first event");
    assert_eq!(topic.latest_cursor().await.unwrap(), first.cursor);
});
