//! Workers: a handler for each message, with leases renewed, failures retried by policy, and a clean end.

mod engine;
mod failure;
mod report;
mod slots;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::failure::in_one_line;

pub use self::failure::HandlerError;
pub use self::report::{WorkerReport, WorkerStats};

use self::engine::Engine;
use super::background::Background;
use super::held::Held;
use super::observe;
use super::receive::Wish;
use super::receivers::{Receivers, Terms};
use super::store::Handed;
use crate::backoff::{Backoff, Limits};
use crate::check;
use crate::error::{Error, Result};
use crate::runtime::BoxFuture;
use crate::time::{HOUR, SECOND, TEN_YEARS};
use crate::topic::store::GapView;

/// A handler without its types: decodes a message and runs on it. An error means that the message does not decode.
type Handler =
    Arc<dyn Fn(Handed, Arc<Held>) -> Result<BoxFuture<'static, Result<(), HandlerError>>> + Send + Sync + 'static>;
/// The callback for gaps.
type OnGap = Arc<dyn Fn(GapView) + Send + Sync>;

const BACKOFF: Limits = Limits { base: "backoff base", max: "backoff max", longest: TEN_YEARS, steepest: 10.0 };

/// A handler and its options: what the workers of all primitives share.
pub(crate) struct Crew {
    line: Arc<Receivers>,
    terms: Arc<Terms>,
    max_nack_delay: Duration,
    handler: Handler,
    pub(crate) on_gap: OnGap,
    pub(crate) wish: Wish,
    pub(crate) concurrency: usize,
    pub(crate) prefetch: Option<usize>,
    pub(crate) backoff: Backoff,
    pub(crate) timeout: Option<Duration>,
    pub(crate) shutdown_grace: Duration,
}

/// The options and the start of a worker, for types with a field `crew`.
macro_rules! crew_options {
    () => {
        /// How many handlers run at once: 1..=10,000, default 1.
        pub fn concurrency(mut self, handlers: usize) -> Self {
            self.crew.concurrency = handlers;
            self
        }

        /// How many messages to take ahead of free handlers: 0..=10,000, default as many as handlers.
        ///
        /// A message that was not started within 1 s, or a quarter of the lease if that is shorter, is given back, and
        /// no more are prefetched until a handler has ended.
        pub fn prefetch(mut self, messages: usize) -> Self {
            self.crew.prefetch = Some(messages);
            self
        }

        /// The pause before a failed message is delivered again, by its attempt; cut to the handle's `max_nack_delay`.
        /// Default `Backoff::exponential(SECOND).max(300 * SECOND)`.
        pub fn backoff(mut self, backoff: $crate::Backoff) -> Self {
            self.crew.backoff = backoff;
            self
        }

        /// The longest run of one handler: 1 ms..=10 years, default none. A handler that takes longer is dropped, which
        /// counts as a failure.
        pub fn timeout(mut self, timeout: impl Into<Option<std::time::Duration>>) -> Self {
            self.crew.timeout = timeout.into();
            self
        }

        /// How long handlers may continue after the stop signal: 0..=1 h, default 30 s. Handlers that still run then
        /// are dropped, and their messages are given back without using an attempt.
        pub fn shutdown_grace(mut self, grace: std::time::Duration) -> Self {
            self.crew.shutdown_grace = grace;
            self
        }

        /// The lease of whatever is received, unless it is renewed: 100 ms..=10 years, default that of the handle.
        pub fn lease(mut self, lease: std::time::Duration) -> Self {
            self.crew.wish.lease = Some(lease);
            self
        }

        /// The name of the holder, as shown by inspections: 1..=256 bytes. Default: the name of the process, new at
        /// each start.
        pub fn consumer(mut self, name: &str) -> Self {
            self.crew.wish.consumer = Some(name.into());
            self
        }

        /// Runs until `stop` resolves and the worker has drained.
        ///
        /// After the stop signal it takes no more messages, gives back what it has prefetched, waits `shutdown_grace`
        /// for its handlers, drops the others and gives back their messages, and sends all settles.
        /// [`Tidelock::shutdown`](crate::Tidelock::shutdown) is a stop signal too. Outages are waited out: this fails
        /// only for options out of range, and for errors that waiting does not cure, such as access denied. Dropping
        /// the future is a stop signal without waiting for the end.
        pub async fn run_until(
            self,
            stop: impl std::future::Future<Output = ()>,
        ) -> $crate::Result<$crate::handover::WorkerReport> {
            self.crew.run_until(stop).await
        }

        /// Runs in the background. Dropping the result is a stop signal without waiting for the end.
        ///
        /// Options out of range, and the errors of [`run_until`](Self::run_until), are in the report of
        /// [`RunningWorker::shutdown`], and an error event reports them at once.
        ///
        /// [`RunningWorker::shutdown`]: crate::RunningWorker::shutdown
        pub fn spawn(self) -> $crate::handover::RunningWorker {
            self.crew.spawn()
        }
    };
}

