//! Named records that a fleet agrees on: settings, flags, members.
//!
//! A [`Registry`] holds records under path-like keys. A record has a value, a version for compare-and-swap and,
//! optionally, a time to live that its owner keeps extending. Records can be listed by prefix, and every change can be
//! followed without a gap from the instant of a listing.
//!
//! ```
//! use tidelock::registry::{Cas, EventKind};
//! use tidelock::{SECOND, Tidelock};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = Tidelock::in_process();
//! let flags = tide.registry::<bool>("flags").build()?;
//!
//! let entry = flags.upsert("apps/mail/dark", &false).await?;
//! let seen = flags.snapshot().prefix("apps/mail/").await?;
//! assert_eq!(seen.items.len(), 1);
//!
//! match flags.cas("apps/mail/dark", entry.version, &true).await? {
//!     Cas::Swapped(entry) => println!("on, version {}", entry.version),
//!     Cas::Conflict(now) => println!("somebody was faster: {now:?}"),
//! }
//!
//! // From the instant of the snapshot on: nothing is missed in between.
//! let mut changes = flags.follow().prefix("apps/mail/").after(&seen.cursor).await?;
//! let event = changes.recv().wait(SECOND).await?.expect("there was a change");
//! assert!(matches!(event.kind, EventKind::Upsert(entry) if entry.value));
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | store | [`upsert`](Registry::upsert), [`cas`](Registry::cas) |
//! | extend or end a record's life | [`touch`](Registry::touch), [`remove`](Registry::remove) |
//! | keep a record alive automatically | [`register`](Registry::register), [`try_register`](Registry::try_register) |
//! | inspect | [`get`](Registry::get), [`list`](Registry::list), [`snapshot`](Registry::snapshot), [`stats`](Registry::stats) |
//! | follow changes | [`follow`](Registry::follow) |
//! | delete the whole registry | [`delete`](Registry::delete) |
//!
//! # Keys
//!
//! A key has 1 to 8 segments separated by `/`, 1..=512 bytes, no NUL and no empty segment. A prefix is a path that ends
//! in `/`, so it matches whole segments. Keys are ordered by their bytes.
//!
//! # States
//!
//! A record is *active* until it is removed or its deadline has come, by the backend's clock, to the millisecond. Then
//! it is *expired*: it counts as absent in every call, whether or not it has been swept yet, and can still be inspected
//! for a while.
//!
//! See also the [guide](crate::guide::registry).

mod builder;
mod member;
pub(crate) mod members;
mod membership;
mod request;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::codec::Value;
pub use crate::keyed::change::{Removal, Remove, Touch, TouchRequest};
pub use crate::keyed::cursor::{Cursor, Version};
pub use crate::keyed::entry::{Entry, Listed, Listing, RawEntry, Snapshot, Status};
pub use crate::keyed::event::{Event, EventKind};
pub use crate::keyed::follower::{Follow, Follower, Recv, TryRecv};
use crate::keyed::handle::Handle;
pub use crate::keyed::look::{Bounds, Delete, SnapshotRequest, Stats, StoreStats};

pub use self::builder::RegistryBuilder;
pub use self::membership::{Left, Membership, Register, TryRegister};
pub use self::request::{CasRequest, Get, List, Upsert};

/// The outcome of a compare-and-swap.
// Exhaustive: swapped or not; every caller takes it apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[must_use = "a conflict is a value, not an error"]
pub enum Cas<T> {
    /// The record now holds the value; this is the new record.
    Swapped(Entry<T>),
    /// This is the active record under the key, if there is one. Nothing changed.
    Conflict(Option<Entry<T>>),
}

/// A handle to a registry of values of type `T`. Cloned freely; all handles with the same tenant and id, in any
/// process, refer to the same registry.
///
/// Created by [`Tidelock::registry`](crate::Tidelock::registry). How a registry behaves is described in the
/// [module](self).
pub struct Registry<T> {
    handle: Handle<T>,
}

impl<T> Registry<T> {
    /// The registry's id.
    pub fn id(&self) -> &str {
        self.handle.site.id()
    }

    /// The registry with the same id and options of another tenant. Tenants share no data.
    ///
    /// A bad name (empty, over 256 bytes, with NUL) is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        Self { handle: self.handle.with_tenant(tenant) }
    }

    /// Restarts the time to live of a record.
    pub fn touch(&self, key: &str) -> TouchRequest {
        TouchRequest::new(&self.handle, key)
    }

    /// Removes a record.
    pub fn remove(&self, key: &str) -> Remove {
        Remove::new(&self.handle, key)
    }

    /// Statistics of the registry.
    pub fn stats(&self) -> Stats {
        Stats(Arc::clone(&self.handle.site))
    }

    /// Deletes the registry and everything in it.
    pub fn delete(&self) -> Delete {
        Delete(Arc::clone(&self.handle.site))
    }
}

impl<T: Value> Registry<T> {
    /// Stores a value. It is encoded here, once; a failure to encode it is reported when the request is awaited.
    pub fn upsert(&self, key: &str, value: &T) -> Upsert<T> {
        Upsert::new(&self.handle, key, value)
    }

    /// Stores a value if the record is as expected: active with this version, or, with `None`, not active.
    pub fn cas(&self, key: &str, expected: impl Into<Option<Version>>, value: &T) -> CasRequest<T> {
        CasRequest::new(&self.handle, key, expected.into(), value)
    }

    /// Reads one record.
    pub fn get(&self, key: &str) -> Get<T> {
        Get::new(&self.handle, key)
    }

    /// Lists records, page by page.
    pub fn list(&self) -> List<T> {
        List::new(&self.handle)
    }

    /// Reads all records at one instant.
    pub fn snapshot(&self) -> SnapshotRequest<T> {
        SnapshotRequest::new(&self.handle)
    }

    /// Stores a record that is renewed automatically, and takes the key over from whoever has it.
    pub fn register(&self, key: &str, value: &T) -> Register<T> {
        Register::new(&self.handle, key, value)
    }

    /// Stores a record that is renewed automatically, unless the key is taken.
    pub fn try_register(&self, key: &str, value: &T) -> TryRegister<T> {
        TryRegister::new(&self.handle, key, value)
    }

    /// Follows the changes.
    pub fn follow(&self) -> Follow<T> {
        Follow::new(&self.handle)
    }
}

impl<T> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone() }
    }
}

impl<T> fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.handle.site.object.address;
        f.debug_struct("Registry").field("id", &address.id).field("tenant", &address.tenant).finish_non_exhaustive()
    }
}
