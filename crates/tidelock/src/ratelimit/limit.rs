//! Limits, and validated sets of them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::store::{Algorithm, Rule};
use crate::check;
use crate::error::{Error, Result};
use crate::time::{DAY, HOUR, MINUTE, SECOND, TEN_YEARS};

/// Maximum of a limit or burst.
const MAX_UNITS: u64 = 1_000_000_000_000;
/// Maximum number of limits that are checked together.
const MAX_LIMITS: usize = 8;
/// Maximum length of a limit's name, in bytes.
const MAX_NAME: usize = 64;

/// One limit: a number of units per window, counted by one of three algorithms.
///
/// | algorithm | in a window W it admits | state | choose it |
/// |---|---|---|---|
/// | sliding (default) | the limit per clock-aligned window, less the weighted remainder of the previous one; in any span W up to nearly twice, spread over it | two counts | unless there is a reason not to |
/// | [`fixed`](Self::fixed) | the limit in each clock-aligned window, so up to twice the limit around a boundary | one count | for quotas that reset on the hour or at midnight (UTC) |
/// | [`token_bucket`](Self::token_bucket) | `burst + t · limit / W` in any span `t` | used tokens | for single-digit limits, and to allow bursts over an even rate |
///
/// A limit is a plain value. It is checked when a [`Limits`] or a limiter is created from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    units: u64,
    window: Duration,
    algorithm: Algorithm,
    burst: Option<u64>,
    name: Option<String>,
}

impl Limit {
    /// `limit` units per second, sliding; 1..=10^12.
    pub fn new(limit: u64) -> Self {
        Self { units: limit, window: SECOND, algorithm: Algorithm::Sliding, burst: None, name: None }
    }

    /// `limit` units per second.
    pub fn per_second(limit: u64) -> Self {
        Self::new(limit)
    }

    /// `limit` units per minute.
    pub fn per_minute(limit: u64) -> Self {
        Self::new(limit).window(MINUTE)
    }

    /// `limit` units per hour.
    pub fn per_hour(limit: u64) -> Self {
        Self::new(limit).window(HOUR)
    }

    /// `limit` units per day of 24 hours.
    pub fn per_day(limit: u64) -> Self {
        Self::new(limit).window(DAY)
    }

    /// The length of the window: whole milliseconds, 1 ms..=10 years. Default 1 s.
    ///
    /// Windows are aligned to the Unix epoch. For a token bucket it is the time in which `limit` tokens are refilled,
    /// evenly.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The name of the limit in reports: 1..=64 of `A-Z a-z 0-9 _ . -`. Default: algorithm and window, such as
    /// `sliding-60s`.
    ///
    /// Counts do not depend on it: a renamed limit keeps its counts.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Counts each clock-aligned window separately.
    pub fn fixed(mut self) -> Self {
        self.algorithm = Algorithm::Fixed;
        self
    }

    /// Counts used tokens, which are refilled evenly (GCRA).
    pub fn token_bucket(mut self) -> Self {
        self.algorithm = Algorithm::TokenBucket;
        self
    }

    /// The capacity of the bucket: 1..=10^12 tokens, default `limit`. Token bucket only.
    pub fn burst(mut self, capacity: u64) -> Self {
        self.burst = Some(capacity);
        self
    }

    fn check(&self) -> Result<(Rule, Arc<str>)> {
        let checked =
            |option: &str, value: u64| check::range(Error::configuration, option, value, 1, MAX_UNITS).map(|()| value);
        let limit = checked("limit", self.units)?;
        let capacity = match self.burst {
            None => limit,
            Some(burst) if self.algorithm == Algorithm::TokenBucket => checked("burst", burst)?,
            Some(burst) => {
                let text = format!("burst belongs to a token bucket, but burst {burst} was given to another limit");
                return Err(Error::configuration(text));
            }
        };
        let window = check_window(self.window)?;
        let name = match &self.name {
            None => default_name(self.algorithm, window).into(),
            Some(name) => check_name(name)?,
        };
        Ok((Rule { algorithm: self.algorithm, window, limit, capacity }, name))
    }
}

fn check_window(window: Duration) -> Result<u64> {
    let millis = window.as_millis();
    let whole = window.subsec_nanos().is_multiple_of(1_000_000);
    match u64::try_from(millis) {
        Ok(millis) if whole && millis >= 1 && window <= TEN_YEARS => Ok(millis),
        _ => Err(Error::configuration(format!(
            "window must be whole milliseconds, 1ms..={TEN_YEARS:?}, but is {window:?}"
        ))),
    }
}

