//! What a backend implements for jobs: requests and outcomes as plain data.
//!
//! Times are milliseconds: durations are relative, and instants are those of the backend's clock since the Unix
//! epoch.

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
pub(crate) use crate::handover::store::{Content, MAX_BATCH, MAX_BYTES, PauseView, Rate, RateView, STEP};
use crate::name::Address;
use crate::opaque::opaque;
pub(crate) use crate::queue::store::Due;
use crate::runtime::BoxFuture;
use crate::word::words;

/// How many events a job keeps; the oldest are dropped.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// How many failures a job keeps; the oldest are dropped.
pub(crate) const MAX_FAILURES: usize = 10;
/// How many memos a job may have, and their total size in bytes.
pub(crate) const MAX_MEMOS: usize = 1_000;
pub(crate) const MAX_MEMO_BYTES: usize = 4 * 1_024 * 1_024;

/// The operations of an object of jobs. There is one object per tenant and job name.
///
/// Every method is one atomic step on the backend (or several bounded ones where it says so). If a reply is lost, a
/// mutating one is retried until it is answered or the request timeout is over.
pub(crate) trait JobStore: Send + Sync {
    /// Whether every answer is ready at the first poll.
    fn is_local(&self) -> bool {
        false
    }
    /// Accepts a batch, all or nothing.
    fn submit(&self, jobs: &Address, batch: Vec<NewJob>) -> BoxFuture<'static, Result<Accepted>>;
    /// Starts runs of the first jobs in order, now. If the future is dropped after it started some, they are
    /// released.
    fn claim(&self, jobs: &Address, claim: Claim) -> BoxFuture<'static, Result<Claimed>>;
    /// Applies what runs do, each on its own. Outcomes are in the same order.
    fn settle(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// The same for a worker that is about to claim: the settles wait for the claim, to share its trip, until
    /// [`depart`](Self::depart).
    fn settle_before_claim(&self, jobs: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.settle(jobs, settles)
    }
    /// Sends settles that still wait for a claim.
    fn depart(&self, _jobs: &Address) {
        // Nothing waits in a store that answers at once.
    }
    /// Changes the object as a whole, or one job from outside its run.
    fn change(&self, jobs: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Reads, after carrying out what is overdue. Changes no outcome.
    fn look(&self, jobs: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// Hands out events of a job to a group. If the future is dropped after it took some, they are given back.
    fn take_events(&self, jobs: &Address, take: GroupTake) -> BoxFuture<'static, Result<GroupTaken>>;
    /// Applies what the holders of events do, each on its own. Returns whether each event was still held, in the same
    /// order.
    fn settle_events(&self, jobs: &Address, settles: Vec<GroupSettle>) -> BoxFuture<'static, Result<Vec<bool>>>;
    /// The news of the object for this process. There is one per object and process, alive while somebody holds it.
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
    /// The schedule that this job is a run of.
    pub(crate) origin: Option<Origin>,
    /// Refuse the job if ready + delayed would exceed this.
    pub(crate) max_depth: Option<u64>,
}

/// The rules of a job's runs: stored with it, and followed by every worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// How many runs may fail: the failure that reaches this ends the job.
    pub(crate) attempts: u32,
    /// How many runs may end by a lapsed lease.
    pub(crate) max_crashes: u32,
    pub(crate) lease: u64,
    /// The longest run. From claim + `timeout` + `stop_grace` on, no lease is renewed, and none that was renewed
    /// before ends more than a lease later.
    pub(crate) timeout: Option<u64>,
    pub(crate) stop_grace: u64,
    /// A job that is not started within this time after its current due time fails.
    pub(crate) max_wait: Option<u64>,
    /// How long the record is kept after the end.
    pub(crate) retention: u64,
    /// What workers and the in-process backend read: backoff, who renews, the meaning of the lease's end. Opaque to
    /// servers, at most 255 bytes.
    pub(crate) policy: Vec<u8>,
}

/// An idempotency key. Callers and triggers have separate key spaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) kind: KeyKind,
    pub(crate) text: Arc<str>,
    pub(crate) life: KeyLife,
}

/// The key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum KeyKind {
    /// Given by the caller that submits.
    Caller,
    /// Of a schedule's trigger.
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
    /// For a slot: accepted only if it is newer than all slots that the series remembers. A slot with a key may come
    /// late, when there are newer ones: then it is accepted unless the series remembers accepting it. A trigger has
    /// no slot, and nothing to compare.
    pub(crate) slot: Option<SlotNumber>,
    pub(crate) overlap: Overlapping,
    /// How long the series is remembered after its last use.
    pub(crate) memory: u64,
    /// What the handler is told about its slot. Opaque to every backend.
    pub(crate) told: Vec<u8>,
}

