//! A backend whose clock jumps by hours, forwards and backwards, while schedules are in flight.

use super::*;
use std::collections::BTreeSet;

/// The instant this many seconds after the start; before it if negative.
fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis().saturating_add_signed(seconds * 1_000))
}

const HOUR_S: i64 = 3_600;

conformance!(a_clock_that_goes_back_runs_no_slot_again_and_loses_none, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::every(10 * MINUTE)).misfire(Misfire::CatchUpAll)).await.unwrap();
    start(&scheduler).await;
    // Three hours forwards, eight back, and then as far as before plus 20 minutes.
    clock.set(second(3 * HOUR_S));
    ran(&scheduler, &noted, 18).await;
    for back in [-HOUR_S * 5, 0, HOUR_S, HOUR_S * 3] {
        clock.set(second(back));
        settled(&scheduler).await;
        let info = info(&scheduler, "s").await;
        assert_eq!((info.next, info.run, noted.len()), (Some(second(3 * HOUR_S + 600)), 18, 18), "at {back}");
    }
    for count in 19..=20 {
        clock.advance(10 * MINUTE);
        ran(&scheduler, &noted, count).await;
    }
    stop(&scheduler).await;
    let slots: BTreeSet<_> = noted.since_start().into_iter().collect();
    assert!(slots.into_iter().eq((1..=20).map(|count| count * 10 * MINUTE)));
    assert_eq!(noted.runs().into_iter().collect::<BTreeSet<_>>(), (1..=20).collect());
});

conformance!(what_is_registered_after_the_clock_went_back_counts_from_there, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("old", note(Schedule::every(HOUR))).await.unwrap();
    start(&scheduler).await;
    clock.set(second(6 * HOUR_S));
    ran(&scheduler, &noted, 1).await;
    settled(&scheduler).await;
    clock.set(second(0));
    scheduler.register("new", note(Schedule::every(HOUR))).await.unwrap();
    scheduler.register("old", note(Schedule::every(20 * MINUTE))).await.unwrap();
    let next = async |id| info(&scheduler, id).await.next.unwrap().since(START);
    assert_eq!((next("new").await, next("old").await), (HOUR, 20 * MINUTE), "other timing: from now on");
    for (minutes, count) in [(20, 2), (40, 3), (60, 5)] {
        clock.set(second(minutes * 60));
        ran(&scheduler, &noted, count).await;
    }
    stop(&scheduler).await;
    let old: Vec<_> = noted.all().into_iter().filter(|slot| slot.schedule == "old").collect();
    assert_eq!(old.iter().map(|slot| slot.run).collect::<BTreeSet<_>>(), (1..=4).collect(), "no number comes twice");
});

/// A schedule of the random test, with slots at the multiples of its period from the start on.
struct Planned {
    id: String,
    period: Duration,
    /// Each slot is run, and no run is ended by crashes.
    complete: bool,
}

/// Schedules with several periods and each policy, with both kinds of target.
async fn register_all(scheduler: &Scheduler, job: &Job<String, String>) -> Vec<Planned> {
    let mut planned = Vec::new();
    for misfire in [Misfire::Skip, Misfire::CatchUpOne, Misfire::CatchUpAll] {
        for (minutes, is_cron) in [(7, false), (10, true), (30, true), (60, false)] {
            let (id, period) = (format!("{misfire:?}-{minutes}"), minutes * MINUTE);
            let offset = START.as_millis() % (u64::from(minutes) * 60_000);
            let schedule = if is_cron {
                Schedule::cron(&format!("*/{minutes} * * * *")).tz("Asia/Tokyo")
            } else {
                Schedule::every(period).offset(Duration::from_millis(offset))
            };
            let (schedule, complete) = (schedule.misfire(misfire), misfire == Misfire::CatchUpAll);
            let schedule = if complete { schedule.max_catch_up_runs(10_000) } else { schedule };
            let schedule = if complete || is_cron { schedule.job(job, &id) } else { note(schedule) };
            scheduler.register(&id, schedule).await.unwrap();
            planned.push(Planned { id, period, complete });
        }
    }
    planned
}

