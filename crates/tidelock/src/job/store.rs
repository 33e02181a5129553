//! What a backend must do for jobs: requests and outcomes as plain data.
//!
//! Times are milliseconds: durations as they were asked for, instants of the backend's clock since the Unix epoch.

mod group;
mod view;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::group::{
    GroupAction, GroupSettle, GroupTake, GroupTaken, HandedEvent, Lost, MAX_GROUP_TAKE, MAX_GROUPS, MAX_OPEN,
};
pub(crate) use self::view::{
    EndView, EventView, EventsView, FailureView, Happened, JobView, LeaseView, Look, StatsView, View,
};
pub use self::view::{RetryReason, Totals};
use super::ears::Ears;
use crate::error::Result;
pub(crate) use crate::handover::store::{Content, MAX_BATCH, MAX_BYTES, PauseView, STEP};
use crate::name::Address;
use crate::opaque::opaque;
pub(crate) use crate::queue::store::Due;
use crate::runtime::BoxFuture;
use crate::word::words;

/// Events that a job keeps; the oldest go.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// Failures that a job keeps; the oldest go.
pub(crate) const MAX_FAILURES: usize = 10;
/// Memos of one job, and their bytes together.
pub(crate) const MAX_MEMOS: usize = 1_000;
pub(crate) const MAX_MEMO_BYTES: usize = 4 * 1_024 * 1_024;

/// What an object of jobs does for its handles. One object per tenant and job name.
///
/// Every method is one atomic step on the backend (or several bounded ones where it says so); a mutating one is repeated
/// after a lost reply until it is answered or the request timeout is over.
pub(crate) trait JobStore: Send + Sync {
    /// Whether every answer is there at the first poll.
    fn is_local(&self) -> bool {
        false
    }
    /// Accepts all of a batch or nothing of it.
    fn submit(&self, jobs: &Address, batch: Vec<NewJob>) -> BoxFuture<'static, Result<Accepted>>;
    /// Starts runs of what is first in order, now. Dropped after it started some, it releases them.
    fn claim(&self, jobs: &Address, claim: Claim) -> BoxFuture<'static, Result<Claimed>>;
    /// Judges what runs do, each on its own; outcomes in the same order.
    fn settle(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// The same for a worker that is about to claim: it waits for the claim, to go with it, until [`depart`](Self::depart).
    fn settle_before_claim(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.settle(jobs, settles)
    }
    /// What still waits for a claim goes without it.
    fn depart(&self, _jobs: &Address) {
        // Nothing waits in a store that answers at once.
    }
    /// Changes the object as a whole, or one job from outside of its run.
    fn change(&self, jobs: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Looks, after carrying out what is overdue; changes no outcome.
    fn look(&self, jobs: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// Hands out events of a job to a group. Dropped after it took some, it gives them back.
    fn take_events(&self, jobs: &Address, take: GroupTake) -> BoxFuture<'static, Result<GroupTaken>>;
    /// Judges what the holders of events do, each on its own: whether it was still held; in the same order.
    fn settle_events(&self, jobs: &Address, settles: Vec<GroupSettle>) -> BoxFuture<'static, Result<Vec<bool>>>;
    /// What this process hears of the object. One per object and process, alive while somebody holds it.
    fn ears(&self, jobs: &Address) -> Arc<Ears>;
}

opaque!(JobStore);

/// A job to be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewJob {
    /// Input, meta, trace context and ordering key.
    pub(crate) content: Content,
    pub(crate) due: Due,
    pub(crate) priority: u8,
    pub(crate) key: Option<Key>,
    pub(crate) rules: Rules,
    /// The schedule whose run it is.
    pub(crate) origin: Option<Origin>,
    /// Refuse if ready + delayed would exceed this.
    pub(crate) max_depth: Option<u64>,
}

/// What concerns the runs of a job: stored with it, obeyed by every worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Runs that may fail: the failure that reaches it ends the job.
    pub(crate) attempts: u32,
    /// Runs that may end by a lapsed lease.
    pub(crate) max_crashes: u32,
    pub(crate) lease: u64,
    /// The longest run; from claim + `timeout` + `stop_grace` on no lease is renewed, and none that was renewed before ends more
    /// than a lease later.
    pub(crate) timeout: Option<u64>,
    pub(crate) stop_grace: u64,
    /// A job not started so long after its present due time is over.
    pub(crate) max_wait: Option<u64>,
    /// Life after the end.
    pub(crate) retention: u64,
    /// What is read by workers, and in process: backoff, who renews, what the end of the lease means. Opaque to servers, at
    /// most 255 bytes.
    pub(crate) policy: Vec<u8>,
}

/// An idempotency key. Keys of callers and of triggers are apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) kind: KeyKind,
    pub(crate) text: Arc<str>,
    pub(crate) life: KeyLife,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum KeyKind {
    /// Given by whoever submitted.
    Caller,
    /// Of a trigger of a schedule.
    Trigger,
}

/// How long a key stays bound to its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyLife {
    /// While the record exists or until submit + this, whichever is later.
    For(u64),
    /// Until the terminal step.
    WhileActive,
}

