//! Jobs in process: a model per object behind a lock, and the backend's timer.

use std::sync::Arc;

use super::ears::{Ears, News};
use super::model::{Model, Now};
use super::store::{
    Accepted, Change, Changes, Claim, Claimed, GroupSettle, GroupTake, GroupTaken, JobStore, Look, NewJob, Settle,
    Settled, View,
};
use crate::backend::memory::cells::{Cells, Object, Whole};
use crate::backend::memory::{Sweep, Timer};
use crate::error::Result;
use crate::handover::cursor::read_cursor;
use crate::name::Address;
use crate::runtime::{BoxFuture, ready};
use crate::time::Timestamp;
use crate::weak_map::WeakSlot;

/// All jobs of this process.
#[derive(Debug)]
pub(crate) struct MemoryJob {
    cells: Cells<Whole<Model>>,
    /// The only process there is.
    process: Arc<str>,
}

impl MemoryJob {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { cells: Cells::new(timer), process: "local".into() }
    }

    /// One atomic step: overdue transitions, the operation, the wake-ups.
    fn step<T>(&self, jobs: &Address, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        self.cells.step(jobs, |model, now| {
            model.advance(now);
            operation(model, now)
        })
    }

    fn claim_now(&self, jobs: &Address, claim: &Claim) -> Claimed {
        loop {
            let (mut claimed, settling) =
                self.step(jobs, |model, now| (model.claim(now, &self.process, claim), model.is_settling()));
            if settling && claimed.runs.len() < claim.max {
                // The process was not parked, so its waiters claim again at once.
                claimed.next = Some(0);
            }
            if !settling || !claimed.runs.is_empty() || claim.max == 0 {
                return claimed;
            }
        }
    }

    fn look_now(&self, jobs: &Address, look: &Look) -> Result<View> {
        let after = if let Look::List { after, .. } = look { after.as_deref() } else { None };
        let after = after.map(read_cursor).transpose()?;
        self.cells.settle_down(jobs);
        Ok(self.step(jobs, |model, now| model.look(now, &self.process, look, after)))
    }
}

impl Object for Model {
    type Bell = Ears;
    type News = Vec<News>;

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

    fn end_step(&mut self, now: Now, ears: &WeakSlot<Ears>) -> Option<(Arc<Ears>, Vec<News>)> {
        let ears = ears.get();
        self.wake(now, |_| ears.is_some());
        let news = self.take_news().into_iter().map(|(_, news)| news).collect();
        ears.map(|ears| (ears, news))
    }

    fn ring(ears: &Ears, news: Vec<News>) {
        for one in news {
            ears.hear(one);
        }
    }
}

impl JobStore for MemoryJob {
    fn is_local(&self) -> bool {
        true
    }

    fn submit(&self, jobs: &Address, batch: Vec<NewJob>) -> BoxFuture<'static, Result<Accepted>> {
        if batch.iter().any(|job| job.max_depth.is_some()) {
            // Jobs that are overdue to leave must not count towards the depth.
            self.cells.settle_down(jobs);
        }
        ready(Ok(self.step(jobs, |model, now| model.submit(now, batch))))
    }

    fn claim(&self, jobs: &Address, claim: Claim) -> BoxFuture<'static, Result<Claimed>> {
        ready(Ok(self.claim_now(jobs, &claim)))
    }

    fn settle(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        ready(Ok(self.step(jobs, |model, now| model.settle(now, settles))))
    }

    fn change(&self, jobs: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        self.cells.settle_down(jobs);
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
        self.cells.bell(jobs)
    }
}

impl Sweep for MemoryJob {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.cells.sweep(now)
    }
}
