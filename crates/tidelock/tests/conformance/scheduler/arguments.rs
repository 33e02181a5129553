//! Rejected arguments: the error says what is wrong, and the stored state is unchanged.

use super::*;
use crate::in_process;
use tidelock::ErrorKind;
use tidelock::scheduler::Overlap;

in_process!(a_builder_refuses_what_is_out_of_range, async || {
    let tide = Tidelock::in_process();
    let scheduler = |id: &str| tide.scheduler(id);
    let refused = [
        scheduler("").build(),
        scheduler("a\0b").build(),
        scheduler("s").lease(499 * MS).build(),
        scheduler("s").lease(301 * SECOND).build(),
        scheduler("s").heartbeat(99 * MS).build(),
        scheduler("s").lease(3 * SECOND).heartbeat(1_001 * MS).build(),
        scheduler("s").tick(49 * MS).build(),
        scheduler("s").tolerance(HOUR + MS).build(),
        scheduler("s").batch(0).build(),
        scheduler("s").batch(1_001).build(),
        scheduler("s").max_submits_per_tick(10_001).build(),
        scheduler("s").submit_retries(101).build(),
        scheduler("s").submit_backoff(SECOND, 100 * MS).build(),
        scheduler("s").max_dispatch_failures(0).build(),
        scheduler("s").slot_memory(59 * SECOND).build(),
        scheduler("s").max_dead_letters(0).build(),
        scheduler("s").history(1_001).build(),
        scheduler("s").handler_concurrency(0).build(),
        scheduler("s").max_schedules(0).build(),
        scheduler("s").stop_grace(HOUR + MS).build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidConfiguration, "refused {index}");
    }
});

conformance!(a_refused_register_changes_nothing, async |mut world: World| {
    let _clock: ManualClock = world.pin();
    let tide = world.open().await;
    let (scheduler, job) = (plain(&tide), mail(&tide));
    let text = "text".to_owned();
    scheduler.register("s", Schedule::every(HOUR).job(&job, &text)).await.unwrap();
    let before = (scheduler.list().await.unwrap(), scheduler.stats().await.unwrap());
    let hourly = || Schedule::every(HOUR).job(&job, &text);
    let refused = [
        (Schedule::cron("0 0 30 2 *").job(&job, &text), "never matches"),
        (Schedule::cron("* * * *").job(&job, &text), "cron must have 5 fields"),
        (Schedule::cron("61 * * * *").job(&job, &text), "out-of-range minute"),
        (Schedule::cron("* * * * *").tz("Europe/Atlantis").job(&job, &text), "Europe/Atlantis"),
        (Schedule::every(999 * MS).job(&job, &text), "period"),
        (hourly().offset(HOUR), "offset"),
        (hourly().tz("UTC"), "tz"),
        (hourly().max_catch_up_runs(3), "max_catch_up_runs"),
        (hourly().misfire(Misfire::CatchUpAll).max_catch_up_runs(0), "max_catch_up_runs"),
        (hourly().max_queued(3), "max_queued"),
        (hourly().overlap(Overlap::Queue).max_queued(0), "max_queued"),
        (hourly().jitter(25 * HOUR), "jitter"),
        (hourly().tolerance(2 * HOUR), "tolerance"),
        (Schedule::every(HOUR), "target"),
        (hourly().handler("note", &()), "target"),
        (Schedule::every(HOUR).handler("", &()), "handler"),
    ];
    for (index, (schedule, text)) in refused.into_iter().enumerate() {
        let error = scheduler.register("s", schedule).await.expect_err(&format!("refused {index}"));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{index}: {error}");
        assert!(error.to_string().contains(text), "{index}: {error}");
    }
    for bad in ["", "a\0b", &"x".repeat(257)] {
        assert_eq!(scheduler.register(bad, hourly()).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let small: Job<String, String> = tide.job("small").payload_limit(3).build().unwrap();
    let error = scheduler.register("s", Schedule::every(HOUR).job(&small, &text)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    let checked: Job<String, String> = tide.job("checked").check(|_: &String| Err("no")).build().unwrap();
    let error = scheduler.register("s", Schedule::every(HOUR).job(&checked, &text)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert_eq!(scheduler.upcoming("s").count(0).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(scheduler.list().limit(1_001).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(scheduler.trigger_now("s").key("").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!((scheduler.list().await.unwrap(), scheduler.stats().await.unwrap()), before);
});
