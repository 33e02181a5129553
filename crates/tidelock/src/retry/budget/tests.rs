//! A budget whose backend is slow, refuses, or is unavailable.

use std::sync::Mutex;

use super::*;
use crate::retry::store::Taken;
use crate::time::ManualClock;

/// A backend with scripted answers that records its requests.
#[derive(Debug)]
struct Stub {
    answers: Mutex<Option<ErrorKind>>,
    asked: Mutex<Vec<Take>>,
}

impl Stub {
    fn fails(kind: Option<ErrorKind>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(kind), asked: Mutex::default() })
    }

    fn becomes(&self, kind: Option<ErrorKind>) {
        *self.answers.lock().unwrap() = kind;
    }

    /// Credit and amount of each request since the last call.
    fn asked(&self) -> Vec<(u64, u64)> {
        self.asked.lock().unwrap().drain(..).map(|take| (take.credit, take.amount)).collect()
    }
}

impl BudgetStore for Stub {
    fn take<'a>(&'a self, _: &'a Address, take: Take) -> BoxFuture<'a, Result<Taken>> {
        self.asked.lock().unwrap().push(take);
        let answer = match *self.answers.lock().unwrap() {
            None => Ok(Taken { taken: true, level: 0 }),
            Some(kind) => Err(Error::new(kind, "away")),
        };
        Box::pin(std::future::ready(answer))
    }
}

fn budget(stub: &Arc<Stub>, clock: &ManualClock) -> RetryBudget {
    let tide = Tidelock::in_process_with(clock);
    let mut budget = tide.retry_budget("payments").capacity(2).per_second(1.0).per_success(0.5).build().unwrap();
    let shared = Arc::get_mut(&mut budget.shared).unwrap();
    shared.remote.as_mut().unwrap().store = Arc::clone(stub) as _;
    budget
}

async fn take(budget: &RetryBudget) -> bool {
    match budget.take() {
        Taking::Decided(taken) => taken,
        Taking::Asking(asking) => asking.await,
    }
}

fn clock() -> ManualClock {
    ManualClock::at(Timestamp::from_millis(1_767_225_600_000))
}

#[tokio::test]
async fn a_backend_that_is_gone_leaves_the_decision_to_the_bucket_of_the_process() {
    for kind in [ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::Server, ErrorKind::IncompatibleFormat] {
        let (stub, clock) = (Stub::fails(Some(kind)), clock());
        let budget = budget(&stub, &clock);
        assert_eq!([take(&budget).await, take(&budget).await, take(&budget).await], [true, true, false]);
        clock.advance(SECOND);
        assert_eq!([take(&budget).await, take(&budget).await], [true, false], "{kind:?}");
        stub.becomes(None);
        assert!(take(&budget).await, "the backend decides as soon as it answers");
    }
}

#[tokio::test]
async fn successes_travel_with_the_next_taking() {
    let (stub, clock) = (Stub::fails(None), clock());
    let budget = budget(&stub, &clock);
    budget.succeeded();
    budget.succeeded();
    assert_eq!(stub.asked(), []);
    take(&budget).await;
    take(&budget).await;
    assert_eq!(stub.asked(), [(1_000, TOKEN), (0, TOKEN)]);
}

#[tokio::test(flavor = "current_thread")]
async fn successes_alone_are_sent_once_per_second() {
    let (stub, clock) = (Stub::fails(None), clock());
    let budget = budget(&stub, &clock);
    for _ in 0..1_000 {
        budget.succeeded();
    }
    // The sending task runs up to its pause, and again after the second has passed.
    tokio::task::yield_now().await;
    assert_eq!(stub.asked(), []);
    clock.advance(SECOND);
    tokio::task::yield_now().await;
    assert_eq!(stub.asked(), [(2_000, 0)], "never more than the capacity");
    clock.advance(SECOND);
    tokio::task::yield_now().await;
    assert_eq!(stub.asked(), []);
}

#[tokio::test]
async fn successes_that_were_not_sent_are_sent_later() {
    for (kind, again) in [
        (ErrorKind::Connection, 500),
        (ErrorKind::Server, 500),
        (ErrorKind::IncompatibleFormat, 500),
        // It may have been credited.
        (ErrorKind::Timeout, 0),
    ] {
        let (stub, clock) = (Stub::fails(Some(kind)), clock());
        let budget = budget(&stub, &clock);
        budget.succeeded();
        take(&budget).await;
        stub.becomes(None);
        take(&budget).await;
        assert_eq!(stub.asked(), [(500, TOKEN), (again, TOKEN)], "{kind:?}");
    }
}

#[test]
fn successes_are_sent_on_the_next_runtime_when_the_one_that_should_have_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (stub, clock) = (Stub::fails(None), clock());
    let budget = budget(&stub, &clock);
    let first = runtime();
    first.block_on(async { budget.succeeded() });
    drop(first);
    runtime().block_on(async {
        budget.succeeded();
        tokio::task::yield_now().await;
        clock.advance(SECOND);
        tokio::task::yield_now().await;
    });
    assert_eq!(stub.asked(), [(1_000, 0)]);
}

#[test]
fn a_budget_of_the_process_is_credited_by_successes_up_to_its_capacity() {
    let budget = RetryBudget::builder().capacity(1).per_second(0.0).per_success(0.25).build().unwrap();
    let take = || matches!(budget.take(), Taking::Decided(true));
    assert_eq!([take(), take()], [true, false]);
    (0..3).for_each(|_| budget.succeeded());
    assert!(!take());
    budget.succeeded();
    assert_eq!([take(), take()], [true, false]);
    (0..100).for_each(|_| budget.clone().succeeded());
    assert_eq!([take(), take()], [true, false]);
}

#[test]
fn values_out_of_range_are_refused_with_the_value() {
    let build = RetryBudget::builder;
    let cases = [
        (build().capacity(0), "capacity must be 1..=1000000 tokens, but is 0"),
        (build().capacity(1_000_001), "but is 1000001"),
        (build().per_second(f64::NAN), "per_second must be 0..=1000000, but is NaN"),
        (build().per_second(-1.0), "but is -1"),
        (build().per_success(1.1), "per_success must be 0..=1, but is 1.1"),
        (build().per_success(f64::INFINITY), "but is inf"),
        (Tidelock::in_process().retry_budget(""), "id must be 1..=256 bytes, but is empty"),
        (Tidelock::in_process().tenant("a\0b").retry_budget("x"), "tenant must not contain NUL"),
    ];
    for (builder, expected) in cases {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
        assert!(error.to_string().contains(expected), "{error} does not contain {expected}");
    }
    let most = build().capacity(1_000_000).per_second(1_000_000.0).per_success(1.0).build().unwrap();
    assert_eq!(most.shared.numbers, Numbers { capacity: 1_000_000_000, rate: 1_000_000_000_000 });
    assert!(build().capacity(1).per_second(0.0).per_success(0.0).build().is_ok());
}
