//! Queues in process: a model per queue behind a lock, and the backend's timer.

use std::sync::Arc;

use super::model::{Model, Now};
use super::store::{Accepted, Change, Changes, Look, NewMessage, QueueStore, Settle, Settled, Take, Taken, View};
use crate::backend::memory::cells::{Cells, Object, Whole};
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::handover::cursor::read_cursor;
use crate::name::Address;
use crate::runtime::{BoxFuture, ready};
use crate::time::Timestamp;
use crate::weak_map::WeakSlot;

/// All queues of this process.
#[derive(Debug)]
pub(crate) struct MemoryQueue {
    cells: Cells<Whole<Model>>,
    /// The only process there is.
    process: Arc<str>,
}

impl MemoryQueue {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { cells: Cells::new(timer), process: "local".into() }
    }

    /// One atomic step: overdue transitions, the operation, the wake-ups.
    fn step<T>(&self, queue: &Address, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        self.cells.step(queue, |model, now| {
            model.advance(now);
            operation(model, now)
        })
    }

    fn take_now(&self, queue: &Address, take: &Take) -> Taken {
        loop {
            let (mut taken, settling) =
                self.step(queue, |model, now| (model.take(now, &self.process, take), model.is_settling()));
            if settling && taken.messages.len() < take.max {
                // The process was not parked, so its waiters take again at once.
                taken.next = Some(0);
            }
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
        self.cells.settle_down(queue);
        Ok(self.step(queue, |model, now| model.look(now, look, after)))
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
        self.advance(now);
    }

    fn is_settling(&self, _now: Now) -> bool {
        self.is_settling()
    }

    fn end_step(&mut self, now: Now, bell: &WeakSlot<Bell>) -> Option<(Arc<Bell>, ())> {
        if !self.has_parked() {
            self.nobody_waits();
            return None;
        }
        let bell = bell.get();
        let woken = self.wake(now, |_| bell.is_some());
        bell.filter(|_| !woken.is_empty()).map(|bell| (bell, ()))
    }

    fn ring(bell: &Bell, (): ()) {
        bell.ring();
    }
}

impl QueueStore for MemoryQueue {
    fn is_local(&self) -> bool {
        true
    }

    fn send(&self, queue: &Address, batch: Vec<NewMessage>) -> BoxFuture<'static, Result<Accepted>> {
        if batch.iter().any(|message| message.max_depth.is_some()) {
            // Messages that are overdue to leave must not count towards the depth.
            self.cells.settle_down(queue);
        }
        ready(Ok(self.step(queue, |model, now| model.send(now, batch))))
    }

    fn take(&self, queue: &Address, take: Take) -> BoxFuture<'static, Result<Taken>> {
        ready(Ok(self.take_now(queue, &take)))
    }

    fn settle(&self, queue: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        ready(Ok(self.step(queue, |model, now| model.settle(now, settles))))
    }

    fn change(&self, queue: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        self.cells.settle_down(queue);
        ready(Ok(self.step(queue, |model, now| model.change(now, change))))
    }

    fn look(&self, queue: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        ready(self.look_now(queue, &look))
    }

    fn bell(&self, queue: &Address) -> Arc<Bell> {
        self.cells.bell(queue)
    }
}

impl Sweep for MemoryQueue {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.cells.sweep(now)
    }
}
