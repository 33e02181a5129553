//! Slots that are on time, and slots that are not.

use super::*;

conformance!(each_slot_runs_once_under_each_policy, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    for (index, misfire) in [Misfire::Skip, Misfire::CatchUpOne, Misfire::CatchUpAll].into_iter().enumerate() {
        let noted = Noted::default();
        let scheduler = noted.scheduler(&tide.tenant(&format!("t{index}")));
        let begin = clock.now();
        scheduler.register("ten", note(Schedule::cron("*/10 * * * * *").misfire(misfire))).await.unwrap();
        start(&scheduler).await;
        for count in 1..=20 {
            clock.advance(10 * SECOND);
            ran(&scheduler, &noted, count).await;
        }
        let slots = noted.all();
        for (count, slot) in (1..).zip(&slots) {
            assert_eq!((slot.slot, slot.run), (begin + count * 10 * SECOND, u64::from(count)));
            assert_eq!((&slot.trigger, slot.missed, slot.due), (&Trigger::OnTime, 0, slot.slot));
            assert_eq!((slot.scheduler.as_str(), slot.schedule.as_str()), ("platform", "ten"));
        }
        stop(&scheduler).await;
    }
});

/// Slots every five minutes, no leader from 07:02 on, at most ten caught up: contract 5.4.
async fn back_at(world: &mut World, seconds: u32, misfire: Misfire) -> Vec<Slot> {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.builder(&world.open().await).max_submits_per_tick(1).build().unwrap();
    clock.set(START + 7 * HOUR + 2 * MINUTE);
    let mut schedule = note(Schedule::cron("*/5 * * * *").misfire(misfire));
    if misfire == Misfire::CatchUpAll {
        schedule = schedule.max_catch_up_runs(10);
    }
    scheduler.register("s", schedule).await.unwrap();
    clock.set(START + 10 * HOUR + seconds * SECOND);
    start(&scheduler).await;
    settled(&scheduler).await;
    until(async || info(&scheduler, "s").await.planned == 0).await;
    let run = info(&scheduler, "s").await.run;
    ran(&scheduler, &noted, usize::try_from(run).unwrap()).await;
    stop(&scheduler).await;
    let mut slots = noted.all();
    // Handlers of one instance run concurrently.
    slots.sort_by_key(|slot| slot.run);
    slots
}

fn minutes(slots: &[Slot]) -> Vec<u64> {
    slots.iter().map(|slot| slot.slot.since(START).as_secs() / 60).collect()
}

conformance!(skip_runs_none_of_the_missed, async |mut world: World| {
    assert!(back_at(&mut world, 120, Misfire::Skip).await.is_empty());
});

conformance!(skip_runs_what_is_on_time, async |mut world: World| {
    let slots = back_at(&mut world, 20, Misfire::Skip).await;
    assert_eq!((minutes(&slots), slots[0].missed, &slots[0].trigger), (vec![600], 35, &Trigger::OnTime));
});

conformance!(catch_up_one_runs_the_latest, async |mut world: World| {
    let slots = back_at(&mut world, 120, Misfire::CatchUpOne).await;
    assert_eq!((minutes(&slots), slots[0].missed, &slots[0].trigger), (vec![600], 35, &Trigger::CatchUp));
});

conformance!(catch_up_one_runs_none_beside_one_on_time, async |mut world: World| {
    let slots = back_at(&mut world, 20, Misfire::CatchUpOne).await;
    assert_eq!((minutes(&slots), slots[0].missed, &slots[0].trigger), (vec![600], 35, &Trigger::OnTime));
});

conformance!(catch_up_all_runs_the_latest_ten, async |mut world: World| {
    let slots = back_at(&mut world, 120, Misfire::CatchUpAll).await;
    let expected: Vec<_> = (0..10).map(|index| 555 + 5 * index).collect();
    assert_eq!((minutes(&slots), slots[0].missed), (expected, 26));
    assert!(slots[1..].iter().all(|slot| slot.missed == 0));
    assert_eq!(slots.iter().map(|slot| slot.run).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
});

conformance!(catch_up_all_runs_ten_and_the_one_on_time, async |mut world: World| {
    let slots = back_at(&mut world, 20, Misfire::CatchUpAll).await;
    let expected: Vec<_> = (0..11).map(|index| 550 + 5 * index).collect();
    assert_eq!((minutes(&slots), slots[0].missed), (expected, 25));
    assert_eq!(slots[10].trigger, Trigger::OnTime);
});

conformance!(without_tolerance_every_late_slot_is_missed, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    let schedule = |tolerance| note(Schedule::every(10 * SECOND)).tolerance(tolerance);
    scheduler.register("strict", schedule(Duration::ZERO)).await.unwrap();
    scheduler.register("mild", schedule(2 * SECOND)).await.unwrap();
    clock.advance(11 * SECOND);
    start(&scheduler).await;
    ran(&scheduler, &noted, 1).await;
    settled(&scheduler).await;
    clock.set(START + 20 * SECOND);
    ran(&scheduler, &noted, 3).await;
    let mut slots: Vec<_> =
        noted.all().iter().map(|slot| (slot.slot.since(START).as_secs(), slot.schedule.clone())).collect();
    slots.sort();
    assert_eq!(slots, [(10, "mild".to_owned()), (20, "mild".to_owned()), (20, "strict".to_owned())]);
    stop(&scheduler).await;
});

conformance!(jitter_moves_the_due_time_and_not_the_slot, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::every(100 * SECOND)).jitter(HOUR)).await.unwrap();
    let before = info(&scheduler, "s").await;
    let (slot, due) = (before.next.unwrap(), before.next_due.unwrap());
    assert!(due >= slot && due < slot + 100 * SECOND, "before the next slot: {slot} {due}");
    start(&scheduler).await;
    clock.set(Timestamp::from_millis(due.as_millis() - 1));
    settled(&scheduler).await;
    assert_eq!(noted.len(), 0);
    clock.set(due);
    ran(&scheduler, &noted, 1).await;
    assert_eq!((noted.all()[0].slot, noted.all()[0].due), (slot, due));
    stop(&scheduler).await;
});

conformance!(a_clock_that_jumps_hours_runs_what_the_policy_says, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (scheduler, job) = (plain(&tide), mail(&tide));
    let schedule = Schedule::cron("*/10 * * * *").misfire(Misfire::CatchUpOne).job(&job, &"text".to_owned());
    scheduler.register("s", schedule).await.unwrap();
    start(&scheduler).await;
    let submitted = async |count| until(async || job.stats().await.unwrap().totals.submitted == count).await;
    clock.set(START + 5 * HOUR + 5 * MINUTE);
    submitted(1).await;
    settled(&scheduler).await;
    clock.set(START + HOUR);
    settled(&scheduler).await;
    clock.set(START + 5 * HOUR + 10 * MINUTE);
    submitted(2).await;
    settled(&scheduler).await;
    stop(&scheduler).await;
    assert_eq!(job.stats().await.unwrap().totals.submitted, 2, "each slot once, forwards and backwards");
    let last = info(&scheduler, "s").await;
    assert_eq!((last.last.unwrap().slot, last.run), (START + 5 * HOUR + 10 * MINUTE, 2));
});
