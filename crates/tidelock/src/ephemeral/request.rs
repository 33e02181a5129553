//! Requests of an ephemeral store: what its methods return, run when awaited.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Value;
use crate::error::Result;
use crate::keyed::entry::Entry;
use crate::keyed::handle::{Encoded, Handle, ttl_millis};
use crate::keyed::site::Call;
use crate::keyed::store::Life;
use crate::request::{awaitable, opaque};

/// Stores a value under a key, whatever is there. Resolves to [`Entry`].
///
/// It sets value, ttl and deadline; `created_at` is kept while the record lives. Dropping the future withdraws it
/// unless it was sent.
#[must_use = "nothing is stored until it is awaited"]
pub struct Upsert<T> {
    handle: Handle<T>,
    key: Arc<str>,
    value: Encoded,
    ttl: Option<Duration>,
}

impl<T: Value> Upsert<T> {
    pub(crate) fn new(handle: &Handle<T>, key: &str, value: &T) -> Self {
        Self { handle: handle.clone(), key: key.into(), value: handle.encode(value), ttl: None }
    }

    /// How long the record lives unless it is touched: 1 ms..=10 years, default that of the handle.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    async fn run(self) -> Result<Entry<T>> {
        let Self { handle, key, value, ttl } = self;
        let call = Call::on("upsert", &key);
        handle.site.check_key(&call)?;
        let ttl = ttl.map(ttl_millis).transpose().map_err(|error| handle.site.context(&call, error))?;
        let ttl = ttl.or(handle.options.ttl).expect("an ephemeral handle is built with a ttl");
        handle.upsert(&call, &key, value, Life::For(ttl)).await
    }
}

/// Reads the record of a key. Resolves to `Option<Entry<T>>`; `None` if there is no live one.
///
/// A record that cannot be decoded is an error of kind *decode*, whose [`raw`](crate::Error::raw) returns its bytes.
/// Dropping the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct Get<T> {
    handle: Handle<T>,
    key: Arc<str>,
}

impl<T: Value> Get<T> {
    pub(crate) fn new(handle: &Handle<T>, key: &str) -> Self {
        Self { handle: handle.clone(), key: key.into() }
    }

    async fn run(self) -> Result<Option<Entry<T>>> {
        self.handle.get(&Call::on("get", &self.key), &self.key, false).await
    }
}

awaitable! {
    Upsert<T> => Entry<T>;
    Get<T> => Option<Entry<T>>;
}

opaque!(Upsert, Get);
