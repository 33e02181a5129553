//! A sliding window whose counts a page keeps where it likes: they come in with each request.

use std::borrow::Cow;
use std::time::Duration;

use super::limit::{Limit, Limits};
use super::model::Counts;
use super::store::{Judge, Mode, Rule};
use crate::error::Result;
use crate::time::Timestamp;

/// One limit over a sliding window.
#[derive(Clone, Copy, Debug)]
pub struct SlidingWindow {
    rule: Rule,
}

/// What a window said of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowVerdict {
    /// It does not pass.
    pub refused: bool,
    /// The count of the window of *now* after the request.
    pub used: u64,
    /// Units that are free now.
    pub remaining: u64,
    /// Milliseconds to the end of the window.
    pub reset_in: u64,
    /// Milliseconds until the same request passes, if nothing else is counted; zero unless refused.
    pub retry_after: u64,
}

impl SlidingWindow {
    /// The limit is 1..=10^12, the window whole milliseconds up to 10 years; *invalid configuration* otherwise.
    pub fn new(limit: u64, window: Duration) -> Result<Self> {
        let limits = Limits::new([Limit::new(limit).window(window)])?;
        Ok(Self { rule: limits.rules()[0] })
    }

    /// Judges a request of `cost` units by the count of its window and that of the window before. One that is refused,
    /// or only `peeks`, is not counted.
    pub fn judge(&self, now: Timestamp, used: u64, before: u64, cost: u64, peeks: bool) -> WindowVerdict {
        let mut counts = Counts::of_window(now, &self.rule, used, before);
        let mode = if peeks { Mode::Peek } else { Mode::Check };
        let rules = Cow::Borrowed(std::slice::from_ref(&self.rule));
        let outcome = counts.judge(now, &Judge { identifier: Cow::Borrowed(""), rules, cost, mode });
        let judged = outcome.parts()[0];
        WindowVerdict {
            refused: judged.refused,
            used: counts.used(&self.rule),
            remaining: judged.remaining,
            reset_in: judged.reset_in,
            retry_after: judged.retry_after,
        }
    }
}
