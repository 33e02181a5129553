//! The guarantees of retries. Calls without a backend run in tokio's paused time, where every number is exact; what
//! belongs to a `Tidelock` runs on every backend with a pinned clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use tidelock::{GaveUp, RetryError, RetryPolicy, RetryPolicyBuilder, retry};
use tokio::time::Instant;

use crate::{in_process, paused};

#[path = "retry/budget.rs"]
mod budget;
#[path = "retry/clock.rs"]
mod clock;
#[path = "retry/ending.rs"]
mod ending;
// Counts the allocations of a thread.
#[cfg(not(target_family = "wasm"))]
#[path = "retry/speed.rs"]
mod speed;
// Reads data of the server.
#[cfg(not(target_family = "wasm"))]
#[path = "retry/stored.rs"]
mod stored;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A transient error.
pub(crate) fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

pub(crate) fn policy(build: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryPolicy {
    build(RetryPolicy::builder()).build().expect("a valid policy")
}

/// Resolves after this much of the runtime's time; in paused time at once, if nothing else is left to do.
pub(crate) async fn passed(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}

/// Not `Retryable`: an error type of another crate.
#[derive(Debug, PartialEq)]
pub(crate) struct Foreign(pub(crate) u32);

/// Fails every attempt at once; returns when each began, and the final error.
async fn fail_always(policy: RetryPolicy) -> (Vec<Duration>, RetryError<io::Error>) {
    let (start, begun) = (Instant::now(), RefCell::new(Vec::new()));
    let failed = retry(async |attempt| {
        assert_eq!(attempt.elapsed(), start.elapsed());
        begun.borrow_mut().push(start.elapsed());
        Err::<(), _>(reset())
    })
    .policy(policy)
    .await
    .expect_err("every attempt fails");
    (begun.into_inner(), failed)
}

paused!(a_success_after_two_failures_took_three_calls_with_the_numbers_one_to_three, async || {
    let numbers = RefCell::new(Vec::new());
    let value = retry(async |attempt| {
        numbers.borrow_mut().push(attempt.number());
        if attempt.number() < 3 { Err(reset()) } else { Ok("done") }
    });
    assert_eq!(value.await.unwrap(), "done");
    assert_eq!(numbers.into_inner(), [1, 2, 3]);
});

paused!(the_attempts_include_the_first_and_the_last_error_is_returned, async || {
    for attempts in [1, 3, 8] {
        let calls = Cell::new(0);
        let failed = retry(async |attempt| {
            calls.set(calls.get() + 1);
            assert_eq!(attempt.is_last(), attempt.number() == attempts);
            Err::<(), _>(Foreign(attempt.number()))
        })
        .policy(policy(|build| build.attempts(attempts)))
        .when(|_| true)
        .await
        .unwrap_err();
        assert_eq!((calls.get(), failed.attempts, failed.reason), (attempts, attempts, GaveUp::Attempts));
        assert_eq!(failed.into_error(), Some(Foreign(attempts)));
    }
});

paused!(an_error_that_is_not_retryable_ends_the_call_at_once, async || {
    let start = Instant::now();
    let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
    let failed = retry(async |_| Err::<(), _>(refused())).await.unwrap_err();
    assert_eq!((failed.attempts, failed.reason, failed.timed_out), (1, GaveUp::NotRetryable, false));
    assert_eq!(failed.error.unwrap().kind(), io::ErrorKind::PermissionDenied);
    let failed = retry(async |_| Err::<(), _>(reset())).when(|_| false).await.unwrap_err();
    assert_eq!((failed.attempts, failed.reason), (1, GaveUp::NotRetryable));
    assert_eq!(start.elapsed(), Duration::ZERO);
});

paused!(without_jitter_the_default_pauses_are_exact, async || {
    let (begun, failed) = fail_always(policy(|build| build.jitter(0.0))).await;
    let pauses: Vec<_> = begun.windows(2).map(|pair| pair[1].as_millis() - pair[0].as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
    assert_eq!((failed.attempts, failed.reason, failed.elapsed), (8, GaveUp::Attempts, ms(7_100)));
});

paused!(on_retry_sees_every_pause_before_it_begins, async || {
    let (start, seen) = (Instant::now(), RefCell::new(Vec::new()));
    let failed = retry(async |attempt| Err::<(), _>(Foreign(attempt.number())))
        .policy(policy(|build| build.attempts(3).jitter(0.0)))
        .when(|_| true)
        .on_retry(|retrying| {
            assert_eq!(retrying.elapsed, start.elapsed());
            let error = retrying.error.map(|error| error.0);
            seen.borrow_mut().push((retrying.attempt, error, retrying.delay, retrying.elapsed));
        });
    failed.await.unwrap_err();
    assert_eq!(seen.into_inner(), [(1, Some(1), ms(100), ms(0)), (2, Some(2), ms(200), ms(100))]);
});

paused!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    a_panicking_observer_changes_nothing,
    async || {
        let failed = retry(async |_| Err::<(), _>(reset()))
            .policy(policy(|build| build.attempts(3).jitter(0.0)))
            .on_retry(|_| panic!("the observer's own trouble"))
            .await
            .unwrap_err();
        assert_eq!((failed.attempts, failed.reason, failed.elapsed), (3, GaveUp::Attempts, ms(300)));
    }
);

paused!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    a_panic_of_the_operation_goes_through,
    async || {
        let call = tokio::spawn(async { retry(async |_| -> io::Result<()> { panic!("the operation's own") }).await });
        assert!(call.await.unwrap_err().is_panic());
    }
);

