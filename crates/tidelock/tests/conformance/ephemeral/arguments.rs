//! Rejected options and arguments: the error says what is wrong, and the stored state is unchanged.

use std::time::Duration;

use tidelock::ephemeral::{EventKind, Listed, Touch};
use tidelock::{ErrorKind, MINUTE, Raw};

use super::*;

// In a page, limits that only protect servers do not apply.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn a_builder_refuses_what_is_out_of_range() {
    let tide = Tidelock::in_process();
    let store = |id: &str| tide.ephemeral::<String>(id).ttl(SECOND);
    let over = TEN_YEARS + MS;
    let refused = [
        tide.ephemeral("e").build(),
        store("").build(),
        store("a\0b").build(),
        store(&"x".repeat(257)).build(),
        store("e").ttl(Duration::ZERO).build(),
        store("e").ttl(over).build(),
        store("e").max_entries(0).build(),
        store("e").max_entries(1_000_001).build(),
        store("e").payload_limit(0).build(),
        store("e").payload_limit(16_777_217).build(),
        store("e").event_retention(Duration::ZERO).build(),
        store("e").event_retention(over).build(),
        store("e").max_events(0).build(),
        store("e").max_events(10_000_001).build(),
        store("e").max_event_bytes((1 << 20) - 1).build(),
        store("e").max_event_bytes((4 << 30) + 1).build(),
        tide.tenant("a\0").ephemeral("e").ttl(SECOND).build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfiguration, "refused {index}");
    }
    let error = tide.ephemeral::<String>("e").build().unwrap_err().to_string();
    assert!(error.contains("ttl") && error.contains("ephemeral \"e\""), "{error}");
    store("e").ttl(MS).build().unwrap();
    store("e")
        .ttl(TEN_YEARS)
        .max_entries(1_000_000)
        .payload_limit(16 << 20)
        .event_retention(TEN_YEARS)
        .build()
        .unwrap();
}

async fn refused<T: std::fmt::Debug>(request: impl IntoFuture<Output = tidelock::Result<T>>, what: &str) {
    let (kind, text) = refusal(request, what).await;
    assert_eq!(kind, ErrorKind::InvalidArgument, "{what}: {text}");
    assert!(text.contains("ephemeral \"texts\""), "names the store: {text}");
}

conformance!(a_refused_argument_changes_nothing, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let store = texts(&tide);
    let over = TEN_YEARS + MS;
    put(&store, "a", "1").await;
    let before = picture(&store).await;
    let text = "x".to_owned();
    let long = "x".repeat(513);
    for key in ["", "a\0b", &long] {
        refused(store.upsert(key, &text), "upsert").await;
        refused(store.touch(key), "touch").await;
        refused(store.remove(key), "remove").await;
        refused(store.get(key), "get").await;
        refused(store.follow().key(key), "follow key").await;
    }
    for prefix in ["a\0", &long] {
        refused(store.snapshot().prefix(prefix), "snapshot prefix").await;
        refused(store.follow().prefix(prefix), "follow prefix").await;
    }
    for ttl in [Duration::ZERO, over] {
        refused(store.upsert("k", &text).ttl(ttl), "upsert ttl").await;
        refused(store.touch("a").ttl(ttl), "touch ttl").await;
    }
    let place = store.snapshot().await.unwrap().cursor;
    refused(store.follow().key("k").prefix("a"), "key and prefix").await;
    refused(store.follow().from_start().after(&place), "two beginnings").await;
    let foreign = store.tenant("b").snapshot().await.unwrap().cursor;
    refused(store.follow().after(&foreign), "foreign cursor").await;
    let registry = tide.registry::<String>("texts").build().unwrap().snapshot().await.unwrap().cursor;
    refused(store.follow().after(&registry), "a registry's cursor").await;
    refused(store.follow().await.unwrap().recv().wait(over), "wait").await;
    refused(store.tenant(&"x".repeat(257)).get("k"), "tenant").await;
    assert_eq!(picture(&store).await, before);
});

