//! The engine end to end, in process with a pinned clock.

mod options;
mod under_way;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::Tidelock;
use crate::error::ErrorKind;
use crate::job::{JobFilter, Joined};
use crate::meta::Meta;
use crate::time::{HOUR, MINUTE, ManualClock, SECOND, Timestamp};

/// 2026-01-05, 09:59:30 UTC.
const START: Timestamp = Timestamp::from_millis(1_767_607_170_000);

/// A world with a pinned clock, and the slots of the runs of handler `note`.
struct Bench {
    clock: ManualClock,
    tide: Tidelock,
    runs: mpsc::UnboundedReceiver<Slot>,
    noted: mpsc::UnboundedSender<Slot>,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::at(START);
        let tide = Tidelock::in_process_with(&clock);
        let (noted, runs) = mpsc::unbounded_channel();
        Self { clock, tide, runs, noted }
    }

    fn builder(&self) -> SchedulerBuilder {
        let noted = self.noted.clone();
        self.tide.scheduler("platform").handler("note", move |run: crate::JobContext, (): ()| {
            let (noted, slot) = (noted.clone(), run.slot().cloned());
            async move {
                noted.send(slot.expect("a run of a schedule knows its slot")).expect("the bench listens");
                Ok(())
            }
        })
    }

    fn scheduler(&self) -> Scheduler {
        self.builder().build().unwrap()
    }

    fn nothing_runs(&mut self) {
        assert_eq!(self.runs.try_recv().ok(), None);
    }

    async fn next_run(&mut self) -> Slot {
        let next = tokio::time::timeout(60 * SECOND, self.runs.recv());
        next.await.expect("a run within a minute").expect("the bench holds a sender")
    }
}

fn note(schedule: Schedule) -> Schedule {
    schedule.handler("note", &())
}

/// Lets the tasks of the instance run until they are idle.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

#[tokio::test]
async fn each_minute_runs_once_under_each_policy() {
    for misfire in [Misfire::Skip, Misfire::CatchUpOne, Misfire::CatchUpAll] {
        let mut bench = Bench::new();
        let scheduler = bench.scheduler();
        let schedule = note(Schedule::cron("* * * * *").misfire(misfire));
        assert_eq!(scheduler.register("minute", schedule).await.unwrap(), Registered::Created);
        scheduler.start().await.unwrap();
        for minute in 0..30 {
            bench.clock.set(at(30 + 60 * minute));
            let slot = bench.next_run().await;
            assert_eq!((slot.slot, slot.run, slot.trigger), (at(30 + 60 * minute), minute + 1, Trigger::OnTime));
            settle().await;
        }
        bench.nothing_runs();
        scheduler.stop().await.unwrap();
        let metrics = scheduler.metrics();
        assert_eq!((metrics.dispatch_submitted, metrics.dispatch_skipped, metrics.dispatch_failed), (30, 0, 0));
    }
}

#[tokio::test]
async fn an_hour_that_nobody_saw_is_caught_up_once() {
    let mut bench = Bench::new();
    let scheduler = bench.scheduler();
    let hourly = note(Schedule::cron("0 * * * *").misfire(Misfire::CatchUpOne));
    scheduler.register("hourly", hourly).await.unwrap();
    scheduler.start().await.unwrap();
    bench.clock.advance(5 * SECOND);
    let Triggered::Submitted { id, duplicate: false } = scheduler.trigger_now("hourly").await.unwrap() else {
        panic!("it is there")
    };
    assert_eq!(bench.next_run().await.trigger, Trigger::Manual { key: None });
    assert!(matches!(scheduler.runs("note").join(id).await.unwrap(), Joined::Completed(())));
    scheduler.stop().await.unwrap();

    bench.clock.set(at(330));
    settle().await;
    bench.nothing_runs();
    scheduler.start().await.unwrap();
    let slot = bench.next_run().await;
    assert_eq!((slot.slot, slot.trigger, slot.run, slot.missed), (at(30), Trigger::CatchUp, 2, 0));
    settle().await;
    bench.nothing_runs();
}

