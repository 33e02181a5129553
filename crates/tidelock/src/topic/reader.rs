//! Readers of a group: the builder, and the source of deliveries.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::dead::DeadLetters;
use super::event::{EventDelivery, Gap, GroupEvent, Item, RawEvent};
use super::receive::{Deliveries, Recv, RecvMany, TryRecv};
use super::store::{Begin, Handed, Position, ReaderTerms, Settle, Settled, Take, Taken, TopicStore};
use super::{Start, Topic};
use crate::bell::Bell;
use crate::check;
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::handover::store as handover;
use crate::handover::{
    Ack as Commit, AckMany as CommitMany, Bury, GiveBack, Held, Nack, Object, Opening, Receipt, Receivers, Settlement,
    Source, Terms, Touch,
};
use crate::name::{self, Address};
use crate::request::cloned;
use crate::runtime::BoxFuture;
use crate::time::{DAY, MINUTE, TEN_YEARS, whole_millis};
use crate::topic::store::GapView;

/// The options of a reader, checked.
#[derive(Debug)]
struct Options {
    /// The terms of a receive that sets no options of its own.
    terms: Arc<Terms>,
    max_nack_delay: Duration,
}

/// Defines a reader of a group: options with defaults, checked by [`build`](ReaderBuilder::build).
///
/// Readers of one group may have different options: each receive uses those of its own reader. Durations are in whole
/// milliseconds, fractions rounded up; the longest is 10 years.
#[must_use = "a builder does nothing until it is built"]
pub struct ReaderBuilder<T> {
    topic: Topic<T>,
    group: Arc<str>,
    start: Start,
    lease: Duration,
    max_deliveries: Option<u64>,
    max_in_flight: u64,
    ordered: bool,
    retention: Option<Duration>,
    max_nack_delay: Duration,
}

impl<T: Value> ReaderBuilder<T> {
    pub(crate) fn new(topic: &Topic<T>, group: &str) -> Self {
        Self {
            topic: topic.clone(),
            group: group.into(),
            start: Start::Earliest,
            lease: MINUTE,
            max_deliveries: Some(10),
            max_in_flight: 10_000,
            ordered: true,
            retention: Some(7 * DAY),
            max_nack_delay: 7 * DAY,
        }
    }

    /// Where the group begins if it does not exist yet; default [`Start::Earliest`]. It does not move an existing
    /// group.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How long a delivered event belongs to its reader: 1 ms..=10 years, default 60 s. A receive may ask for its own
    /// lease.
    ///
    /// Workers and prefetching streams renew their leases, and need at least 100 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often an event is delivered to the group at most: 1..=2^53−1 or `None`, default 10. A delivery that was
    /// given back unused does not count.
    pub fn max_deliveries(mut self, max: impl Into<Option<u64>>) -> Self {
        self.max_deliveries = max.into();
        self
    }

    /// This reader takes no new event while this many events of the group are in flight or waiting: 1..=100,000,
    /// default 10,000.
    pub fn max_in_flight(mut self, events: u64) -> Self {
        self.max_in_flight = events;
        self
    }

    /// Whether this reader respects ordering keys; default `true`. With `false` it takes events of a key even while
    /// earlier ones are unfinished.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// How long a dead letter of the group is kept: 1 ms..=10 years or `None` (until removed), default 7 days.
    pub fn dead_letter_retention(mut self, retention: impl Into<Option<Duration>>) -> Self {
        self.retention = retention.into();
        self
    }

    /// The longest delay of a nack: 0..=10 years, default 7 days. A longer one is refused; a worker's is cut to it.
    pub fn max_nack_delay(mut self, max: Duration) -> Self {
        self.max_nack_delay = max;
        self
    }

