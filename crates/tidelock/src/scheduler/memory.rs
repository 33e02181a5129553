//! Schedulers in process: a model per object behind a lock, and the backend's timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};

use super::model::{Model, Now};
use super::store::{Beat, Beaten, Change, Changes, Look, SETTLING_STEPS, SchedulerStore, View, Write, Written};
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::time::Timestamp;

/// How long the numbers of an object without schedules are kept, so that none of them repeats.
const NUMBERS_KEPT: u64 = 3_600_000;

/// All schedulers of this process.
#[derive(Debug)]
pub(crate) struct MemoryScheduler {
    timer: Arc<Timer>,
    objects: RwLock<HashMap<Address, Arc<Cell>>>,
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
        Self { timer: Arc::clone(timer), objects: RwLock::default(), process: "local".into() }
    }

    fn now(&self) -> Now {
        Now::from_millis(self.timer.clock().now().as_millis())
    }

    fn cell(&self, scheduler: &Address) -> Arc<Cell> {
        if let Some(cell) = self.objects.read().expect("no code panics while it holds this lock").get(scheduler) {
            return Arc::clone(cell);
        }
        let mut objects = self.objects.write().expect("no code panics while it holds this lock");
        Arc::clone(objects.entry(scheduler.clone()).or_default())
    }

    /// One atomic step, and who is rung for.
    fn step<T>(&self, scheduler: &Address, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let cell = self.cell(scheduler);
        let mut model = cell.lock();
        let outcome = operation(&mut model, self.now());
        cell.end_step(model, &self.timer);
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
        let next = model.next_deadline().or_else(|| model.is_idle_since().map(|since| since + NUMBERS_KEPT));
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
        let cell = self.cell(scheduler);
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
        let now = Now::from_millis(now.as_millis());
        let mut next = None::<u64>;
        let mut forgotten = Vec::new();
        let objects = self.objects.read().expect("no code panics while it holds this lock");
        for (address, cell) in objects.iter() {
            let mut model = cell.lock();
            let due = match (model.next_deadline(), model.is_idle_since()) {
                (Some(at), _) if at <= now.ms => {
                    model.sweep(now);
                    let due = model.next_deadline();
                    cell.end_step(model, &self.timer);
                    due
                }
                (Some(at), _) => Some(at),
                (None, Some(since)) if since + NUMBERS_KEPT <= now.ms => {
                    forgotten.push(address.clone());
                    None
                }
                (None, since) => since.map(|since| since + NUMBERS_KEPT),
            };
            next = next.into_iter().chain(due).min();
        }
        drop(objects);
        self.forget(&forgotten, now);
        next.map(Timestamp::from_millis)
    }
}

impl MemoryScheduler {
    /// Lets go of objects that stayed empty; one that was used since it was looked at stays.
    fn forget(&self, addresses: &[Address], now: Now) {
        if addresses.is_empty() {
            return;
        }
        let mut objects = self.objects.write().expect("no code panics while it holds this lock");
        for address in addresses {
            let unused = objects.get(address).is_some_and(|cell| {
                let idle = cell.lock().is_idle_since();
                // Whoever got the cell before this lock was taken may be about to use it.
                let in_use = cell.bell().is_some() || Arc::strong_count(cell) > 1;
                !in_use && idle.is_some_and(|since| since + NUMBERS_KEPT <= now.ms)
            });
            if unused {
                objects.remove(address);
            }
        }
        objects.shrink_to_fit();
    }
}
