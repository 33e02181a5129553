//! An event log: consumer groups at least once, live followers, replay.

pub(crate) mod memory;
mod model;
pub(crate) mod store;
