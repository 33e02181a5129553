//! How long events can be read.

use super::*;
use tidelock::topic::TopicStats;
use tidelock::{DAY, DeadReason, HOUR, MINUTE};

const TEN_YEARS: Duration = Duration::from_hours(3_650 * 24);

conformance!(an_event_can_be_read_until_its_retention_is_over, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(10 * SECOND).build().unwrap();
    publish(&topic, "first").await;
    clock.advance(SECOND);
    let at = clock.now();
    let second = publish(&topic, "second").await;
    clock.advance(8_999 * MS);
    assert_eq!(page_texts(&topic).await, ["first", "second"]);
    clock.advance(MS);
    assert_eq!(page_texts(&topic).await, ["second"]);
    let TopicStats { events, first, oldest_at, .. } = topic.stats().await.unwrap();
    assert_eq!((events, first, oldest_at), (1, Some(second.cursor), Some(at)));
    clock.advance(SECOND);
    assert!(page_texts(&topic).await.is_empty(), "also where nobody publishes");
    nothing(&reader(&topic, "new")).await;
    assert_eq!(topic.latest_cursor().await.unwrap(), second.cursor, "retained or not");
    let stats = topic.stats().await.unwrap();
    assert_eq!((stats.events, stats.first, stats.latest, stats.published_total), (0, None, second.cursor, 2));
});

conformance!(the_default_retention_is_a_week, async |mut world: World| {
    let clock = world.pin();
    let topic = texts(&world.open().await);
    publish(&topic, "text").await;
    assert_eq!(topic.stats().await.unwrap().retention, Some(7 * DAY));
    clock.advance((7 * DAY).saturating_sub(MS));
    assert_eq!(page_texts(&topic).await, ["text"]);
    clock.advance(MS);
    assert!(page_texts(&topic).await.is_empty());
});

conformance!(retention_never_fails_a_publish, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let brief = tide.topic::<String>("brief").retention(MS).build().unwrap();
    for number in 0..10_u32 {
        publish(&brief, &number.to_string()).await;
        assert_eq!(page_texts(&brief).await, [number.to_string()]);
        clock.advance(MS);
        assert!(page_texts(&brief).await.is_empty());
    }
    let long = tide.topic::<String>("long").retention(TEN_YEARS).build().unwrap();
    let endless = tide.topic::<String>("endless").retention(None).build().unwrap();
    publish(&long, "text").await;
    publish(&endless, "text").await;
    clock.advance(TEN_YEARS.saturating_sub(MS));
    assert_eq!(page_texts(&long).await, ["text"]);
    clock.advance(MS);
    assert!(page_texts(&long).await.is_empty());
    assert_eq!(page_texts(&endless).await, ["text"]);
    assert_eq!(endless.stats().await.unwrap().retention, None);
});

conformance!(max_len_keeps_exactly_the_newest, async |world: World| {
    let topic = world.open().await.topic::<String>("texts").max_len(7).build().unwrap();
    publish_all(&topic, 0..5).await;
    assert_eq!(page_texts(&topic).await, numbers(0..5));
    publish_all(&topic, 5..500).await;
    assert_eq!(page_texts(&topic).await, numbers(493..500));
    let stats = topic.stats().await.unwrap();
    assert_eq!((stats.events, stats.published_total, stats.max_len), (7, 500, Some(7)));
});

conformance!(there_is_no_hidden_limit_on_the_number_of_events, async |world: World| {
    let topic = texts(&world.open().await);
    let rounds = u32::try_from(crate::harness::scale(100)).unwrap();
    for round in 0..rounds {
        publish_all(&topic, round * 1_000..(round + 1) * 1_000).await;
    }
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let request = topic.read().limit(1_000);
        let page = match &after {
            Some(token) => request.after(token).await.unwrap(),
            None => request.await.unwrap(),
        };
        read.extend(page.items.into_iter().map(text_of));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(read, numbers(0..rounds * 1_000));
});

