//! Metrics of mutexes, rate limits and retries.

use std::io;
use std::time::Duration;

use tidelock::mutex::{GrantEnd, Mutex};
use tidelock::ratelimit::Limit;
use tidelock::{ManualClock, RetryBudget, RetryPolicy, SECOND, Tidelock, retry};

use super::{Heard, measured, on_one_thread, until, within};

async fn until_somebody_waits(mutex: &Mutex) {
    while mutex.describe("r").await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
}

measured!(a_mutex, async |tide: Tidelock, clock: ManualClock, heard: Heard| {
    let mutex = tide.mutex("orders").lease(30 * SECOND).wait(60 * SECOND).build().unwrap();
    let guard = mutex.lock("r").await.unwrap().guard().unwrap();
    assert!(mutex.try_lock("r").await.unwrap().is_none());
    assert!(guard.extend(40 * SECOND).await.unwrap());
    heard.shows(&[
        ("tidelock.mutex.held{mutex=orders}", 1.0),
        ("tidelock.mutex.acquired{mutex=orders}", 1.0),
        ("tidelock.mutex.refused{mutex=orders}", 1.0),
        ("tidelock.mutex.extended{mutex=orders}", 1.0),
    ]);
    let waiting = mutex.clone();
    let next = tokio::spawn(async move { waiting.lock("r").await.unwrap().guard().unwrap() });
    until_somebody_waits(&mutex).await;
    clock.advance(4 * SECOND);
    guard.release().await.unwrap();
    let next = within(next).await.unwrap();
    let waiting = mutex.clone();
    let late = tokio::spawn(async move { waiting.lock("r").timeout(5 * SECOND).await.unwrap().guard() });
    until_somebody_waits(&mutex).await;
    clock.advance(5 * SECOND);
    assert!(within(late).await.unwrap().is_none());
    assert_eq!(heard.all("tidelock.mutex.wait.duration{mutex=orders,outcome=acquired}"), [0.0, 4.0]);
    assert_eq!(heard.all("tidelock.mutex.wait.duration{mutex=orders,outcome=timed_out}"), [5.0]);
    assert_eq!(heard.all("tidelock.mutex.hold.duration{mutex=orders}"), [4.0]);
    clock.advance(6 * SECOND);
    until(|| heard.sum("tidelock.mutex.renewed{mutex=orders}") > 0.0).await;
    drop(next);
    until(|| heard.sum("tidelock.mutex.released{mutex=orders}") > 1.0).await;
    assert_eq!(heard.all("tidelock.mutex.hold.duration{mutex=orders}"), [4.0, 11.0]);
    heard.shows(&[
        ("tidelock.mutex.held{mutex=orders}", 0.0),
        ("tidelock.mutex.acquired{mutex=orders}", 2.0),
        ("tidelock.mutex.timed_out{mutex=orders}", 1.0),
        ("tidelock.mutex.released{mutex=orders}", 2.0),
        ("tidelock.mutex.lost{mutex=orders}", 0.0),
    ]);
});

measured!(a_lock_that_is_lost, async |tide: Tidelock, clock: ManualClock, heard: Heard| {
    let mutex = tide.mutex("orders").lease(10 * SECOND).fixed_lease().build().unwrap();
    let guard = mutex.try_lock("r").await.unwrap().unwrap();
    clock.advance(12 * SECOND);
    assert_eq!(within(guard.lost()).await, GrantEnd::Unproven);
    assert!(guard.is_lost());
    let lost = [
        ("tidelock.mutex.lost{mutex=orders}", 1.0),
        ("tidelock.mutex.held{mutex=orders}", 0.0),
        ("tidelock.mutex.hold.duration{mutex=orders}", 12.0),
        ("tidelock.mutex.released{mutex=orders}", 0.0),
    ];
    heard.shows(&lost);
    guard.release().await.unwrap();
    heard.shows(&lost);
    // Nobody looks at it before it is released.
    let guard = mutex.try_lock("r").await.unwrap().unwrap();
    clock.advance(12 * SECOND);
    guard.release().await.unwrap();
    heard.shows(&[
        ("tidelock.mutex.lost{mutex=orders}", 2.0),
        ("tidelock.mutex.held{mutex=orders}", 0.0),
        ("tidelock.mutex.released{mutex=orders}", 0.0),
    ]);
});

