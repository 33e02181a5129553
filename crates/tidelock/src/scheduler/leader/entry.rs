//! What a leader writes, and what is told of it.

use std::sync::Arc;

use crate::error::Error;
use crate::scheduler::dispatch::stored;
use crate::scheduler::observe::Happening;
use crate::scheduler::store::{ScheduleView, Step};

/// A step to be written, and what is told of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) step: Step,
    /// If it was carried out.
    pub(super) told: Vec<Happening>,
    /// If it met something else.
    pub(super) refused: Option<Happening>,
    /// With it nothing is to be decided of the schedule any more up to this slot.
    pub(super) decided: Option<u64>,
}

impl Entry {
    pub(super) fn new(step: Step, told: impl IntoIterator<Item = Happening>) -> Self {
        Self { step, told: told.into_iter().collect(), refused: None, decided: None }
    }

    /// The slot is decided with it.
    pub(super) fn deciding(self, slot: u64) -> Self {
        Self { decided: Some(slot), ..self }
    }

    /// Whose slots it is about.
    pub(super) fn schedule(&self) -> Option<&Arc<str>> {
        match &self.step {
            Step::Decide { id, .. } | Step::Confirm { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// What is written of a schedule that this leader cannot read.
pub(super) fn unreadable(view: &ScheduleView, error: &Error) -> Entry {
    let (id, revision) = (Arc::clone(&view.id), view.revision);
    let told = Happening::ScheduleQuarantined { schedule: view.id.as_ref().to_owned(), message: error.to_string() };
    Entry::new(Step::Quarantine { id, revision, error: stored(error) }, [told])
}
