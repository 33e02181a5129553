//! Objects of one primitive in process, by address: made when they are used, swept when something is due, let go of when
//! they stayed empty.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::Timer;
use crate::backend::SETTLING_STEPS;
use crate::hash::HashMap;
use crate::name::Address;
use crate::time::{Now, Timestamp};
use crate::weak_map::WeakSlot;

/// One object: its model behind a lock, and what rings for those who wait.
pub(crate) trait Cell: Default {
    /// How long the numbers of an empty object are kept, so that none of them repeats.
    const NUMBERS_KEPT: u64;

    /// When something is due next, and since when nothing is left that anybody could ask for.
    fn deadlines(&self) -> (Option<u64>, Option<u64>);
    /// Carries out a bounded part of what is overdue; answers the next deadline.
    fn sweep(&self, now: Now, timer: &Arc<Timer>) -> Option<u64>;
    /// Whether somebody in this process waits for something of it.
    fn is_waited_for(&self) -> bool;

    /// When the numbers of an object that is empty since then are forgotten.
    fn forgotten_at(idle_since: Option<u64>) -> Option<u64> {
        idle_since.map(|since| since + Self::NUMBERS_KEPT)
    }
}

/// The model of an object whose every step looks at all of it.
pub(crate) trait Object: Default {
    /// What those in this process hear who wait.
    type Bell: Default;
    /// What they are told.
    type News;

    /// When something is due next.
    fn next_deadline(&self) -> Option<u64>;
    /// Since when nothing is left that anybody could ask for.
    fn is_idle_since(&self) -> Option<u64>;
    /// Carries out a bounded part of what is overdue.
    fn advance(&mut self, now: Now);
    /// Whether more is overdue than a step carries out.
    fn is_settling(&self, now: Now) -> bool;
    /// Ends a step: who hears what when the model is free again.
    fn end_step(&mut self, now: Now, bell: &WeakSlot<Self::Bell>) -> Option<(Arc<Self::Bell>, Self::News)>;
    fn ring(bell: &Self::Bell, news: Self::News);
}

/// One such object.
#[derive(Default)]
pub(crate) struct Whole<O: Object> {
    model: Mutex<O>,
    bell: WeakSlot<O::Bell>,
}

impl<O: Object> Whole<O> {
    fn lock(&self) -> MutexGuard<'_, O> {
        self.model.lock().expect("the model does not panic")
    }

    fn end_step(&self, mut model: MutexGuard<'_, O>, now: Now, timer: &Arc<Timer>) {
        let heard = model.end_step(now, &self.bell);
        let next = model.next_deadline().or_else(|| Self::forgotten_at(model.is_idle_since()));
        drop(model);
        if let Some((bell, news)) = heard {
            O::ring(&bell, news);
        }
        if let Some(next) = next {
            timer.arm(Timestamp::from_millis(next));
        }
    }
}

impl<O: Object> Cell for Whole<O> {
    const NUMBERS_KEPT: u64 = 3_600_000;

    fn deadlines(&self) -> (Option<u64>, Option<u64>) {
        let model = self.lock();
        (model.next_deadline(), model.is_idle_since())
    }

    fn sweep(&self, now: Now, timer: &Arc<Timer>) -> Option<u64> {
        let mut model = self.lock();
        model.advance(now);
        let due = model.next_deadline();
        self.end_step(model, now, timer);
        due
    }

    fn is_waited_for(&self) -> bool {
        self.bell.is_held()
    }
}

impl<O: Object> Cells<Whole<O>> {
    /// One atomic step: the operation, and who is told of it.
    pub(crate) fn step<T>(&self, address: &Address, operation: impl FnOnce(&mut O, Now) -> T) -> T {
        let cell = self.get(address);
        let mut model = cell.lock();
        let now = self.now();
        let outcome = operation(&mut model, now);
        cell.end_step(model, now, &self.timer);
        outcome
    }

    /// Steps until nothing is overdue, as often as a look waits for; its own step is the last.
    pub(crate) fn settle_down(&self, address: &Address) {
        let step = |model: &mut O, now| {
            model.advance(now);
            model.is_settling(now)
        };
        for _ in 1..SETTLING_STEPS {
            if !self.step(address, step) {
                return;
            }
        }
    }

    /// What rings for those in this process who wait for something of the object.
    pub(crate) fn bell(&self, address: &Address) -> Arc<O::Bell> {
        self.get(address).bell.get_or_default()
    }
}

/// All objects of a primitive.
pub(crate) struct Cells<C> {
    timer: Arc<Timer>,
    known: RwLock<HashMap<Address, Arc<C>>>,
}

/// Without what is stored, which may be much.
impl<C> fmt::Debug for Cells<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").finish_non_exhaustive()
    }
}

impl<C: Cell> Cells<C> {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { timer: Arc::clone(timer), known: RwLock::default() }
    }

    pub(crate) fn timer(&self) -> &Arc<Timer> {
        &self.timer
    }

    pub(crate) fn now(&self) -> Now {
        Now::from_millis(self.timer.clock().now().as_millis())
    }

    /// The object at `address`.
    pub(crate) fn get(&self, address: &Address) -> Arc<C> {
        if let Some(cell) = self.known.read().expect("no code panics while it holds this lock").get(address) {
            return Arc::clone(cell);
        }
        let mut known = self.known.write().expect("no code panics while it holds this lock");
        Arc::clone(known.entry(address.clone()).or_default())
    }

    /// Sweeps what is due; answers the next deadline.
    pub(crate) fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        let now = Now::from_millis(now.as_millis());
        let mut next = None::<u64>;
        let mut forgotten = Vec::new();
        let known = self.known.read().expect("no code panics while it holds this lock");
        for (address, cell) in known.iter() {
            let due = match cell.deadlines() {
                (Some(at), _) if at <= now.ms => cell.sweep(now, &self.timer),
                (Some(at), _) => Some(at),
                (None, idle) => match C::forgotten_at(idle) {
                    Some(at) if at <= now.ms => {
                        forgotten.push(address.clone());
                        None
                    }
                    at => at,
                },
            };
            next = next.into_iter().chain(due).min();
        }
        drop(known);
        self.forget(&forgotten, now);
        next.map(Timestamp::from_millis)
    }

    /// Lets go of objects that stayed empty; one that was used since it was looked at stays.
    fn forget(&self, addresses: &[Address], now: Now) {
        if addresses.is_empty() {
            return;
        }
        let mut known = self.known.write().expect("no code panics while it holds this lock");
        for address in addresses {
            let unused = known.get(address).is_some_and(|cell| {
                let over = C::forgotten_at(cell.deadlines().1).is_some_and(|at| at <= now.ms);
                // Whoever got the cell before this lock was taken may be about to use it.
                over && !cell.is_waited_for() && Arc::strong_count(cell) == 1
            });
            if unused {
                known.remove(address);
            }
        }
        known.shrink_to_fit();
    }
}
