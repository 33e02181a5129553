//! Building a scheduler.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::Round;
use super::observe::SchedulerEvent;
use super::site::Site;
use super::targets::Targets;
use super::{Core, Scheduler};
use crate::backoff::Backoff;
use crate::check;
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::job::{JobBuilder, JobContext, JobError, RunningJobWorker};
use crate::name::{self, Address};
use crate::runtime::Listener;
use crate::tidelock::{Tidelock, World};
use crate::time::{DAY, HOUR, MINUTE, SECOND, TEN_YEARS, whole_millis};

/// How many events may wait for an observer.
const OBSERVER_ROOM: usize = 1_024;

/// The options of a handle, checked. Numbers without a unit are milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) lease: Duration,
    pub(super) heartbeat: Duration,
    pub(super) tick: Duration,
    pub(super) tolerance: u64,
    pub(super) batch: usize,
    pub(super) max_submits: usize,
    pub(super) round: Round,
    pub(super) max_dispatch_failures: u32,
    pub(super) slot_memory: u64,
    pub(super) max_letters: u64,
    pub(super) history: u64,
    pub(super) strict: bool,
    pub(super) handler_concurrency: usize,
    pub(super) stop_grace: Duration,
    pub(super) max_schedules: u64,
}

/// Starts a worker for the runs of a handler at an address.
pub(super) type Start = Arc<dyn Fn(&Arc<World>, &Address, &Options) -> RunningJobWorker + Send + Sync>;

/// The handlers of a handle, each with its own name.
pub(super) type Handlers = Vec<(Arc<str>, Start)>;

/// Defines a scheduler: options with defaults, checked by [`build`](SchedulerBuilder::build).
///
/// The options govern what this handle does, and the whole scheduler while its instance leads. Durations are in whole
/// milliseconds, fractions rounded up.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct SchedulerBuilder {
    world: Arc<World>,
    address: Address,
    lease: Duration,
    heartbeat: Option<Duration>,
    tick: Duration,
    tolerance: Duration,
    batch: usize,
    max_submits: usize,
    submit_retries: u32,
    submit_backoff: (Duration, Duration),
    max_dispatch_failures: u32,
    slot_memory: Duration,
    max_letters: u64,
    history: u64,
    strict: bool,
    handler_concurrency: usize,
    stop_grace: Duration,
    max_schedules: u64,
    handlers: Vec<(String, Start)>,
    targets: Targets,
    observer: Option<Arc<Listener<SchedulerEvent>>>,
}

