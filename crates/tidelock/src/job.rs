//! Durable background work.

mod ears;
pub(crate) mod memory;
mod model;
pub(crate) mod store;

pub use self::store::{FailureCode, JobFilter, JobState, RetryReason, Totals};
