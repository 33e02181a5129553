//! Each message to one consumer.

mod cursor;
#[cfg(all(test, feature = "redis"))]
mod differential;
pub(crate) mod memory;
mod model;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;

/// Builder.
#[derive(Debug)]
pub struct QueueBuilder<T>(std::marker::PhantomData<T>);

impl<T> QueueBuilder<T> {
    pub(crate) fn new(_tide: &crate::Tidelock, _id: &str) -> Self {
        Self(std::marker::PhantomData)
    }
}
