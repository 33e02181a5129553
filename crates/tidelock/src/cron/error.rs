//! Errors in a cron text, with their positions.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

/// A field of a cron expression. Displayed as in error messages: `day-of-month`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CronField {
    /// 0 to 59; only in expressions of six fields.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12, or JAN to DEC.
    Month,
    /// 0 to 7, or SUN to SAT; 0 and 7 are Sunday.
    DayOfWeek,
}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day-of-month",
            Self::Month => "month",
            Self::DayOfWeek => "day-of-week",
        })
    }
}

/// Why a cron expression or the name of a time zone was refused.
///
/// The message names the field, the part of the text and its byte position. Where the library returns its own
/// [`Error`], this is its source, and the kind is [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    message: String,
    field: Option<CronField>,
    position: usize,
}

impl CronError {
    pub(super) fn new(field: Option<CronField>, position: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), field, position }
    }

    /// The invalid field; `None` if the text as a whole or the time zone is invalid.
    pub fn field(&self) -> Option<CronField> {
        self.field
    }

    /// Where the invalid part begins: a byte offset into the original text.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.position)
    }
}

impl StdError for CronError {}

impl From<CronError> for Error {
    fn from(error: CronError) -> Self {
        Self::argument(error.to_string()).with_source(error)
    }
}
