//! Following: every event, once, in order, from a position on.

use super::*;
use tidelock::ErrorKind;

conformance!(what_is_published_right_after_follow_arrives, async |world: World| {
    let (idle, busy) = (world.open().await, world.open().await);
    let topics = [idle.topic::<String>("idle").build().unwrap(), busy.topic::<String>("busy").build().unwrap()];
    let noise = topics[1].clone();
    let stop = tokio::spawn(async move {
        loop {
            publish(&noise, "noise").await;
            tokio::task::yield_now().await;
        }
    });
    for topic in &topics {
        for number in 0..crate::harness::scale(5_000) {
            let mut follower = topic.follow().await.unwrap();
            let (one, other) = (format!("{number}.1"), format!("{number}.2"));
            publish(topic, &one).await;
            publish(topic, &other).await;
            let mut heard = Vec::new();
            while heard.len() < 2 {
                let text = next_text(&mut follower).await;
                if text != "noise" {
                    heard.push(text);
                }
            }
            assert_eq!(heard, [one, other]);
        }
    }
    stop.abort();
});

conformance!(replay_goes_over_into_following_without_a_seam, async |world: World| {
    let topic = texts(&world.open().await);
    let old = publish_all(&topic, 0..1_000).await;
    let publisher = tokio::spawn({
        let topic = texts(&world.open().await);
        async move {
            for number in 1_000..1_500_u32 {
                publish(&topic, &number.to_string()).await;
            }
        }
    });
    let mut earliest = topic.follow().start(Start::Earliest).await.unwrap();
    let mut after = topic.follow().after(&old[499].cursor).await.unwrap();
    for number in 0..1_500_u32 {
        assert_eq!(next_text(&mut earliest).await, number.to_string());
    }
    for number in 500..1_500_u32 {
        assert_eq!(next_text(&mut after).await, number.to_string());
    }
    publisher.await.unwrap();
});

conformance!(a_snapshot_is_paired_with_the_log_by_its_cursor, async |world: World| {
    let topic = texts(&world.open().await);
    publish_all(&topic, 0..3).await;
    let cursor = topic.latest_cursor().await.unwrap();
    publish_all(&topic, 3..6).await;
    // An old cursor, in another process.
    let stored = cursor.to_string();
    let elsewhere = texts(&world.open().await);
    let mut follower = elsewhere.follow().after(&stored.parse().unwrap()).await.unwrap();
    for number in 3..6_u32 {
        assert_eq!(next_text(&mut follower).await, number.to_string());
    }
});

conformance!(a_follower_begins_where_it_is_told, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let first = publish(&topic, "first").await;
    clock.advance(SECOND);
    let at = clock.now();
    publish(&topic, "second").await;
    let begin = async |start: Start| topic.follow().start(start).await.unwrap();
    let mut latest = begin(Start::Latest).await;
    let mut future = begin(Start::At(at + MS)).await;
    let mut followers =
        [begin(Start::Earliest).await, begin(Start::At(at)).await, begin(Start::After(first.cursor)).await];
    publish(&topic, "third").await;
    let mut heard = Vec::new();
    for follower in &mut followers {
        heard.push(next_text(follower).await);
    }
    assert_eq!(heard, ["first", "second", "second"]);
    assert_eq!(next_text(&mut latest).await, "third");
    assert_eq!(next_text(&mut future).await, "third", "nothing was published at or after it: as latest");
});

conformance!(a_follower_ends_when_told_and_leaves_the_others_alone, async |world: World| {
    let topic = texts(&world.open().await);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut ends = topic.follow().until(async { stopped.await.unwrap() }).await.unwrap();
    let mut stays = topic.follow().await.unwrap();
    publish(&topic, "one").await;
    assert_eq!((next_text(&mut ends).await, next_text(&mut stays).await), ("one".to_owned(), "one".to_owned()));
    let waiting = tokio::spawn(async move {
        let ended = ends.next().await.is_none();
        ended && ends.next().await.is_none()
    });
    stop.send(()).unwrap();
    assert!(within(waiting).await.unwrap(), "it stays ended");
    publish(&topic, "two").await;
    assert_eq!(next_text(&mut stays).await, "two");
});

conformance!(a_slow_follower_holds_up_nobody_and_gets_everything, async |world: World| {
    let topic = texts(&world.open().await);
    let (mut slow, mut quick) = (topic.follow().await.unwrap(), topic.follow().await.unwrap());
    publish(&topic, "first").await;
    assert_eq!(next_text(&mut slow).await, "first");
    assert_eq!(next_text(&mut quick).await, "first");
    // More than the followers' ring holds.
    for round in 0..4 {
        publish_all(&topic, round * 1_000..(round + 1) * 1_000).await;
        for number in round * 1_000..(round + 1) * 1_000 {
            assert_eq!(next_text(&mut quick).await, number.to_string());
        }
    }
    for number in 0..4_000_u32 {
        assert_eq!(next_text(&mut slow).await, number.to_string());
    }
});

conformance!(many_followers_come_and_go, async |world: World| {
    let topic = texts(&world.open().await);
    for _ in 0..crate::harness::scale(1_000) {
        drop(topic.follow().await.unwrap());
        let dropped = tokio::time::timeout(Duration::ZERO, topic.follow().await.unwrap().next()).await;
        assert!(dropped.is_err(), "nothing was published");
    }
    let mut followers = Vec::new();
    for _ in 0..100 {
        followers.push(topic.follow().await.unwrap());
    }
    publish(&topic, "text").await;
    for follower in &mut followers {
        assert_eq!(next_text(follower).await, "text");
    }
    assert!(topic.groups().list().await.unwrap().is_empty(), "a follower is no group");
});

conformance!(on_a_topic_never_written_to_a_follower_waits_and_creates_nothing, async |world: World| {
    let topic = texts(&world.open().await);
    let mut latest = topic.follow().await.unwrap();
    let mut earliest = topic.follow().start(Start::Earliest).await.unwrap();
    let mut after = topic.follow().after(&topic.latest_cursor().await.unwrap()).await.unwrap();
    assert!(!topic.delete().await.unwrap(), "nothing is there");
    publish(&topic, "first").await;
    for follower in [&mut latest, &mut earliest, &mut after] {
        assert_eq!(next_text(follower).await, "first", "and no gap");
    }
});

conformance!(a_follower_refuses_what_it_cannot_follow, async |world: World| {
    let tide = world.open().await;
    let topic = texts(&tide);
    let own = publish(&topic, "text").await.cursor;
    let foreign = publish(&tide.topic("other").build().unwrap(), "text").await.cursor;
    for refused in [
        topic.follow().after(&foreign).await,
        topic.follow().start(Start::After(foreign)).await,
        topic.tenant("other").follow().after(&own).await,
        topic.follow().start(Start::Latest).after(&own).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
});
