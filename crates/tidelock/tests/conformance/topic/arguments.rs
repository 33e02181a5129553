//! Rejected arguments: the error says what is wrong, and the stored state is unchanged.

use super::*;
use crate::in_process;
use tidelock::{Cursor, DAY, ErrorKind, MINUTE};

const TEN_YEARS: Duration = Duration::from_hours(3_650 * 24);
const MOST: u64 = (1 << 53) - 1;

// In a page, limits that only protect servers do not apply.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn a_builder_refuses_what_is_out_of_range() {
    let tide = Tidelock::in_process();
    let topic = |id: &str| tide.topic::<String>(id);
    let over = TEN_YEARS + MS;
    let refused = [
        topic("").build(),
        topic("a\0b").build(),
        topic(&"x".repeat(257)).build(),
        topic("t").retention(Duration::ZERO).build(),
        topic("t").retention(over).build(),
        topic("t").max_len(0).build(),
        topic("t").max_len(MOST + 1).build(),
        topic("t").payload_limit(0).build(),
        topic("t").payload_limit((16 << 20) + 1).build(),
        tide.tenant("").topic("t").build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfiguration, "refused {index}");
    }
    let error = topic("t").retention(Duration::ZERO).build().unwrap_err().to_string();
    assert!(error.contains("retention") && error.contains("0ns") && error.contains("\"t\""), "{error}");
    topic(&"x".repeat(256)).retention(TEN_YEARS).max_len(MOST).payload_limit(16 << 20).build().unwrap();
    topic("t").retention(MS).max_len(1).payload_limit(1).build().unwrap();
    topic("t").retention(None).max_len(None).build().unwrap();
}

in_process!(a_reader_refuses_what_is_out_of_range, async || {
    let tide = Tidelock::in_process();
    let topic = texts(&tide);
    let foreign = publish(&tide.topic("other").build().unwrap(), "text").await.cursor;
    let group = || topic.reader("group");
    let over = TEN_YEARS + MS;
    let refused = [
        topic.reader("").build(),
        topic.reader("a\0b").build(),
        topic.reader(&"x".repeat(257)).build(),
        group().lease(Duration::ZERO).build(),
        group().lease(over).build(),
        group().max_deliveries(0).build(),
        group().max_deliveries(MOST + 1).build(),
        group().max_in_flight(0).build(),
        group().max_in_flight(100_001).build(),
        group().dead_letter_retention(Duration::ZERO).build(),
        group().dead_letter_retention(over).build(),
        group().max_nack_delay(over).build(),
        group().start(Start::After(foreign)).build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration, "refused {index}");
        assert!(error.to_string().contains("texts"), "names the topic: {error}");
    }
    topic.reader(&"x".repeat(256)).lease(MS).max_deliveries(MOST).max_in_flight(100_000).build().unwrap();
    group().lease(TEN_YEARS).max_deliveries(None).max_nack_delay(TEN_YEARS).max_in_flight(1).build().unwrap();
    group().max_nack_delay(Duration::ZERO).dead_letter_retention(None).build().unwrap();
});

#[test]
fn text_that_is_no_cursor_is_refused() {
    let own = "00000000000.00000000000.00000000000.00000000000";
    assert_eq!(own.parse::<Cursor>().unwrap().to_string(), own);
    for bad in ["", "0", &own[1..], &own[..own.len() - 1], &own.replace('.', "-"), &format!("{own}0"), "0-0"] {
        assert_eq!(bad.parse::<Cursor>().unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        assert_eq!(bad.parse::<tidelock::EventId>().unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        assert!(serde_json::from_value::<Cursor>(bad.into()).is_err());
    }
}

async fn refused<T: Debug>(request: impl IntoFuture<Output = Result<T>>, what: &str) {
    let error = request.await.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}: {error}");
    assert!(error.to_string().contains("texts"), "names the topic: {error}");
}

conformance!(a_refused_publish_or_look_changes_nothing, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let topic = texts(&tide);
    let foreign = publish(&tide.topic("other").build().unwrap(), "text").await.cursor;
    publish(&topic, "text").await;
    let before = picture(&topic, "group").await.unwrap();
    let text = "x".to_owned();
    let publish = || topic.publish(&text);
    let (over, long) = (TEN_YEARS + MS, "x".repeat(513));
    for bad in ["", "a\0b", &long] {
        refused(publish().ordering_key(bad), "ordering_key").await;
        refused(publish().dedup_key(bad), "dedup_key").await;
    }
    refused(publish().dedup_for(SECOND), "dedup_for alone").await;
    refused(publish().dedup_key("k").dedup_for(Duration::ZERO), "dedup_for 0").await;
    refused(publish().dedup_key("k").dedup_for(over), "dedup_for").await;
    refused(publish().traceparent("00-0-0-0"), "traceparent").await;
    refused(topic.publish_many([]), "empty batch").await;
    refused(topic.read().limit(0), "limit 0").await;
    refused(topic.read().limit(1_001), "limit").await;
    refused(topic.read().after(foreign), "foreign cursor").await;
    refused(topic.read().newest_first().after(foreign), "foreign cursor").await;
    refused(topic.read().after("nonsense".parse::<tidelock::PageToken>().unwrap()), "page token").await;
    for bad in ["", "a\0b", &long[..257]] {
        refused(topic.groups().get(bad), "group").await;
        refused(topic.groups().create(bad, Start::Latest), "group").await;
        refused(topic.groups().remove(bad), "group").await;
        refused(topic.groups().pause(bad), "group").await;
    }
    refused(topic.groups().create("g", Start::After(foreign)), "create").await;
    refused(topic.groups().seek("g", Start::After(foreign)), "seek").await;
    assert_eq!(picture(&topic, "group").await.unwrap(), before);
});

