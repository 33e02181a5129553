//! The options of a scheduler, each where it makes a difference.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test]
async fn heartbeat_and_tick_say_when_the_leader_asks() {
    let bench = Bench::new();
    let rare = bench.builder().lease(9 * SECOND).heartbeat(2 * SECOND).tick(MINUTE).build().unwrap();
    let often = rare.tenant("other");
    let often = bench.tide.tenant("other").scheduler(often.id()).lease(9 * SECOND).heartbeat(3 * SECOND).tick(SECOND);
    let often = often.build().unwrap();
    for (scheduler, gap) in [(rare, 2_000), (often, 1_000)] {
        scheduler.start().await.unwrap();
        settle().await;
        let asked = scheduler.metrics().last_tick_at.unwrap();
        assert_eq!(asked, bench.clock.now());
        bench.clock.advance(ms(gap - 1));
        settle().await;
        assert_eq!(scheduler.metrics().last_tick_at, Some(asked), "not each {gap} ms");
        bench.clock.advance(ms(1));
        settle().await;
        assert_eq!(scheduler.metrics().last_tick_at, Some(asked + ms(gap)));
        scheduler.stop().await.unwrap();
    }
}

#[tokio::test]
async fn submits_are_repeated_so_often_and_so_far_apart() {
    let bench = Bench::new();
    let full = bench.tide.job::<(), ()>("full").max_depth(1).build().unwrap();
    let waiting = full.submit(&()).await.unwrap().id;
    let builder = bench.builder().submit_retries(2).submit_backoff(10 * SECOND, 10 * SECOND);
    let scheduler = builder.lease(MINUTE).build().unwrap();
    scheduler.register("full", Schedule::every(HOUR).job(&full, &())).await.unwrap();
    scheduler.start().await.unwrap();
    bench.clock.set(at(30));
    settle().await;
    for (after, failed, retried) in [(7_400, 0, 0), (2_600, 0, 0), (7_400, 0, 0), (2_600, 1, 2)] {
        bench.clock.advance(ms(after));
        settle().await;
        let metrics = scheduler.metrics();
        assert_eq!((metrics.dispatch_failed, metrics.dispatch_retried), (failed, retried));
    }
    // The second round: its first retry.
    bench.clock.advance(2 * SECOND);
    settle().await;
    full.remove(waiting).await.unwrap();
    bench.clock.advance(ms(7_400));
    settle().await;
    assert_eq!(scheduler.metrics().dispatch_submitted, 0);
    bench.clock.advance(ms(2_600));
    settle().await;
    let metrics = scheduler.metrics();
    assert_eq!((metrics.dispatch_submitted, metrics.dispatch_failed, metrics.dispatch_retried), (1, 1, 3));
    scheduler.stop().await.unwrap();
}

/// A scheduler with a handler that never ends, and the number of its runs that have begun.
fn endless(bench: &Bench, options: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> (Scheduler, Arc<AtomicUsize>) {
    let begun = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&begun);
    let builder = bench.tide.scheduler("endless").handler("endless", move |_, (): ()| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    (options(builder).build().unwrap(), begun)
}

#[tokio::test]
async fn so_many_handlers_run_at_once_and_have_so_long_to_end() {
    let bench = Bench::new();
    let (scheduler, begun) = endless(&bench, |builder| builder.handler_concurrency(2).stop_grace(2 * SECOND));
    scheduler.register("endless", Schedule::every(HOUR).handler("endless", &())).await.unwrap();
    scheduler.start().await.unwrap();
    for _ in 0..4 {
        scheduler.trigger_now("endless").await.unwrap();
        settle().await;
    }
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    let mut stopped = tokio::spawn({
        let scheduler = scheduler.clone();
        async move { scheduler.stop().await }
    });
    settle().await;
    bench.clock.advance(ms(1_999));
    settle().await;
    assert!(!stopped.is_finished());
    bench.clock.advance(ms(1));
    assert_eq!((&mut stopped).await.unwrap().unwrap(), StopReport { given_back: 2 });
}

#[tokio::test]
async fn slots_are_on_time_within_the_tolerance_of_the_scheduler() {
    let mut bench = Bench::new();
    let scheduler = bench.builder().tolerance(2 * SECOND).build().unwrap();
    scheduler.register("own", note(Schedule::every(MINUTE).tolerance(3 * SECOND))).await.unwrap();
    scheduler.register("plain", note(Schedule::every(MINUTE))).await.unwrap();
    bench.clock.set(at(32));
    scheduler.start().await.unwrap();
    assert_eq!(bench.next_run().await.schedule, "own");
    settle().await;
    bench.nothing_runs();
    assert_eq!(scheduler.metrics().missed, 1);
    scheduler.stop().await.unwrap();
}
