//! The in-process backend: the pure models, a lock around each, and one timer at the next deadline.

pub(crate) mod cells;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Backend;
use crate::error::Result;
use crate::job::memory::MemoryJob;
use crate::job::store::JobStore;
use crate::keyed::memory::{MemoryKeyed, Pace};
use crate::keyed::store::KeyedStore;
use crate::mutex::memory::MemoryMutex;
use crate::mutex::store::MutexStore;
use crate::queue::memory::MemoryQueue;
use crate::queue::store::QueueStore;
use crate::ratelimit::memory::MemoryRatelimit;
use crate::ratelimit::store::RatelimitStore;
use crate::retry::memory::MemoryBudget;
use crate::retry::store::BudgetStore;
use crate::runtime::{self, BoxFuture, Spawner};
use crate::scheduler::memory::MemoryScheduler;
use crate::scheduler::store::SchedulerStore;
use crate::time::{Clock, Timestamp};
use crate::topic::memory::MemoryTopic;
use crate::topic::store::TopicStore;

/// State that lives as long as the `Tidelock` that was opened on it.
#[derive(Debug)]
pub(crate) struct Memory {
    ratelimit: Arc<MemoryRatelimit>,
    mutex: Arc<MemoryMutex>,
    queue: Arc<MemoryQueue>,
    topic: Arc<MemoryTopic>,
    job: Arc<MemoryJob>,
    scheduler: Arc<MemoryScheduler>,
    keyed: Arc<MemoryKeyed>,
    budget: Arc<MemoryBudget>,
    timer: Arc<Timer>,
}

impl Memory {
    pub(crate) fn new(clock: &Clock, spawner: &Arc<Spawner>, pace: Pace) -> Self {
        let timer = Arc::new(Timer::new(clock.clone(), Arc::clone(spawner)));
        let memory = Self {
            ratelimit: Arc::new(MemoryRatelimit::new(&timer)),
            mutex: Arc::new(MemoryMutex::new(&timer)),
            queue: Arc::new(MemoryQueue::new(&timer)),
            topic: Arc::new(MemoryTopic::new(&timer)),
            job: Arc::new(MemoryJob::new(&timer)),
            scheduler: Arc::new(MemoryScheduler::new(&timer)),
            keyed: Arc::new(MemoryKeyed::new(&timer, pace)),
            budget: Arc::new(MemoryBudget::new(&timer)),
            timer,
        };
        memory.timer.serve(vec![
            Arc::downgrade(&memory.ratelimit) as Weak<dyn Sweep>,
            Arc::downgrade(&memory.mutex) as Weak<dyn Sweep>,
            Arc::downgrade(&memory.queue) as Weak<dyn Sweep>,
            Arc::downgrade(&memory.topic) as Weak<dyn Sweep>,
            Arc::downgrade(&memory.job) as Weak<dyn Sweep>,
            Arc::downgrade(&memory.scheduler) as Weak<dyn Sweep>,
            Arc::downgrade(&memory.keyed) as Weak<dyn Sweep>,
            Arc::downgrade(&memory.budget) as Weak<dyn Sweep>,
        ]);
        memory
    }
}

impl Drop for Memory {
    /// The timer may sleep towards a far deadline of stores that are gone.
    fn drop(&mut self) {
        self.timer.stop();
    }
}

impl Backend for Memory {
    fn ping(&self) -> BoxFuture<'_, Result<Duration>> {
        runtime::ready(Ok(Duration::ZERO))
    }

    fn close(&self) {
        self.timer.stop();
    }

    fn ratelimit(&self) -> Arc<dyn RatelimitStore> {
        Arc::clone(&self.ratelimit) as _
    }

    fn mutex(&self) -> Arc<dyn MutexStore> {
        Arc::clone(&self.mutex) as _
    }

    fn queue(&self) -> Arc<dyn QueueStore> {
        Arc::clone(&self.queue) as _
    }

    fn topic(&self) -> Arc<dyn TopicStore> {
        Arc::clone(&self.topic) as _
    }

    fn job(&self) -> Arc<dyn JobStore> {
        Arc::clone(&self.job) as _
    }

    fn scheduler(&self) -> Arc<dyn SchedulerStore> {
        Arc::clone(&self.scheduler) as _
    }

    fn keyed(&self) -> Arc<dyn KeyedStore> {
        Arc::clone(&self.keyed) as _
    }

    fn retry_budget(&self) -> Arc<dyn BudgetStore> {
        Arc::clone(&self.budget) as _
    }
}