paused!(the_same_seed_gives_the_same_pauses, async || {
    let pauses = async |seed| {
        let pauses = RefCell::new(Vec::new());
        let call = retry(async |_| Err::<(), _>(reset())).seed(seed);
        call.on_retry(|retrying| pauses.borrow_mut().push(retrying.delay)).await.unwrap_err();
        pauses.into_inner()
    };
    let seven = pauses(7).await;
    assert_eq!(seven.len(), 7);
    assert_eq!(seven, pauses(7).await);
    assert_ne!(seven, pauses(8).await);
});

paused!(a_hint_is_a_lower_bound_and_jitter_only_adds, async || {
    for _ in 0..100 {
        let second = Cell::new(Duration::ZERO);
        let failed = retry(async |attempt| {
            second.set(attempt.elapsed());
            Err::<(), _>(Foreign(0))
        })
        .policy(policy(|build| build.attempts(2)))
        .when(|_| true)
        .hint(|_| Some(ms(700)));
        failed.await.unwrap_err();
        assert!((ms(700)..=ms(841)).contains(&second.get()), "{second:?}");
    }
});

paused!(a_hint_that_cannot_be_granted_ends_the_call_at_once, async || {
    let hinted = async |hint, policy: RetryPolicy| {
        let call = retry(async |_| Err::<(), _>(reset())).policy(policy).hint(move |_| Some(hint));
        call.await.unwrap_err()
    };
    let failed = hinted(ms(60_001), RetryPolicy::DEFAULT).await;
    assert_eq!((failed.reason, failed.attempts, failed.elapsed), (GaveUp::HintTooLong, 1, ms(0)));
    assert!(failed.error.is_some());
    let second = policy(|build| build.deadline(ms(1_000)));
    let failed = hinted(ms(1_000), second).await;
    assert_eq!((failed.reason, failed.attempts, failed.elapsed), (GaveUp::Deadline, 1, ms(0)));
    assert_eq!(hinted(ms(999), second).await.reason, GaveUp::Deadline);
    let refusing = policy(|build| build.max_hint(ms(0)));
    assert_eq!(hinted(ms(1), refusing).await.reason, GaveUp::HintTooLong);
});

paused!(with_when_hints_come_from_hint_alone, async || {
    /// Asks for a pause of an hour, which the default classifier would reject.
    struct Patient;
    impl tidelock::Retryable for Patient {
        fn is_retryable(&self) -> bool {
            true
        }
        fn retry_after(&self) -> Option<Duration> {
            Some(ms(3_600_000))
        }
    }
    let failed = async |_| Err::<(), _>(Patient);
    assert_eq!(retry(failed).await.err().unwrap().reason, GaveUp::HintTooLong);
    assert_eq!(retry(failed).when(|_| true).await.err().unwrap().reason, GaveUp::Attempts);
    assert_eq!(retry(failed).hint(|_| None).await.err().unwrap().reason, GaveUp::Attempts);
});

paused!(dropping_the_call_drops_the_running_attempt, async || {
    struct OnDrop<'a>(&'a Cell<bool>);
    impl Drop for OnDrop<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let (started, ended) = (Cell::new(false), Cell::new(false));
    let call = retry(async |_| {
        let _ended = OnDrop(&ended);
        started.set(true);
        std::future::pending::<io::Result<()>>().await
    });
    assert!(tokio::time::timeout(ms(1), call.into_future()).await.is_err());
    assert!(started.get() && ended.get());
});

/// Lets the other tasks run once, as the pauses of a call must.
async fn turn() {
    if cfg!(target_family = "wasm") {
        // A task that wakes itself would keep a page's timers from firing.
        return tokio::task::yield_now().await;
    }
    let mut yielded = false;
    let yielding = std::future::poll_fn(move |context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    });
    yielding.await;
}

in_process!(every_pause_lets_other_tasks_run_first, async || {
    let (turns, fired) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (counting, firing) = (Arc::clone(&turns), Arc::clone(&fired));
    let counter = tokio::spawn(async move {
        loop {
            counting.fetch_add(1, Ordering::Relaxed);
            turn().await;
        }
    });
    // A timer must fire while zero pauses follow each other; otherwise this would not end.
    tokio::spawn(async move {
        passed(ms(10)).await;
        firing.store(true, Ordering::Relaxed);
    });
    let at_once = policy(|build| build.unlimited().min_delay(ms(0)));
    let op = async |attempt: tidelock::Attempt| {
        let fired = fired.load(Ordering::Relaxed);
        if fired && attempt.number() >= 1_000 { Ok(attempt.number()) } else { Err(reset()) }
    };
    let attempts = retry(op).policy(at_once).await.unwrap();
    counter.abort();
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= attempts - 1, "{turns} turns beside {attempts} attempts");
});
