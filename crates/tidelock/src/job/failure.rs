//! What a handler reports about its failure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::store::FailureCode;
use crate::error::{BoxError, Error};
use crate::handover::{MAX_ERROR, cut, in_one_line};
use crate::time::{TEN_YEARS, whole_millis};

/// Why a run ended without a result, and what to do about it.
///
/// Any error converts into one with `?`, which means: a failed run, retried with the job's backoff as long as attempts
/// are left.
pub struct JobError {
    /// `None` if nothing went wrong and the job is to run again later.
    error: Option<BoxError>,
    pub(crate) remedy: Remedy,
}

/// The treatment of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    ByBackoff,
    /// Due again this long after now, in milliseconds.
    After(u64),
    /// The same, and failures are counted from zero again.
    Reschedule(u64),
    /// The job ends.
    End(FailureCode),
}

impl JobError {
    /// No retry can help: the job ends as failed with code `FATAL`.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self { error: Some(error.into()), remedy: Remedy::End(FailureCode::Fatal) }
    }

    /// A failure like any other, but the next run is due after exactly `delay`, regardless of the backoff. More than 10
    /// years counts as 10 years.
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        Self { error: Some(error.into()), remedy: Remedy::After(millis(delay)) }
    }

    /// Not a failure: the job runs again after `delay`, with its failures and crashes counted from 0. More than 10
    /// years counts as 10 years.
    pub fn reschedule(delay: Duration) -> Self {
        Self { error: None, remedy: Remedy::Reschedule(millis(delay)) }
    }

    /// Ends the job with this code.
    #[cfg(target_family = "wasm")]
    pub(crate) fn ending(code: FailureCode, error: impl Into<BoxError>) -> Self {
        Self { error: Some(error.into()), remedy: Remedy::End(code) }
    }

    /// A memo does not decode to the requested type.
    pub(crate) fn undecodable(error: Error) -> Self {
        Self { error: Some(error.into()), remedy: Remedy::End(FailureCode::Undecodable) }
    }

    /// The original error; a reschedule has none.
    pub fn error(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.error.as_deref()
    }

    /// The error and its causes, as stored.
    pub(crate) fn text(&self) -> Arc<str> {
        self.error.as_ref().map_or_else(|| "".into(), |error| cut(&in_one_line(error), MAX_ERROR))
    }
}

fn millis(delay: Duration) -> u64 {
    whole_millis(delay.min(TEN_YEARS))
}

impl<E: Into<BoxError>> From<E> for JobError {
    fn from(error: E) -> Self {
        Self { error: Some(error.into()), remedy: Remedy::ByBackoff }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, self.remedy) {
            (Some(error), _) => error.fmt(f),
            (None, Remedy::Reschedule(delay)) => write!(f, "to be run again in {:?}", Duration::from_millis(delay)),
            (None, _) => f.write_str("failed"),
        }
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobError").field("error", &self.error).field("remedy", &self.remedy).finish()
    }
}