conformance!(a_refused_receive_or_settle_changes_nothing, async |mut world: World| {
    world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..3).await;
    let dead = take(&group).await;
    let dead_id = dead.event_id();
    assert!(dead.dead_letter("dead").await.unwrap());
    let held = take(&group).await;
    let before = picture(&topic, "group").await.unwrap();
    let over = TEN_YEARS + MS;
    refused(group.recv().wait(over), "wait").await;
    refused(group.try_recv().lease(Duration::ZERO), "lease 0").await;
    refused(group.try_recv().lease(over), "lease").await;
    for bad in ["", "a\0b", &"x".repeat(257)] {
        refused(group.try_recv().consumer(bad), "consumer").await;
    }
    refused(group.recv_many(0), "max 0").await;
    refused(group.recv_many(1_001), "max").await;
    refused(held.touch().lease(Duration::ZERO), "touch 0").await;
    refused(held.touch().lease(over), "touch").await;
    refused(group.nack(&held.receipt()).delay(7 * DAY + MS), "nack delay").await;
    refused(group.commit_many(&vec![held.receipt(); 1_001]), "commit_many").await;
    refused(topic.groups().pause("group").for_at_most(Duration::ZERO), "pause 0").await;
    refused(topic.groups().pause("group").for_at_most(over), "pause").await;
    refused(group.dead_letters().list().limit(0), "dead limit").await;
    refused(group.dead_letters().list().after(&"nonsense".parse().unwrap()), "dead page").await;
    refused(group.dead_letters().requeue(dead_id).delay(over), "requeue delay").await;
    refused(group.dead_letters().requeue_all().limit(0), "requeue limit").await;
    refused(group.dead_letters().purge().limit(0), "purge limit").await;
    let forever = std::future::pending;
    refused(group.process(async |_| Ok(())).lease(99 * MS).run_until(forever()), "worker lease").await;
    refused(group.process(async |_| Ok(())).concurrency(0).run_until(forever()), "concurrency").await;
    refused(group.process(async |_| Ok(())).prefetch(10_001).run_until(forever()), "prefetch").await;
    refused(group.process(async |_| Ok(())).timeout(Duration::ZERO).run_until(forever()), "timeout").await;
    refused(group.process(async |_| Ok(())).shutdown_grace(2 * DAY).run_until(forever()), "grace").await;
    for mut stream in [group.stream().prefetch(1_001), group.stream().lease(99 * MS).prefetch(1)] {
        refused(async { stream.next().await.unwrap() }, "stream").await;
        assert!(stream.next().await.is_none());
    }
    assert_eq!(picture(&topic, "group").await.unwrap(), before);
    assert!(held.commit().await.unwrap());
});

conformance!(the_ends_of_all_ranges_work, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let topic = tide.topic::<String>(&"x".repeat(256)).retention(None).max_len(MOST).build().unwrap();
    let name = "g".repeat(256);
    let group = topic.reader(&name).max_nack_delay(TEN_YEARS).lease(TEN_YEARS).max_deliveries(MOST);
    let group = group.max_in_flight(100_000).dead_letter_retention(TEN_YEARS).build().unwrap();
    let key = "k".repeat(512);
    let request = topic.publish(&"text".to_owned()).ordering_key(&key).dedup_key(&key).dedup_for(TEN_YEARS);
    request.await.unwrap();
    topic.publish(&"short".to_owned()).dedup_key("short").dedup_for(MS).await.unwrap();
    let held = group.try_recv().lease(TEN_YEARS).consumer(&"c".repeat(256)).await.unwrap().unwrap().event().unwrap();
    assert!(held.touch().lease(MS).await.unwrap());
    assert!(held.touch().lease(TEN_YEARS).await.unwrap());
    assert!(topic.groups().pause(&name).for_at_most(TEN_YEARS).await.unwrap() == tidelock::Changed::Yes);
    held.nack().delay(TEN_YEARS).await.unwrap();
    clock.advance(TEN_YEARS);
    assert_eq!(drain(&group).await, ["text", "short"]);
    assert_eq!(MINUTE, 60 * SECOND);
});
