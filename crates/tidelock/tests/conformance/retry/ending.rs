//! How a call ends early: deadline, attempt timeout, stop.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tidelock::{GaveUp, RetryPolicy, retry};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Foreign, fail_always, ms, passed, policy, reset};
use crate::paused;

paused!(the_pause_before_the_deadline_is_trimmed_for_one_final_attempt, async || {
    let second = policy(|build| build.min_delay(ms(800)).jitter(0.0).deadline(ms(1_000)));
    let (begun, failed) = fail_always(second).await;
    assert_eq!(begun, [ms(0), ms(800), ms(900)]);
    assert_eq!((failed.reason, failed.attempts, failed.timed_out), (GaveUp::Deadline, 3, false));
    let last = Cell::new(0);
    let call = retry(async |attempt| {
        assert_eq!(attempt.is_last(), attempt.number() == 3);
        last.set(attempt.number());
        Err::<(), _>(reset())
    });
    call.policy(second).await.unwrap_err();
    assert_eq!(last.get(), 3);
});

paused!(a_hanging_attempt_is_cut_off_at_the_deadline, async || {
    let start = Instant::now();
    let failed = retry(async |attempt| match attempt.number() {
        1 => Err(reset()),
        _ => pending::<io::Result<()>>().await,
    })
    .policy(policy(|build| build.deadline(ms(1_000)).jitter(0.0)))
    .await
    .unwrap_err();
    assert_eq!(start.elapsed(), ms(1_000));
    assert_eq!((failed.reason, failed.attempts, failed.timed_out), (GaveUp::Deadline, 2, true));
    assert_eq!(failed.elapsed, ms(1_000));
    assert_eq!(failed.error.unwrap().kind(), io::ErrorKind::ConnectionReset, "the error before the cut");
});

paused!(no_call_outlasts_its_deadline, async || {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..1_000 {
        let deadline = ms(random.u64(1..5_000));
        let policy = policy(|build| {
            let (min, more) = (ms(random.u64(..2_000)), ms(random.u64(..3_000)));
            let build = build.unlimited().min_delay(min).max_delay(min + more).jitter(random.f64());
            let build = if random.bool() { build.attempt_timeout(ms(random.u64(1..1_000))) } else { build };
            build.deadline(deadline)
        });
        let takes = ms(random.u64(1..3_000));
        let hint = random.bool().then(|| ms(random.u64(..2_000)));
        let start = Instant::now();
        let call = retry(async |_| {
            passed(takes).await;
            Err::<(), _>(reset())
        });
        let failed = call.policy(policy).hint(|_| hint).await.unwrap_err();
        assert!(start.elapsed() <= deadline + ms(5), "{:?} of {deadline:?}, {policy:?}", start.elapsed());
        assert_eq!(failed.reason, GaveUp::Deadline);
    }
});

paused!(an_attempt_that_is_cut_off_counts_as_a_failure_that_may_pass, async || {
    let (start, asked) = (Instant::now(), Cell::new(0));
    let failed = retry(async |attempt| match attempt.number() {
        1 => Err(Foreign(1)),
        _ => pending::<Result<(), Foreign>>().await,
    })
    .policy(policy(|build| build.attempts(3).attempt_timeout(ms(50)).jitter(0.0)))
    .when(|_| {
        asked.set(asked.get() + 1);
        true
    })
    .on_retry(|retrying| assert_eq!(retrying.error.is_none(), retrying.attempt > 1))
    .await
    .unwrap_err();
    assert_eq!(start.elapsed(), ms(100 + 50 + 200 + 50));
    assert_eq!(asked.get(), 1, "not asked about an attempt that was cut off");
    assert_eq!((failed.reason, failed.attempts, failed.timed_out), (GaveUp::Attempts, 3, true));
    assert_eq!((failed.elapsed, failed.error), (ms(400), Some(Foreign(1))));
});

