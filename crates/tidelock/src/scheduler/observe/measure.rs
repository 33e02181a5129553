//! What a scheduler reports to `metrics`, with that feature.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Happening, SkippedBy};
use crate::counters::{Counters, Going, Named, measures};
use crate::name;
use crate::time::Clock;

measures! {
    /// The metrics of a scheduler.
    enum Measure: &'static str {
        Leading = "tidelock.scheduler.leading",
        LeaderChanges = "tidelock.scheduler.leader_changes",
        Submitted = "tidelock.scheduler.dispatch.submitted",
        Lateness = "tidelock.scheduler.dispatch.lateness",
        Failed = "tidelock.scheduler.dispatch.failed",
        Retried = "tidelock.scheduler.dispatch.retried",
        DeadLettered = "tidelock.scheduler.dispatch.dead_lettered",
        TriggersSubmitted = "tidelock.scheduler.trigger.submitted",
        TriggersFailed = "tidelock.scheduler.trigger.failed",
        TriggersRejected = "tidelock.scheduler.trigger.rejected",
        TickErrors = "tidelock.scheduler.tick_errors",
        StaleWrites = "tidelock.scheduler.stale_writes",
        EventsLost = "tidelock.scheduler.events_lost",
    }
}

/// The metrics of one handle, labelled with its scheduler.
#[derive(Debug)]
pub(super) struct Meter {
    id: Arc<str>,
    counters: Counters<{ Measure::COUNT }>,
    /// By reason.
    skipped: Counters<{ SkippedBy::Paused as usize + 1 }>,
    /// The running measurement while it leads, if there is a recorder.
    leading: Mutex<Option<Going>>,
}

impl Meter {
    pub(super) fn new(id: &Arc<str>) -> Self {
        Self { id: Arc::clone(id), counters: Counters::new(), skipped: Counters::new(), leading: Mutex::default() }
    }

    pub(super) fn retried(&self, repeats: u32) {
        if repeats > 0 {
            self.add(Measure::Retried, u64::from(repeats));
        }
    }

    pub(super) fn stale_write(&self) {
        self.add(Measure::StaleWrites, 1);
    }

    pub(super) fn event_lost(&self) {
        self.add(Measure::EventsLost, 1);
    }

    pub(super) fn tell(&self, what: &Happening) {
        match what {
            Happening::LeaderAcquired { .. } => {
                self.add(Measure::LeaderChanges, 1);
                let called = || Some(self.named(Measure::Leading.name(), None));
                // How long it has led is not measured, only whether it leads.
                self.lead(self.counters.begin(Measure::Leading as usize, &Clock::System, called));
            }
            Happening::LeaderLost { .. } => {
                self.add(Measure::LeaderChanges, 1);
                self.lead(None);
            }
            Happening::TickError { .. } => self.add(Measure::TickErrors, 1),
            Happening::DispatchSubmitted { lateness, .. } => {
                self.add(Measure::Submitted, 1);
                let called = || Some(self.named(Measure::Lateness.name(), None));
                self.counters.record(Measure::Lateness as usize, called, || Duration::from_millis(*lateness));
            }
            Happening::DispatchSkipped { count, reason, .. } => self.skipped(*count, *reason),
            Happening::DispatchFailed { .. } => self.add(Measure::Failed, 1),
            Happening::DispatchDlq { .. } => self.add(Measure::DeadLettered, 1),
            Happening::TriggerSubmitted { .. } => self.add(Measure::TriggersSubmitted, 1),
            Happening::TriggerFailed { .. } => self.add(Measure::TriggersFailed, 1),
            Happening::TriggerRejected { .. } => self.add(Measure::TriggersRejected, 1),
            Happening::ScheduleRegistered { .. }
            | Happening::ScheduleUpdated { .. }
            | Happening::ScheduleUnregistered { .. }
            | Happening::ScheduleUnserved { .. }
            | Happening::ScheduleQuarantined { .. }
            | Happening::DispatchAdvancedAfterFailures { .. } => {}
        }
    }

    fn lead(&self, going: Option<Going>) {
        // The previous measurement ends here, without the lock.
        let _before = std::mem::replace(&mut *self.lock(), going);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Going>> {
        self.leading.lock().expect("no code panics while it holds this lock")
    }

    fn skipped(&self, count: u64, by: SkippedBy) {
        let reason = match by {
            SkippedBy::MissingHandler => "missing_handler",
            SkippedBy::CasStale => "cas_stale",
            SkippedBy::Missed => "missed",
            SkippedBy::Overlap => "overlap",
            SkippedBy::Paused => "paused",
        };
        let called = || Some(self.named("tidelock.scheduler.dispatch.skipped", Some(reason)));
        self.skipped.add(by as usize, usize::try_from(count).unwrap_or(usize::MAX), called);
    }

    fn add(&self, what: Measure, by: u64) {
        let by = usize::try_from(by).unwrap_or(usize::MAX);
        self.counters.add(what as usize, by, || Some(self.named(what.name(), None)));
    }

    fn named(&self, name: &'static str, reason: Option<&'static str>) -> Named {
        let mut labels = vec![("scheduler", name::shown(&self.id).into())];
        labels.extend(reason.map(|reason| ("reason", reason.into())));
        (name.into(), labels)
    }
}
