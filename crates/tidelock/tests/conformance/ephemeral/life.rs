//! Touches, deadlines, removals, versions.

use std::time::Duration;

use tidelock::MINUTE;
use tidelock::ephemeral::{EventKind, Removal, Status, Touch};

use super::*;

conformance!(a_touch_restarts_the_own_ttl_and_is_a_new_version, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let store = tide.ephemeral::<String>("texts").ttl(10 * SECOND).build().unwrap();
    let entry = store.upsert("a", &"1".to_owned()).ttl(MINUTE).await.unwrap();
    assert_eq!((entry.status, entry.ttl), (Status::Active, Some(MINUTE)));
    assert_eq!(entry.expires_at, Some(clock.now() + MINUTE));
    clock.advance(SECOND);
    let mut last = entry.version;
    for (ttl, expected) in [(None, MINUTE), (Some(5 * SECOND), 5 * SECOND), (None, 5 * SECOND)] {
        let touch = store.touch("a");
        let touched = if let Some(ttl) = ttl { touch.ttl(ttl).await } else { touch.await };
        let Touch::Extended { version, expires_at } = touched.unwrap() else { panic!("it lives") };
        assert!(version > last);
        assert_eq!(expires_at, clock.now() + expected);
        last = version;
    }
    let found = store.get("a").await.unwrap().unwrap();
    assert_eq!((found.value.as_str(), found.version, found.ttl), ("1", last, Some(5 * SECOND)));
    assert_eq!((found.created_at, found.updated_at), (entry.created_at, clock.now()));
    let default = put(&store, "b", "x").await;
    assert_eq!(default.ttl, Some(10 * SECOND));
    // The default ttl belongs to the handle and does not change existing records.
    texts(&tide).touch("b").await.unwrap();
    assert_eq!(store.get("b").await.unwrap().unwrap().ttl, Some(10 * SECOND));
    let again = put(&store, "a", "2").await;
    assert_eq!((again.ttl, again.created_at), (Some(10 * SECOND), entry.created_at), "an upsert sets all anew");
});

conformance!(a_record_lives_to_its_last_millisecond_for_every_call, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let store = tide.ephemeral::<String>("texts").ttl(SECOND).max_entries(1).build().unwrap();
    let text = "x".to_owned();
    for last in [true, false] {
        store.delete().await.unwrap();
        put(&store, "a", "x").await;
        clock.advance(if last { 999 * MS } else { SECOND });
        assert_eq!(store.get("a").await.unwrap().is_some(), last);
        assert_eq!(store.snapshot().await.unwrap().items.len(), usize::from(last));
        assert_eq!(stats(&store).await.active, u64::from(last));
        assert_eq!(store.touch("a").await.unwrap() != Touch::Absent, last);
        if last {
            assert_eq!(store.upsert("b", &text).await.unwrap_err().kind(), tidelock::ErrorKind::CapacityReached);
            store.upsert("a", &text).await.unwrap();
            assert_eq!(store.remove("a").await.unwrap(), Removal::Removed);
        } else {
            assert_eq!(store.remove("a").await.unwrap(), Removal::Absent);
            assert!(store.get("a").await.unwrap().is_none(), "a touch brought nothing back");
            store.upsert("b", &text).await.unwrap();
        }
    }
    assert_eq!(stats(&store).await.expired, 0, "nothing is left of what ended");
});

conformance!(the_ends_of_all_ranges_work, async |mut world: World| {
    let clock = world.pin();
    let store = texts(&world.open().await);
    let long = "k".repeat(512);
    for (key, ttl) in [(&*long, MS), ("a//b", 999 * MS), ("month", 30 * tidelock::DAY), ("decade", TEN_YEARS)] {
        let entry = store.upsert(key, &"x".to_owned()).ttl(ttl).await.unwrap();
        assert_eq!(entry.expires_at, Some(clock.now() + ttl));
        clock.advance(just_before(ttl));
        assert!(store.get(key).await.unwrap().is_some(), "{key} lives to its last millisecond");
        assert!(matches!(store.touch(key).await.unwrap(), Touch::Extended { .. }));
        clock.advance(ttl);
        assert!(store.get(key).await.unwrap().is_none(), "{key} is over");
    }
});

conformance!(a_removal_is_told_once_with_its_reason, async |mut world: World| {
    world.pin();
    let store = texts(&world.open().await);
    put(&store, "a", "1").await;
    let mut follower = store.follow().await.unwrap();
    assert_eq!(store.remove("a").reason("left").await.unwrap(), Removal::Removed);
    assert_eq!(store.remove("a").reason("again").await.unwrap(), Removal::Absent);
    assert_eq!(drain_told(&mut follower).await, ["delete a left"]);
});

conformance!(an_old_version_touches_and_removes_nothing, async |mut world: World| {
    let clock = world.pin();
    let store = texts(&world.open().await);
    let first_tab = put(&store, "a", "first tab").await;
    let second_tab = put(&store, "a", "second tab").await;
    clock.advance(SECOND);
    let before = picture(&store).await;
    let old = first_tab.version;
    assert_eq!(store.touch("a").if_version(old).await.unwrap(), Touch::Conflict(second_tab.version));
    assert_eq!(store.remove("a").if_version(old).await.unwrap(), Removal::Conflict(second_tab.version));
    assert_eq!(picture(&store).await, before);
    let Touch::Extended { version, .. } = store.touch("a").if_version(second_tab.version).await.unwrap() else {
        panic!("it has that version");
    };
    assert_eq!(store.remove("a").if_version(second_tab.version).await.unwrap(), Removal::Conflict(version));
    assert_eq!(store.remove("a").if_version(version).await.unwrap(), Removal::Removed);
    assert_eq!(store.touch("a").if_version(version).await.unwrap(), Touch::Absent);
});

