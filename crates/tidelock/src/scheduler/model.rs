//! Schedulers as a pure state machine: the in-process backend, and the specification of the Redis scripts.
//!
//! A step is one atomic operation: [`Model::advance`] carries out what is overdue, one operation follows, and
//! [`Model::take_news`] returns the processes that must beat again. Time and processes are inputs.

mod advance;
mod beat;
mod change;
mod look;
#[cfg(test)]
mod tests;
mod trigger;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::trigger::{Key, Owned, Trigger};
use super::store::{
    Definition, Guess, Happened, HistoryView, LETTERS_UNTOLD, LastView, LetterView, Next, PlanView, PlannedSlot,
    ScheduleView, StateView,
};
use crate::hash::{HashMap, HashSet};

pub(crate) use crate::time::Now;

/// Added to the instant of a plan that begins with a catch-up run. Such a plan is due at once, but after all others.
const LATE: u64 = 1 << 52;
/// Greater than every instant.
const NEVER: u64 = LATE;

/// All schedules of one scheduler.
#[derive(Debug)]
pub(crate) struct Model {
    /// The last epoch that was in force.
    epoch: u64,
    /// The last revision of schedules and dead letters.
    revision: u64,
    leader: Option<Leader>,
    /// The instant by which the leader checks again.
    told: u64,
    /// The earliest instant at which this step made something due.
    earliest: u64,
    zones: Option<Arc<str>>,
    schedules: BTreeMap<Arc<str>, Box<Entry>>,
    /// How many are in each state, in the order of [`StateView`].
    states: [u64; 6],
    /// Active schedules without an open plan, by their next due instant.
    due: BTreeSet<(u64, Arc<str>)>,
    /// Schedules with a plan, failing ones, and paused ones with an end, by the instant at which the leader must
    /// check them.
    again: BTreeSet<(u64, Arc<str>)>,
    /// Schedules whose next slot is not in `due`, except for paused and quarantined ones, by the due instant of that
    /// slot.
    behind: BTreeSet<(u64, Arc<str>)>,
    /// Finished schedules by the instant of their removal.
    ended: BTreeSet<(u64, Arc<str>)>,
    /// (handler, schedule) of unserved schedules.
    unserved: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Handlers that appeared while schedules are waiting for them.
    awakening: BTreeSet<Arc<str>>,
    triggers: BTreeMap<(u64, u64), Box<Trigger>>,
    /// (instant, born, run): when a leader must submit an accepted trigger.
    waiting: BTreeSet<(u64, u64, u64)>,
    keys: HashMap<(u64, Arc<str>), Key>,
    /// Keys whose trigger was submitted, by the instant at which they are forgotten.
    key_ends: BTreeSet<(u64, u64, Arc<str>)>,
    letters: BTreeMap<u64, Box<LetterView>>,
    letters_lost: u64,
    /// The last leader's setting.
    max_letters: u64,
    /// Data that belongs to schedules, by the revision with which they were created.
    owned: BTreeSet<(u64, Owned)>,
    /// Schedules that are gone while some of their data is left.
    buried: BTreeSet<u64>,
    instances: BTreeMap<Arc<str>, Box<Instance>>,
    /// Instances by the instant at which they are forgotten.
    alive: BTreeSet<(u64, Arc<str>)>,
    /// How long each handler is announced by some instance.
    served: BTreeMap<Arc<str>, u64>,
    news: Vec<Arc<str>>,
    touched: u64,
}

#[derive(Clone, Debug)]
struct Leader {
    instance: Arc<str>,
    process: Arc<str>,
    epoch: u64,
    until: u64,
}

/// A started instance.
#[derive(Clone, Debug)]
struct Instance {
    process: Arc<str>,
    handlers: Vec<Arc<str>>,
    /// How long its handlers count as announced.
    announced: u64,
    /// How long it is remembered: longer than the lease whose end it waits for.
    until: u64,
}

