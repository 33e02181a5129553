//! The results of queries on schedules.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::definition::{Spec, Target as StoredTarget};
use super::schedule::{Misfire, Overlap};
use super::store::{Dispatched, Happened, HistoryView, LetterView, ScheduleView, StateView};
use super::timing::Rhythm;
use crate::check;
use crate::job::JobId;
use crate::job::store::Overlapping;
use crate::meta::Meta;
use crate::time::{Timestamp, millis, optional_millis};

/// The state of a schedule at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its id.
    pub id: String,
    /// The registered definition; `None` if this version, or its time zone database, cannot read it.
    pub spec: Option<ScheduleSpec>,
    /// Its current state.
    pub state: ScheduleState,
    /// The next undecided slot.
    pub next: Option<Timestamp>,
    /// When that is due: the slot plus its jitter.
    pub next_due: Option<Timestamp>,
    /// The last slot that a target accepted.
    pub last: Option<LastDispatch>,
    /// Slots that are decided but not yet submitted.
    pub planned: usize,
    /// The last run number assigned to a slot or trigger; 0 before the first.
    pub run: u64,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When it was last changed by a register, a pause or a resume.
    pub updated_at: Timestamp,
    /// Grows with each change.
    pub revision: u64,
}

/// The registered definition of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScheduleSpec {
    /// Its timing.
    pub timing: ScheduleTiming,
    /// The maximum jitter. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub jitter: Duration,
    /// The policy for missed slots.
    pub misfire: Misfire,
    /// With [`Misfire::CatchUpAll`]: the maximum number of missed slots that run.
    pub max_catch_up_runs: Option<u32>,
    /// Its own tolerance; `None` for the leader's. Serialized in milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub tolerance: Option<Duration>,
    /// The policy for overlapping runs.
    pub overlap: Overlap,
    /// With [`Overlap::Queue`]: how many runs may wait.
    pub max_queued: Option<u64>,
    /// Its target.
    pub target: ScheduleTarget,
    /// The attached metadata.
    pub meta: Meta,
    /// The encoded input.
    pub input: Vec<u8>,
}

/// The timing of a schedule's slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum ScheduleTiming {
    /// By a cron expression.
    Cron {
        /// The normalised expression: macros expanded, upper case.
        expression: String,
        /// The time zone.
        zone: String,
    },
    /// At equal distances from the Unix epoch.
    Every {
        /// The period. Serialized in milliseconds.
        #[serde(serialize_with = "millis")]
        period: Duration,
        /// The offset of the slots. Serialized in milliseconds.
        #[serde(serialize_with = "millis")]
        offset: Duration,
    },
    /// One slot.
    Once {
        /// The slot.
        at: Timestamp,
    },
}

/// The target of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum ScheduleTarget {
    /// A job.
    Job {
        /// Its id.
        id: String,
    },
    /// A handler of the scheduler's instances.
    Handler {
        /// Its name.
        name: String,
    },
}

/// The current state of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum ScheduleState {
    /// Slots are decided when they are due.
    Active,
    /// It is paused; its slots do not run.
    Paused {
        /// The reason, if one was given.
        reason: Option<String>,
        /// Since when.
        since: Timestamp,
        /// When it ends by itself; `None` if it lasts until resumed.
        until: Option<Timestamp>,
    },
    /// No living instance has its handler; slots wait.
    Unserved {
        /// Since when.
        since: Timestamp,
    },
    /// The target did not accept a slot; the submit will be retried.
    Failing {
        /// Failed rounds so far.
        rounds: u32,
        /// When the next round begins.
        retry_at: Timestamp,
        /// The error of the last round.
        error: String,
    },
    /// The leader cannot read it.
    Quarantined {
        /// The reason.
        error: String,
        /// Since when.
        since: Timestamp,
    },
    /// It has no more slots; it is removed after 7 days.
    Finished {
        /// Since when.
        since: Timestamp,
    },
}

