//! The guide: a page for each primitive. Every example in it runs as a test.

#[doc = include_str!("../../../docs/guide/mutex.md")]
pub mod mutex {}

#[doc = include_str!("../../../docs/guide/queue.md")]
pub mod queue {}

#[doc = include_str!("../../../docs/guide/ratelimit.md")]
pub mod ratelimit {}

#[doc = include_str!("../../../docs/guide/retry.md")]
pub mod retry {}
