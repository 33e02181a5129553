//! Without the feature `metrics`: stores and does nothing.

use std::time::Duration;

use super::Named;
use crate::time::Clock;

/// Whether anything is measured.
pub(crate) const MEASURES: bool = false;

#[derive(Debug)]
pub(crate) struct Counters<const COUNT: usize>;

#[expect(clippy::unused_self, reason = "as with the feature")]
impl<const COUNT: usize> Counters<COUNT> {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) fn add(&self, _: usize, _: usize, _: impl FnOnce() -> Option<Named>) {}

    pub(crate) fn record(&self, _: usize, _: impl FnOnce() -> Option<Named>, _: impl FnOnce() -> Duration) {}

    pub(crate) fn begin(&self, _: usize, _: &Clock, _: impl FnOnce() -> Option<Named>) -> Option<Going> {
        None
    }
}

/// Never exists without the feature.
#[derive(Debug)]
pub(crate) enum Going {}

impl Going {
    pub(crate) fn elapsed(&self, _: &Clock) -> Duration {
        match *self {}
    }
}
