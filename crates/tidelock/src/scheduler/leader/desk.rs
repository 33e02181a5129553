//! What a leader does with due schedules: decide, dispatch, confirm.
//!
//! In each pass, the pulse delivers what is due. Due slots are decided, and decisions and confirmations are written
//! in one trip. The next beat shows decided slots as a plan, which is then dispatched. Dispatches run alongside the
//! passes, so that a target that does not answer delays nothing else. There is at most one dispatch per schedule at a
//! time.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::entry::{Entry, unreadable};
use super::flight::{self, Instants, Key, Landing, Walk};
use super::term::Term;
use super::tray::{In, Work};
use super::{Engine, zones};
use crate::cron::Cron;
use crate::hash::{HashMap, HashSet};
use crate::runtime::{self, BoxFuture};
use crate::scheduler::decide::{self, COUNTED};
use crate::scheduler::definition::Spec;
use crate::scheduler::observe::{Happening, LostBy, SkippedBy};
use crate::scheduler::store::{Busy, DueView, Next, PlanView, ScheduleView, StateView, Step, Write, Written};
use crate::scheduler::timing::Whose;
use crate::time::SECOND;

/// The most steps in one write.
const MAX_STEPS: usize = 500;
/// The number of slots that are judged before other work gets its turn; this takes a few milliseconds. A schedule
/// that was not checked for long has thousands of them. If all tasks share a thread, the lease would otherwise end
/// before a batch of such schedules is judged and written, and the next leader would get no further.
const AT_A_STRETCH: u64 = 1_000;
/// The most dispatches in flight at once, except for what one beat shows beyond it. That is ten batches, so that
/// targets that answer have enough to do. It is bounded because each beat lists to the backend everything in flight:
/// if no target answers, the list would grow with everything that is due.
const ALOFT: usize = 2_000;

/// The task that decides and dispatches.
pub(super) struct Desk {
    engine: Arc<Engine>,
    inbox: In,
    flights: FuturesUnordered<BoxFuture<'static, Landing>>,
    /// Dispatches in flight, and those that have landed but are not written yet.
    aloft: HashSet<Key>,
    /// Dispatches that have landed but are not written yet.
    landed: Vec<Key>,
    pending: Vec<Entry>,
    /// Due schedules without an open plan.
    unjudged: VecDeque<Unjudged>,
    /// How often each trigger failed.
    failures: HashMap<(u64, u64), u32>,
    /// Plans, by birth and run number, whose target does not exist.
    unserved: HashSet<(u64, u64)>,
    /// Something was done, and a beat must show what follows from it.
    moved: bool,
    /// Schedules whose next slot was decided since a page of the walk was begun. The page contains an older slot.
    judged: HashSet<Arc<str>>,
    /// A write failed, and with it perhaps slots that were moved. The walk through all schedules starts again.
    walk_broken: bool,
}

/// A due schedule, whether its handler is announced, and the backend's now at that time.
struct Unjudged {
    schedule: ScheduleView,
    served: bool,
    now: u64,
}

impl Desk {
    pub(super) fn new(engine: &Arc<Engine>, inbox: In) -> Self {
        Self {
            engine: Arc::clone(engine),
            inbox,
            flights: FuturesUnordered::new(),
            aloft: HashSet::default(),
            landed: Vec::new(),
            pending: Vec::new(),
            unjudged: VecDeque::new(),
            failures: HashMap::default(),
            unserved: HashSet::default(),
            moved: false,
            judged: HashSet::default(),
            walk_broken: false,
        }
    }

    pub(super) async fn run(mut self) {
        let engine = Arc::clone(&self.engine);
        let mut next = None;
        loop {
            let work = tokio::select! {
                biased;
                () = engine.closing() => return,
                work = async {
                    match next.take() {
                        Some(work) => work,
                        None => self.inbox.take().await,
                    }
                } => work,
            };
            next = self.lead(work).await;
            self.clear();
        }
    }

    /// Drops all work. The next leader finishes what this leadership has begun.
    fn clear(&mut self) {
        self.flights.clear();
        self.aloft.clear();
        self.landed.clear();
        self.pending.clear();
        self.unjudged.clear();
        self.failures.clear();
        self.unserved.clear();
        self.judged.clear();
        (self.moved, self.walk_broken) = (false, false);
    }

