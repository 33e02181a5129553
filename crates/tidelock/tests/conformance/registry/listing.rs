//! Pages, snapshots, and undecodable records.

use tidelock::registry::{Cas, EventKind, Listed};
use tidelock::{ErrorKind, Raw};

use super::*;

conformance!(pages_come_in_byte_order_and_none_is_missing, async |mut world: World| {
    world.pin();
    let registry = texts(&world.open().await);
    let mut names = ["Z", "a", "ab", "a b", "é", "z", "\u{10ffff}", "\u{ffff}", "A", "_", "a/b", "a/B", "a/é", "a0"];
    for name in names {
        put(&registry, name, name).await;
    }
    names.sort_unstable_by_key(|name| name.as_bytes());
    assert_eq!(keys(&registry.list().await.unwrap().items), names);
    let mut found: Vec<String> = Vec::new();
    let mut page = registry.list().limit(3).await.unwrap();
    loop {
        found.extend(keys(&page.items).into_iter().map(str::to_owned));
        let Some(next) = page.next else { break };
        assert_eq!(page.items.len(), 3, "pages are dense");
        let token = next.to_string().parse().unwrap();
        page = registry.list().limit(3).after(&token).await.unwrap();
    }
    assert_eq!(found, names);
    assert_eq!(keys(&registry.list().prefix("a/").await.unwrap().items), ["a/B", "a/b", "a/é"]);
    assert_eq!(keys(&registry.list().prefix("a/").after_key("a/B").await.unwrap().items), ["a/b", "a/é"]);
    assert_eq!(keys(&registry.list().after_key("z").limit(1).await.unwrap().items), ["é"]);
    assert_eq!(keys(&registry.list().prefix("").limit(1_000).await.unwrap().items), names);
    let exact = registry.list().limit(names.len()).await.unwrap();
    assert!(exact.next.is_none(), "the last page says that it is the last");
});

conformance!(a_page_has_a_hundred_records_unless_told_otherwise, async |mut world: World| {
    world.pin();
    let registry = texts(&world.open().await);
    let text = "x".to_owned();
    let names: Vec<_> = (0..101).map(|index| format!("{index:03}")).collect();
    all(names.iter().map(|name| registry.upsert(name, &text))).await;
    let page = registry.list().await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (100, true));
});

conformance!(a_page_ends_when_its_values_pass_four_megabytes, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let registry = tide.registry::<Raw>("raw").payload_limit(8 << 20).build().unwrap();
    registry.upsert("a", &Raw(vec![1; 5 << 20])).await.unwrap();
    for key in ["b", "c", "d"] {
        registry.upsert(key, &Raw(vec![2; 2 << 20])).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let list = registry.list();
        let page = match &after {
            Some(token) => list.after(token).await.unwrap(),
            None => list.await.unwrap(),
        };
        pages.push(page.items.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages.iter().sum::<usize>(), 4);
    assert_eq!(pages[0], 1, "one value may be larger on its own: {pages:?}");
    assert_eq!(registry.snapshot().await.unwrap().items.len(), 4);
});

