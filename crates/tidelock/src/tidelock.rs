//! `Tidelock`: the entry point.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::backend::Chosen;
use crate::backend::memory::Memory;
use crate::cursor;
use crate::ephemeral::EphemeralBuilder;
use crate::error::Result;
use crate::handover::{Object, Receivers};
use crate::job::{JobBuilder, JobLog};
use crate::keyed::memory::Pace;
use crate::keyed::site::Site as KeyedSite;
use crate::keyed::store::Object as KeyedObject;
use crate::lifecycle::{Lifecycle, ShutdownReport};
use crate::mutex::MutexBuilder;
use crate::name::Address;
use crate::queue::QueueBuilder;
use crate::ratelimit::RateLimiterBuilder;
use crate::registry::RegistryBuilder;
use crate::runtime::Spawner;
use crate::scheduler::{SchedulerBuilder, Site as SchedulerSite};
use crate::time::{Clock, ManualClock};
use crate::topic::{Site, TopicBuilder};
use crate::weak_map::WeakMap;

/// An open backend, and the entry point to everything on it. Clones share it.
///
/// Code that receives a `Tidelock` does not know its backend. Handles created from it stay usable as long as any clone
/// or any handle lives.
///
/// To open one, use [`in_process`](Self::in_process), [`in_process_with`](Self::in_process_with) for tests, or
/// `connect` for servers.
#[derive(Clone)]
pub struct Tidelock {
    pub(crate) world: Arc<World>,
    pub(crate) tenant: Arc<str>,
}

/// What all handles made from one opened `Tidelock` share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) backend: Arc<Chosen>,
    /// Decides while the backend is unavailable, for limiters and budgets with that policy; one for all handles.
    pub(crate) local: OnceLock<Memory>,
    pub(crate) clock: Clock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) spawner: Arc<Spawner>,
    /// The name of this opened `Tidelock` as holder and consumer; new at each start.
    pub(crate) process: Arc<str>,
    /// Topics in use in this process.
    pub(crate) topics: WeakMap<Address, Site>,
    /// The waiting receivers of each queue or group.
    pub(crate) receivers: WeakMap<(Address, Object), Receivers>,
    /// Registries and ephemeral stores in use.
    pub(crate) keyed: WeakMap<KeyedObject, KeyedSite>,
    /// Schedulers in use.
    pub(crate) schedulers: WeakMap<Address, SchedulerSite>,
    /// Jobs whose events are read here, by the address of their object and their number.
    pub(crate) job_logs: WeakMap<(Address, u64), JobLog>,
}

impl World {
    pub(crate) fn local(&self) -> &Memory {
        self.local.get_or_init(|| Memory::new(&self.clock, &self.spawner, Pace::default()))
    }
}

/// The tenant of handles that name none.
pub(crate) const DEFAULT_TENANT: &str = "default";

impl Tidelock {
    /// Opens a new, private backend in this process: for tests and for single-instance programs.
    ///
    /// Does no I/O. Its deadlines are kept by one timer on the runtime that first uses it. Everything in it is gone
    /// when the process ends.
    pub fn in_process() -> Self {
        Self::in_memory(Clock::System, Pace::default())
    }

    /// Like [`Tidelock::in_process`], with a clock that stands still until the test moves it.
    pub fn in_process_with(clock: &ManualClock) -> Self {
        Self::in_memory(Clock::Manual(clock.clone()), Pace::default())
    }

    pub(crate) fn in_memory(clock: Clock, pace: Pace) -> Self {
        let spawner = Arc::new(Spawner::default());
        let backend = Arc::new(Memory::new(&clock, &spawner, pace));
        let lifecycle = Lifecycle::new(clock.clone());
        Self::over(
            World {
                backend,
                local: OnceLock::new(),
                clock,
                lifecycle,
                spawner,
                process: process_name("local"),
                topics: WeakMap::default(),
                receivers: WeakMap::default(),
                keyed: WeakMap::default(),
                schedulers: WeakMap::default(),
                job_logs: WeakMap::default(),
            },
            DEFAULT_TENANT,
        )
    }

    pub(crate) fn over(world: World, tenant: &str) -> Self {
        Self { world: Arc::new(world), tenant: tenant.into() }
    }

    /// The same backend for another tenant. Tenants share no data.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first `build` or request.
    pub fn tenant(&self, tenant: &str) -> Self {
        Self { world: Arc::clone(&self.world), tenant: tenant.into() }
    }

    /// Pings the backend and measures the time until its answer. Dropping the future does nothing.
    pub async fn ping(&self) -> Result<Duration> {
        self.world.lifecycle.check().map_err(|error| error.in_context("ping"))?;
        self.world.backend.ping().await
    }

    /// Stops taking work, waits up to `grace` for whatever is held, gives back the rest and closes the backend.
    ///
    /// Waiting calls end with *shutting down*; workers drain; guards are renewed until the end of the grace. Returns
    /// what was left. A second call waits for the first, or shortens it. Dropping the future leaves the `Tidelock`
    /// closing; call it again to finish.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let report = self.world.lifecycle.shutdown(grace).await;
        self.world.backend.close();
        report
    }

    /// Starts the definition of a rate limiter.
    pub fn ratelimit(&self, id: &str) -> RateLimiterBuilder {
        RateLimiterBuilder::new(self, id)
    }

    /// Starts the definition of a mutex: one holder per resource.
    pub fn mutex(&self, id: &str) -> MutexBuilder {
        MutexBuilder::new(self, id)
    }

    /// Starts the definition of a queue of `T`.
    pub fn queue<T>(&self, id: &str) -> QueueBuilder<T> {
        QueueBuilder::new(self, id)
    }

    /// Starts the definition of a topic of `T`: an event log.
    pub fn topic<T>(&self, id: &str) -> TopicBuilder<T> {
        TopicBuilder::new(self, id)
    }

    /// Starts the definition of a job: durable background work with an input `I` and a result `O`.
    pub fn job<I, O>(&self, id: &str) -> JobBuilder<I, O> {
        JobBuilder::new(self, id)
    }

    /// Starts the definition of a scheduler: cron and interval slots, each run once across a fleet.
    pub fn scheduler(&self, id: &str) -> SchedulerBuilder {
        SchedulerBuilder::new(self, id)
    }

    /// Starts the definition of a registry: named records of `T`.
    pub fn registry<T>(&self, id: &str) -> RegistryBuilder<T> {
        RegistryBuilder::new(self, id)
    }

    /// Starts the definition of an ephemeral store: records of `T` that expire unless touched.
    pub fn ephemeral<T>(&self, id: &str) -> EphemeralBuilder<T> {
        EphemeralBuilder::new(self, id)
    }
}

impl fmt::Debug for Tidelock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tidelock").field("tenant", &self.tenant).field("process", &self.world.process).finish()
    }
}

/// A name for this process: the label, and 60 random bits that are new at each start.
pub(crate) fn process_name(label: &str) -> Arc<str> {
    let suffix: String = (0..12).map(|_| char::from(cursor::DIGITS[fastrand::usize(..32)])).collect();
    format!("{label}-{suffix}").into()
}
