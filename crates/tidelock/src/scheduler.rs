//! Cron, interval and one-off slots, each turned into one durable run across a fleet.
//!
//! A [`Scheduler`] keeps schedules: when to run, what to run, and what to do with slots that were missed. Any process
//! registers, triggers, pauses and inspects them. Processes that call [`start`](Scheduler::start) elect a leader, which
//! turns slots into [jobs](crate::job); the workers of those jobs do the work.
//!
//! ```
//! use tidelock::{HOUR, Misfire, Schedule, Tidelock, Triggered};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = Tidelock::in_process();
//! let mail = tide.job::<String, ()>("mail.send").attempts(3).build()?;
//!
//! let platform = tide
//!     .scheduler("platform")
//!     .handler("purge", async |run, days: u32| {
//!         println!("purging what is older than {days} days, for {:?}", run.slot());
//!         Ok(())
//!     })
//!     .build()?;
//!
//! let digest = Schedule::cron("0 7 * * MON-FRI").tz("Europe/Berlin").misfire(Misfire::CatchUpOne);
//! platform.register("digest", digest.job(&mail, &"digest".to_owned())).await?;
//! platform.register("purge", Schedule::every(HOUR).handler("purge", &30)).await?;
//!
//! platform.start().await?; // or run_until(signal)
//! let Triggered::Submitted { id, .. } = platform.trigger_now("purge").await? else { panic!("it is there") };
//! platform.runs("purge").join(id).await?;
//! platform.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | define | [`register`](Scheduler::register) a [`Schedule`], [`unregister`](Scheduler::unregister) |
//! | run | [`start`](Scheduler::start) and [`stop`](Scheduler::stop), or [`run_until`](Scheduler::run_until) |
//! | trigger a run now | [`trigger_now`](Scheduler::trigger_now) |
//! | pause | [`pause`](Scheduler::pause), [`resume`](Scheduler::resume) |
//! | inspect | [`get`](Scheduler::get), [`list`](Scheduler::list), [`upcoming`](Scheduler::upcoming), [`history`](Scheduler::history), [`stats`](Scheduler::stats), [`metrics`](Scheduler::metrics) |
//! | see the runs of a handler | [`runs`](Scheduler::runs) |
//! | retry slots that no target accepted | [`dead_letters`](Scheduler::dead_letters) |
//!
//! # Guarantees
//!
//! Each slot is decided once and becomes one job, no matter which leader dies on the way: the decision is stored before
//! the job is submitted, and the target recognises a slot it has seen. The job then runs at least once, like any job. A
//! slot that is decided less than `tolerance` after it was due runs; a later one is *missed*, and [`Misfire`] decides
//! what happens to it. Run numbers of a schedule only grow and never repeat. A slot that was decided but does not run
//! in the end (it overlapped, was given up, or was dropped by a pause) leaves its number unused.
//!
//! See also the [guide](crate::guide::scheduler), and [`guide::cron`](crate::guide::cron) for cron expressions.

mod builder;
mod decide;
mod definition;
#[cfg(all(test, feature = "redis", not(target_family = "wasm")))]
mod differential;
mod dispatch;
mod info;
mod leader;
pub(crate) mod memory;
mod model;
mod observe;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
mod request;
mod schedule;
mod site;
mod slot;
mod stats;
pub(crate) mod store;
#[cfg(not(target_family = "wasm"))]
#[path = "scheduler/targets/native.rs"]
mod targets;
#[cfg(target_family = "wasm")]
#[path = "scheduler/targets/web.rs"]
mod targets;
#[cfg(test)]
mod tests;
mod timing;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use self::builder::SchedulerBuilder;
pub use self::info::{
    DispatchLetter, DispatchLetterId, HistoryEntry, HistoryEvent, LastDispatch, Outcome, ScheduleInfo, ScheduleSpec,
    ScheduleState, ScheduleTarget, ScheduleTiming,
};
pub use self::leader::StopReport;
pub use self::observe::{Happening, LostBy, SchedulerEvent, SchedulerMetrics, SkippedBy};
pub use self::request::{
    Delete, DispatchDeadLetters, Get, History, List, ListLetters, Pause, PurgeLetters, Register, Registered, Rejected,
    RemoveLetter, Resume, RetryLetter, Stats, TriggerNow, Triggered, Unregister, Upcoming,
};
pub use self::schedule::{Misfire, Overlap, Schedule};
pub use self::slot::{Slot, Trigger};
pub use self::stats::{Leader, SchedulerStats};
pub use crate::changed::Changed;

pub(crate) use self::site::Site;

use self::builder::{Handlers, Options};
use self::leader::Instance;
use self::observe::Watcher;
use self::targets::Targets;
use crate::codec::Raw;
use crate::error::Result;
use crate::job::{Job, JobBuilder};
use crate::runtime::Listener;

/// A handle to a scheduler. Cloned freely; all handles with the same tenant and id, in any process, refer to the same
/// schedules, and clones of one handle share its instance.
///
/// Created by [`Tidelock::scheduler`](crate::Tidelock::scheduler). How a scheduler behaves is described in the
/// [module](self).
#[derive(Clone)]
pub struct Scheduler {
    core: Arc<Core>,
}

/// The state that clones of a handle share.
pub(crate) struct Core {
    site: Arc<Site>,
    options: Options,
    handlers: Handlers,
    targets: Targets,
    watcher: Watcher,
    observer: Option<Arc<Listener<SchedulerEvent>>>,
    instance: Instance,
}

