//! Queries on jobs, and their results.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Content, FailureCode, JobFilter, JobState, PauseView, RateView, Rules};

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    Stats,
    Get {
        id: u64,
    },
    List {
        filter: JobFilter,
        limit: usize,
        after: Option<String>,
    },
    /// How the job ended. `park`: if it has not, register this process, in the same step, for news of its end.
    Join {
        id: u64,
        park: bool,
    },
    /// Events of a job after a position, at most `max`. `park`: if there are none and the job has not ended, register
    /// this process, in the same step, for news of the next.
    Events {
        id: u64,
        after: u64,
        max: usize,
        park: bool,
    },
    /// The positions at which a job's events begin and end.
    Places {
        id: u64,
    },
    /// The memos of a run, if it holds its job.
    Memos {
        id: u64,
        fence: u64,
    },
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    Stats(Box<StatsView>),
    Job(Option<Box<JobView>>),
    /// Jobs without input and result, and the cursor of the next page.
    Jobs(Vec<JobView>, Option<String>),
    Joined(Option<Box<EndView>>),
    Events(EventsView),
    /// The positions before the first and after the last event; `None` if there is no such job.
    Places(Option<(u64, u64)>),
    /// Step ids and values in the order in which they were stored; `None` if the run is over.
    Memos(Option<Vec<(Arc<str>, Vec<u8>)>>),
}

/// The state of a job for a caller that joins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndView {
    pub(crate) state: JobState,
    /// Only if it completed.
    pub(crate) result: Option<Vec<u8>>,
    /// Only if it failed or timed out.
    pub(crate) failure: Option<FailureView>,
    /// Only if it was cancelled.
    pub(crate) reason: Option<Arc<str>>,
}

/// Why a run, or a job, failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureView {
    pub(crate) code: FailureCode,
    pub(crate) message: Arc<str>,
    pub(crate) attempt: u64,
    pub(crate) at: u64,
}

/// A job at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobView {
    pub(crate) id: u64,
    pub(crate) state: JobState,
    /// Submitted, but waiting for another job of its ordering key.
    pub(crate) blocked: bool,
    pub(crate) priority: u8,
    pub(crate) attempt: u64,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) reschedules: u32,
    pub(crate) submitted_at: u64,
    /// Its current due time.
    pub(crate) due: u64,
    /// Start of the last run.
    pub(crate) started_at: Option<u64>,
    pub(crate) finished_at: Option<u64>,
    /// When it expires unless it is started before.
    pub(crate) expires_at: Option<u64>,
    /// For an ended job: when its record is removed.
    pub(crate) kept_until: Option<u64>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) lease: Option<LeaseView>,
    /// Fence of the last run; 0 before the first.
    pub(crate) fence: u64,
    pub(crate) rules: Rules,
    pub(crate) memos: u64,
    pub(crate) progress: Option<Vec<u8>>,
    /// The last ones, oldest first. A listing shows only the last one.
    pub(crate) last_failures: Vec<FailureView>,
    /// Only if it was cancelled.
    pub(crate) reason: Option<Arc<str>>,
    /// Without the input in a listing.
    pub(crate) content: Content,
    pub(crate) result: Option<Vec<u8>>,
}

/// The holder of a running job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseView {
    pub(crate) worker: Arc<str>,
    pub(crate) end: u64,
}

/// An object of jobs at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatsView {
    pub(crate) ready: u64,
    /// Part of `ready`.
    pub(crate) blocked: u64,
    pub(crate) delayed: u64,
    pub(crate) running: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) timed_out: u64,
    /// Age of the oldest job that can be started, from its standing time.
    pub(crate) oldest_ready_age: Option<u64>,
    /// The earliest instant at which a delayed job is due or expires.
    pub(crate) next_due: Option<u64>,
    pub(crate) paused: Option<PauseView>,
    pub(crate) rate: Option<RateView>,
    /// How many may be running at once.
    pub(crate) most_held: Option<u64>,
    pub(crate) totals: Totals,
    /// More is overdue than one query carries out.
    pub(crate) settling: bool,
}

/// What has happened since the object came into being.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Accepted, without duplicates.
    pub submitted: u64,
    /// Ended with a result.
    pub completed: u64,
    /// Ended by failures.
    pub failed: u64,
    /// Ended by a cancel.
    pub cancelled: u64,
    /// Ended by a timeout.
    pub timed_out: u64,
    /// Runs that failed or timed out and were not the last.
    pub retries: u64,
    /// Leases that ran out.
    pub crashes: u64,
    /// Settles that came too late, because the lease of their run had ended. Those of cancelled runs do not count.
    pub stale: u64,
}

/// Events after a position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventsView {
    /// There is no such job.
    pub(crate) absent: bool,
    /// How many events after the position are no longer kept.
    pub(crate) missed: u64,
    /// Each with its number, counted from 1 within a job.
    pub(crate) events: Vec<(u64, EventView)>,
    /// Whether the job has ended and no events follow those shown.
    pub(crate) ended: bool,
}

/// What happened to a job, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventView {
    pub(crate) at: u64,
    pub(crate) happened: Happened,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Happened {
    Submitted,
    Started { attempt: u64, fence: u64, worker: Arc<str> },
    Heartbeat { attempt: u64 },
    Progress { value: Vec<u8> },
    Step { id: Arc<str> },
    Retry { attempt: u64, reason: RetryReason, message: Arc<str>, next_at: u64 },
    Completed,
    Failed { code: FailureCode, message: Arc<str>, attempt: u64 },
    Cancelled { reason: Option<Arc<str>> },
}

/// Why a job is to be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetryReason {
    /// The run failed.
    Error,
    /// The run took longer than its `timeout`.
    TimedOut,
    /// The run's lease ran out.
    Crashed,
    /// The handler asked for another run later.
    Rescheduled,
    /// The run was given back unfinished.
    Released,
}
