//! What `on_retry` sees.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A retry that was decided, before its pause begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Retrying<'a, E> {
    /// The number of the attempt that failed, from 1.
    pub attempt: u32,
    /// What it returned; `None` if it was cut off.
    pub error: Option<&'a E>,
    /// The pause that begins now.
    pub delay: Duration,
    /// Time since the first poll of the call.
    pub elapsed: Duration,
}

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

/// Sees the retries of a call: [`Unobserved`], or the closure given to `on_retry`.
pub trait Observe<E> {
    fn retrying(&mut self, retrying: &Retrying<'_, E>);
}

impl<E> Observe<E> for Unobserved {
    fn retrying(&mut self, _: &Retrying<'_, E>) {}
}

impl<E, N: FnMut(&Retrying<'_, E>)> Observe<E> for N {
    fn retrying(&mut self, retrying: &Retrying<'_, E>) {
        if catch_unwind(AssertUnwindSafe(|| self(retrying))).is_err() {
            tracing::warn!(attempt = retrying.attempt, "on_retry panicked; the call goes on");
        }
    }
}
