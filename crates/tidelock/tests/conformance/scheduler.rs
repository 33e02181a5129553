//! The scheduler, on every backend.

mod arguments;
mod clock;
mod leading;
mod looking;
mod misfires;
mod overlap;
mod pausing;
mod refusing;
mod registering;
mod triggers;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidelock::scheduler::{
    Misfire, Registered, Schedule, ScheduleInfo, Scheduler, SchedulerBuilder, Slot, Trigger, Triggered,
};
use tidelock::{HOUR, Job, JobContext, MINUTE, ManualClock, SECOND, Tidelock, Timestamp};

pub(crate) use crate::conformance;
pub(crate) use crate::harness::{START, World};
pub(crate) use crate::queue::{MS, advancing, until, within};

/// The slots whose runs were started, in order.
#[derive(Clone, Default)]
pub(crate) struct Noted(Arc<Mutex<Vec<Slot>>>);

impl Noted {
    pub(crate) fn all(&self) -> Vec<Slot> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Their instants, as times since the test began.
    pub(crate) fn since_start(&self) -> Vec<Duration> {
        self.all().iter().map(|slot| slot.slot.since(START)).collect()
    }

    pub(crate) fn runs(&self) -> Vec<u64> {
        self.all().iter().map(|slot| slot.run).collect()
    }

    /// A builder of the scheduler whose handler `note` records its slots here.
    pub(crate) fn builder(&self, tide: &Tidelock) -> SchedulerBuilder {
        let noted = self.clone();
        tide.scheduler("platform").handler("note", move |run: JobContext, (): ()| {
            let (noted, slot) = (noted.clone(), run.slot().cloned());
            async move {
                noted.0.lock().unwrap().push(slot.expect("a run of a schedule knows its slot"));
                Ok(())
            }
        })
    }

    pub(crate) fn scheduler(&self, tide: &Tidelock) -> Scheduler {
        self.builder(tide).build().expect("the defaults are in range")
    }
}

/// A scheduler that has no handlers.
pub(crate) fn plain(tide: &Tidelock) -> Scheduler {
    tide.scheduler("platform").build().expect("the defaults are in range")
}

pub(crate) fn note(schedule: Schedule) -> Schedule {
    schedule.handler("note", &())
}

pub(crate) fn mail(tide: &Tidelock) -> Job<String, String> {
    // Longer than the pinned time moves while a run is in progress.
    tide.job("mail").lease(HOUR).build().expect("the options are in range")
}

pub(crate) async fn info(scheduler: &Scheduler, id: &str) -> ScheduleInfo {
    scheduler.get(id).await.expect("the backend answers").expect("it is there")
}

/// Starts an instance and waits until it leads.
pub(crate) async fn start(scheduler: &Scheduler) {
    within(scheduler.start()).await.expect("the backend answers");
    until(async || scheduler.metrics().is_leader).await;
}

pub(crate) async fn stop(scheduler: &Scheduler) {
    within(scheduler.stop()).await.expect("the backend answers");
}

/// Waits until `count` runs of the handler were started and all of them have ended: if the pinned time moved during a
/// run, its lease would lapse.
pub(crate) async fn ran(scheduler: &Scheduler, noted: &Noted, count: usize) {
    let runs = scheduler.runs("note");
    until(async || {
        // In this order: statistics from before the last start would not include it.
        let started = noted.len() == count;
        let stats = runs.stats().await.unwrap();
        started && stats.ready + stats.running == 0
    })
    .await;
}

/// Waits until the tasks of an instance are at rest, as far as can be seen: nothing is due at its backend, and none of
/// its plans is open.
pub(crate) async fn settled(scheduler: &Scheduler) {
    until(async || {
        let stats = scheduler.stats().await.unwrap();
        stats.due_now == 0
    })
    .await;
}
