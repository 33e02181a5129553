//! The seam: everything that a backend must be able to do, in the terms of the domain.
//!
//! No backend detail crosses it: no key, no connection, no script. It is sealed and may change in any release.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::job::store::JobStore;
use crate::keyed::store::KeyedStore;
use crate::mutex::store::MutexStore;
use crate::queue::store::QueueStore;
use crate::ratelimit::store::RatelimitStore;
use crate::retry::store::BudgetStore;
use crate::runtime::BoxFuture;
use crate::scheduler::store::SchedulerStore;
use crate::topic::store::TopicStore;

pub(crate) mod memory;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;

/// How many steps of overdue transitions a query waits for before it shows what there is.
pub(crate) const SETTLING_STEPS: usize = 50;

/// The upper end of a range that protects servers and their other users. A page does not share its store, so it has no
/// limit.
pub(crate) const fn most(on_servers: u64) -> u64 {
    if cfg!(target_family = "wasm") { u64::MAX } else { on_servers }
}

/// The type of a world's backend. If there is only one, it is the concrete type, so that code that a program does not
/// use is left out.
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) type Chosen = dyn Backend;
#[cfg(not(all(feature = "redis", not(target_family = "wasm"))))]
pub(crate) type Chosen = memory::Memory;

/// One backend: a store per primitive, and its own lifecycle.
#[cfg_attr(
    not(all(feature = "redis", not(target_family = "wasm"))),
    expect(dead_code, reason = "the only backend there is, is used as it is")
)]
pub(crate) trait Backend: fmt::Debug + Send + Sync + 'static {
    /// The duration of one round trip.
    fn ping(&self) -> BoxFuture<'_, Result<Duration>>;
    /// Closes connections and timers. Nothing is requested afterwards.
    fn close(&self);

    fn ratelimit(&self) -> Arc<dyn RatelimitStore>;
    fn mutex(&self) -> Arc<dyn MutexStore>;
    fn queue(&self) -> Arc<dyn QueueStore>;
    fn topic(&self) -> Arc<dyn TopicStore>;
    fn job(&self) -> Arc<dyn JobStore>;
    fn scheduler(&self) -> Arc<dyn SchedulerStore>;
    fn keyed(&self) -> Arc<dyn KeyedStore>;
    fn retry_budget(&self) -> Arc<dyn BudgetStore>;
}

impl Backend for memory::Memory {
    fn ping(&self) -> BoxFuture<'_, Result<Duration>> {
        self.ping()
    }

    fn close(&self) {
        self.close();
    }

    fn ratelimit(&self) -> Arc<dyn RatelimitStore> {
        self.ratelimit()
    }

    fn mutex(&self) -> Arc<dyn MutexStore> {
        self.mutex()
    }

    fn queue(&self) -> Arc<dyn QueueStore> {
        self.queue()
    }

    fn topic(&self) -> Arc<dyn TopicStore> {
        self.topic()
    }

    fn job(&self) -> Arc<dyn JobStore> {
        self.job()
    }

    fn scheduler(&self) -> Arc<dyn SchedulerStore> {
        self.scheduler()
    }

    fn keyed(&self) -> Arc<dyn KeyedStore> {
        self.keyed()
    }

    fn retry_budget(&self) -> Arc<dyn BudgetStore> {
        self.retry_budget()
    }
}
