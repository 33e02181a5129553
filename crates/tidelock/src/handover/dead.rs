//! What requests on dead letters share.

use std::time::Duration;

use crate::check::{self, LARGEST};
use crate::error::{Error, Result};
use crate::time::{TEN_YEARS, whole_millis};

/// The filters that requests on many dead letters share, for types with a field `filter`.
macro_rules! dead_filters {
    () => {
        /// Only those with this reason.
        pub fn reason(mut self, reason: $crate::DeadReason) -> Self {
            self.filter.reason = Some(reason);
            self
        }

        /// Only those that became dead letters before this instant.
        pub fn moved_before(mut self, instant: impl Into<$crate::Timestamp>) -> Self {
            self.filter.moved_before = Some(instant.into().as_millis());
            self
        }

        /// Only those that became dead letters at or after this instant.
        pub fn moved_after(mut self, instant: impl Into<$crate::Timestamp>) -> Self {
            self.filter.moved_after = Some(instant.into().as_millis());
            self
        }
    };
}

pub(crate) use dead_filters;

/// The delay of a requeue, checked, in milliseconds.
pub(crate) fn requeue_delay(delay: Duration) -> Result<u64> {
    check::range(Error::argument, "delay", delay, Duration::ZERO, TEN_YEARS)?;
    Ok(whole_millis(delay))
}

/// The limit of a request on many dead letters, checked.
pub(crate) fn letters_limit(limit: Option<u64>) -> Result<Option<u64>> {
    match limit {
        Some(most) => check::range(Error::argument, "limit", most, 1, LARGEST).map(|()| limit),
        None => Ok(None),
    }
}
