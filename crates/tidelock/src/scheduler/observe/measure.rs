//! What a scheduler tells `metrics`, with that feature.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Happening, SkippedBy};
use crate::counters::{Counters, Going, Named};
use crate::name;
use crate::time::Clock;

/// What is measured, by number.
#[derive(Clone, Copy, Debug)]
enum Number {
    Leading,
    LeaderChanges,
    Submitted,
    Lateness,
    Failed,
    Retried,
    DeadLettered,
    TriggersSubmitted,
    TriggersFailed,
    TriggersRejected,
    TickErrors,
    StaleWrites,
    EventsLost,
    /// The first of them, one for each reason.
    Skipped,
}

const COUNT: usize = Number::Skipped as usize + 5;

impl Number {
    fn name(self) -> &'static str {
        match self {
            Self::Leading => "tidelock.scheduler.leading",
            Self::LeaderChanges => "tidelock.scheduler.leader_changes",
            Self::Submitted => "tidelock.scheduler.dispatch.submitted",
            Self::Lateness => "tidelock.scheduler.dispatch.lateness",
            Self::Failed => "tidelock.scheduler.dispatch.failed",
            Self::Retried => "tidelock.scheduler.dispatch.retried",
            Self::DeadLettered => "tidelock.scheduler.dispatch.dead_lettered",
            Self::Skipped => "tidelock.scheduler.dispatch.skipped",
            Self::TriggersSubmitted => "tidelock.scheduler.trigger.submitted",
            Self::TriggersFailed => "tidelock.scheduler.trigger.failed",
            Self::TriggersRejected => "tidelock.scheduler.trigger.rejected",
            Self::TickErrors => "tidelock.scheduler.tick_errors",
            Self::StaleWrites => "tidelock.scheduler.stale_writes",
            Self::EventsLost => "tidelock.scheduler.events_lost",
        }
    }
}

/// What is measured of one handle, labelled with its scheduler.
#[derive(Debug)]
pub(super) struct Meter {
    id: Arc<str>,
    counters: Counters<COUNT>,
    /// While it leads, if somebody listens.
    leading: Mutex<Option<Going>>,
}

impl Meter {
    pub(super) fn new(id: &Arc<str>) -> Self {
        Self { id: Arc::clone(id), counters: Counters::new(), leading: Mutex::default() }
    }

    pub(super) fn retried(&self, repeats: u32) {
        if repeats > 0 {
            self.add(Number::Retried, u64::from(repeats));
        }
    }

    pub(super) fn stale_write(&self) {
        self.add(Number::StaleWrites, 1);
    }

    pub(super) fn event_lost(&self) {
        self.add(Number::EventsLost, 1);
    }

    pub(super) fn tell(&self, what: &Happening) {
        match what {
            Happening::LeaderAcquired { .. } => {
                self.add(Number::LeaderChanges, 1);
                let number = Number::Leading;
                // Nobody asks how long it has led: what counts is that it does.
                let going = self.counters.begin(number as usize, &Clock::System, || Some(self.named(number, None)));
                self.lead(going);
            }
            Happening::LeaderLost { .. } => {
                self.add(Number::LeaderChanges, 1);
                self.lead(None);
            }
            Happening::TickError { .. } => self.add(Number::TickErrors, 1),
            Happening::DispatchSubmitted { lateness, .. } => {
                self.add(Number::Submitted, 1);
                let (number, lateness) = (Number::Lateness, Duration::from_millis(*lateness));
                self.counters.record(number as usize, || Some(self.named(number, None)), || lateness);
            }
            Happening::DispatchSkipped { count, reason, .. } => self.skipped(*count, *reason),
            Happening::DispatchFailed { .. } => self.add(Number::Failed, 1),
            Happening::DispatchDlq { .. } => self.add(Number::DeadLettered, 1),
            Happening::TriggerSubmitted { .. } => self.add(Number::TriggersSubmitted, 1),
            Happening::TriggerFailed { .. } => self.add(Number::TriggersFailed, 1),
            Happening::TriggerRejected { .. } => self.add(Number::TriggersRejected, 1),
            Happening::ScheduleRegistered { .. }
            | Happening::ScheduleUpdated { .. }
            | Happening::ScheduleUnregistered { .. }
            | Happening::ScheduleUnserved { .. }
            | Happening::ScheduleQuarantined { .. }
            | Happening::DispatchAdvancedAfterFailures { .. } => {}
        }
    }

    fn lead(&self, going: Option<Going>) {
        // The one before ends here, without the lock.
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
        let (number, count) = (Number::Skipped, usize::try_from(count).unwrap_or(usize::MAX));
        self.counters.add(number as usize + by as usize, count, || Some(self.named(number, Some(reason))));
    }

    fn add(&self, number: Number, by: u64) {
        let by = usize::try_from(by).unwrap_or(usize::MAX);
        self.counters.add(number as usize, by, || Some(self.named(number, None)));
    }

    fn named(&self, number: Number, reason: Option<&'static str>) -> Named {
        let mut labels = vec![("scheduler", name::shown(&self.id).into())];
        labels.extend(reason.map(|reason| ("reason", reason.into())));
        (number.name().into(), labels)
    }
}
