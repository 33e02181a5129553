//! Rejected arguments: the error says what is wrong, and the stored state is unchanged.

use super::*;
use tidelock::{DAY, ErrorKind, Receipt};

const TEN_YEARS: Duration = Duration::from_hours(3_650 * 24);

// In a page, limits that only protect servers do not apply.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn a_builder_refuses_what_is_out_of_range() {
    let tide = Tidelock::in_process();
    let queue = |id: &str| tide.queue::<String>(id);
    let over = TEN_YEARS + MS;
    let refused = [
        queue("").build(),
        queue("a\0b").build(),
        queue(&"x".repeat(257)).build(),
        queue("q").lease(Duration::ZERO).build(),
        queue("q").lease(over).build(),
        queue("q").max_deliveries(0).build(),
        queue("q").max_deliveries(1_u64 << 53).build(),
        queue("q").max_age(Duration::ZERO).build(),
        queue("q").max_age(over).build(),
        queue("q").dead_letter_retention(Duration::ZERO).build(),
        queue("q").dead_letter_retention(over).build(),
        queue("q").payload_limit(0).build(),
        queue("q").payload_limit((16 << 20) + 1).build(),
        queue("q").max_nack_delay(over).build(),
        queue("q").max_depth(0).build(),
        queue("q").max_depth(1_u64 << 53).build(),
        tide.tenant("").queue("q").build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfiguration, "refused {index}");
    }
    let error = queue("q").lease(Duration::ZERO).build().unwrap_err().to_string();
    assert!(error.contains("lease") && error.contains("0ns") && error.contains("\"q\""), "{error}");
    let most = (1_u64 << 53) - 1;
    queue(&"x".repeat(256)).lease(TEN_YEARS).max_deliveries(most).max_age(TEN_YEARS).build().unwrap();
    queue("q").lease(MS).max_age(MS).dead_letter_retention(TEN_YEARS).max_nack_delay(TEN_YEARS).build().unwrap();
    queue("q").max_nack_delay(Duration::ZERO).payload_limit(16 << 20).max_depth(most).build().unwrap();
    queue("q").max_age(None).dead_letter_retention(None).max_deliveries(None).max_depth(None).build().unwrap();
}

async fn refused<T: std::fmt::Debug>(request: impl IntoFuture<Output = Result<T>>, what: &str) {
    let error = request.await.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}: {error}");
    assert!(error.to_string().contains("texts"), "names the queue: {error}");
}

