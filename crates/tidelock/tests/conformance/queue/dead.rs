//! Dead letters.

use super::*;
use tidelock::{DeadReason, ErrorKind, HOUR, MINUTE, Raw};

async fn bury(queue: &Queue<String>, text: &str, reason: &str) -> tidelock::MessageId {
    let id = send(queue, text).await;
    assert!(take(queue).await.dead_letter(reason).error(&"why").await.unwrap());
    id
}

conformance!(a_dead_letter_is_a_full_copy, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let request = queue.send(&"text".to_owned()).meta("k", &"v").ordering_key("key").priority(4);
    let id = request.await.unwrap().id;
    let sent = clock.now();
    clock.advance(SECOND);
    take(&queue).await.dead_letter(&"é".repeat(513)).error(&"boom").await.unwrap();
    let dead = queue.dead_letters().get(id).await.unwrap().unwrap();
    assert_eq!((dead.id, dead.reason, dead.attempts), (id, DeadReason::Rejected, 1));
    assert_eq!(
        (dead.note.as_deref(), dead.last_error.as_deref()),
        (Some(format!("{}…", "é".repeat(510)).as_str()), Some("boom"))
    );
    assert_eq!((dead.enqueued_at, dead.moved_at), (sent, clock.now()));
    assert_eq!(dead.kept_until, Some(clock.now() + 7 * tidelock::DAY));
    assert_eq!((dead.ordering_key.as_deref(), dead.priority), (Some("key"), 4));
    assert_eq!((dead.meta.get("k").unwrap(), dead.decode().unwrap()), (&"v".into(), "text".to_owned()));

    assert!(queue.dead_letters().requeue(id).delay(5 * SECOND).await.unwrap());
    assert!(!queue.dead_letters().requeue(id).await.unwrap(), "exactly one copy");
    nothing(&queue).await;
    clock.advance(5 * SECOND);
    let again = take(&queue).await;
    assert_eq!((again.id(), again.attempt(), again.enqueued_at(), again.priority()), (id, 1, sent, 4));
    assert_eq!((again.ordering_key(), again.meta().get("k")), (Some("key"), Some(&"v".into())));
});

conformance!(listing_filters_and_pages_newest_first, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").max_age(MINUTE).build().unwrap();
    for number in 0..5 {
        bury(&queue, &number.to_string(), "no").await;
        clock.advance(SECOND);
    }
    let middle = clock.now();
    send(&queue, "expires").await;
    clock.advance(MINUTE);
    let dead = queue.dead_letters();
    let page = dead.list().limit(4).await.unwrap();
    assert_eq!(
        page.items.iter().map(|letter| letter.decode().unwrap()).collect::<Vec<_>>(),
        ["expires", "4", "3", "2"]
    );
    assert!(dead.remove(page.items[3].id).await.unwrap(), "a listing survives the end of its last entry");
    let rest = dead.list().limit(4).after(page.next.as_ref().unwrap()).await.unwrap();
    assert_eq!(rest.items.iter().map(|letter| letter.decode().unwrap()).collect::<Vec<_>>(), ["1", "0"]);
    assert!(rest.next.is_none());
    let expired = dead.list().reason(DeadReason::Expired).await.unwrap().items;
    assert_eq!(expired.len(), 1);
    assert_eq!(dead.list().moved_before(middle).await.unwrap().items.len(), 4);
    assert_eq!(dead.list().moved_after(middle).await.unwrap().items.len(), 1);
    assert_eq!(dead.purge().reason(DeadReason::Rejected).limit(1).await.unwrap(), 1, "oldest first");
    assert_eq!(dead.requeue_all().moved_before(middle).await.unwrap(), 3);
    assert_eq!(dead.purge().await.unwrap(), 1);
    assert_eq!(drain(&queue).await, ["1", "3", "4"]);
});

conformance!(retention_ends_each_entry_by_itself, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").dead_letter_retention(HOUR).build().unwrap();
    for minute in 0..150 {
        let id = bury(&queue, &minute.to_string(), "no").await;
        if minute == 0 {
            clock.advance(59 * MINUTE + 59_999 * MS);
            assert!(queue.dead_letters().get(id).await.unwrap().is_some());
            clock.advance(MS);
            assert!(queue.dead_letters().get(id).await.unwrap().is_none());
            assert!(!queue.dead_letters().requeue(id).await.unwrap());
        }
        clock.advance(MINUTE);
    }
    let kept = queue.dead_letters().list().limit(1_000).await.unwrap().items.len();
    assert_eq!(kept as u64, stats(&queue).await.dead);
    assert!((58..=60).contains(&kept), "{kept}");
});

