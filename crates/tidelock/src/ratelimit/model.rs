//! The counts of one identifier, and how limits judge them: exactly, as with unbounded fractions.
//!
//! Three algorithms share one structure. A count is brought to *now*, which gives the number of free units; a cost
//! passes if it does not exceed them. The sliding window weights the previous window by the part of it that is still
//! within reach. The token bucket is the generic cell rate algorithm of ATM networks, stored as used tokens instead of
//! an arrival time, so that any limit can judge what was counted under another.

#[cfg(test)]
#[path = "fractions.rs"]
mod tests;

use serde::{Deserialize, Serialize};

use super::store::{Algorithm, Judge, Judged, Mode, Outcome, Rule};
use crate::time::Timestamp;

/// Window counts are capped here, at the largest possible limit.
const MAX_COUNT: u64 = 1_000_000_000_000;
/// Spans are capped here, at 31,700 years, so that instants stay whole numbers everywhere.
const MAX_SPAN: u64 = 1_000_000_000_000_000;
/// Maximum number of counts kept for one identifier.
const MAX_COUNTS: usize = 16;

/// One count. It belongs to an algorithm and a window, not to a particular limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    algorithm: Algorithm,
    window: u64,
    /// Start of the window that `used` counts; for a bucket, the instant at which `used` was valid.
    at: u64,
    used: u64,
    /// Sliding: the count of the previous window. Bucket: the used part of one more token, in `1/window`.
    before: u64,
    /// From this instant on the count is empty, whichever limit judges it.
    lapses: u64,
}

/// All counts of one identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    counts: Vec<Count>,
}

impl Counts {
    /// Restores the counts of a sliding window: `used` in the window of `now`, `before` in the previous one.
    #[cfg(any(test, target_family = "wasm"))]
    pub(crate) fn of_window(now: Timestamp, rule: &Rule, used: u64, before: u64) -> Self {
        let Rule { algorithm, window, .. } = *rule;
        let at = now.as_millis() - now.as_millis() % window;
        let lapses = at.saturating_add(2 * window);
        Self { counts: vec![Count { algorithm, window, at, used, before, lapses }] }
    }

    /// The units counted for the rule in its current window.
    #[cfg(any(test, target_family = "wasm"))]
    pub(crate) fn used(&self, rule: &Rule) -> u64 {
        self.counts.iter().find(|count| count.is_of(rule)).map_or(0, |count| count.used)
    }

    /// Restores counts from [`numbers`](Self::numbers). Entries with an unknown algorithm are dropped.
    #[cfg(any(test, target_family = "wasm"))]
    pub(crate) fn from_numbers(kept: &[[u64; 6]]) -> Self {
        let counts = kept.iter().filter_map(|&[algorithm, window, at, used, before, lapses]| {
            let algorithm = Algorithm::ALL.get(usize::try_from(algorithm).ok()?)?;
            Some(Count { algorithm: *algorithm, window, at, used, before, lapses })
        });
        Self { counts: counts.collect() }
    }

    /// The counts as plain numbers, to be stored elsewhere.
    #[cfg(any(test, target_family = "wasm"))]
    pub(crate) fn numbers(&self) -> Vec<[u64; 6]> {
        let numbers = |&Count { algorithm, window, at, used, before, lapses }: &Count| {
            [algorithm as u64, window, at, used, before, lapses]
        };
        self.counts.iter().map(numbers).collect()
    }

    /// Judges the request, and counts its cost according to its mode.
    pub(crate) fn judge(&mut self, now: Timestamp, judge: &Judge<'_>) -> Outcome {
        let now = self.latest(now);
        if let [rule] = &*judge.rules {
            // The usual case, without allocation.
            let mut standings = [self.standing(rule, now)];
            let passes = self.count(now, judge, &mut standings);
            return Outcome::One(standings[0].judged(now, judge.cost, passes));
        }
        let mut standings: Vec<_> = judge.rules.iter().map(|rule| self.standing(rule, now)).collect();
        let passes = self.count(now, judge, &mut standings);
        Outcome::Many(standings.iter().map(|standing| standing.judged(now, judge.cost, passes)).collect())
    }

