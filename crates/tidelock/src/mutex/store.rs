//! The backend's part of a mutex: single atomic steps on the record of a resource.
//!
//! Waiting, waking, renewal and proof of the lease are built from these steps, once for all backends, in the sibling
//! modules.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::mutex::room::Room;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// How long an offer stands before it goes to the next waiter.
pub(crate) const CLAIM_WINDOW: Duration = Duration::from_millis(500);
/// How long the waiters of a process stay in the queue after its last request.
pub(crate) const WAITER_LEASE: Duration = Duration::from_secs(15);
/// How often a process refreshes its waiters, so that their lease does not run out.
pub(crate) const REFRESH: Duration = Duration::from_secs(5);
/// Waiters per resource.
pub(crate) const MAX_WAITING: usize = 10_000;
/// How many releases per resource are remembered, so that a repeated release gets the same answer as the first.
pub(crate) const REMEMBERED: usize = 64;
/// How long a record outlives its last deadline or waiter lease.
pub(crate) const KEEP: Duration = crate::time::HOUR;

/// 128 random bits that identify one `lock` or `try_lock` call. Retries of the call carry the same token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Token(pub(crate) u128);

impl Token {
    /// Draws a unique token: 64 bits of a hash keyed by the operating system, 64 of the process's generator.
    pub(crate) fn draw() -> Self {
        static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let high = KEYED.hash_one(DRAWN.fetch_add(1, Ordering::Relaxed));
        Self(u128::from(high) << 64 | u128::from(fastrand::u64(..)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One resource of one mutex, as a backend finds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    /// Injective in tenant, mutex id and resource: two different resources never share a tag.
    pub(crate) tag: Arc<str>,
    /// The cluster slot; zero without a cluster.
    pub(crate) slot: u16,
}

/// A request for a resource: the caller's token, the lease it wants, and its owner name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) token: Token,
    /// In milliseconds.
    pub(crate) lease: u64,
    pub(crate) owner: String,
}

/// One atomic step. Durations are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Take the resource, or join the queue if `wait`. While the resource is free, the token that released it or left
    /// last is refused: its request arrived late.
    Lock { ask: Ask, wait: bool },
    /// End the grant.
    Release { token: Token, fence: u64 },
    /// Set the deadline of the grant to now + `lease`. The changes of one grant are numbered: one that arrives after
    /// a later one changes nothing.
    Extend { token: Token, fence: u64, lease: u64, number: u32 },
    /// Leave the queue, or give back the grant or offer of this token. A lease of 0 means that only the token is
    /// known.
    Leave { ask: Ask },
    /// Keep the waiters of this process alive.
    Refresh,
}

/// The answer of a step to its caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// [`Step::Lock`]: held under this fence, for another `left`.
    Granted { fence: u64, left: u64 },
    /// [`Step::Lock`]: in the queue, `place` waiters ahead.
    Waiting { place: u64, left: u64, waiting: u64 },
    /// [`Step::Lock`]: held by somebody else, and the caller did not join the queue.
    Held { left: u64, waiting: u64 },
    /// [`Step::Lock`]: the queue is full.
    Full { waiting: u64 },
    /// [`Step::Release`]: whether the grant was held until now, or until an earlier attempt of the same release.
    Released(bool),
    /// [`Step::Extend`]: what is left of the lease, or `None` if the resource is not held under this fence.
    Extended(Option<u64>),
    /// [`Step::Leave`].
    Left,
    /// [`Step::Refresh`]: the tokens of this process that are in the queue, in order, and the place of the first.
    Waiters { tokens: Vec<Token>, place: u64, left: u64, waiting: u64 },
}

/// A grant that a step gave to a waiter of the process that ran the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    pub(crate) token: Token,
    pub(crate) fence: u64,
    pub(crate) left: u64,
}

/// The answer to one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) handed: Option<Handed>,
    /// Whether this step offered the resource to a waiter of another process, which may be too slow to take it.
    pub(crate) offered: bool,
}

/// The state of a resource, as a query shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Owner, and what is left of the lease.
    pub(crate) holder: Option<(String, u64)>,
    pub(crate) waiting: u64,
    pub(crate) last_fence: Option<u64>,
}

/// How long a step may take, in real time, and whether it is retried when its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effort {
    /// At least this long, and at least the backend's request timeout.
    pub(crate) within: Duration,
    pub(crate) repeat: bool,
}

impl Effort {
    /// Retried until the request timeout.
    pub(crate) const USUAL: Self = Self { within: Duration::ZERO, repeat: true };
    /// Sent once, and only if there is a connection.
    pub(crate) const ONCE: Self = Self { within: Duration::ZERO, repeat: false };
}

/// Receives the wake-ups for waiters of this process.
#[cfg_attr(
    any(not(feature = "redis"), target_family = "wasm"),
    expect(dead_code, reason = "one process offers nothing to another")
)]
pub(crate) trait Hears: Send + Sync {
    /// The waiter was given the resource.
    fn handed(&self, spot: &Spot, handed: Handed);
    /// The resource is reserved for the waiter for a short while.
    fn offered(&self, spot: &Spot, token: Token);
    /// Offers may have been missed.
    fn missed(&self);
}

/// Connects a store to the room that all mutexes of one opened `Tidelock` share, and to the listener for its
/// wake-ups.
#[derive(Default)]
pub(crate) struct Door {
    hears: Mutex<Option<Weak<dyn Hears>>>,
    room: Mutex<Weak<Room>>,
}

impl Door {
    pub(crate) fn listen(&self, who: Weak<dyn Hears>) {
        *self.hears.lock().expect("no code panics while it holds this lock") = Some(who);
    }

    pub(crate) fn hears(&self) -> Option<Arc<dyn Hears>> {
        self.hears.lock().expect("no code panics while it holds this lock").as_ref()?.upgrade()
    }

    /// The existing room, or else the one that `make` creates.
    pub(crate) fn room(&self, make: impl FnOnce() -> Arc<Room>) -> Arc<Room> {
        let mut room = self.room.lock().expect("no code panics while it holds this lock");
        if let Some(room) = room.upgrade() {
            return room;
        }
        let new = make();
        *room = Arc::downgrade(&new);
        drop(room);
        self.listen(Arc::downgrade(&new) as Weak<dyn Hears>);
        new
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

/// What a backend implements for the mutex.
pub(crate) trait MutexStore: Send + Sync {
    /// Where a resource is stored. The address has been checked; the resource is already in the form that keys use.
    fn spot(&self, address: &Address, resource: &str) -> Spot;
    /// Runs one step. The future may be polled by a task other than the one that created it.
    fn step(&self, spot: &Spot, step: Step, effort: Effort) -> BoxFuture<'static, Result<Answer>>;
    /// Reads the state of the resource and changes nothing.
    fn describe(&self, spot: &Spot) -> BoxFuture<'static, Result<Seen>>;
    /// Whether other processes can wait too, so that this one must refresh its waiters.
    fn is_shared(&self) -> bool;
    fn door(&self) -> &Door;
}

opaque!(MutexStore);