/// The schedule that a run belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Scheduler and schedule, as one injective text of at most 1,024 bytes.
    pub(crate) series: Arc<str>,
    /// Of a slot: accepted only if newer than all that the series remembers. With a key it comes late, when there are newer
    /// ones: accepted unless the series remembers that it was. Of a trigger: nothing to compare.
    pub(crate) slot: Option<SlotNumber>,
    pub(crate) overlap: Overlapping,
    /// How long the series is remembered from its last use.
    pub(crate) memory: u64,
    /// What the handler is told of its slot. Opaque to every backend.
    pub(crate) told: Vec<u8>,
}

/// Slots of one schedule in their order: a later timing is newer than all slots of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SlotNumber {
    /// Of the timing.
    pub(crate) revision: u64,
    pub(crate) slot: u64,
}

/// When an earlier run of the series is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Overlapping {
    Allow,
    /// Refuse it.
    Skip,
    /// One at a time in the order of acceptance; refuse it if so many wait already.
    Queue {
        max: u64,
    },
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Accepted {
    /// In the order of the batch.
    All(Vec<Acceptance>),
    /// Item `index` would have been one too many; nothing was accepted.
    Full { index: usize, depth: u64, limit: u64 },
}

/// What became of one job of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Acceptance {
    New {
        id: u64,
    },
    /// The key, or the slot, was accepted before: the id it got then. One of the newest eight slots is answered as it was
    /// before; an older one has the id 0.
    Duplicate {
        id: u64,
    },
    /// An earlier run of the series is not over: the oldest such.
    Overlapping {
        active: u64,
    },
}

/// A wish for runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// At most so many, 0..=[`MAX_BATCH`]. 0 starts nothing, says that this process waits no more, and passes a
    /// wake-up on to another one.
    pub(crate) max: usize,
    /// Who runs them, for those who look.
    pub(crate) worker: Arc<str>,
    /// If fewer than `max` were there, note that this process wants to be woken: its bell rings.
    pub(crate) park: bool,
}

/// What a claim gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claimed {
    pub(crate) runs: Vec<Run>,
    /// Claim again at this instant of this process's clock if nothing rings before; told to at most one parked process
    /// of the fleet.
    pub(crate) next: Option<u64>,
}

/// A run that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) fence: u64,
    pub(crate) attempt: u64,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) priority: u8,
    pub(crate) submitted_at: u64,
    pub(crate) rules: Rules,
    pub(crate) content: Content,
    /// How many memos are stored.
    pub(crate) memos: u64,
    /// What the schedule told, of a scheduled run.
    pub(crate) told: Option<Vec<u8>>,
}