fn check_name(name: &str) -> Result<Arc<str>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name.into());
    }
    Err(Error::configuration(format!("name of a limit must be 1..={MAX_NAME} of A-Z a-z 0-9 _ . -, but is {name:?}")))
}

fn default_name(algorithm: Algorithm, window: u64) -> String {
    let algorithm = match algorithm {
        Algorithm::Sliding => "sliding",
        Algorithm::Fixed => "fixed",
        Algorithm::TokenBucket => "bucket",
    };
    match window {
        seconds if seconds % 1_000 == 0 => format!("{algorithm}-{}s", seconds / 1_000),
        millis => format!("{algorithm}-{millis}ms"),
    }
}

/// A checked set of 1 to 8 limits that are applied together, all or nothing. Cheap to clone.
///
/// ```
/// use tidelock::ratelimit::{Limit, Limits};
///
/// let free = Limits::new([Limit::per_second(2), Limit::per_day(1_000)])?;
/// assert!(Limits::new([Limit::per_second(2), Limit::per_second(3)]).is_err());
/// # Ok::<(), tidelock::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rules: Vec<Rule>,
    names: Vec<Arc<str>>,
    smallest_capacity: u64,
    scaled: OnceLock<(f64, Vec<Rule>)>,
}

impl Limits {
    /// Checks the limits: 1 to 8, each within its ranges, no two with the same algorithm and window, nor with the same
    /// name. *Invalid configuration* otherwise.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Result<Self> {
        let (mut rules, mut names) = (Vec::<Rule>::new(), Vec::<Arc<str>>::new());
        for limit in limits {
            let (rule, name) = limit.check()?;
            let same = |other: &Rule| other.algorithm == rule.algorithm && other.window == rule.window;
            if rules.iter().any(same) {
                let identity = default_name(rule.algorithm, rule.window);
                return Err(Error::configuration(format!(
                    "limits must differ in algorithm or window, but two are {identity}"
                )));
            }
            if names.contains(&name) {
                return Err(Error::configuration(format!("limits must differ in name, but two are named {name:?}")));
            }
            rules.push(rule);
            names.push(name);
        }
        let count = rules.len();
        match rules.iter().map(|rule| rule.capacity).min() {
            Some(smallest_capacity) if count <= MAX_LIMITS => {
                Ok(Self { inner: Arc::new(Inner { rules, names, smallest_capacity, scaled: OnceLock::new() }) })
            }
            _ => Err(Error::configuration(format!("a limiter must have 1..={MAX_LIMITS} limits, but has {count}"))),
        }
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.inner.rules
    }

    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.inner.names
    }

    /// A cost above this can never pass.
    pub(crate) fn smallest_capacity(&self) -> u64 {
        self.inner.smallest_capacity
    }

    /// The rules with each limit and burst x replaced by `max(1, ceil(x * share))`.
    pub(crate) fn share(&self, share: f64) -> Vec<Rule> {
        let scale = || self.inner.rules.iter().map(|rule| rule_share(rule, share)).collect();
        let (known, rules) = self.inner.scaled.get_or_init(|| (share, scale()));
        // A set of limits is nearly always used by one limiter, so with one share.
        if known.to_bits() == share.to_bits() { rules.clone() } else { scale() }
    }
}

impl PartialEq for Limits {
    fn eq(&self, other: &Self) -> bool {
        self.inner.rules == other.inner.rules && self.inner.names == other.inner.names
    }
}

impl Eq for Limits {}

fn rule_share(rule: &Rule, share: f64) -> Rule {
    Rule { limit: part(rule.limit, share), capacity: part(rule.capacity, share), ..*rule }
}

/// `max(1, ceil(units * share))`. A product that exceeds a whole number only by a rounding error counts as whole: 7 %
/// of 100 are 7.
#[expect(clippy::cast_precision_loss, reason = "units are below 2^53")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of at most 10^12 units")]
fn part(units: u64, share: f64) -> u64 {
    let product = units as f64 * share;
    let nearest = product.round();
    let whole = if (product - nearest).abs() <= product * 4.0 * f64::EPSILON { nearest } else { product.ceil() };
    (whole as u64).clamp(1, units)
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_share_is_rounded_up_and_never_nothing() {
        assert_eq!(part(100, 0.07), 7);
        assert_eq!(part(100, 0.071), 8);
        assert_eq!(part(1, 0.001), 1);
        assert_eq!(part(1_000_000_000_000, 1.0), 1_000_000_000_000);
        assert_eq!(part(3, 1.0 / 3.0), 1);
    }
}
