//! The guide: a page for each primitive, whose examples are compiled and run as tests.

#[doc = include_str!("../../../docs/guide/retry.md")]
pub mod retry {}
