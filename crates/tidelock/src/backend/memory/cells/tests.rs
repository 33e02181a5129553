//! Tests that need access to private parts: which objects are checked, and which are kept.

use std::time::Duration;

use super::*;
use crate::backend::memory::{Sweep as _, sweep_all};
use crate::bell::Bell;
use crate::handover::store::Content;
use crate::time::{HOUR, ManualClock, SECOND};
use crate::topic::memory::MemoryTopic;
use crate::topic::store::{Change, NewEvent, Settings, TopicStore as _};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// An object whose deadline the test sets.
#[derive(Default)]
struct Alarm {
    at: Option<u64>,
    /// Since when there is none.
    silent: u64,
    /// How often [`next_deadline`](Object::next_deadline) was called.
    asked: std::cell::Cell<usize>,
}

impl Object for Alarm {
    type Bell = Bell;
    type News = ();

    fn next_deadline(&self) -> Option<u64> {
        self.asked.set(self.asked.get() + 1);
        self.at
    }

    fn is_idle_since(&self) -> Option<u64> {
        self.at.is_none().then_some(self.silent)
    }

    fn advance(&mut self, now: Now) {
        if self.at.is_some_and(|at| at <= now.ms) {
            (self.at, self.silent) = (None, now.ms);
        }
    }

    fn is_settling(&self, _now: Now) -> bool {
        false
    }

    fn end_step(&mut self, _now: Now, _bell: &WeakSlot<Bell>) -> Option<(Arc<Bell>, ())> {
        None
    }

    fn ring(_bell: &Bell, (): ()) {}
}

type Alarms = Cells<Whole<Alarm>>;

fn address(id: u64) -> Address {
    Address::new(&"default".into(), &id.to_string())
}

fn set(alarms: &Alarms, id: u64, after: u64) {
    alarms.step(&address(id), |alarm, now| alarm.at = Some(now.ms + after));
}

fn asked(alarms: &Alarms, id: u64) -> usize {
    alarms.find(&address(id)).map_or(0, |cell| cell.lock().asked.get())
}

/// Sweeps until nothing is due, as the timer does.
fn sweep(alarms: &Alarms, now: Timestamp) -> Option<Timestamp> {
    sweep_all(now, |now| alarms.sweep(now))
}

#[tokio::test]
async fn a_deadline_looks_at_what_is_due_and_at_nothing_else() {
    let clock = ManualClock::at(START);
    let alarms = Alarms::new(&Timer::pinned(&clock));
    for id in 0..1_000 {
        set(&alarms, id, 1_000 + id);
    }
    let before: Vec<_> = (0..1_000).map(|id| asked(&alarms, id)).collect();
    clock.advance(Duration::from_millis(1_500));
    assert_eq!(sweep(&alarms, clock.now()), Some(clock.now() + Duration::from_millis(1)));
    for (id, before) in (0..).zip(before) {
        let looked_at = asked(&alarms, id) > before;
        assert_eq!(looked_at, id <= 500, "the object that is due {id} ms after the first one");
    }
}

#[tokio::test]
async fn an_object_is_filed_once_however_its_deadline_moves() {
    let clock = ManualClock::at(START);
    let alarms = Alarms::new(&Timer::pinned(&clock));
    for round in 0..1_000 {
        for id in 0..10 {
            set(&alarms, id, 1_000_000 + (round * 7_919 + id) % 1_000 - round);
        }
        assert_eq!(alarms.stored(), (10, (10, 0)));
    }
    set(&alarms, 3, 10);
    assert_eq!(sweep(&alarms, clock.now()), Some(clock.now() + Duration::from_millis(10)), "an earlier one is known");
    set(&alarms, 3, 2_000_000);
    let mut steps = 0;
    let ends = |id| alarms.find(&address(id)).is_some_and(|cell| cell.lock().at.is_none());
    while !(0..10).all(ends) {
        clock.set(sweep(&alarms, clock.now()).expect("there is a deadline for each"));
        steps += 1;
        assert!(steps < 30, "each wake-up is of some use");
        assert_eq!(alarms.stored(), (10, (10, 0)), "nothing is lost, and nothing filed twice");
    }
}

#[tokio::test]
async fn an_empty_object_goes_when_nobody_waits_for_it_and_sets_no_timer_while_somebody_does() {
    let clock = ManualClock::at(START);
    let alarms = Alarms::new(&Timer::pinned(&clock));
    for id in 0..1_000 {
        set(&alarms, id, 1_000);
    }
    let bells = [alarms.bell(&address(7)), alarms.bell(&address(1_000))];
    assert_eq!(alarms.stored(), (1_001, (1_000, 1)), "one that nothing was done with has no deadline");
    clock.advance(HOUR + SECOND);
    assert_eq!(sweep(&alarms, clock.now()), Some(clock.now() + HOUR));
    clock.advance(HOUR);
    for _ in 0..3 {
        assert_eq!(sweep(&alarms, clock.now()), None);
        assert_eq!(alarms.stored(), (2, (0, 2)), "somebody waits for those");
    }
    drop(bells);
    sweep(&alarms, clock.now());
    assert_eq!(alarms.stored(), (0, (0, 0)));
}

#[tokio::test]
async fn a_topic_without_any_deadline_goes_after_it_was_deleted() {
    let clock = ManualClock::at(START);
    let topics = MemoryTopic::new(&Timer::pinned(&clock));
    let for_ever = Settings { retention: None, max_len: None };
    let event = NewEvent { content: Content::default(), dedup: None };
    topics.publish(&address(1), for_ever, vec![event]).await.unwrap();
    clock.advance(24 * HOUR);
    assert_eq!(topics.sweep(clock.now()), None);
    topics.change(&address(1), Change::Delete).await.unwrap();
    assert_eq!(topics.sweep(clock.now()), Some(clock.now() + 24 * HOUR));
    clock.advance(24 * HOUR);
    assert_eq!(topics.sweep(clock.now()), None);
}
