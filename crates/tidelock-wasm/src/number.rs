//! Numbers of JavaScript, which were checked before they came here.

use std::time::Duration;

/// Milliseconds that were given.
pub(crate) fn millis(ms: f64) -> Option<Duration> {
    count(ms).map(Duration::from_millis)
}

/// A whole number that was given; parts of one are rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is out of range saturates")]
pub(crate) fn count(number: f64) -> Option<u64> {
    (!number.is_nan()).then(|| number.ceil() as u64)
}

/// Milliseconds of a time; parts of one are rounded up.
pub(crate) fn js_millis(time: Duration) -> f64 {
    js(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// A number of the library, which stays below 2^53.
#[expect(clippy::cast_precision_loss, reason = "numbers and instants of the library stay below 2^53")]
pub(crate) fn js(number: u64) -> f64 {
    number as f64
}
