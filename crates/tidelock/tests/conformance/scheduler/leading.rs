//! Which instance leads, and what a change of leader leaves behind.

use super::*;

conformance!(one_of_several_instances_leads, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let mut schedulers = Vec::new();
    for _ in 0..3 {
        schedulers.push(noted.scheduler(&world.open().await));
    }
    schedulers[0].register("s", note(Schedule::every(SECOND))).await.unwrap();
    for scheduler in &schedulers {
        within(scheduler.start()).await.unwrap();
    }
    let leaders = || schedulers.iter().filter(|scheduler| scheduler.metrics().is_leader).count();
    until(async || leaders() == 1).await;
    for second in 1..=30 {
        clock.advance(SECOND);
        ran(&schedulers[0], &noted, second).await;
        assert!(leaders() <= 1);
    }
    let mut runs = noted.runs();
    runs.sort_unstable();
    assert_eq!(runs, (1..=30).collect::<Vec<_>>());
    for scheduler in &schedulers {
        stop(scheduler).await;
    }
});

conformance!(after_a_stop_another_leads_and_no_slot_is_lost, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let (one, other) = (noted.scheduler(&world.open().await), noted.scheduler(&world.open().await));
    one.register("s", note(Schedule::every(SECOND))).await.unwrap();
    start(&one).await;
    within(other.start()).await.unwrap();
    let mut count = 0;
    for round in 0..6 {
        for _ in 0..3 {
            count += 1;
            clock.advance(SECOND);
            ran(&one, &noted, count).await;
        }
        let (leader, follower) = if one.metrics().is_leader { (&one, &other) } else { (&other, &one) };
        let epoch = leader.metrics().leader_epoch;
        stop(leader).await;
        until(async || follower.metrics().is_leader).await;
        assert!(follower.metrics().leader_epoch > epoch, "round {round}");
        within(leader.start()).await.unwrap();
    }
    let mut runs = noted.runs();
    runs.sort_unstable();
    assert_eq!(runs, (1..=count as u64).collect::<Vec<_>>());
    stop(&one).await;
    stop(&other).await;
});

conformance!(start_and_stop_are_idempotent, async |world: World| {
    let scheduler = Noted::default().scheduler(&world.open().await);
    stop(&scheduler).await;
    start(&scheduler).await;
    within(scheduler.start()).await.unwrap();
    let (first, second) = tokio::join!(scheduler.stop(), scheduler.stop());
    first.unwrap();
    second.unwrap();
    assert!(!scheduler.metrics().is_leader);
    let (stopped, started) = tokio::join!(scheduler.stop(), scheduler.start());
    stopped.unwrap();
    started.unwrap();
    until(async || scheduler.metrics().is_leader).await;
    stop(&scheduler).await;
});

conformance!(a_job_target_needs_no_code_in_the_leader, async |mut world: World| {
    let clock = world.pin();
    let (leader, worker) = (world.open().await, world.open().await);
    let scheduler = plain(&leader);
    let job: Job<String, String> = worker.job("mail").attempts(3).lease(HOUR).build().unwrap();
    let schedule = Schedule::every(10 * SECOND).job(&job, &"digest".to_owned()).meta("team", &"mail");
    scheduler.register("digest", schedule).await.unwrap();
    start(&scheduler).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let working = job.process_with(Arc::clone(&seen), async |seen, run, text| {
        let slot = run.slot().cloned().expect("a run of a schedule knows its slot");
        seen.lock().unwrap().push((slot.slot.since(START), text.clone(), run.meta().get("team").cloned()));
        Ok(text)
    });
    let working = working.spawn();
    for count in 1..=3 {
        clock.advance(10 * SECOND);
        until(async || seen.lock().unwrap().len() == count).await;
    }
    for (count, (since, text, team)) in (1..).zip(seen.lock().unwrap().iter()) {
        assert_eq!((*since, text.as_str()), (count * 10 * SECOND, "digest"));
        assert_eq!(team.as_ref().unwrap(), "mail");
    }
    stop(&scheduler).await;
    within(working.shutdown(SECOND)).await;
});