/// The last slot accepted by a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastDispatch {
    /// The slot.
    pub slot: Timestamp,
    /// The job created for it.
    pub job: JobId,
    /// From the due instant to the acceptance. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub lateness: Duration,
}

/// A past decision about a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// When it was written.
    pub at: Timestamp,
    /// The decision.
    pub event: HistoryEvent,
}

/// A decision about a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum HistoryEvent {
    /// A slot was decided.
    Slot {
        /// Its run number.
        run: u64,
        /// The slot.
        slot: Timestamp,
        /// When it was due.
        due: Timestamp,
        /// When it was decided.
        decided_at: Timestamp,
        /// Whether it was decided in time; otherwise it was caught up.
        on_time: bool,
        /// Its outcome.
        outcome: Outcome,
    },
    /// A run was triggered manually.
    Trigger {
        /// Its run number.
        run: u64,
        /// The key, if one was given.
        key: Option<String>,
        /// When it was accepted.
        accepted_at: Timestamp,
        /// Its outcome.
        outcome: Outcome,
    },
    /// Slots were missed and do not run; counted up to 10,000.
    Missed {
        /// How many.
        count: u64,
    },
    /// Slots fell into a pause; counted up to 10,000.
    Paused {
        /// How many.
        count: u64,
    },
    /// Slots for which no instance had the handler.
    MissingHandler {
        /// How many.
        count: u64,
    },
}

/// The outcome of a slot or trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
#[non_exhaustive]
pub enum Outcome {
    /// The target accepted it.
    Submitted {
        /// The job created for it.
        job: JobId,
        /// The time from the due instant to the acceptance, in milliseconds.
        lateness_ms: u64,
    },
    /// An earlier run had not ended.
    Overlapped {
        /// The oldest such run.
        active: JobId,
    },
    /// It was given up and became a dead letter.
    GivenUp {
        /// The error.
        error: String,
    },
}

/// A slot or trigger that its target did not accept: an item of [`dead_letters`](super::Scheduler::dead_letters).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DispatchLetter {
    /// Its id.
    pub id: DispatchLetterId,
    /// The schedule.
    pub schedule: String,
    /// Its run number.
    pub run: u64,
    /// The slot; `None` for a trigger.
    pub slot: Option<Timestamp>,
    /// The key of a trigger, if one was given.
    pub key: Option<String>,
    /// Why it was given up.
    pub error: String,
    /// The number of failed rounds.
    pub rounds: u32,
    /// The epoch of the leader that gave up on it.
    pub epoch: u64,
    /// When it was given up. It is removed 7 days later.
    pub at: Timestamp,
}

/// The id of a dead letter: later ones have higher ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DispatchLetterId(pub(crate) u64);

impl std::fmt::Display for DispatchLetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for DispatchLetterId {
    type Err = crate::Error;

    /// Reads a number from decimal text.
    fn from_str(text: &str) -> crate::Result<Self> {
        check::decimal(text).map(Self).ok_or_else(|| {
            crate::Error::argument(format!("the number of a dead letter is a decimal below 2^53, but this is {text:?}"))
        })
    }
}

pub(super) fn text(text: &Arc<str>) -> String {
    text.as_ref().to_owned()
}

impl From<ScheduleView> for ScheduleInfo {
    fn from(view: ScheduleView) -> Self {
        Self {
            id: text(&view.id),
            spec: Spec::read(&view.definition).ok().map(ScheduleSpec::from),
            state: ScheduleState::from(&view.state),
            next: view.next.map(|next| Timestamp::from_millis(next.slot)),
            next_due: view.next.map(|next| Timestamp::from_millis(next.due)),
            last: view.last.map(|last| LastDispatch {
                slot: Timestamp::from_millis(last.slot),
                job: JobId(last.job),
                lateness: Duration::from_millis(last.lateness),
            }),
            planned: view.plan.map_or(0, |plan| plan.slots.len()),
            run: view.run,
            created_at: Timestamp::from_millis(view.created_at),
            updated_at: Timestamp::from_millis(view.updated_at),
            revision: view.revision,
        }
    }
}

