//! One holder per resource.

pub(crate) mod memory;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;

/// Not acquired.
#[derive(Clone, Debug)]
pub struct NotAcquired {}

/// Builder.
#[derive(Debug)]
pub struct MutexBuilder;

impl MutexBuilder {
    pub(crate) fn new(_tide: &crate::Tidelock, _id: &str) -> Self {
        Self
    }
}
