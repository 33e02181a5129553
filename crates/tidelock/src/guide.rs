//! The guide: a page for each primitive, whose examples are compiled and run as tests.

#[doc = include_str!("../../../docs/guide/ratelimit.md")]
pub mod ratelimit {}