/// A store with deadlines in it.
pub(crate) trait Sweep: fmt::Debug + Send + Sync {
    /// Carries out a bounded part of what is overdue at `now`; answers the next deadline, which may be `now` itself.
    fn sweep(&self, now: Timestamp) -> Option<Timestamp>;
}

/// No deadline is known.
const NEVER: u64 = u64::MAX;

/// One timer for all stores of a backend: it sleeps until the earliest deadline any of them told.
pub(crate) struct Timer {
    clock: Clock,
    spawner: Arc<Spawner>,
    stores: OnceLock<Vec<Weak<dyn Sweep>>>,
    /// The deadline that the task sleeps for, or that it has yet to see. Written only under `running`.
    next: AtomicU64,
    running: Mutex<bool>,
    earlier: Notify,
}

impl Timer {
    pub(crate) fn new(clock: Clock, spawner: Arc<Spawner>) -> Self {
        let next = AtomicU64::new(NEVER);
        Self { clock, spawner, stores: OnceLock::new(), next, running: Mutex::new(false), earlier: Notify::new() }
    }

    pub(crate) fn serve(&self, stores: Vec<Weak<dyn Sweep>>) {
        self.stores.set(stores).expect("a timer is given its stores once");
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Tells a deadline. Costs one atomic load unless it is earlier than all that are known.
    pub(crate) fn arm(self: &Arc<Self>, at: Timestamp) {
        if at.as_millis() >= self.next.load(Ordering::Acquire) {
            return;
        }
        let mut running = self.lock();
        self.next.fetch_min(at.as_millis(), Ordering::AcqRel);
        if *running {
            self.earlier.notify_one();
        } else {
            *running = true;
            // Not under the lock: where there is no runtime, the turn is dropped right here, and tells so. Deadlines
            // are then carried out by the calls that meet them.
            drop(running);
            let turn = Turn { timer: Arc::downgrade(self) };
            self.spawner.spawn(async move { turn.run().await });
        }
    }

    pub(crate) fn stop(&self) {
        let _running = self.lock();
        self.next.store(0, Ordering::Release);
        self.earlier.notify_one();
    }

    fn sweep_all(&self, now: Timestamp) -> u64 {
        let stores = self.stores.get().map_or(&[][..], Vec::as_slice);
        let next = stores.iter().filter_map(|store| store.upgrade()?.sweep(now)).min();
        next.map_or(NEVER, Timestamp::as_millis)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.running.lock().expect("no code panics while it holds this lock")
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("next", &self.next).finish_non_exhaustive()
    }
}

/// The running timer task. Dropped with its runtime, it leaves the timer ready to be started on another.
struct Turn {
    timer: Weak<Timer>,
}

impl Turn {
    async fn run(&self) {
        loop {
            let Some(timer) = self.timer.upgrade() else { return };
            let next = timer.next.load(Ordering::Acquire);
            if next == 0 {
                return;
            }
            if next != NEVER && timer.clock.now().as_millis() < next {
                tokio::select! {
                    () = timer.clock.sleep_until_timestamp(Timestamp::from_millis(next)) => {}
                    () = timer.earlier.notified() => {}
                }
                continue;
            }
            // Deadlines told from here on are compared with NEVER and so are not missed while the stores are swept.
            timer.next.store(NEVER, Ordering::Release);
            let found = timer.sweep_all(timer.clock.now());
            let mut running = timer.lock();
            if timer.next.fetch_min(found, Ordering::AcqRel).min(found) == NEVER {
                *running = false;
                return;
            }
            drop(running);
            crate::runtime::yield_now().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.upgrade() {
            let mut running = timer.lock();
            if *running && timer.next.load(Ordering::Acquire) != 0 {
                *running = false;
                timer.next.store(NEVER, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DAY;

    #[tokio::test]
    async fn a_world_that_is_gone_leaves_no_timer_behind() {
        let memory = Memory::new(&Clock::System, &Arc::new(Spawner::default()), Pace::default());
        let timer = Arc::downgrade(&memory.timer);
        memory.timer.arm(memory.timer.clock().now() + DAY);
        // It begins to sleep.
        tokio::task::yield_now().await;
        drop(memory);
        let gone = async {
            while timer.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), gone).await.expect("it does not sleep on");
    }
}