conformance!(a_refused_value_changes_nothing_and_size_comes_before_capacity, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let checked = tide.ephemeral::<String>("texts").ttl(MINUTE).max_entries(1).payload_limit(12);
    let store = checked.check(|text| if text == "bad" { Err("it is bad") } else { Ok(()) }).build().unwrap();
    put(&store, "a", "ten bytes!").await;
    let before = picture(&store).await;
    for (key, text, kind) in [
        ("b", "bad", ErrorKind::Validation),
        ("b", "eleven byte", ErrorKind::PayloadTooLarge),
        ("a", "ééééé!", ErrorKind::PayloadTooLarge),
        ("b", "short", ErrorKind::CapacityReached),
    ] {
        let (found, message) = refusal(store.upsert(key, &text.to_owned()), text).await;
        assert_eq!(found, kind, "{message}");
        let named = ["ephemeral \"texts\"", "upsert", &format!("{key:?}")].iter().all(|name| message.contains(name));
        assert!(named, "{message}");
    }
    assert_eq!(picture(&store).await, before);
    put(&store, "a", "ééééé").await;
});

conformance!(bytes_come_back_as_they_were, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let store = tide.ephemeral::<Raw>("raw").ttl(MINUTE).build().unwrap();
    let values: [&[u8]; 6] = [b"[]", b"{}", b"9007199254740993", b"0.1", b"", b"\0\xff"];
    let mut follower = store.follow().await.unwrap();
    for (index, value) in values.iter().enumerate() {
        let (key, raw) = (format!("k{index}"), Raw(value.to_vec()));
        assert_eq!(store.upsert(&key, &raw).await.unwrap().value, raw);
        assert_eq!(store.get(&key).await.unwrap().unwrap().value, raw);
        let EventKind::Upsert(entry) = next(&mut follower).await.kind else { panic!("an upsert") };
        assert_eq!(entry.value, raw);
    }
    let found: Vec<_> = store.snapshot().await.unwrap().into_entries().map(|entry| entry.value.0).collect();
    assert_eq!(found, values);
});

conformance!(names_that_look_alike_never_meet, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let names = ["a", "a:b", "a{b}", "a}", "a/b", "a%3Ab", "a*", "a//", "/"];
    for (index, name) in names.iter().enumerate() {
        for tenant in ["x", "x:y", "x%3Ay"] {
            let store = tide.tenant(tenant).ephemeral::<String>(name).ttl(MINUTE).build().unwrap();
            for key in names {
                put(&store, key, &format!("{index} {tenant} {key}")).await;
            }
        }
    }
    for (index, name) in names.iter().enumerate() {
        for tenant in ["x", "x:y", "x%3Ay"] {
            let store = tide.ephemeral::<String>(name).ttl(MINUTE).build().unwrap().tenant(tenant);
            assert_eq!(stats(&store).await.active, names.len() as u64);
            for key in names {
                assert_eq!(store.get(key).await.unwrap().unwrap().value, format!("{index} {tenant} {key}"));
            }
        }
    }
    // A registry of the same name is another object.
    let registry = tide.registry::<String>("a").build().unwrap();
    assert_eq!(registry.stats().await.unwrap().active, 0);
    assert!(matches!(texts(&tide).touch("a").await.unwrap(), Touch::Absent));
});

conformance!(what_does_not_decode_is_shown_with_its_bytes_and_stops_nobody, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let raw = tide.ephemeral::<Raw>("texts").ttl(MINUTE).build().unwrap();
    let numbers = tide.ephemeral::<u64>("texts").ttl(MINUTE).build().unwrap();
    let mut follower = numbers.follow().await.unwrap();
    for index in 0..99 {
        numbers.upsert(&format!("{index:02}"), &index).await.unwrap();
    }
    let bad = raw.upsert("50x", &Raw(b"{bad".to_vec())).await.unwrap();
    numbers.upsert("after", &7).await.unwrap();
    let seen = numbers.snapshot().await.unwrap();
    assert_eq!((seen.items.len(), seen.entries().count()), (101, 100));
    let Listed::Raw(found) = &seen.items[51] else { panic!("it stands in its place") };
    assert_eq!((found.key.as_str(), found.version, found.raw.as_slice()), ("50x", bad.version, b"{bad".as_slice()));
    let error = numbers.get("50x").await.unwrap_err();
    assert_eq!((error.kind(), error.raw()), (ErrorKind::Decode, Some(b"{bad".as_slice())));
    let events = drain(&mut follower).await;
    assert_eq!(events.len(), 101);
    assert_eq!(events[99..].iter().map(told).collect::<Vec<_>>(), ["undecodable 50x {bad", "upsert after 7"]);
});
