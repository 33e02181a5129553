//! Targets that do not accept a slot.

use super::*;
use tidelock::scheduler::ScheduleState;

conformance!(a_target_that_is_full_is_tried_again_and_then_given_up, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let tide = world.open().await;
    let full: Job<String, String> = tide.job("full").max_depth(1).build().unwrap();
    full.submit(&"fills".to_owned()).await.unwrap();
    // The leader's lease is longer than the steps of the pinned time.
    let builder = noted.builder(&tide).lease(300 * SECOND).submit_retries(0).max_dispatch_failures(2);
    let scheduler = builder.build().unwrap();
    scheduler.register("bad", Schedule::once(START + 10 * SECOND).job(&full, &"text".to_owned())).await.unwrap();
    scheduler.register("good", note(Schedule::every(10 * SECOND))).await.unwrap();
    start(&scheduler).await;
    clock.advance(10 * SECOND);
    ran(&scheduler, &noted, 1).await;
    until(async || matches!(info(&scheduler, "bad").await.state, ScheduleState::Failing { rounds: 1, .. })).await;
    let stats = scheduler.stats().await.unwrap();
    assert_eq!((stats.failing, stats.active), (1, 1));
    advancing(&clock, SECOND, until(async || scheduler.stats().await.unwrap().dead_letters == 1)).await;
    let letters = scheduler.dead_letters().list().await.unwrap().items;
    assert_eq!(
        (letters[0].schedule.as_str(), letters[0].slot, letters[0].rounds),
        ("bad", Some(START + 10 * SECOND), 2)
    );
    assert!(letters[0].error.contains("capacity"), "{}", letters[0].error);
    let page = full.list(tidelock::job::JobFilter::Ready).await.unwrap();
    full.remove(page.items[0].id).await.unwrap();
    assert!(matches!(scheduler.dead_letters().retry(letters[0].id).await.unwrap(), Triggered::Submitted { .. }));
    assert_eq!(full.stats().await.unwrap().totals.submitted, 2);
    let again = scheduler.dead_letters().retry(letters[0].id).await;
    assert_eq!(again.unwrap_err().kind(), tidelock::ErrorKind::NotFound);
    assert_eq!(scheduler.stats().await.unwrap().dead_letters, 0);
    stop(&scheduler).await;
});

conformance!(a_target_that_has_room_again_runs_the_slot, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let full: Job<String, String> = tide.job("full").max_depth(1).build().unwrap();
    let fills = full.submit(&"fills".to_owned()).await.unwrap().id;
    let scheduler = tide.scheduler("platform").submit_retries(0).build().unwrap();
    scheduler.register("s", Schedule::once(START + 10 * SECOND).job(&full, &"text".to_owned())).await.unwrap();
    start(&scheduler).await;
    clock.advance(10 * SECOND);
    until(async || matches!(info(&scheduler, "s").await.state, ScheduleState::Failing { .. })).await;
    full.remove(fills).await.unwrap();
    advancing(&clock, SECOND, until(async || full.stats().await.unwrap().ready == 1)).await;
    settled(&scheduler).await;
    until(async || scheduler.stats().await.unwrap().finished == 1).await;
    assert_eq!(scheduler.stats().await.unwrap().dead_letters, 0);
    stop(&scheduler).await;
});
