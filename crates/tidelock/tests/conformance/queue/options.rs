//! Each option has its effect: for each there is a test that fails if it is ignored.

use super::*;
use futures_util::FutureExt;
use tidelock::{Backoff, Changed, DeadReason, Raw};

conformance!(the_lease_of_the_handle_and_of_the_receive, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").lease(2 * SECOND).build().unwrap();
    send(&queue, "text").await;
    drop(take(&queue).await);
    clock.advance(1_999 * MS);
    nothing(&queue).await;
    clock.advance(MS);
    drop(queue.try_recv().lease(5 * SECOND).await.unwrap().unwrap());
    clock.advance(4_999 * MS);
    nothing(&queue).await;
    clock.advance(MS);
    assert_eq!(take(&queue).await.attempt(), 3);
});

conformance!(parts_of_a_millisecond_are_rounded_up, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    queue.send(&"text".to_owned()).delay(Duration::from_nanos(1)).await.unwrap();
    nothing(&queue).await;
    clock.advance(MS);
    assert_eq!(drain(&queue).await, ["text"]);
});

conformance!(max_age_runs_from_the_first_due_time, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").max_age(SECOND).build().unwrap();
    let left = send(&queue, "left").await;
    queue.send(&"later".to_owned()).delay(5 * SECOND).await.unwrap();
    clock.advance(SECOND);
    nothing(&queue).await;
    let dead = queue.dead_letters().get(left).await.unwrap().unwrap();
    assert_eq!((dead.reason, dead.attempts, dead.moved_at), (DeadReason::Expired, 0, clock.now()));
    clock.advance(4 * SECOND);
    let later = take(&queue).await;
    later.nack().delay(10 * SECOND).await.unwrap();
    clock.advance(SECOND);
    nothing(&queue).await;
    let dead = queue.dead_letters().list().await.unwrap().items;
    assert_eq!((dead.len(), dead[0].reason, dead[0].moved_at), (2, DeadReason::Expired, clock.now()));

    let ageless = world.open().await.queue::<String>("ageless").max_age(None).build().unwrap();
    send(&ageless, "kept").await;
    clock.advance(3_000 * tidelock::DAY);
    assert_eq!(drain(&ageless).await, ["kept"]);
});

conformance!(a_leased_message_is_judged_when_it_returns, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").max_age(SECOND).build().unwrap();
    send(&queue, "acked").await;
    send(&queue, "nacked").await;
    let (acked, nacked) = (take(&queue).await, take(&queue).await);
    clock.advance(2 * SECOND);
    assert!(acked.ack().await.unwrap());
    assert_eq!(nacked.nack().await.unwrap(), tidelock::Nacked::DeadLettered);
    assert_eq!(queue.dead_letters().list().await.unwrap().items[0].reason, DeadReason::Expired);
});

conformance!(max_age_and_retention_are_kept_with_the_message, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let short = tide.queue::<String>("texts").max_age(SECOND).dead_letter_retention(SECOND).build().unwrap();
    let id = send(&short, "text").await;
    clock.advance(SECOND);
    let long = texts(&tide);
    nothing(&long).await;
    assert_eq!(long.dead_letters().get(id).await.unwrap().unwrap().kept_until, Some(clock.now() + SECOND));
    clock.advance(SECOND);
    assert!(long.dead_letters().get(id).await.unwrap().is_none());
    let forever = tide.queue::<String>("texts").dead_letter_retention(None).build().unwrap();
    send(&forever, "text").await;
    take(&forever).await.dead_letter("kept").await.unwrap();
    clock.advance(3_000 * tidelock::DAY);
    assert_eq!(forever.dead_letters().list().await.unwrap().items[0].kept_until, None);
});

conformance!(consumer_names_the_holder, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let id = send(&queue, "text").await;
    send(&queue, "other").await;
    let named = queue.try_recv().consumer("mailer-1").lease(SECOND).await.unwrap().unwrap();
    let lease = queue.get(id).await.unwrap().unwrap().lease.unwrap();
    assert_eq!((lease.consumer.as_str(), lease.fence, lease.end), ("mailer-1", named.fence(), clock.now() + SECOND));
    let unnamed = take(&queue).await;
    let lease = queue.get(unnamed.id()).await.unwrap().unwrap().lease.unwrap();
    assert!(lease.consumer.len() > 12, "a process has a name: {lease:?}");
});

