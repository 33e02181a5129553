//! JavaScript numbers, which the TypeScript layer has already checked.

use std::time::Duration;

/// Milliseconds; `None` if not given.
pub(crate) fn millis(ms: f64) -> Option<Duration> {
    count(ms).map(Duration::from_millis)
}

/// A whole number, rounded up; `None` if not given.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is out of range saturates")]
pub(crate) fn count(number: f64) -> Option<u64> {
    (!number.is_nan()).then(|| number.ceil() as u64)
}

/// A duration in milliseconds, rounded up.
pub(crate) fn js_millis(time: Duration) -> f64 {
    js(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// A number of the library, which is below 2^53.
#[expect(clippy::cast_precision_loss, reason = "numbers and instants of the library stay below 2^53")]
pub(crate) fn js(number: u64) -> f64 {
    number as f64
}
