//! Memberships: records that renew themselves.

use futures_util::FutureExt;

use crate::harness::{elsewhere, scale};
use tidelock::registry::{EventKind, Left, Removal};
use tidelock::{MINUTE, SECOND, Timestamp};

use super::*;

/// Waits until the record of a key ends at `at`.
async fn until_renewed(registry: &Registry<String>, key: &str, at: Timestamp) {
    until(async || registry.get(key).await.unwrap().and_then(|entry| entry.expires_at) == Some(at)).await;
}

conformance!(a_member_renews_itself_every_third_of_its_ttl, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let me = registry.register("apps/1", &"me".to_owned()).ttl(30 * SECOND).await.unwrap();
    assert_eq!((me.key(), me.rejoins()), ("apps/1", 0));
    // The margin is a hundredth.
    assert_eq!(me.valid_for(), 29_700 * MS);
    clock.advance(9 * SECOND);
    assert_eq!(me.valid_for(), 20_700 * MS);
    for _ in 0..5 {
        clock.advance(SECOND);
        until_renewed(&registry, "apps/1", clock.now() + 30 * SECOND).await;
        clock.advance(9 * SECOND);
    }
    let entry = registry.get("apps/1").await.unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.version), ("me", me.version()));
    let default = registry.register("apps/2", &"x".to_owned()).await.unwrap();
    assert_eq!(registry.get("apps/2").await.unwrap().unwrap().ttl, Some(15 * SECOND));
    assert_eq!(default.leave().await.unwrap(), Left::Left);
    assert!(registry.get("apps/2").await.unwrap().is_none());
    assert_eq!(me.leave().await.unwrap(), Left::Left);
});

conformance!(an_update_that_is_asked_once_and_left_alone_holds_up_no_renewal, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let me = registry.register("a", &"1".to_owned()).await.unwrap();
    let other = "2".to_owned();
    let mut left_alone = Box::pin(me.update(&other));
    let answer = (&mut left_alone).now_or_never();
    clock.advance(5 * SECOND);
    until_renewed(&registry, "a", clock.now() + 15 * SECOND).await;
    // It was sent, and its answer is there when it is polled again.
    let answer = match answer {
        Some(answer) => answer,
        None => within(left_alone).await,
    };
    assert!(answer.unwrap());
    assert_eq!(registry.get("a").await.unwrap().unwrap().value, other);
});

conformance!(a_member_updates_its_value_under_its_own_version, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let me = registry.register("a", &"1".to_owned()).await.unwrap();
    let before = me.version();
    clock.advance(SECOND);
    assert!(me.update(&"2".to_owned()).await.unwrap());
    assert!(me.version() > before);
    let entry = registry.get("a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.version), ("2", me.version()));
    assert_eq!(entry.expires_at, Some(clock.now() + 15 * SECOND));
    put(&registry, "a", "taken over").await;
    assert!(!me.update(&"3".to_owned()).await.unwrap(), "it is not its own any more");
    within(me.lost()).await;
    assert_eq!(registry.get("a").await.unwrap().unwrap().value, "taken over");
    let small = world.open().await.registry::<String>("texts").payload_limit(5).build().unwrap();
    let me = small.register("b", &"1".to_owned()).await.unwrap();
    assert_eq!(me.update(&"too long".to_owned()).await.unwrap_err().kind(), tidelock::ErrorKind::PayloadTooLarge);
});

conformance!(a_key_that_is_taken_is_not_registered_again, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let elsewhere = texts(&world.open().await);
    let text = "x".to_owned();
    let first = registry.try_register("a", &text).await.unwrap().expect("nobody has it");
    assert!(elsewhere.try_register("a", &text).await.unwrap().is_none());
    first.leave().await.unwrap();
    let second = elsewhere.try_register("a", &text).ttl(MINUTE).await.unwrap().expect("it is free again");
    assert_eq!(second.valid_for(), 59_400 * MS);
    put(&registry, "expired", "x").await;
    registry.touch("expired").ttl(MS).await.unwrap();
    clock.advance(MS);
    assert!(registry.try_register("expired", &text).await.unwrap().is_some(), "an expired record is nobody's");
});

conformance!(a_member_that_was_replaced_touches_and_removes_nothing, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let elsewhere = texts(&world.open().await);
    let old = registry.register("a", &"old".to_owned()).await.unwrap();
    let dropped = registry.register("b", &"old".to_owned()).await.unwrap();
    let new = elsewhere.register("a", &"new".to_owned()).ttl(MINUTE).await.unwrap();
    let other = elsewhere.register("b", &"new".to_owned()).ttl(MINUTE).await.unwrap();
    assert!(
        matches!(registry.remove("a").if_version(old.version()).await.unwrap(), Removal::Conflict(now) if now == new.version())
    );
    clock.advance(5 * SECOND);
    within(old.lost()).await;
    assert!(old.valid_for().is_zero());
    drop(dropped);
    assert_eq!(old.leave().await.unwrap(), Left::WasLost);
    let unlucky = registry.register("c", &"x".to_owned()).await.unwrap();
    put(&elsewhere, "c", "y").await;
    assert_eq!(unlucky.leave().await.unwrap(), Left::WasLost, "it finds out when it leaves");
    for (key, version) in [("a", new.version()), ("b", other.version())] {
        let entry = registry.get(key).await.unwrap().unwrap();
        assert_eq!((entry.value.as_str(), entry.version), ("new", version));
    }
    assert_eq!(registry.get("c").await.unwrap().unwrap().value, "y");
});

