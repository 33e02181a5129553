//! Schedulers in process: a model per object behind a lock, and the backend's timer.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::model::{Model, Now};
use super::store::{Beat, Beaten, Change, Changes, Look, SETTLING_STEPS, SchedulerStore, View, Write, Written};
use crate::backend::memory::cells::{self, Cell as _, Cells};
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::time::Timestamp;

/// All schedulers of this process.
#[derive(Debug)]
pub(crate) struct MemoryScheduler {
    cells: Cells<Cell>,
    /// The only process there is.
    process: Arc<str>,
}

/// The schedules of one scheduler.
#[derive(Debug, Default)]
struct Cell {
    model: Mutex<Model>,
    bell: Mutex<Weak<Bell>>,
}

impl MemoryScheduler {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { cells: Cells::new(timer), process: "local".into() }
    }

    /// One atomic step, and who is rung for.
    fn step<T>(&self, scheduler: &Address, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let cell = self.cells.get(scheduler);
        let mut model = cell.lock();
        let outcome = operation(&mut model, self.cells.now());
        cell.end_step(model, self.cells.timer());
        outcome
    }

    fn look_now(&self, scheduler: &Address, look: &Look) -> View {
        for _ in 0..SETTLING_STEPS {
            let settling = self.step(scheduler, |model, now| {
                model.sweep(now);
                model.is_settling(now)
            });
            if !settling {
                break;
            }
        }
        self.step(scheduler, |model, now| model.look(now, look))
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("the model does not panic")
    }

    fn bell(&self) -> Option<Arc<Bell>> {
        self.bell.lock().expect("no code panics while it holds this lock").upgrade()
    }

    fn end_step(&self, mut model: MutexGuard<'_, Model>, timer: &Arc<Timer>) {
        let news = model.take_news();
        let next = model.next_deadline().or_else(|| Self::forgotten_at(model.is_idle_since()));
        drop(model);
        if let Some(bell) = self.bell().filter(|_| !news.is_empty()) {
            // Every instance of this process that waits, or the next one to wait.
            bell.rung.notify_waiters();
            bell.ring();
        }
        if let Some(next) = next {
            timer.arm(Timestamp::from_millis(next));
        }
    }
}

impl cells::Cell for Cell {
    const NUMBERS_KEPT: u64 = 3_600_000;

    fn deadlines(&self) -> (Option<u64>, Option<u64>) {
        let model = self.lock();
        (model.next_deadline(), model.is_idle_since())
    }

    fn sweep(&self, now: Now, timer: &Arc<Timer>) -> Option<u64> {
        let mut model = self.lock();
        model.sweep(now);
        let due = model.next_deadline();
        self.end_step(model, timer);
        due
    }

    fn is_waited_for(&self) -> bool {
        self.bell().is_some()
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl SchedulerStore for MemoryScheduler {
    fn beat(&self, scheduler: &Address, beat: Beat) -> BoxFuture<'static, Result<Beaten>> {
        ready(self.step(scheduler, |model, now| model.beat(now, &self.process, &beat)))
    }

    fn leave(&self, scheduler: &Address, instance: Arc<str>) -> BoxFuture<'static, Result<()>> {
        self.step(scheduler, |model, now| model.leave(now, &instance));
        ready(())
    }

    fn write(&self, scheduler: &Address, write: Write) -> BoxFuture<'static, Result<Written>> {
        ready(self.step(scheduler, |model, now| model.write(now, &write)))
    }

    fn change(&self, scheduler: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        ready(self.step(scheduler, |model, now| model.change(now, change)))
    }

    fn look(&self, scheduler: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        ready(self.look_now(scheduler, &look))
    }

    fn bell(&self, scheduler: &Address) -> Arc<Bell> {
        let cell = self.cells.get(scheduler);
        let mut known = cell.bell.lock().expect("no code panics while it holds this lock");
        known.upgrade().unwrap_or_else(|| {
            let bell = Arc::<Bell>::default();
            *known = Arc::downgrade(&bell);
            bell
        })
    }
}

impl Sweep for MemoryScheduler {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.cells.sweep(now)
    }
}