impl From<Spec> for ScheduleSpec {
    fn from(Spec { timing, content }: Spec) -> Self {
        let (overlap, max_queued) = match content.overlap {
            Overlapping::Allow => (Overlap::Allow, None),
            Overlapping::Skip => (Overlap::Skip, None),
            Overlapping::Queue { max } => (Overlap::Queue, Some(max)),
        };
        Self {
            jitter: Duration::from_millis(timing.jitter),
            timing: match timing.rhythm {
                Rhythm::Cron(cron) => {
                    ScheduleTiming::Cron { expression: cron.to_string(), zone: cron.zone().to_owned() }
                }
                Rhythm::Every { period, offset } => ScheduleTiming::Every {
                    period: Duration::from_millis(period),
                    offset: Duration::from_millis(offset),
                },
                Rhythm::Once { at } => ScheduleTiming::Once { at: Timestamp::from_millis(at) },
            },
            misfire: content.misfire,
            max_catch_up_runs: content.max_catch_up_runs,
            tolerance: content.tolerance.map(Duration::from_millis),
            overlap,
            max_queued,
            target: match content.target {
                StoredTarget::Job { id, .. } => ScheduleTarget::Job { id },
                StoredTarget::Handler { name } => ScheduleTarget::Handler { name },
            },
            meta: Meta::new(content.meta.into_bytes()),
            input: content.input,
        }
    }
}

impl From<&StateView> for ScheduleState {
    fn from(state: &StateView) -> Self {
        let at = Timestamp::from_millis;
        match state {
            StateView::Active => Self::Active,
            StateView::Paused { reason, since, until } => {
                Self::Paused { reason: reason.as_ref().map(text), since: at(*since), until: until.map(at) }
            }
            StateView::Unserved { since } => Self::Unserved { since: at(*since) },
            StateView::Failing { rounds, retry_at, error } => {
                Self::Failing { rounds: *rounds, retry_at: at(*retry_at), error: text(error) }
            }
            StateView::Quarantined { error, since } => Self::Quarantined { error: text(error), since: at(*since) },
            StateView::Finished { at: since } => Self::Finished { since: at(*since) },
        }
    }
}

impl From<HistoryView> for HistoryEntry {
    fn from(HistoryView { at, what }: HistoryView) -> Self {
        let instant = Timestamp::from_millis;
        let event = match what {
            Happened::Slot { run, slot, decided_at, outcome } => HistoryEvent::Slot {
                run,
                slot: instant(slot.slot),
                due: instant(slot.due),
                decided_at: instant(decided_at),
                on_time: slot.on_time,
                outcome: outcome.into(),
            },
            Happened::Trigger { run, key, accepted_at, outcome } => HistoryEvent::Trigger {
                run,
                key: key.as_ref().map(text),
                accepted_at: instant(accepted_at),
                outcome: outcome.into(),
            },
            Happened::Missed(count) => HistoryEvent::Missed { count },
            Happened::Paused(count) => HistoryEvent::Paused { count },
            Happened::MissingHandler(count) => HistoryEvent::MissingHandler { count },
        };
        Self { at: instant(at), event }
    }
}

impl From<Dispatched> for Outcome {
    fn from(outcome: Dispatched) -> Self {
        match outcome {
            Dispatched::Submitted { job, lateness } => Self::Submitted { job: JobId(job), lateness_ms: lateness },
            Dispatched::Overlapped { active } => Self::Overlapped { active: JobId(active) },
            Dispatched::GivenUp { error } => Self::GivenUp { error: text(&error) },
        }
    }
}

impl From<LetterView> for DispatchLetter {
    fn from(view: LetterView) -> Self {
        Self {
            id: DispatchLetterId(view.number),
            schedule: text(&view.schedule),
            run: view.run,
            slot: view.slot.map(|slot| Timestamp::from_millis(slot.slot)),
            key: view.key.as_ref().map(text),
            error: text(&view.error),
            rounds: view.rounds,
            epoch: view.epoch,
            at: Timestamp::from_millis(view.at),
        }
    }
}
