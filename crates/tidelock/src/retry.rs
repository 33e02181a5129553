//! Run an operation again, well.

pub(crate) mod memory;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;