impl Core {
    fn new(
        site: Arc<Site>,
        options: Options,
        handlers: Handlers,
        targets: Targets,
        observer: Option<Arc<Listener<SchedulerEvent>>>,
    ) -> Self {
        let watcher = Watcher::new(site.id(), observer.clone());
        Self { site, options, handlers, targets, watcher, observer, instance: Instance::default() }
    }

    /// Counts what happened, and notifies the observer.
    fn tell(&self, what: Happening) {
        self.watcher.tell(self.site.world.clock.now(), what);
    }

    /// The job of a handler's runs.
    fn runs(&self, handler: &str) -> Job<Raw, ()> {
        let address = self.site.address.part(handler);
        JobBuilder::within(&self.site.world, address).handle()
    }
}

impl Scheduler {
    /// The scheduler's id.
    pub fn id(&self) -> &str {
        self.core.site.id()
    }

    /// The scheduler with the same id, options and handlers of another tenant, with an instance of its own that is not
    /// started. Tenants share no data.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        let Core { site, options, handlers, targets, observer, .. } = &*self.core;
        let site = Site::of(&site.world, &site.address.with_tenant(tenant));
        let (options, handlers, targets) = (options.clone(), handlers.clone(), targets.clone());
        Self { core: Arc::new(Core::new(site, options, handlers, targets, observer.clone())) }
    }

    /// Creates a schedule, or replaces the one with this id (1..=256 bytes). Needs no started instance.
    pub fn register(&self, id: &str, schedule: Schedule) -> Register {
        Register::new(&self.core, id, schedule)
    }

    /// Removes a schedule.
    pub fn unregister(&self, id: &str) -> Unregister {
        Unregister::new(&self.core, id)
    }

    /// Triggers a run of a schedule now. Needs no started instance.
    pub fn trigger_now(&self, id: &str) -> TriggerNow {
        TriggerNow::new(&self.core, id)
    }

    /// Pauses a schedule: its slots do not run.
    pub fn pause(&self, id: &str) -> Pause {
        Pause::new(&self.core, id)
    }

    /// Resumes a paused schedule.
    pub fn resume(&self, id: &str) -> Resume {
        Resume::new(&self.core, id)
    }

    /// Reads one schedule.
    pub fn get(&self, id: &str) -> Get {
        Get::new(&self.core, id)
    }

    /// Lists all schedules.
    pub fn list(&self) -> List {
        List::new(&self.core)
    }

    /// The next slots of a schedule.
    pub fn upcoming(&self, id: &str) -> Upcoming {
        Upcoming::new(&self.core, id)
    }

    /// The past decisions about a schedule.
    pub fn history(&self, id: &str) -> History {
        History::new(&self.core, id)
    }

    /// Slots and triggers that their target did not accept.
    pub fn dead_letters(&self) -> DispatchDeadLetters {
        DispatchDeadLetters(Arc::clone(&self.core))
    }

    /// The runs of a handler, to get, list, cancel, retry or join. Inputs are returned in encoded form.
    pub fn runs(&self, handler: &str) -> Job<Raw, ()> {
        self.core.runs(handler)
    }

    /// Statistics of the scheduler across the fleet.
    pub fn stats(&self) -> Stats {
        Stats(Arc::clone(&self.core))
    }

    /// Deletes the scheduler and everything in it.
    pub fn delete(&self) -> Delete {
        Delete(Arc::clone(&self.core))
    }

    /// The counters of this handle since it was built. Does no I/O.
    pub fn metrics(&self) -> SchedulerMetrics {
        self.core.watcher.snapshot()
    }

    /// Targets with these names have appeared: schedules that wait for them are due again.
    #[cfg(target_family = "wasm")]
    pub(crate) fn appeared(&self, targets: Vec<Arc<str>>) {
        let site = &self.core.site;
        // In a page, the change is done when the call returns.
        drop(site.store().change(&site.address, store::Change::Appeared { targets }));
        // Planned slots that could not be handed over are tried again with the next beat.
        site.wake();
    }

    /// Starts the instance of this handle: it may become the leader, and it runs the handlers of this handle.
    ///
    /// Resolves when the backend has registered it, or is known to be away; outages are waited out. Fails with errors
    /// that waiting does not cure, such as access denied, and then nothing is started. On a started instance it does
    /// nothing; during a [`stop`](Self::stop) it waits for that and then starts. The instance runs until `stop` or
    /// [`Tidelock::shutdown`](crate::Tidelock::shutdown), even if all handles are dropped. Dropping the future may
    /// leave it started.
    pub async fn start(&self) -> Result<()> {
        leader::start(&self.core).await
    }

    /// Stops the instance. The request under way ends, or is left to the next leader after a `lease`. No more decisions
    /// are made, leadership and handlers are given up, and runs of its handlers that have not ended after `stop_grace`
    /// are given back, without using an attempt.
    ///
    /// Once it has resolved, no handler of the instance starts or runs. On an instance that was not started it does
    /// nothing. Dropping the future leaves it stopping.
    pub async fn stop(&self) -> Result<StopReport> {
        Ok(leader::stop(&self.core).await)
    }

    /// Starts, waits for `stop` to resolve, and stops.
    ///
    /// [`Tidelock::shutdown`](crate::Tidelock::shutdown) is a stop signal too, and so is dropping the future, without
    /// waiting for the end. Signals are observed during the start, too.
    pub async fn run_until(&self, stop: impl Future<Output = ()>) -> Result<StopReport> {
        leader::run_until(&self.core, stop).await
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("address", &self.site.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.core.site.address;
        f.debug_struct("Scheduler").field("id", &address.id).field("tenant", &address.tenant).finish_non_exhaustive()
    }
}