    /// Checks the options and creates the handle. Does no I/O.
    ///
    /// Fails with *invalid configuration* if the name of the group is not 1..=256 bytes without NUL, an option is out
    /// of its range, or `start` is a cursor of another topic.
    pub fn build(self) -> Result<Reader<T>> {
        let Self { topic, group, .. } = &self;
        let site = &topic.site;
        let called = format!("reader of group {group:?} of topic {:?}", site.address.id);
        let begin = self.check().map_err(|error| error.in_context(called))?;
        let reader = ReaderTerms {
            begin,
            max_in_flight: self.max_in_flight,
            ordered: self.ordered,
            dead_retention: self.retention.map(whole_millis),
        };
        let terms = Terms {
            lease: whole_millis(self.lease),
            consumer: Arc::clone(&site.world.process),
            max_deliveries: self.max_deliveries,
            reader: Some(Arc::new(reader)),
            ..Terms::default()
        };
        let object = Object::Group(Arc::clone(group));
        let receivers = site.world.receivers.get_or_insert(&(site.address.clone(), object.clone()), || {
            let (store, address) = (Arc::clone(&site.store), site.address.clone());
            let source = Hands { store, address: address.clone(), group: Arc::clone(group), seen: Arc::default() };
            Receivers::new(&site.world, address, object, Box::new(source))
        });
        let options = Options { terms: Arc::new(terms), max_nack_delay: self.max_nack_delay };
        Ok(Reader { options: Arc::new(options), receivers, topic: self.topic, group: self.group })
    }

    fn check(&self) -> Result<Begin> {
        const CONFIGURATION: fn(String) -> Error = Error::configuration;
        name::check(CONFIGURATION, "group", &self.group, name::MAX_ID)?;
        check::lasting(CONFIGURATION, "lease", self.lease)?;
        check::lasting(CONFIGURATION, "dead_letter_retention", self.retention)?;
        check::range(CONFIGURATION, "max_nack_delay", self.max_nack_delay, Duration::ZERO, TEN_YEARS)?;
        check::count("max_deliveries", self.max_deliveries)?;
        check::range(CONFIGURATION, "max_in_flight", self.max_in_flight, 1, 100_000)?;
        let foreign = |_| Error::configuration(format!("start {:?} is of another topic or tenant", self.start));
        self.topic.site.begin(self.start).map_err(foreign)
    }
}

cloned!(ReaderBuilder<T> {
    topic, group, start, lease, max_deliveries, max_in_flight, ordered, retention, max_nack_delay,
});

impl<T> fmt::Debug for ReaderBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderBuilder").field("topic", &self.topic).field("group", &self.group).finish_non_exhaustive()
    }
}

/// A handle to one group of a topic: readers with the same group, in any process, share its events. Cloned freely.
///
/// Created by [`Topic::reader`]. The first receive creates the group unless it exists.
pub struct Reader<T> {
    pub(super) topic: Topic<T>,
    group: Arc<str>,
    options: Arc<Options>,
    pub(super) receivers: Arc<Receivers>,
}

impl<T> Reader<T> {
    /// The name of the group.
    pub fn group(&self) -> &str {
        &self.group
    }

    pub(super) fn group_name(&self) -> &Arc<str> {
        &self.group
    }
}

impl<T: Value> Reader<T> {
    /// The events that ended in this group without a commit.
    pub fn dead_letters(&self) -> DeadLetters<T> {
        DeadLetters::of(self)
    }

    /// Waits for one event.
    pub fn recv(&self) -> Recv<T> {
        Recv::new(self)
    }

    /// Takes one event if one is deliverable now.
    pub fn try_recv(&self) -> TryRecv<T> {
        TryRecv::new(self)
    }

    /// Waits for the first event and takes up to `max` (1..=1,000) that are deliverable then.
    pub fn recv_many(&self, max: usize) -> RecvMany<T> {
        RecvMany::new(self, max)
    }

    /// A stream of events as they arrive.
    pub fn stream(&self) -> Deliveries<T> {
        Deliveries::new(self)
    }

    /// Commits the delivery of a receipt.
    pub fn commit(&self, receipt: &Receipt) -> Commit {
        Commit::new(self.settlement(receipt))
    }

    /// Commits the deliveries of up to 1,000 receipts.
    pub fn commit_many(&self, receipts: &[Receipt]) -> CommitMany {
        CommitMany::new(&self.receivers.site, receipts)
    }