conformance!(settings_are_those_of_the_latest_publish, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let short = tide.topic::<String>("texts").retention(10 * SECOND).build().unwrap();
    let long = tide.topic::<String>("texts").retention(HOUR).max_len(3).build().unwrap();
    publish(&short, "0").await;
    clock.advance(10 * SECOND);
    publish(&long, "1").await;
    assert_eq!(page_texts(&short).await, ["1"], "the beginning never moves back");
    assert_eq!((short.stats().await.unwrap().retention, short.stats().await.unwrap().max_len), (Some(HOUR), Some(3)));
    clock.advance(30 * SECOND);
    assert_eq!(page_texts(&short).await, ["1"], "those in force are not the handle's own");
    publish_all(&short, 2..5).await;
    assert_eq!(page_texts(&long).await, numbers(2..5));
    assert_eq!(long.stats().await.unwrap().max_len, None);
});

conformance!(a_clock_that_steps_back_brings_back_nothing, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let long = tide.topic::<String>("texts").retention(HOUR).build().unwrap();
    let short = tide.topic::<String>("texts").retention(10 * SECOND).build().unwrap();
    publish(&long, "0").await;
    clock.advance(9 * SECOND);
    let before = clock.now();
    clock.advance(SECOND);
    publish(&short, "1").await;
    clock.set(before);
    assert_eq!(page_texts(&short).await, ["1"], "a shorter retention has ended the first one");
    clock.advance(11 * SECOND);
    publish(&short, "2").await;
    clock.set(before);
    assert_eq!(page_texts(&short).await, ["2"]);
});

conformance!(what_is_in_flight_stays_until_it_is_settled, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let topic = tide.topic::<String>("texts").retention(10 * SECOND).build().unwrap();
    let group = reader(&topic, "group");
    publish_all(&topic, 0..4).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(take(&group).await);
    }
    clock.advance(20 * SECOND);
    let [committed, nacked, given_back, lapses] = <[_; 4]>::try_from(held).unwrap();
    assert!(committed.commit().await.unwrap(), "a commit of it counts");
    assert_eq!(nacked.nack().await.unwrap(), tidelock::Nacked::DeadLettered);
    assert!(given_back.give_back().await.unwrap());
    drop(lapses);
    clock.advance(40 * SECOND);
    nothing(&group).await;
    let dead = group.dead_letters().list().await.unwrap().items;
    let mut raw: Vec<_> = dead.iter().map(|letter| (letter.reason, letter.decode().unwrap())).collect();
    raw.sort_by(|one, other| one.1.cmp(&other.1));
    let expired = |text: &str| (tidelock::DeadReason::Expired, text.to_owned());
    assert_eq!(raw, [expired("1"), expired("2"), expired("3")]);
    assert_eq!(counts(&topic, "group").await, [0, 0, 0, 0, 3, 0]);
});

conformance!(what_came_back_while_it_was_retained_ends_with_its_retention, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").retention(10 * MINUTE).build().unwrap();
    let group = topic.reader("group").lease(MINUTE).dead_letter_retention(10 * MINUTE).build().unwrap();
    let published = (publish(&topic, "text").await, clock.now()).1;
    drop(take(&group).await);
    // Nothing has been carried out since: the lease ended long ago, the retention just now.
    clock.advance(12 * MINUTE);
    let dead = group.dead_letters().list().await.unwrap().items.pop().expect("it is kept from that end");
    assert_eq!((dead.reason, dead.attempts, dead.moved_at), (DeadReason::Expired, 1, published + 10 * MINUTE));
    assert_eq!(dead.kept_until, Some(published + 20 * MINUTE));
    clock.advance((8 * MINUTE).saturating_sub(MS));
    assert_eq!(counts(&topic, "group").await, [0, 0, 0, 0, 1, 0]);
    clock.advance(MS);
    assert_eq!(counts(&topic, "group").await, [0; 6]);
});

conformance!(what_came_back_and_is_no_longer_among_the_newest_ends_when_that_is_noticed, async |mut world: World| {
    let clock = world.pin();
    let topic = world.open().await.topic::<String>("texts").max_len(1).build().unwrap();
    let group = topic.reader("group").lease(MINUTE).build().unwrap();
    publish(&topic, "first").await;
    drop(take(&group).await);
    publish(&topic, "second").await;
    clock.advance(HOUR);
    let dead = group.dead_letters().list().await.unwrap().items.pop().expect("it is there");
    assert_eq!((dead.reason, dead.moved_at), (DeadReason::Expired, clock.now()));
});
