//! Following: positions, order, filters, waits, ends.

use std::time::Duration;

use futures_util::StreamExt;
use tidelock::registry::{EventKind, Follower};
use tidelock::{ErrorKind, MINUTE, SECOND};

use super::*;

conformance!(a_follower_begins_where_it_was_told_to, async |mut world: World| {
    world.pin();
    let registry = texts(&world.open().await);
    put(&registry, "a", "1").await;
    let listing = registry.list().await.unwrap();
    put(&registry, "a", "2").await;
    let mut now = registry.follow().await.unwrap();
    let mut start = registry.follow().from_start().await.unwrap();
    let mut after = registry.follow().after(&listing.cursor).await.unwrap();
    put(&registry, "a", "3").await;
    assert_eq!(drain_told(&mut now).await, ["upsert a 3"]);
    assert_eq!(drain_told(&mut start).await, ["upsert a 1", "upsert a 2", "upsert a 3"]);
    let events = drain(&mut after).await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["upsert a 2", "upsert a 3"]);
    // From the cursor of an event on: what came after it.
    let mut again = registry.follow().after(&events[0].cursor).await.unwrap();
    assert_eq!(drain_told(&mut again).await, ["upsert a 3"]);
    assert_eq!((again.cursor(), now.cursor()), (start.cursor(), after.cursor()));
    let EventKind::Upsert(entry) = &events[1].kind else { panic!("an upsert") };
    assert_eq!(Some(entry), registry.get("a").await.unwrap().as_ref(), "the whole entry");
});

conformance!(a_filter_moves_over_the_others, async |mut world: World| {
    world.pin();
    let registry = texts(&world.open().await);
    let mut all = registry.follow().await.unwrap();
    let mut key = registry.follow().key("a/1").await.unwrap();
    let mut prefix = registry.follow().prefix("a/").await.unwrap();
    let mut everything = registry.follow().prefix("").await.unwrap();
    for name in ["a/1", "a/2", "b/1", "ab", "a/1/deep", "b/2"] {
        put(&registry, name, "x").await;
    }
    assert_eq!(drain(&mut all).await.len(), 6);
    assert_eq!(drain(&mut everything).await.len(), 6);
    assert_eq!(drain_told(&mut key).await, ["upsert a/1 x"]);
    assert_eq!(drain_told(&mut prefix).await, ["upsert a/1 x", "upsert a/2 x", "upsert a/1/deep x"]);
    assert_eq!((key.cursor(), prefix.cursor()), (all.cursor(), all.cursor()), "they are ahead of their last events");
});

conformance!(touches_in_a_row_are_one_for_those_who_are_behind, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let mut keeps_up = registry.follow().await.unwrap();
    let start = registry.list().await.unwrap().cursor;
    let entry = registry.upsert("a", &"1".to_owned()).ttl(MINUTE).await.unwrap();
    registry.upsert("b", &"1".to_owned()).ttl(MINUTE).await.unwrap();
    assert_eq!(drain(&mut keeps_up).await.len(), 2);
    for _ in 0..5 {
        clock.advance(SECOND);
        registry.touch("a").await.unwrap();
        assert_eq!(drain_told(&mut keeps_up).await, ["touch a"]);
    }
    put(&registry, "c", "x").await;
    // Followers of one process share what one of them has read, as long as there is one.
    drop(keeps_up);
    let mut behind = registry.follow().after(&start).await.unwrap();
    let events = drain(&mut behind).await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["upsert a 1", "upsert b 1", "touch a", "upsert c x"]);
    let EventKind::Touch { version, expires_at, .. } = events[2].kind else { panic!("the touch") };
    assert_eq!((version, expires_at), (entry.version, clock.now() + MINUTE));
    put(&registry, "a", "2").await;
    let mut all = registry.follow().from_start().await.unwrap();
    assert!(!drain_told(&mut all).await.contains(&"touch a".to_owned()), "something happened to it since");
});