conformance!(a_listing_under_writes_has_what_was_there_throughout_once, async |world: World| {
    let registry = texts(&world.open().await);
    let writer = texts(&world.open().await);
    for index in 0..60 {
        put(&registry, &format!("stays/{index:02}"), "x").await;
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let noise = tokio::spawn(async move {
        let mut stopped = stopped;
        for round in 0_u64.. {
            let key = format!("noise/{:02}", round % 40);
            put(&writer, &key, "x").await;
            put(&writer, &format!("stays/{:02}x", round % 60), "x").await;
            writer.remove(&format!("stays/{:02}x", (round + 7) % 60)).await.unwrap();
            writer.remove(&format!("noise/{:02}", (round + 20) % 40)).await.unwrap();
            if stopped.try_recv().is_ok() {
                return;
            }
        }
    });
    for _ in 0..10 {
        let mut found: Vec<String> = Vec::new();
        let mut page = registry.list().limit(10).await.unwrap();
        loop {
            found.extend(keys(&page.items).into_iter().map(str::to_owned));
            let Some(next) = page.next else { break };
            page = registry.list().limit(10).after(&next).await.unwrap();
        }
        assert!(found.is_sorted_by(|a, b| a < b), "in byte order, none twice: {found:?}");
        let throughout = found.iter().filter(|key| key.starts_with("stays/") && !key.ends_with('x')).count();
        assert_eq!(throughout, 60);
    }
    stop.send(()).unwrap();
    within(noise).await.unwrap();
});

conformance!(a_snapshot_and_what_follows_it_lose_no_write, async |world: World| {
    let registry = texts(&world.open().await);
    let writer = texts(&world.open().await);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // More than a page, so that pages of different instants have to be merged.
    let text = "x".to_owned();
    let names: Vec<_> = (0..1_200).map(|index| format!("k/{index:04}")).collect();
    for stored in all(names.iter().map(|name| writer.upsert(name, &text))).await {
        stored.unwrap();
    }
    let writing = tokio::spawn(async move {
        let mut stopped = stopped;
        let mut last = std::collections::BTreeMap::new();
        for round in 0_u64.. {
            let keys: Vec<_> = (0..8).map(|index| format!("k/{:04}", (round * 151 + index * 149) % 1_200)).collect();
            let text = round.to_string();
            for (key, stored) in keys.iter().zip(all(keys.iter().map(|key| writer.upsert(key, &text))).await) {
                let entry = stored.unwrap();
                last.insert(key.clone(), (entry.version, entry.value));
            }
            let gone = format!("k/{:04}", (round * 37) % 1_200);
            writer.remove(&gone).await.unwrap();
            last.remove(&gone);
            if stopped.try_recv().is_ok() {
                return;
            }
        }
    });
    let runs = crate::harness::scale(1_000);
    let mut earlier = None;
    for _ in 0..runs / 10 {
        let seen = within(registry.snapshot()).await.unwrap();
        let view = View::of(&seen.items);
        if let Some((mut view_before, mut follower)) = earlier.take() {
            // What was followed since the last snapshot leads to this snapshot.
            let (view_before, follower): (&mut View<String>, &mut tidelock::registry::Follower<String>) =
                (&mut view_before, &mut follower);
            while follower.cursor() != seen.cursor {
                assert!(!view_before.apply(next(follower).await), "nothing was missed");
            }
            assert!(*view_before == view);
        }
        let follower = registry.follow().after(&seen.cursor).await.unwrap();
        earlier = Some((view, follower));
    }
    stop.send(()).unwrap();
    within(writing).await.unwrap();
    // At rest, the last view, followed to the end, equals the store.
    let (mut view, mut follower) = earlier.unwrap();
    let end = registry.snapshot().await.unwrap();
    while follower.cursor() != end.cursor {
        assert!(!view.apply(next(&mut follower).await));
    }
    assert!(view == View::of(&end.items));
});

conformance!(what_does_not_decode_is_shown_with_its_bytes_and_stops_nobody, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let raw = tide.registry::<Raw>("texts").build().unwrap();
    let numbers = tide.registry::<u64>("texts").build().unwrap();
    let mut follower = numbers.follow().await.unwrap();
    for index in 0..99 {
        numbers.upsert(&format!("{index:02}"), &index).await.unwrap();
    }
    let bad = raw.upsert("50x", &Raw(b"{bad".to_vec())).await.unwrap();
    let listing = numbers.list().await.unwrap();
    assert_eq!((listing.items.len(), listing.entries().count()), (100, 99));
    let Listed::Raw(found) = &listing.items[51] else { panic!("it stands in its place: {:?}", listing.items[51]) };
    assert_eq!((found.key.as_str(), found.version, found.raw.as_slice()), ("50x", bad.version, b"{bad".as_slice()));
    assert_eq!(found.error.kind(), ErrorKind::Decode);
    assert_eq!(numbers.snapshot().await.unwrap().entries().count(), 99);

    let error = numbers.get("50x").await.unwrap_err();
    assert_eq!((error.kind(), error.raw()), (ErrorKind::Decode, Some(b"{bad".as_slice())));
    let text = error.to_string();
    assert!(text.contains("\"50x\"") && text.contains(&bad.version.to_string()) && text.contains("get"), "{text}");
    let error = numbers.cas("50x", None, &1).await.unwrap_err();
    assert_eq!((error.kind(), error.raw()), (ErrorKind::Decode, Some(b"{bad".as_slice())));

    numbers.upsert("after", &7).await.unwrap();
    let events = drain(&mut follower).await;
    assert_eq!(events.len(), 101);
    let EventKind::Undecodable { key, version, raw: bytes, error } = &events[99].kind else {
        panic!("it is told where it happened: {:?}", events[99]);
    };
    assert_eq!((key.as_str(), *version, bytes.as_slice()), ("50x", bad.version, b"{bad".as_slice()));
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert_eq!(told(&events[100]), "upsert after 7");
    assert!(matches!(numbers.cas("50x", bad.version, &50).await.unwrap(), Cas::Swapped(_)), "its version swaps it");
});