    /// Works as the leader until the leadership ends. Returns the first work of another leadership.
    async fn lead(&mut self, first: Work) -> Option<Work> {
        let engine = Arc::clone(&self.engine);
        let term = Arc::clone(&first.term);
        self.begin(&first);
        let mut next = Some(first);
        while !engine.is_closing() {
            if let Some(work) = next.take() {
                if !Arc::ptr_eq(&work.term, &term) {
                    return Some(work);
                }
                self.work(&term, work);
            }
            self.judge_some();
            self.flush(&term).await;
            // Otherwise a beat would show again what still waits to be judged.
            if self.unjudged.is_empty() {
                let room = engine.core.options.batch.min(ALOFT.saturating_sub(self.aloft.len()));
                self.inbox.want(room, self.under_way());
                if std::mem::take(&mut self.moved) {
                    self.inbox.ask();
                }
            }
            tokio::select! {
                biased;
                () = term.over() => return None,
                () = engine.closing() => {}
                work = self.inbox.take() => next = Some(work),
                Some(landing) = self.flights.next(), if !self.flights.is_empty() => self.land(landing),
                () = runtime::give_turn(), if !self.unjudged.is_empty() => {}
            }
            while let Some(Some(landing)) = self.flights.next().now_or_never() {
                self.land(landing);
            }
        }
        // The trips in flight finish.
        loop {
            tokio::select! {
                biased;
                () = term.over() => return None,
                landing = self.flights.next() => match landing {
                    Some(landing) => self.land(landing),
                    None => break,
                },
            }
        }
        self.flush(&term).await;
        None
    }

    fn under_way(&self) -> Busy {
        let mut busy = Busy::default();
        for key in &self.aloft {
            match key {
                Key::Schedule(id) => busy.schedules.push(Arc::clone(id)),
                Key::Trigger(born, run) => busy.triggers.push((*born, *run)),
            }
        }
        busy
    }

    fn begin(&mut self, work: &Work) {
        // An earlier leadership may have requested this beat, and so it may not show what that one had in flight.
        self.moved = true;
        let is_known = work.zones.as_deref() == Some(Cron::zone_database());
        self.flights.push(Box::pin(zones::begin(Arc::clone(&self.engine), is_known)));
    }

    fn work(&mut self, term: &Arc<Term>, work: Work) {
        let instants = Instants { now: work.now, heard: work.heard };
        let mut plans = Vec::new();
        for DueView { schedule, served } in work.due {
            if self.aloft.contains(&Key::Schedule(Arc::clone(&schedule.id))) {
                continue;
            }
            if let Some(plan) = &schedule.plan {
                if self.has_target(&schedule, plan) {
                    plans.push(schedule);
                }
            } else {
                self.unjudged.push_back(Unjudged { schedule, served, now: work.now });
            }
        }
        // Schedules that only catch up come after all others.
        let catches_up =
            |view: &ScheduleView| view.plan.as_ref().is_some_and(|plan| plan.slots.iter().any(|slot| !slot.on_time));
        let (late, mut plans): (Vec<_>, Vec<_>) = plans.into_iter().partition(catches_up);
        plans.extend(late);
        let mut budget = self.engine.core.options.max_submits;
        for schedule in plans {
            let planned = schedule.plan.as_ref().map_or(0, |plan| plan.slots.len());
            let share = planned.min(flight::AT_ONCE).min(budget);
            if share == 0 {
                break;
            }
            budget -= share;
            self.aloft.insert(Key::Schedule(Arc::clone(&schedule.id)));
            let (engine, term) = (Arc::clone(&self.engine), Arc::clone(term));
            self.flights.push(Box::pin(flight::slots(engine, term, schedule, share, instants)));
        }
        // In a page, the caller of a trigger also calls the target itself.
        let triggers = if self.engine.core.targets.are_called() { Vec::new() } else { work.triggers };
        for trigger in triggers {
            let key = Key::Trigger(trigger.born, trigger.run);
            if budget == 0 || !self.aloft.insert(key) {
                continue;
            }
            budget -= 1;
            let (engine, term) = (Arc::clone(&self.engine), Arc::clone(term));
            let rounds = self.failures.get(&(trigger.born, trigger.run)).copied().unwrap_or(0);
            self.flights.push(Box::pin(flight::trigger(engine, term, trigger, rounds, instants)));
        }
    }

