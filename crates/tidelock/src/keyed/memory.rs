//! Keyed stores in process: a model per object behind a lock, and the backend's timer.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::model::{Model, NUMBERS_KEPT};
use super::store::{
    Change, Changed, Get, KeyedStore, Kind, List, Listing, Object, Places, Position, Read, RecordView, STEP, Span,
    StatsView,
};
use crate::backend::SETTLING_STEPS;
use crate::backend::memory::cells::give_back_room;
use crate::backend::memory::deadlines::{Deadlines, Mark};
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::hash::HashMap;
use crate::runtime::{self, BoxFuture};
use crate::time::{Now, Timestamp};
use crate::weak_map::WeakSlot;

/// All keyed stores of this process.
pub(crate) struct MemoryKeyed {
    /// One index per kind.
    due: [Deadlines; 2],
    pace: Pace,
    objects: RwLock<HashMap<Object, Arc<Cell>>>,
    /// The highest revision of all forgotten objects. The numbers of new objects start after it, so that none repeats.
    forgotten: AtomicU64,
}

/// The pace at which a world's keyed stores carry out what is overdue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Transitions per step.
    pub(crate) step: usize,
    /// Milliseconds between two steps of the timer, in which a page can run its own code. If 0, only other tasks run in
    /// between, and a listing settles everything that is overdue.
    pub(crate) pause: u64,
    /// For how many milliseconds an empty object keeps its numbers. After that, its places are judged by the highest
    /// revision of all forgotten objects.
    pub(crate) numbers_kept: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { step: STEP, pause: 0, numbers_kept: NUMBERS_KEPT }
    }
}

/// Omits the stored objects, which may be many.
impl fmt::Debug for MemoryKeyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeyed").finish_non_exhaustive()
    }
}

/// One object.
#[derive(Debug)]
struct Cell {
    state: Mutex<State>,
    bell: WeakSlot<Bell>,
    mark: Mark,
}

#[derive(Debug)]
struct State {
    model: Model,
    /// A reader has read everything and waits for the bell.
    parked: bool,
    /// The instant of the last step, if it left something overdue to the timer.
    stepped: Option<u64>,
}

impl State {
    /// Carries out one step of what is overdue, unless the timer is already carrying it out in steps. A caller that may
    /// wait leaves the rest to the timer, so that the page can run its own code. While the clock stands still, each
    /// call carries out a step, because the timer would not fire.
    fn settle_in_turn(&mut self, now: Now, pace: Pace) {
        if pace.pause > 0 && self.stepped.is_some_and(|at| at < now.ms) {
            return;
        }
        self.settle(now, pace);
    }

    fn settle(&mut self, now: Now, pace: Pace) {
        self.model.settle(now, pace.step);
        self.stepped = Some(now.ms);
    }
}

impl MemoryKeyed {
    pub(crate) fn new(timer: &Arc<Timer>, pace: Pace) -> Self {
        let due = [Deadlines::new(timer), Deadlines::new(timer)];
        Self { due, pace, objects: RwLock::default(), forgotten: AtomicU64::new(0) }
    }

    fn now(&self) -> Now {
        self.due[0].now()
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
            let state = State { model: self.fresh(object), parked: false, stepped: None };
            Arc::new(Cell { state: Mutex::new(state), bell: WeakSlot::default(), mark: Mark::default() })
        }))
    }

    /// The model of an object that does not exist yet.
    fn fresh(&self, object: &Object) -> Model {
        Model::after(object.kind, self.forgotten.load(Ordering::Acquire))
    }

    /// One atomic step that may write; then the wake-up.
    fn step<T>(&self, object: &Object, operation: impl FnOnce(&mut State, Now) -> T) -> T {
        let cell = self.cell(object);
        let now = self.now();
        let mut state = cell.lock();
        let before = state.model.end();
        let outcome = operation(&mut state, now);
        self.end_step(object, &cell, state, before, now);
        outcome
    }

    /// Reads an object without creating it.
    fn glance<T>(&self, object: &Object, look: impl FnOnce(&Model, Now) -> T) -> T {
        let now = self.now();
        match self.find(object) {
            Some(cell) => look(&cell.lock().model, now),
            None => look(&self.fresh(object), now),
        }
    }

    /// Steps until nothing is overdue, at most `most` times.
    fn settle_down(&self, object: &Object, most: usize) {
        let settle = |state: &mut State, now| {
            state.settle(now, self.pace);
            state.model.is_settling(now)
        };
        for _ in 0..most {
            if self.find(object).is_none() || !self.step(object, settle) {
                return;
            }
        }
    }

    /// Like [`State::settle_in_turn`], for queries that show overdue records as expired even before they are settled.
    fn settle_in_turn(&self, object: &Object) {
        if self.glance(object, Model::is_overdue) {
            self.step(object, |state, now| state.settle_in_turn(now, self.pace));
        }
    }

    fn read_now(&self, object: &Object, read: &Read) -> Span {
        self.step(object, |state, now| {
            let in_turns = self.pace.pause > 0;
            if !in_turns {
                state.settle(now, self.pace);
            }
            let mut span = state.model.read(now, read);
            // One step per turn: none while the reader can still get events of the last step.
            if in_turns && span.is_empty() && state.model.is_overdue(now) {
                if read.park {
                    state.settle_in_turn(now, self.pace);
                } else {
                    state.settle(now, self.pace);
                }
                span = state.model.read(now, read);
                // The timer carries out the rest and then rings.
                span.next = span.next.filter(|next| *next > now.ms);
            }
            state.parked |= read.park && span.is_empty();
            span
        })
    }
}

