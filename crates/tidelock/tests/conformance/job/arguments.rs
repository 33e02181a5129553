//! Rejected arguments: the error says what is wrong, and the stored state is unchanged.

use super::*;
use tidelock::{Backoff, ErrorKind};

const TEN_YEARS: Duration = Duration::from_hours(3_650 * 24);

// In a page, limits that only protect servers do not apply.
#[cfg(not(target_family = "wasm"))]
#[tokio::test]
async fn a_builder_refuses_what_is_out_of_range() {
    let tide = Tidelock::in_process();
    let job = |id: &str| tide.job::<String, String>(id);
    let over = TEN_YEARS + MS;
    let refused = [
        job("").build(),
        job("a\0b").build(),
        job(&"x".repeat(257)).build(),
        job("j").attempts(0).build(),
        job("j").attempts(1_000_001).build(),
        job("j").max_crashes(0).build(),
        job("j").max_crashes(1_001).build(),
        job("j").lease(99 * MS).build(),
        job("j").manual_heartbeat().lease(Duration::ZERO).build(),
        job("j").lease(over).build(),
        job("j").timeout(Duration::ZERO).build(),
        job("j").timeout(over).build(),
        job("j").stop_grace(601 * SECOND).build(),
        job("j").max_wait(Duration::ZERO).build(),
        job("j").max_wait(over).build(),
        job("j").retention(Duration::ZERO).build(),
        job("j").retention(over).build(),
        job("j").dedup_for(Duration::ZERO).build(),
        job("j").payload_limit(0).build(),
        job("j").payload_limit((16 << 20) + 1).build(),
        job("j").max_depth(0).build(),
        job("j").max_depth(1_u64 << 53).build(),
        job("j").backoff(Backoff::fixed(8 * tidelock::DAY)).build(),
        job("j").backoff(Backoff::fixed(SECOND).jitter(1.5)).build(),
        job("j").backoff(Backoff::exponential(SECOND).factor(10.5)).build(),
        tide.tenant("").job("j").build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfiguration, "refused {index}");
    }
    let error = job("j").lease(MS).build().unwrap_err().to_string();
    assert!(error.contains("lease") && error.contains("1ms") && error.contains("\"j\""), "{error}");
    job(&"x".repeat(256)).attempts(1_000_000).max_crashes(1_000).lease(TEN_YEARS).timeout(TEN_YEARS).build().unwrap();
    job("j").manual_heartbeat().lease(MS).max_wait(None).timeout(None).retention(TEN_YEARS).build().unwrap();
    job("j").stop_grace(600 * SECOND).dedup_for(TEN_YEARS).payload_limit(16 << 20).max_depth(1).build().unwrap();
}

async fn refused<T: std::fmt::Debug>(request: impl IntoFuture<Output = Result<T>>, what: &str) {
    let error = request.await.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}: {error}");
    assert!(error.to_string().contains("texts"), "names the job: {error}");
}

conformance!(a_refused_argument_changes_nothing_and_uses_no_number, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job = texts(&tide);
    let over = TEN_YEARS + MS;
    let id = submit(&job, "ready").await;
    job.submit(&"delayed".to_owned()).delay(SECOND).await.unwrap();
    let before = picture(&job).await.unwrap();

    let text = "x".to_owned();
    let submit = || job.submit(&text);
    let long = "x".repeat(513);
    refused(submit().delay(over), "delay").await;
    refused(submit().at(clock.now() + over), "at").await;
    refused(submit().delay(SECOND).at(clock.now()), "both").await;
    refused(submit().priority(10), "priority").await;
    for bad in ["", "a\0b", &long] {
        refused(submit().ordering_key(bad), "ordering_key").await;
        refused(submit().dedup_key(bad), "dedup_key").await;
    }
    refused(submit().dedup_for(SECOND), "dedup_for alone").await;
    refused(submit().dedup_while_active(), "dedup_while_active alone").await;
    refused(submit().dedup_key("k").dedup_for(SECOND).dedup_while_active(), "both lives").await;
    refused(submit().dedup_key("k").dedup_for(Duration::ZERO), "dedup_for 0").await;
    refused(submit().attempts(0), "attempts").await;
    refused(submit().lease(MS), "lease").await;
    refused(submit().timeout(Duration::ZERO), "timeout").await;
    refused(submit().max_wait(over), "max_wait").await;
    refused(submit().backoff(Backoff::fixed(SECOND).jitter(f64::NAN)), "backoff").await;
    refused(submit().traceparent("00-0-0-0"), "traceparent").await;
    refused(job.submit_many(Vec::new()), "empty batch").await;
    let large = job.submit_many((0..1_001).map(|_| submit())).await.unwrap_err();
    assert_eq!(large.kind(), ErrorKind::PayloadTooLarge);
    let other: Job<String, String> = tide.job("other").build().unwrap();
    refused(job.submit_many([submit(), other.submit(&text)]), "foreign item").await;
    refused(job.submit_many([submit(), submit().priority(10)]), "one bad item").await;
    refused(job.join(id).wait(over), "wait").await;
    refused(job.pause().for_at_most(Duration::ZERO), "pause 0").await;
    refused(job.set_concurrency_limit(0), "concurrency limit 0").await;
    refused(job.set_rate_limit(0, SECOND), "limit 0").await;
    refused(job.set_rate_limit(1, Duration::ZERO), "per 0").await;
    refused(job.list(JobFilter::Ready).limit(0), "limit 0").await;
    refused(job.list(JobFilter::Ready).limit(1_001), "limit").await;
    refused(job.list(JobFilter::Ready).after(&"nonsense".parse().unwrap()), "page token").await;
    refused(job.process(echo).concurrency(0).run_until(std::future::pending()), "concurrency 0").await;
    refused(job.process(echo).concurrency(10_001).run_until(std::future::pending()), "concurrency").await;
    refused(job.process(echo).prefetch(10_001).run_until(std::future::pending()), "prefetch 10001").await;
    refused(job.process(echo).shutdown_grace(3_601 * SECOND).run_until(std::future::pending()), "grace").await;
    refused(job.process(echo).worker_name("").run_until(std::future::pending()), "name").await;

    assert_eq!(picture(&job).await.unwrap(), before);
});

#[test]
fn an_id_is_decimal_text() {
    let id: JobId = "1767225600000000".parse().unwrap();
    assert_eq!(id.to_string(), "1767225600000000");
    for bad in ["", "x", "-1", "1.5", "99999999999999999999999"] {
        assert!(bad.parse::<JobId>().is_err(), "{bad}");
    }
}
