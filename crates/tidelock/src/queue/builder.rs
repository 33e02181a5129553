//! Defining a queue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::store::Place;
use super::{Queue, receivers};
use crate::check;
use crate::codec::{Border, Codec, Value};
use crate::error::{BoxError, Error, Result};
use crate::handover::Terms;
use crate::name::Address;
use crate::request::cloned;
use crate::tidelock::{Tidelock, World};
use crate::time::{DAY, SECOND, TEN_YEARS, whole_millis};

/// The options of a handle, checked.
#[derive(Debug)]
pub(crate) struct Options<T> {
    pub(crate) border: Border<T>,
    pub(crate) max_age: Option<u64>,
    pub(crate) retention: Option<u64>,
    pub(crate) max_nack_delay: Duration,
    pub(crate) max_depth: Option<u64>,
    /// The terms of a receive without options of its own.
    pub(crate) terms: Arc<Terms>,
}

/// Defines a queue: options with defaults, checked by [`build`](QueueBuilder::build).
///
/// No option is stored as a setting of the queue: each request uses those of its own handle, so handles with different
/// options can use the same queue. Durations are in whole milliseconds, fractions rounded up; the longest is 10 years.
#[must_use = "a builder does nothing until it is built"]
pub struct QueueBuilder<T> {
    world: Arc<World>,
    address: Address,
    border: Border<T>,
    lease: Duration,
    max_deliveries: Option<u64>,
    max_age: Option<Duration>,
    retention: Option<Duration>,
    max_nack_delay: Duration,
    max_depth: Option<u64>,
    place: Place,
}

impl<T> QueueBuilder<T> {
    pub(crate) fn new(tide: &Tidelock, id: &str) -> Self {
        Self {
            world: Arc::clone(&tide.world),
            address: Address::new(&tide.tenant, id),
            border: Border::new(131_072),
            lease: 30 * SECOND,
            max_deliveries: Some(10),
            max_age: Some(7 * DAY),
            retention: Some(7 * DAY),
            max_nack_delay: 7 * DAY,
            max_depth: None,
            place: Place::Original,
        }
    }

    /// How long a received message belongs to its consumer: 1 ms..=10 years, default 30 s. A receive may ask for its
    /// own lease.
    ///
    /// Workers and prefetching streams renew their leases, and need at least 100 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often a message is delivered at most: 1..=2^53−1 or `None`, default 10. A delivery that was given back
    /// unused does not count.
    pub fn max_deliveries(mut self, max: impl Into<Option<u64>>) -> Self {
        self.max_deliveries = max.into();
        self
    }

    /// How long a message may stay unfinished, from its first due time: 1 ms..=10 years or `None`, default 7 days.
    /// After that it becomes a dead letter. Stored with the message when it is sent.
    pub fn max_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_age = age.into();
        self
    }

    /// How long a dead letter is kept: 1 ms..=10 years or `None` (until removed), default 7 days. Stored with the
    /// message when it is sent.
    pub fn dead_letter_retention(mut self, retention: impl Into<Option<Duration>>) -> Self {
        self.retention = retention.into();
        self
    }

    /// The maximum size of value and metadata of one message: 1..=16 MiB, default 131,072 bytes.
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.border.limit = bytes;
        self
    }

    /// The longest delay of a nack: 0..=10 years, default 7 days. A longer one is refused; a worker's is cut to this.
    pub fn max_nack_delay(mut self, max: Duration) -> Self {
        self.max_nack_delay = max;
        self
    }

    /// Sends that would exceed this number of ready and delayed messages are refused (*capacity reached*): 1..=2^53−1
    /// or `None`, default `None`. Returned messages are never refused.
    pub fn max_depth(mut self, max: impl Into<Option<u64>>) -> Self {
        self.max_depth = max.into();
        self
    }

    /// The place of a returned message without ordering key. Default: its original place.
    pub fn redelivery(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// How values are encoded. Default JSON.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.border.codec = codec;
        self
    }

    /// A check of values: a value that fails it is refused before anything is sent.
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
    /// Fails with *invalid configuration* if the id is not 1..=256 bytes without NUL, or an option is out of its range.
    pub fn build(self) -> Result<Queue<T>>
    where
        T: Value,
    {
        self.check_options().map_err(|error| error.in_context(format_args!("queue {:?}", self.address.id)))?;
        let terms = Terms {
            lease: whole_millis(self.lease),
            consumer: Arc::clone(&self.world.process),
            max_deliveries: self.max_deliveries,
            place: self.place,
            reader: None,
        };
        let receivers = receivers(&self.world, &self.address);
        let options = Options {
            border: self.border,
            max_age: self.max_age.map(whole_millis),
            retention: self.retention.map(whole_millis),
            max_nack_delay: self.max_nack_delay,
            max_depth: self.max_depth,
            terms: Arc::new(terms),
        };
        Ok(Queue { options: Arc::new(options), receivers })
    }

    fn check_options(&self) -> Result<()> {
        self.address.check_built()?;
        check::lasting(Error::configuration, "lease", self.lease)?;
        check::lasting(Error::configuration, "max_age", self.max_age)?;
        check::lasting(Error::configuration, "dead_letter_retention", self.retention)?;
        check::range(Error::configuration, "max_nack_delay", self.max_nack_delay, Duration::ZERO, TEN_YEARS)?;
        self.border.check_limit()?;
        check::count("max_deliveries", self.max_deliveries)?;
        check::count("max_depth", self.max_depth)
    }
}

cloned!(QueueBuilder<T> {
    world, address, border, lease, max_deliveries, max_age, retention, max_nack_delay, max_depth, place,
});

impl<T> fmt::Debug for QueueBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { tenant, id } = &self.address;
        f.debug_struct("QueueBuilder").field("id", id).field("tenant", tenant).finish_non_exhaustive()
    }
}
