//! Requests about an object as a whole.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::cursor::Cursor;
use super::entry::Snapshot;
use super::handle::Handle;
use super::observe;
use super::site::{Call, Site};
use super::snapshot::collect;
use super::store::{self, StatsView};
use crate::codec::Value;
use crate::error::Result;
use crate::request::{awaitable, opaque};
use crate::time::{Timestamp, millis};

/// Reads all active records, or those under a prefix, at one instant. Resolves to [`Snapshot`].
///
/// Following from its cursor misses nothing. If the records do not fit one answer, they are read in pages and brought
/// to one instant by the changes since the first page; if the log no longer reaches back that far, it starts again, and
/// fails after three times with an error of kind *timeout*. Dropping the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct SnapshotRequest<T> {
    handle: Handle<T>,
    prefix: Arc<str>,
}

impl<T: Value> SnapshotRequest<T> {
    pub(crate) fn new(handle: &Handle<T>) -> Self {
        Self { handle: handle.clone(), prefix: "".into() }
    }

    /// Only keys with this prefix: for a registry a path that ends in `/`, for an ephemeral store any text of up to 512
    /// bytes. Default, and if it is empty: all.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    async fn run(self) -> Result<Snapshot<T>> {
        let Self { handle, prefix } = self;
        let call = Call::whole("snapshot");
        handle.site.check(&call)?;
        handle.check_prefix(&call, &prefix)?;
        let collecting = collect(&handle.site, &call, &prefix);
        let (records, place) = observe::within(observe::span(&handle.site, &call), collecting).await?;
        let items = records.into_iter().map(|record| handle.listed(record)).collect();
        Ok(Snapshot { items, cursor: handle.site.cursor(place) })
    }
}

/// Statistics of the object at one instant. Resolves to [`StoreStats`]. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Stats(pub(crate) Arc<Site>);

impl Stats {
    async fn run(self) -> Result<StoreStats> {
        let (site, call) = (self.0, Call::whole("stats"));
        site.check(&call)?;
        let view = site.store.stats(&site.object).await.map_err(|error| site.context(&call, error))?;
        Ok(StoreStats::new(&site, &view))
    }
}

/// Deletes the object: all records, the log, the bounds. Resolves to whether anything existed.
///
/// Followers get an [`Overflow`](super::event::EventKind::Overflow) when they read next. Versions continue to grow, so
/// none from before ever matches again. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct Delete(pub(crate) Arc<Site>);

impl Delete {
    async fn run(self) -> Result<bool> {
        let (site, call) = (self.0, Call::whole("delete"));
        site.check(&call)?;
        let deleting = site.store.delete(&site.object);
        let deleted = observe::within(observe::span(&site, &call), deleting).await;
        deleted.map_err(|error| site.context(&call, error))
    }
}

/// Statistics of a registry or ephemeral store at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreStats {
    /// Active records.
    pub active: u64,
    /// Part of `active`: records that do not expire.
    pub permanent: u64,
    /// Expired records that can still be inspected; none in an ephemeral store.
    pub expired: u64,
    /// Events that can be read, not counting touches.
    pub events: u64,
    /// Total size of their values in bytes.
    pub event_bytes: u64,
    /// Touches that can be read: at most one per active record.
    pub touches: u64,
    /// The revision of the latest event.
    pub revision: u64,
    /// The newest revision that can no longer be read; 0 while nothing is.
    pub compacted: u64,
    /// The position after the latest event.
    pub cursor: Cursor,
    /// When the next active record expires.
    pub next_deadline: Option<Timestamp>,
    /// The bounds in force: those of the latest writer. `None` before the first one.
    pub bounds: Option<Bounds>,
    /// More was overdue than one request processes: the numbers are those after its last step.
    pub settling: bool,
}

/// The bounds of a whole object, stored with it: those of the handle that wrote last are in force for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bounds {
    /// The maximum number of active records.
    pub max_entries: u64,
    /// How long an event can be read. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub event_retention: Duration,
    /// The maximum number of events that can be read, not counting touches.
    pub max_events: u64,
    /// The maximum total size of the values of readable events, in bytes.
    pub max_event_bytes: u64,
    /// How long an expired record can be inspected after its deadline; without meaning in an ephemeral store.
    /// Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub tombstone_retention: Duration,
}

impl From<store::Bounds> for Bounds {
    fn from(bounds: store::Bounds) -> Self {
        Self {
            max_entries: bounds.max_entries,
            event_retention: Duration::from_millis(bounds.event_retention),
            max_events: bounds.max_events,
            max_event_bytes: bounds.max_event_bytes,
            tombstone_retention: Duration::from_millis(bounds.tombstone_retention),
        }
    }
}

impl StoreStats {
    fn new(site: &Site, view: &StatsView) -> Self {
        Self {
            active: view.active,
            permanent: view.permanent,
            expired: view.expired,
            events: view.events,
            event_bytes: view.event_bytes,
            touches: view.touches,
            revision: view.latest.revision,
            compacted: view.compacted,
            cursor: site.cursor(view.latest),
            next_deadline: view.next_deadline.map(Timestamp::from_millis),
            bounds: view.bounds.map(Into::into),
            settling: view.settling,
        }
    }
}

awaitable! {
    SnapshotRequest<T> => Snapshot<T>;
    Stats => StoreStats;
    Delete => bool;
}

opaque!(SnapshotRequest);
