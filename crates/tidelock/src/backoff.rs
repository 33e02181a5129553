//! Backoff: growing, capped, jittered pauses. The one formula behind every repeat in the library.

use std::time::Duration;

use crate::check;
use crate::error::{Error, Result};
use crate::time::{HOUR, SECOND};

/// How long to wait before something that failed is retried.
///
/// After failure `n` (from 1) the pause is `c = min(max, base * factor^(n-1))`, drawn uniformly from
/// `c * (1 - jitter) ..= min(max, c * (1 + jitter))`. The cap is applied after the jitter, so no pause exceeds `max`,
/// and pauses at the cap still spread below it instead of piling up there: callers that failed together do not come
/// back together. The spread follows "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
///
/// Values out of range are refused by the builder that receives the backoff.
///
/// ```
/// use tidelock::{Backoff, MINUTE, SECOND};
///
/// let growing = Backoff::exponential(SECOND).max(5 * MINUTE); // 1 s, 2 s, 4 s, … each ±20 %
/// let steady = Backoff::fixed(30 * SECOND).jitter(0.5); // 15 s to 45 s
/// # let _ = (growing, steady);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    base: Duration,
    /// If not set: an hour, or the base if that is longer.
    max: Option<Duration>,
    factor: f64,
    jitter: Jitter,
}

/// How pauses are jittered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Jitter {
    /// Around the pause, by this fraction of it.
    Around(f64),
    /// Anywhere between zero and the pause.
    Full,
}

/// The limits that a builder sets for a backoff, and its names for the two durations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) base: &'static str,
    pub(crate) max: &'static str,
    pub(crate) longest: Duration,
    pub(crate) steepest: f64,
}

/// The parts of a backoff.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parts {
    pub(crate) base: Duration,
    pub(crate) max: Option<Duration>,
    pub(crate) factor: f64,
    /// `None`: full jitter, anywhere between zero and the pause.
    pub(crate) jitter: Option<f64>,
}

impl Backoff {
    /// The same pause after every failure, with jitter.
    pub const fn fixed(pause: Duration) -> Self {
        Self { base: pause, max: None, factor: 1.0, jitter: Jitter::Around(0.2) }
    }

    /// `base` after the first failure, then multiplied by the factor (default 2) after each further one.
    pub const fn exponential(base: Duration) -> Self {
        Self { base, max: None, factor: 2.0, jitter: Jitter::Around(0.2) }
    }

