//! Jobs in process: a model per object behind a lock, and the backend's timer.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::ears::{Ears, News};
use super::model::{Model, Now};
use super::store::{
    Accepted, Change, Changes, Claim, Claimed, GroupSettle, GroupTake, GroupTaken, JobStore, Look, NewJob,
    SETTLING_STEPS, Settle, Settled, View,
};
use crate::backend::memory::cells::{self, Cell as _, Cells};
use crate::backend::memory::{Sweep, Timer};
use crate::error::Result;
use crate::handover::cursor::read_cursor;
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::time::Timestamp;

/// All jobs of this process.
#[derive(Debug)]
pub(crate) struct MemoryJob {
    cells: Cells<Cell>,
    /// The only process there is.
    process: Arc<str>,
}

/// The jobs of one name.
#[derive(Debug, Default)]
struct Cell {
    model: Mutex<Model>,
    ears: Mutex<Weak<Ears>>,
}

impl MemoryJob {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { cells: Cells::new(timer), process: "local".into() }
    }

    /// One atomic step: what is overdue, the operation, the wake-ups.
    fn step<T>(&self, jobs: &Address, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let cell = self.cells.get(jobs);
        let now = self.cells.now();
        let mut model = cell.lock();
        model.advance(now);
        let outcome = operation(&mut model, now);
        cell.end_step(model, now, self.cells.timer());
        outcome
    }

    /// Steps until nothing is overdue, as often as a look waits for.
    fn settle_down(&self, jobs: &Address) {
        for _ in 1..SETTLING_STEPS {
            if !self.step(jobs, |model, _| model.is_settling()) {
                return;
            }
        }
    }

    fn claim_now(&self, jobs: &Address, claim: &Claim) -> Claimed {
        loop {
            let (claimed, settling) =
                self.step(jobs, |model, now| (model.claim(now, &self.process, claim), model.is_settling()));
            if !settling || !claimed.runs.is_empty() || claim.max == 0 {
                return claimed;
            }
        }
    }

    fn look_now(&self, jobs: &Address, look: &Look) -> Result<View> {
        let after = if let Look::List { after, .. } = look { after.as_deref() } else { None };
        let after = after.map(read_cursor).transpose()?;
        self.settle_down(jobs);
        Ok(self.step(jobs, |model, now| model.look(now, &self.process, look, after)))
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("the model does not panic")
    }

    fn ears(&self) -> Option<Arc<Ears>> {
        self.ears.lock().expect("no code panics while it holds this lock").upgrade()
    }

    fn end_step(&self, mut model: MutexGuard<'_, Model>, now: Now, timer: &Arc<Timer>) {
        let ears = self.ears();
        model.wake(now, |_| ears.is_some());
        let news: Vec<News> = model.take_news().into_iter().map(|(_, news)| news).collect();
        let next = model.next_deadline().or_else(|| Self::forgotten_at(model.is_idle_since()));
        drop(model);
        if let Some(ears) = ears {
            for one in news {
                ears.hear(one);
            }
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
        self.ears().is_some()
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl JobStore for MemoryJob {
    fn is_local(&self) -> bool {
        true
    }

    fn submit(&self, jobs: &Address, batch: Vec<NewJob>) -> BoxFuture<'static, Result<Accepted>> {
        ready(Ok(self.step(jobs, |model, now| model.submit(now, batch))))
    }

    fn claim(&self, jobs: &Address, claim: Claim) -> BoxFuture<'static, Result<Claimed>> {
        ready(Ok(self.claim_now(jobs, &claim)))
    }

    fn settle(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        ready(Ok(self.step(jobs, |model, now| model.settle(now, settles))))
    }

    fn change(&self, jobs: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        self.settle_down(jobs);
        ready(Ok(self.step(jobs, |model, now| model.change(now, change))))
    }

    fn look(&self, jobs: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        ready(self.look_now(jobs, &look))
    }

    fn take_events(&self, jobs: &Address, take: GroupTake) -> BoxFuture<'static, Result<GroupTaken>> {
        ready(Ok(self.step(jobs, |model, now| model.take_events(now, &self.process, &take))))
    }

    fn settle_events(&self, jobs: &Address, settles: Vec<GroupSettle>) -> BoxFuture<'static, Result<Vec<bool>>> {
        ready(Ok(self.step(jobs, |model, now| model.settle_events(now, &settles))))
    }

    fn ears(&self, jobs: &Address) -> Arc<Ears> {
        let cell = self.cells.get(jobs);
        let mut known = cell.ears.lock().expect("no code panics while it holds this lock");
        known.upgrade().unwrap_or_else(|| {
            let ears = Arc::<Ears>::default();
            *known = Arc::downgrade(&ears);
            ears
        })
    }
}

impl Sweep for MemoryJob {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.cells.sweep(now)
    }
}
