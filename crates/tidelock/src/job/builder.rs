//! Defining a job.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::Job;
use super::policy::Policy;
use super::site::receivers;
use super::store::Rules;
use crate::backoff::{self, Backoff};
use crate::check;
use crate::codec::{Border, Codec, Value};
use crate::error::{BoxError, Error, Result};
use crate::name::Address;
use crate::request::cloned;
use crate::tidelock::{Tidelock, World};
use crate::time::{DAY, MINUTE, SECOND, whole_millis};

const BACKOFF: backoff::Limits = backoff::Limits {
    base: "backoff base",
    max: "backoff max",
    longest: Duration::from_secs(7 * DAY.as_secs()),
    steepest: 10.0,
};

/// The options of a job's runs: those of the definition, unless a submit overrides them.
#[derive(Clone, Debug)]
pub(super) struct RunOptions {
    pub(super) attempts: u32,
    pub(super) backoff: Option<Backoff>,
    pub(super) lease: Duration,
    pub(super) timeout: Option<Duration>,
    pub(super) max_wait: Option<Duration>,
    /// Only in the definition, not in a submit.
    manual_heartbeat: bool,
    lease_is_limit: bool,
    max_crashes: u32,
    stop_grace: Duration,
    retention: Duration,
}

impl RunOptions {
    /// Refuses values out of range, with the error of a builder (`Error::configuration`) or of a submit
    /// (`Error::argument`).
    pub(super) fn check(&self, error: fn(String) -> Error) -> Result<()> {
        check::range(error, "attempts", self.attempts, 1, 1_000_000)?;
        check::range(error, "max_crashes", self.max_crashes, 1, 1_000)?;
        if let Some(backoff) = &self.backoff {
            backoff.check_as(error, &BACKOFF)?;
        }
        check::lasting(error, "lease", self.lease)?;
        check_renewed(error, self.lease, self.manual_heartbeat)?;
        check::lasting(error, "timeout", self.timeout)?;
        check::range(error, "stop_grace", self.stop_grace, Duration::ZERO, 10 * MINUTE)?;
        check::lasting(error, "max_wait", self.max_wait)?;
        check::lasting(error, "retention", self.retention)
    }

    /// The options as they are stored with a job.
    pub(super) fn rules(&self) -> Rules {
        let Self { backoff, manual_heartbeat, lease_is_limit, .. } = *self;
        let policy = Policy { backoff, manual_heartbeat, lease_is_limit };
        Rules {
            attempts: self.attempts,
            max_crashes: self.max_crashes,
            lease: whole_millis(self.lease),
            timeout: self.timeout.map(whole_millis),
            stop_grace: whole_millis(self.stop_grace),
            max_wait: self.max_wait.map(whole_millis),
            retention: whole_millis(self.retention),
            policy: policy.encode(),
        }
    }
}

/// Refuses a lease that is too short for the worker to renew it in time.
pub(super) fn check_renewed(error: fn(String) -> Error, lease: Duration, manual_heartbeat: bool) -> Result<()> {
    if manual_heartbeat {
        return Ok(());
    }
    check::renewed(|text| error(format!("{text}: see manual_heartbeat")), lease)
}

/// The options of a handle, checked.
#[derive(Debug)]
pub(super) struct Options<I> {
    pub(super) border: Border<I>,
    pub(super) run: RunOptions,
    /// Derived from `run`.
    pub(super) rules: Rules,
    pub(super) dedup_for: Duration,
    pub(super) max_depth: Option<u64>,
}

/// Defines a job: options with defaults, checked by [`build`](JobBuilder::build).
///
/// The options that govern runs are stored with each job when it is submitted: workers follow the job, not their own
/// handle. Durations are in whole milliseconds, fractions rounded up; the longest is 10 years unless stated otherwise.
#[must_use = "a builder does nothing until it is built"]
pub struct JobBuilder<I, O> {
    world: Arc<World>,
    address: Address,
    border: Border<I>,
    run: RunOptions,
    dedup_for: Duration,
    max_depth: Option<u64>,
    result: PhantomData<fn() -> O>,
}

