//! Durable background work: submit, run, retry, cancel, join, events.
//!
//! Any process submits an input to a [`Job`]. Workers run it at least once, with retries, limits, and steps whose
//! results are kept. Anyone can wait for the result, cancel the job, or follow its events.
//!
//! ```
//! use tidelock::{Backoff, MINUTE, SECOND, Tidelock};
//! use tidelock::job::{Job, Joined};
//!
//! # fn charge(email: &Email) -> u64 { email.to.len() as u64 }
//! # fn deliver(email: &Email, charge: u64, fence: u64) -> std::io::Result<String> { Ok(format!("{}-{charge}", email.to)) }
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Email {
//!     to: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = Tidelock::in_process();
//! let mail: Job<Email, String> = tide
//!     .job("mail.send")
//!     .attempts(3)
//!     .backoff(Backoff::exponential(SECOND).max(MINUTE))
//!     .timeout(5 * MINUTE)
//!     .build()?;
//!
//! let sent = mail.submit(&Email { to: "ada@example.org".into() }).dedup_key("welcome:ada").await?;
//!
//! let worker = mail
//!     .process(async |run, email| {
//!         let charge = run.step("charge", async || Ok(charge(&email))).await?; // stored: not executed again after a retry
//!         run.progress(&50)?;
//!         Ok(deliver(&email, charge, run.fence())?) // an error is a failure, retried with backoff
//!     })
//!     .concurrency(64)
//!     .spawn();
//!
//! assert_eq!(mail.join(sent.id).await?, Joined::Completed("ada@example.org-15".into()));
//! assert_eq!(worker.shutdown(SECOND).await.completed, 1);
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | submit one, or many, all or nothing | [`submit`](Job::submit), [`submit_many`](Job::submit_many) |
//! | run a handler for each job | [`process`](Job::process), which gives it a [`JobContext`] |
//! | wait for the result | [`join`](Job::join) |
//! | end a job, or run it again | [`cancel`](Job::cancel), [`retry`](Job::retry) |
//! | observe a job | [`events`](Job::events): follow them, page through them, or share them in a group of readers |
//! | inspect | [`get`](Job::get), [`list`](Job::list), [`stats`](Job::stats) |
//! | pause or remove | [`pause`](Job::pause), [`remove`](Job::remove), [`delete`](Job::delete) |
//!
//! # States
//!
//! A job is *submitted* (ready or delayed), then *running*, and ends as *completed*, *failed*, *cancelled* or *timed
//! out*. If a run fails or loses its lease, the job is submitted again until its `attempts` or `max_crashes` are used
//! up. Only [`retry`](Job::retry) revives an ended job. Record, result, steps and events are kept for `retention` after
//! the end.
//!
//! # Order
//!
//! Higher priority first; then by the instant at which a job was first due; then by submit order. A retried job keeps
//! its place. Of the jobs with the same [ordering key](Submit::ordering_key), only the oldest unfinished one may run:
//! while it runs, waits or backs off, the others wait, and all other jobs flow.
//!
//! # Guarantees
//!
//! At least once: a run is repeated if its worker dies, so handlers must be idempotent or tolerate repeats; a completed
//! [step](JobContext::step) is not executed again. Result, state, events and deduplication key change in one atomic
//! step. A [fence](JobContext::fence) tells a late run from the current one, and whatever a late run reports is *stale*
//! and changes nothing. *No* is a value (duplicate, finished, not found); an error means that the question could not be
//! answered.
//!
//! See also the [guide](crate::guide::job).

mod builder;
mod change;
mod context;
#[cfg(all(test, feature = "redis"))]
mod differential;
pub(crate) mod ears;
mod events;
mod failure;
mod held;
mod id;
mod info;
mod join;
mod look;
pub(crate) mod memory;
mod model;
mod observe;
mod policy;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
mod site;
mod step;
mod stop;
pub(crate) mod store;
mod submit;
mod worker;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::JobBuilder;
pub use self::change::{
    Cancel, CancelOutcome, Delete, Pause, Remove, RemoveConcurrencyLimit, RemoveRateLimit, Resume, Retry, RetryOutcome,
    SetConcurrencyLimit, SetRateLimit,
};
pub use self::context::{Heartbeat, JobContext};
pub use self::events::{
    Deliveries, EventDelivery, Follow, Follower, Gap, Item, JobEvent, JobEventKind, JobEvents, LatestCursor, Nack,
    Read, Reader, ReaderBuilder, Recv, Start, TryRecv,
};
pub use self::failure::JobError;
pub use self::id::{JobCursor, JobId};
pub use self::info::{Encoded, JobFailure, JobInfo, JobStats, JobSummary, RunLease};
pub use self::join::{Join, Joined};
pub use self::look::{Get, List, Stats};
pub use self::stop::StopReason;
pub use self::store::{FailureCode, JobFilter, JobState, RetryReason, Totals};
pub use self::submit::{Submit, SubmitMany, Submitted};
pub use self::worker::{JobWorker, JobWorkerReport, JobWorkerStats, RunningJobWorker};
pub use crate::changed::Changed;
pub use crate::handover::{Ack as Commit, GiveBack, Touch};
pub use crate::limits::RateLimit;
pub use crate::meta::Meta;
pub use crate::pause::Paused;
pub use crate::queue::Removed;

pub(crate) use self::events::JobLog;
pub(crate) use self::observe::Measure;

use self::builder::Options;
use self::site::receivers;
use self::store::Rules;
use crate::codec::Value;
use crate::error::Result;
use crate::handover::{Receivers, Site};
use crate::name::Address;

/// A handle to the jobs of one name, with inputs `I` and results `O`. Cloned freely; all handles with the same tenant
/// and id, in any process, refer to the same jobs.
///
/// Created by [`Tidelock::job`](crate::Tidelock::job). How jobs behave is described in the [module](self).
pub struct Job<I, O> {
    options: Arc<Options<I>>,
    receivers: Arc<Receivers>,
    result: PhantomData<fn() -> O>,
}

impl<I, O> Job<I, O> {
    fn site(&self) -> &Arc<Site> {
        &self.receivers.site
    }

    /// The name of the jobs.
    pub fn id(&self) -> &str {
        &self.site().address.id
    }
}

impl<I: Value, O: Value> Job<I, O> {
    /// The jobs with the same id and options of another tenant. Tenants share no data.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        let site = self.site();
        let receivers = receivers(&site.world, &site.address.with_tenant(tenant));
        Self { options: Arc::clone(&self.options), receivers, result: PhantomData }
    }

    /// Submits a job with this input. The input is encoded here, once; a failure to encode it is reported when the
    /// request is awaited.
    pub fn submit(&self, input: &I) -> Submit<I> {
        Submit::new(&self.receivers, &self.options, input)
    }

    /// Submits several jobs at once, all or nothing: each item is a [`submit`](Job::submit) of this name.
    pub fn submit_many(&self, items: impl IntoIterator<Item = Submit<I>>) -> SubmitMany<I> {
        SubmitMany::new(&self.receivers, items)
    }

    /// Waits for the end of a job and returns its result.
    pub fn join(&self, id: impl Into<JobId>) -> Join<O> {
        Join::new(self.site(), self.options.border.codec, id.into())
    }

    /// Cancels a job for good, whether it is waiting or running.
    pub fn cancel(&self, id: impl Into<JobId>) -> Cancel {
        Cancel::new(self.site(), id.into())
    }

    /// Runs a failed, timed out or cancelled job again.
    pub fn retry(&self, id: impl Into<JobId>) -> Retry {
        Retry::new(self.site(), id.into(), self.options.max_depth)
    }

    /// Removes a job that is not running, with everything about it.
    pub fn remove(&self, id: impl Into<JobId>) -> Remove {
        Remove::new(self.site(), id.into())
    }

    /// Reads one job.
    pub fn get(&self, id: impl Into<JobId>) -> Get {
        Get::new(self.site(), self.options.border.codec, id.into())
    }

    /// Lists the jobs that match a filter.
    pub fn list(&self, filter: JobFilter) -> List {
        List::new(self.site(), self.options.border.codec, filter)
    }

    /// The past and future events of one job.
    pub fn events(&self, id: impl Into<JobId>) -> JobEvents {
        JobEvents::new(self.site(), self.options.border.codec, id.into())
    }

    /// Pauses the start of runs in all processes.
    pub fn pause(&self) -> Pause {
        Pause::new(self.site())
    }

    /// Ends a pause.
    pub fn resume(&self) -> Resume {
        Resume(Arc::clone(self.site()))
    }

    /// Limits the rate at which runs start, in all processes together.
    pub fn set_rate_limit(&self, limit: u64, per: Duration) -> SetRateLimit {
        SetRateLimit::new(self.site(), limit, per)
    }

    /// Removes the limit of the rate.
    pub fn remove_rate_limit(&self) -> RemoveRateLimit {
        RemoveRateLimit(Arc::clone(self.site()))
    }

    /// Limits how many jobs run at once, in all processes together.
    pub fn set_concurrency_limit(&self, limit: u64) -> SetConcurrencyLimit {
        SetConcurrencyLimit::new(self.site(), limit)
    }

    /// Removes the limit of how many jobs run at once.
    pub fn remove_concurrency_limit(&self) -> RemoveConcurrencyLimit {
        RemoveConcurrencyLimit(Arc::clone(self.site()))
    }

    /// Statistics of all jobs of this name.
    pub fn stats(&self) -> Stats {
        Stats(Arc::clone(self.site()))
    }

    /// Deletes all jobs of this name with everything about them, including running ones.
    pub fn delete(&self) -> Delete {
        Delete(Arc::clone(self.site()))
    }
}

/// What a schedule keeps of a job, and an input for it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) rules: Rules,
    pub(crate) max_depth: Option<u64>,
    pub(crate) payload_limit: usize,
    /// The input, checked and encoded.
    pub(crate) input: Result<Vec<u8>>,
}

impl<I: Value, O: Value> Job<I, O> {
    /// What a submit of this input through this handle would use.
    pub(crate) fn target(&self, input: &I) -> Target {
        let options = &self.options;
        Target {
            address: self.site().address.clone(),
            rules: options.rules.clone(),
            max_depth: options.max_depth,
            payload_limit: options.border.limit,
            input: options.border.encode(input),
        }
    }
}

impl<I, O> Clone for Job<I, O> {
    fn clone(&self) -> Self {
        Self { options: Arc::clone(&self.options), receivers: Arc::clone(&self.receivers), result: PhantomData }
    }
}

impl<I, O> fmt::Debug for Job<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.site().address;
        f.debug_struct("Job").field("id", &address.id).field("tenant", &address.tenant).finish_non_exhaustive()
    }
}
