//! Groups: sharing events, where groups begin, and moving them.

use super::*;
use futures_util::FutureExt;
use std::collections::HashSet;
use tidelock::{Changed, ErrorKind, HOUR};

conformance!(readers_of_a_group_share_and_every_group_gets_all, async |world: World| {
    let (tide, other) = (world.open().await, world.open().await);
    let topic = texts(&tide);
    publish_all(&topic, 0..200).await;
    let mut tasks = Vec::new();
    for group in ["one", "two"] {
        for tide in [&tide, &other, &tide, &other] {
            let reader = reader(&texts(tide), group);
            tasks.push((group, tokio::spawn(async move { drain(&reader).await })));
        }
    }
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for (group, task) in tasks {
        let got = within(task).await.unwrap();
        if group == "one" { one.extend(got) } else { two.extend(got) }
    }
    for got in [one, two] {
        assert_eq!(got.len(), 200, "without overlap");
        assert_eq!(got.into_iter().collect::<HashSet<_>>(), numbers(0..200).into_iter().collect());
    }
});

conformance!(a_new_reader_repeats_nothing_and_gets_nothing_that_is_held, async |world: World| {
    let topic = texts(&world.open().await);
    publish_all(&topic, 0..4).await;
    let first = reader(&topic, "group");
    assert!(take(&first).await.commit().await.unwrap());
    let held = take(&first).await;
    let second = reader(&texts(&world.open().await), "group");
    assert_eq!(drain(&second).await, ["2", "3"]);
    assert!(held.commit().await.unwrap());
    nothing(&second).await;
    assert_eq!(counts(&topic, "group").await, [0; 6]);
});

conformance!(a_group_begins_where_its_first_reader_says, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let first = publish(&topic, "0").await;
    clock.advance(999 * MS);
    let before = clock.now();
    clock.advance(MS);
    let at = clock.now();
    publish_all(&topic, 1..3).await;
    let starting = |group: &str, start: Start| topic.reader(group).start(start).build().unwrap();
    let starts = [
        ("earliest", Start::Earliest, 0),
        ("latest", Start::Latest, 3),
        ("after", Start::After(first.cursor), 1),
        ("at", Start::At(at), 1),
        ("between", Start::At(before), 1),
        ("later", Start::At(at + MS), 3),
    ];
    for (group, start, _) in starts {
        if let Some(item) = try_take(&starting(group, start)).await {
            assert!(item.event().unwrap().give_back().await.unwrap());
        }
    }
    publish(&topic, "3").await;
    for (group, _, from) in starts {
        assert_eq!(drain(&starting(group, Start::Earliest)).await, numbers(from..4), "{group}: start moves nothing");
    }
});

conformance!(a_group_is_created_once_and_listed, async |world: World| {
    let topic = texts(&world.open().await);
    let groups = topic.groups();
    assert!(groups.list().await.unwrap().is_empty());
    assert_eq!(groups.get("b").await.unwrap(), None);
    assert!(groups.create("b", Start::Earliest).await.unwrap());
    let published = publish_all(&topic, 0..3).await;
    assert!(!groups.create("b", Start::Latest).await.unwrap(), "it stays where it is");
    assert!(groups.create("a", Start::After(published[0].cursor)).await.unwrap());
    let names: Vec<_> = groups.list().await.unwrap().into_iter().map(|info| (info.name, info.unread)).collect();
    assert_eq!(names, [("a".to_owned(), 2), ("b".to_owned(), 3)]);
    assert_eq!(info(&topic, "a").await.position, published[0].cursor);
    assert_eq!(topic.stats().await.unwrap().groups, 2);
    assert!(groups.remove("a").await.unwrap());
    assert!(!groups.remove("a").await.unwrap());
    assert_eq!(topic.stats().await.unwrap().groups, 1);
});

conformance!(a_topic_has_at_most_a_thousand_groups, async |world: World| {
    let topic = texts(&world.open().await);
    publish(&topic, "text").await;
    let creations = (0..1_000).map(|number| topic.groups().create(&number.to_string(), Start::Latest).into_future());
    for created in futures_util::future::join_all(creations).await {
        assert!(created.unwrap());
    }
    let error = topic.groups().create("one more", Start::Latest).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::CapacityReached, false));
    assert!(error.to_string().contains("1000"), "{error}");
    let error = reader(&topic, "one more").try_recv().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CapacityReached);
    assert_eq!(drain(&reader(&topic, "7")).await, [""; 0]);
    assert!(topic.groups().remove("0").await.unwrap());
    assert_eq!(drain(&reader(&topic, "one more")).await, ["text"]);
});

