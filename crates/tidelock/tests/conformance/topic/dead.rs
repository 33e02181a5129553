//! Dead letters of a group.

use super::*;
use tidelock::{DAY, DeadReason, ErrorKind, EventId, HOUR, MINUTE};

async fn bury(topic: &Topic<String>, group: &Reader<String>, text: &str) -> EventId {
    let id = publish(topic, text).await.event_id;
    assert!(take(group).await.dead_letter("no").error(&"why").await.unwrap());
    id
}

conformance!(a_dead_letter_is_a_full_copy_that_outlives_its_event, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(10 * SECOND).build().unwrap();
    let (group, other) = (reader(&topic, "group"), reader(&topic, "other"));
    let request = topic.publish(&"text".to_owned()).meta("k", &"v").ordering_key("key");
    let published = request.await.unwrap();
    let sent = clock.now();
    clock.advance(SECOND);
    take(&group).await.dead_letter(&"é".repeat(513)).error(&"boom").await.unwrap();
    assert_eq!(drain(&other).await, ["text"], "other groups are untouched");
    clock.advance(HOUR);
    assert!(page_texts(&topic).await.is_empty());
    let dead = group.dead_letters().get(published.event_id).await.unwrap().unwrap();
    assert_eq!((dead.event_id, dead.cursor), (published.event_id, published.cursor));
    assert_eq!((dead.reason, dead.attempts), (DeadReason::Rejected, 1));
    assert_eq!(
        (dead.note.as_deref(), dead.last_error.as_deref()),
        (Some(format!("{}…", "é".repeat(510)).as_str()), Some("boom"))
    );
    assert_eq!((dead.published_at, dead.moved_at), (sent, sent + SECOND));
    assert_eq!(dead.kept_until, Some(sent + SECOND + 7 * DAY));
    assert_eq!((dead.ordering_key.as_deref(), dead.meta.get("k").unwrap()), (Some("key"), &"v".into()));
    assert_eq!(dead.decode().unwrap(), "text");
    assert!(other.dead_letters().get(published.event_id).await.unwrap().is_none());

    assert!(group.dead_letters().requeue(published.event_id).delay(5 * SECOND).await.unwrap());
    assert!(!group.dead_letters().requeue(published.event_id).await.unwrap(), "exactly one copy");
    nothing(&group).await;
    clock.advance(5 * SECOND);
    nothing(&other).await;
    let again = take(&group).await;
    assert_eq!((again.event_id(), again.attempt(), again.published_at()), (published.event_id, 1, sent));
    assert_eq!((again.ordering_key(), again.meta().get("k")), (Some("key"), Some(&"v".into())));
    again.nack().await.unwrap();
    let again = take(&group).await;
    assert_eq!(again.attempt(), 2, "in all further deliveries without regard to retention");
    assert!(again.commit().await.unwrap());
});

conformance!(listing_filters_and_pages_newest_first, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    for number in 0..5 {
        bury(&topic, &group, &number.to_string()).await;
        clock.advance(SECOND);
    }
    let middle = clock.now();
    let last = topic.reader("group").max_deliveries(1).build().unwrap();
    publish(&topic, "worn out").await;
    take(&last).await.nack().await.unwrap();
    let dead = group.dead_letters();
    let page = dead.list().limit(4).await.unwrap();
    let decoded = |items: &[tidelock::topic::DeadLetter<String>]| -> Vec<String> {
        items.iter().map(|letter| letter.decode().unwrap()).collect()
    };
    assert_eq!(decoded(&page.items), ["worn out", "4", "3", "2"]);
    assert!(dead.remove(page.items[3].event_id).await.unwrap(), "a listing survives the end of its last entry");
    let rest = dead.list().limit(4).after(page.next.as_ref().unwrap()).await.unwrap();
    assert_eq!(decoded(&rest.items), ["1", "0"]);
    assert!(rest.next.is_none());
    assert_eq!(dead.list().reason(DeadReason::MaxDeliveriesExceeded).await.unwrap().items.len(), 1);
    assert_eq!(dead.list().moved_before(middle).await.unwrap().items.len(), 4);
    assert_eq!(dead.list().moved_after(middle).await.unwrap().items.len(), 1);

    assert_eq!(dead.requeue_all().moved_before(middle).limit(3).await.unwrap(), 3, "oldest first");
    assert_eq!(drain(&group).await, ["0", "1", "3"], "by their positions");
    assert_eq!(dead.purge().reason(DeadReason::Rejected).await.unwrap(), 1);
    assert_eq!(dead.purge().await.unwrap(), 1);
    assert_eq!(dead.purge().await.unwrap(), 0);
    assert_eq!(counts(&topic, "group").await, [0; 6]);
});