/// Checks the slots of one schedule that were run: no slot and no number twice, both in the same order, and if none may
/// be missed, every slot up to `furthest`. Returns their number.
fn check(Planned { id, period, complete }: &Planned, noted: &[Slot], furthest: Timestamp) -> u64 {
    let of_schedule = noted.iter().filter(|slot| slot.schedule == *id);
    let slots: BTreeSet<_> = of_schedule.map(|slot| (slot.run, slot.slot.since(START))).collect();
    let (runs, instants): (Vec<_>, Vec<_>) = slots.iter().copied().unzip();
    assert!(runs.is_sorted_by(|one, other| one < other), "{id}: {slots:?}");
    assert!(instants.is_sorted_by(|one, other| one < other), "{id}: {slots:?}");
    if *complete {
        assert!(runs.iter().copied().eq(1..=runs.len() as u64), "{id}: {slots:?}");
        let all = (1..).map(|count| count * *period).take_while(|slot| START + *slot <= furthest);
        assert!(instants.iter().copied().eq(all), "{id} up to {:?}: {slots:?}", furthest.since(START));
    }
    slots.len() as u64
}

conformance!(a_clock_that_jumps_at_random_runs_no_slot_twice, async |mut world: World| {
    let clock = world.pin();
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (noted, tide) = (Noted::default(), world.open().await);
    let instance = |tide: &Tidelock| noted.builder(tide).lease(MINUTE).build().unwrap();
    let schedulers = [instance(&tide), instance(&world.open().await)];
    let job: Job<String, String> = tide.job("mail").lease(MINUTE).max_crashes(1_000).build().unwrap();
    let planned = register_all(&schedulers[0], &job).await;
    let worker = job.process_with(noted.clone(), async |noted, run, text| {
        noted.0.lock().unwrap().push(run.slot().cloned().ok_or("a run of a schedule knows its slot")?);
        Ok(text)
    });
    let worker = worker.concurrency(8).spawn();
    for scheduler in &schedulers {
        within(scheduler.start()).await.unwrap();
    }
    let mut furthest = START + HOUR;
    for _ in 0..crate::harness::scale(300) {
        let now = clock.now().as_millis();
        let on = random.u8(..5) < 3;
        clock.set(Timestamp::from_millis(if on {
            now + random.u64(1..4 * 3_600_000)
        } else {
            now - random.u64(1..3 * 3_600_000)
        }));
        furthest = furthest.max(clock.now());
        for _ in 0..random.usize(..200) {
            tokio::task::yield_now().await;
        }
    }
    clock.set(furthest);
    let runs = schedulers[0].runs("note");
    let over = async || {
        let of = [job.stats().await.unwrap().totals, runs.stats().await.unwrap().totals];
        let listed = schedulers[0].list().await.unwrap().items;
        let open: usize = listed.iter().map(|info| info.planned).sum();
        open == 0
            && schedulers[0].stats().await.unwrap().due_now == 0
            && of.iter().all(|totals| totals.completed + totals.failed == totals.submitted)
    };
    // If a claim was in flight when the time moved, its lease has to end first.
    advancing(&clock, 200 * MS, until(over)).await;
    until(over).await;
    for scheduler in &schedulers {
        stop(scheduler).await;
    }
    within(worker.shutdown(SECOND)).await;
    let count: u64 = planned.iter().map(|planned| check(planned, &noted.all(), clock.now())).sum();
    let [of_job, of_handler] = [job.stats().await.unwrap().totals, runs.stats().await.unwrap().totals];
    let submitted = of_job.submitted + of_handler.submitted;
    // A run whose claims were all lost may have been ended by its crashes before any handler saw it.
    assert!((submitted - of_handler.failed..=submitted).contains(&count), "{count}: {of_job:?} {of_handler:?}");
    assert_eq!(of_job.failed, 0, "{of_job:?}");
    let crashes = of_job.crashes + of_handler.crashes;
    eprintln!("{count} slots in {:?}, {crashes} crashes", clock.now().since(START));
});
