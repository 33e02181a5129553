//! Inspecting schedules.

use super::*;

conformance!(lists_page_by_id, async |world: World| {
    let tide = world.open().await;
    let (scheduler, job) = (plain(&tide), mail(&tide));
    let mut ids: Vec<String> = (0..23).map(|number| format!("s{number}")).collect();
    for id in &ids {
        scheduler.register(id, Schedule::every(HOUR).job(&job, &"text".to_owned())).await.unwrap();
    }
    ids.sort();
    let (mut found, mut page) = (Vec::new(), scheduler.list().limit(7).await.unwrap());
    loop {
        found.extend(page.items.iter().map(|item| item.id.clone()));
        let Some(next) = page.next else { break };
        page = scheduler.list().limit(7).after(&next).await.unwrap();
    }
    assert_eq!(found, ids);
    let stats = scheduler.stats().await.unwrap();
    assert_eq!((stats.active, stats.due_now, stats.leader), (23, 0, None));
});

conformance!(upcoming_shows_the_slots_of_the_zone, async |mut world: World| {
    let _clock = world.pin();
    let tide = world.open().await;
    let scheduler = plain(&tide);
    let schedule = Schedule::cron("30 2 29 3 *").tz("Europe/Berlin").job(&mail(&tide), &"x".to_owned());
    scheduler.register("s", schedule).await.unwrap();
    let slots = scheduler.upcoming("s").count(2).await.unwrap();
    // 2026-03-29 02:30 does not exist in Berlin: the slot is the first instant after the gap, 01:00 UTC.
    assert_eq!(slots[0].as_millis(), 1_774_746_000_000);
    assert_eq!(scheduler.upcoming("absent").await.unwrap(), []);
});

conformance!(history_keeps_as_many_entries_as_it_is_told, async |mut world: World| {
    let clock = world.pin();
    let noted = Noted::default();
    let scheduler = noted.builder(&world.open().await).history(3).build().unwrap();
    scheduler.register("s", note(Schedule::every(SECOND))).await.unwrap();
    start(&scheduler).await;
    for count in 1..=6 {
        clock.advance(SECOND);
        ran(&scheduler, &noted, count).await;
    }
    until(async || info(&scheduler, "s").await.last.is_some_and(|last| last.slot == START + 6 * SECOND)).await;
    let history = scheduler.history("s").await.unwrap();
    assert_eq!(history.len(), 3);
    let text = serde_json::to_value(&history[0]).unwrap().to_string();
    assert!(text.contains("\"run\":6"), "newest first: {text}");
    stop(&scheduler).await;
});

conformance!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    observers_that_panic_or_hang_change_nothing,
    async |mut world: World| {
        let clock = world.pin();
        let noted = Noted::default();
        let builder = noted.builder(&world.open().await).on_event(|event| panic!("cannot bear {event:?}"));
        let scheduler = builder.build().unwrap();
        scheduler.register("s", note(Schedule::every(SECOND))).await.unwrap();
        start(&scheduler).await;
        for count in 1..=5 {
            clock.advance(SECOND);
            ran(&scheduler, &noted, count).await;
        }
        stop(&scheduler).await;
    }
);
