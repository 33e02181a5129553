//! What a run is told of the slot that it is for.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The slot or trigger of a schedule whose run a job is: what [`JobContext::slot`](crate::JobContext::slot) gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Slot {
    /// The id of the scheduler.
    pub scheduler: String,
    /// The id of the schedule.
    pub schedule: String,
    /// The instant that the schedule names; of a trigger, when it was accepted.
    pub slot: Timestamp,
    /// When it was due: the slot and its jitter; of a trigger, when it was accepted.
    pub due: Timestamp,
    /// Why it runs.
    pub trigger: Trigger,
    /// Grows with each run of the schedule, from 1, triggers included. No number comes twice; that of a decided slot that is
    /// not run in the end is left out.
    pub run: u64,
    /// Slots before it that were missed and are not run, counted up to 10,000. Told with the first run of the decision that
    /// missed them; of a decision that runs none only the history tells.
    pub missed: u32,
}

/// Why a run of a schedule was started.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// Its slot was decided in time.
    OnTime,
    /// Its slot was missed, and is run by the schedule's [`Misfire`](super::Misfire).
    CatchUp,
    /// Somebody asked for it.
    Manual {
        /// The key that was given.
        key: Option<String>,
    },
}

impl Slot {
    /// The bytes that travel with the job.
    pub(crate) fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts can be written")
    }

    /// Reads them; `None` if another version wrote something else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
