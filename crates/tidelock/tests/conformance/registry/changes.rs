//! Upsert, swap, touch and removal: values, versions, lives.

use tidelock::registry::{Cas, EventKind, Removal, Status, Touch};
use tidelock::{MINUTE, SECOND};

use super::*;

conformance!(an_upsert_sets_value_and_life, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let first = registry.upsert("a", &"1".to_owned()).ttl(MINUTE).await.unwrap();
    assert_eq!((first.status, first.created_at, first.updated_at), (Status::Active, clock.now(), clock.now()));
    assert_eq!((first.ttl, first.expires_at), (Some(MINUTE), Some(clock.now() + MINUTE)));
    clock.advance(SECOND);
    let kept = registry.upsert("a", &"2".to_owned()).keep_ttl().await.unwrap();
    assert_eq!((kept.created_at, kept.updated_at), (first.created_at, clock.now()));
    assert_eq!((kept.ttl, kept.expires_at), (Some(MINUTE), Some(clock.now() + MINUTE)), "restarted");
    assert!(kept.version > first.version);
    let permanent = put(&registry, "a", "3").await;
    assert_eq!((permanent.ttl, permanent.expires_at), (None, None), "without a ttl it becomes permanent");
    let kept = registry.upsert("a", &"4".to_owned()).keep_ttl().await.unwrap();
    assert_eq!(kept.ttl, None);
    let fresh = registry.upsert("b", &"5".to_owned()).keep_ttl().await.unwrap();
    assert_eq!(fresh.ttl, None, "nothing is there to keep");
    assert_eq!(registry.get("a").await.unwrap(), Some(kept));
    assert_eq!(registry.get("c").await.unwrap(), None);
});

conformance!(a_swap_needs_the_version_and_keeps_the_life, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let text = |text: &str| text.to_owned();
    let Cas::Swapped(made) = registry.cas("a", None, &text("1")).ttl(MINUTE).await.unwrap() else {
        panic!("nothing was there");
    };
    clock.advance(SECOND);
    assert_eq!(registry.cas("a", None, &text("no")).await.unwrap(), Cas::Conflict(Some(made.clone())));
    let Cas::Swapped(swapped) = registry.cas("a", made.version, &text("2")).await.unwrap() else {
        panic!("it has that version");
    };
    assert_eq!((swapped.ttl, swapped.expires_at), (Some(MINUTE), Some(clock.now() + MINUTE)), "kept and restarted");
    assert_eq!(swapped.created_at, made.created_at);
    assert_eq!(registry.cas("a", made.version, &text("no")).await.unwrap(), Cas::Conflict(Some(swapped.clone())));
    let Cas::Swapped(permanent) = registry.cas("a", swapped.version, &text("3")).permanent().await.unwrap() else {
        panic!("it has that version");
    };
    assert_eq!((permanent.ttl, permanent.expires_at), (None, None));
    let Cas::Swapped(short) = registry.cas("a", permanent.version, &text("4")).ttl(SECOND).await.unwrap() else {
        panic!("it has that version");
    };
    clock.advance(SECOND);
    assert_eq!(registry.cas("a", short.version, &text("no")).await.unwrap(), Cas::Conflict(None), "it has expired");
    let Cas::Swapped(again) = registry.cas("a", None, &text("5")).await.unwrap() else { panic!("it has expired") };
    assert_eq!((again.ttl, again.created_at), (None, clock.now()));
    assert_eq!(registry.cas("b", again.version, &text("no")).await.unwrap(), Cas::Conflict(None));
    registry.remove("a").await.unwrap();
    assert!(matches!(registry.cas("a", None, &text("6")).await.unwrap(), Cas::Swapped(_)), "it was removed");
});

