//! Waiting until a request passes.

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tidelock::ratelimit::{Limit, Limits, RateLimiter, Verdict};
use tidelock::{DAY, ErrorKind, HOUR, ManualClock, Result, SECOND, Tidelock};

use super::{MILLISECOND, limiter};
use crate::harness::{START, World};
use crate::{conformance, in_process};

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Verdict>> + Send + 'a>>;

/// Polls once, as if woken: in process, the request then has its place in the line.
fn poll(waiting: &mut Waiting<'_>) -> Option<Result<Verdict>> {
    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn passed(waiting: &mut Waiting<'_>) -> bool {
    poll(waiting).is_some_and(|verdict| !verdict.expect("no backend is missing").limited)
}

/// A limit of one per second, which is used up.
fn used_up() -> (ManualClock, RateLimiter) {
    let clock = ManualClock::at(START);
    let tide = Tidelock::in_process_with(&clock);
    let api = tide.ratelimit("api").limit(Limit::new(1).fixed()).build().unwrap();
    assert!(passed(&mut api.acquire("x").into_future()));
    (clock, api)
}

conformance!(it_passes_when_its_time_has_come, async |mut world: World| {
    let clock = world.pin();
    let api = limiter(&world, [Limit::per_hour(2).fixed()]).await;
    assert!(!api.acquire("x").cost(2).timeout(Duration::ZERO).await.unwrap().limited);
    let refused = api.acquire("x").timeout(HOUR.saturating_sub(MILLISECOND)).await.unwrap();
    assert!(refused.limited, "it cannot pass in time, so it is told at once");
    assert_eq!((refused.retry_after, clock.now()), (HOUR, START));
    assert!(api.acquire("x").timeout(Duration::ZERO).await.unwrap().limited);
    let mut waiting = pin!(api.acquire("x").timeout(3_650 * DAY).into_future());
    let verdict = loop {
        tokio::select! {
            biased;
            verdict = &mut waiting => break verdict.unwrap(),
            () = tokio::task::yield_now() => clock.advance(SECOND),
        }
    };
    assert!(!verdict.limited);
    assert!(clock.now() >= START + HOUR);
    let error = api.acquire("x").timeout(3_650 * DAY + MILLISECOND).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
});

#[test]
fn waiters_go_in_order_of_arrival_one_per_window() {
    let (clock, api) = used_up();
    let mut line: Vec<Waiting<'_>> = (0..20).map(|_| api.acquire("x").into_future()).collect();
    assert!(line.iter_mut().all(|waiting| poll(waiting).is_none()));
    while !line.is_empty() {
        clock.advance(SECOND.saturating_sub(MILLISECOND));
        assert!(line.iter_mut().all(|waiting| poll(waiting).is_none()), "a millisecond early");
        clock.advance(MILLISECOND);
        // Polled in reverse order: only the first in line may pass.
        let passed: Vec<_> = (0..line.len()).rev().filter(|index| passed(&mut line[*index])).collect();
        assert_eq!(passed, [0]);
        drop(line.remove(0));
        assert!(line.iter_mut().all(|waiting| poll(waiting).is_none()), "the next is told when its time is");
    }
}

#[test]
fn each_identifier_has_a_line_of_its_own() {
    let (clock, api) = used_up();
    let mut behind = api.acquire("x").into_future();
    assert!(poll(&mut behind).is_none());
    assert!(passed(&mut api.acquire("y").into_future()));
    assert!(passed(&mut api.tenant("other").acquire("x").into_future()));
    clock.advance(SECOND);
    assert!(passed(&mut behind));
}

#[test]
fn a_dropped_waiter_counts_nothing_and_lets_the_next_one_go() {
    let (clock, api) = used_up();
    let mut first = api.acquire("x").into_future();
    let mut second = api.acquire("x").into_future();
    let mut third = api.acquire("x").into_future();
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll(waiting).is_none());
    }
    drop(second);
    drop(first);
    clock.advance(SECOND);
    assert!(passed(&mut third));
    drop(api.acquire("x").into_future());
    clock.advance(SECOND);
    let mut last = api.acquire("x").into_future();
    assert!(passed(&mut last), "the dropped ones counted nothing");
}

#[test]
fn reset_and_set_limits_make_waiters_look_again_at_once() {
    let (_clock, api) = used_up();
    let (mut first, mut second) = (api.acquire("x").into_future(), api.acquire("x").into_future());
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
    assert!(api.reset("x").into_future().now_or_never().expect("it is done at once").unwrap());
    assert!(passed(&mut first));
    assert!(poll(&mut second).is_none());
    api.set_limits(Limits::new([Limit::new(2).fixed()]).unwrap());
    assert!(passed(&mut second));
}

#[test]
fn a_timeout_ends_the_wait_also_behind_others() {
    let (clock, api) = used_up();
    let mut first = api.acquire("x").into_future();
    assert!(poll(&mut first).is_none());
    let told = poll(&mut api.acquire("x").timeout(SECOND / 2).into_future()).unwrap().unwrap();
    assert!(told.limited, "the first in line passes too late for this one");
    assert_eq!(told.retry_after, SECOND);
    let mut second = api.acquire("x").timeout(3 * SECOND / 2).into_future();
    assert!(poll(&mut second).is_none());
    clock.advance(SECOND);
    assert!(passed(&mut first));
    let told = poll(&mut second).unwrap().unwrap();
    assert!(told.limited, "it is told as soon as it is known that it cannot pass in time");
    let mut first = api.acquire("x").timeout(SECOND).into_future();
    let mut second = api.acquire("x").timeout(SECOND).into_future();
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
    drop(first);
    clock.advance(SECOND + 4 * MILLISECOND);
    let mut third = api.acquire("x").timeout(SECOND).into_future();
    assert!(poll(&mut third).is_none(), "in order of arrival");
    assert!(passed(&mut second), "in time to the class of milliseconds");
}

#[test]
fn a_waiting_acquire_counts_one_refusal() {
    let clock = ManualClock::at(START);
    let tide = Tidelock::in_process_with(&clock);
    let api = tide.ratelimit("api").limit(Limit::new(10).fixed().window(DAY)).count_refused().build().unwrap();
    assert!(passed(&mut api.acquire("x").cost(10).into_future()));
    let mut waiting = api.acquire("x").into_future();
    assert!(poll(&mut waiting).is_none());
    api.set_limits(Limits::new([Limit::new(11).fixed().window(DAY)]).unwrap());
    assert!(poll(&mut waiting).is_none(), "looked again: ten and the refusal are counted");
    api.set_limits(Limits::new([Limit::new(12).fixed().window(DAY)]).unwrap());
    assert!(passed(&mut waiting), "and the refusal once");
}

in_process!(a_shutdown_ends_the_wait, async || {
    let clock = ManualClock::at(START);
    let tide = Tidelock::in_process_with(&clock);
    let api = tide.ratelimit("api").limit(Limit::new(1).fixed()).build().unwrap();
    assert!(!api.acquire("x").await.unwrap().limited);
    let (mut first, mut second) = (api.acquire("x").into_future(), api.acquire("x").into_future());
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
    assert!(tide.shutdown(Duration::ZERO).await.is_clean());
    for waiting in [&mut second, &mut first] {
        assert_eq!(poll(waiting).unwrap().unwrap_err().kind(), ErrorKind::ShuttingDown);
    }
});
