//! Pauses of delivery: of a queue, or of a group of a topic.

use std::time::Duration;

use serde::Serialize;

use crate::check;
use crate::error::{Error, Result};
use crate::handover::store::PauseView;
use crate::time::{Timestamp, whole_millis};

/// A pause that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Paused {
    /// When it ends by itself; `None` if it lasts until resumed.
    pub until: Option<Timestamp>,
    /// The reason, if one was given.
    pub reason: Option<String>,
}

impl From<PauseView> for Paused {
    fn from(PauseView { until, reason }: PauseView) -> Self {
        Self { until: until.map(Timestamp::from_millis), reason: reason.map(|reason| reason.as_ref().to_owned()) }
    }
}

/// Checks the duration of a pause that ends by itself; returns milliseconds.
pub(crate) fn pause_time(for_at_most: Option<Duration>) -> Result<Option<u64>> {
    check::lasting(Error::argument, "for_at_most", for_at_most)?;
    Ok(for_at_most.map(whole_millis))
}
