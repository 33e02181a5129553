//! The builder of an ephemeral store.

use std::fmt;
use std::time::Duration;

use super::Ephemeral;
use crate::check;
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::keyed::builder::{Setup, shared_options};
use crate::keyed::store::Kind;
use crate::request::cloned;
use crate::tidelock::Tidelock;

/// Defines an ephemeral store: options with defaults, checked by [`build`](EphemeralBuilder::build). Only the
/// [`ttl`](EphemeralBuilder::ttl) has no default.
///
/// The bounds on entries and events are stored with the store itself: those of the handle that wrote last are in force
/// for everybody. Durations are in whole milliseconds, fractions rounded up; the longest is 10 years.
#[must_use = "a builder does nothing until it is built"]
pub struct EphemeralBuilder<T> {
    setup: Setup<T>,
    ttl: Option<Duration>,
}

impl<T> EphemeralBuilder<T> {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        Self { setup: Setup::new(tide, Kind::Ephemeral, id, 4_096), ttl: None }
    }

    /// How long a record lives after an upsert that has no ttl of its own: 1 ms..=10 years. Required.
    ///
    /// A default of this handle: it does not change existing records.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The maximum size of an encoded value: 1..=16,777,216 bytes, default 4,096.
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.setup.border.limit = bytes;
        self
    }

    shared_options!(setup);

    /// Checks the options and creates the handle. Does no I/O.
    ///
    /// Fails with *invalid configuration* if there is no ttl, the id is not 1..=256 bytes without NUL, or an option is
    /// out of its range.
    pub fn build(self) -> Result<Ephemeral<T>>
    where
        T: Value,
    {
        let Self { setup, ttl } = self;
        let checked = match ttl {
            Some(ttl) => check::lasting(Error::configuration, "ttl", ttl),
            None => Err(Error::configuration("ttl is required: every record of an ephemeral store has an end")),
        };
        checked.map_err(|error| setup.context(error))?;
        Ok(Ephemeral { handle: setup.build(ttl)? })
    }
}

cloned!(EphemeralBuilder<T> { setup, ttl });

impl<T> fmt::Debug for EphemeralBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EphemeralBuilder")
            .field("id", &self.setup.object.address.id)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
