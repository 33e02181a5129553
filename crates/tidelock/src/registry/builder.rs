//! The builder of a registry.

use std::fmt;
use std::time::Duration;

use super::Registry;
use crate::codec::Value;
use crate::error::Result;
use crate::keyed::builder::{Setup, shared_options};
use crate::keyed::store::Kind;
use crate::request::cloned;
use crate::tidelock::Tidelock;

/// Defines a registry: options with defaults, checked by [`build`](RegistryBuilder::build).
///
/// The bounds on entries, events and tombstones are stored with the registry: those of the handle that wrote last are
/// in force for everybody. Durations are in whole milliseconds, fractions rounded up; the longest is 10 years.
#[must_use = "a builder does nothing until it is built"]
pub struct RegistryBuilder<T> {
    setup: Setup<T>,
}

impl<T> RegistryBuilder<T> {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        Self { setup: Setup::new(tide, Kind::Registry, id, 131_072) }
    }

    /// The maximum size of an encoded value: 1..=16,777,216 bytes, default 131,072.
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.setup.border.limit = bytes;
        self
    }

    /// How long an expired record can still be inspected after its deadline: 1 ms..=10 years, default 5 min. Only the
    /// `max_entries` expired records with the latest deadlines are kept. Stored with the registry.
    pub fn tombstone_retention(mut self, retention: Duration) -> Self {
        self.setup.tombstone_retention = retention;
        self
    }

    shared_options!(setup);

    /// Checks the options and creates the handle. Does no I/O.
    ///
    /// Fails with *invalid configuration* if the id is not 1..=256 bytes without NUL or an option is out of its range.
    pub fn build(self) -> Result<Registry<T>>
    where
        T: Value,
    {
        Ok(Registry { handle: self.setup.build(None)? })
    }
}

cloned!(RegistryBuilder<T> { setup });

impl<T> fmt::Debug for RegistryBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder").field("id", &self.setup.object.address.id).finish_non_exhaustive()
    }
}
