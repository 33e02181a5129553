//! The in-process objects of one primitive, by address: created on first use, swept when a deadline is due, removed
//! after they stayed empty.

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::Timer;
use super::deadlines::{Deadlines, Mark};
use crate::backend::SETTLING_STEPS;
use crate::hash::HashMap;
use crate::name::Address;
use crate::time::{Now, Timestamp};
use crate::weak_map::WeakSlot;

/// One object: its model behind a lock, and the bells of its waiters.
pub(crate) trait Cell: Default {
    /// For how many milliseconds an empty object keeps its numbers, so that none of them repeats.
    const NUMBERS_KEPT: u64;

    /// The next deadline, and since when the object is empty.
    fn deadlines(&self) -> (Option<u64>, Option<u64>);
    /// Carries out a bounded part of what is overdue. Returns when the object is due again.
    fn sweep(&self, now: Now) -> Option<u64>;
    /// Its place in the index of deadlines.
    fn mark(&self) -> &Mark;
    /// Whether the object has waiters in this process.
    fn is_waited_for(&self) -> bool;

    /// When the numbers of an object are forgotten that is empty since `idle_since`.
    fn forgotten_at(idle_since: Option<u64>) -> Option<u64> {
        idle_since.map(|since| since + Self::NUMBERS_KEPT)
    }
}

/// The model of an object of which each step covers all. (A step of a topic covers one group, or the log.)
pub(crate) trait Object: Default {
    /// Wakes the waiters of this process.
    type Bell: Default;
    /// What the bell tells the waiters.
    type News;

    /// The next deadline.
    fn next_deadline(&self) -> Option<u64>;
    /// Since when the object is empty: nothing is left that a caller could ask for.
    fn is_idle_since(&self) -> Option<u64>;
    /// Carries out a bounded part of what is overdue.
    fn advance(&mut self, now: Now);
    /// Whether more is overdue than one step carries out.
    fn is_settling(&self, now: Now) -> bool;
    /// Ends a step. Returns the bell to ring, and with what news, once the model is unlocked.
    fn end_step(&mut self, now: Now, bell: &WeakSlot<Self::Bell>) -> Option<(Arc<Self::Bell>, Self::News)>;
    fn ring(bell: &Self::Bell, news: Self::News);
}

/// The cell of such an object.
#[derive(Default)]
pub(crate) struct Whole<O: Object> {
    model: Mutex<O>,
    bell: WeakSlot<O::Bell>,
    mark: Mark,
}

impl<O: Object> Whole<O> {
    fn lock(&self) -> MutexGuard<'_, O> {
        self.model.lock().expect("the model does not panic")
    }

    /// Returns when the object is due again.
    fn end_step(&self, mut model: MutexGuard<'_, O>, now: Now) -> Option<u64> {
        let heard = model.end_step(now, &self.bell);
        let next = model.next_deadline().or_else(|| Self::forgotten_at(model.is_idle_since()));
        drop(model);
        if let Some((bell, news)) = heard {
            O::ring(&bell, news);
        }
        next
    }
}

impl<O: Object> Cell for Whole<O> {
    const NUMBERS_KEPT: u64 = 3_600_000;

    fn deadlines(&self) -> (Option<u64>, Option<u64>) {
        let model = self.lock();
        (model.next_deadline(), model.is_idle_since())
    }

    fn sweep(&self, now: Now) -> Option<u64> {
        let mut model = self.lock();
        model.advance(now);
        self.end_step(model, now)
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn is_waited_for(&self) -> bool {
        self.bell.is_held()
    }
}

impl<O: Object> Cells<Whole<O>> {
    /// One atomic step: the operation, then the wake-ups.
    pub(crate) fn step<T>(&self, address: &Address, operation: impl FnOnce(&mut O, Now) -> T) -> T {
        let cell = self.get(address);
        let mut model = cell.lock();
        let now = self.now();
        let outcome = operation(&mut model, now);
        let next = cell.end_step(model, now);
        self.file(address, &cell, next);
        outcome
    }

    /// Steps until nothing is overdue, but leaves the last of the `SETTLING_STEPS` to the caller's own step.
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

