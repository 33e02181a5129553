//! One leased, revisioned store of records by key, below registry and ephemeral: every change is an event of one log.

#[cfg(all(test, feature = "redis", not(target_family = "wasm")))]
mod differential;
pub(crate) mod memory;
pub(crate) mod model;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;
