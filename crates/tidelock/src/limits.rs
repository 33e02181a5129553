//! Limits of what a queue or a job hands out: of its rate, and of how much is held at once.

use std::time::Duration;

use serde::Serialize;

#[cfg(feature = "redis")]
use crate::backend::redis::{Answer, Arguments};
use crate::check::{self, LARGEST};
use crate::error::{Error, Result};
use crate::handover::store::{Rate, RateView};
use crate::time::{Timestamp, millis, whole_millis};

/// A limit of the rate at which work is handed out, and what was handed out in the window under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many are handed out at most in each window.
    pub limit: u64,
    /// How long a window lasts. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub per: Duration,
    /// How many were handed out in the window under way.
    pub used: u64,
    /// When the window under way ends; `None` if there is none: the next one begins with the next hand-out.
    pub window_ends: Option<Timestamp>,
}

impl From<RateView> for RateLimit {
    fn from(RateView { rate, used, window_ends }: RateView) -> Self {
        Self {
            limit: rate.limit,
            per: Duration::from_millis(rate.per),
            used,
            window_ends: (used > 0).then(|| Timestamp::from_millis(window_ends)),
        }
    }
}

/// Checks a limit of the rate that a caller sets.
pub(crate) fn rate(limit: u64, per: Duration) -> Result<Rate> {
    check::range(Error::argument, "limit", limit, 1, LARGEST)?;
    check::lasting(Error::argument, "per", per)?;
    Ok(Rate { limit, per: whole_millis(per) })
}

/// Checks a limit of how many are held at once that a caller sets.
pub(crate) fn held(limit: u64) -> Result<u64> {
    check::range(Error::argument, "limit", limit, 1, LARGEST).map(|()| limit)
}

/// Adds a limit of the rate to the arguments of a script, 0 for none.
#[cfg(feature = "redis")]
pub(crate) fn push_rate(rate: Option<Rate>, arguments: &mut Arguments) {
    let Rate { limit, per } = rate.unwrap_or(Rate { limit: 0, per: 0 });
    arguments.number(limit);
    arguments.number(per);
}

/// Reads both limits, five numbers, from a script's answer.
#[cfg(feature = "redis")]
pub(crate) fn read(answer: &mut Answer) -> Result<(Option<RateView>, Option<u64>)> {
    let rate = Rate { limit: answer.count()?, per: answer.count()? };
    let view = RateView { rate, used: answer.count()?, window_ends: answer.count()? };
    let held = answer.count()?;
    Ok(((rate.limit > 0).then_some(view), (held > 0).then_some(held)))
}