conformance!(a_requeue_obeys_max_depth, async |world: World| {
    let queue = world.open().await.queue::<String>("texts").max_depth(2).build().unwrap();
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(bury(&queue, &number.to_string(), "no").await);
    }
    assert_eq!(queue.dead_letters().requeue_all().await.unwrap(), 2, "it ends early");
    let error = queue.dead_letters().requeue(ids[2]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::CapacityReached, true));
    assert!(queue.dead_letters().get(ids[2]).await.unwrap().is_some(), "and the entry stays");
    assert_eq!(drain(&queue).await, ["0", "1"]);
    assert!(queue.dead_letters().requeue(ids[2]).await.unwrap());
});

conformance!(one_undecodable_message_stops_nobody, async |world: World| {
    let tide = world.open().await;
    let raw = tide.queue::<Raw>("numbers").build().unwrap();
    let numbers = tide.queue::<u64>("numbers").build().unwrap();
    for number in 0..250 {
        numbers.send(&number).await.unwrap();
    }
    let bad = raw.send(&Raw(b"\xff no number".to_vec())).await.unwrap().id;
    for number in 250..500 {
        numbers.send(&number).await.unwrap();
    }
    let mut seen = 0;
    loop {
        let deliveries = numbers.recv_many(100).wait(Duration::ZERO).await.unwrap();
        if deliveries.is_empty() {
            break;
        }
        seen += deliveries.len();
        for delivery in deliveries {
            assert!(delivery.ack().await.unwrap());
        }
    }
    assert_eq!(seen, 500);
    let dead = numbers.dead_letters().list().await.unwrap().items;
    assert_eq!((dead.len(), dead[0].id, dead[0].reason), (1, bad, DeadReason::Undecodable));
    assert_eq!(dead[0].raw, b"\xff no number");
    assert_eq!(dead[0].decode().unwrap_err().kind(), ErrorKind::Decode);
    assert!(dead[0].last_error.as_deref().unwrap().contains("u64"));
    let stats = numbers.stats().await.unwrap();
    assert_eq!((stats.dead, stats.settled, stats.leased), (1, 500, 0));
});

/// A number whose decoding panics if it is 13.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug, serde::Serialize)]
struct Unlucky(u64);

#[cfg(not(target_family = "wasm"))]
impl<'de> serde::Deserialize<'de> for Unlucky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(number != 13, "what bad luck");
        Ok(Self(number))
    }
}

conformance!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    a_message_whose_decoding_panics_is_undecodable,
    async |world: World| {
        let queue = world.open().await.queue::<Unlucky>("numbers").build().unwrap();
        for number in [1, 13, 2] {
            queue.send(&Unlucky(number)).await.unwrap();
        }
        for number in [1, 2] {
            let delivery = within(queue.recv()).await.unwrap().unwrap();
            assert_eq!(delivery.0, number);
            assert!(delivery.ack().await.unwrap());
        }
        let dead = queue.dead_letters().list().await.unwrap().items;
        assert_eq!((dead.len(), dead[0].raw.as_slice(), dead[0].reason), (1, &b"13"[..], DeadReason::Undecodable));
        assert!(dead[0].last_error.as_deref().unwrap().contains("decoding panicked: what bad luck"));
    }
);

conformance!(changes_see_what_is_long_overdue_as_what_it_is, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").max_age(MINUTE).build().unwrap();
    // More than one step carries out. Requests must see even the last ones, which no step has reached, as they are.
    let text = "text".to_owned();
    let fill = async || queue.send_many((0..450).map(|_| queue.send(&text).priority(1))).await.unwrap();
    let sent = fill().await;
    clock.advance(MINUTE);
    assert!(queue.dead_letters().requeue(sent[449].id).await.unwrap());
    assert_eq!(stats(&queue).await.dead, 449);
    assert_eq!(queue.dead_letters().purge().await.unwrap(), 449);

    let sent = fill().await;
    clock.advance(MINUTE);
    assert_eq!(queue.remove(sent[449].id).await.unwrap(), tidelock::Removed::Absent);
    assert!(queue.dead_letters().remove(sent[448].id).await.unwrap());
    fill().await;
    clock.advance(MINUTE);
    assert_eq!(queue.dead_letters().requeue_all().await.unwrap(), 450 + 450);
    clock.advance(MINUTE);
    assert_eq!(queue.dead_letters().purge().await.unwrap(), 450 + 450);
});
