//! An event log: consumer groups at least once, live followers, replay.

pub(crate) mod store;
