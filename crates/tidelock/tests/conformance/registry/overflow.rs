//! Falling behind the log: exactly one overflow, followed by what comes after it; and none if nothing was missed.

use tidelock::registry::{Cursor, Event, EventKind, Follower};
use tidelock::{MINUTE, SECOND};

use super::*;

/// A registry in which only the newest three events can be read.
fn short(tide: &Tidelock) -> Registry<String> {
    tide.registry("texts").max_events(3).build().expect("the options are in range")
}

/// Followers of a key, of a prefix and of everything, after the same position.
async fn three(registry: &Registry<String>, after: &Cursor) -> [Follower<String>; 3] {
    let follow = || registry.follow().after(after);
    [follow().await.unwrap(), follow().prefix("a/").await.unwrap(), follow().key("a/1").await.unwrap()]
}

/// Exactly one overflow, and then `rest`.
async fn one_overflow(follower: &mut Follower<String>, after: &Cursor, rest: &[&str]) -> Event<String> {
    let mut events = drain(follower).await;
    let told: Vec<_> = events.iter().map(told).collect();
    assert_eq!(told[0], "overflow", "{told:?}");
    assert_eq!(told[1..], *rest);
    let event = events.remove(0);
    let EventKind::Overflow { after: place, .. } = &event.kind else { panic!("an overflow") };
    assert_eq!(place, after);
    event
}

conformance!(behind_the_log_before_the_first_read, async |mut world: World| {
    world.pin();
    let registry = short(&world.open().await);
    let start = registry.list().await.unwrap().cursor;
    put(&registry, "a/1", "0").await;
    let early = registry.list().await.unwrap().cursor;
    for text in ["1", "2", "3", "4", "5"] {
        put(&registry, "a/1", text).await;
    }
    let end = registry.list().await.unwrap().cursor;
    for place in [&start, &early] {
        let followers = three(&registry, place).await;
        for mut follower in followers {
            let event = one_overflow(&mut follower, place, &[]).await;
            assert_eq!(event.cursor, end, "it goes on behind the latest event");
            let EventKind::Overflow { first_available, .. } = event.kind else { panic!("an overflow") };
            let mut start = registry.follow().from_start().await.unwrap();
            let readable = drain(&mut start).await;
            let told: Vec<_> = readable.iter().map(told).collect();
            assert_eq!(told, ["upsert a/1 3", "upsert a/1 4", "upsert a/1 5"], "no overflow");
            assert_eq!(first_available, readable[0].cursor, "that of the oldest event");
        }
    }
    for mut follower in three(&registry, &end).await {
        put(&registry, "a/1", "next").await;
        assert_eq!(drain_told(&mut follower).await.last().unwrap(), "upsert a/1 next");
    }
});

conformance!(behind_the_log_later, async |mut world: World| {
    world.pin();
    let registry = short(&world.open().await);
    let start = registry.list().await.unwrap().cursor;
    put(&registry, "a/1", "0").await;
    let mut followers = three(&registry, &start).await;
    for follower in &mut followers {
        assert_eq!(drain_told(follower).await, ["upsert a/1 0"]);
    }
    let place = followers[0].cursor();
    for text in ["1", "2", "3", "4"] {
        put(&registry, "b/1", text).await;
    }
    for follower in &mut followers {
        assert_eq!(follower.cursor(), place);
        one_overflow(follower, &place, &[]).await;
    }
    put(&registry, "a/1", "5").await;
    for follower in &mut followers {
        assert_eq!(drain_told(follower).await, ["upsert a/1 5"]);
    }
});

conformance!(behind_the_log_while_parked, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let registry = short(&tide);
    put(&registry, "a/1", "0").await;
    for which in 0..3 {
        let place = registry.list().await.unwrap().cursor;
        let mut follower = three(&registry, &place).await.into_iter().nth(which).unwrap();
        let waiting = tokio::spawn(async move { (next(&mut follower).await, follower) });
        // The log is a different one from here on: earlier positions cannot be continued.
        registry.delete().await.unwrap();
        put(&registry, "a/1", "1").await;
        let (event, mut follower) = within(waiting).await.unwrap();
        assert_eq!(told(&event), "overflow");
        let EventKind::Overflow { after, .. } = &event.kind else { panic!("an overflow") };
        assert_eq!(*after, place);
        let behind = drain_told(&mut follower).await;
        assert!(behind.is_empty() || behind == ["upsert a/1 1"], "{behind:?}");
        put(&registry, "a/1", "2").await;
        assert_eq!(drain_told(&mut follower).await, ["upsert a/1 2"]);
    }
});

