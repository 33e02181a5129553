//! What a backend must do for this primitive.

/// The store.
pub(crate) trait QueueStore: std::fmt::Debug + Send + Sync {}
