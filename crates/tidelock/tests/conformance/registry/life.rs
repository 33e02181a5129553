//! Deadlines: exact, reported once, and the same for every call.

use crate::harness::scale;
use tidelock::registry::{Cas, EventKind, Removal, Status, Touch};
use tidelock::{MINUTE, SECOND};

use super::*;

conformance!(a_record_is_active_to_its_last_millisecond_for_every_call, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let registry = tide.registry::<String>("texts").max_entries(1).build().unwrap();
    let text = "x".to_owned();
    for last in [true, false] {
        registry.delete().await.unwrap();
        let entry = registry.upsert("a", &text).ttl(SECOND).await.unwrap();
        clock.advance(if last { 999 * MS } else { SECOND });
        assert_eq!(registry.get("a").await.unwrap().is_some(), last);
        assert_eq!(registry.list().await.unwrap().items.len(), usize::from(last));
        assert_eq!(registry.snapshot().await.unwrap().items.len(), usize::from(last));
        assert_eq!(stats(&registry).await.active, u64::from(last));
        let swapped = registry.cas("a", entry.version, &text).await.unwrap();
        assert_eq!(matches!(swapped, Cas::Swapped(_)), last);
        let touched = registry.touch("a").ttl(MS).await.unwrap();
        assert_eq!(matches!(touched, Touch::Extended { .. }), last);
        if last {
            assert!(registry.upsert("b", &text).await.is_err(), "it counts");
            assert_eq!(registry.remove("a").await.unwrap(), Removal::Removed);
        } else {
            assert_eq!(registry.remove("a").await.unwrap(), Removal::Absent);
            registry.upsert("b", &text).await.unwrap();
        }
    }
});

conformance!(an_expired_record_can_be_looked_at_for_a_while, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let registry = tide.registry::<String>("texts").tombstone_retention(10 * SECOND).build().unwrap();
    let entry = registry.upsert("a/1", &"last".to_owned()).ttl(SECOND).await.unwrap();
    put(&registry, "a/2", "active").await;
    registry.upsert("b/1", &"other".to_owned()).ttl(SECOND).await.unwrap();
    clock.advance(SECOND);
    let tomb = registry.get("a/1").include_expired().await.unwrap().unwrap();
    assert_eq!(tomb.status, Status::Expired);
    assert_eq!((tomb.value, tomb.version, tomb.created_at), (entry.value, entry.version, entry.created_at));
    assert_eq!(keys(&registry.list().expired().await.unwrap().items), ["a/1", "b/1"]);
    assert_eq!(keys(&registry.list().expired().prefix("a/").await.unwrap().items), ["a/1"]);
    assert_eq!(keys(&registry.list().await.unwrap().items), ["a/2"]);
    assert_eq!(stats(&registry).await.expired, 2);
    clock.advance(just_before(10 * SECOND));
    assert!(registry.get("a/1").include_expired().await.unwrap().is_some());
    let again = put(&registry, "b/1", "again").await;
    assert_eq!(again.created_at, clock.now(), "a new life");
    clock.advance(MS);
    assert!(registry.get("a/1").include_expired().await.unwrap().is_none());
    assert!(registry.list().expired().await.unwrap().items.is_empty());
    assert_eq!(stats(&registry).await.expired, 0);
});

conformance!(of_the_expired_records_the_latest_are_kept, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let registry = tide.registry::<String>("texts").max_entries(3).build().unwrap();
    for round in 0..3 {
        for index in 0..2 {
            let key = format!("{round}.{index}");
            registry.upsert(&key, &key).ttl(SECOND).await.unwrap();
        }
        clock.advance(SECOND);
    }
    let expired = registry.list().expired().await.unwrap();
    assert_eq!(expired.items.len(), 3);
    assert!(keys(&expired.items).contains(&"2.0") && keys(&expired.items).contains(&"2.1"), "{expired:?}");
});

conformance!(the_four_changes_of_a_short_life_are_told_in_order, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let mut follower = registry.follow().key("a").await.unwrap();
    let first = registry.upsert("a", &"1".to_owned()).ttl(20 * MS).await.unwrap();
    clock.advance(30 * MS);
    let second = registry.upsert("a", &"2".to_owned()).ttl(20 * MS).await.unwrap();
    registry.remove("a").await.unwrap();
    let events = drain(&mut follower).await;
    let told: Vec<_> = events.iter().map(told).collect();
    assert_eq!(told, ["upsert a 1", "expire a", "upsert a 2", "delete a"]);
    assert_eq!(Some(events[1].at), first.expires_at, "an expiry happened at the deadline");
    let EventKind::Expire { version, .. } = events[1].kind else { panic!("the expiry") };
    assert_eq!(version, first.version);
    assert_eq!(second.created_at, clock.now());
});

