//! The in-process backend: the pure models, a lock around each, and one timer set to the next deadline.

pub(crate) mod cells;
pub(crate) mod deadlines;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::Result;
use crate::job::memory::MemoryJob;
use crate::job::store::JobStore;
use crate::keyed::memory::{MemoryKeyed, Pace};
use crate::keyed::store::KeyedStore;
use crate::mutex::memory::MemoryMutex;
use crate::mutex::store::MutexStore;
use crate::opaque::opaque;
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

/// The state of a world in process. It lives as long as the `Tidelock` that was opened on it.
///
/// Each store is created on first use. A program that never uses a store therefore does not link its code, which keeps
/// the package for pages small.
#[derive(Debug)]
pub(crate) struct Memory {
    ratelimit: OnceLock<Arc<MemoryRatelimit>>,
    mutex: OnceLock<Arc<MemoryMutex>>,
    queue: OnceLock<Arc<MemoryQueue>>,
    topic: OnceLock<Arc<MemoryTopic>>,
    job: OnceLock<Arc<MemoryJob>>,
    scheduler: OnceLock<Arc<MemoryScheduler>>,
    keyed: OnceLock<Arc<MemoryKeyed>>,
    budget: OnceLock<Arc<MemoryBudget>>,
    timer: Arc<Timer>,
    pace: Pace,
}

impl Memory {
    pub(crate) fn new(clock: &Clock, spawner: &Arc<Spawner>, pace: Pace) -> Self {
        let timer = Arc::new(Timer::new(clock.clone(), Arc::clone(spawner)));
        Self {
            ratelimit: OnceLock::new(),
            mutex: OnceLock::new(),
            queue: OnceLock::new(),
            topic: OnceLock::new(),
            job: OnceLock::new(),
            scheduler: OnceLock::new(),
            keyed: OnceLock::new(),
            budget: OnceLock::new(),
            timer,
            pace,
        }
    }

    /// The store in `place`. Its first use creates it and registers it with the timer.
    fn store<S: Sweep + 'static>(&self, place: &OnceLock<Arc<S>>, make: impl FnOnce(&Arc<Timer>) -> S) -> Arc<S> {
        let made = || {
            let store = Arc::new(make(&self.timer));
            self.timer.serve(Arc::downgrade(&store) as _);
            store
        };
        Arc::clone(place.get_or_init(made))
    }
}

impl Drop for Memory {
    /// Without this, the timer might keep sleeping until a distant deadline of stores that no longer exist.
    fn drop(&mut self) {
        self.timer.stop();
    }
}

/// The operations of [`Backend`](super::Backend).
impl Memory {
    #[expect(clippy::unused_self, reason = "other backends are asked")]
    pub(crate) fn ping(&self) -> BoxFuture<'_, Result<Duration>> {
        runtime::ready(Ok(Duration::ZERO))
    }

    pub(crate) fn close(&self) {
        self.timer.stop();
    }

    pub(crate) fn ratelimit(&self) -> Arc<dyn RatelimitStore> {
        self.store(&self.ratelimit, MemoryRatelimit::new) as _
    }

    pub(crate) fn mutex(&self) -> Arc<dyn MutexStore> {
        self.store(&self.mutex, MemoryMutex::new) as _
    }

    pub(crate) fn queue(&self) -> Arc<dyn QueueStore> {
        self.store(&self.queue, MemoryQueue::new) as _
    }

    pub(crate) fn topic(&self) -> Arc<dyn TopicStore> {
        self.store(&self.topic, MemoryTopic::new) as _
    }

    pub(crate) fn job(&self) -> Arc<dyn JobStore> {
        self.store(&self.job, MemoryJob::new) as _
    }

    pub(crate) fn scheduler(&self) -> Arc<dyn SchedulerStore> {
        self.store(&self.scheduler, MemoryScheduler::new) as _
    }

    pub(crate) fn keyed(&self) -> Arc<dyn KeyedStore> {
        self.store(&self.keyed, |timer| MemoryKeyed::new(timer, self.pace)) as _
    }

    pub(crate) fn retry_budget(&self) -> Arc<dyn BudgetStore> {
        self.store(&self.budget, MemoryBudget::new) as _
    }
}