conformance!(a_hundred_schedules_are_dispatched_when_they_are_due, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.builder(&world.open().await).batch(7).max_submits_per_tick(20).build().unwrap();
    for number in 0..100 {
        scheduler.register(&format!("s{number}"), note(Schedule::every(60 * SECOND))).await.unwrap();
    }
    start(&scheduler).await;
    clock.advance(60 * SECOND);
    ran(&scheduler, &noted, 100).await;
    settled(&scheduler).await;
    let names: std::collections::HashSet<_> = noted.all().iter().map(|slot| slot.schedule.clone()).collect();
    assert_eq!(names.len(), 100);
    assert_eq!(scheduler.metrics().dispatch_submitted, 100);
    stop(&scheduler).await;
});

conformance!(a_handler_target_waits_for_an_instance_that_has_it, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let (without, with) = (plain(&world.open().await), noted.scheduler(&world.open().await));
    without.register("s", note(Schedule::every(10 * SECOND)).misfire(Misfire::CatchUpOne)).await.unwrap();
    without
        .register("other", Schedule::every(10 * SECOND).job(&mail(&world.open().await), &"x".to_owned()))
        .await
        .unwrap();
    start(&without).await;
    clock.advance(10 * SECOND);
    until(async || without.stats().await.unwrap().unserved == 1).await;
    until(async || info(&without, "other").await.last.is_some()).await;
    clock.advance(5 * SECOND);
    within(with.start()).await.unwrap();
    ran(&with, &noted, 1).await;
    assert_eq!(without.stats().await.unwrap().unserved, 0);
    stop(&with).await;
    stop(&without).await;
});

conformance!(an_instance_that_is_not_strict_skips_what_nobody_has, async |mut world: World| {
    let clock = world.pin();
    let scheduler = world.open().await.scheduler("platform").strict_handlers(false).build().unwrap();
    scheduler.register("s", note(Schedule::every(10 * SECOND))).await.unwrap();
    start(&scheduler).await;
    clock.advance(10 * SECOND);
    until(async || scheduler.metrics().dispatch_skipped == 1).await;
    settled(&scheduler).await;
    assert_eq!(info(&scheduler, "s").await.next, Some(START + 20 * SECOND));
    assert!(matches!(scheduler.trigger_now("s").await.unwrap(), Triggered::Rejected(_)));
    stop(&scheduler).await;
});

conformance!(a_leader_that_does_not_wait_for_handlers_skips_what_another_let_wait, async |mut world: World| {
    let clock = world.pin();
    let (strict, lax) = (plain(&world.open().await), world.open().await.scheduler("platform").strict_handlers(false));
    let lax = lax.build().unwrap();
    strict.register("s", note(Schedule::every(10 * SECOND))).await.unwrap();
    start(&strict).await;
    clock.advance(10 * SECOND);
    let waits = async || matches!(info(&strict, "s").await.state, tidelock::scheduler::ScheduleState::Unserved { .. });
    until(waits).await;
    stop(&strict).await;
    start(&lax).await;
    until(async || lax.metrics().dispatch_skipped == 1).await;
    settled(&lax).await;
    assert_eq!(info(&lax, "s").await.next, Some(START + 20 * SECOND));
    stop(&lax).await;
});

conformance!(so_many_dead_letters_are_kept, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let full: Job<String, String> = tide.job("full").max_depth(1).build().unwrap();
    full.submit(&"first".to_owned()).await.unwrap();
    let builder = tide.scheduler("platform").max_dead_letters(2).submit_retries(0).max_dispatch_failures(1);
    let scheduler = builder.build().unwrap();
    scheduler.register("s", Schedule::every(10 * SECOND).job(&full, &"text".to_owned())).await.unwrap();
    start(&scheduler).await;
    for given_up in 1..=3 {
        clock.advance(10 * SECOND);
        until(async || scheduler.metrics().dispatch_dlq == given_up).await;
    }
    let letters = scheduler.dead_letters().list().await.unwrap().items;
    assert_eq!(letters.iter().map(|letter| letter.run).collect::<Vec<_>>(), [3, 2], "the oldest goes");
    assert_eq!(scheduler.stats().await.unwrap().dead_letters_lost, 1);
    stop(&scheduler).await;
});
