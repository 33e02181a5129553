//! Short-lived records that expire unless somebody keeps touching them: presence, cursors, heartbeats.
//!
//! Every record of an [`Ephemeral`] store has a deadline. Every change, including the silent expiry of a record,
//! appears in one change stream, and a snapshot and the stream that follows it fit together without a gap.
//!
//! ```
//! use tidelock::ephemeral::{EventKind, Touch};
//! use tidelock::{SECOND, Tidelock};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = Tidelock::in_process();
//! let presence = tide.ephemeral::<String>("presence").ttl(30 * SECOND).build()?;
//!
//! let room = presence.snapshot().prefix("room-1/").await?;
//! let mut changes = presence.follow().prefix("room-1/").after(&room.cursor).await?;
//!
//! presence.upsert("room-1/alice", &"typing".to_owned()).await?;
//! if let Touch::Absent = presence.touch("room-1/alice").await? {
//!     presence.upsert("room-1/alice", &"typing".to_owned()).await?; // it had expired
//! }
//!
//! let event = changes.recv().await?.expect("a change was made");
//! assert!(matches!(event.kind, EventKind::Upsert(entry) if entry.key == "room-1/alice"));
//! # Ok(())
//! # }
//! ```
//!
//! It works like a [registry](crate::registry) with three differences: every record has a ttl, an expired record leaves
//! nothing behind, and every change, even a touch, creates a new version. A key is any text of 1..=512 bytes without
//! NUL, and a prefix is any text that keys begin with: `room-1` matches `room-1/a` and `room-12/a`.
//!
//! Whether a record is alive depends only on its deadline and the backend's clock; only an upsert brings a key back.
//!
//! See also the [guide](crate::guide::ephemeral).

mod builder;
mod request;

use std::fmt;
use std::sync::Arc;

use crate::codec::Value;
pub use crate::keyed::change::{Removal, Remove, Touch, TouchRequest};
pub use crate::keyed::cursor::{Cursor, Version};
pub use crate::keyed::entry::{Entry, Listed, RawEntry, Snapshot, Status};
pub use crate::keyed::event::{Event, EventKind};
pub use crate::keyed::follower::{Follow, Follower, Recv, TryRecv};
use crate::keyed::handle::Handle;
pub use crate::keyed::look::{Bounds, Delete, SnapshotRequest, Stats, StoreStats};

pub use self::builder::EphemeralBuilder;
pub use self::request::{Get, Upsert};

/// A handle to an ephemeral store of values of type `T`. Cloned freely; all handles with the same tenant and id, in any
/// process, refer to the same store.
///
/// Created by [`Tidelock::ephemeral`](crate::Tidelock::ephemeral). How it behaves is described in the [module](self).
pub struct Ephemeral<T> {
    handle: Handle<T>,
}

impl<T> Ephemeral<T> {
    /// The store's id.
    pub fn id(&self) -> &str {
        self.handle.site.id()
    }

    /// The store with the same id and options of another tenant. Tenants share no data.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        Self { handle: self.handle.with_tenant(tenant) }
    }

    /// Restarts the life of a record: a heartbeat.
    pub fn touch(&self, key: &str) -> TouchRequest {
        TouchRequest::new(&self.handle, key)
    }

    /// Removes a record.
    pub fn remove(&self, key: &str) -> Remove {
        Remove::new(&self.handle, key)
    }

    /// Statistics of the store.
    pub fn stats(&self) -> Stats {
        Stats(Arc::clone(&self.handle.site))
    }

    /// Deletes the store and everything in it.
    pub fn delete(&self) -> Delete {
        Delete(Arc::clone(&self.handle.site))
    }
}

impl<T: Value> Ephemeral<T> {
    /// Stores a value. It is encoded here, once; a failure to encode it is reported when the request is awaited.
    pub fn upsert(&self, key: &str, value: &T) -> Upsert<T> {
        Upsert::new(&self.handle, key, value)
    }

    /// Reads one record.
    pub fn get(&self, key: &str) -> Get<T> {
        Get::new(&self.handle, key)
    }

    /// Reads all records at one instant.
    pub fn snapshot(&self) -> SnapshotRequest<T> {
        SnapshotRequest::new(&self.handle)
    }

    /// Follows the changes.
    pub fn follow(&self) -> Follow<T> {
        Follow::new(&self.handle)
    }
}

impl<T> Clone for Ephemeral<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone() }
    }
}

impl<T> fmt::Debug for Ephemeral<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.handle.site.object.address;
        f.debug_struct("Ephemeral").field("id", &address.id).field("tenant", &address.tenant).finish_non_exhaustive()
    }
}
