//! Limits whose counts the page stores itself and passes in with each request.

use std::borrow::Cow;
use std::time::Duration;

use super::limit::{Limit, Limits};
use super::model::Counts;
use super::store::{Judge, Mode, Rule};
use super::verdict::{DecidedBy, Verdict};
use crate::error::Result;
use crate::time::Timestamp;

/// Which requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// One that passes.
    Passing,
    /// One that is refused, too.
    All,
    /// None: it only looks.
    Nothing,
}

impl Counting {
    fn mode(self) -> Mode {
        match self {
            Self::Passing => Mode::Check,
            Self::All => Mode::CountRefused,
            Self::Nothing => Mode::Peek,
        }
    }
}

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

    /// Judges a request of `cost` units by the count of its window and that of the window before.
    pub fn judge(&self, now: Timestamp, used: u64, before: u64, cost: u64, counting: Counting) -> WindowVerdict {
        let mut counts = Counts::of_window(now, &self.rule, used, before);
        let outcome = counts.judge(now, &judge(std::slice::from_ref(&self.rule), cost, counting));
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

/// Several limits that are judged together.
#[derive(Clone, Debug)]
pub struct LimitSet {
    limits: Limits,
}

/// The counts of one identifier as plain numbers, six for each: algorithm, window, instant, used, before, lapse.
pub type KeptCounts = Vec<[u64; 6]>;

impl LimitSet {
    /// Checks the limits as [`Limits::new`] does.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self> {
        Ok(Self { limits: Limits::new(limits)? })
    }

    /// Judges a request of `cost` units by the counts, and counts it there.
    pub fn judge(&self, now: Timestamp, kept: &mut KeptCounts, cost: u64, counting: Counting) -> Verdict {
        let rules = self.limits.rules();
        let mut counts = Counts::from_numbers(kept);
        let outcome = counts.judge(now, &judge(rules, cost, counting));
        *kept = counts.numbers();
        Verdict::new(&self.limits, rules, &outcome, DecidedBy::Backend)
    }

    /// Whether nothing is counted at `now`.
    pub fn is_empty(kept: &KeptCounts, now: Timestamp) -> bool {
        Counts::from_numbers(kept).is_empty(now)
    }
}

fn judge(rules: &[Rule], cost: u64, counting: Counting) -> Judge<'_> {
    Judge { identifier: Cow::Borrowed(""), rules: Cow::Borrowed(rules), cost, mode: counting.mode() }
}
