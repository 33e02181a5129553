//! What the builders of registries and ephemeral stores have in common.

use std::sync::Arc;
use std::time::Duration;

use super::handle::{Handle, Options};
use super::site::Site;
use super::store::{Bounds, Kind, Object};
use crate::backend::most;
use crate::check;
use crate::codec::Border;
use crate::error::{Error, Result};
use crate::name::Address;
use crate::request::cloned;
use crate::tidelock::{Tidelock, World};
use crate::time::{MINUTE, whole_millis};

/// Options with their defaults, before validation.
pub(crate) struct Setup<T> {
    world: Arc<World>,
    pub(crate) object: Object,
    pub(crate) border: Border<T>,
    pub(crate) max_entries: u64,
    pub(crate) event_retention: Duration,
    pub(crate) max_events: u64,
    pub(crate) max_event_bytes: u64,
    pub(crate) tombstone_retention: Duration,
}

cloned!(Setup<T> {
    world, object, border, max_entries, event_retention, max_events, max_event_bytes,
    tombstone_retention,
});

impl<T> Setup<T> {
    pub(crate) fn new(tide: &Tidelock, kind: Kind, id: &str, payload_limit: usize) -> Self {
        Self {
            world: Arc::clone(&tide.world),
            object: Object { kind, address: Address::new(&tide.tenant, id) },
            border: Border::new(payload_limit),
            max_entries: 10_000,
            event_retention: 5 * MINUTE,
            max_events: 50_000,
            max_event_bytes: 64 << 20,
            tombstone_retention: 5 * MINUTE,
        }
    }

    /// Adds the kind and id of the object to an error.
    pub(crate) fn context(&self, error: Error) -> Error {
        error.in_context(format_args!("{} {:?}", self.object.kind.word(), self.object.address.id))
    }

    /// Checks the options and makes the handle.
    pub(crate) fn build(self, ttl: Option<Duration>) -> Result<Handle<T>> {
        self.check().map_err(|error| self.context(error))?;
        let bounds = Bounds {
            max_entries: self.max_entries,
            event_retention: whole_millis(self.event_retention),
            max_events: self.max_events,
            max_event_bytes: self.max_event_bytes,
            tombstone_retention: whole_millis(self.tombstone_retention),
        };
        let options = Options { border: self.border, bounds, ttl: ttl.map(whole_millis) };
        Ok(Handle { site: Site::at(&self.world, &self.object), options: Arc::new(options) })
    }

    fn check(&self) -> Result<()> {
        self.object.address.check_built()?;
        let number = |option: &str, value, min, max| check::range(Error::configuration, option, value, min, max);
        number("max_entries", self.max_entries, 1, most(1_000_000))?;
        number("payload_limit", self.border.limit as u64, 1, most(16 << 20))?;
        check::lasting(Error::configuration, "event_retention", self.event_retention)?;
        number("max_events", self.max_events, 1, most(10_000_000))?;
        number("max_event_bytes", self.max_event_bytes, 1 << 20, 4 << 30)?;
        check::lasting(Error::configuration, "tombstone_retention", self.tombstone_retention)
    }
}

/// The options that both builders have.
macro_rules! shared_options {
    ($setup:ident) => {
        /// The maximum number of active records: 1..=1,000,000, default 10,000. A new key beyond it is refused
        /// (*capacity reached*); a change of an active record never is. Stored with the object.
        pub fn max_entries(mut self, max: u64) -> Self {
            self.$setup.max_entries = max;
            self
        }

        /// How long an event can be read after it was written: 1 ms..=10 years, default 5 min. Stored with the object.
        pub fn event_retention(mut self, retention: Duration) -> Self {
            self.$setup.event_retention = retention;
            self
        }

        /// The number of newest events that can be read: 1..=10,000,000, default 50,000. Touches do not count. Stored
        /// with the object.
        pub fn max_events(mut self, max: u64) -> Self {
            self.$setup.max_events = max;
            self
        }

        /// The total size of the values of events that can be read: 1 MiB..=4 GiB, default 64 MiB. Stored with the
        /// object.
        pub fn max_event_bytes(mut self, max: u64) -> Self {
            self.$setup.max_event_bytes = max;
            self
        }

        /// How values are encoded. Default JSON.
        pub fn codec(mut self, codec: $crate::Codec) -> Self {
            self.$setup.border.codec = codec;
            self
        }

        /// A check of each value before it is encoded; a refused value is an error of kind *validation*, and nothing is
        /// sent.
        pub fn check<E: Into<$crate::BoxError>>(
            mut self,
            check: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
        ) -> Self {
            self.$setup.border.set_check(check);
            self
        }

        /// Validates values with their `garde::Validate`.
        #[cfg(feature = "garde")]
        pub fn check_garde(self) -> Self
        where
            T: garde::Validate<Context = ()>,
        {
            self.check(|value: &T| value.validate())
        }
    };
}

pub(crate) use shared_options;