conformance!(a_wait_ends_without_an_event, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let mut follower = registry.follow().key("a").await.unwrap();
    assert!(within(follower.try_recv()).await.unwrap().is_none());
    assert!(within(follower.recv().wait(Duration::ZERO)).await.unwrap().is_none());
    for (recv, wait) in [(follower.recv().wait(5 * SECOND).into_future(), 5 * SECOND)] {
        let mut recv = recv;
        assert!(is_pending(&mut recv).await);
        clock.advance(just_before(wait));
        assert!(is_pending(&mut recv).await);
        clock.advance(MS);
        assert!(within(recv).await.unwrap().is_none());
    }
    let mut recv = follower.recv().into_future();
    assert!(is_pending(&mut recv).await);
    clock.advance(30 * SECOND);
    assert!(within(&mut recv).await.unwrap().is_none(), "30 s are the default");
    drop(recv);
    put(&registry, "a", "1").await;
    assert!(within(follower.recv().wait(Duration::ZERO)).await.unwrap().is_some(), "what is there needs no wait");
});

conformance!(a_change_wakes_who_waits_in_every_process, async |world: World| {
    let registry = texts(&world.open().await);
    let others = [texts(&world.open().await), texts(&world.open().await)];
    let mut followers: Vec<Follower<String>> = Vec::new();
    for registry in others.iter().chain([&registry]) {
        for _ in 0..3 {
            followers.push(registry.follow().await.unwrap());
        }
    }
    for round in 0..20 {
        let text = round.to_string();
        let waits = all(followers.iter_mut().map(|follower| follower.recv().forever().into_future()));
        let (events, _) = tokio::join!(waits, put(&registry, "a", &text));
        for event in events {
            assert_eq!(told(&event.unwrap().unwrap()), format!("upsert a {text}"));
        }
    }
});

conformance!(a_stream_goes_on_until_it_is_told_to_stop, async |world: World| {
    let registry = texts(&world.open().await);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let mut follower = registry.follow().until(stopped).await.unwrap();
    put(&registry, "a", "1").await;
    assert_eq!(told(&within(follower.next()).await.unwrap().unwrap()), "upsert a 1");
    // A stream that was left waiting loses nothing to a receive, and vice versa.
    assert!(is_pending(&mut follower.next()).await);
    put(&registry, "a", "2").await;
    assert_eq!(told(&next(&mut follower).await), "upsert a 2");
    {
        let mut recv = follower.recv().into_future();
        assert!(is_pending(&mut recv).await);
    }
    put(&registry, "a", "3").await;
    assert_eq!(told(&within(follower.next()).await.unwrap().unwrap()), "upsert a 3");
    let cursor = follower.cursor();
    let waiting = tokio::spawn(async move { (follower.next().await.is_none(), follower) });
    stop.send(()).unwrap();
    let (ended, mut follower) = within(waiting).await.unwrap();
    assert!(ended && within(follower.next()).await.is_none());
    assert!(within(follower.recv().forever()).await.unwrap().is_none());
    assert!(within(follower.try_recv()).await.unwrap().is_none());
    assert_eq!(follower.cursor(), cursor);
});

conformance!(a_shutdown_ends_those_who_follow, async |world: World| {
    let tide = world.open().await;
    let registry = texts(&tide);
    let mut waits = registry.follow().await.unwrap();
    let mut streams = registry.follow().await.unwrap();
    let waiting = tokio::spawn(async move { waits.recv().forever().await });
    let streaming = tokio::spawn(async move { (streams.next().await, streams.next().await) });
    assert!(within(tide.shutdown(SECOND)).await.is_clean());
    assert_eq!(within(waiting).await.unwrap().unwrap_err().kind(), ErrorKind::ShuttingDown);
    let (first, second) = within(streaming).await.unwrap();
    assert_eq!(first.unwrap().unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(second.is_none());
    let error = registry.upsert("a", &"1".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown, "{error}");
    assert_eq!(registry.follow().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(registry.register("a", &"1".to_owned()).await.unwrap_err().kind(), ErrorKind::ShuttingDown);
});