#[tokio::test]
async fn an_outage_is_caught_up_in_order_and_told_once() {
    let mut bench = Bench::new();
    let scheduler = bench.builder().max_submits_per_tick(1).build().unwrap();
    let all = note(Schedule::cron("* * * * *").misfire(Misfire::CatchUpAll).max_catch_up_runs(20));
    scheduler.register("minute", all).await.unwrap();
    // Slots at 30 s, 90 s, …, 1,830 s: 31, of which the last is on time.
    bench.clock.set(at(1_830));
    scheduler.start().await.unwrap();
    for run in 1..=21 {
        let slot = bench.next_run().await;
        assert_eq!((slot.run, slot.slot), (run, at(1_830 - 60 * (21 - run))));
        assert_eq!(slot.missed, if run == 1 { 10 } else { 0 });
        assert_eq!(slot.trigger == Trigger::OnTime, run == 21);
    }
    settle().await;
    bench.nothing_runs();
    assert_eq!(scheduler.metrics().missed, 10);
}

#[tokio::test]
async fn another_instance_takes_over_and_ends_what_was_begun() {
    let mut bench = Bench::new();
    let one = bench.scheduler();
    let other = bench.scheduler();
    one.register("minute", note(Schedule::cron("* * * * *"))).await.unwrap();
    one.start().await.unwrap();
    other.start().await.unwrap();
    settle().await;
    assert!(one.metrics().is_leader && !other.metrics().is_leader);
    bench.clock.set(at(30));
    assert_eq!(bench.next_run().await.run, 1);

    one.stop().await.unwrap();
    settle().await;
    // No time has passed.
    assert!(!one.metrics().is_leader && other.metrics().is_leader);
    assert!(other.metrics().leader_epoch > one.metrics().leader_epoch);
    bench.clock.set(at(90));
    let slot = bench.next_run().await;
    assert_eq!((slot.run, slot.slot), (2, at(90)));
    one.start().await.unwrap();
    other.stop().await.unwrap();
    bench.clock.set(at(150));
    assert_eq!(bench.next_run().await.run, 3);
    settle().await;
    bench.nothing_runs();
}

#[tokio::test]
async fn a_pause_lets_its_slots_pass_and_triggers_run() {
    let mut bench = Bench::new();
    let scheduler = bench.scheduler();
    scheduler.register("minute", note(Schedule::cron("* * * * *").misfire(Misfire::CatchUpAll))).await.unwrap();
    scheduler.start().await.unwrap();
    assert_eq!(scheduler.pause("minute").reason("maintenance").await.unwrap(), Changed::Yes);
    assert_eq!(scheduler.pause("minute").reason("maintenance").await.unwrap(), Changed::No);
    assert_eq!(scheduler.pause("nothing").await.unwrap(), Changed::Absent);
    let info = scheduler.get("minute").await.unwrap().unwrap();
    let expected = ScheduleState::Paused { reason: Some("maintenance".to_owned()), since: START, until: None };
    assert_eq!(info.state, expected);

    bench.clock.set(at(160));
    settle().await;
    bench.nothing_runs();
    let triggered = scheduler.trigger_now("minute").key("k").await.unwrap();
    assert_eq!(bench.next_run().await.trigger, Trigger::Manual { key: Some("k".to_owned()) });
    let (Triggered::Submitted { id, .. }, again) = (triggered, scheduler.trigger_now("minute").key("k").await.unwrap())
    else {
        panic!("it is submitted")
    };
    assert_eq!(again, Triggered::Submitted { id, duplicate: true });

    assert_eq!(scheduler.upcoming("minute").count(2).await.unwrap(), [at(210), at(270)]);
    assert_eq!(scheduler.resume("minute").await.unwrap(), Changed::Yes);
    assert_eq!(scheduler.resume("minute").await.unwrap(), Changed::No);
    bench.clock.set(at(210));
    assert_eq!(bench.next_run().await.slot, at(210));
    settle().await;
    bench.nothing_runs();
    let history = scheduler.history("minute").await.unwrap();
    assert!(history.iter().any(|entry| entry.event == HistoryEvent::Paused { count: 3 }), "{history:?}");
}

