//! Dispatches in flight or failed, while something else happens.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::*;
use crate::job::JobId;

/// A job that accepts one run at a time and already has one.
async fn full(bench: &Bench) -> (Job<(), ()>, JobId) {
    let full = bench.tide.job::<(), ()>("full").max_depth(1).build().unwrap();
    let waiting = full.submit(&()).await.unwrap().id;
    (full, waiting)
}

#[tokio::test]
async fn triggers_that_fail_hold_up_no_other() {
    let mut bench = Bench::new();
    let (full, _) = full(&bench).await;
    let scheduler = bench.builder().batch(2).submit_retries(0).build().unwrap();
    scheduler.register("full", Schedule::every(HOUR).job(&full, &())).await.unwrap();
    scheduler.register("note", note(Schedule::every(HOUR))).await.unwrap();
    scheduler.start().await.unwrap();
    for _ in 0..2 {
        assert!(scheduler.trigger_now("full").await.unwrap_err().is_retryable());
    }
    // The pauses between their rounds are at least one second, then two, then three.
    for after in [1_000, 1_250, 2_500] {
        bench.clock.advance(Duration::from_millis(after));
        settle().await;
    }
    assert_eq!(scheduler.metrics().trigger_failed, 2 + 6);
    let change = store::Change::Trigger { id: "note".into(), key: None, strict: true, memory: 60_000 };
    let accepted = scheduler.core.site.change("test", change).await.unwrap();
    assert!(matches!(accepted, store::Changes::Accepted(_)));
    bench.clock.advance(SECOND);
    settle().await;
    assert_eq!(bench.next_run().await.schedule, "note");
    assert_eq!(scheduler.metrics().trigger_failed, 2 + 6, "they are held back yet");
    scheduler.stop().await.unwrap();
}

#[tokio::test]
async fn judging_a_long_outage_gives_others_their_turn() {
    let bench = Bench::new();
    let scheduler = bench.scheduler();
    for number in 0..20 {
        let schedule = note(Schedule::every(SECOND).tolerance(Duration::ZERO));
        scheduler.register(&format!("each second {number}"), schedule).await.unwrap();
    }
    bench.clock.advance(10 * HOUR);
    // The progress, as seen between the desk's turns.
    let mut seen = std::collections::BTreeSet::new();
    let watch = async {
        while seen.last() != Some(&(20 * decide::COUNTED)) {
            tokio::task::yield_now().await;
            seen.insert(scheduler.metrics().missed);
        }
    };
    tokio::join!(scheduler.start(), watch).0.unwrap();
    // Some turns go to the desk alone, because work of its own has landed.
    assert!(seen.len() > 10, "what was judged is written before the others are: {seen:?}");
    scheduler.stop().await.unwrap();
}

#[tokio::test]
async fn dispatches_under_way_have_a_bound() {
    let mut bench = Bench::new();
    let (full, _) = full(&bench).await;
    let builder = bench.builder().submit_retries(1).submit_backoff(10 * SECOND, 10 * SECOND);
    let scheduler = builder.lease(MINUTE).build().unwrap();
    for number in 0..2_500 {
        let schedule = Schedule::every(HOUR).job(&full, &());
        scheduler.register(&format!("full {number}"), schedule).await.unwrap();
    }
    scheduler.register("note", note(Schedule::every(HOUR))).await.unwrap();
    scheduler.start().await.unwrap();
    bench.clock.set(at(30));
    settle().await;
    let mut decided = 0;
    let mut after = None;
    loop {
        let mut page = scheduler.list().limit(1_000);
        if let Some(after) = &after {
            page = page.after(after);
        }
        let page = page.await.unwrap();
        decided += page.items.iter().map(|info| info.planned).sum::<usize>();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(decided, 2_000, "all of them are tried, and no more is taken up");
    bench.nothing_runs();
    // Their rounds end, and others get their turn.
    bench.clock.advance(13 * SECOND);
    settle().await;
    assert_eq!(bench.next_run().await.schedule, "note");
    scheduler.stop().await.unwrap();
}

#[tokio::test]
async fn a_dispatch_under_way_ends_with_its_plan() {
    for unregister in [false, true] {
        let bench = Bench::new();
        let (full, waiting) = full(&bench).await;
        let scheduler = bench.scheduler();
        let schedule = || Schedule::every(MINUTE).misfire(Misfire::CatchUpAll).job(&full, &());
        scheduler.register("s", schedule()).await.unwrap();
        scheduler.start().await.unwrap();
        bench.clock.advance(MINUTE);
        settle().await;
        assert_eq!(scheduler.get("s").await.unwrap().unwrap().planned, 1, "it is tried");
        if unregister {
            assert!(scheduler.unregister("s").await.unwrap());
            scheduler.register("s", schedule()).await.unwrap();
        } else {
            assert_eq!(scheduler.pause("s").await.unwrap(), Changed::Yes);
        }
        full.remove(waiting).await.unwrap();
        for _ in 0..5 {
            bench.clock.advance(2 * SECOND);
            settle().await;
        }
        assert_eq!(full.stats().await.unwrap().totals.submitted, 1, "unregistered: {unregister}");
        let metrics = scheduler.metrics();
        assert_eq!((metrics.dispatch_submitted, metrics.dispatch_failed, metrics.dispatch_retried), (0, 0, 0));
        scheduler.stop().await.unwrap();
    }
}

#[tokio::test]
async fn dropping_a_run_that_is_being_started_stops_it() {
    let mut bench = Bench::new();
    let scheduler = bench.scheduler();
    scheduler.register("minute", note(Schedule::every(MINUTE))).await.unwrap();
    {
        let mut running = pin!(scheduler.run_until(std::future::pending()));
        poll_fn(|context| {
            assert!(running.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    settle().await;
    assert!(!scheduler.metrics().is_leader);
    bench.clock.advance(MINUTE);
    settle().await;
    bench.nothing_runs();
    // An instance that is told to stop before it began also ends.
    assert_eq!(scheduler.run_until(async {}).await.unwrap(), StopReport::default());
    let (started, stopped) = tokio::join!(scheduler.start(), scheduler.stop());
    assert!(started.is_ok() && stopped.is_ok());
    scheduler.start().await.unwrap();
    settle().await;
    assert!(scheduler.metrics().is_leader);
    scheduler.stop().await.unwrap();
}
