//! Each message to one consumer at a time, at least once, in a defined order.
//!
//! A [`Queue`] keeps messages until a consumer has acknowledged them. A received message is on a *lease* (visibility
//! timeout): nobody else gets it until the lease ends, and if it has not been settled by then, it is delivered again.
//! Messages that fail too often or take too long end up, readable, in the [dead letters](Queue::dead_letters).
//!
//! ```
//! use tidelock::{SECOND, Tidelock};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Email {
//!     to: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = Tidelock::in_process();
//! let mail = tide.queue::<Email>("mail").lease(30 * SECOND).max_deliveries(5).build()?;
//!
//! let sent = mail.send(&Email { to: "ada@example.org".into() }).dedup_key("welcome:ada").await?;
//!
//! let delivery = mail.recv().wait(SECOND).await?.expect("it was just sent");
//! assert_eq!(delivery.id(), sent.id);
//! assert_eq!(delivery.to, "ada@example.org"); // a delivery reads as its value
//! assert!(delivery.ack().await?); // `false` would mean that the lease had ended
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | send one, or many, all or nothing | [`send`](Queue::send), [`send_many`](Queue::send_many) |
//! | receive by hand | [`recv`](Queue::recv), [`try_recv`](Queue::try_recv), [`recv_many`](Queue::recv_many), [`stream`](Queue::stream) |
//! | run a handler for each message | [`process`](Queue::process) |
//! | inspect | [`stats`](Queue::stats), [`get`](Queue::get), [`list`](Queue::list), [`peek`](Queue::peek) |
//! | pause or remove | [`pause`](Queue::pause), [`remove`](Queue::remove), [`purge`](Queue::purge), [`delete`](Queue::delete) |
//! | read and requeue what failed | [`dead_letters`](Queue::dead_letters) |
//!
//! # Order
//!
//! Higher priority first; then by the instant at which a message was first due; then by send order. A returned message
//! keeps its place, unless the handle was built with [`Place::Back`]. Messages with the same [ordering
//! key](SendRequest::ordering_key) are delivered strictly in send order and one at a time: while the first is
//! unfinished the others wait, and all other messages flow.
//!
//! # Guarantees
//!
//! At least once: a message is delivered again if its consumer dies, so handlers must be idempotent or tolerate
//! repeats. A [fence](Message::fence) tells a late writer from the current one. *No* is a value (nothing there, stale,
//! duplicate); an error means that the question could not be answered, and is never hidden behind `None`.
//!
//! See also the [guide](crate::guide::queue).

mod builder;
mod dead;
#[cfg(all(test, feature = "redis"))]
mod differential;
mod inspect;
#[cfg(all(test, feature = "redis"))]
mod keeper;
pub(crate) mod memory;
mod message;
mod model;
mod receive;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
mod request;
pub(crate) mod store;
mod stream;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::QueueBuilder;
pub use self::dead::{DeadLetter, DeadLetters, GetDead, ListDead, PurgeDead, RemoveDead, Requeue, RequeueAll};
pub use self::inspect::{Lease, MessageInfo, QueueStats};
pub use self::message::{Delivery, Message, MessageId};
pub use self::receive::{Recv, RecvMany, TryRecv};
pub use self::request::{
    Delete, Get, List, Pause, Peek, Purge, Remove, RemoveConcurrencyLimit, RemoveRateLimit, Resume, SendMany,
    SendRequest, Sent, SetConcurrencyLimit, SetRateLimit, Stats,
};
pub use self::store::{DeadReason, Place, Removed, State};
pub use self::stream::Deliveries;
pub use self::worker::Worker;
pub use crate::handover::{
    Ack, AckMany, Bury, GiveBack, HandlerError, Nack, Nacked, Receipt, RunningWorker, Touch, WorkerReport, WorkerStats,
};
pub use crate::limits::RateLimit;
pub use crate::meta::Meta;
pub use crate::pause::Paused;

use self::builder::Options;
use self::store::{QueueStore, Settle, Settled, Take, Taken};
use crate::bell::Bell;
use crate::codec::Value;
use crate::error::Result;
use crate::handover::{Object, Receivers, Settlement, Site, Source, Terms};
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::tidelock::World;

/// A handle to a queue of values of type `T`. Cloned freely; all handles with the same tenant and id, in any process,
/// refer to the same queue.
///
/// Created by [`Tidelock::queue`](crate::Tidelock::queue). How a queue behaves is described in the [module](self).
pub struct Queue<T> {
    pub(crate) options: Arc<Options<T>>,
    pub(crate) receivers: Arc<Receivers>,
}

impl<T> Queue<T> {
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.receivers.site
    }

    /// The queue's id.
    pub fn id(&self) -> &str {
        &self.site().address.id
    }
}

