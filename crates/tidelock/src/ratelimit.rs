//! May this identifier do this now?

pub(crate) mod memory;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;

/// A verdict.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Zero when not limited.
    pub retry_after: std::time::Duration,
}

/// Builder.
#[derive(Debug)]
pub struct RateLimiterBuilder;

impl RateLimiterBuilder {
    pub(crate) fn new(_tide: &crate::Tidelock, _id: &str) -> Self {
        Self
    }
}
