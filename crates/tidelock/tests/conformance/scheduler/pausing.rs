//! Pauses of schedules.

use super::*;
use tidelock::Changed;
use tidelock::scheduler::ScheduleState;

conformance!(the_slots_of_a_pause_are_never_run, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::every(10 * SECOND)).misfire(Misfire::CatchUpAll)).await.unwrap();
    start(&scheduler).await;
    assert_eq!(scheduler.pause("s").reason("holidays").await.unwrap(), Changed::Yes);
    assert_eq!(scheduler.pause("s").reason("holidays").await.unwrap(), Changed::No);
    assert_eq!(scheduler.pause("absent").await.unwrap(), Changed::Absent);
    match info(&scheduler, "s").await.state {
        ScheduleState::Paused { reason, since, until } => {
            assert_eq!((reason.as_deref(), since, until), (Some("holidays"), START, None));
        }
        other => panic!("{other:?}"),
    }
    clock.advance(35 * SECOND);
    assert!(matches!(scheduler.trigger_now("s").await.unwrap(), Triggered::Submitted { .. }), "triggers work on");
    ran(&scheduler, &noted, 1).await;
    scheduler.register("s", note(Schedule::every(10 * SECOND)).misfire(Misfire::CatchUpOne)).await.unwrap();
    assert!(matches!(info(&scheduler, "s").await.state, ScheduleState::Paused { .. }), "an update does not end it");
    assert_eq!(scheduler.resume("s").await.unwrap(), Changed::Yes);
    assert_eq!(scheduler.resume("s").await.unwrap(), Changed::No);
    assert_eq!(info(&scheduler, "s").await.next, Some(START + 40 * SECOND));
    clock.advance(5 * SECOND);
    ran(&scheduler, &noted, 2).await;
    settled(&scheduler).await;
    assert_eq!(noted.all()[1].slot, START + 40 * SECOND);
    let history = serde_json::to_value(scheduler.history("s").await.unwrap()).unwrap().to_string();
    assert!(history.contains("\"paused\"") && history.contains("\"count\":3"), "{history}");
    stop(&scheduler).await;
});

conformance!(a_pause_that_ends_by_itself_goes_on_with_the_first_slot_after_it, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::every(10 * SECOND)).misfire(Misfire::CatchUpAll)).await.unwrap();
    start(&scheduler).await;
    scheduler.pause("s").for_at_most(25 * SECOND).await.unwrap();
    clock.advance(25 * SECOND);
    until(async || info(&scheduler, "s").await.state == ScheduleState::Active).await;
    assert_eq!(info(&scheduler, "s").await.next, Some(START + 30 * SECOND));
    clock.advance(5 * SECOND);
    ran(&scheduler, &noted, 1).await;
    assert_eq!(noted.since_start(), [30 * SECOND]);
    stop(&scheduler).await;
});

conformance!(a_timing_that_came_after_the_end_of_a_pause_decides_alone, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::every(10 * SECOND)).misfire(Misfire::CatchUpAll)).await.unwrap();
    scheduler.pause("s").for_at_most(25 * SECOND).await.unwrap();
    clock.advance(65 * SECOND);
    scheduler.register("s", note(Schedule::every(20 * SECOND)).misfire(Misfire::CatchUpAll)).await.unwrap();
    assert_eq!(info(&scheduler, "s").await.next, Some(START + 80 * SECOND));
    start(&scheduler).await;
    until(async || info(&scheduler, "s").await.state == ScheduleState::Active).await;
    assert_eq!(info(&scheduler, "s").await.next, Some(START + 80 * SECOND), "older slots were dropped");
    clock.advance(15 * SECOND);
    ran(&scheduler, &noted, 1).await;
    settled(&scheduler).await;
    assert_eq!(noted.since_start(), [80 * SECOND]);
    stop(&scheduler).await;
});

conformance!(a_pause_that_is_over_is_over_for_everybody, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    for id in ["resumed", "paused"] {
        scheduler.register(id, note(Schedule::every(10 * SECOND)).misfire(Misfire::CatchUpAll)).await.unwrap();
        assert_eq!(scheduler.pause(id).for_at_most(25 * SECOND).reason("deploy").await.unwrap(), Changed::Yes);
    }
    clock.advance(24 * SECOND);
    assert_eq!(scheduler.pause("paused").for_at_most(SECOND).reason("again").await.unwrap(), Changed::Yes);
    let since = async || match info(&scheduler, "paused").await.state {
        ScheduleState::Paused { since, .. } => since,
        other => panic!("{other:?}"),
    };
    assert_eq!(since().await, START, "it is the same pause");
    clock.advance(21 * SECOND);
    assert_eq!(scheduler.resume("resumed").await.unwrap(), Changed::No);
    assert_eq!(scheduler.pause("paused").reason("again").await.unwrap(), Changed::Yes);
    assert_eq!(since().await, clock.now(), "it is another one");
    start(&scheduler).await;
    ran(&scheduler, &noted, 2).await;
    let mut slots = noted.all();
    slots.sort_by_key(|slot| slot.run);
    let slots: Vec<_> = slots.iter().map(|slot| (slot.schedule.as_str(), slot.slot.since(START))).collect();
    assert_eq!(slots, [("resumed", 30 * SECOND), ("resumed", 40 * SECOND)], "what was behind its end is judged");
    stop(&scheduler).await;
});
