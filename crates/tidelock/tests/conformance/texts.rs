//! The texts of errors.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use serde_json::json;
use tidelock::ratelimit::Limit;
use tidelock::registry::Version;
use tidelock::scheduler::{DispatchLetterId, Schedule};
use tidelock::{ErrorKind, EventId, HOUR, JobId, ManualClock, MessageId, SECOND, Tidelock, Timestamp};

use crate::in_process;

in_process!(who_calls_after_a_shutdown_is_told_once_what_was_asked, async || {
    let tide = Tidelock::in_process();
    let queue = tide.queue::<u64>("q").build().unwrap();
    let topic = tide.topic::<u64>("t").build().unwrap();
    let job = tide.job::<u64, u64>("j").build().unwrap();
    let registry = tide.registry::<u64>("r").build().unwrap();
    let mutex = tide.mutex("m").build().unwrap();
    let limiter = tide.ratelimit("l").limit(Limit::per_second(1)).build().unwrap();
    let scheduler = tide.scheduler("s").handler("h", async |_, (): ()| Ok(())).build().unwrap();
    assert!(tide.shutdown(SECOND).await.is_clean());
    let schedule = Schedule::every(HOUR).handler("h", &());
    let errors = [
        tide.ping().await.map(drop),
        queue.send(&1).await.map(drop),
        queue.recv().await.map(drop),
        topic.publish(&1).await.map(drop),
        topic.reader("g").build().unwrap().recv().await.map(drop),
        job.submit(&1).await.map(drop),
        registry.upsert("a", &1).await.map(drop),
        registry.register("a", &1).await.map(drop),
        registry.follow().await.map(drop),
        mutex.lock("a").await.map(drop),
        mutex.describe("a").await.map(drop),
        limiter.check("a").await.map(drop),
        scheduler.register("a", schedule).await.map(drop),
        scheduler.runs("h").stats().await.map(drop),
    ];
    let texts = errors.map(|outcome| outcome.unwrap_err().to_string());
    let asked = [
        "ping",
        r#"send on queue "q""#,
        r#"recv on queue "q""#,
        r#"publish on topic "t""#,
        r#"recv on group "g" of topic "t""#,
        r#"submit on job "j""#,
        r#"upsert of "a" on registry "r""#,
        r#"register of "a" on registry "r""#,
        r#"follow on registry "r""#,
        r#"lock "a" of mutex "m""#,
        r#"describe "a" of mutex "m""#,
        r#"ratelimit "l" of "a""#,
        r#"register on scheduler "s""#,
        r#"stats on job "s/h""#,
    ];
    assert_eq!(texts, asked.map(|asked| format!("shutting down: {asked}: this Tidelock was shut down")));
});

in_process!(who_waits_when_a_shutdown_begins_is_told_once_what_was_asked, async || {
    let tide = Tidelock::in_process();
    let queue = tide.queue::<u64>("q").build().unwrap();
    let reader = tide.topic::<u64>("t").build().unwrap().reader("g").build().unwrap();
    let job = tide.job::<u64, u64>("j").build().unwrap();
    let id = job.submit(&1).await.unwrap().id;
    let mutex = tide.mutex("m").build().unwrap();
    let guard = mutex.try_lock("a").await.unwrap().unwrap();
    let limiter = tide.ratelimit("l").limit(Limit::per_hour(1)).build().unwrap();
    assert!(!limiter.check("a").await.unwrap().limited);
    let waiting = join_all([
        queue.recv().forever().into_future().map_ok(drop).boxed(),
        reader.recv().forever().into_future().map_ok(drop).boxed(),
        job.join(id).forever().into_future().map_ok(drop).boxed(),
        mutex.lock("a").timeout(HOUR).into_future().map_ok(drop).boxed(),
        limiter.acquire("a").into_future().map_ok(drop).boxed(),
    ]);
    // The others are already waiting when the last one is polled.
    let (outcomes, _) = join(waiting, tide.shutdown(Duration::ZERO).into_future()).await;
    let texts = outcomes.into_iter().map(|outcome| outcome.unwrap_err().to_string());
    let asked = [
        r#"receive on queue "q""#,
        r#"receive on group "g" of topic "t""#,
        r#"join on job "j""#,
        r#"lock "a" of mutex "m""#,
        r#"ratelimit "l" of "a""#,
    ];
    let expected = asked.map(|asked| format!("shutting down: {asked}: this Tidelock was shut down"));
    assert_eq!(texts.collect::<Vec<_>>(), expected);
    drop(guard);
});

