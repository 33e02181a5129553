//! Rejected options and arguments: the error says what is wrong, and the stored state is unchanged.

use tidelock::registry::{Cas, Cursor, Touch, Version};
use tidelock::{ErrorKind, MINUTE, Raw, SECOND};

use super::*;

// In a page, limits that only protect servers do not apply.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn a_builder_refuses_what_is_out_of_range() {
    let tide = Tidelock::in_process();
    let registry = |id: &str| tide.registry::<String>(id);
    let over = TEN_YEARS + MS;
    let none = std::time::Duration::ZERO;
    let refused = [
        registry("").build(),
        registry("a\0b").build(),
        registry(&"x".repeat(257)).build(),
        registry("r").max_entries(0).build(),
        registry("r").max_entries(1_000_001).build(),
        registry("r").payload_limit(0).build(),
        registry("r").payload_limit(16_777_217).build(),
        registry("r").event_retention(none).build(),
        registry("r").event_retention(over).build(),
        registry("r").max_events(0).build(),
        registry("r").max_events(10_000_001).build(),
        registry("r").max_event_bytes((1 << 20) - 1).build(),
        registry("r").max_event_bytes((4 << 30) + 1).build(),
        registry("r").tombstone_retention(none).build(),
        registry("r").tombstone_retention(over).build(),
        tide.tenant("").registry("r").build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfiguration, "refused {index}");
    }
    let error = registry("r").max_entries(0).build().unwrap_err().to_string();
    assert!(error.contains("max_entries") && error.contains("is 0") && error.contains("registry \"r\""), "{error}");
    registry(&"x".repeat(256)).max_entries(1).payload_limit(1).max_events(1).max_event_bytes(1 << 20).build().unwrap();
    registry("r").max_entries(1_000_000).payload_limit(16 << 20).max_events(10_000_000).build().unwrap();
    registry("r").max_event_bytes(4 << 30).event_retention(TEN_YEARS).tombstone_retention(TEN_YEARS).build().unwrap();
    registry("r").event_retention(MS).tombstone_retention(MS).build().unwrap();
}

async fn refused<T: std::fmt::Debug>(request: impl IntoFuture<Output = tidelock::Result<T>>, what: &str) {
    let (kind, text) = refusal(request, what).await;
    assert_eq!(kind, ErrorKind::InvalidArgument, "{what}: {text}");
    assert!(text.contains("registry \"texts\""), "names the registry: {text}");
}