conformance!(a_pause_stops_and_ends, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let other = texts(&world.open().await);
    send(&queue, "text").await;
    assert_eq!(queue.resume().await.unwrap(), Changed::No);
    assert_eq!(queue.pause().for_at_most(10 * SECOND).reason("upgrade").await.unwrap(), Changed::Yes);
    nothing(&other).await;
    let paused = stats(&other).await.paused.unwrap();
    assert_eq!((paused.until, paused.reason.as_deref()), (Some(clock.now() + 10 * SECOND), Some("upgrade")));
    assert_eq!(other.pause().await.unwrap(), Changed::Yes, "another end is a change");
    clock.advance(10 * SECOND);
    nothing(&queue).await;
    assert_eq!(other.pause().await.unwrap(), Changed::No);
    assert_eq!(queue.resume().await.unwrap(), Changed::Yes);
    queue.pause().for_at_most(SECOND).await.unwrap();
    nothing(&queue).await;
    clock.advance(SECOND);
    assert_eq!(drain(&queue).await, ["text"]);
    assert!(stats(&queue).await.paused.is_none());
});

conformance!(a_rate_limit_holds_for_all_processes_together, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let other = texts(&world.open().await);
    assert_eq!(queue.set_rate_limit(3, 10 * SECOND).await.unwrap(), Changed::Yes);
    assert_eq!(other.set_rate_limit(3, 10 * SECOND).await.unwrap(), Changed::No);
    for text in ["a", "b", "c", "d", "e", "f", "g"] {
        send(&queue, text).await;
    }
    clock.advance(SECOND);
    let first = take(&queue).await;
    clock.advance(SECOND);
    assert_eq!(other.recv_many(10).await.unwrap().len(), 2, "the rest of the window");
    nothing(&queue).await;
    nothing(&other).await;
    let limit = stats(&other).await.rate_limit.unwrap();
    assert_eq!((limit.limit, limit.per, limit.used), (3, 10 * SECOND, 3));
    assert_eq!(limit.window_ends, Some(clock.now() + 9 * SECOND), "the window began with the first message");
    first.nack().delay(SECOND).await.unwrap();
    clock.advance(8_999 * MS);
    nothing(&queue).await;
    clock.advance(MS);
    let again = take(&other).await;
    assert_eq!((data(&again), again.attempt()), ("a", 2));
    assert!(again.give_back().await.unwrap());
    assert_eq!(drain(&queue).await, ["a", "d"], "what was given back counted");
    clock.advance(10 * SECOND);
    assert_eq!(stats(&queue).await.rate_limit.unwrap().window_ends, None, "none is under way");
    assert_eq!(drain(&queue).await, ["e", "f", "g"]);
});

conformance!(a_rate_limit_is_replaced_and_removed, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    assert_eq!(queue.remove_rate_limit().await.unwrap(), Changed::No);
    assert_eq!(stats(&queue).await.rate_limit, None);
    queue.set_rate_limit(4, 10 * SECOND).await.unwrap();
    for text in ["a", "b", "c", "d", "e", "f"] {
        send(&queue, text).await;
    }
    let got = queue.recv_many(2).await.unwrap();
    assert_eq!(got.len(), 2);
    assert_eq!(queue.set_rate_limit(2, 20 * SECOND).await.unwrap(), Changed::Yes);
    nothing(&queue).await;
    assert_eq!(queue.set_rate_limit(3, SECOND).await.unwrap(), Changed::Yes);
    assert_eq!(data(&take(&queue).await), "c", "what was handed out counts towards the new limit");
    nothing(&queue).await;
    clock.advance(SECOND);
    assert_eq!(data(&take(&queue).await), "d", "and its window is not longer than the new one");
    // A pause and a limit must both be over.
    queue.pause().for_at_most(5 * SECOND).await.unwrap();
    clock.advance(SECOND);
    nothing(&queue).await;
    assert_eq!(queue.remove_rate_limit().await.unwrap(), Changed::Yes);
    nothing(&queue).await;
    clock.advance(4 * SECOND);
    assert_eq!(drain(&queue).await, ["e", "f"]);
    queue.set_rate_limit(1, 10 * SECOND).await.unwrap();
    assert!(queue.delete().await.unwrap());
    assert_eq!(stats(&queue).await.rate_limit, None, "it is deleted with the queue");
    queue.set_rate_limit(1, 10 * SECOND).await.unwrap();
    assert!(queue.delete().await.unwrap(), "a limit alone exists");
    send(&queue, "g").await;
    send(&queue, "h").await;
    assert_eq!(drain(&queue).await, ["g", "h"]);
});

