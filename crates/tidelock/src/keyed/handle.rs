//! The common implementation of registry and ephemeral store handles.

use std::fmt;
use std::sync::Arc;

use super::entry::{Entry, Listed, entry};
use super::key::check_prefix;
use super::observe;
use super::site::{Call, Site};
use super::store::{Action, Bounds, Change, Get, Kind, Life, Object, Outcome, RecordView};
use crate::check;
use crate::codec::{Border, Value};
use crate::error::{Error, Result};
use crate::time::whole_millis;

/// The options of a handle, after validation.
#[derive(Debug)]
pub(crate) struct Options<T> {
    pub(crate) border: Border<T>,
    pub(crate) bounds: Bounds,
    /// The default ttl of records; ephemeral stores have one.
    pub(crate) ttl: Option<u64>,
}

/// A handle to one object of values of type `T`.
pub(crate) struct Handle<T> {
    pub(crate) site: Arc<Site>,
    pub(crate) options: Arc<Options<T>>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { site: Arc::clone(&self.site), options: Arc::clone(&self.options) }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.site.object.address;
        f.debug_struct("Handle").field("id", &address.id).field("tenant", &address.tenant).finish_non_exhaustive()
    }
}

impl<T> Handle<T> {
    pub(crate) fn kind(&self) -> Kind {
        self.site.object.kind
    }

    pub(crate) fn with_tenant(&self, tenant: &str) -> Self {
        let Object { kind, address } = &self.site.object;
        let object = Object { kind: *kind, address: address.with_tenant(tenant) };
        Self { site: Site::at(&self.site.world, &object), options: Arc::clone(&self.options) }
    }

    pub(crate) fn check_prefix(&self, call: &Call<'_>, prefix: &str) -> Result<()> {
        check_prefix(self.kind(), prefix).map_err(|error| self.site.context(call, error))
    }

    /// Changes one record.
    pub(crate) async fn change(&self, call: &Call<'_>, key: &Arc<str>, action: Action) -> Result<Outcome> {
        let change = Change { key: Arc::clone(key), action, bounds: self.options.bounds };
        self.site.change(call, change).await
    }

    /// An argument error with the context of the call.
    pub(crate) fn argument(&self, call: &Call<'_>, text: impl Into<String>) -> Error {
        self.site.context(call, Error::argument(text))
    }
}

/// The encoded bytes of a value for a record.
///
/// The value is encoded when the request is created; an error is reported when the request is awaited.
pub(crate) type Encoded = Result<Vec<u8>>;

impl<T: Value> Handle<T> {
    pub(crate) fn encode(&self, value: &T) -> Encoded {
        self.options.border.encode(value)
    }

    /// Checks the encoded bytes; returns them with the value that they decode to.
    pub(crate) fn checked(&self, call: &Call<'_>, encoded: Encoded) -> Result<(Vec<u8>, T)> {
        let checked = encoded.and_then(|bytes| {
            self.options.border.check_size(bytes.len())?;
            // Decode before anything is sent: nothing is stored that this handle could not read back.
            let value = self.options.border.decode(&bytes)?;
            Ok((bytes, value))
        });
        checked.map_err(|error| self.site.context(call, error))
    }

    /// Stores a value unconditionally.
    pub(crate) async fn upsert(&self, call: &Call<'_>, key: &Arc<str>, value: Encoded, life: Life) -> Result<Entry<T>> {
        let (bytes, value) = self.checked(call, value)?;
        match self.change(call, key, Action::Upsert { value: bytes, life }).await? {
            Outcome::Stored(stamp) => Ok(entry(key, value, &stamp, false)),
            _ => Err(self.site.misfit(call)),
        }
    }

    pub(crate) async fn get(&self, call: &Call<'_>, key: &Arc<str>, include_expired: bool) -> Result<Option<Entry<T>>> {
        self.site.check_key(call)?;
        let asking = self.site.store.get(&self.site.object, Get { key: Arc::clone(key), include_expired });
        let record = observe::within(observe::span(&self.site, call), asking).await;
        let record = record.map_err(|error| self.site.context(call, error))?;
        record.map(|record| self.opened(call, record)).transpose()
    }

    /// The entry of a record; a record that cannot be decoded is an error.
    pub(crate) fn opened(&self, call: &Call<'_>, record: RecordView) -> Result<Entry<T>> {
        self.listed(record).into_entry().map_err(|error| self.site.context(call, error))
    }

    pub(crate) fn listed(&self, record: RecordView) -> Listed<T> {
        let listed = Listed::new(&self.options.border, record);
        if let Listed::Raw(raw) = &listed {
            observe::undecodable(&self.site, &raw.key, raw.version.0, &raw.error);
        }
        listed
    }
}

/// Checks a ttl argument and converts it to milliseconds.
pub(crate) fn ttl_millis(ttl: std::time::Duration) -> Result<u64> {
    check::lasting(Error::argument, "ttl", ttl)?;
    Ok(whole_millis(ttl))
}
