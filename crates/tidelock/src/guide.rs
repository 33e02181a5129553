//! The guide: a page for each primitive. Every example in it runs as a test.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod front_page {}

#[doc = include_str!("../../../docs/guide/getting-started.md")]
pub mod getting_started {}

#[doc = include_str!("../../../docs/guide/ephemeral.md")]
pub mod ephemeral {}

#[doc = include_str!("../../../docs/guide/job.md")]
pub mod job {}

#[doc = include_str!("../../../docs/guide/mutex.md")]
pub mod mutex {}

#[cfg(feature = "tls")]
#[doc = include_str!("../../../docs/guide/operations.md")]
pub mod operations {}

#[doc = include_str!("../../../docs/guide/queue.md")]
pub mod queue {}

#[doc = include_str!("../../../docs/guide/ratelimit.md")]
pub mod ratelimit {}

#[doc = include_str!("../../../docs/guide/registry.md")]
pub mod registry {}

#[doc = include_str!("../../../docs/guide/retry.md")]
pub mod retry {}

#[doc = include_str!("../../../docs/guide/scheduler.md")]
pub mod scheduler {}

#[doc = include_str!("../../../docs/guide/topic.md")]
pub mod topic {}
