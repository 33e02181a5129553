//! Cron, interval and one-off slots, each turned into one durable run across a fleet.

#[cfg(all(test, feature = "redis", not(target_family = "wasm")))]
mod differential;
pub(crate) mod memory;
mod model;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;
