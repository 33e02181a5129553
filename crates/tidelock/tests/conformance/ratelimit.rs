//! Rate limits: the guarantees of the contract.

mod acquire;
mod names;
// Reads the keys of the server.
#[cfg(not(target_family = "wasm"))]
mod stored;

use std::time::Duration;

use tidelock::ratelimit::{DecidedBy, Limit, Limits, RateLimiter, RateLimiterBuilder, Verdict};
use tidelock::{DAY, ErrorKind, HOUR, MINUTE, ManualClock, SECOND, Tidelock};

use crate::conformance;
use crate::harness::{START, World};

const MILLISECOND: Duration = Duration::from_millis(1);

async fn limiter(world: &World, limits: impl IntoIterator<Item = Limit>) -> RateLimiter {
    let limits = Limits::new(limits).expect("the limits are good");
    define(&world.open().await, "api").limits(limits).build().expect("the limiter is good")
}

/// A limiter that a slow test machine does not make unavailable.
fn define(tide: &Tidelock, id: &str) -> RateLimiterBuilder {
    tide.ratelimit(id).answer_within(MINUTE)
}

async fn check(limiter: &RateLimiter, cost: u64) -> Verdict {
    limiter.check("user:42").cost(cost).await.expect("the backend answers")
}

async fn peek(limiter: &RateLimiter, cost: u64) -> Verdict {
    limiter.peek("user:42").cost(cost).await.expect("the backend answers")
}

conformance!(five_pass_and_the_sixth_is_limited, async |mut world: World| {
    let clock = world.pin();
    for limit in [Limit::new(5), Limit::new(5).fixed(), Limit::new(5).token_bucket()] {
        let api = limiter(&world, [limit]).await;
        for remaining in [4, 3, 2, 1, 0] {
            let verdict = check(&api, 1).await;
            assert!(!verdict.limited);
            assert_eq!((verdict.limit, verdict.remaining, verdict.retry_after), (5, remaining, Duration::ZERO));
            assert_eq!(verdict.decided_by, DecidedBy::Backend);
        }
        let verdict = check(&api, 1).await;
        assert!(verdict.limited);
        assert_eq!(verdict.remaining, 0);
        assert_eq!(verdict.reset_in, SECOND);
        assert!(verdict.retry_after > Duration::ZERO);
    }
    assert_eq!(clock.now(), START);
});

conformance!(of_ten_at_once_exactly_five_pass, async |mut world: World| {
    world.pin();
    let api = limiter(&world, [Limit::new(5)]).await;
    let other = limiter(&world, [Limit::new(5)]).await;
    let checks = (0..10).map(|n| {
        let api = if n % 2 == 0 { api.clone() } else { other.clone() };
        tokio::spawn(async move { check(&api, 1).await })
    });
    let mut passed = 0;
    for verdict in futures_util::future::join_all(checks).await {
        passed += usize::from(!verdict.expect("no check panics").limited);
    }
    assert_eq!(passed, 5);
});

/// Ten times the allowed load over 100 windows of 1 s with a limit of 10. Returns how many passed in each window.
async fn overload(limiter: &RateLimiter, clock: &ManualClock) -> Vec<u64> {
    let mut passed = Vec::new();
    for _ in 0..100 {
        let mut in_window = 0;
        for _ in 0..20 {
            for _ in 0..5 {
                in_window += u64::from(!check(limiter, 1).await.limited);
            }
            clock.advance(Duration::from_millis(50));
        }
        passed.push(in_window);
    }
    passed
}

conformance!(overload_passes_what_the_algorithm_promises, async |mut world: World| {
    let clock = world.pin();
    let fixed = limiter(&world, [Limit::new(10).fixed()]).await;
    assert_eq!(overload(&fixed, &clock).await, vec![10; 100]);
    let sliding = limiter(&world, [Limit::new(10)]).await;
    let passed = overload(&sliding, &clock).await;
    assert!(passed.iter().all(|passed| (9..=10).contains(passed)), "{passed:?}");
    let bucket = limiter(&world, [Limit::new(10).token_bucket().burst(30)]).await;
    let passed = overload(&bucket, &clock).await;
    let mut sum = 0;
    for (windows, passed) in (1..).zip(passed) {
        sum += passed;
        assert!(sum <= 30 + windows * 10, "{sum} in {windows} windows");
    }
    assert!(sum >= 1_000);
});

conformance!(who_keeps_hammering_stays_out_when_refusals_count, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let api = define(&tide, "api").limit(Limit::new(10)).count_refused().build().unwrap();
    assert_eq!(overload(&api, &clock).await.iter().sum::<u64>(), 10);
    clock.advance(2 * SECOND);
    assert!(!check(&api, 10).await.limited, "after a pause of two windows nothing is counted");
});

