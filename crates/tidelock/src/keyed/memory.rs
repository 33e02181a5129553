//! Keyed stores in process: a model per object behind a lock, and the backend's timer.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};

use super::model::{Model, NUMBERS_KEPT};
use super::store::{
    Change, Changed, Get, KeyedStore, List, Listing, Object, Places, Position, Read, RecordView, SETTLING_STEPS, Span,
    StatsView,
};
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::runtime::BoxFuture;
use crate::time::{Now, Timestamp};

/// All keyed stores of this process.
pub(crate) struct MemoryKeyed {
    timer: Arc<Timer>,
    objects: RwLock<HashMap<Object, Arc<Cell>>>,
}

/// Without what is stored, which may be much.
impl fmt::Debug for MemoryKeyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeyed").finish_non_exhaustive()
    }
}

/// One object.
#[derive(Debug)]
struct Cell {
    state: Mutex<State>,
    bell: Mutex<Weak<Bell>>,
}

#[derive(Debug)]
struct State {
    model: Model,
    /// Somebody has read all there was and waits for the bell.
    parked: bool,
}

impl MemoryKeyed {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { timer: Arc::clone(timer), objects: RwLock::default() }
    }

    fn now(&self) -> Now {
        Now::from_millis(self.timer.clock().now().as_millis())
    }

    fn find(&self, object: &Object) -> Option<Arc<Cell>> {
        self.objects.read().expect("no code panics while it holds this lock").get(object).cloned()
    }

    fn cell(&self, object: &Object) -> Arc<Cell> {
        if let Some(cell) = self.find(object) {
            return cell;
        }
        let mut objects = self.objects.write().expect("no code panics while it holds this lock");
        Arc::clone(objects.entry(object.clone()).or_insert_with(|| {
            let state = State { model: Model::new(object.kind), parked: false };
            Arc::new(Cell { state: Mutex::new(state), bell: Mutex::default() })
        }))
    }

    /// One atomic step that may write; then the wake-up.
    fn step<T>(&self, object: &Object, operation: impl FnOnce(&mut State, Now) -> T) -> T {
        let cell = self.cell(object);
        let now = self.now();
        let mut state = cell.lock();
        let before = state.model.end();
        let outcome = operation(&mut state, now);
        cell.end_step(state, before, &self.timer);
        outcome
    }

    /// Looks at an object, without making one where there is none.
    fn glance<T>(&self, object: &Object, look: impl FnOnce(&Model, Now) -> T) -> T {
        let now = self.now();
        match self.find(object) {
            Some(cell) => look(&cell.lock().model, now),
            None => look(&Model::new(object.kind), now),
        }
    }

    /// Steps until nothing is overdue, at most so many times.
    fn settle_down(&self, object: &Object, most: usize) {
        let settle = |state: &mut State, now| {
            state.model.settle(now);
            state.model.is_settling(now)
        };
        for _ in 0..most {
            if self.find(object).is_none() || !self.step(object, settle) {
                return;
            }
        }
    }

    fn read_now(&self, object: &Object, read: &Read) -> Span {
        self.step(object, |state, now| {
            let span = state.model.read(now, read);
            state.parked |= read.park && span.overflow.is_none() && span.events.is_empty();
            span
        })
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the model does not panic")
    }

    /// `before`: the end of the log before the step.
    fn end_step(&self, mut state: MutexGuard<'_, State>, before: Position, timer: &Arc<Timer>) {
        let wakes = state.parked && state.model.end() != before;
        state.parked &= !wakes;
        let next = state.model.next_deadline().or_else(|| state.model.forgotten_at());
        drop(state);
        if wakes {
            self.ring();
        }
        if let Some(next) = next {
            timer.arm(Timestamp::from_millis(next));
        }
    }

    fn ring(&self) {
        let bell = self.bell.lock().expect("no code panics while it holds this lock").upgrade();
        if let Some(bell) = bell {
            bell.ring();
        }
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl KeyedStore for MemoryKeyed {
    fn change(&self, object: &Object, change: Change) -> BoxFuture<'static, Result<Changed>> {
        ready(self.step(object, |state, now| state.model.change(now, change)))
    }

    fn get(&self, object: &Object, get: Get) -> BoxFuture<'static, Result<Option<RecordView>>> {
        ready(self.glance(object, |model, now| model.get(now, &get)))
    }

    fn list(&self, object: &Object, list: List) -> BoxFuture<'static, Result<Listing>> {
        loop {
            // Another thread may let more become overdue between the two.
            self.settle_down(object, usize::MAX);
            let listing = self.glance(object, |model, now| (!model.is_settling(now)).then(|| model.list(now, &list)));
            if let Some(listing) = listing {
                return ready(listing);
            }
        }
    }

    fn stats(&self, object: &Object) -> BoxFuture<'static, Result<StatsView>> {
        self.settle_down(object, SETTLING_STEPS);
        ready(self.glance(object, Model::stats))
    }

    fn places(&self, object: &Object) -> BoxFuture<'static, Result<Places>> {
        ready(self.glance(object, Model::places))
    }

    fn read(&self, object: &Object, read: Read) -> BoxFuture<'static, Result<Span>> {
        ready(self.read_now(object, &read))
    }

    fn delete(&self, object: &Object) -> BoxFuture<'static, Result<bool>> {
        if self.find(object).is_none() {
            return ready(false);
        }
        ready(self.step(object, |state, now| state.model.delete(now)))
    }

    fn bell(&self, object: &Object) -> Arc<Bell> {
        let cell = self.cell(object);
        let mut known = cell.bell.lock().expect("no code panics while it holds this lock");
        known.upgrade().unwrap_or_else(|| {
            let bell = Arc::new(Bell::default());
            *known = Arc::downgrade(&bell);
            bell
        })
    }
}