    fn count(&mut self, now: u64, judge: &Judge<'_>, standings: &mut [Standing]) -> bool {
        let passes = standings.iter().all(|standing| standing.passes(judge.cost));
        let counts = match judge.mode {
            Mode::Check => passes,
            Mode::CountRefused => true,
            Mode::Peek => false,
        };
        if counts {
            for standing in &mut *standings {
                standing.add(judge.cost, now);
            }
            self.store(now, standings);
        }
        passes
    }

    /// Whether nothing is counted at `now`.
    pub(crate) fn is_empty(&self, now: Timestamp) -> bool {
        let now = self.latest(now);
        self.counts.iter().all(|count| count.lapses <= now)
    }

    /// When the last count lapses.
    pub(crate) fn lapse(&self) -> Timestamp {
        Timestamp::from_millis(self.counts.iter().map(|count| count.lapses).max().unwrap_or(0))
    }

    /// *Now*, but never before an instant at which something was counted: a clock behind that has been set back.
    fn latest(&self, now: Timestamp) -> u64 {
        self.counts.iter().map(|count| count.at).fold(now.as_millis(), u64::max)
    }

    /// The state of the rule at `now`.
    fn standing(&self, rule: &Rule, now: u64) -> Standing {
        let stored = self.counts.iter().find(|count| count.is_of(rule));
        Standing::at(now, rule, stored.filter(|count| count.lapses > now))
    }

    /// Stores the counts of `standings`, and keeps other counts that still matter.
    fn store(&mut self, now: u64, standings: &[Standing]) {
        if let ([count], [standing]) = (&mut self.counts[..], standings)
            && count.is_of(&standing.rule)
        {
            // The usual case.
            *count = standing.count;
            return;
        }
        for standing in standings {
            match self.counts.iter_mut().find(|count| count.is_of(&standing.rule)) {
                Some(count) => *count = standing.count,
                None => self.counts.push(standing.count),
            }
        }
        let named = |count: &Count| standings.iter().any(|standing| count.is_of(&standing.rule));
        self.counts.retain(|count| count.lapses > now || named(count));
        while self.counts.len() > MAX_COUNTS {
            let others = self.counts.iter().enumerate().filter(|(_, count)| !named(count));
            let first = others.min_by_key(|(_, count)| count.lapses).map(|(index, _)| index);
            self.counts.remove(first.expect("a request names fewer counts than are kept"));
        }
    }
}

impl Count {
    fn is_of(&self, rule: &Rule) -> bool {
        self.algorithm == rule.algorithm && self.window == rule.window
    }
}

/// One rule and its count, brought to now.
#[derive(Clone, Copy, Debug)]
struct Standing {
    rule: Rule,
    count: Count,
    /// Used units beyond `count.used`: those carried over from the previous window, or a partly used token; rounded up.
    more: u64,
}

impl Standing {
    fn at(now: u64, rule: &Rule, stored: Option<&Count>) -> Self {
        let Rule { algorithm, window, limit, .. } = *rule;
        let start = now - now % window;
        let at = if algorithm == Algorithm::TokenBucket { now } else { start };
        let mut count = Count { algorithm, window, at, used: 0, before: 0, lapses: 0 };
        if let Some(stored) = stored {
            (count.used, count.before) = match algorithm {
                Algorithm::TokenBucket => {
                    let drained = u128::from(now - stored.at) * u128::from(limit);
                    let left = stored.parts().saturating_sub(drained);
                    (narrow(left / u128::from(window)), narrow(left % u128::from(window)))
                }
                _ if stored.at == start => (stored.used, stored.before),
                // Not lapsed, but not of this window: the sliding count of the previous window.
                _ => (0, stored.used),
            };
        }
        let more = match algorithm {
            Algorithm::Sliding => ceil_ratio(count.before, window - (now - start), window),
            Algorithm::Fixed => 0,
            Algorithm::TokenBucket => u64::from(count.before > 0),
        };
        Self { rule: *rule, count, more }
    }

