//! The cost of a successful call.

use std::future::IntoFuture;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tidelock::{RetryBudget, Tidelock, retry};

use super::{ms, policy};
use crate::in_process;

/// Polls to the end without a runtime: a call that needed a timer would panic.
fn poll_to_the_end<C: IntoFuture>(call: C) -> C::Output {
    let mut future = pin!(call.into_future());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// Succeeds at its second poll.
async fn soon<T>(value: T) -> io::Result<T> {
    tokio::task::yield_now().await;
    Ok(value)
}

#[test]
fn the_first_success_is_one_call_without_pause_or_timer() {
    let mut calls = 0;
    let call = retry(|attempt| {
        calls += 1;
        std::future::ready(Ok::<_, io::Error>(attempt.number()))
    });
    assert_eq!(poll_to_the_end(call).unwrap(), 1);
    assert_eq!(calls, 1);
}

#[test]
fn a_success_allocates_nothing() {
    let (tide, budget) = (Tidelock::in_process(), RetryBudget::builder().build().unwrap());
    let count = |run: &dyn Fn()| {
        // The first run may set up what the process keeps.
        run();
        allocation_counter::measure(run).count_total
    };
    assert_eq!(count(&|| drop(poll_to_the_end(retry(async |_| Ok::<_, io::Error>(1))))), 0);
    assert_eq!(count(&|| drop(poll_to_the_end(retry(async |_| soon(1).await).budget(&budget)))), 0);
    assert_eq!(count(&|| drop(poll_to_the_end(tide.retry(async |_| Ok::<_, io::Error>(1))))), 0);
    assert_eq!(count(&|| drop(poll_to_the_end(tide.retry(async |_| soon(1).await)))), 0);
}

in_process!(a_success_within_time_limits_allocates_nothing_either, async || {
    let limits = policy(|build| build.deadline(ms(60_000)).attempt_timeout(ms(30_000)));
    let run = || drop(poll_to_the_end(retry(async |_| soon(1).await).policy(limits)));
    run();
    assert_eq!(allocation_counter::measure(run).count_total, 0);
});
