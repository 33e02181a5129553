//! Events that cannot be decoded: reported once, and passed over.

use super::*;
use tidelock::{DeadReason, Raw, RawEvent};

const BAD: &[u8] = b"\xff not JSON";

/// 500 good events and one bad one in the middle.
async fn mixed(tide: &Tidelock) -> (Topic<String>, Published) {
    let (texts, raw) = (texts(tide), tide.topic::<Raw>("texts").build().unwrap());
    publish_all(&texts, 0..250).await;
    let bad = raw.publish(&Raw(BAD.to_vec())).meta("k", &1).ordering_key("key").await.unwrap();
    texts.publish(&"250".to_owned()).ordering_key("key").await.unwrap();
    publish_all(&texts, 251..500).await;
    (texts, bad)
}

fn check(raw: &RawEvent, bad: &Published) {
    assert_eq!((raw.event_id, raw.cursor, raw.raw.as_slice()), (bad.event_id, bad.cursor, BAD));
    assert_eq!((raw.ordering_key.as_deref(), raw.meta.get("k").unwrap()), (Some("key"), &1.into()));
    assert!(raw.error.contains("String") && raw.error.contains("Json"), "{}", raw.error);
}

/// Separates the good items from the undecodable one.
fn sort<E>(items: impl IntoIterator<Item = Item<E>>, bad: &Published) -> Vec<E> {
    let (mut good, mut reported) = (Vec::new(), 0);
    for item in items {
        match item {
            Item::Event(event) => good.push(event),
            Item::Undecodable(raw) => {
                check(&raw, bad);
                assert_eq!(good.len(), 250, "in its place");
                reported += 1;
            }
            Item::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert_eq!(reported, 1);
    good
}

conformance!(a_group_buries_it_and_goes_on, async |world: World| {
    let (topic, bad) = mixed(&world.open().await).await;
    let batch = reader(&topic, "batch").recv_many(501).await.unwrap();
    let good = sort(batch, &bad);
    assert_eq!(good.len(), 499, "the one behind it of its key waits for the next receive");
    for prefetch in [0, 16] {
        let group = reader(&topic, &format!("stream {prefetch}"));
        let mut stream = group.stream().prefetch(prefetch).drain();
        let mut items = Vec::new();
        while let Some(item) = within(stream.next()).await {
            let item = item.unwrap();
            items.push(match item {
                Item::Event(event) => {
                    let text = event.data().clone();
                    assert!(event.commit().await.unwrap());
                    Item::Event(text)
                }
                Item::Undecodable(raw) => Item::Undecodable(raw),
                Item::Gap(gap) => Item::Gap(gap),
            });
        }
        let mut good = sort(items, &bad);
        good.sort_by_key(|text| text.parse::<u32>().unwrap());
        assert_eq!(good, numbers(0..500), "the key is freed, and the drain goes on");
        let dead = group.dead_letters().list().await.unwrap().items;
        assert_eq!((dead.len(), dead[0].reason, dead[0].attempts), (1, DeadReason::Undecodable, 1));
        assert_eq!((dead[0].raw.as_slice(), dead[0].event_id), (BAD, bad.event_id));
        assert!(dead[0].last_error.as_ref().unwrap().contains("String"));
    }
    let group = reader(&topic, "single");
    let mut reported = 0;
    while let Some(item) = try_take(&group).await {
        match item {
            Item::Event(event) => assert!(event.commit().await.unwrap()),
            Item::Undecodable(raw) => {
                check(&raw, &bad);
                reported += 1;
            }
            Item::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert_eq!((reported, counts(&topic, "single").await), (1, [0, 0, 0, 0, 1, 0]));
});

conformance!(a_worker_counts_it_and_goes_on, async |world: World| {
    let (topic, bad) = mixed(&world.open().await).await;
    let group = reader(&topic, "group");
    let worker = group.process(async |_| Ok(())).concurrency(8).spawn();
    until(async || worker.stats().acked == 500 && worker.stats().dead == 1).await;
    let report = within(worker.shutdown(SECOND)).await;
    assert_eq!((report.acked, report.dead, report.nacked, report.stale), (500, 1, 0, 0));
    assert_eq!(group.dead_letters().list().await.unwrap().items[0].event_id, bad.event_id);
});

conformance!(followers_and_pages_are_given_its_bytes, async |world: World| {
    let tide = world.open().await;
    let mut follower = texts(&tide).follow().await.unwrap();
    let (topic, bad) = mixed(&tide).await;
    let mut items = Vec::new();
    for _ in 0..501 {
        items.push(next(&mut follower).await);
    }
    assert_eq!(sort(items, &bad).into_iter().map(Event::into_data).collect::<Vec<_>>(), numbers(0..500));
    let page = topic.read().limit(1_000).await.unwrap().items;
    assert_eq!(sort(page, &bad).len(), 500);
});