conformance!(the_four_changes_of_a_short_life_are_told_in_order, async |mut world: World| {
    let clock = world.pin();
    let store = texts(&world.open().await);
    let mut follower = store.follow().key("a").await.unwrap();
    let first = store.upsert("a", &"1".to_owned()).ttl(20 * MS).await.unwrap();
    clock.advance(30 * MS);
    let second = store.upsert("a", &"2".to_owned()).ttl(20 * MS).await.unwrap();
    store.remove("a").await.unwrap();
    let events = drain(&mut follower).await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["upsert a 1", "expire a", "upsert a 2", "delete a"]);
    assert_eq!(Some(events[1].at), first.expires_at);
    let EventKind::Expire { version, .. } = events[1].kind else { panic!("the expiry") };
    assert_eq!(version, first.version);
    assert_eq!(second.created_at, clock.now(), "a new life");
});

conformance!(who_was_away_hears_of_ends_with_their_true_instants, async |mut world: World| {
    let clock = world.pin();
    let store = texts(&world.open().await);
    let entry = put(&store, "a", "1").await;
    let place = store.snapshot().await.unwrap().cursor;
    clock.advance(MINUTE);
    let mut follower = store.follow().after(&place).await.unwrap();
    let events = drain(&mut follower).await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["expire a"]);
    assert_eq!(Some(events[0].at), entry.expires_at);
});

conformance!(full_of_ended_records_there_is_room_at_once, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let store = tide.ephemeral::<String>("texts").ttl(SECOND).max_entries(5).build().unwrap();
    let text = "x".to_owned();
    for round in 0..3 {
        for index in 0..5 {
            store.upsert(&format!("{round}/{index}"), &text).await.unwrap();
        }
        let error = store.upsert("more", &text).await.unwrap_err();
        assert!(error.kind() == tidelock::ErrorKind::CapacityReached && !error.is_retryable(), "{error}");
        assert!(error.to_string().contains('5'), "{error}");
        store.upsert(&format!("{round}/0"), &text).await.unwrap();
        clock.advance(SECOND);
    }
});

conformance!(versions_never_match_again_after_a_deletion, async |mut world: World| {
    world.pin();
    let store = texts(&world.open().await);
    let entry = put(&store, "a", "1").await;
    assert!(store.delete().await.unwrap());
    assert!(!store.delete().await.unwrap());
    assert!(store.get("a").await.unwrap().is_none());
    let again = put(&store, "a", "1").await;
    assert!(again.version > entry.version);
    assert_eq!(store.touch("a").if_version(entry.version).await.unwrap(), Touch::Conflict(again.version));
});

conformance!(a_prefix_matches_by_bytes, async |mut world: World| {
    world.pin();
    let store = texts(&world.open().await);
    for key in ["room-1/a", "room-12/a", "room-2/a", "room-1", "Room-1", "é/1", "ê"] {
        put(&store, key, key).await;
    }
    assert_eq!(keys(&store.snapshot().prefix("room-1").await.unwrap().items), ["room-1", "room-1/a", "room-12/a"]);
    assert_eq!(keys(&store.snapshot().prefix("room-1/").await.unwrap().items), ["room-1/a"]);
    assert_eq!(keys(&store.snapshot().prefix("é").await.unwrap().items), ["é/1"]);
    assert_eq!(store.snapshot().prefix("").await.unwrap().items.len(), 7);
    assert!(store.snapshot().prefix("nobody").await.unwrap().items.is_empty());
});

conformance!(bounds_are_those_of_the_latest_writer, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let wide = texts(&tide);
    for key in ["a", "b", "c"] {
        put(&wide, key, "x").await;
    }
    let bounds = stats(&wide).await.bounds.unwrap();
    assert_eq!((bounds.max_entries, bounds.max_events, bounds.max_event_bytes), (10_000, 50_000, 64 << 20));
    assert_eq!(bounds.event_retention, 5 * MINUTE);
    let narrow = tide.ephemeral::<String>("texts").ttl(SECOND).max_events(2).event_retention(MINUTE);
    let narrow = narrow.max_event_bytes(1 << 20).build().unwrap();
    narrow.touch("a").await.unwrap();
    let seen = stats(&wide).await;
    let bounds = seen.bounds.unwrap();
    assert_eq!((bounds.max_events, bounds.max_event_bytes, bounds.event_retention), (2, 1 << 20, MINUTE));
    assert_eq!((seen.events, seen.touches, seen.active, seen.permanent), (2, 1, 3, 0));
    assert!(seen.next_deadline.is_some() && seen.revision > seen.compacted && !seen.settling);
    let wait: Duration = 30 * SECOND;
    assert_eq!(wide.get("a").await.unwrap().unwrap().ttl, Some(wait));
});
