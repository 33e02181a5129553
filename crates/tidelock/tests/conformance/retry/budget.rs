//! Budgets of a process, and of a backend.

use std::io;

use futures_util::future::join_all;
use tidelock::{GaveUp, RetryBudget, RetryError, SECOND, Tidelock, retry};

use super::{ms, passed, policy, reset};
use crate::harness::World;
use crate::{conformance, paused};

/// How many of `calls` failing calls were allowed their one retry.
pub(super) async fn retried(tide: &Tidelock, budget: &RetryBudget, calls: usize) -> usize {
    let once = policy(|build| build.attempts(2).min_delay(ms(0)));
    let call = || tide.retry(async |_| Err::<(), _>(reset())).policy(once).budget(budget);
    let outcomes = join_all((0..calls).map(|_| call().into_future())).await;
    count_retried(outcomes.into_iter().map(Result::unwrap_err))
}

fn count_retried(failed: impl Iterator<Item = RetryError<io::Error>>) -> usize {
    let allowed = |failed: RetryError<_>| match (failed.reason, failed.attempts) {
        (GaveUp::Attempts, 2) => true,
        (GaveUp::Budget, 1) => false,
        other => panic!("neither retried nor refused: {other:?}"),
    };
    failed.map(allowed).filter(|allowed| *allowed).count()
}

async fn succeed(tide: &Tidelock, budget: &RetryBudget, calls: usize) {
    for _ in 0..calls {
        assert_eq!(tide.retry(async |_| Ok::<_, io::Error>(7)).budget(budget).await.unwrap(), 7);
    }
}

paused!(a_thousand_calls_that_fail_at_once_get_the_budget_and_then_its_rate, async || {
    let budget = RetryBudget::builder().capacity(100).per_second(10.0).build().unwrap();
    let long = policy(|build| build.attempts(2).min_delay(10 * SECOND).max_delay(10 * SECOND));
    let failing = async |calls: usize| {
        let call = || retry(async |_| Err::<(), _>(reset())).policy(long).budget(&budget);
        let outcomes = join_all((0..calls).map(|_| call().into_future())).await;
        count_retried(outcomes.into_iter().map(Result::unwrap_err))
    };
    // All of them are in their pauses of 10 s when the second wave comes 1 s later.
    let second = async {
        passed(SECOND).await;
        failing(1_000).await
    };
    assert_eq!(tokio::join!(failing(1_000), second), (100, 10));
    let first = retry(async |_| Ok::<_, io::Error>(())).budget(&budget);
    first.await.expect("a first attempt takes nothing");
});

conformance!(a_budget_of_the_backend_is_shared_by_all_processes, async |mut world: World| {
    let clock = world.pin();
    let (a, b) = (world.open().await, world.open().await);
    let build = |tide: &Tidelock| tide.retry_budget("payments").capacity(20).per_second(10.0).build().unwrap();
    let (budget_a, budget_b) = (build(&a), build(&b));
    let (first, second) = tokio::join!(retried(&a, &budget_a, 50), retried(&b, &budget_b, 50));
    assert_eq!(first + second, 20);
    succeed(&a, &budget_a, 1).await;
    clock.advance(SECOND);
    let (first, second) = tokio::join!(retried(&a, &budget_a, 50), retried(&b, &budget_b, 50));
    assert_eq!(first + second, 10);
});

conformance!(successes_of_one_process_pay_retries_of_another, async |mut world: World| {
    world.pin();
    let (a, b) = (world.open().await, world.open().await);
    let build =
        |tide: &Tidelock| tide.retry_budget("payments").capacity(3).per_second(0.0).per_success(0.5).build().unwrap();
    let (budget_a, budget_b) = (build(&a), build(&b));
    assert_eq!(retried(&a, &budget_a, 5).await, 3);
    succeed(&b, &budget_b, 5).await;
    // The earned 2.5 tokens are sent with this take; the half is kept.
    assert_eq!(retried(&b, &budget_b, 1).await, 1);
    assert_eq!(retried(&a, &budget_a, 5).await, 1);
    succeed(&b, &budget_b, 1).await;
    assert_eq!(retried(&b, &budget_b, 5).await, 1);
});

conformance!(budgets_differ_by_tenant_and_id, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    for (tenant, id) in [("default", "a"), ("default", "b"), ("acme", "a"), ("acme", "b:{}/%")] {
        let tide = tide.tenant(tenant);
        let budget = tide.retry_budget(id).capacity(2).per_second(0.0).build().unwrap();
        assert_eq!(retried(&tide, &budget, 5).await, 2, "{tenant}, {id}");
    }
});

conformance!(a_budget_is_forgotten_a_day_after_its_last_use, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let budget = tide.retry_budget("payments").capacity(2).per_second(0.0).build().unwrap();
    assert_eq!(retried(&tide, &budget, 5).await, 2);
    clock.advance(ms(86_399_999));
    assert_eq!(retried(&tide, &budget, 5).await, 0);
    clock.advance(ms(1));
    assert_eq!(retried(&tide, &budget, 5).await, 2);
});
