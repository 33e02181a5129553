//! What a scheduler reports: its own counters, events for an observer, and metrics.

mod measure;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use self::measure::Meter;

use crate::job::JobId;
use crate::runtime::Listener;
use crate::time::Timestamp;

/// An event of a scheduler handle, for [`on_event`](super::SchedulerBuilder::on_event).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchedulerEvent {
    /// When, by the clock of this process.
    pub at: Timestamp,
    /// What happened.
    pub what: Happening,
}

/// What happened to a scheduler handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the names and numbers that the variants speak of")]
pub enum Happening {
    /// The instance leads.
    LeaderAcquired { epoch: u64 },
    /// The instance no longer leads.
    LeaderLost { epoch: u64, reason: LostBy },
    /// A request to the backend failed; it will be retried.
    TickError { message: String },
    /// A register created the schedule, or found it unchanged.
    ScheduleRegistered { schedule: String, created: bool },
    /// A register changed the schedule.
    ScheduleUpdated { schedule: String },
    /// The schedule was removed.
    ScheduleUnregistered { schedule: String },
    /// No living instance has its handler.
    ScheduleUnserved { schedule: String },
    /// This leader cannot read it.
    ScheduleQuarantined { schedule: String, message: String },
    /// The target accepted the slot, this many milliseconds after it was due.
    DispatchSubmitted { schedule: String, slot: Timestamp, job: JobId, lateness: u64 },
    /// This number of slots does not run.
    DispatchSkipped { schedule: String, count: u64, reason: SkippedBy },
    /// A round of tries failed.
    DispatchFailed { schedule: String, message: String },
    /// The slot was given up and became a dead letter.
    DispatchDlq { schedule: String, slot: Timestamp, message: String },
    /// After this number of failed rounds the schedule continues with the slot after this one.
    DispatchAdvancedAfterFailures { schedule: String, slot: Timestamp, failures: u32 },
    /// The target accepted a trigger.
    TriggerSubmitted { schedule: String, job: JobId },
    /// A trigger could not be submitted.
    TriggerFailed { schedule: String, message: String },
    /// A trigger was refused.
    TriggerRejected { schedule: String, reason: super::Rejected },
}

/// Why leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LostBy {
    /// The lease could not be renewed in time, or another instance has it.
    ExtendFailed,
    /// The instance was stopped.
    Stop,
}

/// Why a slot does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkippedBy {
    /// No instance had its handler, and the scheduler is not strict about that.
    MissingHandler,
    /// The schedule was changed meanwhile: it will be judged again.
    CasStale,
    /// It was decided too late.
    Missed,
    /// An earlier run had not ended.
    Overlap,
    /// It fell into a pause.
    Paused,
}

/// The counters of a scheduler handle since it was built. For the whole fleet see [`stats`](super::Scheduler::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchedulerMetrics {
    /// Whether this instance leads.
    pub is_leader: bool,
    /// The last epoch in which it led; 0 before the first.
    pub leader_epoch: u64,
    /// How often it became or ceased to be the leader.
    pub leader_changes: u64,
    /// Slots that their target accepted.
    pub dispatch_submitted: u64,
    /// Rounds of tries that failed.
    pub dispatch_failed: u64,
    /// Repeated tries.
    pub dispatch_retried: u64,
    /// Slots that do not run, for any reason.
    pub dispatch_skipped: u64,
    /// Slots that were given up.
    pub dispatch_dlq: u64,
    /// Triggers accepted by their target, duplicates included.
    pub trigger_submitted: u64,
    /// Triggers that could not be submitted.
    pub trigger_failed: u64,
    /// Triggers that were refused.
    pub trigger_rejected: u64,
    /// Requests to the backend that failed.
    pub tick_errors: u64,
    /// When it last heard of the backend, by the backend's clock.
    pub last_tick_at: Option<Timestamp>,
    /// Skipped slots that were decided too late.
    pub missed: u64,
    /// Skipped slots that overlapped an earlier run.
    pub overlapped: u64,
    /// Writes from a past leadership; they changed nothing.
    pub stale_writes: u64,
    /// Events that the observer did not get because it was too slow.
    pub events_lost: u64,
}

