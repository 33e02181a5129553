//! The model against real servers: the same random requests at the same pinned times must have the same outcomes.
//!
//! `TIDELOCK_SEED` repeats a run; the seed of each run is printed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::model::{Model, Now};
use super::store::{
    Beat, Busy, Change, Definition, Dispatched, Guess, Look, Next, PlannedSlot, Role, ScheduleView, SchedulerStore,
    StateView, Step, TriggerView, View, Wish, Write, Written,
};
use crate::Tidelock;
use crate::backend::redis::UNSWEPT;
use crate::bell::Bell;
use crate::differential::on_every_server;
use crate::name::Address;
use crate::time::{ManualClock, Timestamp};

/// Steps over all servers together.
const STEPS: usize = 100_000;
/// Steps per object.
const ROUND: usize = 500;

const IDS: [&str; 9] = ["a", "a\u{1}", "a/b", "b", "B", "é", "\u{10ffff}", "z", "zz"];
const HANDLERS: [&str; 4] = ["h", "h\u{1}", "hh", "é"];
/// What must have happened in a run for it to be meaningful.
const MUST_HAPPEN: &str = "\
    Decide:true Decide:false Confirm:true Confirm:false Fail:true Fail:false Unserve:true Unserve:false Quarantine:true \
    Quarantine:false Resume:true Resume:false Move:true Move:false Zones:true TriggerDone:true TriggerDone:false \
    Awaits:true Awaits:false TriggerFail:true TriggerFail:false Register:Created Register:Updated Register:Unchanged \
    Register:Now Register:Full Unregister:Done Unregister:Absent Pause:Done Pause:Unchanged Pause:Absent Resume:Done \
    Resume:Unchanged Resume:Absent Resume:Conflict Resume:Now Trigger:Accepted Trigger:Known Trigger:MissingHandler \
    Trigger:Invalid Trigger:Absent TriggerDone:Done TriggerDone:Absent RemoveLetter:Done RemoveLetter:Absent \
    PurgeLetters:Count Delete:Done Write:Stale Lead:Leader Lead:Follower Renew:Leader Renew:Follower Renew:Free \
    Announce:Follower Announce:Free Change:rung Leave:rung Known:Active Known:Paused Known:Unserved Known:Failing \
    Known:Quarantined Known:Finished";

const INSTANCES: [&str; 4] = ["one", "two", "three", "four"];

struct Run {
    random: fastrand::Rng,
    clock: ManualClock,
    model: Model,
    store: Arc<dyn SchedulerStore>,
    address: Address,
    epochs: Vec<(Arc<str>, u64)>,
    triggers: Vec<TriggerView>,
    letters: Vec<u64>,
    bell: Arc<Bell>,
    /// Outcomes, and how often each occurred.
    happened: BTreeMap<String, usize>,
}

/// The name of an enum variant.
fn word(value: &impl Debug) -> String {
    format!("{value:?}").trim_start_matches('"').chars().take_while(|c| c.is_alphanumeric()).collect()
}

impl Run {
    fn now(&self) -> Now {
        Now::from_millis(self.clock.now().as_millis())
    }

    fn happened(&mut self, what: &impl Debug, outcome: &impl Debug) {
        *self.happened.entry(format!("{}:{}", word(what), word(outcome))).or_default() += 1;
    }

    /// If the model rings for somebody, waits until the bell of the process rings.
    async fn hear(&mut self, what: &str) {
        if !self.model.take_news().is_empty() {
            *self.happened.entry(format!("{what}:rung")).or_default() += 1;
            let rung = tokio::time::timeout(Duration::from_secs(10), self.bell.rung.notified()).await;
            assert!(rung.is_ok(), "nobody was rung for after {what}");
        }
        // Drops a ring left over from before.
        let _ = self.bell.rung.notified().now_or_never();
    }

