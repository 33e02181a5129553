//! Workers: a handler for each message, with leases renewed, failures retried by policy, and a clean end.

mod engine;
mod failure;
mod report;
mod slots;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

pub use self::failure::HandlerError;
pub use self::report::{WorkerReport, WorkerStats};

use self::engine::Engine;
use self::slots::Shared;
use super::Queue;
use super::message::Message;
use super::receive::Wish;
use super::receivers::Terms;
use crate::backoff::{Backoff, Limits};
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::runtime::BoxFuture;
use crate::time::{HOUR, SECOND, TEN_YEARS, check_duration};

/// A handler without its type.
type Handler<T> = Arc<dyn Fn(Message<T>) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync>;

const BACKOFF: Limits = Limits { base: "backoff base", max: "backoff max", longest: TEN_YEARS, steepest: 10.0 };

/// A handler and how it is to be run. Made by [`Queue::process`].
///
/// What the handler answers settles the message: `Ok` acks it; an error or a panic returns it after a pause
/// ([`backoff`](Worker::backoff)) until its deliveries are used up; [`HandlerError::retry_after`] sets that pause;
/// [`HandlerError::fatal`] makes it a dead letter. Leases are renewed while a handler runs.
#[must_use = "a worker does nothing until it is run"]
pub struct Worker<T> {
    queue: Queue<T>,
    handler: Handler<T>,
    wish: Wish,
    concurrency: usize,
    prefetch: Option<usize>,
    backoff: Backoff,
    timeout: Option<Duration>,
    shutdown_grace: Duration,
}

impl<T: Value> Queue<T> {
    /// Runs `handler` for each message, see [`Worker`].
    ///
    /// ```
    /// # use tidelock::{SECOND, Tidelock, queue::HandlerError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidelock::Result<()> {
    /// # let tide = Tidelock::in_process();
    /// let numbers = tide.queue::<String>("numbers").build()?;
    /// numbers.send(&"7".to_owned()).await?;
    ///
    /// let (done, stop) = tokio::sync::oneshot::channel();
    /// let done = std::sync::Mutex::new(Some(done));
    /// let worker = numbers.process(move |message| {
    ///     let finished = done.lock().unwrap().take();
    ///     async move {
    ///         let number: i64 = message.parse().map_err(HandlerError::fatal)?; // no retry makes it a number
    ///         assert_eq!(number, 7);
    ///         finished.map(|finished| finished.send(()));
    ///         Ok(())
    ///     }
    /// });
    /// let report = worker.concurrency(8).run_until(async { stop.await.unwrap() }).await?;
    /// assert_eq!(report.acked, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn process<F, Fut>(&self, handler: F) -> Worker<T>
    where
        F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        Worker {
            queue: self.clone(),
            handler: Arc::new(move |message| Box::pin(handler(message))),
            wish: Wish::default(),
            concurrency: 1,
            prefetch: None,
            backoff: Backoff::exponential(SECOND).max(300 * SECOND),
            timeout: None,
            shutdown_grace: 30 * SECOND,
        }
    }

    /// As [`process`](Queue::process), with a clone of `state` for each message.
    pub fn process_with<S, F, Fut>(&self, state: S, handler: F) -> Worker<T>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Message<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.process(move |message| handler(state.clone(), message))
    }
}

impl<T: Value> Worker<T> {
    /// How many handlers run at once: 1..=10,000, default 1.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// How many messages are taken ahead of a free handler: 0..=10,000, default as many as handlers.
    ///
    /// One that was not started within the shorter of 1 s and a quarter of the lease is given back, and none is taken
    /// ahead again until a handler has ended.
    pub fn prefetch(mut self, messages: usize) -> Self {
        self.prefetch = Some(messages);
        self
    }

