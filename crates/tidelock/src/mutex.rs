//! One holder per resource, by lease, with a fencing token.
//!
//! Waiters are served in order of arrival. The holder is told when it can no longer prove that it holds the lock; a
//! dead holder or waiter delays the others by a bounded time. Not re-entrant: a second lock by the same task waits like
//! any other.
//!
//! ```
//! # use std::time::Duration;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidelock::Result<()> {
//! let tide = tidelock::Tidelock::in_process();
//! let orders = tide.mutex("orders").lease(Duration::from_secs(10)).build()?;
//! if let Some(guard) = orders.lock("order:42").timeout(Duration::from_secs(5)).await?.guard() {
//!     let fence = guard.fence(); // pass it to the storage that the lock protects
//!     # let _ = fence;
//!     guard.release().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! See also the [guide](crate::guide::mutex).

mod agenda;
mod builder;
#[cfg(all(test, feature = "redis"))]
mod differential;
mod guard;
mod halls;
pub(crate) mod memory;
mod model;
mod observe;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
mod request;
mod room;
mod seat;
pub(crate) mod store;
mod tenure;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::builder::MutexBuilder;
pub use self::guard::{Guard, Lost};
pub use self::request::{Describe, Lock, LockOrErr, TryLock};

use self::builder::Options;
use self::observe::Meter;
use self::room::Room;
use crate::check;
use crate::error::{Error, Result};
use crate::name::Address;
use crate::tidelock::World;
use crate::time::millis;
use crate::word::words;

/// Locks by name: one holder per resource. Created by [`Tidelock::mutex`](crate::Tidelock::mutex).
///
/// Fences and exclusion are per tenant, mutex id and resource: two handles with the same id exclude each other. A
/// resource is UTF-8 without NUL, at least one byte long; if it is longer than 512 bytes, its SHA-256 is stored.
#[derive(Clone)]
pub struct Mutex {
    pub(crate) room: Arc<Room>,
    pub(crate) address: Address,
    pub(crate) options: Arc<Options>,
    pub(crate) meter: Arc<Meter>,
    /// Keeps the backend open as long as the handle lives.
    pub(crate) world: Arc<World>,
}

impl Mutex {
    /// The id.
    pub fn id(&self) -> &str {
        &self.address.id
    }

    /// The mutex of another tenant, with the same id and options. A bad name is refused by the first request.
    pub fn tenant(&self, tenant: &str) -> Self {
        Self { address: self.address.with_tenant(tenant), ..self.clone() }
    }

    /// Waits for a resource. Resolves to a guard, or to who held the resource when the time was over.
    pub fn lock(&self, resource: &str) -> Lock {
        Lock::new(self, resource)
    }

    /// Like [`Mutex::lock`], with *not acquired* as an error.
    pub fn lock_or_err(&self, resource: &str) -> LockOrErr {
        LockOrErr::new(self, resource)
    }

    /// Gets a guard if nobody holds the resource or waits for it; does not wait.
    pub fn try_lock(&self, resource: &str) -> TryLock {
        TryLock::new(self, resource)
    }

    /// Locks, runs `run`, and releases the lock however it ended; see [`Lock::with`].
    pub async fn with_lock<T>(&self, resource: &str, run: impl AsyncFnOnce(&Guard) -> T) -> Result<Scoped<T>> {
        self.lock(resource).with(run).await
    }

    /// Shows who holds a resource, and how many wait.
    pub fn describe(&self, resource: &str) -> Describe {
        Describe::new(self, resource)
    }
}

impl fmt::Debug for Mutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = &self.world.process;
        f.debug_struct("Mutex").field("id", &self.id()).field("process", process).finish_non_exhaustive()
    }
}

/// The outcome of waiting for a lock.
// Exhaustive: a guard or none; every caller matches both.
#[derive(Debug)]
#[must_use = "the lock is released as soon as the guard in it is dropped"]
pub enum Locked {
    /// The lock is held.
    Guard(Guard),
    /// The time was over before the lock was acquired.
    NotAcquired(NotAcquired),
}

impl Locked {
    /// The guard, if there is one.
    pub fn guard(self) -> Option<Guard> {
        match self {
            Self::Guard(guard) => Some(guard),
            Self::NotAcquired(_) => None,
        }
    }
}

/// The outcome of running something under a lock.
// Exhaustive: it ran or it did not; every caller matches both.
#[derive(Debug)]
#[must_use = "the value and the end of the lock are in it"]
pub enum Scoped<T> {
    /// The closure ran; neither field masks the other.
    Ran {
        /// The result of the closure.
        value: T,
        /// The outcome of the release.
        release: Result<Release>,
    },
    /// The closure did not run.
    NotAcquired(NotAcquired),
}

/// Why there is no guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotAcquired {
    /// The resource, as passed to the call.
    pub resource: String,
    /// How long the call waited. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub waited: Duration,
    /// The rest of the holder's lease when the backend last answered, less the time since. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub lease_left: Duration,
    /// How many were waiting then, including this call if it was.
    pub waiting: u64,
}

impl fmt::Display for NotAcquired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waited, lease_left, waiting, .. } = self;
        write!(f, "waited {waited:?}; the holder's lease has {lease_left:?} left, {waiting} were waiting")
    }
}

/// The current state of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Holding {
    /// The current holder, or the one about to be.
    pub holder: Option<Holder>,
    /// The number of waiters.
    pub waiting: u64,
    /// The fence of the last grant, if the resource was used within the last hour.
    pub last_fence: Option<u64>,
}

/// The holder of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Holder {
    /// The owner label of its mutex handle.
    pub owner: String,
    /// The fence of its grant.
    pub fence: u64,
    /// The rest of its lease, by the backend. Serialized in milliseconds.
    #[serde(serialize_with = "millis")]
    pub lease_left: Duration,
}

/// The outcome of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Release {
    /// The lock was held until now.
    Released,
    /// It had already ended: its lease ran out, or the server lost it.
    WasLost,
}

words!(Release: Self::Released => "released", Self::WasLost => "was_lost");

/// How a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GrantEnd {
    /// The last confirmed answer no longer proves it; the backend may still consider it held.
    Unproven,
    /// The backend says that it is not held under this fence.
    NotOwner,
    /// The guard was released or dropped.
    Finished,
}

words!(GrantEnd: Self::Unproven => "unproven", Self::NotOwner => "not_owner", Self::Finished => "finished");

/// Refuses a lease that is not whole milliseconds of the range that is allowed.
fn check_lease(error: fn(String) -> Error, lease: Duration, renews: bool) -> Result<()> {
    if !lease.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(error(format!("lease must be whole milliseconds, but is {lease:?}")));
    }
    if renews && !lease.is_zero() {
        check::renewed(error, lease)?;
    }
    check::lasting(error, "lease", lease)
}