conformance!(a_member_that_stood_still_joins_again, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let watcher = texts(&world.open().await);
    let mut follower = watcher.follow().await.unwrap();
    let me = registry.register("a", &"me".to_owned()).await.unwrap();
    let (before, deadline) = (me.version(), clock.now() + 15 * SECOND);
    clock.advance(5 * 15 * SECOND);
    until(async || me.rejoins() == 1).await;
    assert!(me.version() > before);
    assert_eq!(me.valid_for(), 14_850 * MS);
    let events = drain(&mut follower).await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["upsert a me", "expire a", "upsert a me"]);
    assert_eq!(events[1].at, deadline, "for all others it ended at its deadline");
    // Gone entirely, as on a server that lost it.
    registry.delete().await.unwrap();
    clock.advance(5 * SECOND);
    until(async || me.rejoins() == 2).await;
    assert_eq!(registry.get("a").await.unwrap().unwrap().value, "me");
    // Another process was faster.
    registry.remove("a").await.unwrap();
    put(&watcher, "a", "other").await;
    clock.advance(5 * SECOND);
    within(me.lost()).await;
    assert_eq!(registry.get("a").await.unwrap().unwrap().value, "other");
});

conformance!(a_dropped_membership_is_gone, async |mut world: World| {
    world.pin();
    let registry = texts(&world.open().await);
    let watcher = texts(&world.open().await);
    let mut follower = watcher.follow().key("a").await.unwrap();
    let me = registry.register("a", &"1".to_owned()).await.unwrap();
    elsewhere(move || drop(me));
    assert_eq!(told(&next(&mut follower).await), "upsert a 1");
    assert_eq!(told(&next(&mut follower).await), "delete a");
    let me = registry.register("a", &"2".to_owned()).await.unwrap();
    {
        // A `leave` that was polled is sent.
        let mut leaving = std::pin::pin!(me.leave());
        is_pending(&mut leaving).await;
    }
    assert_eq!(told(&next(&mut follower).await), "upsert a 2");
    assert_eq!(told(&next(&mut follower).await), "delete a");
    // One that was not polled is the same as a drop.
    let me = registry.register("a", &"3".to_owned()).await.unwrap();
    drop(me.leave());
    assert_eq!(told(&next(&mut follower).await), "upsert a 3");
    assert_eq!(told(&next(&mut follower).await), "delete a");
});

conformance!(a_shutdown_removes_members_when_it_begins, async |world: World| {
    if !world.has_processes() {
        // Nobody would be left to look.
        return;
    }
    let tide = world.open().await;
    let registry = texts(&tide);
    let watcher = texts(&world.open().await);
    let me = registry.register("a", &"1".to_owned()).await.unwrap();
    let other = registry.register("b", &"1".to_owned()).await.unwrap();
    put(&watcher, "b", "successor").await;
    let mut follower = watcher.follow().await.unwrap();
    let began = std::time::Instant::now();
    let report = within(tide.shutdown(MINUTE)).await;
    assert!(report.is_clean() && began.elapsed() < 10 * SECOND, "{report:?} after {:?}", began.elapsed());
    assert_eq!(told(&next(&mut follower).await), "delete a");
    assert!(watcher.get("a").await.unwrap().is_none());
    assert_eq!(watcher.get("b").await.unwrap().unwrap().value, "successor");
    within(me.lost()).await;
    assert!(me.valid_for().is_zero() && other.valid_for().is_zero());
    assert_eq!(me.leave().await.unwrap(), Left::WasLost);
});

conformance!(many_members_are_renewed_and_push_nothing_out_of_the_log, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let count = scale(10_000);
    let registry: Registry<String> = tide.registry("texts").event_retention(tidelock::HOUR).build().unwrap();
    let names: Vec<_> = (0..count).map(|index| format!("members/{index:05}")).collect();
    let text = "x".to_owned();
    let mut members = Vec::new();
    for part in names.chunks(500) {
        for member in all(part.iter().map(|name| registry.register(name, &text).ttl(30 * SECOND))).await {
            members.push(member.unwrap());
        }
    }
    let mut follower = registry.follow().from_start().await.unwrap();
    for _ in 0..6 {
        clock.advance(10 * SECOND);
        let expected = (29_700 * MS, count);
        until(async || members.iter().filter(|member| member.valid_for() == expected.0).count() == expected.1).await;
        let events = drain(&mut follower).await;
        assert!(events.iter().all(|event| matches!(event.kind, EventKind::Upsert(_) | EventKind::Touch { .. })));
    }
    assert!(members.iter().all(|member| member.rejoins() == 0));
    let seen = stats(&registry).await;
    assert_eq!((seen.active, seen.events, seen.touches), (count as u64, count as u64, count as u64));
    let mut all_upserts = registry.follow().from_start().await.unwrap();
    let upserts = drain(&mut all_upserts).await;
    assert_eq!(upserts.iter().filter(|event| matches!(event.kind, EventKind::Upsert(_))).count(), count);
});