pub(crate) use crew_options;

impl Crew {
    pub(crate) fn new(
        line: &Arc<Receivers>,
        terms: &Arc<Terms>,
        max_nack_delay: Duration,
        handler: impl Fn(Handed, Arc<Held>) -> Result<BoxFuture<'static, Result<(), HandlerError>>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            line: Arc::clone(line),
            terms: Arc::clone(terms),
            max_nack_delay,
            handler: Arc::new(handler),
            on_gap: Arc::new(|_| ()),
            wish: Wish::default(),
            concurrency: 1,
            prefetch: None,
            backoff: Backoff::exponential(SECOND).max(300 * SECOND),
            timeout: None,
            shutdown_grace: 30 * SECOND,
        }
    }

    pub(crate) async fn run_until(self, stop: impl Future<Output = ()>) -> Result<WorkerReport> {
        self.start()?.run_until(stop).await
    }

    pub(crate) fn spawn(self) -> RunningWorker {
        let site = Arc::clone(&self.line.site);
        RunningWorker(self.start().unwrap_or_else(|error| {
            observe::worker_failed(&site, &error);
            Background::failed(error)
        }))
    }

    fn start(self) -> Result<Background<WorkerStats, WorkerReport>> {
        let line = Arc::clone(&self.line);
        let plan = self.plan().map_err(|error| line.site.context("process", error))?;
        line.site.check_taking("process")?;
        Engine::start(line, plan)
    }

    fn plan(self) -> Result<Plan> {
        let Self { handler, on_gap, concurrency, backoff, timeout, shutdown_grace, max_nack_delay, .. } = self;
        let terms = self.wish.terms(&self.terms)?;
        check::renewed(Error::argument, Duration::from_millis(terms.lease))?;
        check::range(Error::argument, "concurrency", concurrency, 1, 10_000)?;
        let prefetch = self.prefetch.unwrap_or(concurrency);
        check::range(Error::argument, "prefetch", prefetch, 0, 10_000)?;
        check::lasting(Error::argument, "timeout", timeout)?;
        check::range(Error::argument, "shutdown_grace", shutdown_grace, Duration::ZERO, HOUR)?;
        backoff.check(&BACKOFF)?;
        Ok(Plan { handler, on_gap, terms, concurrency, prefetch, backoff, timeout, shutdown_grace, max_nack_delay })
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("address", &self.line.site.address)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// The options of a worker, checked.
struct Plan {
    handler: Handler,
    on_gap: OnGap,
    terms: Arc<Terms>,
    concurrency: usize,
    prefetch: usize,
    backoff: Backoff,
    timeout: Option<Duration>,
    shutdown_grace: Duration,
    max_nack_delay: Duration,
}

/// A worker in the background. Dropping it is a stop signal without waiting for the end.
#[derive(Debug)]
#[must_use = "dropping it stops the worker, without waiting for its end"]
pub struct RunningWorker(Background<WorkerStats, WorkerReport>);

impl RunningWorker {
    /// Stops taking messages, waits up to `grace` for the handlers, gives back the rest, sends all settles for at most
    /// five more seconds, and reports.
    ///
    /// `grace` overrides the option `shutdown_grace`. Dropping the future leaves the worker draining.
    pub async fn shutdown(self, grace: Duration) -> WorkerReport {
        self.0.shutdown(grace).await
    }

    /// What it has done so far, and what it is doing now.
    pub fn stats(&self) -> WorkerStats {
        self.0.stats()
    }

    /// Resolves when the worker has ended: by a stop, or by an error that waiting does not cure, such as access denied.
    /// After that [`shutdown`](Self::shutdown) returns its report at once.
    ///
    /// Dropping the future changes nothing.
    pub async fn ended(&mut self) {
        self.0.ended().await;
    }
}