conformance!(a_touch_restarts_a_life_and_no_version, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let entry = registry.upsert("a", &"1".to_owned()).ttl(MINUTE).await.unwrap();
    let extended = |ttl| Touch::Extended { version: entry.version, expires_at: clock.now() + ttl };
    clock.advance(SECOND);
    assert_eq!(registry.touch("a").await.unwrap(), extended(MINUTE));
    assert_eq!(registry.touch("a").ttl(5 * SECOND).await.unwrap(), extended(5 * SECOND), "a new ttl");
    clock.advance(SECOND);
    assert_eq!(
        registry.touch("a").if_version(entry.version).await.unwrap(),
        extended(5 * SECOND),
        "is the own one now"
    );
    let touched = registry.get("a").await.unwrap().unwrap();
    assert_eq!((touched.version, touched.ttl), (entry.version, Some(5 * SECOND)));
    assert_eq!((touched.created_at, touched.updated_at), (entry.created_at, clock.now()));
    assert!(matches!(registry.cas("a", entry.version, &"2".to_owned()).await.unwrap(), Cas::Swapped(_)));
    assert!(
        matches!(registry.touch("a").if_version(entry.version).await.unwrap(), Touch::Conflict(now) if now > entry.version)
    );
    let permanent = put(&registry, "p", "1").await;
    assert_eq!(registry.touch("p").await.unwrap(), Touch::Permanent);
    let ends = Touch::Extended { version: permanent.version, expires_at: clock.now() + SECOND };
    assert_eq!(registry.touch("p").ttl(SECOND).await.unwrap(), ends, "a permanent record is given an end");
    clock.advance(SECOND);
    assert_eq!(registry.touch("p").await.unwrap(), Touch::Absent, "expired is absent");
    assert_eq!(registry.touch("never").ttl(SECOND).await.unwrap(), Touch::Absent);
});

conformance!(a_removal_is_told_once_with_its_reason, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let first = put(&registry, "a", "1").await;
    let second = put(&registry, "a", "2").await;
    let mut follower = registry.follow().await.unwrap();
    assert_eq!(registry.remove("a").if_version(first.version).await.unwrap(), Removal::Conflict(second.version));
    assert_eq!(registry.get("a").await.unwrap(), Some(second.clone()));
    let removed = registry.remove("a").if_version(second.version).reason("moved").await.unwrap();
    assert_eq!(removed, Removal::Removed);
    assert_eq!(registry.remove("a").await.unwrap(), Removal::Absent);
    assert!(registry.get("a").include_expired().await.unwrap().is_none(), "a removed record leaves no tombstone");
    let events = drain(&mut follower).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].at, clock.now());
    let EventKind::Delete { key, version, reason } = &events[0].kind else { panic!("a removal: {events:?}") };
    assert_eq!((key.as_str(), *version, reason.as_deref()), ("a", second.version, Some("moved")));
    registry.upsert("b", &"1".to_owned()).ttl(SECOND).await.unwrap();
    clock.advance(SECOND);
    assert_eq!(registry.remove("b").await.unwrap(), Removal::Absent, "expired is absent");
});

conformance!(versions_grow_over_the_whole_registry_and_never_come_back, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let mut last = put(&registry, "z", "0").await.version;
    for round in 0..20 {
        let entry = put(&registry, &format!("k{}", round % 3), "x").await;
        assert!(entry.version > last);
        last = entry.version;
        if round % 5 == 0 {
            registry.delete().await.unwrap();
            // The clock may even go back.
            clock.set(tidelock::Timestamp::from_millis(clock.now().as_millis() - 10));
        }
    }
    assert!(!registry.tenant("nobody").delete().await.unwrap());
    assert!(registry.delete().await.unwrap());
    assert!(!registry.delete().await.unwrap());
    assert_eq!(stats(&registry).await.active, 0);
});

conformance!(a_write_with_other_bounds_sets_them_for_everybody, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let wide = texts(&tide);
    assert_eq!(stats(&wide).await.bounds, None);
    for key in ["a", "b", "c"] {
        put(&wide, key, "x").await;
    }
    let bounds = stats(&wide).await.bounds.unwrap();
    assert_eq!((bounds.max_entries, bounds.max_events, bounds.max_event_bytes), (10_000, 50_000, 64 << 20));
    assert_eq!((bounds.event_retention, bounds.tombstone_retention), (5 * MINUTE, 5 * MINUTE));
    let narrow = tide.registry::<String>("texts").max_entries(2).max_events(1).build().unwrap();
    let error = narrow.upsert("d", &"x".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), tidelock::ErrorKind::CapacityReached);
    assert_eq!(stats(&wide).await.bounds.unwrap().max_entries, 10_000, "a refused write sets nothing");
    put(&narrow, "a", "changes of active records pass").await;
    let seen = stats(&wide).await;
    assert_eq!((seen.bounds.unwrap().max_entries, seen.events), (2, 1));
    put(&wide, "d", "x").await;
    assert_eq!(stats(&narrow).await.bounds.unwrap().max_entries, 10_000);
});