    /// The pause before a failed message is handed out again, by its attempt; cut to the handle's `max_nack_delay`.
    /// Default `Backoff::exponential(SECOND).max(300 * SECOND)`.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The longest run of one handler: 1 ms..=10 years, default none. One that takes longer is dropped, which counts as
    /// a failure.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How long handlers may go on after the stop signal: 0..=1 h, default 30 s. Those that are left are dropped and
    /// their messages given back, without using an attempt.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// How long each message is this worker's unless renewed: 100 ms..=10 years, default that of the handle.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.wish.lease = Some(lease);
        self
    }

    /// The holder that `list` and `get` show: 1..=256 bytes. Default: the name of the process, new at each start.
    pub fn consumer(mut self, name: &str) -> Self {
        self.wish.consumer = Some(name.into());
        self
    }

    /// Runs until `stop` resolves and the worker has drained.
    ///
    /// On the stop signal it takes no more, gives back what it took ahead, waits `shutdown_grace` for its handlers, drops
    /// the others and gives back their messages, and sends all settles. [`Tidelock::shutdown`](crate::Tidelock::shutdown)
    /// is a stop signal too. Outages are waited out: this fails only for options out of range, and for what waiting does
    /// not cure, such as access denied. Dropping the future is the stop signal without waiting for the end.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<WorkerReport> {
        let mut running = self.start()?;
        let mut stop = pin!(stop);
        tokio::select! {
            biased;
            () = running.ended() => {}
            () = &mut stop => running.stop(None),
        }
        let mut report = running.report().await;
        match report.error.take() {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }

    /// Runs in the background. Dropping the result is the stop signal without waiting for the end.
    ///
    /// Options out of range, and what [`run_until`](Worker::run_until) fails for, are in the report of
    /// [`RunningWorker::shutdown`], and an error event tells them at once.
    pub fn spawn(self) -> RunningWorker {
        let queue = self.queue.clone();
        self.start().unwrap_or_else(|error| {
            engine::report_failure(queue.site(), &error);
            RunningWorker::failed(error)
        })
    }

    fn start(self) -> Result<RunningWorker> {
        let queue = self.queue.clone();
        let plan = self.plan().map_err(|error| queue.site().context("process", error))?;
        queue.site().check_taking("process")?;
        Engine::start(queue, plan)
    }

    fn plan(self) -> Result<Plan<T>> {
        let Self { queue, handler, wish, concurrency, prefetch, backoff, timeout, shutdown_grace } = self;
        let terms = wish.terms(&queue)?;
        if terms.lease < 100 {
            let lease = Duration::from_millis(terms.lease);
            return Err(Error::argument(format!(
                "a lease that renews itself must be at least 100 ms, but is {lease:?}"
            )));
        }
        if !(1..=10_000).contains(&concurrency) {
            return Err(Error::argument(format!("concurrency must be 1..=10000, but is {concurrency}")));
        }
        let prefetch = prefetch.unwrap_or(concurrency);
        if prefetch > 10_000 {
            return Err(Error::argument(format!("prefetch must be 0..=10000, but is {prefetch}")));
        }
        if let Some(timeout) = timeout {
            check_duration(Error::argument, "timeout", timeout, Duration::from_millis(1), TEN_YEARS)?;
        }
        check_duration(Error::argument, "shutdown_grace", shutdown_grace, Duration::ZERO, HOUR)?;
        backoff.check(&BACKOFF)?;
        let max_nack_delay = queue.options.max_nack_delay;
        Ok(Plan { handler, terms, concurrency, prefetch, backoff, timeout, shutdown_grace, max_nack_delay })
    }
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("queue", &self.queue)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// The options of a worker, checked.
struct Plan<T> {
    handler: Handler<T>,
    terms: Arc<Terms>,
    concurrency: usize,
    prefetch: usize,
    backoff: Backoff,
    timeout: Option<Duration>,
    shutdown_grace: Duration,
    max_nack_delay: Duration,
}

/// What a running worker is seen and stopped by, without its value type.
trait Control: fmt::Debug + Send + Sync {
    /// The stop signal; `grace` overrides `shutdown_grace`.
    fn stop(&self, grace: Option<Duration>);
    fn stats(&self) -> WorkerStats;
}

/// A worker in the background. Dropping it is the stop signal without waiting for the end.
#[derive(Debug)]
pub struct RunningWorker {
    control: Option<Arc<dyn Control>>,
    end: End,
}

#[derive(Debug)]
enum End {
    Awaited(tokio::sync::oneshot::Receiver<WorkerReport>),
    Come(Option<WorkerReport>),
}

impl RunningWorker {
    fn over<T: Value>(shared: &Arc<Shared<T>>, end: tokio::sync::oneshot::Receiver<WorkerReport>) -> Self {
        Self { control: Some(Arc::clone(shared) as Arc<dyn Control>), end: End::Awaited(end) }
    }

    fn failed(error: Error) -> Self {
        let report = WorkerReport { error: Some(error), ..WorkerReport::default() };
        Self { control: None, end: End::Come(Some(report)) }
    }

    /// Stops taking, waits up to `grace` for the handlers, gives back the rest, sends all settles, and reports.
    ///
    /// `grace` overrides the option `shutdown_grace`. Dropping the future leaves the worker draining.
    pub async fn shutdown(mut self, grace: Duration) -> WorkerReport {
        self.stop(Some(grace));
        self.report().await
    }

    /// What it has done so far, and what it does now.
    pub fn stats(&self) -> WorkerStats {
        self.control.as_ref().map(|control| control.stats()).unwrap_or_default()
    }

    fn stop(&mut self, grace: Option<Duration>) {
        if let Some(control) = &self.control {
            control.stop(grace);
        }
    }

    /// Resolves when the worker has ended, by itself or by a stop.
    async fn ended(&mut self) {
        if let End::Awaited(end) = &mut self.end {
            // Without a report its runtime has ended, and the worker with it.
            let report = end.await.unwrap_or_else(|_| WorkerReport {
                error: Some(Error::shutting_down("process")),
                ..WorkerReport::default()
            });
            self.end = End::Come(Some(report));
        }
    }

    async fn report(&mut self) -> WorkerReport {
        self.ended().await;
        match &mut self.end {
            End::Come(report) => report.take().unwrap_or_default(),
            End::Awaited(_) => WorkerReport::default(),
        }
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.stop(None);
    }
}