conformance!(the_numbers_of_a_group_follow_every_step, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(HOUR).build().unwrap();
    let group = topic.reader("group").max_deliveries(2).build().unwrap();
    let published = publish_all(&topic, 0..3).await;
    for number in 3..6_u32 {
        topic.publish(&number.to_string()).ordering_key("key").await.unwrap();
    }
    assert!(topic.groups().create("group", Start::Earliest).await.unwrap());
    let step = async |what: &str, expected: [u64; 6]| {
        assert_eq!(counts(&topic, "group").await, expected, "{what}");
    };
    step("created", [6, 0, 0, 0, 0, 0]).await;
    let (zero, one, two) = (take(&group).await, take(&group).await, take(&group).await);
    step("three in flight", [3, 3, 0, 0, 0, 0]).await;
    assert_eq!(info(&topic, "group").await.position, published[2].cursor);
    assert!(two.commit().await.unwrap());
    step("committed out of order", [3, 2, 0, 0, 0, 0]).await;
    zero.nack().delay(SECOND).await.unwrap();
    step("returned", [3, 1, 1, 0, 0, 0]).await;
    let three = take(&group).await;
    assert_eq!(three.data(), "3");
    nothing(&group).await;
    step("the others of its key are set aside", [0, 2, 1, 2, 0, 0]).await;
    let oldest = info(&topic, "group").await;
    assert_eq!((oldest.oldest_open_at, oldest.oldest_open_holder), (Some(clock.now()), None), "it waits");
    assert!(one.dead_letter("no").await.unwrap());
    step("one is dead", [0, 1, 1, 2, 1, 0]).await;
    clock.advance(SECOND);
    take(&group).await.nack().await.unwrap();
    step("its last delivery has failed", [0, 1, 0, 2, 2, 0]).await;
    assert!(three.commit().await.unwrap());
    assert_eq!(take(&group).await.data(), "4");
    step("its key was freed", [0, 1, 0, 1, 2, 0]).await;
    clock.advance(HOUR);
    step("no longer retained", [0, 0, 0, 0, 4, 0]).await;
    publish_all(&topic, 6..8).await;
    assert!(topic.groups().seek("group", Start::Earliest).await.unwrap());
    step("moved", [2, 0, 0, 0, 4, 0]).await;
    clock.advance(HOUR);
    publish(&topic, "8").await;
    assert_eq!(take_gap(&group).await.missed, Some(2));
    step("missed", [1, 0, 0, 0, 4, 2]).await;
    assert_eq!(drain(&group).await, ["8"]);
});

conformance!(a_seek_gives_exactly_what_it_says, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..2).await;
    clock.advance(SECOND);
    let at = clock.now();
    let published = publish_all(&topic, 2..5).await;
    let seek = async |start: Start| topic.groups().seek("group", start).await.unwrap();
    assert!(!seek(Start::Earliest).await, "there is no such group yet");
    let held = take(&group).await;
    let (receipt, dead) = (held.receipt(), take(&group).await);
    assert!(dead.dead_letter("no").await.unwrap());
    assert!(seek(Start::Earliest).await);
    assert!(!group.touch(&receipt).await.unwrap());
    assert!(!group.give_back(&receipt).await.unwrap());
    assert!(!held.commit().await.unwrap(), "deliveries of before are stale");
    let again = take(&group).await;
    assert_eq!((again.data().as_str(), again.attempt()), ("0", 1), "attempts start again");
    assert_eq!(info(&topic, "group").await.dead, 1, "dead letters stay");
    assert!(seek(Start::Latest).await);
    nothing(&group).await;
    assert!(seek(Start::After(published[0].cursor)).await);
    assert_eq!(drain(&group).await, numbers(3..5));
    assert!(seek(Start::At(at)).await);
    assert_eq!(drain(&group).await, numbers(2..5));
    let id = group.dead_letters().list().await.unwrap().items[0].event_id;
    assert!(group.dead_letters().requeue(id).await.unwrap());
    assert!(seek(Start::Latest).await);
    assert_eq!(drain(&group).await, ["1"], "requeued copies stay too");
});

conformance!(a_parked_reader_gets_what_a_seek_brings_back, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&texts(&world.open().await), "group");
    publish(&topic, "text").await;
    assert_eq!(drain(&group).await, ["text"]);
    let waiting = tokio::spawn(group.recv().forever().into_future());
    tokio::task::yield_now().await;
    assert!(topic.groups().seek("group", Start::Earliest).await.unwrap());
    assert_eq!(within(waiting).await.unwrap().unwrap().unwrap().event().unwrap().data(), "text");
});

