//! What a leader writes, and what it reports of it.

use std::sync::Arc;

use crate::error::Error;
use crate::scheduler::dispatch::stored;
use crate::scheduler::observe::Happening;
use crate::scheduler::store::{ScheduleView, Step};

/// A step to write, and what to report.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) step: Step,
    /// If the step was applied.
    pub(super) told: Vec<Happening>,
    /// If the step met another state than it expected.
    pub(super) refused: Option<Happening>,
    /// Up to this slot, the schedule has nothing left to decide after this step.
    pub(super) decided: Option<u64>,
}

impl Entry {
    pub(super) fn new(step: Step, told: impl IntoIterator<Item = Happening>) -> Self {
        Self { step, told: told.into_iter().collect(), refused: None, decided: None }
    }

    /// Marks the slot as decided by this step.
    pub(super) fn deciding(self, slot: u64) -> Self {
        Self { decided: Some(slot), ..self }
    }

    /// The schedule whose slots it is about.
    pub(super) fn schedule(&self) -> Option<&Arc<str>> {
        match &self.step {
            Step::Decide { id, .. } | Step::Confirm { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// What to write for a schedule that this leader cannot read.
pub(super) fn unreadable(view: &ScheduleView, error: &Error) -> Entry {
    let (id, revision) = (Arc::clone(&view.id), view.revision);
    let told = Happening::ScheduleQuarantined { schedule: view.id.as_ref().to_owned(), message: error.to_string() };
    Entry::new(Step::Quarantine { id, revision, error: stored(error) }, [told])
}
