//! What a backend must do for this primitive.

/// The store.
pub(crate) trait MutexStore: std::fmt::Debug + Send + Sync {}
