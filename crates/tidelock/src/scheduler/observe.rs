//! What a scheduler has done, for those who look: its own counters, events for an observer, and what goes to `metrics`.

mod measure;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use self::measure::Meter;

use crate::job::JobId;
use crate::runtime::Listener;
use crate::time::Timestamp;

/// Something that a scheduler handle did or saw, for [`on_event`](super::SchedulerBuilder::on_event).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchedulerEvent {
    /// When, by the clock of this process.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

/// What a scheduler handle did or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the names and numbers that the variants speak of")]
pub enum Happening {
    /// The instance leads.
    LeaderAcquired { epoch: u64 },
    /// It leads no more.
    LeaderLost { epoch: u64, reason: LostBy },
    /// A trip to the backend failed; it is tried again.
    TickError { message: String },
    /// A register created the schedule, or found it as it was.
    ScheduleRegistered { schedule: String, created: bool },
    /// A register changed the schedule.
    ScheduleUpdated { schedule: String },
    /// The schedule was removed.
    ScheduleUnregistered { schedule: String },
    /// Nobody alive has its handler.
    ScheduleUnserved { schedule: String },
    /// It cannot be read by this leader.
    ScheduleQuarantined { schedule: String, message: String },
    /// The target accepted the slot so many milliseconds after it was due.
    DispatchSubmitted { schedule: String, slot: Timestamp, job: JobId, lateness: u64 },
    /// So many slots are not run.
    DispatchSkipped { schedule: String, count: u64, reason: SkippedBy },
    /// A round of tries failed.
    DispatchFailed { schedule: String, message: String },
    /// The slot was given up: it is a dead letter now.
    DispatchDlq { schedule: String, slot: Timestamp, message: String },
    /// After so many failed rounds the schedule goes on with the slot after this.
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

/// Why a slot is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkippedBy {
    /// Nobody had its handler, and the scheduler is not strict about that.
    MissingHandler,
    /// The schedule was changed meanwhile: it is judged anew.
    CasStale,
    /// It was decided too late.
    Missed,
    /// An earlier run was not over.
    Overlap,
    /// It was in a pause.
    Paused,
}

/// What a scheduler handle has done since it was built. Numbers of this handle alone; those of the fleet are in
/// [`stats`](super::Scheduler::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchedulerMetrics {
    /// Whether this instance leads.
    pub is_leader: bool,
    /// The last epoch that it held; 0 before the first.
    pub leader_epoch: u64,
    /// How often it began or ceased to lead.
    pub leader_changes: u64,
    /// Slots that their target accepted.
    pub dispatch_submitted: u64,
    /// Rounds of tries that failed.
    pub dispatch_failed: u64,
    /// Tries that were repeats.
    pub dispatch_retried: u64,
    /// Slots that are not run, for whatever reason.
    pub dispatch_skipped: u64,
    /// Slots that were given up.
    pub dispatch_dlq: u64,
    /// Triggers that their target accepted, duplicates included.
    pub trigger_submitted: u64,
    /// Triggers that could not be submitted.
    pub trigger_failed: u64,
    /// Triggers that were refused.
    pub trigger_rejected: u64,
    /// Trips to the backend that failed.
    pub tick_errors: u64,
    /// When it last heard of the backend, by the backend's clock.
    pub last_tick_at: Option<Timestamp>,
    /// Of the skipped: those decided too late.
    pub missed: u64,
    /// Of the skipped: those that met an earlier run.
    pub overlapped: u64,
    /// Writes of a leadership that was over; they changed nothing.
    pub stale_writes: u64,
    /// Events that the observer did not get because it was too slow.
    pub events_lost: u64,
}

/// Counts, and tells an observer.
#[derive(Debug)]
pub(crate) struct Watcher {
    metrics: Mutex<SchedulerMetrics>,
    lost: AtomicU64,
    observer: Option<Arc<Listener<SchedulerEvent>>>,
    meter: Meter,
}

impl Watcher {
    /// Of a handle of the scheduler `id`.
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

    /// So many tries were repeats.
    pub(super) fn retried(&self, repeats: u32) {
        self.count(|metrics| metrics.dispatch_retried += u64::from(repeats));
        self.meter.retried(repeats);
    }

    /// A write of a leadership that was over.
    pub(super) fn stale_write(&self) {
        self.count(|metrics| metrics.stale_writes += 1);
        self.meter.stale_write();
    }

    /// The backend was heard of, and says that it is `now`.
    pub(super) fn heard(&self, now: Timestamp) {
        self.count(|metrics| metrics.last_tick_at = Some(now));
    }

    /// Counts what happened and hands it to the observer, if there is one and it keeps up.
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