paused!(an_attempt_is_told_how_long_it_may_take, async || {
    let limits = policy(|build| build.attempt_timeout(ms(700)).deadline(ms(1_000)).jitter(0.0).attempts(2));
    let call = retry(async |attempt| {
        let expected = if attempt.number() == 1 { ms(700) } else { ms(300) };
        assert_eq!(attempt.remaining(), Some(expected));
        passed(ms(600)).await;
        Err::<(), _>(reset())
    });
    assert_eq!(call.policy(limits).await.unwrap_err().reason, GaveUp::Deadline);
    let unlimited = retry(async |attempt| Ok::<_, io::Error>(attempt.remaining()));
    assert_eq!(unlimited.await.unwrap(), None);
});

// In a page, timers fire one by one.
#[cfg(not(target_family = "wasm"))]
#[tokio::test(start_paused = true)]
async fn a_value_that_is_ready_in_the_same_poll_wins() {
    let done = async |_| {
        passed(ms(1_000)).await;
        Ok::<_, io::Error>("done")
    };
    assert_eq!(retry(done).policy(policy(|build| build.deadline(ms(1_000)))).await.unwrap(), "done");
    assert_eq!(retry(done).policy(policy(|build| build.attempt_timeout(ms(1_000)))).await.unwrap(), "done");
    assert_eq!(retry(done).stop(passed(ms(1_000))).await.unwrap(), "done");

    let failed = retry(async |_| {
        passed(ms(1_000)).await;
        Err::<(), _>(reset())
    });
    let failed = failed.stop(passed(ms(1_000))).await.unwrap_err();
    assert_eq!((failed.reason, failed.attempts, failed.error.is_some()), (GaveUp::Stopped, 1, true));
}

paused!(a_call_that_is_stopped_before_its_first_attempt_never_calls_the_operation, async || {
    let op = async |_| -> io::Result<()> { panic!("called") };
    let failed = retry(op).stop(async {}).await.unwrap_err();
    assert_eq!((failed.reason, failed.attempts, failed.elapsed), (GaveUp::Stopped, 0, Duration::ZERO));
    assert!(failed.error.is_none() && !failed.timed_out);
});

/// Runs a call in a task up to its second attempt or its first pause, stops it, and gives it one turn.
async fn stop_after(pause: Duration) -> tidelock::RetryError<io::Error> {
    let (stop, reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stopped, seen) = (Arc::clone(&stop).notified_owned(), Arc::clone(&reached));
    let slow = policy(|build| build.min_delay(pause).max_delay(pause).jitter(0.0));
    let call = tokio::spawn(async move {
        let op = async |attempt: tidelock::Attempt| {
            if attempt.number() == 1 {
                return Err(reset());
            }
            seen.notify_one();
            pending::<io::Result<()>>().await
        };
        let observe = |_: &tidelock::Retrying<'_, io::Error>| {
            if !pause.is_zero() {
                seen.notify_one();
            }
        };
        retry(op).policy(slow).on_retry(observe).stop(stopped).await
    });
    reached.notified().await;
    let start = Instant::now();
    stop.notify_waiters();
    tokio::task::yield_now().await;
    assert!(call.is_finished(), "one turn of the executor is enough");
    assert_eq!(start.elapsed(), Duration::ZERO);
    call.await.unwrap().unwrap_err()
}

paused!(a_stop_ends_a_pause_within_one_turn, async || {
    let failed = stop_after(ms(10_000)).await;
    assert_eq!((failed.reason, failed.attempts, failed.error.is_some()), (GaveUp::Stopped, 1, true));
});

paused!(a_stop_ends_a_running_attempt_within_one_turn, async || {
    let failed = stop_after(ms(0)).await;
    assert_eq!((failed.reason, failed.attempts, failed.timed_out), (GaveUp::Stopped, 2, false));
    assert!(failed.error.is_some(), "the error of the attempt before");
});

paused!(the_operation_is_polled_before_the_stop, async || {
    let (mut polls, mut asked) = (0, 0);
    let op = |_| {
        polls = 0;
        poll_fn(move |context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(Ok::<_, io::Error>(polls)) } else { Poll::Pending }
        })
    };
    // It is polled before the first attempt, and after each of its polls except the last.
    let stop = poll_fn(move |_| {
        asked += 1;
        if asked == 4 { Poll::Ready(()) } else { Poll::Pending }
    });
    assert_eq!(retry(op).policy(RetryPolicy::DEFAULT).stop(stop).await.unwrap(), 3);
});
