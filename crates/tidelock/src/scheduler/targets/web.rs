//! In a page, objects of the page can be targets, which are called.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::scheduler::definition::Target;
use crate::scheduler::dispatch::{Dispatch, Landed};
use crate::tidelock::World;
use crate::time::Timestamp;
use crate::web;

/// The targets of the JavaScript binding.
#[derive(Clone, Default)]
pub(in crate::scheduler) struct Targets(Option<Arc<dyn web::Targets>>);

impl Targets {
    pub(in crate::scheduler) fn of(targets: Arc<dyn web::Targets>) -> Self {
        Self(Some(targets))
    }

    /// Whether schedules are run by calling objects of the page.
    pub(in crate::scheduler) fn are_called(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the target exists. The page itself is asked: there may be one target per schedule, which are too many
    /// to announce with each beat.
    pub(in crate::scheduler) fn serves(&self, name: &str, announced: bool) -> bool {
        self.0.as_ref().map_or(announced, |targets| targets.is_served(name))
    }

    /// Whether a trigger through this handle can reach the target.
    pub(in crate::scheduler) fn reaches(&self, name: Option<&Arc<str>>) -> bool {
        self.0.as_ref().zip(name).is_none_or(|(targets, name)| targets.is_here(name))
    }

    /// Tries once to submit a run.
    pub(in crate::scheduler) async fn submit(&self, world: &Arc<World>, dispatch: &Dispatch<'_>) -> Result<Landed> {
        match (&self.0, &dispatch.content.target) {
            (Some(targets), Target::Handler { name }) => {
                let job = targets.call(name, dispatch.told()).await?;
                Ok(Landed::Accepted { job, duplicate: false })
            }
            _ => dispatch.submit(world).await,
        }
    }

    /// The error text that is reported for a failed submit: only the target's own text.
    pub(in crate::scheduler) fn text(&self, error: &Error) -> String {
        let said = std::error::Error::source(error).filter(|_| self.are_called());
        said.map_or_else(|| error.to_string(), ToString::to_string)
    }

    /// Reports that the schedule has nothing left to decide up to this slot.
    pub(in crate::scheduler) fn decided(&self, schedule: &str, slot: u64) -> Result<()> {
        let told = self.0.as_ref().map(|targets| targets.decided(schedule, Timestamp::from_millis(slot)));
        told.unwrap_or(Ok(()))
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Targets").field(&self.0.is_some()).finish()
    }
}
