//! Overlapping runs of one schedule.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidelock::scheduler::Overlap;
use tokio::sync::Semaphore;

/// Jobs whose runs wait until they are let go; never two at once, unless `most` says so.
#[derive(Clone)]
struct Slow {
    let_go: Arc<Semaphore>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    slots: Arc<Mutex<Vec<u64>>>,
}

impl Slow {
    fn new() -> Self {
        let (running, most, slots) = Default::default();
        Self { let_go: Arc::new(Semaphore::new(0)), running, most, slots }
    }

    fn work(&self, job: &Job<String, String>) -> tidelock::job::RunningJobWorker {
        let worker = job.process_with(self.clone(), async |slow, run, text| {
            slow.most.fetch_max(slow.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            slow.slots.lock().unwrap().push(run.slot().unwrap().slot.since(START).as_secs());
            slow.let_go.acquire().await.unwrap().forget();
            slow.running.fetch_sub(1, Ordering::SeqCst);
            Ok(text)
        });
        worker.concurrency(8).spawn()
    }

    fn started(&self) -> usize {
        self.slots.lock().unwrap().len()
    }
}

conformance!(skip_leaves_out_what_meets_an_earlier_run, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (scheduler, job, slow) = (plain(&tide), mail(&tide), Slow::new());
    let schedule = Schedule::every(10 * SECOND).job(&job, &"text".to_owned()).overlap(Overlap::Skip);
    scheduler.register("s", schedule).await.unwrap();
    start(&scheduler).await;
    let worker = slow.work(&job);
    clock.advance(10 * SECOND);
    until(async || slow.started() == 1).await;
    clock.advance(10 * SECOND);
    until(async || scheduler.metrics().overlapped == 1).await;
    assert!(matches!(scheduler.trigger_now("s").await.unwrap(), Triggered::Overlapping { .. }));
    slow.let_go.add_permits(1);
    until(async || job.stats().await.unwrap().completed == 1).await;
    clock.advance(10 * SECOND);
    until(async || slow.started() == 2).await;
    assert_eq!((slow.slots.lock().unwrap().clone(), slow.most.load(Ordering::SeqCst)), (vec![10, 30], 1));
    slow.let_go.add_permits(8);
    stop(&scheduler).await;
    within(worker.shutdown(MINUTE)).await;
});

conformance!(queue_runs_one_at_a_time_in_the_order_of_the_slots, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (scheduler, job, slow) = (plain(&tide), mail(&tide), Slow::new());
    let schedule = Schedule::every(10 * SECOND).job(&job, &"text".to_owned()).overlap(Overlap::Queue).max_queued(2);
    scheduler.register("s", schedule).await.unwrap();
    start(&scheduler).await;
    let worker = slow.work(&job);
    for slot in 1..=5 {
        clock.advance(10 * SECOND);
        until(async || {
            let metrics = scheduler.metrics();
            metrics.dispatch_submitted + metrics.overlapped == slot
        })
        .await;
        if slot == 1 {
            until(async || slow.started() == 1).await;
        }
    }
    assert_eq!(scheduler.metrics().overlapped, 2, "two wait, so two were left out");
    for started in 2..=3 {
        slow.let_go.add_permits(1);
        until(async || slow.started() == started).await;
    }
    assert_eq!((slow.slots.lock().unwrap().clone(), slow.most.load(Ordering::SeqCst)), (vec![10, 20, 30], 1));
    slow.let_go.add_permits(8);
    stop(&scheduler).await;
    within(worker.shutdown(MINUTE)).await;
});

conformance!(allow_runs_them_beside_each_other, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (scheduler, job, slow) = (plain(&tide), mail(&tide), Slow::new());
    scheduler.register("s", Schedule::every(10 * SECOND).job(&job, &"text".to_owned())).await.unwrap();
    start(&scheduler).await;
    let worker = slow.work(&job);
    for started in 1..=3 {
        clock.advance(10 * SECOND);
        until(async || slow.started() == started).await;
    }
    assert_eq!(slow.most.load(Ordering::SeqCst), 3);
    slow.let_go.add_permits(8);
    stop(&scheduler).await;
    within(worker.shutdown(MINUTE)).await;
});

conformance!(two_schedulers_with_one_job_do_not_meet, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job = mail(&tide);
    let schedulers = ["a", "b"].map(|name| tide.scheduler(name).build().unwrap());
    for scheduler in &schedulers {
        scheduler.register("s", Schedule::every(10 * SECOND).job(&job, &"text".to_owned())).await.unwrap();
        start(scheduler).await;
    }
    clock.advance(10 * SECOND);
    until(async || job.stats().await.unwrap().ready == 2).await;
    for scheduler in &schedulers {
        stop(scheduler).await;
    }
});
