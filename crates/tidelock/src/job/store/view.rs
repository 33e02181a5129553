//! Questions, and what is shown of jobs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Content, FailureCode, JobFilter, JobState, PauseView, Rules};

/// A question.
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
    /// How the job ended. `park`: if it has not, note in the same step that this process wants to hear of its end.
    Join {
        id: u64,
        park: bool,
    },
    /// Events of a job behind a place, at most `max`. `park`: if there is none and the job has not ended, note in the same
    /// step that this process wants to hear of the next.
    Events {
        id: u64,
        after: u64,
        max: usize,
        park: bool,
    },
    /// Where a job's events begin and end.
    Places {
        id: u64,
    },
    /// The memos of a run, if it holds its job.
    Memos {
        id: u64,
        fence: u64,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    Stats(StatsView),
    Job(Option<Box<JobView>>),
    /// Jobs without input and result, and where the next page begins.
    Jobs(Vec<JobView>, Option<String>),
    Joined(Option<Box<EndView>>),
    Events(EventsView),
    /// Of a job that is there: the places before its first and behind its last event.
    Places(Option<(u64, u64)>),
    /// Step ids and values in the order in which they were stored; `None`: the run is over.
    Memos(Option<Vec<(Arc<str>, Vec<u8>)>>),
}

/// How a job stands for somebody who joins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndView {
    pub(crate) state: JobState,
    /// Of a completed one.
    pub(crate) result: Option<Vec<u8>>,
    /// Of a failed or timed out one.
    pub(crate) failure: Option<FailureView>,
    /// Of a cancelled one.
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

/// A job as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobView {
    pub(crate) id: u64,
    pub(crate) state: JobState,
    /// Submitted, and waiting for another job of its ordering key.
    pub(crate) blocked: bool,
    pub(crate) priority: u8,
    pub(crate) attempt: u64,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) reschedules: u32,
    pub(crate) submitted_at: u64,
    /// Its present due time.
    pub(crate) due: u64,
    /// Of the last run.
    pub(crate) started_at: Option<u64>,
    pub(crate) finished_at: Option<u64>,
    /// When it ends unless it is started before.
    pub(crate) expires_at: Option<u64>,
    /// Until when an ended one is kept.
    pub(crate) kept_until: Option<u64>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) lease: Option<LeaseView>,
    /// Of the last run; 0 before the first.
    pub(crate) fence: u64,
    pub(crate) rules: Rules,
    pub(crate) memos: u64,
    pub(crate) progress: Option<Vec<u8>>,
    /// The last ones, oldest first. In a listing: only the last.
    pub(crate) last_failures: Vec<FailureView>,
    /// Of a cancelled one.
    pub(crate) reason: Option<Arc<str>>,
    /// In a listing: without the input.
    pub(crate) content: Content,
    pub(crate) result: Option<Vec<u8>>,
}

/// Who runs a job.
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
    /// Age of the oldest job that could be started, from its standing time.
    pub(crate) oldest_ready_age: Option<u64>,
    /// The earliest instant at which a delayed job is due or expires.
    pub(crate) next_due: Option<u64>,
    pub(crate) paused: Option<PauseView>,
    pub(crate) totals: Totals,
    /// More is overdue than one look carries out.
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
    /// Settles of runs that were over.
    pub stale: u64,
}

/// Events behind a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventsView {
    /// There is no such job.
    pub(crate) absent: bool,
    /// So many events behind the place are gone.
    pub(crate) missed: u64,
    /// Each with its number: they count from 1 in a job.
    pub(crate) events: Vec<(u64, EventView)>,
    /// The last event there is, is among those up to the last shown, and the job has ended.
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
