//! Registering, changing and removing schedules.

use super::*;

conformance!(a_schedule_is_shown_as_it_was_given, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let scheduler = plain(&tide);
    let schedule = Schedule::cron("30 7 * * *").tz("europe/berlin").job(&mail(&tide), &"digest".to_owned());
    let registered = scheduler.register("digest", schedule.meta("team", &"mail")).await.unwrap();
    assert_eq!(registered, Registered::Created);
    let info = info(&scheduler, "digest").await;
    // 07:30 in Berlin is 06:30 UTC in winter.
    assert_eq!(info.next, Some(START + 6 * HOUR + 30 * MINUTE));
    assert_eq!((info.created_at, info.updated_at, info.run), (clock.now(), clock.now(), 0));
    let shown = serde_json::to_value(&info).unwrap();
    assert_eq!(shown["spec"]["timing"]["zone"], "Europe/Berlin");
    assert_eq!(shown["spec"]["target"]["id"], "mail");
    assert_eq!(shown["spec"]["meta"]["team"], "mail");
    assert!(plain(&tide.tenant("other")).get("digest").await.unwrap().is_none());
});

conformance!(what_is_the_same_is_unchanged_and_content_keeps_the_slot, async |mut world: World| {
    let clock = world.pin();
    let scheduler = Noted::default().scheduler(&world.open().await);
    let every = || note(Schedule::every(10 * SECOND));
    assert_eq!(scheduler.register("s", every()).await.unwrap(), Registered::Created);
    assert_eq!(scheduler.register("s", every()).await.unwrap(), Registered::Unchanged);
    let first = info(&scheduler, "s").await;
    clock.advance(25 * SECOND);
    assert_eq!(scheduler.register("s", every().misfire(Misfire::CatchUpOne)).await.unwrap(), Registered::Updated);
    let updated = info(&scheduler, "s").await;
    assert_eq!((updated.next, updated.created_at), (first.next, first.created_at), "an overdue slot is kept");
    assert!(updated.revision > first.revision && updated.updated_at == clock.now());
    assert_eq!(scheduler.register("s", note(Schedule::every(20 * SECOND))).await.unwrap(), Registered::Updated);
    assert_eq!(info(&scheduler, "s").await.next, Some(START + 40 * SECOND), "other timing: the first slot after now");
});

conformance!(two_spellings_of_one_timing_keep_the_slot, async |mut world: World| {
    let clock = world.pin();
    let scheduler = Noted::default().scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::cron("0 7 * * MON-FRI"))).await.unwrap();
    let next = info(&scheduler, "s").await.next;
    clock.advance(30 * HOUR);
    scheduler.register("s", note(Schedule::cron("0 07 * * 1,2,3,4,5"))).await.unwrap();
    assert_eq!(info(&scheduler, "s").await.next, next);
});

conformance!(eight_processes_register_one_definition_at_once, async |world: World| {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let tide = world.open().await;
        for _ in 0..6 {
            let scheduler = plain(&tide);
            let schedule = Schedule::every(HOUR).job(&mail(&tide), &"text".to_owned());
            tasks.spawn(async move {
                let registered = scheduler.register("s", schedule).await.unwrap();
                assert!(scheduler.get("s").await.unwrap().is_some(), "from then on it is never gone");
                registered
            });
        }
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|one| **one == Registered::Created).count(), 1);
    assert_eq!(outcomes.iter().filter(|one| **one == Registered::Unchanged).count(), 47);
});

conformance!(what_is_unregistered_stays_gone, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("s", note(Schedule::every(10 * SECOND))).await.unwrap();
    start(&scheduler).await;
    clock.advance(10 * SECOND);
    ran(&scheduler, &noted, 1).await;
    let old = info(&scheduler, "s").await;
    assert!(scheduler.unregister("s").await.unwrap());
    assert!(!scheduler.unregister("s").await.unwrap());
    assert!(scheduler.get("s").await.unwrap().is_none() && scheduler.history("s").await.unwrap().is_empty());
    scheduler.register("s", note(Schedule::every(10 * SECOND))).await.unwrap();
    let new = info(&scheduler, "s").await;
    assert!(new.revision > old.revision && new.run == 0, "created again: {new:?}");
    clock.advance(10 * SECOND);
    ran(&scheduler, &noted, 2).await;
    assert_eq!(noted.runs(), [1, 1]);
    stop(&scheduler).await;
});

conformance!(a_one_off_runs_once_and_is_finished, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.scheduler(&world.open().await);
    scheduler.register("late", note(Schedule::once(START + 5 * SECOND))).await.unwrap();
    scheduler.register("past", note(Schedule::once(Timestamp::from_millis(START.as_millis() - 61_000)))).await.unwrap();
    start(&scheduler).await;
    clock.advance(5 * SECOND);
    ran(&scheduler, &noted, 1).await;
    settled(&scheduler).await;
    let stats = scheduler.stats().await.unwrap();
    assert_eq!((stats.finished, stats.active), (2, 0), "further back than the tolerance: finished without a run");
    let again = note(Schedule::once(START + 5 * SECOND).jitter(HOUR));
    assert_eq!(scheduler.register("late", again).await.unwrap(), Registered::Updated);
    assert_eq!(scheduler.stats().await.unwrap().active, 0, "another jitter is no reason to run again");
    clock.advance(7 * 24 * HOUR);
    until(async || scheduler.get("late").await.unwrap().is_none()).await;
    assert_eq!(noted.len(), 1);
    stop(&scheduler).await;
});

conformance!(max_schedules_refuses_one_more, async |world: World| {
    let tide = world.open().await;
    let scheduler = tide.scheduler("platform").max_schedules(1).build().unwrap();
    let schedule = || Schedule::every(HOUR).job(&mail(&tide), &"text".to_owned());
    scheduler.register("a", schedule()).await.unwrap();
    let error = scheduler.register("b", schedule()).await.unwrap_err();
    assert_eq!(error.kind(), tidelock::ErrorKind::CapacityReached);
    assert!(!error.is_retryable());
    assert_eq!(scheduler.register("a", schedule()).await.unwrap(), Registered::Unchanged);
    assert!(scheduler.delete().await.unwrap() && !scheduler.delete().await.unwrap());
});