impl<I, O> JobBuilder<I, O> {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        Self::within(&tide.world, Address::new(&tide.tenant, id))
    }

    pub(crate) fn within(world: &Arc<World>, address: Address) -> Self {
        Self {
            world: Arc::clone(world),
            address,
            border: Border::new(131_072),
            run: RunOptions {
                attempts: 1,
                backoff: None,
                lease: 30 * SECOND,
                timeout: None,
                max_wait: Some(7 * DAY),
                manual_heartbeat: false,
                lease_is_limit: false,
                max_crashes: 5,
                stop_grace: 5 * SECOND,
                retention: 7 * DAY,
            },
            dedup_for: 7 * DAY,
            max_depth: None,
            result: PhantomData,
        }
    }

    /// The number of failed runs after which a job ends: 1..=1,000,000, default 1, so that the first failure ends it.
    /// Runs that are given back or rescheduled, and those that end by a lost lease, do not count.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.run.attempts = attempts;
        self
    }

    /// The pause before the next run, by the number of failures: base and max 0..=7 days, factor 1..=10. Default: none.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.run.backoff = Some(backoff);
        self
    }

    /// The number of runs that may end by a lost lease, as when a process dies: 1..=1,000, default 5.
    pub fn max_crashes(mut self, crashes: u32) -> Self {
        self.run.max_crashes = crashes;
        self
    }

    /// How long a worker keeps a job without renewing its lease: 100 ms..=10 years, default 30 s; with
    /// [`manual_heartbeat`](Self::manual_heartbeat) 1 ms..=10 years. It is renewed every third of its length.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.run.lease = lease;
        self
    }

    /// Only the handler renews its lease, by calling [`heartbeat`](super::JobContext::heartbeat). Default: the worker
    /// does, even while a handler hangs.
    pub fn manual_heartbeat(mut self) -> Self {
        self.run.manual_heartbeat = true;
        self
    }

    /// The lease is also the limit of a run, and only heartbeats extend it. Its end is a timeout, settled at that
    /// instant.
    #[cfg(target_family = "wasm")]
    pub(crate) fn lease_is_limit(mut self) -> Self {
        self.run.manual_heartbeat = true;
        self.run.lease_is_limit = true;
        self
    }

    /// The longest run, from its claim to its end: 1 ms..=10 years, default none. Heartbeats do not extend it.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.run.timeout = timeout.into();
        self
    }

    /// The time from a run's stop token to the drop of its handler's future: 0..=10 minutes, default 5 s.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.run.stop_grace = grace;
        self
    }

    /// A job that has not started this long after its current due time ends as `EXPIRED`: 1 ms..=10 years or `None`,
    /// default 7 days.
    pub fn max_wait(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.run.max_wait = wait.into();
        self
    }

    /// How long the record, result, steps and events of a job are kept after its end: 1 ms..=10 years, default 7 days.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.run.retention = retention;
        self
    }

    /// The minimum life of a deduplication key, from its submit: 1 ms..=10 years, default 7 days. It lives at least as
    /// long as the record of its job.
    pub fn dedup_for(mut self, window: Duration) -> Self {
        self.dedup_for = window;
        self
    }

    /// The maximum size of input and metadata of one job, of a result, and of the value of one step: 1..=16 MiB,
    /// default 131,072 bytes.
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.border.limit = bytes;
        self
    }

    /// Submits and retries that would exceed this number of ready and delayed jobs are refused (*capacity reached*):
    /// 1..=2^53−1 or `None`, default `None`. Runs that are returned are never refused.
    pub fn max_depth(mut self, max: impl Into<Option<u64>>) -> Self {
        self.max_depth = max.into();
        self
    }

    /// How inputs, results and values of steps are encoded. Default JSON.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.border.codec = codec;
        self
    }

    /// A check of inputs: one that fails it is refused before anything is sent.
    pub fn check<E: Into<BoxError>>(mut self, check: impl Fn(&I) -> Result<(), E> + Send + Sync + 'static) -> Self {
        self.border.set_check(check);
        self
    }

    /// Validates inputs with their `garde::Validate`.
    #[cfg(feature = "garde")]
    pub fn check_garde(self) -> Self
    where
        I: garde::Validate<Context = ()>,
    {
        self.check(|input: &I| input.validate())
    }

    /// Checks the options and creates the handle. Does no I/O, and starts nothing.
    ///
    /// Fails with *invalid configuration* if the id is not 1..=256 bytes without NUL, or an option is out of its range.
    pub fn build(self) -> Result<Job<I, O>>
    where
        I: Value,
        O: Value,
    {
        self.check_options().map_err(|error| error.in_context(format_args!("job {:?}", self.address.id)))?;
        Ok(self.handle())
    }

    /// What is stored with a job of these options.
    pub(crate) fn rules(&self) -> Rules {
        self.run.rules()
    }

    /// The handle, unchecked: the handlers of schedulers are jobs at addresses that no user may choose.
    pub(crate) fn handle(self) -> Job<I, O>
    where
        I: Value,
        O: Value,
    {
        let receivers = receivers(&self.world, &self.address);
        let Self { border, run, dedup_for, max_depth, .. } = self;
        let options = Options { border, rules: run.rules(), run, dedup_for, max_depth };
        Job { options: Arc::new(options), receivers, result: PhantomData }
    }

    fn check_options(&self) -> Result<()> {
        self.address.check_built()?;
        self.run.check(Error::configuration)?;
        check::lasting(Error::configuration, "dedup_for", self.dedup_for)?;
        self.border.check_limit()?;
        check::count("max_depth", self.max_depth)
    }
}

cloned!(JobBuilder<I, O> { world, address, border, run, dedup_for, max_depth, result });

impl<I, O> fmt::Debug for JobBuilder<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { tenant, id } = &self.address;
        f.debug_struct("JobBuilder").field("id", id).field("tenant", tenant).finish_non_exhaustive()
    }
}
