//! What a run is told about its slot.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The slot or trigger of a schedule that started a job's run: see [`JobContext::slot`](crate::JobContext::slot).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Slot {
    /// The id of the scheduler.
    pub scheduler: String,
    /// The id of the schedule.
    pub schedule: String,
    /// The scheduled instant; for a trigger, when it was accepted.
    pub slot: Timestamp,
    /// When it was due: the slot plus its jitter; for a trigger, when it was accepted.
    pub due: Timestamp,
    /// Why it runs.
    pub trigger: Trigger,
    /// Grows with each run of the schedule, from 1, triggers included. No number is used twice; that of a decided slot
    /// that does not run in the end is left out.
    pub run: u64,
    /// Slots before it that were missed and do not run, counted up to 10,000. Reported with the first run of the
    /// decision that missed them; if a decision runs none, only the history shows them.
    pub missed: u32,
}

/// Why a run of a schedule was started.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// Its slot was decided in time.
    OnTime,
    /// Its slot was missed, and runs because of the schedule's [`Misfire`](super::Misfire).
    CatchUp,
    /// It was triggered manually.
    Manual {
        /// The key, if one was given.
        key: Option<String>,
    },
}

impl Slot {
    /// The bytes that are stored with the job.
    pub(crate) fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts can be written")
    }

    /// Reads these bytes; `None` if another version wrote something else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
