//! The results of queries on jobs.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::id::JobId;
use super::store::{Content, FailureCode, FailureView, JobState, JobView, LeaseView, StatsView, Totals};
use crate::codec::{self, Codec, Value, readable};
use crate::error::Result;
use crate::limits::RateLimit;
use crate::meta::Meta;
use crate::pause::Paused;
use crate::time::{Timestamp, optional_millis};

/// The stored bytes of a value, and how to decode them. Serialized as text if the bytes are text.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    raw: Vec<u8>,
    codec: Codec,
}

impl Encoded {
    pub(super) fn new(raw: Vec<u8>, codec: Codec) -> Self {
        Self { raw, codec }
    }

    /// The stored bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// Decodes the value, with the codec of the handle that read it.
    pub fn decode<T: Value>(&self) -> Result<T> {
        codec::decode(self.codec, &self.raw)
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        readable(&self.raw, serializer)
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({})", String::from_utf8_lossy(&self.raw))
    }
}

/// Why a run, or a job, failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobFailure {
    /// The kind of failure.
    pub code: FailureCode,
    /// The text of the error; cut at 4,096 bytes.
    pub message: String,
    /// The run that failed; 0 if the job was never started.
    pub attempt: u64,
    /// When.
    pub at: Timestamp,
}

impl From<FailureView> for JobFailure {
    fn from(view: FailureView) -> Self {
        let FailureView { code, message, attempt, at } = view;
        Self { code, message: message.as_ref().to_owned(), attempt, at: Timestamp::from_millis(at) }
    }
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in run {}: {}", self.code, self.attempt, self.message)
    }
}

impl FailureCode {
    /// Its name, in upper case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Timeout => "TIMEOUT",
            Self::Crashed => "CRASHED",
            Self::Expired => "EXPIRED",
            Self::Undecodable => "UNDECODABLE",
            Self::Unencodable => "UNENCODABLE",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The worker that runs a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunLease {
    /// The name of the worker.
    pub worker: String,
    /// When the lease ends unless it is renewed.
    pub end: Timestamp,
}

/// A job as shown in a listing: without input, result and all but its last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// Due, but waiting for another job with the same ordering key.
    pub blocked: bool,
    /// 0..=9, higher first.
    pub priority: u8,
    /// Runs so far, including those that were given back; counted from 0 after [`Job::retry`](crate::Job::retry).
    pub attempt: u64,
    /// Failed runs so far, out of `attempts`.
    pub failures: u32,
    /// The number of failed runs after which it ends.
    pub attempts: u32,
    /// Runs that ended by a lost lease, out of `max_crashes`.
    pub crashes: u32,
    /// The number of runs that may end by a lost lease.
    pub max_crashes: u32,
    /// How often a handler asked for another run later.
    pub reschedules: u32,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// Its current due time.
    pub due: Timestamp,
    /// When its last run started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it ends as `EXPIRED` unless it is started before.
    pub expires_at: Option<Timestamp>,
    /// How long it is kept after its end.
    pub kept_until: Option<Timestamp>,
    /// Its deduplication key.
    pub dedup_key: Option<String>,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// The metadata that the submitter attached.
    pub meta: Meta,
    /// Its worker, while it runs.
    pub lease: Option<RunLease>,
    /// The fencing token of its last run; 0 before the first.
    pub fence: u64,
    /// The number of stored steps.
    pub steps: u64,
    /// The last progress that its handler reported.
    pub progress: Option<Encoded>,
    /// Why its last failed run failed.
    pub last_failure: Option<JobFailure>,
    /// The reason for the cancel, if one was given.
    pub cancel_reason: Option<String>,
}

impl JobSummary {
    pub(super) fn new(mut view: JobView, codec: Codec) -> Self {
        let last_failure = view.last_failures.pop();
        Self::of(view, last_failure, codec)
    }

