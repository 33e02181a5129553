//! The guide: getting started, how to choose, a page for each primitive, and operations. Every example runs as a test.

// In the repository, the pages link to each other's files through definitions at their ends. Here, other definitions
// are put before those and take precedence: a new link between pages needs a line in `guide_links.md`.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod front_page {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/getting-started.md")]
pub mod getting_started {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/choosing.md")]
pub mod choosing {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/cron.md")]
pub mod cron {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/ephemeral.md")]
pub mod ephemeral {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/job.md")]
pub mod job {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/mutex.md")]
pub mod mutex {}

#[cfg(feature = "tls")]
#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/operations.md")]
pub mod operations {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/queue.md")]
pub mod queue {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/ratelimit.md")]
pub mod ratelimit {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/registry.md")]
pub mod registry {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/retry.md")]
pub mod retry {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/scheduler.md")]
pub mod scheduler {}

#[doc = include_str!("guide_links.md")]
#[doc = include_str!("../guide/topic.md")]
pub mod topic {}