    /// The longest pause. Default 1 h, or the base if that is longer; not below the base.
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self
    }

    /// Growth per failure, at least 1. Default 2; 1 for [`Backoff::fixed`].
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The spread around the pause, as a fraction of it: 0..=1. Default 0.2.
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = Jitter::Around(jitter);
        self
    }

    pub(crate) const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Draws each pause between zero and its cap: the widest spread.
    pub(crate) const fn full_jitter(mut self) -> Self {
        self.jitter = Jitter::Full;
        self
    }

    /// Rejects values outside `limits`, as options of a builder.
    pub(crate) fn check(&self, limits: &Limits) -> Result<()> {
        self.check_as(Error::configuration, limits)
    }

    /// As [`check`](Self::check), with the kind of error given: `Error::configuration` for builders, `Error::argument`
    /// for calls.
    pub(crate) fn check_as(&self, error: fn(String) -> Error, limits: &Limits) -> Result<()> {
        let Limits { base, max, longest, steepest } = *limits;
        check::range(error, base, self.base, Duration::ZERO, longest)?;
        check::range(error, max, self.cap(), self.base, longest)?;
        check::parts(error, "factor", self.factor, 1.0, steepest)?;
        match self.jitter {
            Jitter::Around(jitter) => check::parts(error, "jitter", jitter, 0.0, 1.0),
            Jitter::Full => Ok(()),
        }
    }

    /// The parts of the backoff, for storage.
    pub(crate) fn parts(&self) -> Parts {
        let jitter = match self.jitter {
            Jitter::Around(jitter) => Some(jitter),
            Jitter::Full => None,
        };
        Parts { base: self.base, max: self.max, factor: self.factor, jitter }
    }

    pub(crate) fn from_parts(parts: Parts) -> Self {
        let Parts { base, max, factor, jitter } = parts;
        Self { base, max, factor, jitter: jitter.map_or(Jitter::Full, Jitter::Around) }
    }

    /// The pause after failure number `failures` (from 1). `random` is drawn uniformly from `0.0..1.0`.
    pub(crate) fn delay(&self, failures: u32, random: f64) -> Duration {
        let cap = nanos(self.cap());
        let pause = (nanos(self.base) * power(self.factor, failures.saturating_sub(1))).min(cap);
        let (low, high) = match self.jitter {
            Jitter::Around(jitter) => (pause * (1.0 - jitter), (pause * (1.0 + jitter)).min(cap)),
            Jitter::Full => (0.0, pause),
        };
        from_nanos(low + (high - low) * random).min(self.cap())
    }

    /// A pause of at least `wish`: jitter only adds to it.
    pub(crate) fn no_earlier_than(&self, wish: Duration, random: f64) -> Duration {
        let spread = match self.jitter {
            Jitter::Around(jitter) => jitter,
            Jitter::Full => 1.0,
        };
        wish.saturating_add(from_nanos(nanos(wish) * spread * random))
    }

    fn cap(&self) -> Duration {
        self.max.unwrap_or(self.base.max(HOUR))
    }
}

/// `factor^exponent` by squaring: unlike `powi` and `powf`, the same bits on every target. Saturates at `f64::MAX`,
/// so that nothing times a power is ever NaN.
fn power(factor: f64, mut exponent: u32) -> f64 {
    let (mut result, mut square) = (1.0_f64, factor);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = (result * square).min(f64::MAX);
        }
        square = (square * square).min(f64::MAX);
        exponent >>= 1;
    }
    result
}

/// Exact for whole nanoseconds up to 104 days; beyond that, better than a microsecond.
fn nanos(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a pause needs no more than 53 bits")]
    let nanos = duration.as_nanos() as f64;
    nanos
}

fn from_nanos(nanos: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let nanos = nanos.round() as u64;
    Duration::from_nanos(nanos)
}

/// The pauses between the library's own retries of one request. They double up to the longest, and each is drawn from
/// the upper half of its cap, since the request is wanted soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// For requests that a caller waits for through an outage.
    pub(crate) const OUTAGE: Self = Self::new(Duration::from_millis(100), SECOND);

    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// Returns the next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let cap = self.next;
        self.next = (cap * 2).min(self.longest);
        spread(cap)
    }
}

/// The pause after `failures` consecutive failures of something that is retried for ever.
pub(crate) fn pause_after(failures: u32) -> Duration {
    spread((Duration::from_millis(50) * 2_u32.saturating_pow(failures.min(5))).min(SECOND))
}

