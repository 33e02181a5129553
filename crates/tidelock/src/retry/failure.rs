//! `RetryError`: the information about a call that gave up.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::time::millis;

/// Why a call gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GaveUp {
    /// The error is permanent.
    NotRetryable,
    /// The last allowed attempt failed.
    Attempts,
    /// The deadline has passed, or leaves no time for another attempt.
    Deadline,
    /// The server asked for a longer pause than the policy allows.
    HintTooLong,
    /// The retry budget is exhausted.
    Budget,
    /// The stop future resolved.
    Stopped,
    /// The `Tidelock` was shut down.
    ShuttingDown,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRetryable => "not retryable",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::HintTooLong => "hint too long",
            Self::Budget => "budget",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting down",
        })
    }
}

/// A call that gave up, with everything known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetryError<E> {
    /// The last error that the operation returned, unchanged, even if later attempts were cut off. `None` if it never
    /// returned one.
    pub error: Option<E>,
    /// The number of attempts started; with unlimited attempts it stops at 2^32-1.
    pub attempts: u32,
    /// Time since the first poll. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub elapsed: Duration,
    /// Why the call gave up.
    pub reason: GaveUp,
    /// Whether the last attempt was cut off by `attempt_timeout` or `deadline`.
    pub timed_out: bool,
}

impl<E> RetryError<E> {
    /// The last error of the operation.
    pub fn into_error(self) -> Option<E> {
        self.error
    }

    /// `gave up after 3 attempts in 1.2 s (deadline)`
    fn summary(&self) -> impl fmt::Display {
        let Self { attempts, elapsed, reason, .. } = *self;
        fmt::from_fn(move |f| {
            write!(f, "gave up after {attempts} attempt{}", if attempts == 1 { "" } else { "s" })?;
            if elapsed < Duration::from_secs(1) {
                write!(f, " in {} ms ({reason})", elapsed.as_millis())
            } else {
                write!(f, " in {:.1} s ({reason})", elapsed.as_secs_f64())
            }
        })
    }
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None if self.timed_out => f.write_str(": the attempt was cut off"),
            None => Ok(()),
        }
    }
}

impl<E: StdError + 'static> StdError for RetryError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.as_ref().map(|error| error as &(dyn StdError + 'static))
    }
}

/// The last error itself, with the number of attempts in its message. Without one, *timeout* if the attempt was cut
/// off, and *shutting down* if the call was stopped.
impl From<RetryError<Error>> for Error {
    fn from(failed: RetryError<Error>) -> Self {
        let summary = failed.summary().to_string();
        match failed.error {
            Some(error) if failed.attempts <= 1 => error,
            Some(error) => error.in_context(summary),
            None if matches!(failed.reason, GaveUp::Stopped | GaveUp::ShuttingDown) => {
                Self::new(ErrorKind::ShuttingDown, summary)
            }
            None => Self::new(ErrorKind::Timeout, summary),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn failed<E>(error: Option<E>, millis: u64, attempts: u32, reason: GaveUp) -> RetryError<E> {
        let timed_out = error.is_none() && reason == GaveUp::Deadline;
        RetryError { error, attempts, elapsed: Duration::from_millis(millis), reason, timed_out }
    }

    #[test]
    fn it_prints_what_happened() {
        let error = failed(Some(io::Error::other("no route")), 1_234, 3, GaveUp::Deadline);
        assert_eq!(error.to_string(), "gave up after 3 attempts in 1.2 s (deadline): no route");
        assert_eq!(error.source().unwrap().to_string(), "no route");
        let error = failed::<io::Error>(None, 80, 1, GaveUp::Deadline);
        assert_eq!(error.to_string(), "gave up after 1 attempt in 80 ms (deadline): the attempt was cut off");
        assert!(error.source().is_none());
        let error = failed::<io::Error>(None, 0, 0, GaveUp::Stopped);
        assert_eq!(error.to_string(), "gave up after 0 attempts in 0 ms (stopped)");
    }

    #[test]
    fn it_becomes_an_error_of_this_library() {
        let last = || Error::new(ErrorKind::RateLimited, "mail");
        let error = Error::from(failed(Some(last()), 1_200, 3, GaveUp::Attempts));
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::RateLimited, true));
        assert_eq!(error.to_string(), "rate limited: gave up after 3 attempts in 1.2 s (attempts): mail");
        let error = Error::from(failed(Some(last()), 0, 1, GaveUp::NotRetryable));
        assert_eq!(error.to_string(), "rate limited: mail");
        assert_eq!(Error::from(failed(None, 9, 2, GaveUp::Deadline)).kind(), ErrorKind::Timeout);
        assert_eq!(Error::from(failed(None, 9, 0, GaveUp::Stopped)).kind(), ErrorKind::ShuttingDown);
        assert_eq!(Error::from(failed(None, 9, 1, GaveUp::ShuttingDown)).kind(), ErrorKind::ShuttingDown);
    }
}
