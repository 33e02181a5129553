//! Outside of a page: jobs and handlers alone.
#![expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the twin of pages has targets in it")]

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::scheduler::dispatch::{Dispatch, Landed};
use crate::tidelock::World;

/// None.
#[derive(Clone, Debug, Default)]
pub(in crate::scheduler) struct Targets {
    _none: (),
}

impl Targets {
    /// Whether schedules are run by calling objects of the page.
    pub(in crate::scheduler) fn are_called(&self) -> bool {
        false
    }

    /// Whether somebody started has it.
    pub(in crate::scheduler) fn serves(&self, _: &str, announced: bool) -> bool {
        announced
    }

    /// Whether a trigger of this handle reaches it.
    pub(in crate::scheduler) fn reaches(&self, _: Option<&Arc<str>>) -> bool {
        true
    }

    /// Tries once to submit a run.
    pub(in crate::scheduler) async fn submit(&self, world: &Arc<World>, dispatch: &Dispatch<'_>) -> Result<Landed> {
        dispatch.submit(world).await
    }

    /// What is told of the failure of a submit.
    pub(in crate::scheduler) fn text(&self, error: &Error) -> String {
        error.to_string()
    }

    /// Of a schedule nothing is to be decided any more up to this slot.
    pub(in crate::scheduler) fn decided(&self, _: &str, _: u64) -> Result<()> {
        Ok(())
    }
}