#[tokio::test]
async fn a_pause_that_ends_by_itself_goes_on_where_it_ended() {
    let mut bench = Bench::new();
    let scheduler = bench.scheduler();
    scheduler.register("minute", note(Schedule::cron("* * * * *").misfire(Misfire::CatchUpAll))).await.unwrap();
    scheduler.start().await.unwrap();
    scheduler.pause("minute").for_at_most(100 * SECOND).await.unwrap();
    // The slots at 30 s and 90 s fall into the pause, those at 150 s and 210 s do not.
    bench.clock.set(at(215));
    for slot in [150, 210] {
        assert_eq!(bench.next_run().await.slot, at(slot));
    }
    settle().await;
    bench.nothing_runs();
}

#[tokio::test]
async fn a_job_gets_input_meta_and_slot() {
    let bench = Bench::new();
    let mail = bench.tide.job::<String, String>("mail.send").build().unwrap();
    let scheduler = bench.scheduler();
    let digest = Schedule::every(MINUTE).job(&mail, &"ada".to_owned()).meta("kind", &"digest");
    scheduler.register("digest", digest).await.unwrap();
    let worker = mail
        .process(async |run, to| {
            let slot = run.slot().expect("it is scheduled").slot;
            let meta: &Meta = run.meta();
            Ok(format!("{to} {slot} {} {}", meta.get("kind").unwrap(), meta.get("scheduleSlotTs").unwrap()))
        })
        .spawn();
    scheduler.start().await.unwrap();
    bench.clock.set(at(30));
    let job = loop {
        settle().await;
        if let Some(last) = scheduler.get("digest").await.unwrap().unwrap().last {
            break last.job;
        }
    };
    let joined = mail.join(job).forever().await.unwrap();
    assert_eq!(joined, Joined::Completed(format!("ada {} \"digest\" {}", at(30), at(30).as_millis())));
    worker.shutdown(SECOND).await;
    // A job without a schedule has no slot.
    let own = mail.submit(&"bob".to_owned()).await.unwrap();
    let worker = mail.process(async |run, _| Ok(format!("{:?}", run.slot()))).spawn();
    assert_eq!(mail.join(own.id).forever().await.unwrap(), Joined::Completed("None".to_owned()));
    worker.shutdown(SECOND).await;
}