conformance!(a_refused_argument_changes_nothing, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let registry = texts(&tide);
    let over = TEN_YEARS + MS;
    let none = std::time::Duration::ZERO;
    put(&registry, "a/permanent", "1").await;
    registry.upsert("a/short", &"2".to_owned()).ttl(SECOND).await.unwrap();
    registry.upsert("a/long", &"3".to_owned()).ttl(MINUTE).await.unwrap();
    clock.advance(SECOND);
    let before = picture(&registry).await;

    let text = "x".to_owned();
    let long = "x".repeat(513);
    for key in ["", "/", "/a", "a/", "a//b", "a\0b", "1/2/3/4/5/6/7/8/9", &long] {
        refused(registry.upsert(key, &text), "upsert").await;
        refused(registry.cas(key, None, &text), "cas").await;
        refused(registry.touch(key), "touch").await;
        refused(registry.remove(key), "remove").await;
        refused(registry.get(key), "get").await;
        refused(registry.register(key, &text), "register").await;
        refused(registry.try_register(key, &text), "try_register").await;
        refused(registry.follow().key(key), "follow key").await;
        refused(registry.list().after_key(key), "after_key").await;
    }
    for prefix in ["a", "/", "/a/", "a//", "a\0/", &long] {
        refused(registry.list().prefix(prefix), "list prefix").await;
        refused(registry.snapshot().prefix(prefix), "snapshot prefix").await;
        refused(registry.follow().prefix(prefix), "follow prefix").await;
    }
    for ttl in [none, over] {
        refused(registry.upsert("k", &text).ttl(ttl), "upsert ttl").await;
        refused(registry.cas("k", None, &text).ttl(ttl), "cas ttl").await;
        refused(registry.touch("a/long").ttl(ttl), "touch ttl").await;
    }
    for ttl in [999 * MS, over] {
        refused(registry.register("k", &text).ttl(ttl), "register ttl").await;
        refused(registry.try_register("k", &text).ttl(ttl), "try_register ttl").await;
    }
    refused(registry.upsert("k", &text).ttl(SECOND).keep_ttl(), "ttl and keep_ttl").await;
    refused(registry.cas("k", None, &text).permanent().ttl(SECOND), "ttl and permanent").await;
    refused(registry.list().limit(0), "limit 0").await;
    if cfg!(not(target_family = "wasm")) {
        // In a page, limits that only protect servers do not apply.
        refused(registry.list().limit(1_001), "limit").await;
    }
    refused(registry.list().prefix("a/").after_key("b/1"), "after_key elsewhere").await;
    refused(registry.list().after(&"nonsense".parse().unwrap()), "page token").await;
    let page = registry.list().limit(1).await.unwrap();
    let next = page.next.expect("there are two");
    refused(registry.list().after(&next).after_key("a/long"), "two places").await;
    refused(registry.follow().key("k").prefix("a/"), "key and prefix").await;
    refused(registry.follow().after(&page.cursor).from_start(), "two beginnings").await;
    for follow in [registry.follow().key("k").key("a/long"), registry.follow().prefix("k/").prefix("a/")] {
        let mut follower = follow.from_start().from_start().await.expect("the last option of a kind counts");
        assert!(follower.try_recv().await.unwrap().is_some());
    }
    refused(registry.follow().after(&registry.tenant("b").list().await.unwrap().cursor), "foreign cursor").await;
    refused(registry.follow().await.unwrap().recv().wait(over), "wait").await;
    refused(registry.tenant("").upsert("k", &text), "tenant").await;
    assert_eq!(picture(&registry).await, before);
});

conformance!(a_refused_value_changes_nothing_and_size_comes_before_capacity, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let checked = tide.registry::<String>("texts").max_entries(1).payload_limit(12);
    let registry = checked.check(|text| if text == "bad" { Err("it is bad") } else { Ok(()) }).build().unwrap();
    put(&registry, "a", "ten bytes!").await;
    let before = picture(&registry).await;
    let refused = async |key: &str, text: &str| refusal(registry.upsert(key, &text.to_owned()), text).await;
    let (kind, text) = refused("b", "bad").await;
    assert!(kind == ErrorKind::Validation && text.contains("it is bad"), "{text}");
    let (kind, text) = refused("b", "eleven bytes").await;
    assert_eq!(kind, ErrorKind::PayloadTooLarge, "{text}");
    assert!(text.contains("14") && text.contains("12") && text.contains("\"b\"") && text.contains("upsert"), "{text}");
    let (kind, text) = refused("b", "short").await;
    assert!(kind == ErrorKind::CapacityReached && text.contains("max_entries 1"), "{text}");
    let error = registry.cas("b", None, &"short".to_owned()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::CapacityReached && !error.is_retryable(), "{error}");
    // Multi-byte characters count as their bytes: six of them and two quotes, then eleven and two.
    put(&registry, "a", "ééé").await;
    assert_eq!(refused("a", "ééééé!").await.0, ErrorKind::PayloadTooLarge);
    // The size is checked before the expected version.
    let wrong: Version = "1".parse().unwrap();
    let (kind, _) = refusal(registry.cas("a", wrong, &"eleven bytes".to_owned()), "cas").await;
    assert_eq!(kind, ErrorKind::PayloadTooLarge);
    put(&registry, "a", "ten bytes!").await;
    assert_ne!(picture(&registry).await, before, "only because of the accepted upserts");
});

