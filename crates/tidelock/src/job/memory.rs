//! Jobs in process: a model per object behind a lock, and the backend's timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};

use super::ears::{Ears, News};
use super::model::{Model, Now};
use super::store::{
    Accepted, Change, Changes, Claim, Claimed, JobStore, Look, NewJob, SETTLING_STEPS, Settle, Settled, View,
};
use crate::backend::memory::{Sweep, Timer};
use crate::error::Result;
use crate::handover::cursor::read_cursor;
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::time::Timestamp;

/// How long the numbers of an object without jobs are kept, so that none of them repeats.
const NUMBERS_KEPT: u64 = 3_600_000;

/// All jobs of this process.
#[derive(Debug)]
pub(crate) struct MemoryJob {
    timer: Arc<Timer>,
    objects: RwLock<HashMap<Address, Arc<Cell>>>,
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
        Self { timer: Arc::clone(timer), objects: RwLock::default(), process: "local".into() }
    }

    fn now(&self) -> Now {
        Now::from_millis(self.timer.clock().now().as_millis())
    }

    fn cell(&self, jobs: &Address) -> Arc<Cell> {
        if let Some(cell) = self.objects.read().expect("no code panics while it holds this lock").get(jobs) {
            return Arc::clone(cell);
        }
        let mut objects = self.objects.write().expect("no code panics while it holds this lock");
        Arc::clone(objects.entry(jobs.clone()).or_default())
    }

    /// One atomic step: what is overdue, the operation, the wake-ups.
    fn step<T>(&self, jobs: &Address, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let cell = self.cell(jobs);
        let now = self.now();
        let mut model = cell.lock();
        model.advance(now);
        let outcome = operation(&mut model, now);
        cell.end_step(model, now, &self.timer);
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
        let next = model.next_deadline().or_else(|| model.is_idle_since().map(|since| since + NUMBERS_KEPT));
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

    fn ears(&self, jobs: &Address) -> Arc<Ears> {
        let cell = self.cell(jobs);
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
        let now = Now::from_millis(now.as_millis());
        let mut next = None::<u64>;
        let mut forgotten = Vec::new();
        let objects = self.objects.read().expect("no code panics while it holds this lock");
        for (address, cell) in objects.iter() {
            let mut model = cell.lock();
            let due = match (model.next_deadline(), model.is_idle_since()) {
                (Some(at), _) if at <= now.ms => {
                    model.advance(now);
                    let due = model.next_deadline();
                    cell.end_step(model, now, &self.timer);
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

impl MemoryJob {
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
                let in_use = cell.ears().is_some() || Arc::strong_count(cell) > 1;
                !in_use && idle.is_some_and(|since| since + NUMBERS_KEPT <= now.ms)
            });
            if unused {
                objects.remove(address);
            }
        }
        objects.shrink_to_fit();
    }
}