/// A store whose objects have deadlines.
pub(crate) trait Sweep: Send + Sync {
    /// Carries out a bounded part of what is overdue at `now`. Returns the next deadline, which may be `now` itself.
    fn sweep(&self, now: Timestamp) -> Option<Timestamp>;
}

opaque!(Sweep);

/// Sweeps until nothing is due at `now`, as the timer does. Returns the next deadline.
#[cfg(test)]
pub(crate) fn sweep_all(now: Timestamp, sweep: impl Fn(Timestamp) -> Option<Timestamp>) -> Option<Timestamp> {
    loop {
        let next = sweep(now);
        if next.is_none_or(|next| next > now) {
            return next;
        }
    }
}

const NO_PANIC: &str = "no code panics while it holds this lock";
/// No deadline is known.
const NEVER: u64 = u64::MAX;

/// One timer for all stores of a backend: it sleeps until the earliest deadline that any of them reported.
pub(crate) struct Timer {
    clock: Clock,
    spawner: Arc<Spawner>,
    stores: Mutex<Vec<Weak<dyn Sweep>>>,
    /// The deadline until which the task sleeps, or one that it has not seen yet; 0 once the timer is stopped.
    next: AtomicU64,
    running: Mutex<bool>,
    earlier: Notify,
}

impl Timer {
    /// A timer on a pinned clock.
    #[cfg(test)]
    pub(crate) fn pinned(clock: &crate::time::ManualClock) -> Arc<Self> {
        Arc::new(Self::new(Clock::Manual(clock.clone()), Arc::new(Spawner::default())))
    }

    pub(crate) fn new(clock: Clock, spawner: Arc<Spawner>) -> Self {
        let next = AtomicU64::new(NEVER);
        Self { clock, spawner, stores: Mutex::default(), next, running: Mutex::new(false), earlier: Notify::new() }
    }

    /// Registers a store.
    pub(crate) fn serve(&self, store: Weak<dyn Sweep>) {
        self.stores.lock().expect(NO_PANIC).push(store);
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Reports a deadline. Costs one atomic load unless it is earlier than all known ones.
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
            // Not under the lock: without a runtime, `spawn` drops the turn right here, and `Turn::drop` takes the
            // lock to reset `running`. Overdue deadlines are then carried out by the calls that find them.
            drop(running);
            let turn = Turn { timer: Arc::downgrade(self) };
            self.spawner.spawn(turn.run());
        }
    }

    pub(crate) fn stop(&self) {
        let _running = self.lock();
        self.next.store(0, Ordering::Release);
        self.earlier.notify_one();
    }

    fn sweep_all(&self, now: Timestamp) -> u64 {
        // Clones the list, because `serve` takes this lock, too.
        let stores = self.stores.lock().expect(NO_PANIC).clone();
        let next = stores.iter().filter_map(|store| store.upgrade()?.sweep(now)).min();
        next.map_or(NEVER, Timestamp::as_millis)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.running.lock().expect(NO_PANIC)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("next", &self.next).finish_non_exhaustive()
    }
}

/// The running timer task. If it is dropped with its runtime, the timer can be started again on another runtime.
struct Turn {
    timer: Weak<Timer>,
}

impl Turn {
    async fn run(mut self) {
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
            // Deadlines reported from here on are compared with NEVER, so none is missed while the stores are swept.
            if timer.next.compare_exchange(next, NEVER, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // An earlier one was reported, or the timer was stopped.
                continue;
            }
            let found = timer.sweep_all(timer.clock.now());
            let mut running = timer.lock();
            if timer.next.fetch_min(found, Ordering::AcqRel).min(found) == NEVER {
                *running = false;
                // From here on another turn may start. Dropping this one must not reset the flag of the other.
                self.timer = Weak::new();
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
        // Lets the timer task start to sleep.
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