/// A stored schedule.
#[derive(Clone, Debug)]
struct Entry {
    id: Arc<str>,
    born: u64,
    revision: u64,
    timing_revision: u64,
    definition: Arc<Definition>,
    created_at: u64,
    updated_at: u64,
    next: Option<Next>,
    run: u64,
    state: StateView,
    /// Only active, failing and quarantined ones can have a plan; a failing one always has one.
    plan: Option<Plan>,
    last: Option<LastView>,
    history: VecDeque<HistoryView>,
}

#[derive(Clone, Debug)]
struct Plan {
    slots: VecDeque<PlannedSlot>,
    first_run: u64,
    missed: u64,
    decided_at: u64,
    definition: Arc<Definition>,
    timing_revision: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            epoch: 0,
            revision: 0,
            leader: None,
            told: NEVER,
            earliest: NEVER,
            zones: None,
            schedules: BTreeMap::new(),
            states: [0; 6],
            due: BTreeSet::new(),
            again: BTreeSet::new(),
            behind: BTreeSet::new(),
            ended: BTreeSet::new(),
            unserved: BTreeSet::new(),
            awakening: BTreeSet::new(),
            triggers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            keys: HashMap::default(),
            key_ends: BTreeSet::new(),
            letters: BTreeMap::new(),
            letters_lost: 0,
            max_letters: LETTERS_UNTOLD,
            owned: BTreeSet::new(),
            buried: BTreeSet::new(),
            instances: BTreeMap::new(),
            alive: BTreeSet::new(),
            served: BTreeMap::new(),
            news: Vec::new(),
            touched: 0,
        }
    }
}

impl Guess {
    fn holds(&self, now: Now) -> bool {
        (self.from..self.until).contains(&now.ms)
    }
}

fn index_of(state: &StateView) -> usize {
    match state {
        StateView::Active => 0,
        StateView::Paused { .. } => 1,
        StateView::Unserved { .. } => 2,
        StateView::Failing { .. } => 3,
        StateView::Quarantined { .. } => 4,
        StateView::Finished { .. } => 5,
    }
}

impl Entry {
    /// Whether its pause has reached its own end.
    fn is_over(&self, now: u64) -> bool {
        matches!(self.state, StateView::Paused { until: Some(until), .. } if until <= now)
    }

    /// Marks the schedule as finished if it has nothing left to do.
    fn rest(&mut self, now: u64) {
        if self.state == StateView::Active && self.plan.is_none() && self.next.is_none() {
            self.state = StateView::Finished { at: now };
        }
    }

    /// Its instant in `due`.
    fn due(&self) -> Option<u64> {
        let plain = self.state == StateView::Active && self.plan.is_none();
        self.next.filter(|_| plain).map(|next| next.due)
    }

    /// Its instant in `again`.
    fn again(&self) -> Option<u64> {
        match self.state {
            StateView::Active => {
                let plan = self.plan.as_ref()?;
                let first = plan.slots.front()?;
                Some(if first.on_time { first.due } else { LATE + plan.decided_at })
            }
            StateView::Failing { retry_at, .. } => Some(retry_at),
            StateView::Paused { until, .. } => until,
            _ => None,
        }
    }

    /// Its instant in `behind`.
    fn behind(&self) -> Option<u64> {
        let counts = match self.state {
            StateView::Active => self.plan.is_some(),
            StateView::Failing { .. } | StateView::Unserved { .. } => true,
            _ => false,
        };
        self.next.filter(|_| counts).map(|next| next.due)
    }

    fn remember(&mut self, keep: u64, at: u64, what: Happened) {
        self.history.push_back(HistoryView { at, what });
        while self.history.len() as u64 > keep {
            self.history.pop_front();
        }
    }

    fn size(&self) -> usize {
        let plan = self.plan.as_ref().filter(|plan| !Arc::ptr_eq(&plan.definition, &self.definition));
        let plan = plan.map_or(0, |plan| plan.definition.content.len());
        self.definition.timing.len() + self.definition.content.len() + plan
    }

    fn view(&self) -> ScheduleView {
        ScheduleView {
            id: Arc::clone(&self.id),
            born: self.born,
            revision: self.revision,
            timing_revision: self.timing_revision,
            definition: (*self.definition).clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            next: self.next,
            run: self.run,
            state: self.state.clone(),
            plan: self.plan.as_ref().map(Plan::view),
            last: self.last,
        }
    }
}

