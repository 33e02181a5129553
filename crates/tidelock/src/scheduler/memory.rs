//! Schedulers in process: a model per object behind a lock, and the backend's timer.

use std::sync::Arc;

use super::model::{Model, Now};
use super::store::{Beat, Beaten, Change, Changes, Look, SchedulerStore, View, Write, Written};
use crate::backend::memory::cells::{Cells, Object, Whole};
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::runtime::{BoxFuture, ready};
use crate::time::Timestamp;
use crate::weak_map::WeakSlot;

/// All schedulers of this process.
#[derive(Debug)]
pub(crate) struct MemoryScheduler {
    cells: Cells<Whole<Model>>,
    /// The only process there is.
    process: Arc<str>,
}

impl MemoryScheduler {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { cells: Cells::new(timer), process: "local".into() }
    }

    fn look_now(&self, scheduler: &Address, look: &Look) -> View {
        self.cells.settle_down(scheduler);
        self.cells.step(scheduler, |model, now| {
            model.sweep(now);
            model.look(now, look)
        })
    }
}

impl Object for Model {
    type Bell = Bell;
    type News = ();

    fn next_deadline(&self) -> Option<u64> {
        self.next_deadline()
    }

    fn is_idle_since(&self) -> Option<u64> {
        self.is_idle_since()
    }

    fn advance(&mut self, now: Now) {
        self.sweep(now);
    }

    fn is_settling(&self, now: Now) -> bool {
        self.is_settling(now)
    }

    fn end_step(&mut self, _now: Now, bell: &WeakSlot<Bell>) -> Option<(Arc<Bell>, ())> {
        let news = self.take_news();
        bell.get().filter(|_| !news.is_empty()).map(|bell| (bell, ()))
    }

    fn ring(bell: &Bell, (): ()) {
        // Wakes every instance of this process that waits, or the next one to wait.
        bell.rung.notify_waiters();
        bell.ring();
    }
}

impl SchedulerStore for MemoryScheduler {
    fn beat(&self, scheduler: &Address, beat: Beat) -> BoxFuture<'static, Result<Beaten>> {
        ready(Ok(self.cells.step(scheduler, |model, now| model.beat(now, &self.process, &beat))))
    }

    fn leave(&self, scheduler: &Address, instance: Arc<str>) -> BoxFuture<'static, Result<()>> {
        self.cells.step(scheduler, |model, now| model.leave(now, &instance));
        ready(Ok(()))
    }

    fn write(&self, scheduler: &Address, write: Write) -> BoxFuture<'static, Result<Written>> {
        ready(Ok(self.cells.step(scheduler, |model, now| model.write(now, &write))))
    }

    fn change(&self, scheduler: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        ready(Ok(self.cells.step(scheduler, |model, now| model.change(now, change))))
    }

    fn look(&self, scheduler: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        ready(Ok(self.look_now(scheduler, &look)))
    }

    fn bell(&self, scheduler: &Address) -> Arc<Bell> {
        self.cells.bell(scheduler)
    }
}

impl Sweep for MemoryScheduler {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.cells.sweep(now)
    }
}