/// The contract's promise for `retry_after`: exactly that instant, not a millisecond earlier, if nothing else is
/// counted.
async fn retry_after_is_exact(limiter: &RateLimiter, clock: &ManualClock, cost: u64) {
    let refused = check(limiter, cost).await;
    if !refused.limited {
        return;
    }
    clock.advance(refused.retry_after.saturating_sub(MILLISECOND));
    assert!(check(limiter, cost).await.limited, "a millisecond early: {refused:?}");
    clock.advance(MILLISECOND);
    assert!(!check(limiter, cost).await.limited, "in time: {refused:?}");
}

conformance!(retry_after_is_exact_to_the_millisecond, async |mut world: World| {
    let clock = world.pin();
    let mut random = fastrand::Rng::with_seed(7);
    let window = Duration::from_millis(997);
    let sets = [
        vec![Limit::new(17).window(window)],
        vec![Limit::new(17).window(window).fixed()],
        vec![Limit::new(17).window(window).token_bucket().burst(23)],
        vec![Limit::new(17).window(window), Limit::per_minute(60).fixed(), Limit::new(7).token_bucket().burst(40)],
    ];
    for limits in sets {
        let api = limiter(&world, limits).await;
        for _ in 0..60 {
            clock.advance(Duration::from_millis(random.u64(..200)));
            retry_after_is_exact(&api, &clock, random.u64(1..=17)).await;
        }
    }
});

conformance!(all_limits_or_none, async |mut world: World| {
    world.pin();
    let limits = [Limit::per_second(5).name("second"), Limit::per_minute(7).fixed().name("minute")];
    let api = limiter(&world, limits).await;
    assert_eq!(check(&api, 5).await.remaining, 0, "the limit with the least remaining is shown");
    let refused = check(&api, 2).await;
    let marked: Vec<_> = refused.parts().iter().map(|part| (part.name(), part.refused(), part.remaining())).collect();
    assert_eq!(marked, [("second", true, 0), ("minute", false, 2)]);
    assert_eq!(refused.parts()[1].retry_after(), Duration::ZERO);
    let both = check(&api, 3).await;
    assert!(both.parts().iter().all(tidelock::ratelimit::Part::refused));
    assert_eq!((both.limit, both.retry_after), (7, MINUTE), "of two that refuse, the one that refuses longer");
    assert_eq!(peek(&api, 1).await.parts()[1].remaining(), 2, "the other limit's count is as it was");
});

conformance!(a_cost_is_as_many_checks_at_one_instant, async |mut world: World| {
    let clock = world.pin();
    for limit in [Limit::new(20), Limit::new(20).fixed(), Limit::new(20).token_bucket()] {
        let api = limiter(&world, [limit]).await;
        for _ in 0..7 {
            let _ = api.check("singly").await.unwrap();
        }
        let _ = api.check("at once").cost(7).await.unwrap();
        for _ in 0..5 {
            clock.advance(Duration::from_millis(333));
            let (singly, at_once) = (api.peek("singly").await.unwrap(), api.peek("at once").await.unwrap());
            assert_eq!(singly, at_once);
        }
        assert!(api.check("at once").cost(20).await.unwrap().limited || clock.now() > START + 2 * SECOND);
    }
});

conformance!(callers_and_clocks_that_differ_share_one_limit, async |mut world: World| {
    let clock = world.pin();
    for limit in [Limit::new(5), Limit::new(5).fixed(), Limit::new(5).token_bucket()] {
        clock.set(START);
        let (one, other) = (limiter(&world, [limit.clone()]).await, limiter(&world, [limit]).await);
        let mut passed = 0;
        for turn in 0..40 {
            // Ten windows back and forth: time stays at its furthest point.
            clock.set(if turn % 2 == 0 { START + 10 * SECOND } else { START });
            passed += u64::from(!check(if turn % 3 == 0 { &one } else { &other }, 1).await.limited);
        }
        assert_eq!(passed, 5);
    }
});

conformance!(other_numbers_judge_the_counts_that_are_there, async |mut world: World| {
    world.pin();
    let (one, other) = (limiter(&world, [Limit::new(10)]).await, limiter(&world, [Limit::new(4)]).await);
    assert_eq!(check(&one, 6).await.remaining, 4);
    let refused = check(&other, 1).await;
    assert!(refused.limited);
    assert_eq!((refused.limit, refused.remaining), (4, 0));
    let clone = one.clone();
    one.set_limits(Limits::new([Limit::new(8)]).unwrap());
    assert_eq!(check(&clone, 1).await.remaining, 1, "clones follow");
    assert_eq!(clone.limits(), Limits::new([Limit::new(8)]).unwrap());
    let plan = Limits::new([Limit::new(1_000)]).unwrap();
    assert_eq!(one.check("user:42").limits(&plan).await.unwrap().remaining, 992);
    let elsewhere = Limits::new([Limit::new(1_000).window(HOUR)]).unwrap();
    assert_eq!(one.check("user:42").limits(&elsewhere).await.unwrap().remaining, 999, "another window starts empty");
    assert_eq!(peek(&one, 1).await.remaining, 0, "a count that a request does not name is kept");
});

