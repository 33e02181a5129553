//! The stored outcomes of slots and triggers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Dispatched, PlannedSlot};

/// A history entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryView {
    /// When it was written.
    pub(crate) at: u64,
    pub(crate) what: Happened,
}

/// What was decided about a slot or trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Happened {
    /// A slot of a plan.
    Slot {
        run: u64,
        slot: PlannedSlot,
        decided_at: u64,
        outcome: Dispatched,
    },
    Trigger {
        run: u64,
        key: Option<Arc<str>>,
        accepted_at: u64,
        outcome: Dispatched,
    },
    /// This many slots were missed and are not run.
    Missed(u64),
    /// This many slots fell into a pause.
    Paused(u64),
    /// For this many slots no instance had the handler.
    MissingHandler(u64),
}

/// A slot or trigger that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LetterView {
    /// Grows over the whole object.
    pub(crate) number: u64,
    pub(crate) schedule: Arc<str>,
    pub(crate) born: u64,
    pub(crate) timing_revision: u64,
    pub(crate) run: u64,
    /// For a slot.
    pub(crate) slot: Option<PlannedSlot>,
    /// For a trigger.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) missed: u64,
    pub(crate) error: Arc<str>,
    /// Failed rounds, including the one in which it was given up.
    pub(crate) rounds: u32,
    pub(crate) epoch: u64,
    pub(crate) at: u64,
}