conformance!(a_refused_argument_changes_nothing_and_uses_no_number, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let queue = texts(&tide);
    let over = TEN_YEARS + MS;
    let first = send(&queue, "ready").await;
    queue.send(&"delayed".to_owned()).delay(DAY).await.unwrap();
    send(&queue, "held").await;
    let dead = take(&queue).await;
    let dead_id = dead.id();
    dead.dead_letter("dead").await.unwrap();
    let held = take(&queue).await;
    let before = picture(&queue).await.unwrap();

    let text = "x".to_owned();
    let send = || queue.send(&text);
    let long = "x".repeat(513);
    refused(send().delay(over), "delay").await;
    refused(send().at(clock.now() + over), "at").await;
    refused(send().delay(SECOND).at(clock.now()), "both").await;
    refused(send().priority(10), "priority").await;
    for bad in ["", "a\0b", &long] {
        refused(send().ordering_key(bad), "ordering_key").await;
        refused(send().dedup_key(bad), "dedup_key").await;
    }
    refused(send().dedup_for(SECOND), "dedup_for alone").await;
    refused(send().dedup_key("k").dedup_for(Duration::ZERO), "dedup_for 0").await;
    refused(send().dedup_key("k").dedup_for(over), "dedup_for").await;
    refused(send().traceparent("00-0-0-0"), "traceparent").await;
    refused(queue.recv().wait(over), "wait").await;
    refused(queue.try_recv().lease(Duration::ZERO), "lease 0").await;
    refused(queue.try_recv().lease(over), "lease").await;
    for bad in ["", "a\0b", &"x".repeat(257)] {
        refused(queue.try_recv().consumer(bad), "consumer").await;
    }
    refused(queue.recv_many(0), "max 0").await;
    refused(queue.recv_many(1_001), "max").await;
    refused(held.touch().lease(Duration::ZERO), "touch 0").await;
    refused(held.touch().lease(over), "touch").await;
    refused(queue.nack(&held.receipt()).delay(7 * DAY + MS), "nack delay").await;
    refused(queue.tenant("b").ack(&held.receipt()), "foreign receipt").await;
    refused(queue.ack_many(&vec![held.receipt(); 1_001]), "ack_many").await;
    refused(queue.pause().for_at_most(Duration::ZERO), "pause 0").await;
    refused(queue.pause().for_at_most(over), "pause").await;
    refused(queue.set_concurrency_limit(0), "concurrency limit 0").await;
    refused(queue.set_concurrency_limit(1 << 53), "concurrency limit").await;
    refused(queue.set_rate_limit(0, SECOND), "limit 0").await;
    refused(queue.set_rate_limit(1 << 53, SECOND), "limit").await;
    refused(queue.set_rate_limit(1, Duration::ZERO), "per 0").await;
    refused(queue.set_rate_limit(1, over), "per").await;
    refused(queue.list(State::Ready).limit(0), "limit 0").await;
    refused(queue.list(State::Ready).limit(1_001), "limit").await;
    refused(queue.list(State::Ready).after(&"nonsense".parse().unwrap()), "page token").await;
    refused(queue.peek(0), "peek 0").await;
    refused(queue.peek(1_001), "peek").await;
    refused(queue.dead_letters().list().limit(0), "dead limit").await;
    refused(queue.dead_letters().requeue(dead_id).delay(over), "requeue delay").await;
    refused(queue.dead_letters().requeue_all().limit(0), "requeue limit").await;
    refused(queue.dead_letters().purge().limit(0), "purge limit").await;
    refused(queue.process(async |_| Ok(())).lease(99 * MS).run_until(std::future::pending()), "worker lease").await;
    refused(queue.process(async |_| Ok(())).concurrency(0).run_until(std::future::pending()), "concurrency 0").await;
    refused(queue.process(async |_| Ok(())).concurrency(10_001).run_until(std::future::pending()), "concurrency").await;
    refused(queue.process(async |_| Ok(())).prefetch(10_001).run_until(std::future::pending()), "prefetch").await;
    refused(queue.process(async |_| Ok(())).timeout(Duration::ZERO).run_until(std::future::pending()), "timeout").await;
    let forged = serde_json::to_value(held.receipt()).unwrap().to_string().replace("30000", "0");
    refused(queue.ack(&serde_json::from_str::<Receipt>(&forged).unwrap()), "forged receipt").await;

    assert_eq!(picture(&queue).await.unwrap(), before);
    assert!(queue.get(first).await.unwrap().is_none(), "the first one was dead-lettered");
    assert!(held.ack().await.unwrap());
});

conformance!(the_ends_of_all_ranges_work, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let queue = tide.queue::<String>(&"x".repeat(256)).max_nack_delay(TEN_YEARS).max_age(None).build().unwrap();
    let key = "k".repeat(512);
    let text = "x".to_owned();
    let request = queue.send(&text).delay(TEN_YEARS).ordering_key(&key).dedup_key(&key).dedup_for(TEN_YEARS);
    let far = request.priority(9).await.unwrap();
    queue.send(&text).at(clock.now() + TEN_YEARS).await.unwrap();
    queue.send(&text).dedup_key("short").dedup_for(MS).await.unwrap();
    let taken = queue.try_recv().lease(TEN_YEARS).consumer(&"c".repeat(256)).await.unwrap().unwrap();
    assert!(taken.touch().lease(MS).await.unwrap());
    assert!(taken.touch().lease(TEN_YEARS).await.unwrap());
    taken.nack().delay(TEN_YEARS).await.unwrap();
    queue.pause().for_at_most(TEN_YEARS).await.unwrap();
    queue.resume().await.unwrap();
    queue.set_rate_limit((1 << 53) - 1, TEN_YEARS).await.unwrap();
    queue.set_rate_limit(1, MS).await.unwrap();
    queue.remove_rate_limit().await.unwrap();
    queue.set_concurrency_limit((1 << 53) - 1).await.unwrap();
    queue.remove_concurrency_limit().await.unwrap();
    assert_eq!(queue.get(far.id).await.unwrap().unwrap().due, clock.now() + TEN_YEARS);
    clock.advance(TEN_YEARS);
    assert_eq!(drain(&queue).await.len(), 3);
});

conformance!(names_never_meet, async |world: World| {
    let tide = world.open().await;
    let names = ["a:b", "a%3Ab", "a/b", "a{b}", "a", "A", "{a}", "é", "e\u{301}", "a b"];
    for name in names {
        tide.queue::<String>(name).build().unwrap().send(&name.to_owned()).await.unwrap();
    }
    for name in names {
        assert_eq!(drain(&tide.queue(name).build().unwrap()).await, [name]);
    }
});
