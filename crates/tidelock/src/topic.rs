//! An event log: consumer groups (at least once), live followers, replay.
//!
//! A [`Topic`] keeps events in order, each for as long as it is retained. *Groups* share work: each event goes to one
//! reader of a group at a time, on a lease, until it is committed. *Followers* see every event in order and commit
//! nothing. A *cursor* is a position in the log that outlives processes. Events that a reader can no longer get are
//! always reported.
//!
//! ```
//! use futures_util::StreamExt;
//! use tidelock::topic::{Item, Start};
//! use tidelock::{DAY, SECOND, Tidelock};
//!
//! #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! enum OrderEvent {
//!     Placed(u32),
//!     Paid(u32),
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = Tidelock::in_process();
//! let orders = tide.topic::<OrderEvent>("orders").retention(7 * DAY).build()?;
//! let mut live = orders.follow().await?; // from here on
//!
//! let placed = orders.publish(&OrderEvent::Placed(42)).ordering_key("order:42").await?;
//! orders.publish(&OrderEvent::Paid(42)).ordering_key("order:42").await?;
//!
//! // A group begins at the first retained event, unless told otherwise. A committed event is not delivered again.
//! let billing = orders.reader("billing").build()?;
//! while let Some(item) = billing.try_recv().await? {
//!     match item {
//!         Item::Event(event) => {
//!             println!("{:?} at {}", event.data(), event.published_at());
//!             assert!(event.commit().await?); // `false` would mean that the lease had ended
//!         }
//!         Item::Gap(gap) => println!("lost {:?} events", gap.missed),
//!         Item::Undecodable(raw) => println!("{} is in the dead letters: {}", raw.event_id, raw.error),
//!     }
//! }
//!
//! let Some(Ok(Item::Event(first))) = live.next().await else { unreachable!() };
//! assert_eq!(first.event_id(), placed.event_id);
//!
//! // A cursor is text: save it, and resume from there, here or in another process.
//! let page = orders.read().after(&placed.cursor).await?;
//! assert_eq!(page.items.len(), 1);
//! orders.groups().seek("billing", Start::After(placed.cursor)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | publish one, or many, all or nothing | [`publish`](Topic::publish), [`publish_many`](Topic::publish_many) |
//! | share the work of a group | [`reader`](Topic::reader): [`recv`](Reader::recv), [`stream`](Reader::stream), [`process`](Reader::process) |
//! | see every event | [`follow`](Topic::follow) |
//! | read what is retained | [`read`](Topic::read) |
//! | inspect | [`stats`](Topic::stats), [`latest_cursor`](Topic::latest_cursor), [`groups`](Topic::groups) |
//! | move, pause or remove a group | [`groups`](Topic::groups) |
//! | read and requeue what failed in a group | [`dead_letters`](Reader::dead_letters) |
//!
//! # Order
//!
//! Events are in the order in which they were published. Followers and pages get that order. A group delivers the
//! earliest deliverable event first. Events with the same [ordering key](Publish::ordering_key) are delivered one at a
//! time: while one is unfinished, later ones with its key wait, and all other events flow.
//!
//! # Guarantees
//!
//! Each event at least once per group: it is delivered again if its reader dies, so handlers must be idempotent or
//! tolerate repeats. Events that are no longer retained when a reader gets to them are reported once, as a [`Gap`].
//! *No* is a value (nothing there, stale, duplicate, a gap); an error means that the question could not be answered,
//! and is never hidden behind `None`.
//!
//! See also the [guide](crate::guide::topic).

mod builder;
mod cursor;
mod dead;
#[cfg(all(test, feature = "redis"))]
mod differential;
mod event;
mod follow;
mod groups;
mod inspect;
#[cfg(all(test, feature = "redis"))]
mod keeper;
pub(crate) mod memory;
mod model;
mod observe;
mod publish;
mod reader;
mod receive;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
mod site;
pub(crate) mod store;

use std::fmt;
use std::sync::Arc;