conformance!(behind_a_log_that_was_emptied_by_age, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let registry: Registry<String> = tide.registry("texts").event_retention(10 * SECOND).build().unwrap();
    let start = registry.list().await.unwrap().cursor;
    put(&registry, "a/1", "0").await;
    clock.advance(just_before(10 * SECOND));
    let mut followers = three(&registry, &start).await;
    for follower in &mut followers {
        assert_eq!(drain_told(follower).await, ["upsert a/1 0"], "readable up to its age");
    }
    let place = followers[0].cursor();
    put(&registry, "a/1", "1").await;
    let end = registry.list().await.unwrap().cursor;
    clock.advance(MINUTE);
    for follower in &mut followers {
        let event = one_overflow(follower, &place, &[]).await;
        let EventKind::Overflow { first_available, .. } = event.kind else { panic!("an overflow") };
        assert_eq!((&first_available, &event.cursor), (&end, &end), "nothing is there: the latest place");
    }
    // At the last compacted revision, nothing is missing.
    let mut at_end = registry.follow().after(&end).await.unwrap();
    assert!(drain(&mut at_end).await.is_empty());
    put(&registry, "a/1", "2").await;
    assert_eq!(drain_told(&mut at_end).await, ["upsert a/1 2"]);
    for follower in &mut followers {
        assert_eq!(drain_told(follower).await, ["upsert a/1 2"]);
    }
    drop((followers, at_end));
    let mut late = registry.follow().after(&start).await.unwrap();
    one_overflow(&mut late, &start, &[]).await;
});

conformance!(bytes_bound_the_log_too, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let registry: Registry<String> =
        tide.registry("texts").max_event_bytes(1 << 20).payload_limit(1 << 20).build().unwrap();
    let start = registry.list().await.unwrap().cursor;
    let half = "x".repeat(500_000);
    put(&registry, "a/1", &half).await;
    put(&registry, "a/2", &half).await;
    let mut follower = registry.follow().after(&start).await.unwrap();
    assert_eq!(drain(&mut follower).await.len(), 2);
    put(&registry, "a/3", &half).await;
    let seen = stats(&registry).await;
    assert_eq!((seen.events, seen.event_bytes), (2, 1_000_004));
    assert_eq!(drain(&mut follower).await.len(), 1, "who keeps up misses nothing");
    drop(follower);
    let mut late = registry.follow().after(&start).await.unwrap();
    one_overflow(&mut late, &start, &[]).await;
});

conformance!(no_overflow_when_nothing_was_missed, async |mut world: World| {
    let clock = world.pin();
    let registry = short(&world.open().await);
    // An empty object, then its first write.
    let empty = registry.list().await.unwrap().cursor;
    let mut first = registry.follow().await.unwrap();
    put(&registry, "a/1", "0").await;
    assert_eq!(drain_told(&mut first).await, ["upsert a/1 0"]);
    let mut from_empty = registry.follow().after(&empty).await.unwrap();
    assert_eq!(drain_told(&mut from_empty).await, ["upsert a/1 0"]);
    // A quiet prefix that is kept up to date during traffic elsewhere.
    let mut quiet = registry.follow().prefix("quiet/").await.unwrap();
    for round in 0..10 {
        put(&registry, "b/1", &round.to_string()).await;
        assert!(drain(&mut quiet).await.is_empty());
    }
    // Touches do not push other events out.
    registry.upsert("a/2", &"x".to_owned()).ttl(MINUTE).await.unwrap();
    let place = registry.list().await.unwrap().cursor;
    for _ in 0..20 {
        clock.advance(SECOND);
        registry.touch("a/2").await.unwrap();
    }
    let mut behind = registry.follow().after(&place).await.unwrap();
    assert_eq!(drain_told(&mut behind).await, ["touch a/2"]);
});
