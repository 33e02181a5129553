//! A scheduler as a whole, as those who look are shown it.

use std::time::Duration;

use serde::Serialize;

use super::info::text;
use super::store::StatsView;
use crate::time::{Timestamp, millis, optional_millis};

/// A scheduler at one instant, as its fleet sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchedulerStats {
    /// Schedules whose slots are decided when they are due.
    pub active: u64,
    /// Paused ones.
    pub paused: u64,
    /// Those whose handler nobody alive has.
    pub unserved: u64,
    /// Those whose target does not accept a slot.
    pub failing: u64,
    /// Those that the leader cannot read.
    pub quarantined: u64,
    /// Those without a slot left.
    pub finished: u64,
    /// Schedules that are due now.
    pub due_now: u64,
    /// How long the most overdue undecided slot is due: the sign of health, also without a leader. Serialized in
    /// milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub most_overdue: Option<Duration>,
    /// Who leads.
    pub leader: Option<Leader>,
    /// The last epoch that was held; 0 before the first.
    pub epoch: u64,
    /// The earliest due instant that is ahead.
    pub next_due: Option<Timestamp>,
    /// Slots and triggers that were given up and are kept.
    pub dead_letters: u64,
    /// Those that went because there were too many.
    pub dead_letters_lost: u64,
    /// The time zone database with which stored slots were computed.
    pub zone_database: Option<String>,
    /// Handlers that somebody alive has.
    pub handlers: Vec<String>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Leader {
    /// The name of the instance: that of its process, and more that is new at each start.
    pub instance: String,
    /// The number of its leadership: a later one has a higher number.
    pub epoch: u64,
    /// How long it leads if it does not renew. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub lease_left: Duration,
}

impl From<StatsView> for SchedulerStats {
    fn from(view: StatsView) -> Self {
        Self {
            active: view.active,
            paused: view.paused,
            unserved: view.unserved,
            failing: view.failing,
            quarantined: view.quarantined,
            finished: view.finished,
            due_now: view.due_now,
            most_overdue: view.most_overdue.map(Duration::from_millis),
            leader: view.leader.map(|leader| Leader {
                instance: text(&leader.instance),
                epoch: leader.epoch,
                lease_left: Duration::from_millis(leader.left),
            }),
            epoch: view.epoch,
            next_due: view.next_due.map(Timestamp::from_millis),
            dead_letters: view.letters,
            dead_letters_lost: view.letters_lost,
            zone_database: view.zones.as_ref().map(text),
            handlers: view.handlers.iter().map(text).collect(),
        }
    }
}
