//! One leased, revisioned store of records by key, below registry and ephemeral: every change is an event of one log.

pub(crate) mod builder;
pub(crate) mod change;
pub(crate) mod cursor;
#[cfg(all(test, feature = "redis", not(target_family = "wasm")))]
mod differential;
pub(crate) mod entry;
pub(crate) mod event;
pub(crate) mod follower;
pub(crate) mod handle;
pub(crate) mod key;
pub(crate) mod look;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod observe;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod site;
mod snapshot;
pub(crate) mod store;
