//! Validation of options and arguments that several primitives share. Errors contain the expected range and the actual
//! value.

use std::fmt::Debug;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::time::TEN_YEARS;

/// The largest number that may be counted: scripts and pages use doubles, which are exact up to here.
pub(crate) const LARGEST: u64 = (1 << 53) - 1;

/// The shortest lease that can be renewed in time.
const SHORTEST_RENEWED: Duration = Duration::from_millis(100);

/// Checks `min <= value <= max` for a whole number or a duration, in builders (`Error::configuration`) and calls
/// (`Error::argument`).
pub(crate) fn range<N: Copy + PartialOrd + Debug>(
    error: fn(String) -> Error,
    option: &str,
    value: N,
    min: N,
    max: N,
) -> Result<()> {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(error(format!("{option} must be {min:?}..={max:?}, but is {value:?}")))
}

/// As [`range`], for a float, which must not be NaN. A whole number is shown without decimals.
pub(crate) fn parts(error: fn(String) -> Error, option: &str, value: f64, min: f64, max: f64) -> Result<()> {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(error(format!("{option} must be {min}..={max}, but is {value}")))
}

/// Checks an optional duration: 1 ms..=10 years.
pub(crate) fn lasting(error: fn(String) -> Error, option: &str, value: impl Into<Option<Duration>>) -> Result<()> {
    match value.into() {
        Some(value) => range(error, option, value, Duration::from_millis(1), TEN_YEARS),
        None => Ok(()),
    }
}

/// Checks an optional count of a builder; `None` means no limit.
pub(crate) fn count(option: &str, value: Option<u64>) -> Result<()> {
    match value {
        Some(value) if !(1..=LARGEST).contains(&value) => {
            Err(Error::configuration(format!("{option} must be 1..={LARGEST} or none, but is {value}")))
        }
        _ => Ok(()),
    }
}

/// Checks that a lease is long enough to be renewed.
pub(crate) fn renewed(error: impl FnOnce(String) -> Error, lease: Duration) -> Result<()> {
    if lease >= SHORTEST_RENEWED {
        return Ok(());
    }
    Err(error(format!("a lease that renews itself must be {SHORTEST_RENEWED:?} or more, but is {lease:?}")))
}

/// Parses a number whose text consists of digits only.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= LARGEST)
}
