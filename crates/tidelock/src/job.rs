//! Durable background work.

#[cfg(all(test, feature = "redis"))]
mod differential;
mod ears;
pub(crate) mod memory;
mod model;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod store;

pub use self::store::{FailureCode, JobFilter, JobState, RetryReason, Totals};
