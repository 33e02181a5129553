//! What a backend must do for this primitive.

/// The store.
pub(crate) trait RatelimitStore: std::fmt::Debug + Send + Sync {}