/// Counts, and notifies an observer.
#[derive(Debug)]
pub(crate) struct Watcher {
    metrics: Mutex<SchedulerMetrics>,
    lost: AtomicU64,
    observer: Option<Arc<Listener<SchedulerEvent>>>,
    meter: Meter,
}

impl Watcher {
    /// The watcher of a handle of the scheduler `id`.
    pub(super) fn new(id: &Arc<str>, observer: Option<Arc<Listener<SchedulerEvent>>>) -> Self {
        Self { metrics: Mutex::default(), lost: AtomicU64::new(0), observer, meter: Meter::new(id) }
    }

    pub(super) fn snapshot(&self) -> SchedulerMetrics {
        let metrics = self.metrics.lock().expect("no code panics while it holds this lock").clone();
        SchedulerMetrics { events_lost: self.lost.load(Ordering::Relaxed), ..metrics }
    }

    fn count(&self, count: impl FnOnce(&mut SchedulerMetrics)) {
        count(&mut self.metrics.lock().expect("no code panics while it holds this lock"));
    }

    /// Counts retries.
    pub(super) fn retried(&self, repeats: u32) {
        self.count(|metrics| metrics.dispatch_retried += u64::from(repeats));
        self.meter.retried(repeats);
    }

    /// Counts a write of a leadership that was over.
    pub(super) fn stale_write(&self) {
        self.count(|metrics| metrics.stale_writes += 1);
        self.meter.stale_write();
    }

    /// Records an answer of the backend, whose clock says `now`.
    pub(super) fn heard(&self, now: Timestamp) {
        self.count(|metrics| metrics.last_tick_at = Some(now));
    }

    /// Counts what happened and passes it to the observer, if there is one and it keeps up.
    pub(super) fn tell(&self, at: Timestamp, what: Happening) {
        tracing::debug!(target: "tidelock::scheduler", ?what, "scheduler");
        self.count(|metrics| metrics.add(&what));
        self.meter.tell(&what);
        if let Some(observer) = &self.observer
            && !observer.tell(SchedulerEvent { at, what })
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.meter.event_lost();
        }
    }
}

impl SchedulerMetrics {
    fn add(&mut self, what: &Happening) {
        match what {
            Happening::LeaderAcquired { epoch } => {
                (self.is_leader, self.leader_epoch) = (true, *epoch);
                self.leader_changes += 1;
            }
            Happening::LeaderLost { .. } => {
                self.is_leader = false;
                self.leader_changes += 1;
            }
            Happening::TickError { .. } => self.tick_errors += 1,
            Happening::DispatchSubmitted { .. } => self.dispatch_submitted += 1,
            Happening::DispatchSkipped { count, reason, .. } => {
                self.dispatch_skipped += count;
                match reason {
                    SkippedBy::Missed => self.missed += count,
                    SkippedBy::Overlap => self.overlapped += count,
                    SkippedBy::MissingHandler | SkippedBy::CasStale | SkippedBy::Paused => {}
                }
            }
            Happening::DispatchFailed { .. } => self.dispatch_failed += 1,
            Happening::DispatchDlq { .. } => self.dispatch_dlq += 1,
            Happening::TriggerSubmitted { .. } => self.trigger_submitted += 1,
            Happening::TriggerFailed { .. } => self.trigger_failed += 1,
            Happening::TriggerRejected { .. } => self.trigger_rejected += 1,
            Happening::ScheduleRegistered { .. }
            | Happening::ScheduleUpdated { .. }
            | Happening::ScheduleUnregistered { .. }
            | Happening::ScheduleUnserved { .. }
            | Happening::ScheduleQuarantined { .. }
            | Happening::DispatchAdvancedAfterFailures { .. } => {}
        }
    }
}