pub use self::builder::TopicBuilder;
pub use self::cursor::{Cursor, EventId};
pub use self::dead::{DeadLetter, DeadLetters, GetDead, ListDead, PurgeDead, RemoveDead, Requeue, RequeueAll};
pub use self::event::{Event, EventDelivery, Gap, GapCause, GroupEvent, Item, RawEvent};
pub use self::follow::{Follow, Follower};
pub use self::groups::{Create, GetGroup, GroupInfo, Groups, ListGroups, Pause, Remove, Resume, Seek};
pub use self::inspect::{Delete, LatestCursor, ReadPage, Stats, TopicStats};
pub use self::publish::{Publish, PublishMany, Published};
pub use self::reader::{Reader, ReaderBuilder};
pub use self::receive::{Deliveries, Recv, RecvMany, TryRecv, Worker};
pub use crate::handover::store::DeadReason;
pub use crate::handover::{
    Ack as Commit, AckMany as CommitMany, Bury, GiveBack, HandlerError, Nack, Nacked, Receipt, RunningWorker, Touch,
    WorkerReport, WorkerStats,
};
pub use crate::meta::Meta;
pub use crate::pause::Paused;

use self::builder::Options;
pub(crate) use self::site::Site;
use crate::codec::Value;
use crate::time::Timestamp;

/// Where a group or follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Just before the first retained event.
    Earliest,
    /// After the newest event.
    Latest,
    /// After this position. If events there are no longer retained, the gap is delivered first.
    After(Cursor),
    /// Just before the first retained event that was published at or after this instant; if there is none, as `Latest`.
    At(Timestamp),
}

/// A handle to a topic of values of type `T`. Cloned freely; all handles with the same tenant and id, in any process,
/// refer to the same topic.
///
/// Created by [`Tidelock::topic`](crate::Tidelock::topic). How a topic behaves is described in the [module](self).
pub struct Topic<T> {
    pub(crate) options: Arc<Options<T>>,
    pub(crate) site: Arc<Site>,
}

impl<T> Topic<T> {
    /// The topic's id.
    pub fn id(&self) -> &str {
        &self.site.address.id
    }
}

impl<T: Value> Topic<T> {
    /// The topic with the same id and options of another tenant. Tenants share no data.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        let address = self.site.address.with_tenant(tenant);
        Self { options: Arc::clone(&self.options), site: Site::at(&self.site.world, &address) }
    }

    /// Publishes an event with this value. The value is encoded here, once; a failure to encode it is reported when the
    /// request is awaited.
    pub fn publish(&self, event: &T) -> Publish<T> {
        Publish::new(self, event)
    }

    /// Publishes several events at once, all or nothing: each item is a [`publish`](Topic::publish) of this topic.
    pub fn publish_many(&self, items: impl IntoIterator<Item = Publish<T>>) -> PublishMany<T> {
        PublishMany::new(self, items)
    }

    /// Starts the definition of a reader of a group.
    pub fn reader(&self, group: &str) -> ReaderBuilder<T> {
        ReaderBuilder::new(self, group)
    }

    /// Follows every event in order, from a position on; no group, nothing to commit.
    pub fn follow(&self) -> Follow<T> {
        Follow::new(self)
    }

    /// Reads the retained events, page by page; does not wait.
    pub fn read(&self) -> ReadPage<T> {
        ReadPage::new(self)
    }

    /// The position after the newest event ever published.
    pub fn latest_cursor(&self) -> LatestCursor {
        LatestCursor(Arc::clone(&self.site))
    }

    /// The groups: to inspect, create, move, pause or remove them.
    pub fn groups(&self) -> Groups {
        Groups(Arc::clone(&self.site))
    }

    /// Statistics of the topic.
    pub fn stats(&self) -> Stats {
        Stats(Arc::clone(&self.site))
    }

    /// Deletes log, groups, dead letters and deduplication keys.
    pub fn delete(&self) -> Delete {
        Delete(Arc::clone(&self.site))
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Self { options: Arc::clone(&self.options), site: Arc::clone(&self.site) }
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.site.address;
        f.debug_struct("Topic").field("id", &address.id).field("tenant", &address.tenant).finish_non_exhaustive()
    }
}