/// One thing that a run does, under its fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settle {
    pub(crate) id: u64,
    pub(crate) fence: u64,
    /// The latest progress that was not stored yet: stored before the action, with its event.
    pub(crate) progress: Option<Vec<u8>>,
    pub(crate) action: Action,
}

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Ends the job as completed. Memos are dropped.
    Complete { result: Vec<u8> },
    /// `Error` and `Timeout`: due again so long after now, or the end if that was the last attempt. Other codes end it.
    Fail { code: FailureCode, message: Arc<str>, delay: u64 },
    /// Due again so long after now; failures and crashes begin anew.
    Reschedule { delay: u64 },
    /// Given back: due now, nothing counts.
    Release,
    /// The lease begins anew.
    Renew,
    /// The same, as an event; a lease given here is the run's from then on.
    Heartbeat { lease: Option<u64> },
    /// Nothing but the progress.
    Progress,
    /// Stores a memo under a new step id.
    Step { id: Arc<str>, value: Vec<u8> },
}

impl Action {
    /// Whether the run is over by it.
    pub(crate) fn ends_run(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Fail { .. } | Self::Reschedule { .. } | Self::Release)
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settled {
    /// Of progress and step: stored.
    Stored,
    /// Of renew and heartbeat: the lease ends so long after now.
    Renewed { left: u64 },
    /// The run is over; the job is due again at this instant.
    Returned { due: u64 },
    /// The run is over, and the job with it.
    Ended(JobState),
    /// There is no room for the memo: so many there are, and so many bytes.
    Full { memos: u64, bytes: u64 },
    /// The run was over before; nothing changed.
    Stale,
    /// The same, because the job was cancelled.
    Cancelled,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// Waits for its due time, its turn or a worker.
    Submitted,
    /// A worker has it.
    Running,
    /// Ended with a result.
    Completed,
    /// Ended by failures, a lost worker, or without having been started in time.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Ended by a timeout of its last run.
    TimedOut,
}

words!(JobState: Self::Submitted => "submitted", Self::Running => "running", Self::Completed => "completed",
    Self::Failed => "failed", Self::Cancelled => "cancelled", Self::TimedOut => "timed_out");

impl JobState {
    /// Whether the job has ended.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Submitted | Self::Running)
    }
}

/// Why a run or a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum FailureCode {
    /// The handler failed or panicked.
    Error,
    /// The handler said that no retry can help.
    Fatal,
    /// A run took longer than its `timeout`.
    Timeout,
    /// Its leases ran out too often.
    Crashed,
    /// It was not started within its `max_wait`.
    Expired,
    /// Its input is no value of the worker's type.
    Undecodable,
    /// Its result could not be encoded, or is too large.
    Unencodable,
}

/// A change of the object as a whole, or of one job from outside of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Cancel {
        id: u64,
        reason: Option<Arc<str>>,
    },
    Retry {
        id: u64,
        max_depth: Option<u64>,
    },
    Remove {
        id: u64,
    },
    /// Start nothing from here on, until `resume` or for so long.
    Pause {
        for_at_most: Option<u64>,
        reason: Option<Arc<str>>,
    },
    Resume,
    /// Remove the object and all about it, running jobs too.
    Delete,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    /// It is done; of pause, resume and delete: something was changed or was there.
    Done,
    /// Of pause, resume and delete: it was so already, or nothing was there.
    Nothing,
    /// Of a cancel and a retry: the state does not allow it. Of a remove: it runs.
    Refused(JobState),
    /// Of a retry: its key belongs to another job by now.
    KeyTaken(u64),
    /// Of a retry: it would exceed `max_depth`.
    Full { depth: u64, limit: u64 },
    /// There is no such job.
    Absent,
}

/// Which jobs a listing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobFilter {
    /// Due, and started in their turn; those that wait behind another of their ordering key come last.
    Ready,
    /// Waiting for their due time.
    Delayed,
    /// Running, by start.
    Running,
    /// Ended with a result, newest first.
    Completed,
    /// Ended by failures, newest first.
    Failed,
    /// Ended by a cancel, newest first.
    Cancelled,
    /// Ended by a timeout, newest first.
    TimedOut,
}
