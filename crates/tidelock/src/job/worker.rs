//! Workers: a handler for each run, with leases renewed, failures judged by the job's own rules, and a clean end.

mod agenda;
mod engine;
mod renewal;
mod report;
mod run;
mod running;
mod shared;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

pub use self::report::{JobWorkerReport, JobWorkerStats};
pub use self::running::RunningJobWorker;

pub(super) use self::agenda::Agenda;

use self::engine::Engine;
use self::run::Outcome;
use self::shared::Shared;
use super::Job;
use super::context::JobContext;
use super::failure::JobError;
use super::observe;
use crate::check;
use crate::codec::{Border, Codec, Value};
use crate::error::{Error, Result};
use crate::handover::{Background, Receivers, Terms};
use crate::name;
use crate::runtime::BoxFuture;
use crate::time::{HOUR, SECOND};

/// A handler without its types: decodes the input and runs on it. An error means that the input does not decode.
type Handler = Arc<dyn Fn(JobContext) -> Result<BoxFuture<'static, Outcome>> + Send + Sync + 'static>;

/// The options of a worker, checked.
struct Plan {
    handler: Handler,
    /// The codec and limit of the handle, for memos and progress.
    codec: Codec,
    limit: usize,
    /// The name of the worker.
    terms: Arc<Terms>,
    concurrency: usize,
    prefetch: usize,
    shutdown_grace: Duration,
}

/// A handler and how to run it. Created by [`Job::process`].
///
/// The handler's result ends the run: `Ok` completes the job; an error or a panic makes it run again after the job's
/// backoff until its attempts are used up; [`JobError::retry_after`] sets that pause, [`JobError::fatal`] ends the job,
/// [`JobError::reschedule`] runs it again later without counting a failure. Leases are renewed while a handler runs,
/// and its stop token ([`JobContext::cancelled`]) tells it when to stop.
///
/// By default a job is claimed only when a handler is free: no job sits unstarted in a worker. For short handlers,
/// [`prefetch`](JobWorker::prefetch) hides the round trip of the claim.
#[must_use = "a worker does nothing until it is run"]
pub struct JobWorker<I, O> {
    line: Arc<Receivers>,
    handler: Handler,
    codec: Codec,
    limit: usize,
    name: Arc<str>,
    concurrency: usize,
    prefetch: usize,
    shutdown_grace: Duration,
    types: PhantomData<fn(I) -> O>,
}

impl<I: Value, O: Value> Job<I, O> {
    /// Runs `handler` for each job, see [`JobWorker`].
    ///
    /// A handle runs nothing by itself: each call creates one more worker, with its own handler and concurrency, and
    /// all workers of one name, in any process, share the jobs.
    pub fn process<F, Fut>(&self, handler: F) -> JobWorker<I, O>
    where
        F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, JobError>> + Send + 'static,
    {
        let inputs = self.options.border.clone();
        let (codec, limit) = (inputs.codec, inputs.limit);
        let mut results = Border::<O>::new(limit);
        results.codec = codec;
        let results = Arc::new(results);
        let handler: Handler = Arc::new(move |context: JobContext| {
            let input = inputs.decode(&context.held.run.content.payload)?;
            let (running, results) = (handler(context, input), Arc::clone(&results));
            Ok(Box::pin(async move { outcome(&results, running.await) }))
        });
        let site = self.site();
        JobWorker {
            name: Arc::clone(&site.world.process),
            line: Arc::clone(&self.receivers),
            handler,
            codec,
            limit,
            concurrency: 1,
            prefetch: 0,
            shutdown_grace: 30 * SECOND,
            types: PhantomData,
        }
    }

    /// Like [`process`](Job::process), with a clone of `state` for each run.
    pub fn process_with<S, F, Fut>(&self, state: S, handler: F) -> JobWorker<I, O>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, JobContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, JobError>> + Send + 'static,
    {
        self.process(move |context, input| handler(state.clone(), context, input))
    }
}

fn outcome<O: Value>(results: &Border<O>, said: Result<O, JobError>) -> Outcome {
    match said {
        Err(error) => Outcome::Failed(error),
        Ok(result) => match results.encode(&result).and_then(|raw| results.check_size(raw.len()).map(|()| raw)) {
            Ok(raw) => Outcome::Done(raw),
            Err(error) => Outcome::Unencodable(error),
        },
    }
}

impl<I, O> JobWorker<I, O> {
    /// How many handlers run at once: 1..=10,000, default 1.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// How many jobs to claim ahead of free handlers: 0..=10,000, default 0.
    ///
    /// It pays where handlers take about as long as a round trip to the backend, or less. A prefetched job counts as
    /// running: its lease and its timeout start with the claim, and `cancel` and `remove` treat it as a job that runs.
    /// A job that was not started within 1 s, or a quarter of its lease if that is shorter, is given back, and no more
    /// are prefetched until a handler has ended. Its events and its `attempt` show that as a run; it is no failure.
    pub fn prefetch(mut self, jobs: usize) -> Self {
        self.prefetch = jobs;
        self
    }

    /// How long handlers may continue after the stop signal: 0..=1 h, default 30 s. Handlers that still run then are
    /// dropped, and their runs are given back without using an attempt.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// The name of the worker, as shown by inspections: 1..=256 bytes. Default: the name of the process, new at each
    /// start.
    pub fn worker_name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Runs until `stop` resolves and the worker has drained.
    ///
    /// After the stop signal it starts no more runs, fires the stop tokens with
    /// [`StopReason::Shutdown`](super::StopReason::Shutdown), waits `shutdown_grace` for its handlers, drops the others
    /// and gives their runs back, which may be claimed again at once. [`Tidelock::shutdown`](crate::Tidelock::shutdown)
    /// is a stop signal too. Outages are waited out: this fails only for options out of range, and for errors that
    /// waiting does not cure, such as access denied. Dropping the future is a stop signal without waiting for the end.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<JobWorkerReport> {
        self.start()?.run_until(stop).await
    }

    /// Runs in the background. Dropping the result is a stop signal without waiting for the end.
    ///
    /// Options out of range, and the errors of [`run_until`](Self::run_until), are in the report of
    /// [`RunningJobWorker::shutdown`], and an error event reports them at once.
    pub fn spawn(self) -> RunningJobWorker {
        let line = Arc::clone(&self.line);
        RunningJobWorker(self.start().unwrap_or_else(|error| {
            observe::worker_failed(&line.site, &error);
            Background::failed(error)
        }))
    }

    fn start(self) -> Result<Background<JobWorkerStats, JobWorkerReport>> {
        let line = Arc::clone(&self.line);
        let plan = self.plan().map_err(|error| line.site.context("process", error))?;
        line.site.check_taking("process")?;
        Engine::start(&Arc::new(Shared::new(line, plan)))
    }

    fn plan(self) -> Result<Plan> {
        let Self { handler, codec, limit, name, concurrency, prefetch, shutdown_grace, .. } = self;
        check::range(Error::argument, "concurrency", concurrency, 1, 10_000)?;
        check::range(Error::argument, "prefetch", prefetch, 0, 10_000)?;
        check::range(Error::argument, "shutdown_grace", shutdown_grace, Duration::ZERO, HOUR)?;
        name::check(Error::argument, "worker_name", &name, name::MAX_ID)?;
        // The job decides how long its runs may be held, so the terms contain no lease.
        let terms = Arc::new(Terms { consumer: name, ..Terms::default() });
        Ok(Plan { handler, codec, limit, terms, concurrency, prefetch, shutdown_grace })
    }
}

impl<I, O> fmt::Debug for JobWorker<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobWorker")
            .field("address", &self.line.site.address)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}