    /// Judges due schedules until that has taken long enough.
    fn judge_some(&mut self) {
        let mut slots = 0;
        while slots < AT_A_STRETCH
            && let Some(Unjudged { schedule, served, now }) = self.unjudged.pop_front()
        {
            let entry = self.judge(&schedule, served, now, &mut slots);
            if entry.is_some() {
                self.judged.insert(Arc::clone(&schedule.id));
            }
            self.pending.extend(entry);
        }
    }

    /// What to write for a due schedule without an open plan. Counts the slots that it examines.
    fn judge(&self, view: &ScheduleView, served: bool, now: u64, slots_seen: &mut u64) -> Option<Entry> {
        let core = &self.engine.core;
        let (id, revision) = (Arc::clone(&view.id), view.revision);
        let schedule = || view.id.as_ref().to_owned();
        let spec = match Spec::read(&view.definition) {
            Ok(spec) => spec,
            Err(error) => return Some(unreadable(view, &error)),
        };
        let whose = Whose { scheduler: core.site.id(), schedule: &view.id };
        if let StateView::Paused { until, .. } = view.state {
            let until = until.filter(|until| *until <= now)?;
            return Some(resume(&spec, whose, view, until, slots_seen));
        }
        let Next { slot: expected, .. } = view.next?;
        let decision = decide::decide(&spec.timing, whose, expected, now, spec.content.terms(core.options.tolerance));
        *slots_seen += decision.slots.len() as u64 + decision.missed;
        if decision.slots.is_empty() && decision.missed == 0 && decision.next == view.next {
            return None;
        }
        let handler = view.definition.handler.clone().filter(|handler| !core.targets.serves(handler, served));
        let (mut slots, mut missing_handler) = (decision.slots, 0);
        if let Some(handler) = handler {
            if core.options.strict {
                let told = [Happening::ScheduleUnserved { schedule: schedule() }];
                return Some(Entry::new(Step::Unserve { id, revision, handler }, told));
            }
            missing_handler = std::mem::take(&mut slots).len() as u64;
        }
        let skipped = |count, reason| Happening::DispatchSkipped { schedule: schedule(), count, reason };
        let told = [(decision.missed, SkippedBy::Missed), (missing_handler, SkippedBy::MissingHandler)];
        let told = told.into_iter().filter(|(count, _)| *count > 0).map(|(count, reason)| skipped(count, reason));
        let told: Vec<_> = told.collect();
        let refused = (!slots.is_empty()).then(|| skipped(slots.len() as u64, SkippedBy::CasStale));
        let (next, missed) = (decision.next, decision.missed);
        // Slots that are run count as decided only once their target has them.
        let last = || next.map_or(Some(expected), |next| spec.timing.last_before(next.slot));
        let decided = if slots.is_empty() { last() } else { None };
        let step = Step::Decide { id, revision, expected, as_of: now, next, slots, missed, missing_handler };
        Some(Entry { step, told, refused, decided })
    }

    /// Whether the slots of a plan have a target that exists. If not, this is reported once.
    fn has_target(&mut self, view: &ScheduleView, plan: &PlanView) -> bool {
        let core = &self.engine.core;
        let known = (view.born, plan.first_run);
        let served = plan.handler.as_ref().is_none_or(|handler| core.targets.serves(handler, true));
        if served {
            self.unserved.remove(&known);
        } else if self.unserved.insert(known) {
            core.tell(Happening::ScheduleUnserved { schedule: view.id.as_ref().to_owned() });
        }
        served
    }

    fn land(&mut self, landing: Landing) {
        let Landing { key, entries, walk } = landing;
        self.moved |= key.is_some();
        self.landed.extend(key);
        let after = match walk {
            Walk::None => {
                self.pending.extend(entries);
                return;
            }
            // Slots that a page of the walk moved may not have been written: start from the beginning.
            _ if std::mem::take(&mut self.walk_broken) => None,
            Walk::Behind(after) => {
                self.extend_by_page(entries);
                after
            }
            Walk::Ends => return self.extend_by_page(entries),
        };
        self.judged.clear();
        if !self.engine.is_closing() {
            self.flights.push(Box::pin(zones::page(Arc::clone(&self.engine), after)));
        }
    }

    fn extend_by_page(&mut self, entries: Vec<Entry>) {
        let is_late = |entry: &Entry| matches!(&entry.step, Step::Move { id, .. } if self.judged.contains(id));
        self.pending.extend(entries.into_iter().filter(|entry| !is_late(entry)));
    }