/// Draws from the upper half, so that requests that failed together are not retried together.
pub(crate) fn spread(cap: Duration) -> Duration {
    cap.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{SECOND, TEN_YEARS};

    const DEFAULT: Backoff = Backoff::exponential(Duration::from_millis(100)).max(Duration::from_secs(2));

    #[test]
    fn without_jitter_the_pauses_are_exact() {
        let exact = DEFAULT.jitter(0.0);
        let pauses: Vec<_> = (1..=7).map(|failures| exact.delay(failures, 0.7).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(exact.delay(1, 0.3), Duration::from_millis(100));
    }

    #[test]
    fn pauses_at_the_cap_spread_below_it() {
        let mut random = fastrand::Rng::with_seed(7);
        let pauses: Vec<_> = (0..10_000).map(|_| DEFAULT.delay(40, random.f64())).collect();
        let (low, high) = (Duration::from_millis(1_600), Duration::from_secs(2));
        assert!(pauses.iter().all(|pause| (low..=high).contains(pause)));
        assert!(pauses.iter().filter(|pause| **pause == high).count() <= 100);
        for tenth in 0..10 {
            let from = low + Duration::from_millis(40) * tenth;
            let inside = |pause: &&Duration| (from..from + Duration::from_millis(40)).contains(*pause);
            let share = pauses.iter().filter(inside).count();
            assert!((800..1_200).contains(&share), "tenth {tenth} of the spread has {share} of 10,000 pauses");
        }
    }

    #[test]
    fn full_jitter_draws_from_nothing_to_the_pause() {
        let full = DEFAULT.full_jitter();
        assert_eq!(full.delay(3, 0.0), Duration::ZERO);
        assert_eq!(full.delay(3, 0.5), Duration::from_millis(200));
        assert!(full.delay(3, 1.0 - f64::EPSILON) <= Duration::from_millis(400));
    }

    #[test]
    fn a_wish_is_a_lower_bound() {
        let wish = Duration::from_millis(700);
        assert_eq!(DEFAULT.no_earlier_than(wish, 0.0), wish);
        assert_eq!(DEFAULT.no_earlier_than(wish, 0.5), Duration::from_millis(770));
        assert_eq!(DEFAULT.full_jitter().no_earlier_than(wish, 0.5), Duration::from_millis(1_050));
        assert_eq!(DEFAULT.no_earlier_than(Duration::MAX, 0.5), Duration::MAX);
    }

    #[test]
    fn an_hour_is_the_cap_unless_the_base_is_longer() {
        assert_eq!(Backoff::exponential(SECOND).jitter(0.0).delay(30, 0.0), HOUR);
        assert_eq!(Backoff::fixed(5 * HOUR).jitter(0.0).delay(30, 0.0), 5 * HOUR);
    }

    #[test]
    fn values_outside_the_limits_are_refused_with_the_value() {
        let limits = Limits { base: "min_delay", max: "max_delay", longest: TEN_YEARS, steepest: 1_000.0 };
        let refused = |backoff: Backoff| backoff.check(&limits).unwrap_err().to_string();
        assert!(refused(DEFAULT.factor(f64::NAN)).contains("factor must be 1..=1000, but is NaN"));
        assert!(refused(DEFAULT.factor(0.9)).contains("0.9"));
        assert!(refused(DEFAULT.factor(f64::INFINITY)).contains("inf"));
        assert!(refused(DEFAULT.jitter(-0.1)).contains("-0.1"));
        assert!(refused(DEFAULT.jitter(f64::NAN)).contains("NaN"));
        assert!(refused(DEFAULT.max(Duration::from_millis(99))).contains("max_delay must be 100ms"));
        assert!(refused(DEFAULT.base(TEN_YEARS + SECOND)).contains("min_delay must be 0ns"));
        assert!(DEFAULT.max(TEN_YEARS).check(&limits).is_ok());
    }

    proptest! {
        #[test]
        fn no_pause_is_outside_its_bounds(
            base in 0..=TEN_YEARS.as_nanos(),
            more in 0..=TEN_YEARS.as_nanos(),
            factor in 1.0..=1_000.0_f64,
            jitter in 0.0..=1.0_f64,
            full: bool,
            failures in prop_oneof![1..100_u32, Just(2_000), Just(u32::MAX)],
            random in 0.0..1.0_f64,
        ) {
            let base = Duration::from_nanos(u64::try_from(base).unwrap());
            let max = (base + Duration::from_nanos(u64::try_from(more).unwrap())).min(TEN_YEARS);
            let backoff = Backoff::exponential(base).max(max).factor(factor).jitter(jitter);
            let backoff = if full { backoff.full_jitter() } else { backoff };
            prop_assert!(backoff.delay(failures, random) <= max);
            prop_assert_eq!(backoff.base(Duration::ZERO).delay(failures, random), Duration::ZERO);
        }
    }
}