    fn maybe<T>(&mut self, chance: f64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.f64() < chance).then(|| value(self))
    }

    fn one_of(&mut self, options: &[&str]) -> Arc<str> {
        (*self.random.choice(options).expect("there are options")).into()
    }

    fn bytes(&mut self, of: &[&str]) -> Vec<u8> {
        self.one_of(of).as_bytes().to_vec()
    }

    /// The current state of the schedule with this id.
    fn known(&mut self, id: &Arc<str>) -> Option<ScheduleView> {
        let now = self.now();
        match self.model.look(now, &Look::Get { id: Arc::clone(id) }) {
            View::Schedule(found) => found.map(|found| *found),
            other => panic!("{other:?}"),
        }
    }

    /// An id and its schedule's state, mostly of one that is due.
    fn some_schedule(&mut self) -> (Arc<str>, Option<ScheduleView>) {
        let id = self.one_of(&IDS);
        let known = self.known(&id);
        (id, known)
    }

    /// Mostly a schedule in such a state, if there is one: few are paused, unserved or quarantined at any time.
    fn some_that_is(&mut self, wanted: impl Fn(&StateView) -> bool) -> (Arc<str>, Option<ScheduleView>) {
        let mut found = self.some_schedule();
        for _ in 0..self.random.usize(..10) {
            if found.1.as_ref().is_some_and(|known| wanted(&known.state)) {
                break;
            }
            found = self.some_schedule();
        }
        found
    }

    fn some_paused(&mut self) -> (Arc<str>, Option<ScheduleView>) {
        self.some_that_is(|state| matches!(state, StateView::Paused { .. }))
    }

    /// This number, sometimes off by one.
    fn nearly(&mut self, number: u64) -> u64 {
        if self.random.u8(0..12) == 0 { number + 1 - 2 * self.random.u64(0..=1).min(number) } else { number }
    }

    fn next(&mut self) -> Option<Next> {
        let now = self.now().ms;
        self.maybe(0.85, |run| {
            let slot = now + run.random.u64(1..400);
            Next { slot, due: slot + run.random.u64(0..2) * run.random.u64(0..60) }
        })
    }

    fn guess(&mut self) -> Guess {
        let now = self.now().ms;
        let next = self.next();
        match self.random.u8(0..12) {
            0 => Guess { from: now + 1, until: now + 100, next },
            1 => Guess { from: now - 10, until: now, next },
            2 => Guess { from: now, until: now + 1, next },
            _ => Guess { from: now - 100, until: u64::MAX, next },
        }
    }

    fn definition(&mut self) -> Definition {
        Definition {
            timing: self.bytes(&["t", "t,1", "t,2", "tt", "\0t", ""]),
            content: self.bytes(&["c", "\u{ffff}", "cc\0\n", ""]),
            handler: self.maybe(0.5, |run| run.one_of(&HANDLERS)),
        }
    }

    fn slots(&mut self) -> Vec<PlannedSlot> {
        let now = self.now().ms;
        let late = self.random.usize(0..3);
        let on_time = self.random.usize(0..3);
        let slot = |index: usize| PlannedSlot {
            slot: now - 300 + index as u64,
            due: now - 200 + index as u64,
            on_time: index >= late,
        };
        (0..late + on_time).map(slot).collect()
    }

    fn outcome(&mut self) -> Dispatched {
        match self.random.u8(0..6) {
            0 => Dispatched::Overlapped { active: self.random.u64(1..1_000) },
            1..3 => Dispatched::GivenUp { error: self.one_of(&["broke", ""]) },
            _ => Dispatched::Submitted { job: self.random.u64(1..1 << 50), lateness: self.random.u64(0..9_000) },
        }
    }

    async fn beat(&mut self) {
        let instance = self.one_of(&INSTANCES);
        let lease = self.random.u64(1..3_000);
        let held = self.epochs.iter().rev().find(|(of, _)| *of == instance).map_or(1, |(_, epoch)| *epoch);
        let wish = match self.random.u8(0..10) {
            0..4 => Wish::Lead { lease },
            4..8 => Wish::Renew { epoch: self.nearly(held), lease },
            _ => Wish::Announce,
        };
        let count = self.random.usize(0..3);
        let handlers = (0..count).map(|_| self.one_of(&HANDLERS)).collect();
        let batch = self.random.usize(1..5);
        let beat = Beat { instance: Arc::clone(&instance), handlers, wish, batch, busy: self.busy() };
        let expected = self.model.beat(self.now(), &"process".into(), &beat);
        let found = self.store.beat(&self.address, beat.clone()).await.unwrap();
        assert_eq!(expected, found, "{beat:?}");
        self.happened(&beat.wish, &found.role);
        self.hear("Beat").await;
        if let Role::Leader { epoch, triggers, .. } = found.role {
            self.epochs.push((instance, epoch));
            self.triggers.extend(triggers);
        }
    }

    fn busy(&mut self) -> Busy {
        let count = self.random.usize(0..4);
        let schedules = (0..count).map(|_| self.one_of(&IDS)).collect();
        let triggers = (0..count).filter_map(|_| self.some_trigger()).map(|(_, born, run)| (born, run)).collect();
        Busy { schedules, triggers }
    }

    async fn leave(&mut self) {
        let instance = self.one_of(&INSTANCES);
        self.model.leave(self.now(), &instance);
        self.store.leave(&self.address, instance).await.unwrap();
        self.hear("Leave").await;
    }

    fn some_trigger(&mut self) -> Option<(Arc<str>, u64, u64)> {
        let recent = self.triggers.len().saturating_sub(5);
        let found = self.random.choice(&self.triggers[recent..])?;
        let (id, born, run) = (Arc::clone(&found.id), found.born, found.run);
        let id = if self.random.u8(0..20) == 0 { self.one_of(&IDS) } else { id };
        Some((id, self.nearly(born), self.nearly(run)))
    }

    fn one_step(&mut self) -> Step {
        let (id, known) = self.some_schedule();
        let revision = known.as_ref().map_or(1, |known| known.revision);
        let revision = self.nearly(revision);
        let born = known.as_ref().map_or(1, |known| known.born);
        let born = self.nearly(born);
        let first = known.as_ref().and_then(|known| known.plan.as_ref()).map_or(1, |plan| plan.first_run);
        let run = self.nearly(first);
        let error = self.one_of(&["fell", "broke", ""]);
        let (missed, missing_handler) = (self.random.u64(0..2), self.random.u64(0..2) * self.random.u64(0..5));
        match self.random.u8(0..40) {
            0..12 => {
                let expected = known.and_then(|known| known.next).map_or(1, |next| next.slot);
                let (expected, as_of) = (self.nearly(expected), self.now().ms - self.random.u64(0..5));
                let (next, slots) = (self.next(), self.slots());
                Step::Decide { id, revision, expected, as_of, next, slots, missed, missing_handler }
            }
            12 => Step::Confirm { id, born, run, outcome: Dispatched::Submitted { job: 0, lateness: 7 } },
            13..22 => Step::Confirm { id, born, run, outcome: self.outcome() },
            22..25 => Step::Fail { id, born, run, error, delay: self.random.u64(1..200) },
            25..30 => {
                let handler = known.and_then(|known| known.definition.handler);
                let handler = handler.unwrap_or_else(|| self.one_of(&HANDLERS));
                Step::Unserve { id, revision, handler }
            }
            30 => Step::Quarantine { id, revision, error },
            31..34 => {
                let (id, known) = self.some_paused();
                let revision = self.nearly(known.map_or(1, |known| known.revision));
                Step::Resume { id, revision, next: self.next(), passed: missed }
            }
            34..36 => Step::Move { id, revision, next: self.next() },
            36 => Step::Zones { version: self.one_of(&["2025a", "2025b"]) },
            _ => {
                let (id, born, run) = self.some_trigger().unwrap_or((id, born, run));
                match self.random.u8(0..4) {
                    0 => Step::TriggerFail { id, born, run, delay: self.random.u64(0..200) },
                    _ => Step::TriggerDone { id, born, run, outcome: self.outcome(), rounds: self.random.u32(1..9) },
                }
            }
        }
    }

    async fn write(&mut self) {
        let recent = self.epochs.len().saturating_sub(3);
        let Some((instance, epoch)) = self.epochs.last().cloned() else { return };
        let (instance, epoch) = match self.random.u8(0..12) {
            0 => self.random.choice(&self.epochs[recent..]).cloned().unwrap(),
            1 => (self.one_of(&INSTANCES), epoch),
            2 => (instance, self.nearly(epoch)),
            _ => (instance, epoch),
        };
        let count = self.random.usize(0..5);
        let steps = (0..count).map(|_| self.one_step()).collect();
        let (history, max_letters) = (self.random.u64(0..6), self.random.u64(1..7));
        let write = Write { instance, epoch, steps, history, max_letters };
        let expected = self.model.write(self.now(), &write);
        let found = self.store.write(&self.address, write.clone()).await.unwrap();
        assert_eq!(expected, found, "{write:?}");
        match found {
            Written::Stale => self.happened(&"Write", &found),
            Written::Each(done) => write.steps.iter().zip(done).for_each(|(step, done)| self.happened(step, &done)),
        }
    }

    fn resume(&mut self, history: u64) -> Change {
        let (id, known) = self.some_paused();
        let revision = known.map_or(1, |known| known.revision);
        // Both are wrong more often than elsewhere: otherwise few wrong values would meet a paused schedule.
        let revision = if self.random.u8(..4) == 0 { revision + 1 } else { revision };
        let guess = match self.guess() {
            guess if self.random.u8(..4) == 0 => Guess { until: guess.from, ..guess },
            guess => guess,
        };
        Change::Resume { id, revision, guess, passed: self.random.u64(0..3), history }
    }

    /// Often uses the same schedule, so that keys are repeated.
    fn trigger(&mut self, id: Arc<str>) -> Change {
        let id = match self.random.u8(..8) {
            0..4 => IDS[0].into(),
            4 => self.some_that_is(|state| matches!(state, StateView::Quarantined { .. })).0,
            _ => id,
        };
        let key = self.maybe(0.7, |run| run.one_of(&["k", "k", "kk", "k\u{1}"]));
        Change::Trigger { id, key, strict: self.random.bool(), memory: self.random.u64(1..9_000) }
    }

    fn one_change(&mut self) -> Change {
        let (id, known) = self.some_schedule();
        let history = self.random.u64(0..6);
        match self.random.u8(0..60) {
            0..18 => {
                let definition = match known {
                    Some(known) if self.random.bool() => {
                        let mut same = known.definition;
                        if self.random.bool() {
                            same.content = self.definition().content;
                        }
                        same
                    }
                    _ => self.definition(),
                };
                let max_schedules = if self.random.u8(0..5) == 0 { self.random.u64(1..9) } else { 1_000_000 };
                Change::Register { id, definition, guess: self.guess(), max_schedules }
            }
            18..21 => Change::Unregister { id },
            21..26 => {
                let for_at_most = self.maybe(0.7, |run| run.random.u64(1..200));
                Change::Pause { id, for_at_most, reason: self.maybe(0.5, |run| run.one_of(&["deploy", ""])) }
            }
            26..33 => self.resume(history),
            33..46 => self.trigger(id),
            46..54 => match self.some_trigger() {
                Some((id, born, run)) => Change::TriggerDone { id, born, run, outcome: self.outcome(), history },
                None => Change::Unregister { id },
            },
            54..58 => {
                let recent = self.letters.len().saturating_sub(6);
                let number = self.random.choice(&self.letters[recent..]).copied().unwrap_or(1);
                Change::RemoveLetter { number: self.nearly(number) }
            }
            58 => Change::PurgeLetters,
            _ if self.random.u8(0..4) == 0 => Change::Delete,
            _ => Change::Unregister { id },
        }
    }

    async fn change(&mut self) {
        let change = self.one_change();
        let expected = self.model.change(self.now(), change.clone());
        let found = self.store.change(&self.address, change.clone()).await.unwrap();
        assert_eq!(expected, found, "{change:?}");
        self.happened(&change, &found);
        self.hear("Change").await;
        if let super::store::Changes::Accepted(trigger) = found {
            self.triggers.push(*trigger);
        }
    }

    async fn look(&mut self) {
        let limit = self.random.usize(1..5);
        let id = self.one_of(&IDS);
        let look = match self.random.u8(0..10) {
            0 => Look::Now,
            1..3 if self.random.bool() => {
                Look::Get { id: self.some_that_is(|state| matches!(state, StateView::Unserved { .. })).0 }
            }
            1..3 => Look::Get { id },
            3..5 => Look::List { limit, after: None },
            5 => Look::History { id },
            6 => Look::Letters { limit, before: None },
            7 => Look::Letter { number: self.letters.last().copied().unwrap_or(1) },
            8 => {
                let (id, known) = self.some_schedule();
                let first = |known: &ScheduleView| known.plan.as_ref().map_or(known.run, |plan| plan.first_run);
                let (born, first) = known.map_or((1, 1), |known| (known.born, first(&known)));
                Look::Awaits { id, born: self.nearly(born), run: first + self.random.u64(0..3) }
            }
            _ => Look::Stats,
        };
        self.compare(look).await;
    }

    /// Compares the result of a query; a listing to its end.
    async fn compare(&mut self, mut look: Look) {
        loop {
            let now = self.now();
            for _ in 0..crate::backend::SETTLING_STEPS {
                self.model.sweep(now);
                if !self.model.is_settling(now) {
                    break;
                }
            }
            let expected = self.model.look(now, &look);
            let found = self.store.look(&self.address, look.clone()).await.unwrap();
            assert_eq!(expected, found, "{look:?}");
            self.hear("Look").await;
            match &found {
                View::Awaits(found) => self.happened(&"Awaits", found),
                View::Schedule(Some(found)) => self.happened(&"Known", &found.state),
                View::Schedules(found, _) => found.iter().for_each(|found| self.happened(&"Known", &found.state)),
                _ => {}
            }
            match (&mut look, found) {
                (Look::List { after, .. }, View::Schedules(found, true)) => {
                    *after = Some(Arc::clone(&found.last().unwrap().id));
                }
                (Look::Letters { before, .. }, View::Letters(found, more)) => {
                    self.letters.extend(found.iter().rev().map(|letter| letter.number));
                    if !more {
                        return;
                    }
                    *before = found.last().map(|letter| letter.number);
                }
                _ => return,
            }
        }
    }

    /// Compares everything that can be queried.
    async fn compare_all(&mut self) {
        self.compare(Look::List { limit: 3, after: None }).await;
        self.compare(Look::Letters { limit: 3, before: None }).await;
        self.compare(Look::Stats).await;
        for id in IDS {
            self.compare(Look::History { id: id.into() }).await;
        }
    }

    async fn step(&mut self) {
        match self.random.u8(0..100) {
            0..15 => self.beat().await,
            15 => self.leave().await,
            16..45 => self.write().await,
            45..70 => self.change().await,
            70..82 => self.look().await,
            82..97 => self.clock.advance(Duration::from_millis(self.random.u64(0..60))),
            _ => {
                let now = self.clock.now().as_millis();
                let by = match self.random.u8(0..30) {
                    // Finished schedules and dead letters are removed.
                    0 => 7 * 86_400_000 - self.random.u64(0..1_000),
                    // Instances are forgotten.
                    1..8 => self.random.u64(10_000..20_000),
                    _ => self.random.u64(0..1_500),
                };
                let back = self.random.u8(0..4) == 0;
                self.clock.set(Timestamp::from_millis(if back { now - by.min(20) } else { now + by }));
            }
        }
    }
}

