//! What `on_retry` observes, and what is reported to `metrics` with that feature.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::GaveUp;
use crate::counters::Counters;

/// A retry that was decided, before its pause begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Retrying<'a, E> {
    /// The number of the attempt that failed, from 1.
    pub attempt: u32,
    /// Its error; `None` if it was cut off.
    pub error: Option<&'a E>,
    /// The pause that begins now.
    pub delay: Duration,
    /// Time since the first poll of the call.
    pub elapsed: Duration,
}

/// No observer.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

/// Observes the retries of a call: [`Unobserved`], or the closure passed to `on_retry`.
pub trait Observe<E> {
    fn retrying(&mut self, retrying: &Retrying<'_, E>);
}

impl<E> Observe<E> for Unobserved {
    fn retrying(&mut self, _: &Retrying<'_, E>) {}
}

impl<E, N: FnMut(&Retrying<'_, E>)> Observe<E> for N {
    fn retrying(&mut self, retrying: &Retrying<'_, E>) {
        if catch_unwind(AssertUnwindSafe(|| self(retrying))).is_err() {
            tracing::warn!(attempt = retrying.attempt, "on_retry panicked; the call continues");
        }
    }
}

// For all calls of the process: a retried call has no name.
static ATTEMPTS: Counters<1> = Counters::new();
static RETRIES: Counters<1> = Counters::new();
/// By reason.
static GAVE_UP: Counters<{ GaveUp::ShuttingDown as usize + 1 }> = Counters::new();

/// Called when an attempt begins.
pub(super) fn attempted() {
    ATTEMPTS.add(0, 1, || Some(("tidelock.retry.attempts".into(), Vec::new())));
}

/// Called when an attempt has failed and will be retried.
pub(super) fn retried() {
    RETRIES.add(0, 1, || Some(("tidelock.retry.retries".into(), Vec::new())));
}

/// Called when a call has given up.
pub(super) fn gave_up(reason: GaveUp) {
    let word = match reason {
        GaveUp::NotRetryable => "not_retryable",
        GaveUp::Attempts => "attempts",
        GaveUp::Deadline => "deadline",
        GaveUp::HintTooLong => "hint_too_long",
        GaveUp::Budget => "budget",
        GaveUp::Stopped => "stopped",
        GaveUp::ShuttingDown => "shutting_down",
    };
    let called = || Some(("tidelock.retry.gave_up".into(), vec![("reason", word.into())]));
    GAVE_UP.add(reason as usize, 1, called);
}