    /// Whole units that can be used now.
    fn free(&self) -> u64 {
        self.rule.capacity.saturating_sub(self.count.used + self.more)
    }

    fn passes(&self, cost: u64) -> bool {
        cost <= self.free()
    }

    fn add(&mut self, cost: u64, now: u64) {
        let count = &mut self.count;
        match self.rule.algorithm {
            Algorithm::Sliding | Algorithm::Fixed => {
                count.used = (count.used + cost).min(MAX_COUNT);
                let windows = if self.rule.algorithm == Algorithm::Sliding { 2 } else { 1 };
                count.lapses = count.at.saturating_add(windows * count.window);
            }
            Algorithm::TokenBucket => {
                let full = 2 * self.rule.capacity;
                if count.used + cost < full {
                    count.used += cost;
                } else if count.used < full {
                    (count.used, count.before, self.more) = (full, 0, 0);
                }
                count.lapses = now.saturating_add(count.drained_after(0, self.rule.limit));
            }
        }
    }

    /// The verdict on the current state. `passes`: whether the request passed all rules.
    fn judged(&self, now: u64, cost: u64, passes: bool) -> Judged {
        let refused = !passes && !self.passes(cost);
        Judged {
            refused,
            remaining: self.free(),
            reset_in: match self.rule.algorithm {
                Algorithm::TokenBucket => self.count.drained_after(0, self.rule.limit),
                Algorithm::Sliding | Algorithm::Fixed => self.rule.window - (now - self.count.at),
            },
            retry_after: if refused { self.passes_after(now, cost) } else { 0 },
        }
    }

    /// The time until the refused cost passes, if nothing else is counted.
    fn passes_after(&self, now: u64, cost: u64) -> u64 {
        let Rule { window, limit, capacity, .. } = self.rule;
        let Count { at, used, before, .. } = self.count;
        if cost > capacity {
            // It never passes. This happens only with a share of a limit, which stands in for the backend.
            return window;
        }
        let reset_in = window - (now - at);
        match self.rule.algorithm {
            Algorithm::Fixed => reset_in,
            // Either the previous window has to slide out far enough ...
            Algorithm::Sliding if used + cost <= limit => reset_in - floor_ratio(limit - used - cost, window, before),
            // ... or this window has to, once it is the previous one.
            Algorithm::Sliding => reset_in + window - floor_ratio(limit - cost, window, used),
            Algorithm::TokenBucket => self.count.drained_after(capacity - cost, limit),
        }
    }
}

impl Count {
    /// The used tokens of a bucket, in units of `1/window`.
    fn parts(&self) -> u128 {
        u128::from(self.used) * u128::from(self.window) + u128::from(self.before)
    }

    /// The time until at most `left` tokens are used, at `limit` tokens per window; whole milliseconds, rounded up.
    fn drained_after(&self, left: u64, limit: u64) -> u64 {
        let above = self.parts().saturating_sub(u128::from(left) * u128::from(self.window));
        narrow(above.div_ceil(u128::from(limit)).min(u128::from(MAX_SPAN)))
    }
}

fn floor_ratio(count: u64, part: u64, whole: u64) -> u64 {
    match count.checked_mul(part) {
        // Many times faster than 128 bits, and nearly always sufficient.
        Some(product) => product / whole,
        None => narrow(u128::from(count) * u128::from(part) / u128::from(whole)),
    }
}

fn ceil_ratio(count: u64, part: u64, whole: u64) -> u64 {
    match count.checked_mul(part) {
        Some(product) => product.div_ceil(whole),
        None => narrow((u128::from(count) * u128::from(part)).div_ceil(u128::from(whole))),
    }
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).expect("counts and spans are bounded far below 2^64")
}