conformance!(a_parked_follower_hears_of_a_deadline_with_no_traffic_at_all, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let elsewhere = texts(&world.open().await);
    let mut here = registry.follow().await.unwrap();
    let mut there = elsewhere.follow().await.unwrap();
    let entry = registry.upsert("a", &"1".to_owned()).ttl(MINUTE).await.unwrap();
    assert_eq!(told(&next(&mut here).await), "upsert a 1");
    assert_eq!(told(&next(&mut there).await), "upsert a 1");
    let waiting = async { (next(&mut here).await, next(&mut there).await) };
    let ((one, two), ()) = within(async {
        tokio::join!(waiting, async {
            // It parks meanwhile; if it has not parked yet, it will find the event.
            tokio::task::yield_now().await;
            clock.advance(MINUTE);
        })
    })
    .await;
    assert_eq!((told(&one), told(&two)), ("expire a".to_owned(), "expire a".to_owned()));
    assert_eq!((Some(one.at), Some(two.at)), (entry.expires_at, entry.expires_at));
});

conformance!(many_that_expire_together_are_each_told_once_and_hold_up_nobody, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let count = scale(20_000);
    let registry = tide.registry::<String>("texts").max_entries(count as u64 + 1).build().unwrap();
    put(&registry, "stays", "x").await;
    let text = "x".to_owned();
    let names: Vec<_> = (0..count).map(|index| format!("k/{index:05}")).collect();
    for part in names.chunks(500) {
        for stored in all(part.iter().map(|key| registry.upsert(key, &text).ttl(MINUTE))).await {
            stored.unwrap();
        }
    }
    let mut follower = registry.follow().await.unwrap();
    clock.advance(MINUTE);
    let listing = registry.list().prefix("k/").await.unwrap();
    assert!(listing.items.is_empty(), "{} are left", listing.items.len());
    assert!(registry.get("stays").await.unwrap().is_some());
    let mut gone: Vec<_> = Vec::new();
    while gone.len() < count {
        let event = next(&mut follower).await;
        let EventKind::Expire { key, .. } = event.kind else { panic!("only expiries: {event:?}") };
        gone.push(key);
    }
    gone.sort();
    assert_eq!(gone, names);
    assert!(drain(&mut follower).await.is_empty());
    assert_eq!(stats(&registry).await.active, 1);
});

conformance!(full_of_expired_records_there_is_room_at_once, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let registry = tide.registry::<String>("texts").max_entries(5).build().unwrap();
    let text = "x".to_owned();
    for index in 0..5 {
        registry.upsert(&format!("old/{index}"), &text).ttl(SECOND).await.unwrap();
    }
    assert!(registry.upsert("new/0", &text).await.is_err());
    registry.upsert("old/0", &text).ttl(SECOND).await.unwrap();
    clock.advance(SECOND);
    for index in 0..5 {
        registry.upsert(&format!("new/{index}"), &text).await.unwrap();
    }
    let error = registry.upsert("new/5", &text).await.unwrap_err();
    assert_eq!(error.kind(), tidelock::ErrorKind::CapacityReached, "{error}");
    assert!(registry.try_register("new/5", &text).await.is_err());
    registry.upsert("new/4", &text).await.unwrap();
});

conformance!(what_was_used_and_left_is_empty_again, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let text = "x".to_owned();
    let (mut key, mut prefix) =
        (registry.follow().key("k/0").await.unwrap(), registry.follow().prefix("k/").await.unwrap());
    let names: Vec<_> = (0..scale(100_000)).map(|index| format!("k/{index}")).collect();
    for part in names.chunks(500) {
        all(part.iter().map(|name| registry.upsert(name, &text).ttl(MINUTE))).await;
        let (kept, removed) = part.split_at(part.len() / 10);
        all(removed.iter().map(|name| registry.remove(name))).await;
        assert!(!kept.is_empty());
    }
    assert_eq!(drain(&mut key).await.len(), 1);
    assert!(drain(&mut prefix).await.len() >= names.len());
    clock.advance(MINUTE);
    until(async || {
        let seen = stats(&registry).await;
        !seen.settling && seen.active == 0
    })
    .await;
    // Of the last expiry, either the tombstone or the event goes first: both last five minutes.
    clock.advance(5 * MINUTE);
    until(async || !stats(&registry).await.settling).await;
    let seen = stats(&registry).await;
    assert_eq!((seen.active, seen.expired, seen.events, seen.event_bytes, seen.touches), (0, 0, 0, 0, 0));
    assert!(registry.list().expired().await.unwrap().items.is_empty());
});
