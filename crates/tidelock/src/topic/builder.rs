//! Defining a topic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Topic;
use super::site::Site;
use super::store::Settings;
use crate::check;
use crate::codec::{Border, Codec, Value};
use crate::error::{BoxError, Error, Result};
use crate::name::Address;
use crate::request::cloned;
use crate::tidelock::{Tidelock, World};
use crate::time::{DAY, whole_millis};

/// The options of a handle, after validation.
#[derive(Debug)]
pub(crate) struct Options<T> {
    pub(crate) border: Border<T>,
    pub(crate) settings: Settings,
}

/// Defines a topic: options with defaults, checked by [`build`](TopicBuilder::build).
///
/// `retention` and `max_len` are stored with the topic by publishing: those of the latest publish are in force for
/// everybody. Durations are in whole milliseconds, fractions rounded up; the longest is 10 years.
#[must_use = "a builder does nothing until it is built"]
pub struct TopicBuilder<T> {
    world: Arc<World>,
    address: Address,
    border: Border<T>,
    retention: Option<Duration>,
    max_len: Option<u64>,
}

impl<T> TopicBuilder<T> {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        Self {
            world: Arc::clone(&tide.world),
            address: Address::new(&tide.tenant, id),
            border: Border::new(131_072),
            retention: Some(7 * DAY),
            max_len: None,
        }
    }

    /// How long an event can be read after its publication: 1 ms..=10 years or `None`, default 7 days.
    pub fn retention(mut self, retention: impl Into<Option<Duration>>) -> Self {
        self.retention = retention.into();
        self
    }

    /// Limits the log to this number of newest events: 1..=2^53−1 or `None`, default `None`.
    pub fn max_len(mut self, events: impl Into<Option<u64>>) -> Self {
        self.max_len = events.into();
        self
    }

    /// The maximum size of value and metadata of one event: 1..=16 MiB, default 131,072.
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.border.limit = bytes;
        self
    }

    /// How values are encoded. Default JSON.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.border.codec = codec;
        self
    }

    /// A check of values: one that fails it is refused before anything is sent.
    pub fn check<E: Into<BoxError>>(mut self, check: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static) -> Self {
        self.border.set_check(check);
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

    /// Checks the options and creates the handle. Does no I/O.
    ///
    /// Fails with *invalid configuration* if the id is not 1..=256 bytes without NUL or an option is out of its range.
    pub fn build(self) -> Result<Topic<T>>
    where
        T: Value,
    {
        self.check_options().map_err(|error| error.in_context(format_args!("topic {:?}", self.address.id)))?;
        let settings = Settings { retention: self.retention.map(whole_millis), max_len: self.max_len };
        let site = Site::at(&self.world, &self.address);
        Ok(Topic { options: Arc::new(Options { border: self.border, settings }), site })
    }

    fn check_options(&self) -> Result<()> {
        self.address.check_built()?;
        check::lasting(Error::configuration, "retention", self.retention)?;
        check::count("max_len", self.max_len)?;
        self.border.check_limit()
    }
}

cloned!(TopicBuilder<T> { world, address, border, retention, max_len });

impl<T> fmt::Debug for TopicBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { tenant, id } = &self.address;
        f.debug_struct("TopicBuilder").field("id", id).field("tenant", tenant).finish_non_exhaustive()
    }
}