impl MemoryKeyed {
    /// Wakes the waiters if the step has written events, and sets the timer. `before` is the end of the log before the
    /// step.
    fn end_step(&self, object: &Object, cell: &Cell, mut state: MutexGuard<'_, State>, before: Position, now: Now) {
        let wakes = state.parked && state.model.end() != before;
        state.parked &= !wakes;
        if !state.model.is_overdue(now) {
            state.stepped = None;
        }
        let next = state.model.next_deadline().or_else(|| self.forgotten_at(&state.model));
        drop(state);
        if wakes {
            cell.ring();
        }
        if let Some(next) = next {
            self.file(object, cell, self.at_turn(next, now));
        }
    }

    fn file(&self, object: &Object, cell: &Cell, at: u64) {
        self.due[object.kind as usize].file(&cell.mark, &object.address, at);
    }

    fn set_aside(&self, object: &Object, cell: &Cell) {
        self.due[object.kind as usize].set_aside(&cell.mark, &object.address);
    }

    /// When the numbers of an object are forgotten.
    fn forgotten_at(&self, model: &Model) -> Option<u64> {
        model.idle_since().map(|since| since + self.pace.numbers_kept)
    }

    /// When the timer carries out what is due at `next`: after a pause if it is overdue.
    fn at_turn(&self, next: u64, now: Now) -> u64 {
        let pause = self.pace.pause;
        if pause == 0 { next } else { next.max(now.ms + pause) }
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the model does not panic")
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T>> {
    runtime::ready(Ok(value))
}

impl KeyedStore for MemoryKeyed {
    fn change(&self, object: &Object, change: Change) -> BoxFuture<'static, Result<Changed>> {
        ready(self.step(object, |state, now| {
            if self.pace.pause > 0 && state.model.is_overdue(now) {
                // Expiries come in the order of their deadlines, whichever key is changed.
                state.settle_in_turn(now, self.pace);
            }
            state.model.change(now, change)
        }))
    }

    fn get(&self, object: &Object, get: Get) -> BoxFuture<'static, Result<Option<RecordView>>> {
        ready(self.glance(object, |model, now| model.get(now, &get)))
    }

    fn list(&self, object: &Object, list: List) -> BoxFuture<'static, Result<Listing>> {
        if self.pace.pause > 0 {
            self.settle_in_turn(object);
            return ready(self.glance(object, |model, now| model.list(now, &list)));
        }
        loop {
            // Between the two, more may become overdue because of another thread.
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
        if self.pace.pause > 0 {
            self.settle_in_turn(object);
        }
        ready(self.glance(object, Model::places))
    }

    fn read(&self, object: &Object, read: Read) -> BoxFuture<'static, Result<Span>> {
        ready(self.read_now(object, &read))
    }

    fn holds(&self, object: &Object, place: Position) -> bool {
        self.glance(object, |model, now| model.holds(now, place))
    }

    fn delete(&self, object: &Object) -> BoxFuture<'static, Result<bool>> {
        if self.find(object).is_none() {
            return ready(false);
        }
        ready(self.step(object, |state, now| state.model.delete(now)))
    }

    fn bell(&self, object: &Object) -> Arc<Bell> {
        let cell = self.cell(object);
        // A caller that only waits makes no step, and without a step nothing else would file a new object.
        self.set_aside(object, &cell);
        cell.bell.get_or_default()
    }
}

impl Sweep for MemoryKeyed {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        let now = Now::from_millis(now.as_millis());
        let kinds = [Kind::Registry, Kind::Ephemeral];
        kinds.into_iter().filter_map(|kind| self.sweep_kind(kind, now)).min()
    }
}

impl MemoryKeyed {
    fn sweep_kind(&self, kind: Kind, now: Now) -> Option<Timestamp> {
        let due = &self.due[kind as usize];
        let mut forgotten = Vec::new();
        for (at, address) in due.take_due(now) {
            let object = Object { kind, address: Arc::unwrap_or_clone(address) };
            let Some(cell) = self.find(&object) else { continue };
            cell.mark.take_off(at);
            let mut state = cell.lock();
            match (state.model.next_deadline(), self.forgotten_at(&state.model)) {
                (Some(at), _) if at <= now.ms => {
                    let before = state.model.end();
                    state.settle(now, self.pace);
                    self.end_step(&object, &cell, state, before, now);
                }
                (None, Some(at)) if at <= now.ms => forgotten.push(object),
                (Some(at), _) | (None, Some(at)) => self.file(&object, &cell, at),
                (None, None) => {}
            }
        }
        self.forget(&forgotten, now);
        due.next()
    }

    /// Removes objects that stayed empty, except those in use.
    fn forget(&self, names: &[Object], now: Now) {
        if names.is_empty() {
            return;
        }
        let mut objects = self.objects.write().expect("no code panics while it holds this lock");
        for name in names {
            let Some(cell) = objects.get(name) else { continue };
            // A caller that got the cell before this lock was taken may be about to use it.
            let in_use = cell.bell.is_held() || Arc::strong_count(cell) > 1;
            let forgotten_at = self.forgotten_at(&cell.lock().model);
            if in_use || forgotten_at.is_none_or(|at| at > now.ms) {
                self.set_aside(name, cell);
            } else if let Some(cell) = objects.remove(name) {
                self.forgotten.fetch_max(cell.lock().model.end().revision, Ordering::AcqRel);
            }
        }
        give_back_room(&mut objects);
    }

    /// The number of stored objects.
    #[cfg(test)]
    fn stored(&self) -> usize {
        self.objects.read().expect("no code panics while it holds this lock").len()
    }
}