conformance!(the_ends_of_all_ranges_work, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let registry = tide.registry::<String>(&"x".repeat(256)).build().unwrap();
    let long = "k".repeat(512);
    let deep = "1/2/3/4/5/6/7/8";
    let text = "x".to_owned();
    for (key, ttl) in [(&*long, MS), (deep, 999 * MS), ("month", 30 * tidelock::DAY), ("decade", TEN_YEARS)] {
        let entry = registry.upsert(key, &text).ttl(ttl).await.unwrap();
        assert_eq!((entry.ttl, entry.expires_at), (Some(ttl), Some(clock.now() + ttl)), "{key}");
        clock.advance(just_before(ttl));
        assert!(registry.get(key).await.unwrap().is_some(), "{key} lives to its last millisecond");
        let touched = registry.touch(key).await.unwrap();
        assert_eq!(touched, Touch::Extended { version: entry.version, expires_at: clock.now() + ttl });
        clock.advance(ttl);
        assert!(registry.get(key).await.unwrap().is_none(), "{key} is over");
    }
    let parts = registry.upsert("parts", &text).ttl(MS + std::time::Duration::from_nanos(1)).await.unwrap();
    assert_eq!(parts.ttl, Some(2 * MS), "parts of a millisecond are rounded up");
    let reason = "é".repeat(600);
    put(&registry, "a", "1").await;
    let mut follower = registry.follow().key("a").await.unwrap();
    registry.remove("a").reason(&reason).await.unwrap();
    assert_eq!(
        drain_told(&mut follower).await,
        [format!("delete a {}…", "é".repeat(510))],
        "1,024 bytes, cut between characters, with a mark"
    );
});

conformance!(names_that_look_alike_never_meet, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let names = ["a", "a:b", "a{b}", "a}", "a{", "a%3Ab", "a%", "a*", "a:b:c", "a b", "é", "e\u{301}"];
    for (index, name) in names.iter().enumerate() {
        for (other, tenant) in [(0, "x"), (1, "x:y"), (2, "x%3Ay")] {
            let registry = tide.tenant(tenant).registry::<String>(name).build().unwrap();
            for key in names {
                put(&registry, key, &format!("{index} {other} {key}")).await;
            }
        }
    }
    for (index, name) in names.iter().enumerate() {
        for (other, tenant) in [(0, "x"), (1, "x:y"), (2, "x%3Ay")] {
            let registry = tide.registry::<String>(name).build().unwrap().tenant(tenant);
            assert_eq!(registry.stats().await.unwrap().active, names.len() as u64);
            for key in names {
                let entry = registry.get(key).await.unwrap().unwrap();
                assert_eq!(entry.value, format!("{index} {other} {key}"));
            }
        }
    }
    let slashes = texts(&tide);
    put(&slashes, "a/b", "path").await;
    put(&slashes, "a", "segment").await;
    assert_eq!(keys(&slashes.list().prefix("a/").await.unwrap().items), ["a/b"]);
});

conformance!(bytes_come_back_as_they_were, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let registry = tide.registry::<Raw>("raw").build().unwrap();
    let values: [&[u8]; 8] =
        [b"[]", b"{}", b"false", b"9007199254740993", b"0.1", b"", b"\0\xff\r\n", b"\xc3\x28 not text"];
    let mut follower = registry.follow().await.unwrap();
    for (index, value) in values.iter().enumerate() {
        let key = format!("k{index}");
        let raw = Raw(value.to_vec());
        assert_eq!(registry.upsert(&key, &raw).await.unwrap().value, raw);
        assert_eq!(registry.get(&key).await.unwrap().unwrap().value, raw);
        let Cas::Conflict(Some(found)) = registry.cas(&key, None, &Raw(vec![1])).await.unwrap() else {
            panic!("it is there");
        };
        assert_eq!(found.value, raw);
        let tidelock::registry::EventKind::Upsert(entry) = next(&mut follower).await.kind else { panic!("an upsert") };
        assert_eq!(entry.value, raw);
    }
    let listed: Vec<_> = registry.list().await.unwrap().into_entries().map(|entry| entry.value.0).collect();
    assert_eq!(listed, values);
    let cursor: Cursor = follower.cursor().to_string().parse().unwrap();
    assert_eq!(cursor, follower.cursor());
});