impl<T: Value> Queue<T> {
    /// The queue with the same id and options of another tenant. Tenants share no data.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        let site = self.site();
        let address = site.address.with_tenant(tenant);
        Self { options: Arc::clone(&self.options), receivers: receivers(&site.world, &address) }
    }

    /// Sends a message with this value. The value is encoded here, once; a failure to encode it is reported when the
    /// request is awaited.
    pub fn send(&self, value: &T) -> SendRequest<T> {
        SendRequest::new(self, value)
    }

    /// Sends several messages at once, all or nothing: each item is a [`send`](Queue::send) of this queue.
    pub fn send_many(&self, items: impl IntoIterator<Item = SendRequest<T>>) -> SendMany<T> {
        SendMany::new(self, items)
    }

    /// Waits for one message.
    pub fn recv(&self) -> Recv<T> {
        Recv::new(self)
    }

    /// Takes one message if one is deliverable now.
    pub fn try_recv(&self) -> TryRecv<T> {
        TryRecv::new(self)
    }

    /// Waits for the first message and takes up to `max` (1..=1,000) that are deliverable then.
    pub fn recv_many(&self, max: usize) -> RecvMany<T> {
        RecvMany::new(self, max)
    }

    /// A stream of messages as they arrive.
    pub fn stream(&self) -> Deliveries<T> {
        Deliveries::new(self)
    }

    /// Acks the delivery of a receipt.
    pub fn ack(&self, receipt: &Receipt) -> Ack {
        Ack::new(self.settlement(receipt))
    }

    /// Acks the deliveries of up to 1,000 receipts.
    pub fn ack_many(&self, receipts: &[Receipt]) -> AckMany {
        AckMany::new(self.site(), receipts)
    }

    /// Nacks the delivery of a receipt.
    pub fn nack(&self, receipt: &Receipt) -> Nack {
        Nack::new(self.settlement(receipt))
    }

    /// Restarts the lease of a receipt's delivery.
    pub fn touch(&self, receipt: &Receipt) -> Touch {
        Touch::new(self.settlement(receipt))
    }

    /// Moves the message of a receipt to the dead letters.
    pub fn dead_letter(&self, receipt: &Receipt, reason: &str) -> Bury {
        Bury::new(self.settlement(receipt), reason)
    }

    /// Returns the message of a receipt unused.
    pub fn give_back(&self, receipt: &Receipt) -> GiveBack {
        GiveBack::new(self.settlement(receipt))
    }

    fn settlement(&self, receipt: &Receipt) -> Settlement {
        Settlement::by(self.site(), receipt, self.options.max_nack_delay)
    }

    /// Pauses delivery in all processes.
    pub fn pause(&self) -> Pause {
        Pause::new(self.site())
    }

    /// Ends a pause.
    pub fn resume(&self) -> Resume {
        Resume(Arc::clone(self.site()))
    }

    /// Limits the rate of deliveries, of all processes together.
    pub fn set_rate_limit(&self, limit: u64, per: Duration) -> SetRateLimit {
        SetRateLimit::new(self.site(), limit, per)
    }

    /// Removes the limit of the rate.
    pub fn remove_rate_limit(&self) -> RemoveRateLimit {
        RemoveRateLimit(Arc::clone(self.site()))
    }

    /// Limits how many messages are held at once, by all processes together.
    pub fn set_concurrency_limit(&self, limit: u64) -> SetConcurrencyLimit {
        SetConcurrencyLimit::new(self.site(), limit)
    }

    /// Removes the limit of how many messages are held at once.
    pub fn remove_concurrency_limit(&self) -> RemoveConcurrencyLimit {
        RemoveConcurrencyLimit(Arc::clone(self.site()))
    }

    /// Statistics of the queue.
    pub fn stats(&self) -> Stats {
        Stats::new(self.site())
    }

    /// One unfinished message.
    pub fn get(&self, id: MessageId) -> Get {
        Get::new(self, id)
    }

    /// The messages in one state.
    pub fn list(&self, state: State) -> List {
        List::new(self, state)
    }

    /// The next messages that would be delivered, up to `max` (1..=1,000).
    pub fn peek(&self, max: usize) -> Peek {
        Peek::new(self, max)
    }

    /// Removes one ready or delayed message.
    pub fn remove(&self, id: MessageId) -> Remove {
        Remove::new(self.site(), id)
    }

    /// Removes all ready and delayed messages.
    pub fn purge(&self) -> Purge {
        Purge(Arc::clone(self.site()))
    }

    /// Deletes the queue and everything in it.
    pub fn delete(&self) -> Delete {
        Delete(Arc::clone(self.site()))
    }

    /// The messages that ended without an ack.
    pub fn dead_letters(&self) -> DeadLetters<T> {
        DeadLetters::of(self)
    }
}

/// The receivers of the queue at `address`, shared by all handles.
fn receivers(world: &Arc<World>, address: &Address) -> Arc<Receivers> {
    world.receivers.get_or_insert(&(address.clone(), Object::Queue), || {
        let source = Hands { store: world.backend.queue(), address: address.clone() };
        Receivers::new(world, address.clone(), Object::Queue, Box::new(source))
    })
}

/// The store that a queue's requests use.
fn store_of(site: &Site) -> Arc<dyn QueueStore> {
    site.world.backend.queue()
}

/// The source of one queue's messages.
#[derive(Debug)]
struct Hands {
    store: Arc<dyn QueueStore>,
    address: Address,
}

impl Source for Hands {
    fn is_local(&self) -> bool {
        self.store.is_local()
    }

    fn take(&self, terms: &Terms, max: usize, park: bool) -> BoxFuture<'static, Result<Taken>> {
        let Terms { lease, max_deliveries, place, .. } = *terms;
        let consumer = Arc::clone(&terms.consumer);
        self.store.take(&self.address, Take { max, lease, consumer, max_deliveries, place, park })
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        self.store.settle(&self.address, settles)
    }

    fn bell(&self) -> Arc<Bell> {
        self.store.bell(&self.address)
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { options: Arc::clone(&self.options), receivers: Arc::clone(&self.receivers) }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.site().address;
        f.debug_struct("Queue").field("id", &address.id).field("tenant", &address.tenant).finish_non_exhaustive()
    }
}