    /// The bell for waiters of this process.
    pub(crate) fn bell(&self, address: &Address) -> Arc<O::Bell> {
        self.get_to_wait(address).bell.get_or_default()
    }
}

/// All objects of a primitive.
pub(crate) struct Cells<C> {
    due: Deadlines,
    known: RwLock<HashMap<Address, Arc<C>>>,
}

/// Omits the stored objects, which may be many.
impl<C> fmt::Debug for Cells<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").finish_non_exhaustive()
    }
}

impl<C: Cell> Cells<C> {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { due: Deadlines::new(timer), known: RwLock::default() }
    }

    pub(crate) fn now(&self) -> Now {
        self.due.now()
    }

    /// The number of stored objects, and how many of them have a deadline and how many are set aside.
    #[cfg(test)]
    pub(crate) fn stored(&self) -> (usize, (usize, usize)) {
        (self.known.read().expect("no code panics while it holds this lock").len(), self.due.len())
    }

    fn find(&self, address: &Address) -> Option<Arc<C>> {
        self.known.read().expect("no code panics while it holds this lock").get(address).cloned()
    }

    /// The object at `address`, created if missing.
    pub(crate) fn get(&self, address: &Address) -> Arc<C> {
        if let Some(cell) = self.find(address) {
            return cell;
        }
        let mut known = self.known.write().expect("no code panics while it holds this lock");
        Arc::clone(known.entry(address.clone()).or_default())
    }

    /// The object at `address`, for a caller that only waits. Without a step, nothing else would file a new object.
    pub(crate) fn get_to_wait(&self, address: &Address) -> Arc<C> {
        let cell = self.get(address);
        self.due.set_aside(cell.mark(), address);
        cell
    }

    /// Files the object for its next deadline. Called after each step.
    pub(crate) fn file(&self, address: &Address, cell: &C, next: Option<u64>) {
        if let Some(next) = next {
            self.due.file(cell.mark(), address, next);
        }
    }

    /// Like [`file`](Self::file), for objects that may be empty without a deadline. These are checked when another one
    /// is swept.
    pub(crate) fn file_or_set_aside(&self, address: &Address, cell: &C, next: Option<u64>) {
        match next {
            Some(next) => self.due.file(cell.mark(), address, next),
            None => self.due.set_aside(cell.mark(), address),
        }
    }

    /// Sweeps a bounded number of due objects. Returns the next deadline.
    pub(crate) fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        let now = Now::from_millis(now.as_millis());
        let mut forgotten = Vec::new();
        for (at, address) in self.due.take_due(now) {
            let Some(cell) = self.find(&address) else { continue };
            cell.mark().take_off(at);
            let next = match cell.deadlines() {
                (Some(at), _) if at <= now.ms => cell.sweep(now),
                (Some(at), _) => Some(at),
                (None, idle) => match C::forgotten_at(idle) {
                    Some(at) if at <= now.ms => {
                        forgotten.push(address);
                        continue;
                    }
                    at => at,
                },
            };
            // If the object is still overdue, it queues behind the others that are due by now.
            self.file(&address, &cell, next.map(|next| next.max(now.ms)));
        }
        self.forget(&forgotten, now);
        self.due.next()
    }

    /// Removes objects that stayed empty. One that was used since it was checked stays.
    fn forget(&self, addresses: &[Arc<Address>], now: Now) {
        if addresses.is_empty() {
            return;
        }
        let mut known = self.known.write().expect("no code panics while it holds this lock");
        for address in addresses {
            let Some(cell) = known.get(address) else { continue };
            let over = C::forgotten_at(cell.deadlines().1).is_some_and(|at| at <= now.ms);
            // A caller that got the cell before this lock was taken may be about to use it.
            if over && !cell.is_waited_for() && Arc::strong_count(cell) == 1 {
                known.remove(address);
            } else {
                self.due.set_aside(cell.mark(), address);
            }
        }
        give_back_room(&mut known);
    }
}

/// Shrinks the map after removals. Happens rarely, because it moves all remaining entries.
pub(crate) fn give_back_room<K: Eq + Hash, V>(known: &mut HashMap<K, V>) {
    if known.capacity() > 4 * known.len() + 64 {
        known.shrink_to_fit();
    }
}