impl SchedulerBuilder {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        Self {
            world: Arc::clone(&tide.world),
            address: Address::new(&tide.tenant, id),
            lease: 5 * SECOND,
            heartbeat: None,
            tick: Duration::from_millis(500),
            tolerance: MINUTE,
            batch: 200,
            max_submits: 500,
            submit_retries: 3,
            submit_backoff: (Duration::from_millis(100), 2 * SECOND),
            max_dispatch_failures: 5,
            slot_memory: 90 * DAY,
            max_letters: 5_000,
            history: 20,
            strict: true,
            handler_concurrency: 16,
            stop_grace: 30 * SECOND,
            max_schedules: 1_000_000,
            handlers: Vec::new(),
            targets: Targets::default(),
            observer: None,
        }
    }

    /// Adds a handler for the schedules that name it ([`Schedule::handler`](super::Schedule::handler)). Started
    /// instances that have it share its runs.
    ///
    /// A run is a job with the defaults of [`job`](crate::job) (one attempt, a lease of 30 s that is renewed
    /// automatically). The closure works like that of a job worker, and [`JobContext::slot`] returns the slot.
    pub fn handler<I, F, Fut>(mut self, name: &str, handler: F) -> Self
    where
        I: Value,
        F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let start = move |world: &Arc<World>, address: &Address, options: &Options| {
            let job = JobBuilder::<I, ()>::within(world, address.clone()).handle();
            let handler = Arc::clone(&handler);
            let worker = job.process(move |context, input| handler(context, input));
            worker.concurrency(options.handler_concurrency).shutdown_grace(options.stop_grace).spawn()
        };
        self.handlers.push((name.to_owned(), Arc::new(start)));
        self
    }

    /// How long a leader keeps the leadership without renewing it: 500 ms..=5 min, default 5 s. After a crash another
    /// one leads within this time plus half a second.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The interval of the leader's renewals: 100 ms..=a third of the lease, default 500 ms, or a third of the lease if
    /// that is less.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// The longest sleep of a leader: 50 ms..=60 s, default 500 ms. Due slots and changes wake it exactly; this covers
    /// lost wake-ups.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// A slot that is decided less than this after it was due is on time: 0..=1 h, default 60 s. Schedules may have their
    /// own.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The number of due schedules per pass: 1..=1,000, default 200. The next pass follows at once while more are due.
    pub fn batch(mut self, schedules: usize) -> Self {
        self.batch = schedules;
        self
    }

    /// The number of submits per pass: 1..=10,000, default 500.
    pub fn max_submits_per_tick(mut self, submits: usize) -> Self {
        self.max_submits = submits;
        self
    }

    /// Repeated tries of a submit in one round: 0..=100, default 3.
    pub fn submit_retries(mut self, retries: u32) -> Self {
        self.submit_retries = retries;
        self
    }

    /// The pauses between the tries of a round: from `base`, doubling up to `max`, ±25 %; 10 ms <= base <= max <= 10 min.
    /// Default 100 ms and 2 s.
    pub fn submit_backoff(mut self, base: Duration, max: Duration) -> Self {
        self.submit_backoff = (base, max);
        self
    }

    /// The number of failed rounds after which a slot is given up and becomes a dead letter: 1..=1,000, default 5.
    /// Rounds are 1 s apart, doubling up to 60 s, ±25 %.
    pub fn max_dispatch_failures(mut self, rounds: u32) -> Self {
        self.max_dispatch_failures = rounds;
        self
    }

    /// How long targets remember the newest slots of a schedule and its triggers: 60 s..=10 years, default 90 days.
    pub fn slot_memory(mut self, memory: Duration) -> Self {
        self.slot_memory = memory;
        self
    }

    /// The number of dead letters kept: 1..=100,000, default 5,000. The oldest are removed first, and each after 7
    /// days.
    pub fn max_dead_letters(mut self, letters: u64) -> Self {
        self.max_letters = letters;
        self
    }

    /// The number of history entries kept per schedule: 0..=1,000, default 20.
    pub fn history(mut self, entries: u64) -> Self {
        self.history = entries;
        self
    }

    /// What happens to slots whose handler no started instance has. Strict (the default): they wait undecided, the
    /// schedule is *unserved*, and its misfire policy judges them when an instance with the handler appears. Otherwise
    /// they are skipped, and triggers are rejected.
    pub fn strict_handlers(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// How many runs of one handler this instance executes at once: 1..=10,000, default 16.
    pub fn handler_concurrency(mut self, runs: usize) -> Self {
        self.handler_concurrency = runs;
        self
    }

    /// How long handlers may continue after [`stop`](super::Scheduler::stop): 0..=1 h, default 30 s.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// A register that would exceed this number of schedules is refused (*capacity reached*): 1..=10,000,000, default
    /// 1,000,000.
    pub fn max_schedules(mut self, schedules: u64) -> Self {
        self.max_schedules = schedules;
        self
    }

    /// Called with each event of this handle. It runs separately from the work: a slow, hanging or panicking observer
    /// changes nothing, but loses events when more than 1,024 are waiting, which
    /// [`events_lost`](super::SchedulerMetrics::events_lost) counts.
    pub fn on_event(mut self, observer: impl Fn(&SchedulerEvent) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(Listener::new(OBSERVER_ROOM, move |event| observer(&event))));
        self
    }

    /// The functions that run schedules with a handler.
    #[cfg(target_family = "wasm")]
    pub(crate) fn targets(mut self, targets: Arc<dyn crate::web::Targets>) -> Self {
        self.targets = Targets::of(targets);
        self
    }

    /// Checks the options and creates the handle. Does no I/O, and starts no instance.
    ///
    /// Fails with *invalid configuration* if the id or the name of a handler is not 1..=256 bytes without NUL, a
    /// handler is given twice, or an option is out of its range.
    pub fn build(self) -> Result<Scheduler> {
        self.check().map_err(|error| error.in_context(format_args!("scheduler {:?}", self.address.id)))?;
        let (base, max) = self.submit_backoff;
        let options = Options {
            lease: self.lease,
            heartbeat: self.beat(),
            tick: self.tick,
            tolerance: whole_millis(self.tolerance),
            batch: self.batch,
            max_submits: self.max_submits,
            round: Round { retries: self.submit_retries, backoff: Backoff::exponential(base).max(max).jitter(0.25) },
            max_dispatch_failures: self.max_dispatch_failures,
            slot_memory: whole_millis(self.slot_memory),
            max_letters: self.max_letters,
            history: self.history,
            strict: self.strict,
            handler_concurrency: self.handler_concurrency,
            stop_grace: self.stop_grace,
            max_schedules: self.max_schedules,
        };
        let handlers = self.handlers.into_iter().map(|(name, start)| (name.into(), start)).collect();
        let site = Site::of(&self.world, &self.address);
        Ok(Scheduler { core: Arc::new(Core::new(site, options, handlers, self.targets, self.observer)) })
    }

    fn beat(&self) -> Duration {
        self.heartbeat.unwrap_or((self.lease / 3).min(Duration::from_millis(500)))
    }

    fn check(&self) -> Result<()> {
        let ms = Duration::from_millis;
        let duration = |option: &str, value: Duration, min: Duration, max: Duration| {
            check::range(Error::configuration, option, value, min, max)
        };
        self.address.check_built()?;
        duration("lease", self.lease, ms(500), 5 * MINUTE)?;
        duration("heartbeat", self.beat(), ms(100), self.lease / 3)?;
        duration("tick", self.tick, ms(50), MINUTE)?;
        duration("tolerance", self.tolerance, Duration::ZERO, HOUR)?;
        duration("slot_memory", self.slot_memory, MINUTE, TEN_YEARS)?;
        duration("stop_grace", self.stop_grace, Duration::ZERO, HOUR)?;
        let (base, max) = self.submit_backoff;
        duration("submit_backoff base", base, ms(10), 10 * MINUTE)?;
        duration("submit_backoff max", max, base, 10 * MINUTE)?;
        for (option, value, min, max) in [
            ("batch", self.batch as u64, 1, 1_000),
            ("max_submits_per_tick", self.max_submits as u64, 1, 10_000),
            ("submit_retries", u64::from(self.submit_retries), 0, 100),
            ("max_dispatch_failures", u64::from(self.max_dispatch_failures), 1, 1_000),
            ("max_dead_letters", self.max_letters, 1, 100_000),
            ("history", self.history, 0, 1_000),
            ("handler_concurrency", self.handler_concurrency as u64, 1, 10_000),
            ("max_schedules", self.max_schedules, 1, 10_000_000),
        ] {
            check::range(Error::configuration, option, value, min, max)?;
        }
        for (index, (handler, _)) in self.handlers.iter().enumerate() {
            name::check(Error::configuration, "handler", handler, name::MAX_ID)?;
            if self.handlers[..index].iter().any(|(other, _)| other == handler) {
                return Err(Error::configuration(format!("handler {handler:?} is there twice")));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { tenant, id } = &self.address;
        f.debug_struct("SchedulerBuilder").field("id", id).field("tenant", tenant).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn values_out_of_range_are_refused_with_the_value() {
        let tide = Tidelock::in_process();
        let base = || tide.scheduler("platform");
        let ms = Duration::from_millis;
        let cases = [
            (tide.scheduler(""), "id must be 1..=256 bytes"),
            (tide.scheduler("a\0b"), "must not contain NUL"),
            (base().lease(ms(499)), "lease must be 500ms..=300s, but is 499ms"),
            (base().heartbeat(ms(99)), "heartbeat must be 100ms..="),
            (base().lease(SECOND).heartbeat(ms(400)), "but is 400ms"),
            (base().tick(ms(49)), "tick must be 50ms..=60s"),
            (base().tolerance(HOUR + ms(1)), "tolerance must be 0ns..=3600s"),
            (base().batch(0), "batch must be 1..=1000, but is 0"),
            (base().max_submits_per_tick(10_001), "but is 10001"),
            (base().submit_retries(101), "submit_retries must be 0..=100"),
            (base().submit_backoff(ms(9), SECOND), "submit_backoff base must be 10ms"),
            (base().submit_backoff(SECOND, ms(999)), "submit_backoff max must be 1s"),
            (base().max_dispatch_failures(0), "max_dispatch_failures must be 1..=1000"),
            (base().slot_memory(SECOND), "slot_memory must be 60s"),
            (base().max_dead_letters(0), "max_dead_letters must be 1..=100000"),
            (base().history(1_001), "history must be 0..=1000"),
            (base().handler_concurrency(0), "handler_concurrency must be 1..=10000"),
            (base().stop_grace(HOUR + ms(1)), "stop_grace must be 0ns"),
            (base().max_schedules(0), "max_schedules must be 1..=10000000"),
            (base().handler("a", async |_, (): ()| Ok(())).handler("a", async |_, (): ()| Ok(())), "there twice"),
            (base().handler("", async |_, (): ()| Ok(())), "handler must be 1..=256 bytes"),
        ];
        for (builder, expected) in cases {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
            assert!(error.to_string().contains(expected), "{error} does not contain {expected}");
        }
        assert!(base().lease(ms(500)).build().is_ok());
    }
}