conformance!(a_removed_group_is_made_anew_by_its_readers, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&topic, "group");
    publish_all(&topic, 0..3).await;
    let (held, dead) = (take(&group).await, take(&group).await);
    assert!(dead.dead_letter("no").await.unwrap());
    assert!(topic.groups().remove("group").await.unwrap());
    assert_eq!(topic.groups().get("group").await.unwrap(), None);
    assert!(group.dead_letters().list().await.unwrap().items.is_empty());
    assert!(!held.commit().await.unwrap());
    assert_eq!(drain(&group).await, numbers(0..3), "at the reader's start");
});

conformance!(a_pause_stops_one_group_in_all_processes, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    let group = reader(&texts(&world.open().await), "group");
    let other = reader(&topic, "other");
    let groups = topic.groups();
    assert_eq!(groups.pause("group").await.unwrap(), Changed::Absent);
    assert_eq!(groups.resume("group").await.unwrap(), Changed::Absent);
    assert!(groups.create("group", Start::Earliest).await.unwrap());
    assert_eq!(groups.resume("group").await.unwrap(), Changed::No);
    assert_eq!(groups.pause("group").reason("why").await.unwrap(), Changed::Yes);
    assert_eq!(groups.pause("group").reason("why").await.unwrap(), Changed::No);
    let paused = info(&topic, "group").await.paused.unwrap();
    assert_eq!((paused.until, paused.reason.as_deref()), (None, Some("why")));
    publish(&topic, "text").await;
    nothing(&group).await;
    assert_eq!(drain(&other).await, ["text"]);
    let waiting = tokio::spawn(group.recv().forever().into_future());
    tokio::task::yield_now().await;
    assert_eq!(groups.resume("group").await.unwrap(), Changed::Yes);
    let event = within(waiting).await.unwrap().unwrap().unwrap().event().unwrap();
    assert_eq!(info(&topic, "group").await.paused, None);

    assert_eq!(groups.pause("group").for_at_most(10 * SECOND).await.unwrap(), Changed::Yes);
    assert_eq!(info(&topic, "group").await.paused.unwrap().until, Some(clock.now() + 10 * SECOND));
    assert!(event.nack().await.is_ok(), "what is held may be settled");
    nothing(&group).await;
    let waiting = tokio::spawn(group.recv().forever().into_future());
    let event = within(advancing(&clock, SECOND, waiting)).await.unwrap().unwrap().unwrap().event().unwrap();
    assert_eq!((event.data().as_str(), event.attempt()), ("text", 2), "its end wakes who waits");
});

conformance!(a_change_that_is_asked_once_and_left_alone_holds_up_no_other, async |world: World| {
    let groups = texts(&world.open().await).groups();
    assert!(groups.create("group", Start::Earliest).await.unwrap());
    let mut left_alone = Box::pin(groups.pause("group").into_future());
    let answer = (&mut left_alone).now_or_never();
    within(groups.resume("group").into_future()).await.unwrap();
    // It was sent, and its answer is there when it is polled again.
    match answer {
        Some(answer) => answer.unwrap(),
        None => within(left_alone).await.unwrap(),
    };
});

conformance!(on_a_topic_never_written_to_readers_wait_and_create_nothing, async |world: World| {
    let topic = texts(&world.open().await);
    let group = reader(&texts(&world.open().await), "group");
    nothing(&group).await;
    let waiting = tokio::spawn(group.recv().forever().into_future());
    tokio::task::yield_now().await;
    assert!(topic.groups().list().await.unwrap().is_empty());
    publish(&topic, "first").await;
    assert_eq!(within(waiting).await.unwrap().unwrap().unwrap().event().unwrap().data(), "first");
});

conformance!(readers_come_and_go_without_a_trace, async |world: World| {
    let topic = texts(&world.open().await);
    publish(&topic, "text").await;
    assert_eq!(drain(&reader(&topic, "group")).await, ["text"]);
    for _ in 0..crate::harness::scale(1_000) {
        let group = reader(&topic, "group");
        nothing(&group).await;
        let dropped = tokio::time::timeout(Duration::ZERO, group.recv().forever().into_future()).await;
        assert!(dropped.is_err());
        let dropped = tokio::time::timeout(Duration::ZERO, group.stream().prefetch(2).next()).await;
        assert!(dropped.is_err());
    }
    assert_eq!(topic.groups().list().await.unwrap().len(), 1);
    publish(&topic, "next").await;
    let next = within(reader(&topic, "group").recv().forever()).await.unwrap().unwrap();
    assert_eq!(next.event().unwrap().data(), "next");
});