    /// Nacks the delivery of a receipt.
    pub fn nack(&self, receipt: &Receipt) -> Nack {
        Nack::new(self.settlement(receipt))
    }

    /// Restarts the lease of a receipt's delivery.
    pub fn touch(&self, receipt: &Receipt) -> Touch {
        Touch::new(self.settlement(receipt))
    }

    /// Moves the event of a receipt to this group's dead letters.
    pub fn dead_letter(&self, receipt: &Receipt, reason: &str) -> Bury {
        Bury::new(self.settlement(receipt), reason)
    }

    /// Returns the event of a receipt unused.
    pub fn give_back(&self, receipt: &Receipt) -> GiveBack {
        GiveBack::new(self.settlement(receipt))
    }

    fn settlement(&self, receipt: &Receipt) -> Settlement {
        Settlement::by(&self.receivers.site, receipt, self.options.max_nack_delay)
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            group: Arc::clone(&self.group),
            options: Arc::clone(&self.options),
            receivers: Arc::clone(&self.receivers),
        }
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("topic", &self.topic).field("group", &self.group).finish_non_exhaustive()
    }
}

impl<T: Value> Opening for Reader<T> {
    type Value = T;
    type Item = Item<EventDelivery<T>>;

    fn receivers(&self) -> &Arc<Receivers> {
        &self.receivers
    }

    fn terms(&self) -> &Arc<Terms> {
        &self.options.terms
    }

    fn max_nack_delay(&self) -> Duration {
        self.options.max_nack_delay
    }

    fn decode(&self, bytes: &[u8]) -> Result<T> {
        self.topic.options.border.decode(bytes)
    }

    fn item(&self, value: T, handed: handover::Handed, held: Arc<Held>) -> Self::Item {
        Item::Event(EventDelivery::new(GroupEvent::new(self.topic.site.owner, value, handed, held)))
    }

    fn undecodable(&self, handed: handover::Handed, error: &Error) -> Option<Self::Item> {
        let raw = RawEvent::new(self.topic.site.owner, handed.position, handed.content, error.to_string());
        Some(Item::Undecodable(raw))
    }

    fn gap(&self, gap: GapView) -> Option<Self::Item> {
        Some(Item::Gap(Gap::new(self.topic.site.owner, gap)))
    }
}

/// The source of a group's deliveries.
#[derive(Debug)]
struct Hands {
    store: Arc<dyn TopicStore>,
    address: Address,
    group: Arc<str>,
    /// Where this process last saw the group.
    seen: Arc<Mutex<Option<Position>>>,
}

impl Source for Hands {
    fn is_local(&self) -> bool {
        self.store.is_local()
    }

    fn take(&self, terms: &Terms, max: usize, park: bool) -> BoxFuture<'static, Result<handover::Taken>> {
        let Terms { lease, max_deliveries, .. } = *terms;
        let reader = terms.reader.clone().expect("a reader's terms say how its group is read");
        let seen = *self.seen.lock().expect("no code panics while it holds this lock");
        let consumer = Arc::clone(&terms.consumer);
        let take = Take { max, lease, consumer, max_deliveries, park, reader, seen };
        let taking = self.store.take(&self.address, &self.group, take);
        let seen = Arc::clone(&self.seen);
        Box::pin(async move {
            let Taken { gap, events, seen: now_seen, next } = taking.await?;
            if let Some(now_seen) = now_seen {
                *seen.lock().expect("no code panics while it holds this lock") = Some(now_seen);
            }
            let messages = events.into_iter().map(message).collect();
            Ok(handover::Taken { gap, messages, next, ended: false })
        })
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.store.settle(&self.address, &self.group, settles)
    }

    fn bell(&self) -> Arc<Bell> {
        self.store.bell(&self.address, Some(&self.group))
    }
}

/// Converts an event for the hand-over.
fn message(event: Handed) -> handover::Handed {
    let Handed { place, fence, attempt, last_error, content } = event;
    handover::Handed {
        id: place.at,
        fence,
        attempt,
        priority: 0,
        enqueued_at: place.at / 1_000,
        position: place,
        run: None,
        event: None,
        last_error,
        content,
    }
}
