//! Guides: how to use each primitive well. Their code runs as tests.

#[doc = include_str!("../../../docs/guide/queue.md")]
pub mod queue {}