    /// Writes decisions and results.
    async fn flush(&mut self, term: &Arc<Term>) {
        while !self.pending.is_empty() && term.holds(&self.engine.core.site.world.clock) {
            let rest = self.pending.split_off(self.pending.len().min(MAX_STEPS));
            let entries = std::mem::replace(&mut self.pending, rest);
            let ends_walk = entries.iter().chain(&self.pending).any(|entry| matches!(entry.step, Step::Zones { .. }));
            if !self.write(term, entries).await {
                self.pending.clear();
                if ends_walk && std::mem::take(&mut self.walk_broken) {
                    self.flights.push(Box::pin(zones::page(Arc::clone(&self.engine), None)));
                }
                break;
            }
        }
        for key in self.landed.drain(..) {
            self.aloft.remove(&key);
        }
    }

    fn count_failures(&mut self, step: &Step, done: bool) {
        match step {
            Step::TriggerFail { born, run, .. } if done => *self.failures.entry((*born, *run)).or_default() += 1,
            Step::TriggerFail { born, run, .. } | Step::TriggerDone { born, run, .. } => {
                self.failures.remove(&(*born, *run));
            }
            _ => {}
        }
    }

    /// Returns whether to continue.
    async fn write(&mut self, term: &Arc<Term>, mut entries: Vec<Entry>) -> bool {
        let engine = Arc::clone(&self.engine);
        let core = &engine.core;
        for entry in &mut entries {
            if let Step::Unserve { revision, handler, .. } = &mut entry.step
                && core.targets.serves(handler, false)
            {
                // The handler has appeared since then, and would not be announced again. Revision 0 matches nothing,
                // so the schedule stays due.
                *revision = 0;
            }
        }
        let (history, max_letters) = (core.options.history, core.options.max_letters);
        let steps = entries.iter().map(|entry| entry.step.clone()).collect();
        let write = Write { instance: Arc::clone(&engine.name), epoch: term.epoch, steps, history, max_letters };
        let written = tokio::select! {
            biased;
            written = core.site.store().write(&core.site.address, write) => written,
            () = term.over() => return false,
        };
        match written {
            Ok(Written::Each(done)) => {
                for (entry, done) in entries.into_iter().zip(done) {
                    self.moved |= done;
                    self.count_failures(&entry.step, done);
                    if let (true, Some(schedule), Some(slot)) = (done, entry.schedule(), entry.decided)
                        && let Err(error) = core.targets.decided(schedule, slot)
                    {
                        core.tell(Happening::TickError { message: core.targets.text(&error) });
                    }
                    let told = if done { entry.told } else { entry.refused.into_iter().collect() };
                    for what in told {
                        core.tell(what);
                    }
                }
                true
            }
            Ok(Written::Stale) => {
                core.watcher.stale_write();
                engine.lose(term, LostBy::ExtendFailed);
                false
            }
            Err(error) => {
                core.tell(Happening::TickError { message: error.to_string() });
                self.walk_broken = true;
                // In real time, because a pinned clock does not cure a failure. What was not confirmed is submitted
                // again, and its target recognises it.
                tokio::select! {
                    () = runtime::sleep(SECOND.mul_f64(0.1 + fastrand::f64() * 0.3)) => {}
                    () = engine.closing() => {}
                }
                self.moved = true;
                false
            }
        }
    }
}

/// A pause has reached its own end: the schedule continues from there, and late slots are judged as usual. Slots
/// before the next one were decided, or dropped because the timing was different.
fn resume(spec: &Spec, whose: Whose<'_>, view: &ScheduleView, until: u64, slots_seen: &mut u64) -> Entry {
    let next = match view.next {
        Some(next) if next.slot < until => spec.timing.first_from(until).map(|slot| spec.timing.next(whose, slot)),
        next => next,
    };
    let passed = view.next.map_or(0, |next| spec.timing.count(next.slot, until, COUNTED));
    *slots_seen += passed;
    let (id, revision, schedule) = (Arc::clone(&view.id), view.revision, view.id.as_ref().to_owned());
    let told = Happening::DispatchSkipped { schedule, count: passed, reason: SkippedBy::Paused };
    Entry::new(Step::Resume { id, revision, next, passed }, (passed > 0).then_some(told))
}