conformance!(a_concurrency_limit_holds_for_all_processes_together, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    let other = texts(&world.open().await);
    assert_eq!(queue.remove_concurrency_limit().await.unwrap(), Changed::No);
    assert_eq!(queue.set_concurrency_limit(2).await.unwrap(), Changed::Yes);
    assert_eq!(other.set_concurrency_limit(2).await.unwrap(), Changed::No);
    assert_eq!(stats(&other).await.concurrency_limit, Some(2));
    for text in ["a", "b", "c", "d", "e"] {
        send(&queue, text).await;
    }
    let first = take(&queue).await;
    let mut second = other.recv_many(10).await.unwrap();
    assert_eq!(second.len(), 1, "the rest of the limit");
    nothing(&queue).await;
    nothing(&other).await;
    assert!(first.ack().await.unwrap());
    assert_eq!(data(&take(&other).await), "c");
    nothing(&queue).await;
    assert_eq!(queue.set_concurrency_limit(1).await.unwrap(), Changed::Yes);
    assert!(second.remove(0).ack().await.unwrap());
    nothing(&queue).await;
    clock.advance(30 * SECOND);
    let again = take(&queue).await;
    assert_eq!((data(&again), again.attempt()), ("c", 2), "what was held counted until its lease ended");
    nothing(&other).await;
    assert_eq!(other.remove_concurrency_limit().await.unwrap(), Changed::Yes);
    assert_eq!(drain(&queue).await, ["d", "e"]);
    queue.set_concurrency_limit(1).await.unwrap();
    assert!(queue.delete().await.unwrap());
    assert_eq!(stats(&queue).await.concurrency_limit, None, "it is deleted with the queue");
    queue.set_concurrency_limit(1).await.unwrap();
    assert!(queue.delete().await.unwrap(), "a limit alone exists");
});

conformance!(a_change_that_is_asked_once_and_left_alone_holds_up_no_other, async |world: World| {
    let queue = texts(&world.open().await);
    let mut left_alone = Box::pin(queue.pause().into_future());
    let answer = (&mut left_alone).now_or_never();
    within(queue.resume().into_future()).await.unwrap();
    // It was sent, and its answer is there when it is polled again.
    match answer {
        Some(answer) => answer.unwrap(),
        None => within(left_alone).await.unwrap(),
    };
});

conformance!(remove_and_purge_spare_what_is_held, async |world: World| {
    use tidelock::Removed;
    let queue = texts(&world.open().await);
    let (held, gone) = (send(&queue, "held").await, send(&queue, "gone").await);
    send(&queue, "ready").await;
    queue.send(&"delayed".to_owned()).delay(SECOND).await.unwrap();
    let delivery = take(&queue).await;
    assert_eq!(queue.remove(held).await.unwrap(), Removed::Held);
    assert_eq!(queue.remove(gone).await.unwrap(), Removed::Removed);
    assert_eq!(queue.remove(gone).await.unwrap(), Removed::Absent);
    assert_eq!(queue.purge().await.unwrap(), 2);
    let stats = stats(&queue).await;
    assert_eq!((stats.leased, stats.ready, stats.delayed, stats.settled), (1, 0, 0, 3));
    assert!(delivery.ack().await.unwrap());
});