impl Plan {
    fn view(&self) -> PlanView {
        PlanView {
            slots: self.slots.iter().copied().collect(),
            first_run: self.first_run,
            missed: self.missed,
            decided_at: self.decided_at,
            content: self.definition.content.clone(),
            handler: self.definition.handler.clone(),
            timing_revision: self.timing_revision,
        }
    }
}

impl Model {
    fn next_revision(&mut self, now: Now) -> u64 {
        self.revision = now.next_number(self.revision);
        self.revision
    }

    fn leading(&self, now: Now) -> Option<&Leader> {
        self.leader.as_ref().filter(|leader| now.ms < leader.until)
    }

    fn is_served(&self, now: Now, handler: &str) -> bool {
        self.served.get(handler).is_some_and(|until| now.ms < *until)
    }

    /// Takes a schedule out of all indexes, so that it can be changed.
    fn take_out(&mut self, id: &str) -> Option<Box<Entry>> {
        let entry = self.schedules.remove(id)?;
        self.states[index_of(&entry.state)] -= 1;
        for (index, at) in
            [(&mut self.due, entry.due()), (&mut self.again, entry.again()), (&mut self.behind, entry.behind())]
        {
            if let Some(at) = at {
                index.remove(&(at, Arc::clone(&entry.id)));
            }
        }
        match (&entry.state, &entry.definition.handler) {
            (StateView::Unserved { .. }, Some(handler)) => {
                self.unserved.remove(&(Arc::clone(handler), Arc::clone(&entry.id)));
            }
            (StateView::Finished { at }, _) => {
                self.ended.remove(&(at + super::store::FINISHED_KEPT, Arc::clone(&entry.id)));
            }
            _ => {}
        }
        Some(entry)
    }

    /// Puts a schedule into its indexes.
    fn put(&mut self, entry: Box<Entry>) {
        self.states[index_of(&entry.state)] += 1;
        for (index, at) in [(&mut self.due, entry.due()), (&mut self.again, entry.again())] {
            if let Some(at) = at {
                index.insert((at, Arc::clone(&entry.id)));
                self.earliest = self.earliest.min(if at >= LATE { 0 } else { at });
            }
        }
        if let Some(at) = entry.behind() {
            self.behind.insert((at, Arc::clone(&entry.id)));
        }
        match (&entry.state, &entry.definition.handler) {
            (StateView::Unserved { .. }, Some(handler)) => {
                self.unserved.insert((Arc::clone(handler), Arc::clone(&entry.id)));
            }
            (StateView::Finished { at }, _) => {
                self.ended.insert((at + super::store::FINISHED_KEPT, Arc::clone(&entry.id)));
            }
            _ => {}
        }
        self.schedules.insert(Arc::clone(&entry.id), entry);
    }

    /// Ends a step that is not the leader's: rings for the leader if something is due earlier than it knows.
    fn ring(&mut self, now: Now) {
        if self.told <= self.earliest {
            return;
        }
        self.told = self.earliest;
        if let Some(leader) = self.leading(now) {
            let process = Arc::clone(&leader.process);
            self.news.push(process);
        }
    }

    /// Rings for all known instances except for this one.
    fn ring_others(&mut self, instance: &str) {
        let others = self.instances.iter().filter(|(name, _)| &***name != instance);
        // Inserted one by one: collecting into a set sorts first, and there are few.
        let mut processes = BTreeSet::new();
        processes.extend(others.map(|(_, other)| Arc::clone(&other.process)));
        self.news.extend(processes);
    }

    /// The processes whose instances must beat again because of this step.
    pub(crate) fn take_news(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.news)
    }

    /// When the object was last touched, if it holds nothing that anybody could ask for. Its numbers are kept for
    /// another hour.
    pub(crate) fn is_idle_since(&self) -> Option<u64> {
        let idle = self.schedules.is_empty() && self.buried.is_empty() && self.instances.is_empty();
        idle.then(|| self.leader.as_ref().map_or(self.touched, |leader| self.touched.max(leader.until)))
    }
}