impl Sweep for MemoryKeyed {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        let now = Now::from_millis(now.as_millis());
        let mut next = None::<u64>;
        let mut forgotten = Vec::new();
        let objects = self.objects.read().expect("no code panics while it holds this lock");
        for (object, cell) in objects.iter() {
            let mut state = cell.lock();
            let due = match (state.model.next_deadline(), state.model.forgotten_at()) {
                (Some(at), _) if at <= now.ms => {
                    let before = state.model.end();
                    state.model.settle(now);
                    let due = state.model.next_deadline().or_else(|| state.model.forgotten_at());
                    cell.end_step(state, before, &self.timer);
                    due
                }
                (None, Some(at)) if at <= now.ms => {
                    forgotten.push(object.clone());
                    None
                }
                (Some(at), _) | (None, Some(at)) => Some(at),
                (None, None) => None,
            };
            next = next.into_iter().chain(due).min();
        }
        drop(objects);
        let stayed = self.forget(&forgotten, now).then_some(now.ms + NUMBERS_KEPT);
        next.into_iter().chain(stayed).min().map(Timestamp::from_millis)
    }
}

impl MemoryKeyed {
    /// Lets go of objects that stayed empty; one that is in use stays. Answers whether one did.
    fn forget(&self, names: &[Object], now: Now) -> bool {
        if names.is_empty() {
            return false;
        }
        let mut objects = self.objects.write().expect("no code panics while it holds this lock");
        let before = objects.len();
        for name in names {
            let unused = objects.get(name).is_some_and(|cell| {
                let waited_for = cell.bell.lock().expect("no code panics while it holds this lock").strong_count() > 0;
                // Whoever got the cell before this lock was taken may be about to use it.
                let in_use = waited_for || Arc::strong_count(cell) > 1;
                let forgotten_at = cell.lock().model.forgotten_at();
                !in_use && forgotten_at.is_some_and(|at| at <= now.ms)
            });
            if unused {
                objects.remove(name);
            }
        }
        objects.shrink_to_fit();
        before - objects.len() < names.len()
    }

    /// Objects that are stored.
    #[cfg(test)]
    fn stored(&self) -> usize {
        self.objects.read().expect("no code panics while it holds this lock").len()
    }
}
