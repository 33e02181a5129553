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
    until(async || noted.len() == 1).await;
    scheduler.register("s", note(Schedule::every(10 * SECOND)).misfire(Misfire::CatchUpOne)).await.unwrap();
    assert!(matches!(info(&scheduler, "s").await.state, ScheduleState::Paused { .. }), "an update does not end it");
    assert_eq!(scheduler.resume("s").await.unwrap(), Changed::Yes);
    assert_eq!(scheduler.resume("s").await.unwrap(), Changed::No);
    assert_eq!(info(&scheduler, "s").await.next, Some(START + 40 * SECOND));
    clock.advance(5 * SECOND);
    until(async || noted.len() == 2).await;
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
    until(async || noted.len() == 1).await;
    assert_eq!(noted.since_start(), [30 * SECOND]);
    stop(&scheduler).await;
});
