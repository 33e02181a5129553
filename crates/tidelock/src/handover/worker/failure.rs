//! What a handler reports about its failure.

use std::fmt;
use std::time::Duration;

use crate::error::BoxError;

/// Why a handler failed, and what to do about it.
///
/// Any error converts into one with `?`, which means: retry with the worker's backoff.
pub struct HandlerError {
    pub(crate) error: BoxError,
    pub(crate) remedy: Remedy,
}

/// The treatment of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    ByBackoff,
    After(Duration),
    None,
}

impl HandlerError {
    /// No retry can help: the message becomes a dead letter.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), remedy: Remedy::None }
    }

    /// The message is to be delivered again after `delay` (at most the handle's `max_nack_delay`), regardless of the
    /// backoff.
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        Self { error: error.into(), remedy: Remedy::After(delay) }
    }

    pub(crate) fn text(&self) -> String {
        in_one_line(&self.error)
    }
}

/// An error and its causes, in one line.
pub(crate) fn in_one_line(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors already include their cause.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl<E: Into<BoxError>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { error: error.into(), remedy: Remedy::ByBackoff }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("error", &self.error).field("remedy", &self.remedy).finish()
    }
}