conformance!(a_dead_letter_is_kept_for_its_retention, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let brief = topic.reader("group").dead_letter_retention(MS).build().unwrap();
    let hour = topic.reader("group").dead_letter_retention(HOUR).build().unwrap();
    let endless = topic.reader("group").dead_letter_retention(None).build().unwrap();
    let ids = [
        bury(&topic, &brief, "brief").await,
        bury(&topic, &hour, "hour").await,
        bury(&topic, &endless, "endless").await,
    ];
    let left = async || hour.dead_letters().list().await.unwrap().items.len();
    assert_eq!(left().await, 3);
    clock.advance(MS);
    assert_eq!(left().await, 2);
    assert!(!hour.dead_letters().requeue(ids[0]).await.unwrap());
    clock.advance(HOUR.saturating_sub(2 * MS));
    assert_eq!(left().await, 2);
    clock.advance(MS);
    assert_eq!(left().await, 1);
    assert!(hour.dead_letters().get(ids[1]).await.unwrap().is_none());
    clock.advance(3_650 * DAY);
    let kept = hour.dead_letters().get(ids[2]).await.unwrap().unwrap();
    assert_eq!((kept.kept_until, kept.decode().unwrap()), (None, "endless".to_owned()));
});

conformance!(an_event_that_is_open_again_is_not_requeued, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    let id = bury(&topic, &group, "text").await;
    assert!(topic.groups().seek("group", Start::Earliest).await.unwrap());
    let open = take(&group).await;
    assert_eq!(open.event_id(), id);
    assert!(!group.dead_letters().requeue(id).await.unwrap());
    assert_eq!(group.dead_letters().requeue_all().await.unwrap(), 0);
    assert!(open.dead_letter("again").await.unwrap());
    let dead = group.dead_letters().list().await.unwrap().items;
    assert_eq!((dead.len(), dead[0].note.as_deref()), (1, Some("again")), "a second death replaces the entry");
    assert!(group.dead_letters().requeue(id).await.unwrap());
    assert_eq!(drain(&group).await, ["text"]);
});

conformance!(an_id_of_another_topic_is_refused, async |world: World| {
    let tide = world.open().await;
    let topic = texts(&tide);
    let group = reader(&topic, "group");
    let foreign = publish(&tide.topic("other").build().unwrap(), "text").await.event_id;
    let dead = group.dead_letters();
    let kinds = [
        dead.get(foreign).await.unwrap_err().kind(),
        dead.requeue(foreign).await.unwrap_err().kind(),
        dead.remove(foreign).await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::InvalidArgument; 3]);
    let own = publish(&topic, "text").await.event_id;
    assert!(dead.get(own).await.unwrap().is_none());
    assert!(!dead.requeue(own).await.unwrap());
    assert!(!dead.remove(own).await.unwrap());
});

conformance!(a_change_finds_all_that_died_before_it, async |mut world: World| {
    const MANY: u32 = 450;
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = topic.reader("group").max_deliveries(1).build().unwrap();
    let dead = group.dead_letters();
    // More than one step carries out.
    let lapse = async || {
        let published = publish_all(&topic, 0..MANY).await;
        assert_eq!(group.recv_many(MANY as usize).await.unwrap().len(), MANY as usize);
        clock.advance(MINUTE);
        published.last().unwrap().event_id
    };
    let last = lapse().await;
    assert!(dead.remove(last).await.unwrap());
    assert_eq!(dead.purge().await.unwrap(), u64::from(MANY) - 1);
    let last = lapse().await;
    assert!(dead.requeue(last).await.unwrap());
    assert_eq!(dead.requeue_all().await.unwrap(), u64::from(MANY) - 1);
    assert_eq!(drain(&group).await, numbers(0..MANY));
    lapse().await;
    assert!(topic.groups().seek("group", Start::Latest).await.unwrap());
    assert_eq!(counts(&topic, "group").await, [0, 0, 0, 0, u64::from(MANY), 0]);
});

conformance!(a_seek_lets_any_number_of_requeued_copies_start_again, async |world: World| {
    // More than one step opens again.
    const MANY: u32 = 450;
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    let keys = ["a", "b", "c"].into_iter().cycle();
    let items = (0..MANY).zip(keys).map(|(number, key)| topic.publish(&number.to_string()).ordering_key(key));
    topic.publish_many(items).await.unwrap();
    while let Some(Item::Event(event)) = try_take(&group).await {
        assert!(event.dead_letter("no").await.unwrap());
    }
    assert_eq!(group.dead_letters().requeue_all().await.unwrap(), u64::from(MANY));
    let held = take(&group).await;
    assert!(topic.groups().seek("group", Start::Latest).await.unwrap());
    assert!(!held.commit().await.unwrap(), "it starts again, too");
    assert_eq!(counts(&topic, "group").await, [0, 0, 3, u64::from(MANY) - 3, 0, 0]);
    assert_eq!(drain(&group).await, numbers(0..MANY));
});