conformance!(a_bucket_drains_at_the_rate_of_the_request, async |mut world: World| {
    let clock = world.pin();
    let api = limiter(&world, [Limit::new(2).token_bucket().burst(10)]).await;
    let _ = check(&api, 10).await;
    clock.advance(SECOND);
    let faster = Limits::new([Limit::new(6).token_bucket().burst(10)]).unwrap();
    assert_eq!(api.peek("user:42").limits(&faster).await.unwrap().remaining, 6);
    let lower = Limits::new([Limit::new(2).token_bucket().burst(5)]).unwrap();
    assert_eq!(api.peek("user:42").limits(&lower).await.unwrap().remaining, 0, "a use above a lowered capacity");
    assert_eq!(peek(&api, 1).await.remaining, 2);
});

conformance!(reset_forgets_and_tells_whether_there_was_anything, async |mut world: World| {
    let clock = world.pin();
    let api = limiter(&world, [Limit::new(3)]).await;
    assert!(!api.reset("user:42").await.unwrap());
    let _ = check(&api, 3).await;
    assert!(api.reset("user:42").await.unwrap());
    assert!(!api.reset("user:42").await.unwrap());
    assert_eq!(check(&api, 3).await.remaining, 0);
    clock.advance(2 * SECOND);
    assert!(!api.reset("user:42").await.unwrap(), "what has lapsed is nothing");
});

conformance!(a_refusal_as_an_error_has_the_verdict, async |mut world: World| {
    world.pin();
    let api = limiter(&world, [Limit::new(2).fixed()]).await;
    assert_eq!(api.check_or_err("user:42").cost(2).await.unwrap().remaining, 0);
    let error = api.check_or_err("user:42").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.is_retryable());
    assert_eq!(error.retry_after(), Some(SECOND));
    assert_eq!(error.verdict(), Some(&peek(&api, 1).await));
});

conformance!(a_bad_argument_is_refused_before_anything_is_sent, async |mut world: World| {
    world.pin();
    let api = limiter(&world, [Limit::new(5), Limit::new(3).token_bucket().burst(2)]).await;
    for (identifier, cost) in [("", 1), ("a\0b", 1), ("user:42", 0), ("user:42", 3), ("user:42", u64::MAX)] {
        let error = api.check(identifier).cost(cost).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(!error.is_retryable());
        assert_eq!(api.peek(identifier).cost(cost).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(api.acquire(identifier).cost(cost).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert!(api.check("user:42").cost(3).await.unwrap_err().to_string().contains("1..=2"));
    assert_eq!(api.reset("").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let error = api.tenant("").check("user:42").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(peek(&api, 1).await.remaining, 2, "nothing was counted");
});

conformance!(a_limiter_answers_until_a_shutdown_is_over_and_lets_nobody_wait, async |world: World| {
    let tide = world.open().await;
    let api = define(&tide, "api").limit(Limit::new(1)).build().unwrap();
    let guard = tide.mutex("m").build().unwrap().try_lock("r").await.unwrap().unwrap();
    let door = tide.clone();
    let closing = tokio::spawn(async move { door.shutdown(MINUTE).await });
    while tide.ping().await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!api.check("user:42").await.unwrap().limited);
    assert!(api.peek("user:42").await.unwrap().limited);
    assert_eq!(api.acquire("user:42").await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    guard.release().await.unwrap();
    assert!(closing.await.unwrap().is_clean());
    assert_eq!(api.check("user:42").await.unwrap_err().kind(), ErrorKind::ShuttingDown);
});

conformance!(a_shut_down_limiter_says_so, async |world: World| {
    let tide = world.open().await;
    let api = define(&tide, "api").limit(Limit::new(5)).build().unwrap();
    let _ = tide.shutdown(Duration::ZERO).await;
    assert_eq!(api.check("user:42").await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(api.acquire("user:42").await.unwrap_err().kind(), ErrorKind::ShuttingDown);
});

conformance!(real_clocks_decide_where_none_is_pinned, async |world: World| {
    let api = limiter(&world, [Limit::per_day(3), Limit::per_day(3).token_bucket()]).await;
    assert_eq!(check(&api, 2).await.remaining, 1);
    let refused = check(&api, 2).await;
    assert!(refused.limited && refused.retry_after > Duration::ZERO && refused.retry_after <= 2 * DAY);
});
