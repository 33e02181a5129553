//! An event log: consumer groups at least once, live followers, replay.

#[cfg(all(test, feature = "redis"))]
mod differential;
pub(crate) mod memory;
mod model;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;
