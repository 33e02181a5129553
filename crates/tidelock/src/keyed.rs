//! One leased, revisioned store of records by key, below registry and ephemeral: every change is an event of one log.

pub(crate) mod store;