conformance!(looking_shows_what_is_there_page_by_page, async |mut world: World| {
    let clock = world.pin();
    let queue = texts(&world.open().await);
    for number in 0..5 {
        send(&queue, &number.to_string()).await;
        queue.send(&format!("d{number}")).delay(SECOND * (number + 1)).await.unwrap();
    }
    clock.advance(SECOND);
    let mut seen = Vec::new();
    let mut page = queue.list(State::Ready).limit(4).await.unwrap();
    loop {
        seen.extend(page.items.iter().map(|info| info.decode::<String>().unwrap()));
        let Some(next) = &page.next else { break };
        page = queue.list(State::Ready).limit(4).after(next).await.unwrap();
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4", "d0"], "what is due counts as ready");
    let delayed = queue.list(State::Delayed).await.unwrap().items;
    assert_eq!(
        delayed.iter().map(|info| info.decode::<String>().unwrap()).collect::<Vec<_>>(),
        ["d1", "d2", "d3", "d4"]
    );
    assert_eq!((delayed[0].size, delayed[0].enqueued_at + 2 * SECOND), (4, delayed[0].due));
    let peeked: Vec<String> = queue.peek(2).await.unwrap().iter().map(|info| info.decode().unwrap()).collect();
    assert_eq!(peeked, ["0", "1"]);
    let stats = stats(&queue).await;
    assert_eq!((stats.ready, stats.delayed, stats.oldest_ready_age), (6, 4, Some(SECOND)));
    assert_eq!(stats.next_due, Some(clock.now() + SECOND));
    assert!(serde_json::to_string(&stats).unwrap().contains("\"oldest_ready_age\":1000"));
});

conformance!(the_backoff_of_a_worker_is_cut_to_max_nack_delay, async |mut world: World| {
    let clock = world.pin();
    let queue = world.open().await.queue::<String>("texts").max_nack_delay(3 * SECOND).build().unwrap();
    let id = send(&queue, "text").await;
    let worker = queue.process(async |_| Err("always".into())).backoff(Backoff::fixed(tidelock::HOUR)).spawn();
    until(async || stats(&queue).await.delayed == 1).await;
    let info = queue.get(id).await.unwrap().unwrap();
    assert_eq!((info.due, info.last_error.as_deref()), (clock.now() + 3 * SECOND, Some("always")));
    assert_eq!(within(worker.shutdown(SECOND)).await.nacked, 1);
});

// A server's step reads at most 16 MiB for a list.
conformance!(lists_of_large_messages_are_whole, async |world: World| {
    let queue = world.open().await.queue::<Raw>("large").payload_limit(16 << 20).build().unwrap();
    let large = Raw(vec![1; 9 << 20]);
    let mut ids = Vec::new();
    for priority in [0, 5, 0] {
        ids.push(queue.send(&large).priority(priority).await.unwrap().id);
    }
    let listed = async |state, limit| {
        let page = queue.list(state).limit(limit).await.unwrap();
        (page.items.iter().map(|item| item.id).collect::<Vec<_>>(), page.next.is_some())
    };
    assert_eq!(listed(State::Ready, 10).await, (vec![ids[1], ids[0], ids[2]], false));
    assert_eq!(listed(State::Ready, 2).await, (vec![ids[1], ids[0]], true));
    assert_eq!(queue.peek(10).await.unwrap().len(), 3);
    let mut held = Vec::new();
    while let Some(delivery) = queue.try_recv().await.unwrap() {
        held.push(delivery);
    }
    let (leased, more) = listed(State::Leased, 10).await;
    assert_eq!((leased.len(), more), (3, false));
    for delivery in held {
        assert!(delivery.dead_letter("no").await.unwrap());
    }
    let dead = queue.dead_letters();
    let letters = dead.list().limit(2).await.unwrap();
    assert_eq!((letters.items.len(), letters.next.is_some()), (2, true));
    assert_eq!(dead.list().await.unwrap().items.len(), 3);
    for id in &ids {
        assert!(dead.requeue(*id).delay(tidelock::HOUR).await.unwrap());
    }
    let (delayed, more) = listed(State::Delayed, 10).await;
    assert_eq!((delayed.len(), more), (3, false));
    assert_eq!(queue.purge().await.unwrap(), 3);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(queue.send(&large).ordering_key("line").await.unwrap().id);
    }
    assert_eq!(listed(State::Ready, 10).await, (ids, false));
    for _ in 0..3 {
        queue.send(&large).await.unwrap();
    }
    assert_eq!(queue.purge().await.unwrap(), 6);
});