async fn differential(url: String, steps: usize, seed: u64) {
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let prefix = format!("{UNSWEPT}.{seed}.{}", fastrand::u32(..));
    let tide = Tidelock::connect(&url).prefix(&prefix).clock(&clock).await.unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut happened = BTreeMap::new();
    for round in 0..steps.div_ceil(ROUND) {
        let address = Address::new(&"default".into(), &format!("s{round}"));
        let bell = tide.world.backend.scheduler().bell(&address);
        let mut run = Run {
            random: random.fork(),
            clock: clock.clone(),
            model: Model::default(),
            store: tide.world.backend.scheduler(),
            address,
            epochs: Vec::new(),
            triggers: Vec::new(),
            letters: Vec::new(),
            bell,
            happened: std::mem::take(&mut happened),
        };
        for _ in 0..ROUND {
            run.step().await;
        }
        run.compare_all().await;
        let expected = run.model.change(run.now(), Change::Delete);
        assert_eq!(expected, run.store.change(&run.address, Change::Delete).await.unwrap());
        run.compare_all().await;
        happened = run.happened;
    }
    let times = |what: &str| happened.get(what).copied().unwrap_or(0);
    let rarest = MUST_HAPPEN.split_whitespace().min_by_key(|what| times(what)).expect("there are some");
    eprintln!("{steps} steps: {rarest} {} times, all others as often or more", times(rarest));
    let missing: Vec<_> = MUST_HAPPEN.split_whitespace().filter(|what| times(what) == 0).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_and_the_servers_agree() {
    on_every_server(STEPS, differential).await;
}
