//! Rejected options, and names that never collide.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::FutureExt;
use tidelock::ratelimit::{Limit, Limits, OnUnavailable, RateLimiterBuilder};
use tidelock::{DAY, ErrorKind, MINUTE, SECOND, Tidelock};

use super::{MILLISECOND, define, limiter};
use crate::conformance;
use crate::harness::World;

#[test]
fn a_bad_limit_is_refused_with_its_value() {
    let ten_years = 3_650 * DAY;
    let bad = [
        (Limit::new(0), "0"),
        (Limit::new(1_000_000_000_001), "1000000000001"),
        (Limit::new(1).window(Duration::ZERO), "0ns"),
        (Limit::new(1).window(Duration::from_micros(1_500)), "1.5ms"),
        (Limit::new(1).window(ten_years + MILLISECOND), "315360000.001s"),
        (Limit::new(1).window(Duration::MAX), "s"),
        (Limit::new(1).burst(5), "5"),
        (Limit::new(1).fixed().burst(5), "5"),
        (Limit::new(1).token_bucket().burst(0), "0"),
        (Limit::new(1).token_bucket().burst(u64::MAX), "18446744073709551615"),
        (Limit::new(1).name(""), "\"\""),
        (Limit::new(1).name("a b"), "a b"),
        (Limit::new(1).name("x".repeat(65)), "xxx"),
    ];
    for (limit, value) in bad {
        let error = Limits::new([limit]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
        assert!(error.to_string().contains(value), "{error}");
    }
    let good = [
        Limit::new(1_000_000_000_000).window(ten_years).token_bucket().burst(1_000_000_000_000),
        Limit::new(1).window(MILLISECOND).fixed().name("x".repeat(64)),
    ];
    assert!(Limits::new(good).is_ok());
}

#[test]
fn a_set_of_limits_is_one_to_eight_that_differ() {
    let windows = |count: u32| (1..=count).map(|n| Limit::new(5).window(n * SECOND));
    assert!(Limits::new(windows(8)).is_ok());
    assert!(Limits::new([Limit::new(1), Limit::new(1).fixed(), Limit::new(1).token_bucket()]).is_ok());
    for bad in [Limits::new([]), Limits::new(windows(9)), Limits::new([Limit::new(1), Limit::per_second(2)])] {
        assert_eq!(bad.unwrap_err().kind(), ErrorKind::InvalidConfiguration);
    }
    let same_name = [Limit::new(1).name("x"), Limit::per_minute(1).name("x")];
    assert!(Limits::new(same_name).unwrap_err().to_string().contains("\"x\""));
}

#[test]
fn a_bad_option_is_refused_when_built() {
    let tide = Tidelock::in_process();
    let base = || tide.ratelimit("api").limit(Limit::new(5));
    let refused = |builder: RateLimiterBuilder| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
        error.to_string()
    };
    for share in [0.0, -0.5, 1.000_001, f64::NAN, f64::INFINITY] {
        let text = refused(base().on_unavailable(OnUnavailable::Local { share }));
        assert!(text.contains("share") && text.contains(&share.to_string()), "{text}");
    }
    for within in [Duration::ZERO, MILLISECOND / 2, MINUTE + MILLISECOND] {
        assert!(refused(base().answer_within(within)).contains("answer_within"));
    }
    let _ = refused(tide.ratelimit("api"));
    let _ = refused(tide.ratelimit("").limit(Limit::new(5)));
    let _ = refused(tide.ratelimit(&"x".repeat(257)).limit(Limit::new(5)));
    let _ = refused(tide.tenant("a\0b").ratelimit("api").limit(Limit::new(5)));
    let _ = refused(base().limits(Limits::new([Limit::new(5)]).unwrap()));
    assert!(base().on_unavailable(OnUnavailable::Local { share: 1.0 }).answer_within(MINUTE).build().is_ok());
}

#[test]
fn limits_are_named_after_algorithm_and_window() {
    let tide = Tidelock::in_process();
    let limits = [
        Limit::per_minute(9),
        Limit::new(9).window(500 * MILLISECOND).fixed(),
        Limit::new(9).token_bucket(),
        Limit::per_day(9).name("daily"),
    ];
    let api = tide.ratelimit("api").limits(Limits::new(limits).unwrap()).build().unwrap();
    let verdict = api.peek("x").into_future().now_or_never().expect("it is there at once").unwrap();
    let names: Vec<_> = verdict.parts().iter().map(tidelock::ratelimit::Part::name).collect();
    assert_eq!(names, ["sliding-60s", "fixed-500ms", "bucket-1s", "daily"]);
}

conformance!(http_fields_tell_each_limit_in_whole_seconds, async |mut world: World| {
    let clock = world.pin();
    let limits = [Limit::per_minute(2).fixed().name("m"), Limit::new(9).window(1_500 * MILLISECOND).name("s")];
    let api = limiter(&world, limits).await;
    clock.advance(MILLISECOND);
    let fields: Vec<_> = api.check("x").cost(2).await.unwrap().http_fields().collect();
    let policy = ("RateLimit-Policy", r#""m";q=2;w=60, "s";q=9;w=2"#.to_owned());
    assert_eq!(fields, [policy.clone(), ("RateLimit", r#""m";r=0;t=60, "s";r=7;t=2"#.to_owned())]);
    let fields: Vec<_> = api.check("x").await.unwrap().http_fields().collect();
    assert_eq!(fields[0], policy);
    assert_eq!(fields[2], ("Retry-After", "60".to_owned()));
});

conformance!(names_that_look_alike_share_no_count, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let places = [("a", "b:c"), ("a:b", "c"), ("a", "b/c"), ("a/b", "c"), ("a", "{b}"), ("a", "b%3Ac"), ("a}", "b")];
    for tenant in ["default", "t", "t/a"] {
        for (id, identifier) in places {
            let api = define(&tide.tenant(tenant), id).limit(Limit::new(1)).build().unwrap();
            assert!(!api.check(identifier).await.unwrap().limited, "{tenant} {id} {identifier} is new");
            assert!(api.check(identifier).await.unwrap().limited);
        }
    }
    let api = define(&tide, "digests").limit(Limit::new(1)).build().unwrap();
    assert!(!api.tenant("other").check("x").await.unwrap().limited);
    assert!(!api.check("x").await.unwrap().limited);
    // The output of `printf 'x%.0s' {1..600} | sha256sum` in a shell.
    let digest = "5130b33e6b87fbf5316ed9049e98924eb110800bcbaaad8050f642fba6df37c9";
    for identifier in ["x".repeat(600).as_str(), digest, &format!("#{digest}"), &format!("%23{digest}")] {
        assert!(!api.check(identifier).await.unwrap().limited, "{identifier} is new");
    }
});

conformance!(long_identifiers_share_no_count, async |mut world: World| {
    world.pin();
    let api = limiter(&world, [Limit::new(1)]).await;
    // On a server a tenth of that in this process, since all backends run concurrently.
    let count = crate::harness::scale(if world.has_processes() { 100_000 } else { 1_000_000 });
    for batch in 0..count / 100 {
        let checks = (0..100).map(|n| {
            let (api, identifier) = (api.clone(), format!("{:02000}", batch * 100 + n));
            async move { api.check(&identifier).await.unwrap().limited }
        });
        let limited = futures_util::future::join_all(checks).await;
        assert!(!limited.contains(&true), "in batch {batch}");
    }
    assert!(api.check(&format!("{:02000}", 0)).await.unwrap().limited);
});