    fn of(view: JobView, last_failure: Option<FailureView>, codec: Codec) -> Self {
        let text = |text: std::sync::Arc<str>| text.as_ref().to_owned();
        let time = |at: Option<u64>| at.map(Timestamp::from_millis);
        let lease = |LeaseView { worker, end }| RunLease { worker: text(worker), end: Timestamp::from_millis(end) };
        Self {
            id: JobId(view.id),
            state: view.state,
            blocked: view.blocked,
            priority: view.priority,
            attempt: view.attempt,
            failures: view.failures,
            attempts: view.rules.attempts,
            crashes: view.crashes,
            max_crashes: view.rules.max_crashes,
            reschedules: view.reschedules,
            submitted_at: Timestamp::from_millis(view.submitted_at),
            due: Timestamp::from_millis(view.due),
            started_at: time(view.started_at),
            finished_at: time(view.finished_at),
            expires_at: time(view.expires_at),
            kept_until: time(view.kept_until),
            dedup_key: view.key.map(text),
            ordering_key: view.content.ordering_key.map(text),
            meta: Meta::new(view.content.meta),
            lease: view.lease.map(lease),
            fence: view.fence,
            steps: view.memos,
            progress: view.progress.map(|raw| Encoded::new(raw, codec)),
            last_failure: last_failure.map(JobFailure::from),
            cancel_reason: view.reason.map(text),
        }
    }
}

/// The current state of a job. It dereferences to its [`JobSummary`] (`Deref`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobInfo {
    /// The part shown in listings.
    #[serde(flatten)]
    pub summary: JobSummary,
    /// Why its last runs failed, oldest first; at most 10.
    pub last_failures: Vec<JobFailure>,
    /// Its input.
    pub input: Encoded,
    /// Its result, if it has completed.
    pub result: Option<Encoded>,
    /// The size of input and metadata in bytes, as counted towards the payload limit.
    pub size: usize,
}

impl JobInfo {
    pub(super) fn new(mut view: JobView, codec: Codec) -> Self {
        let payload = std::mem::take(&mut view.content.payload);
        let Content { meta, .. } = &view.content;
        let (size, result) = (payload.len() + meta.len(), view.result.take());
        let failures = std::mem::take(&mut view.last_failures);
        let last = failures.last().cloned();
        Self {
            summary: JobSummary::of(view, last, codec),
            last_failures: failures.into_iter().map(JobFailure::from).collect(),
            input: Encoded::new(payload, codec),
            result: result.map(|raw| Encoded::new(raw, codec)),
            size,
        }
    }
}

impl std::ops::Deref for JobInfo {
    type Target = JobSummary;

    fn deref(&self) -> &JobSummary {
        &self.summary
    }
}

/// Statistics of all jobs of a name at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobStats {
    /// Due and not running.
    pub ready: u64,
    /// Part of `ready`: waiting for another job with the same ordering key.
    pub blocked: u64,
    /// Not due yet, for the first time or again.
    pub delayed: u64,
    /// Running.
    pub running: u64,
    /// Ended with a result, and kept.
    pub completed: u64,
    /// Ended by failures, and kept.
    pub failed: u64,
    /// Ended by a cancel, and kept.
    pub cancelled: u64,
    /// Ended by a timeout, and kept.
    pub timed_out: u64,
    /// How long the oldest startable job has been ready. Serialized in milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub oldest_ready_age: Option<Duration>,
    /// The earliest instant at which a delayed job becomes ready.
    pub next_due: Option<Timestamp>,
    /// The pause in force.
    pub paused: Option<Paused>,
    /// The limit of the rate at which runs start.
    pub rate_limit: Option<RateLimit>,
    /// How many jobs may be running at once, in all processes together.
    pub concurrency_limit: Option<u64>,
    /// Totals since the first job of this name.
    pub totals: Totals,
    /// More was overdue than one request processes: the numbers are those after its last step.
    pub settling: bool,
}

impl From<StatsView> for JobStats {
    fn from(view: StatsView) -> Self {
        Self {
            ready: view.ready,
            blocked: view.blocked,
            delayed: view.delayed,
            running: view.running,
            completed: view.completed,
            failed: view.failed,
            cancelled: view.cancelled,
            timed_out: view.timed_out,
            oldest_ready_age: view.oldest_ready_age.map(Duration::from_millis),
            next_due: view.next_due.map(Timestamp::from_millis),
            paused: view.paused.map(Paused::from),
            rate_limit: view.rate.map(RateLimit::from),
            concurrency_limit: view.most_held,
            totals: view.totals,
            settling: view.settling,
        }
    }
}