// Repeating the request would be useless.
in_process!(a_stream_that_cannot_be_asked_for_ends_with_its_error, async || {
    let queue = Tidelock::in_process().queue::<u64>("q").build().unwrap().tenant("a\0b");
    let items: Vec<_> = queue.stream().collect().await;
    assert_eq!(items.len(), 1);
    let error = items.into_iter().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("tenant"), "{error}");
});

in_process!(what_is_not_the_text_of_a_number_is_refused_by_its_own_name, async || {
    for text in ["", "+5", "-5", " 5", "5.0", "9007199254740992"] {
        let errors = [
            (
                text.parse::<MessageId>().map(drop),
                format!("a message id is a decimal below 2^53, but this is {text:?}"),
            ),
            (text.parse::<JobId>().map(drop), format!("a job id is a decimal below 2^53, but this is {text:?}")),
            (text.parse::<Version>().map(drop), format!("a version is a decimal below 2^53, but this is {text:?}")),
            (
                text.parse::<DispatchLetterId>().map(drop),
                format!("the number of a dead letter is a decimal below 2^53, but this is {text:?}"),
            ),
            (text.parse::<EventId>().map(drop), format!("{text:?} is not the text of an event id")),
        ];
        for (outcome, said) in errors {
            let error = outcome.unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string()),
                (ErrorKind::InvalidArgument, format!("invalid argument: {said}"))
            );
        }
    }
});

in_process!(what_is_looked_at_is_json_with_times_in_milliseconds, async || {
    let tide = Tidelock::in_process_with(&ManualClock::at(Timestamp::from_millis(1_000)));

    let limiter = tide.ratelimit("l").limit(Limit::new(1).window(2 * SECOND).name("a")).build().unwrap();
    let part = json!({
        "name": "a", "refused": false, "limit": 1, "remaining": 0, "reset_in": 1_000, "retry_after": 0,
    });
    let verdict = json!({
        "limited": false, "limit": 1, "remaining": 0, "reset_in": 1_000, "retry_after": 0, "decided_by": "backend",
        "parts": [part],
    });
    assert_eq!(json!(limiter.check("x").await.unwrap()), verdict);

    let mutex = tide.mutex("m").owner("me").lease(3 * SECOND).build().unwrap();
    let guard = mutex.try_lock("a").await.unwrap().unwrap();
    let holder = json!({ "owner": "me", "fence": guard.fence(), "lease_left": 3_000 });
    let holding = json!({ "holder": holder, "waiting": 0, "last_fence": guard.fence() });
    assert_eq!(json!(mutex.describe("a").await.unwrap()), holding);

    let topic = tide.topic::<u64>("t").build().unwrap();
    let published = topic.publish(&7).await.unwrap();
    let page = topic.read().await.unwrap();
    let event = json!({
        "event_id": published.event_id, "cursor": published.cursor, "published_at": 1_000, "ordering_key": null,
        "meta": {}, "data": 7,
    });
    assert_eq!(json!(page), json!({ "items": [{ "event": event }], "next": null }));

    let records = tide.registry::<u64>("r").build().unwrap();
    let mut follower = records.follow().await.unwrap();
    let entry = records.upsert("a", &7).ttl(5 * SECOND).await.unwrap();
    let stored = json!({
        "key": "a", "value": 7, "version": entry.version, "status": "active", "created_at": 1_000, "updated_at": 1_000,
        "ttl": 5_000, "expires_at": 6_000,
    });
    let event = follower.recv().await.unwrap().unwrap();
    assert_eq!(json!(event)["kind"], json!({ "upsert": stored }));
    assert_eq!(json!(records.list().await.unwrap())["items"], json!([{ "entry": stored }]));
    assert_eq!(json!(records.cas("a", None, &8).await.unwrap()), json!({ "conflict": stored }));
    let bounds = &json!(records.stats().await.unwrap())["bounds"];
    assert_eq!((&bounds["event_retention"], &bounds["max_entries"]), (&json!(300_000), &json!(10_000)));

    drop(guard);
    assert_eq!(json!(tide.shutdown(SECOND).await), json!({ "left": [] }));
});
