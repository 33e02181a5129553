//! The guide: one page per primitive. Every example in it runs as a test.

pub mod mutex {
    #![doc = include_str!("../../../docs/guide/mutex.md")]
}