#[tokio::test]
async fn what_no_target_accepts_is_tried_and_given_up() {
    let mut bench = Bench::new();
    let full = bench.tide.job::<(), ()>("full").max_depth(1).build().unwrap();
    full.submit(&()).await.unwrap();
    let scheduler = bench.builder().submit_retries(0).max_dispatch_failures(2).build().unwrap();
    scheduler.register("full", Schedule::every(HOUR).job(&full, &())).await.unwrap();
    scheduler.register("minute", note(Schedule::cron("* * * * *"))).await.unwrap();
    scheduler.start().await.unwrap();
    bench.clock.set(at(30));
    assert_eq!(bench.next_run().await.slot, at(30));
    settle().await;
    let state = scheduler.get("full").await.unwrap().unwrap().state;
    assert!(
        matches!(&state, ScheduleState::Failing { rounds: 1, error, .. } if error.contains("max_depth")),
        "{state:?}"
    );

    bench.clock.advance(2 * SECOND);
    settle().await;
    assert_eq!(scheduler.get("full").await.unwrap().unwrap().state, ScheduleState::Active);
    let letters = scheduler.dead_letters().list().await.unwrap().items;
    let [letter] = &letters[..] else { panic!("one slot was given up: {letters:?}") };
    assert_eq!((letter.slot, letter.rounds, letter.run), (Some(at(30)), 2, 1));
    assert!(scheduler.dead_letters().retry(letter.id).await.unwrap_err().is_retryable());

    let waiting = full.list(JobFilter::Ready).await.unwrap().items[0].id;
    full.remove(waiting).await.unwrap();
    let retried = scheduler.dead_letters().retry(letter.id).await.unwrap();
    assert!(matches!(retried, Triggered::Submitted { duplicate: false, .. }));
    let gone = scheduler.dead_letters().retry(letter.id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let metrics = scheduler.metrics();
    assert_eq!((metrics.dispatch_failed, metrics.dispatch_dlq), (2, 1));

    assert!(scheduler.trigger_now("full").await.unwrap_err().is_retryable());
    for _ in 0..6 {
        // The leadership continues.
        bench.clock.advance(2 * SECOND);
        settle().await;
    }
    let letters = scheduler.dead_letters().list().await.unwrap().items;
    let [letter] = &letters[..] else { panic!("one trigger was given up: {letters:?}") };
    assert_eq!((letter.slot, letter.rounds), (None, 2));
}

#[tokio::test]
async fn handlers_that_nobody_has_wait_or_are_skipped() {
    let mut bench = Bench::new();
    let strict = bench.tide.scheduler("platform").build().unwrap();
    strict.register("minute", note(Schedule::cron("* * * * *").misfire(Misfire::CatchUpOne))).await.unwrap();
    strict.start().await.unwrap();
    bench.clock.set(at(30));
    settle().await;
    let state = strict.get("minute").await.unwrap().unwrap().state;
    assert!(matches!(state, ScheduleState::Unserved { .. }), "{state:?}");
    bench.clock.set(at(40));
    let with = bench.scheduler();
    with.start().await.unwrap();
    assert_eq!(bench.next_run().await.slot, at(30));
    with.stop().await.unwrap();
    strict.stop().await.unwrap();

    let lax = bench.tide.scheduler("platform").strict_handlers(false).build().unwrap();
    lax.start().await.unwrap();
    bench.clock.set(at(90));
    settle().await;
    let metrics = lax.metrics();
    assert_eq!((metrics.dispatch_skipped, metrics.missed), (1, 0));
    assert_eq!(lax.trigger_now("minute").await.unwrap(), Triggered::Rejected(Rejected::MissingHandler));
    assert_eq!(lax.trigger_now("nothing").await.unwrap(), Triggered::Rejected(Rejected::MissingSchedule));
    assert_eq!(lax.metrics().trigger_rejected, 2);
    bench.nothing_runs();
}

#[tokio::test]
async fn start_and_stop_are_idempotent_and_shutdown_is_a_stop() {
    let bench = Bench::new();
    let scheduler = bench.scheduler();
    assert_eq!(scheduler.stop().await.unwrap(), StopReport::default());
    scheduler.start().await.unwrap();
    scheduler.start().await.unwrap();
    let (stopped, started) = tokio::join!(scheduler.stop(), scheduler.start());
    stopped.unwrap();
    started.unwrap();
    settle().await;
    assert!(scheduler.metrics().is_leader);
    let running = scheduler.clone();
    let running = tokio::spawn(async move { running.run_until(std::future::pending()).await });
    settle().await;
    assert!(bench.tide.shutdown(SECOND).await.is_clean());
    running.await.unwrap().unwrap();
    assert_eq!(scheduler.start().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
}

#[tokio::test]
async fn observers_that_panic_change_nothing() {
    let mut bench = Bench::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let builder = bench.builder().on_event(move |event| {
        kept.lock().unwrap().push(event.what.clone());
        assert!(!matches!(event.what, Happening::LeaderAcquired { .. }), "an observer that panics");
    });
    let scheduler = builder.build().unwrap();
    scheduler.register("minute", note(Schedule::cron("* * * * *"))).await.unwrap();
    scheduler.start().await.unwrap();
    bench.clock.set(at(30));
    bench.next_run().await;
    scheduler.stop().await.unwrap();
    let dispatched = |what: &Happening| matches!(what, Happening::DispatchSubmitted { slot, .. } if *slot == at(30));
    while !seen.lock().unwrap().iter().any(dispatched) {
        tokio::task::yield_now().await;
    }
    assert_eq!(scheduler.metrics().events_lost, 0);
}

#[tokio::test]
async fn what_nobody_can_read_is_set_aside_and_named() {
    let mut bench = Bench::new();
    let scheduler = bench.builder().batch(1).build().unwrap();
    for id in ["a", "b", "c"] {
        scheduler.register(id, note(Schedule::cron("* * * * *"))).await.unwrap();
    }
    let site = &scheduler.core.site;
    let timing = br#"{"rhythm":{"cron":{"fields":[1,1,1,2,2,0],"interval_like":true,"zone":"Mars/Base"}},"jitter":0}"#;
    let spec = note(Schedule::cron("* * * * *")).into_spec("default").unwrap();
    let definition = store::Definition { timing: timing.to_vec(), ..spec.definition() };
    let next = store::Next { slot: at(30).as_millis(), due: at(30).as_millis() };
    let guess = store::Guess { from: 0, until: at(30).as_millis(), next: Some(next) };
    let change = store::Change::Register { id: "aa".into(), definition, guess, max_schedules: 9 };
    assert_eq!(site.change("test", change).await.unwrap(), store::Changes::Created);
    scheduler.start().await.unwrap();
    bench.clock.set(at(30));
    let mut ran = Vec::new();
    for _ in 0..3 {
        ran.push(bench.next_run().await.schedule);
    }
    ran.sort();
    assert_eq!(ran, ["a", "b", "c"]);
    settle().await;
    let info = scheduler.get("aa").await.unwrap().unwrap();
    assert!(matches!(&info.state, ScheduleState::Quarantined { error, .. } if error.contains("Mars/Base")), "{info:?}");
    assert_eq!((info.spec, scheduler.stats().await.unwrap().quarantined), (None, 1));
    let triggered = scheduler.trigger_now("aa").await.unwrap();
    assert!(matches!(triggered, Triggered::Rejected(Rejected::InvalidSchedule { .. })), "{triggered:?}");
    // Registering a readable definition ends the quarantine.
    scheduler.register("aa", note(Schedule::cron("* * * * *"))).await.unwrap();
    assert_eq!(scheduler.get("aa").await.unwrap().unwrap().state, ScheduleState::Active);
}

#[test]
fn a_plan_outlives_its_leader() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = Bench::new();
    let few = bench.tide.job::<(), ()>("few").max_depth(3).build().unwrap();
    let [one, other] = [(); 2].map(|()| bench.builder().submit_retries(0).build().unwrap());
    let first = runtime();
    first.block_on(async {
        let all = Schedule::cron("* * * * *").misfire(Misfire::CatchUpAll).job(&few, &());
        one.register("minute", all).await.unwrap();
        bench.clock.set(at(330));
        one.start().await.unwrap();
        settle().await;
    });
    // Nobody is told.
    drop(first);

    runtime().block_on(async {
        let info = other.get("minute").await.unwrap().unwrap();
        assert!(matches!(info.state, ScheduleState::Failing { rounds: 1, .. }), "{info:?}");
        assert_eq!((info.planned, info.run), (3, 6));
        for job in few.list(JobFilter::Ready).await.unwrap().items {
            few.remove(job.id).await.unwrap();
        }
        other.start().await.unwrap();
        settle().await;
        assert!(!other.metrics().is_leader, "the lease of the other runs on");
        bench.clock.set(at(336));
        settle().await;
        assert!(other.metrics().is_leader);
        let info = other.get("minute").await.unwrap().unwrap();
        assert_eq!((info.planned, info.run, info.state), (0, 6, ScheduleState::Active));
        let submitted = |entry: &HistoryEntry| match &entry.event {
            HistoryEvent::Slot { run, slot, outcome: Outcome::Submitted { .. }, .. } => Some((*run, *slot)),
            _ => None,
        };
        let history = other.history("minute").await.unwrap();
        let ran: Vec<_> = history.iter().rev().filter_map(submitted).collect();
        assert_eq!(ran, (1..=6).map(|run| (run, at(60 * run - 30))).collect::<Vec<_>>());
        assert_eq!(few.stats().await.unwrap().ready, 3);
        other.stop().await.unwrap();
    });
}
