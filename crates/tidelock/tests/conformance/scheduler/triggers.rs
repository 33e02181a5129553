//! Runs on request.

use super::*;
use tidelock::scheduler::Rejected;

conformance!(a_trigger_runs_without_any_started_instance, async |mut world: World| {
    let _clock = world.pin();
    let tide = world.open().await;
    let (scheduler, job) = (plain(&tide), mail(&tide));
    scheduler.register("s", Schedule::every(HOUR).job(&job, &"text".to_owned())).await.unwrap();
    let Triggered::Submitted { id, duplicate: false } = scheduler.trigger_now("s").await.unwrap() else {
        panic!("it is there")
    };
    let before = info(&scheduler, "s").await;
    assert_eq!((before.next, before.run), (Some(START + HOUR), 1), "the next slot is not touched");
    let worker = job.process(async |run, text: String| {
        let slot = run.slot().unwrap();
        assert_eq!((&slot.trigger, slot.slot, slot.due), (&Trigger::Manual { key: None }, START, START));
        Ok(text)
    });
    let worker = worker.spawn();
    assert!(matches!(within(job.join(id)).await.unwrap(), tidelock::job::Joined::Completed(_)));
    within(worker.shutdown(SECOND)).await;
    assert_eq!(scheduler.trigger_now("absent").await.unwrap(), Triggered::Rejected(Rejected::MissingSchedule));
});

conformance!(one_key_from_many_callers_is_one_run, async |world: World| {
    let tides = [world.open().await, world.open().await];
    let scheduler = plain(&tides[0]);
    scheduler.register("s", Schedule::every(HOUR).job(&mail(&tides[0]), &"text".to_owned())).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..10 {
        let scheduler = plain(&tides[number % 2]);
        tasks.spawn(async move { scheduler.trigger_now("s").key("k").await.unwrap() });
    }
    let mut fresh = 0;
    let mut ids = std::collections::HashSet::new();
    for triggered in tasks.join_all().await {
        let Triggered::Submitted { id, duplicate } = triggered else { panic!("{triggered:?}") };
        fresh += usize::from(!duplicate);
        ids.insert(id);
    }
    assert_eq!(ids.len(), 1);
    assert!(fresh >= 1, "somebody was first");
    assert_eq!(mail(&tides[0]).stats().await.unwrap().totals.submitted, 1);
});

conformance!(triggers_and_slots_share_the_run_numbers, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::every(10 * SECOND))).await.unwrap();
    start(&scheduler).await;
    for round in 1..=3 {
        assert!(matches!(scheduler.trigger_now("s").await.unwrap(), Triggered::Submitted { duplicate: false, .. }));
        ran(&scheduler, &noted, 2 * round - 1).await;
        clock.advance(10 * SECOND);
        ran(&scheduler, &noted, 2 * round).await;
    }
    assert_eq!(noted.runs(), [1, 2, 3, 4, 5, 6]);
    stop(&scheduler).await;
});

conformance!(a_key_is_remembered_for_the_slot_memory_from_its_last_use, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let scheduler = tide.scheduler("platform").slot_memory(MINUTE).build().unwrap();
    scheduler.register("s", Schedule::every(HOUR).job(&mail(&tide), &"text".to_owned())).await.unwrap();
    for (after, is_known) in [(Duration::ZERO, false), (59 * SECOND, true), (59 * SECOND, true), (MINUTE, false)] {
        clock.advance(after);
        match scheduler.trigger_now("s").key("k").await.unwrap() {
            Triggered::Submitted { duplicate, .. } => assert_eq!(duplicate, is_known, "{after:?} later"),
            other => panic!("{other:?}"),
        }
    }
});
