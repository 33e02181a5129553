//! `RetryPolicy`: how often, how long and with which pauses.

use std::time::Duration;

use crate::backoff::{Backoff, Limits};
use crate::check;
use crate::error::{Error, Result};
use crate::time::{MINUTE, TEN_YEARS};

/// The limits and pauses of a retried call. A plain value: create it once, use it for any number of calls.
///
/// After failure `k` the pause is `c = min(max_delay, min_delay * factor^(k-1))`, drawn uniformly from
/// `c * (1 - jitter) ..= min(max_delay, c * (1 + jitter))`.
///
/// ```
/// use std::time::Duration;
/// use tidelock::{RetryPolicy, SECOND};
///
/// # fn main() -> tidelock::Result<()> {
/// let patient = RetryPolicy::builder().unlimited().deadline(60 * SECOND).max_delay(5 * SECOND).build()?;
/// let quick = RetryPolicy::builder().attempts(3).attempt_timeout(Duration::from_millis(200)).build()?;
/// # let _ = (patient, quick);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    pub(crate) attempts: Option<u32>,
    pub(crate) backoff: Backoff,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_hint: Duration,
}

impl RetryPolicy {
    /// 8 attempts; pauses from 100 ms, doubling up to 2 s, ±20 %; no time limit; hints honoured up to 1 min.
    pub const DEFAULT: Self = Self {
        attempts: Some(8),
        backoff: Backoff::exponential(Duration::from_millis(100)).max(Duration::from_secs(2)),
        attempt_timeout: None,
        deadline: None,
        max_hint: MINUTE,
    };

    /// Starts from [`RetryPolicy::DEFAULT`].
    pub const fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder { policy: Self::DEFAULT }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Defines a [`RetryPolicy`].
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RetryPolicyBuilder {
    policy: RetryPolicy,
}

impl RetryPolicyBuilder {
    /// The number of attempts, including the first; at least 1. Default 8.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = Some(attempts);
        self
    }

    /// No limit on attempts: only a deadline, a budget, a stop or a permanent error ends the call.
    pub const fn unlimited(mut self) -> Self {
        self.policy.attempts = None;
        self
    }

    /// The pause after the first failure, before jitter: 0..=10 years. Default 100 ms.
    pub const fn min_delay(mut self, delay: Duration) -> Self {
        self.policy.backoff = self.policy.backoff.base(delay);
        self
    }

    /// The longest computed pause, including jitter: `min_delay`..=10 years. Default 2 s. Only a hint may exceed it.
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.policy.backoff = self.policy.backoff.max(delay);
        self
    }

    /// Growth of the pause per failure: 1..=1,000. Default 2.
    pub const fn factor(mut self, factor: f64) -> Self {
        self.policy.backoff = self.policy.backoff.factor(factor);
        self
    }

    /// Spread around the pause as a fraction of it: 0..=1. Default 0.2.
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.policy.backoff = self.policy.backoff.jitter(jitter);
        self
    }

    /// Draws each pause from zero up to its computed length, instead of from a range around it.
    pub const fn full_jitter(mut self) -> Self {
        self.policy.backoff = self.policy.backoff.full_jitter();
        self
    }

    /// Cuts an attempt off after this time, which counts as a transient failure: 1 ms..=10 years. Default none.
    ///
    /// The attempt's future is dropped.
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.policy.attempt_timeout = Some(timeout);
        self
    }

    /// The whole call, including pauses, ends this long after its first poll: 1 ms..=10 years. Default none.
    ///
    /// A pause that would reach the deadline is cut to half of the time that is left, for one final attempt.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.policy.deadline = Some(deadline);
        self
    }

    /// The longest pause that a server may ask for: 0..=10 years. Default 1 min.
    ///
    /// If the server asks for more, the call gives up at once and leaves the decision to the caller.
    pub const fn max_hint(mut self, hint: Duration) -> Self {
        self.policy.max_hint = hint;
        self
    }

    /// Creates the policy.
    ///
    /// Values out of range are refused as [`InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration).
    pub fn build(self) -> Result<RetryPolicy> {
        const LIMITS: Limits = Limits { base: "min_delay", max: "max_delay", longest: TEN_YEARS, steepest: 1_000.0 };
        let policy = self.policy;
        if let Some(attempts) = policy.attempts {
            check::range(Error::configuration, "attempts", attempts, 1, u32::MAX)?;
        }
        policy.backoff.check(&LIMITS)?;
        check::lasting(Error::configuration, "attempt_timeout", policy.attempt_timeout)?;
        check::lasting(Error::configuration, "deadline", policy.deadline)?;
        check::range(Error::configuration, "max_hint", policy.max_hint, Duration::ZERO, TEN_YEARS)?;
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::time::{DAY, HOUR};

    #[test]
    fn values_out_of_range_are_refused_with_the_value() {
        let build = RetryPolicy::builder;
        let cases = [
            (build().attempts(0), "attempts must be 1..=4294967295, but is 0"),
            (build().min_delay(HOUR), "max_delay must be 3600s..=315360000s, but is 2s"),
            (build().max_delay(3_651 * DAY), "but is 315446400s"),
            (build().factor(f64::NAN), "factor must be 1..=1000, but is NaN"),
            (build().factor(f64::INFINITY), "but is inf"),
            (build().factor(0.5), "but is 0.5"),
            (build().factor(1_000.1), "but is 1000.1"),
            (build().jitter(f64::NAN), "jitter must be 0..=1, but is NaN"),
            (build().jitter(-0.5), "but is -0.5"),
            (build().jitter(1.5), "but is 1.5"),
            (build().attempt_timeout(Duration::from_micros(999)), "attempt_timeout must be 1ms"),
            (build().deadline(Duration::ZERO), "deadline must be 1ms..=315360000s, but is 0ns"),
            (build().max_hint(Duration::MAX), "max_hint must be 0ns..=315360000s"),
        ];
        for (builder, expected) in cases {
            let error = builder.build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
            assert!(error.to_string().contains(expected), "{error} does not contain {expected}");
        }
    }

    #[test]
    fn the_ends_of_the_ranges_are_allowed() {
        let widest = RetryPolicy::builder().attempts(u32::MAX).min_delay(TEN_YEARS).max_delay(TEN_YEARS);
        assert!(widest.factor(1_000.0).jitter(1.0).deadline(TEN_YEARS).max_hint(TEN_YEARS).build().is_ok());
        let narrowest = RetryPolicy::builder().attempts(1).min_delay(Duration::ZERO).max_delay(Duration::ZERO);
        let millisecond = Duration::from_millis(1);
        assert!(narrowest.factor(1.0).jitter(0.0).deadline(millisecond).max_hint(Duration::ZERO).build().is_ok());
        assert_eq!(RetryPolicy::builder().build().unwrap(), RetryPolicy::default());
    }
}
