//! The guide: one page per primitive. Every example in it runs as a test.

pub mod retry {
    #![doc = include_str!("../../../docs/guide/retry.md")]
}
