//! Queues in process: a model per queue behind a lock, and the backend's timer.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::model::{Model, Now};
use super::store::{
    Accepted, Change, Changes, Look, NewMessage, QueueStore, SETTLING_STEPS, Settle, Settled, Take, Taken, View,
};
use crate::backend::memory::cells::{self, Cell as _, Cells};
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::handover::cursor::read_cursor;
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::time::Timestamp;

/// All queues of this process.
#[derive(Debug)]
pub(crate) struct MemoryQueue {
    cells: Cells<Cell>,
    /// The only process there is.
    process: Arc<str>,
}

/// One queue.
#[derive(Debug, Default)]
struct Cell {
    model: Mutex<Model>,
    bell: Mutex<Weak<Bell>>,
}

impl MemoryQueue {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { cells: Cells::new(timer), process: "local".into() }
    }

    /// One atomic step: what is overdue, the operation, the wake-ups.
    fn step<T>(&self, queue: &Address, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let cell = self.cells.get(queue);
        let now = self.cells.now();
        let mut model = cell.lock();
        model.advance(now);
        let outcome = operation(&mut model, now);
        cell.end_step(model, now, self.cells.timer());
        outcome
    }

    /// Steps until nothing is overdue, as often as a look waits for.
    fn settle_down(&self, queue: &Address) {
        for _ in 1..SETTLING_STEPS {
            if !self.step(queue, |model, _| model.is_settling()) {
                return;
            }
        }
    }

    fn take_now(&self, queue: &Address, take: &Take) -> Taken {
        loop {
            let (taken, settling) =
                self.step(queue, |model, now| (model.take(now, &self.process, take), model.is_settling()));
            if !settling || !taken.messages.is_empty() || take.max == 0 {
                return taken;
            }
        }
    }

    fn look_now(&self, queue: &Address, look: &Look) -> Result<View> {
        let after = match look {
            Look::List { after, .. } | Look::ListDead { after, .. } => after.as_deref(),
            _ => None,
        };
        let after = after.map(read_cursor).transpose()?;
        self.settle_down(queue);
        Ok(self.step(queue, |model, now| model.look(now, look, after)))
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("the model does not panic")
    }

    fn end_step(&self, mut model: MutexGuard<'_, Model>, now: Now, timer: &Arc<Timer>) {
        let bell = if model.has_parked() {
            let bell = self.bell.lock().expect("no code panics while it holds this lock").upgrade();
            let woken = model.wake(now, |_| bell.is_some());
            bell.filter(|_| !woken.is_empty())
        } else {
            model.nobody_waits();
            None
        };
        let next = model.next_deadline().or_else(|| Self::forgotten_at(model.is_idle_since()));
        drop(model);
        if let Some(bell) = bell {
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
        model.advance(now);
        let due = model.next_deadline();
        self.end_step(model, now, timer);
        due
    }

    fn is_waited_for(&self) -> bool {
        self.bell.lock().expect("no code panics while it holds this lock").strong_count() > 0
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl QueueStore for MemoryQueue {
    fn is_local(&self) -> bool {
        true
    }

    fn send(&self, queue: &Address, batch: Vec<NewMessage>) -> BoxFuture<'static, Result<Accepted>> {
        ready(Ok(self.step(queue, |model, now| model.send(now, batch))))
    }

    fn take(&self, queue: &Address, take: Take) -> BoxFuture<'static, Result<Taken>> {
        ready(Ok(self.take_now(queue, &take)))
    }

    fn settle(&self, queue: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        ready(Ok(self.step(queue, |model, now| model.settle(now, settles))))
    }

    fn change(&self, queue: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        self.settle_down(queue);
        ready(Ok(self.step(queue, |model, now| model.change(now, change))))
    }

    fn look(&self, queue: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        ready(self.look_now(queue, &look))
    }

    fn bell(&self, queue: &Address) -> Arc<Bell> {
        let cell = self.cells.get(queue);
        let mut known = cell.bell.lock().expect("no code panics while it holds this lock");
        known.upgrade().unwrap_or_else(|| {
            let bell = Arc::new(Bell::default());
            *known = Arc::downgrade(&bell);
            bell
        })
    }
}

impl Sweep for MemoryQueue {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.cells.sweep(now)
    }
}
