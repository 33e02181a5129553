//! The state of a scheduler as a whole.

use std::time::Duration;

use serde::Serialize;

use super::info::text;
use super::store::StatsView;
use crate::time::{Timestamp, millis, optional_millis};

/// Statistics of a scheduler at one instant, across the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchedulerStats {
    /// Schedules whose slots are decided when they are due.
    pub active: u64,
    /// Paused schedules.
    pub paused: u64,
    /// Schedules whose handler no living instance has.
    pub unserved: u64,
    /// Schedules whose target does not accept a slot.
    pub failing: u64,
    /// Schedules that the leader cannot read.
    pub quarantined: u64,
    /// Schedules without further slots.
    pub finished: u64,
    /// Schedules that are due now.
    pub due_now: u64,
    /// How long the most overdue undecided slot has been due: the number to alert on, valid even without a leader.
    /// Serialized in milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub most_overdue: Option<Duration>,
    /// The current leader.
    pub leader: Option<Leader>,
    /// The last epoch; 0 before the first.
    pub epoch: u64,
    /// The next due instant.
    pub next_due: Option<Timestamp>,
    /// Slots and triggers that were given up and are still kept.
    pub dead_letters: u64,
    /// Dead letters that were removed because there were too many.
    pub dead_letters_lost: u64,
    /// The time zone database with which stored slots were computed.
    pub zone_database: Option<String>,
    /// Handlers that some living instance has.
    pub handlers: Vec<String>,
}

/// The leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Leader {
    /// The name of the instance: that of its process, with a suffix that is new at each start.
    pub instance: String,
    /// The number of its leadership; later ones are higher.
    pub epoch: u64,
    /// How long it still leads if it does not renew. Serialized in milliseconds.
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
