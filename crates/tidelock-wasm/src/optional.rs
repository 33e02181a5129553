//! Options of a request that may not be given.

/// Sets options that are there.
pub(crate) trait Optional: Sized {
    /// With this option, if there is a value for it.
    fn with<V>(self, value: Option<V>, set: impl FnOnce(Self, V) -> Self) -> Self {
        match value {
            Some(value) => set(self, value),
            None => self,
        }
    }
}

impl<R> Optional for R {}
