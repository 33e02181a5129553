//! Outside a page, the only targets are jobs and handlers.
#![expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the twin of pages has targets in it")]

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::scheduler::dispatch::{Dispatch, Landed};
use crate::tidelock::World;

/// No targets to call.
#[derive(Clone, Debug, Default)]
pub(in crate::scheduler) struct Targets {
    _none: (),
}

impl Targets {
    /// Whether schedules are run by calling objects of the page.
    pub(in crate::scheduler) fn are_called(&self) -> bool {
        false
    }

    /// Whether a started instance has the handler.
    pub(in crate::scheduler) fn serves(&self, _: &str, announced: bool) -> bool {
        announced
    }

    /// Whether a trigger through this handle can reach the target.
    pub(in crate::scheduler) fn reaches(&self, _: Option<&Arc<str>>) -> bool {
        true
    }

    /// Tries once to submit a run.
    pub(in crate::scheduler) async fn submit(&self, world: &Arc<World>, dispatch: &Dispatch<'_>) -> Result<Landed> {
        dispatch.submit(world).await
    }

    /// The error text that is reported for a failed submit.
    pub(in crate::scheduler) fn text(&self, error: &Error) -> String {
        error.to_string()
    }

    /// Reports that the schedule has nothing left to decide up to this slot.
    pub(in crate::scheduler) fn decided(&self, _: &str, _: u64) -> Result<()> {
        Ok(())
    }
}