measured!(an_acquire_that_waits, async |tide: Tidelock, clock: ManualClock, heard: Heard| {
    let api = tide.ratelimit("api").limit(Limit::per_minute(1)).build().unwrap();
    assert!(!api.acquire("u").await.unwrap().limited);
    let waiting = api.clone();
    let next = tokio::spawn(async move { waiting.acquire("u").await.unwrap() });
    until(|| heard.sum("tidelock.ratelimit.waiting{limiter=api}") > 0.0).await;
    let start = clock.now();
    until(|| {
        let over = next.is_finished();
        if !over {
            clock.advance(10 * SECOND);
        }
        over
    })
    .await;
    let waited = clock.now().since(start).as_secs_f64();
    assert!(!next.await.unwrap().limited && waited >= 60.0);
    assert_eq!(heard.all("tidelock.ratelimit.wait.duration{limiter=api,outcome=allowed}"), [0.0, waited]);
    assert!(!api.acquire("v").await.unwrap().limited);
    assert!(api.acquire("v").timeout(SECOND).await.unwrap().limited);
    assert_eq!(heard.all("tidelock.ratelimit.wait.duration{limiter=api,outcome=limited}"), [0.0]);
    heard.shows(&[
        ("tidelock.ratelimit.waiting{limiter=api}", 0.0),
        ("tidelock.ratelimit.verdicts{limiter=api,outcome=allowed,decided_by=backend}", 3.0),
        ("tidelock.ratelimit.verdicts{limiter=api,outcome=limited,decided_by=backend}", 1.0),
    ]);
});

#[test]
fn calls_that_are_retried() {
    on_one_thread(async {
        let heard = Heard::default();
        let _heard = metrics::set_default_local_recorder(&heard);
        let failing = async |_| Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionReset));
        let policy = RetryPolicy::builder().attempts(3).min_delay(Duration::ZERO).build().unwrap();
        let patient = RetryPolicy::builder().min_delay(Duration::ZERO).build().unwrap();
        retry(failing).policy(policy).await.unwrap_err();
        retry(async |_| Ok::<_, io::Error>(())).await.unwrap();
        retry(async |_| Err::<(), _>(io::Error::other("for good"))).when(|_| false).await.unwrap_err();
        heard.shows(&[
            ("tidelock.retry.attempts", 5.0),
            ("tidelock.retry.retries", 2.0),
            ("tidelock.retry.gave_up{reason=attempts}", 1.0),
            ("tidelock.retry.gave_up{reason=not_retryable}", 1.0),
        ]);
        let budget = RetryBudget::builder().capacity(2).per_second(0.0).build().unwrap();
        retry(failing).policy(patient).budget(&budget).await.unwrap_err();
        heard.shows(&[("tidelock.retry.gave_up{reason=budget}", 1.0), ("tidelock.retry.budget.refused", 1.0)]);
    });
}

measured!(a_budget_of_a_fleet, async |tide: Tidelock, _: ManualClock, heard: Heard| {
    let budget = tide.retry_budget("payments").capacity(2).per_second(0.0).build().unwrap();
    let failing = async |_| Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionReset));
    let policy = RetryPolicy::builder().min_delay(Duration::ZERO).build().unwrap();
    retry(failing).policy(policy).budget(&budget).await.unwrap_err();
    heard.shows(&[("tidelock.retry.attempts", 3.0), ("tidelock.retry.budget.refused{budget=payments}", 1.0)]);
});
