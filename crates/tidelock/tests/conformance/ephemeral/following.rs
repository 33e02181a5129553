//! Following: briefly what is the same as in the registry, and then the differences.

use tidelock::MINUTE;
use tidelock::ephemeral::EventKind;

use super::*;

conformance!(touches_are_told_with_their_version_and_deadline, async |mut world: World| {
    let clock = world.pin();
    let store = texts(&world.open().await);
    let start = store.snapshot().await.unwrap().cursor;
    put(&store, "a", "1").await;
    put(&store, "b", "1").await;
    for _ in 0..5 {
        clock.advance(SECOND);
        store.touch("a").await.unwrap();
    }
    let mut follower = store.follow().after(&start).await.unwrap();
    let events = drain(&mut follower).await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["upsert a 1", "upsert b 1", "touch a"]);
    let EventKind::Touch { version, expires_at, .. } = events[2].kind else { panic!("the touch") };
    let found = store.get("a").await.unwrap().unwrap();
    assert_eq!((version, Some(expires_at)), (found.version, found.expires_at));
    assert_eq!(version.to_string(), events[2].revision.to_string());
    assert_eq!(stats(&store).await.touches, 1);
});

conformance!(a_parked_follower_hears_of_a_deadline_with_no_traffic_at_all, async |mut world: World| {
    let clock = world.pin();
    let store = texts(&world.open().await);
    let elsewhere = texts(&world.open().await);
    let (mut here, mut there) = (store.follow().await.unwrap(), elsewhere.follow().await.unwrap());
    let entry = put(&store, "a", "1").await;
    next(&mut here).await;
    next(&mut there).await;
    let waiting = async { (next(&mut here).await, next(&mut there).await) };
    let ((one, two), ()) = within(async {
        tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            clock.advance(30 * SECOND);
        })
    })
    .await;
    assert_eq!((told(&one), told(&two)), ("expire a".to_owned(), "expire a".to_owned()));
    assert_eq!((Some(one.at), Some(two.at)), (entry.expires_at, entry.expires_at));
});

conformance!(who_is_behind_gets_one_overflow_in_each_way, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let store = tide.ephemeral::<String>("texts").ttl(tidelock::HOUR).max_events(2).event_retention(MINUTE);
    let store = store.build().unwrap();
    let start = store.snapshot().await.unwrap().cursor;
    let three = async |cursor| {
        let follow = || store.follow().after(cursor);
        [follow().await.unwrap(), follow().prefix("a").await.unwrap(), follow().key("a").await.unwrap()]
    };
    put(&store, "a", "0").await;
    let mut later = three(&start).await;
    for follower in &mut later {
        assert_eq!(drain_told(follower).await, ["upsert a 0"], "an empty store, then its first write");
    }
    for text in ["1", "2", "3"] {
        put(&store, "a", text).await;
    }
    for follower in &mut later {
        assert_eq!(drain_told(follower).await, ["overflow"]);
    }
    drop(later);
    let mut early = three(&start).await;
    for follower in &mut early {
        assert_eq!(drain_told(follower).await, ["overflow"], "before the first read");
    }
    put(&store, "a", "4").await;
    for follower in &mut early {
        assert_eq!(drain_told(follower).await, ["upsert a 4"]);
    }
    drop(early);
    let place = store.snapshot().await.unwrap().cursor;
    put(&store, "a", "5").await;
    clock.advance(MINUTE);
    for mut follower in three(&place).await {
        assert_eq!(drain_told(&mut follower).await, ["overflow"], "the log was emptied by age");
    }
    let end = store.snapshot().await.unwrap().cursor;
    for round in 0..10 {
        store.touch("a").await.unwrap();
        put(&store, "b", &round.to_string()).await;
        store.touch("b").await.unwrap();
        store.touch("a").await.unwrap();
        if round == 0 {
            let mut touched = store.follow().after(&end).await.unwrap();
            assert_eq!(
                drain_told(&mut touched).await,
                ["upsert b 0", "touch b", "touch a"],
                "touches push nothing out"
            );
        }
    }
    let waiting = three(&store.snapshot().await.unwrap().cursor)
        .await
        .map(|mut follower| tokio::spawn(async move { (told(&next(&mut follower).await), follower) }));
    tokio::task::yield_now().await;
    store.delete().await.unwrap();
    put(&store, "a", "new").await;
    for waiting in waiting {
        let (first, mut follower) = within(waiting).await.unwrap();
        assert_eq!(first, "overflow", "while it was parked");
        assert!(!drain_told(&mut follower).await.contains(&"overflow".to_owned()));
    }
});

conformance!(many_who_watch_get_each_matching_event_once_in_order, async |world: World| {
    let tide = world.open().await;
    let store = texts(&tide);
    put(&store, "first", "x").await;
    let mut watchers = Vec::new();
    for index in 0..1_000 {
        let follow = store.follow();
        watchers.push(match index % 3 {
            0 => follow.await.unwrap(),
            1 => follow.prefix("room-1/").await.unwrap(),
            _ => follow.key("room-1/3").await.unwrap(),
        });
    }
    let count = 20;
    let watching = watchers.into_iter().enumerate().map(|(index, mut follower)| {
        tokio::spawn(async move {
            let mut told_to_it = Vec::new();
            let expected = [2 * count, count, 1][index % 3];
            while told_to_it.len() < expected {
                told_to_it.push(told(&next(&mut follower).await));
            }
            (index, told_to_it)
        })
    });
    let watching: Vec<_> = watching.collect();
    for index in 0..count {
        put(&store, &format!("room-1/{index}"), "x").await;
        put(&store, &format!("room-2/{index}"), "x").await;
    }
    let expected = |test: &dyn Fn(&str) -> bool| {
        let keys = (0..count).flat_map(|index| [format!("room-1/{index}"), format!("room-2/{index}")]);
        keys.filter(|key| test(key)).map(|key| format!("upsert {key} x")).collect::<Vec<_>>()
    };
    let all_of_them = expected(&|_| true);
    let (of_prefix, of_key) = (expected(&|key| key.starts_with("room-1/")), expected(&|key| key == "room-1/3"));
    for watched in all(watching).await {
        let (index, told_to_it) = watched.unwrap();
        assert_eq!(told_to_it, *[&all_of_them, &of_prefix, &of_key][index % 3]);
    }
});

conformance!(a_slow_follower_delays_none_and_is_told_what_it_missed, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let store = tide.ephemeral::<String>("texts").ttl(MINUTE).max_events(100).build().unwrap();
    let (mut slow, mut fast) = (store.follow().await.unwrap(), store.follow().await.unwrap());
    // More than the followers of a process keep in their ring.
    for round in 0..30 {
        let keys: Vec<_> = (0..50).map(|index| format!("{round}/{index}")).collect();
        let text = "x".to_owned();
        for stored in all(keys.iter().map(|key| store.upsert(key, &text))).await {
            stored.unwrap();
        }
        assert_eq!(drain(&mut fast).await.len(), 50);
    }
    assert_eq!(drain_told(&mut slow).await, ["overflow"]);
    put(&store, "next", "x").await;
    assert_eq!(drain_told(&mut slow).await, ["upsert next x"]);
    assert_eq!(drain_told(&mut fast).await, ["upsert next x"]);
});
