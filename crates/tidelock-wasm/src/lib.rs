//! The browser binding of Tidelock: the layer below the TypeScript of the npm package `tidelock`.
//!
//! It translates values, promises, signals and callbacks; the behaviour is the library's. A call runs as far as it can
//! before it returns: it returns its answer, or a `Waiting` for one that comes later. Errors are thrown, with the kind
//! of the library's error as `kind`.
//!
//! Numbers are JavaScript numbers: times are in milliseconds, and NaN stands for *not given*.
#![cfg(target_family = "wasm")]

mod call;
mod error;
mod following;
mod given;
mod job;
mod keyed;
mod listed;
mod number;
mod optional;
mod page;
mod queue;
mod ratelimit;
mod retry;
mod scheduler;
mod tenants;
mod topic;

pub use call::Waiting;
pub use job::{RawJob, RawJobDelivery, RawJobEvents, RawJobReader, RawRun};
pub use keyed::{RawEphemeral, RawFollower, RawRegistry};
pub use queue::{RawBatch, RawDeadLetters, RawQueue};
pub use ratelimit::{RawLimits, RawWindow};
pub use retry::{RawRetry, RawRetryBudget};
pub use scheduler::{RawScheduler, Surface, mapped, wrong_cron, wrong_zone};
pub use tenants::digest;
pub use topic::{RawLive, RawTopic, RawTopicReader};

use wasm_bindgen::JsValue;

/// The TypeScript layer has already rejected values that are too large.
const PAYLOAD_LIMIT: usize = usize::MAX;

/// A value, which was passed in as text.
fn text(value: &[u8]) -> JsValue {
    JsValue::from_str(&String::from_utf8_lossy(value))
}