/// The order of a schedule's slots: a later timing is newer than all slots of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SlotNumber {
    /// The revision of the timing.
    pub(crate) revision: u64,
    pub(crate) slot: u64,
}

/// What to do while an earlier run of the series is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Overlapping {
    Allow,
    /// Refuse the run.
    Skip,
    /// One run at a time, in the order of acceptance. Refuse the run if this many wait already.
    Queue {
        max: u64,
    },
}

/// The outcome of a submit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Accepted {
    /// In the order of the batch.
    All(Vec<Acceptance>),
    /// The item at `index` was the first without room. Nothing was accepted.
    Full { index: usize, depth: u64, limit: u64 },
}

/// The outcome for one job of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Acceptance {
    New {
        id: u64,
    },
    /// The key, or the slot, was accepted before, with this id. Only the newest eight slots are remembered with their
    /// ids; for an older slot the id is 0.
    Duplicate {
        id: u64,
    },
    /// An earlier run of the series is not over. This is the oldest such run.
    Overlapping {
        active: u64,
    },
}

/// A request for runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// At most this many, 0..=[`MAX_BATCH`]. 0 starts nothing, reports that this process waits no more, and passes a
    /// wake-up on to another one.
    pub(crate) max: usize,
    /// The name of the worker, shown in queries.
    pub(crate) worker: Arc<str>,
    /// If there are fewer than `max`, register this process to be woken: its bell rings.
    pub(crate) park: bool,
}

/// The result of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claimed {
    pub(crate) runs: Vec<Run>,
    /// Claim again at this instant of this process's clock unless the bell rings before. At most one parked process
    /// of the fleet is told an instant.
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
    /// The number of stored memos.
    pub(crate) memos: u64,
    /// For a scheduled run: what the schedule told it.
    pub(crate) told: Option<Vec<u8>>,
}

/// One action of a run, under its fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settle {
    pub(crate) id: u64,
    pub(crate) fence: u64,
    /// The latest progress that was not stored yet. It is stored before the action, with its event.
    pub(crate) progress: Option<Vec<u8>>,
    pub(crate) action: Action,
}

/// An action of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Ends the job as completed. Memos are dropped.
    Complete { result: Vec<u8> },
    /// `Error` and `Timeout`: due again after `delay`, or the end if this was the last attempt. Other codes end the
    /// job.
    Fail { code: FailureCode, message: Arc<str>, delay: u64 },
    /// Due again after `delay`; failures and crashes are counted from zero again.
    Reschedule { delay: u64 },
    /// Given back: due now, and the run does not count as failure or crash.
    Release,
    /// Starts the lease anew.
    Renew,
    /// The same, with an event. If a lease is given, the run has that lease from then on.
    Heartbeat { lease: Option<u64> },
    /// Only stores the progress.
    Progress,
    /// Stores a memo under a new step id.
    Step { id: Arc<str>, value: Vec<u8> },
}

impl Action {
    /// Whether this ends the run.
    pub(crate) fn ends_run(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Fail { .. } | Self::Reschedule { .. } | Self::Release)
    }
}

/// The outcome of a settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settled {
    /// Progress and step: stored.
    Stored,
    /// Renew and heartbeat: the lease ends this long after now.
    Renewed { left: u64 },
    /// The run is over; the job is due again at this instant.
    Returned { due: u64 },
    /// The run is over, and the job with it.
    Ended(JobState),
    /// There is no room for the memo; the number and total size of those that exist.
    Full { memos: u64, bytes: u64 },
    /// The run was over before; nothing changed.
    Stale,
    /// The same, and the job was cancelled.
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

/// A change of the object as a whole, or of one job from outside its run.
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
    /// Start nothing from now on, until `resume` or for at most this long.
    Pause {
        for_at_most: Option<u64>,
        reason: Option<Arc<str>>,
    },
    Resume,
    /// Set or remove the limit of the rate.
    LimitRate(Option<Rate>),
    /// Set or remove the limit of how many are running at once.
    LimitHeld(Option<u64>),
    /// Remove the object with everything in it, including running jobs.
    Delete,
}

/// The outcome of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    /// Done. For pause, resume, limit and delete: something was changed or existed.
    Done,
    /// Pause, resume, limit and delete: it was so already, or nothing existed.
    Nothing,
    /// Cancel and retry: the state does not allow it. Remove: the job is running.
    Refused(JobState),
    /// Retry: the job's key now belongs to another job.
    KeyTaken(u64),
    /// Retry: it would exceed `max_depth`.
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
