//! Following a log: a process reads each log only once, however many followers it has here.
//!
//! The parts read last are in a ring that all followers of the log share; each follower has its own position in it.
//! Nothing is read unless a follower waits: at the end of the ring, one read is made for all waiting followers (the
//! *drive*); it parks where the log ends. A follower that has fallen out of the ring reads for itself until it is back
//! in. So a slow follower costs no memory and delays nobody; the log reports what it has missed as a gap.
//!
//! The drive is polled in the task of the follower that began it, so that no other task has to be woken first. But a
//! follower may be polled once and then left alone without being dropped, for example by a `select!` whose other branch
//! takes its time. So if others wait too, a task of the hub polls the drive as well.

mod ring;

use std::fmt;
use std::future::Future;
use std::mem::replace;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use tokio::sync::Notify;

use self::ring::{Index, Place, Ring};
use crate::backoff::pause_after;
use crate::bell::{self, Bell};
use crate::error::{Error, Result};
use crate::runtime::{self, BoxFuture};
use crate::tidelock::World;
use crate::time::{Clock, Timestamp};

/// A log that can be followed.
pub(crate) trait Log: fmt::Debug + Send + Sync + 'static {
    /// A position between two events.
    type Position: Clone + PartialEq + fmt::Debug + Send + Sync;
    /// An event.
    type Event: fmt::Debug + Send + Sync;
    /// Reported to followers that can no longer get everything after their position.
    type Gap: fmt::Debug + Send + Sync;

    /// Reads a bounded part of what follows `after`, without waiting.
    ///
    /// `park`: if there is nothing, register this process as waiting in the same step; its bell rings when there is
    /// more.
    fn read(&self, after: &Self::Position, park: bool) -> BoxFuture<'static, Result<Part<Self>>>;

    /// Whether everything after a position can still be read, if that is known without a request.
    fn holds(&self, _place: &Self::Position) -> bool {
        true
    }

    /// The bell that rings when this process should read again.
    fn bell(&self) -> Arc<Bell>;
}

/// Events that were read together.
pub(crate) struct Part<L: Log + ?Sized> {
    /// A gap before the events, and the position after it.
    pub(crate) gap: Option<(L::Position, L::Gap)>,
    /// The events in order, each with the position after it.
    pub(crate) events: Vec<(L::Position, L::Event)>,
    /// The position after the whole part.
    pub(crate) end: L::Position,
    /// Approximate memory size.
    pub(crate) bytes: usize,
    /// For an empty part: read again at this instant of this process's clock if the bell does not ring before.
    pub(crate) next: Option<u64>,
}

impl<L: Log> Part<L> {
    pub(crate) fn is_empty(&self) -> bool {
        self.gap.is_none() && self.events.is_empty()
    }
}

impl<L: Log> fmt::Debug for Part<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("gap", &self.gap)
            .field("events", &self.events.len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The followers of one log in this process.
pub(crate) struct Hub<L: Log> {
    world: Arc<World>,
    log: L,
    ring: Mutex<Ring<L>>,
    followers: AtomicUsize,
    /// The shared read at the end of the ring.
    drive: Mutex<Option<Drive>>,
    /// Number of drives so far.
    drives: AtomicU64,
    /// Notified when the ring has grown or been reset, and when a drive has ended.
    changed: Notify,
    /// Notified when the last follower has gone.
    left: Notify,
}

/// A running drive. It lives as long as somebody polls it.
struct Drive {
    number: u64,
    going_on: WeakShared<Driving>,
    /// A task of the hub polls it too.
    has_task: bool,
}

/// An error goes to the follower that began the drive; others meet it in a drive of their own.
type Driving = BoxFuture<'static, Result<(), Arc<Error>>>;

impl<L: Log> Hub<L> {
    pub(crate) fn new(world: &Arc<World>, log: L) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            log,
            ring: Mutex::new(Ring::default()),
            followers: AtomicUsize::new(0),
            drive: Mutex::new(None),
            drives: AtomicU64::new(0),
            changed: Notify::new(),
            left: Notify::new(),
        })
    }

    /// Follows the log from a position on.
    pub(crate) fn follow(self: &Arc<Self>, position: L::Position) -> Follower<L> {
        // Locked, because the last follower that leaves clears the ring.
        let ring = self.lock();
        self.followers.fetch_add(1, Ordering::AcqRel);
        drop(ring);
        Follower { hub: Arc::clone(self), position, current: None, number: None, fresh: true }
    }

    fn clock(&self) -> &Clock {
        &self.world.clock
    }

    fn lock(&self) -> MutexGuard<'_, Ring<L>> {
        self.ring.lock().expect("no code panics while it holds this lock")
    }

    /// Begins a drive at the position, for the caller to poll. `None`: a drive is running, and others poll it.
    fn begin_drive(self: &Arc<Self>, position: &L::Position) -> Option<Shared<Driving>> {
        let (going_on, has_task) = {
            let mut current = self.current();
            let known = current
                .as_mut()
                .and_then(|drive| Some((drive.going_on.upgrade()?, replace(&mut drive.has_task, true))));
            let Some(known) = known else {
                let number = self.drives.fetch_add(1, Ordering::Relaxed);
                let over = Over { hub: Arc::clone(self), number };
                let position = position.clone();
                let driving: Driving = Box::pin(async move { over.hub.read_on(&position).await.map_err(Arc::new) });
                let driving = driving.shared();
                *current = driving.downgrade().map(|going_on| Drive { number, going_on, has_task: false });
                return Some(driving);
            };
            known
        };
        // Not under the lock: dropping the last handle of a drive ends it, which takes the lock.
        if !has_task {
            self.carry(going_on);
        }
        None
    }

    /// Polls a drive in a task, as long as there are followers.
    fn carry(self: &Arc<Self>, driving: Shared<Driving>) {
        let hub = Arc::clone(self);
        let lifecycle = self.world.lifecycle.clone();
        self.world.spawner.spawn(async move {
            let left = hub.left.notified();
            if hub.followers.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::select! {
                biased;
                // First, so that a drive that nobody follows does not take what rings for others.
                () = left => {}
                // The follower that began it reports an error.
                _ = driving => {}
                () = lifecycle.closing() => {}
            }
        });
    }

    fn current(&self) -> MutexGuard<'_, Option<Drive>> {
        self.drive.lock().expect("no code panics while it holds this lock")
    }

    /// Reads at the end of the ring until something arrives, or another follower has read further.
    async fn read_on(&self, position: &L::Position) -> Result<()> {
        loop {
            let came = self.read_or_wait(position).await?;
            if came || !self.lock().ends_at(position) {
                return Ok(());
            }
        }
    }

    /// Reads at the end of the ring, for all followers; waits a while if there is nothing. Returns whether there was
    /// something.
    async fn read_or_wait(&self, position: &L::Position) -> Result<bool> {
        // Whatever rang before this read is covered by it; a ring from here on is kept.
        let bell = self.log.bell();
        let part = self.read_through_outages(position).await?;
        if !part.is_empty() {
            self.lock().push(position, Arc::new(part));
            return Ok(true);
        }
        let _parked = Parked::at(self, position);
        let next = part.next.map(|next| self.clock().sleep_until_timestamp(Timestamp::from_millis(next)));
        tokio::select! {
            () = bell.rung.notified() => {}
            () = runtime::or_never(next) => {}
            // Covers a lost wake-up, and renews this process's registration as waiting.
            () = bell::safety(self.clock()) => {}
        }
        Ok(false)
    }

    /// Reads and parks. Transient failures are waited out.
    async fn read_through_outages(&self, position: &L::Position) -> Result<Part<L>> {
        let mut failures = 0;
        loop {
            match self.log.read(position, true).await {
                Ok(part) => {
                    self.lock().answered();
                    return Ok(part);
                }
                Err(error) if error.may_pass() => {
                    self.lock().failed(error);
                    failures += 1;
                    runtime::sleep(pause_after(failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Marks the drive as running, as long as this lives.
struct Over<L: Log> {
    hub: Arc<Hub<L>>,
    number: u64,
}

impl<L: Log> Drop for Over<L> {
    /// Also runs when nobody polls the drive any more: then a waiting follower begins another one.
    fn drop(&mut self) {
        self.hub.current().take_if(|drive| drive.number == self.number);
        self.hub.changed.notify_waiters();
        if self.hub.followers.load(Ordering::Acquire) == 0 {
            // Followers through another handle wait for the same bell.
            self.hub.log.bell().ring();
        }
    }
}

/// Marks the drive as waiting, as long as this lives.
struct Parked<'a, L: Log>(&'a Hub<L>);

impl<'a, L: Log> Parked<'a, L> {
    fn at(hub: &'a Hub<L>, position: &L::Position) -> Self {
        let mut ring = hub.lock();
        if ring.begin_at(position) {
            // The ring was reset: followers waiting at another position now have to read for themselves.
            hub.changed.notify_waiters();
        }
        ring.parked = true;
        Self(hub)
    }
}

impl<L: Log> Drop for Parked<'_, L> {
    fn drop(&mut self) {
        self.0.lock().parked = false;
    }
}

/// What comes next in a log.
pub(crate) enum Next<L: Log> {
    /// The part's gap.
    Gap(Arc<Part<L>>),
    /// The part's event with this index.
    Event(Arc<Part<L>>, usize),
}

/// A follower: a position in the log that advances.
pub(crate) struct Follower<L: Log> {
    hub: Arc<Hub<L>>,
    position: L::Position,
    current: Option<(Arc<Part<L>>, Index)>,
    /// The number of the part after the current one, if the current one came from the ring.
    number: Option<u64>,
    /// Nothing has been read for it yet. The ring may hold events that the log no longer has: a new follower must not
    /// get them.
    fresh: bool,
}

impl<L: Log> Follower<L> {
    /// The position after the last thing returned.
    pub(crate) fn position(&self) -> &L::Position {
        &self.position
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    ///
    /// Outages are waited out. An error is permanent, or a shutdown.
    pub(crate) async fn next(&mut self) -> Result<Next<L>> {
        self.let_go_of_lost();
        loop {
            if let Some(next) = self.step() {
                return Ok(next);
            }
            let hub = Arc::clone(&self.hub);
            let lifecycle = hub.world.lifecycle.clone();
            tokio::select! {
                biased;
                () = lifecycle.closing() => return Err(Error::shut_down()),
                refilled = self.refill(&hub) => refilled?,
            }
        }
    }

    /// Returns what comes next if it is available now.
    pub(crate) async fn try_next(&mut self) -> Result<Option<Next<L>>> {
        self.let_go_of_lost();
        if let Some(next) = self.step() {
            return Ok(Some(next));
        }
        self.hub.world.lifecycle.check()?;
        let place = self.place();
        if let Place::Inside { part, number, index } = place {
            self.enter(part, Some(number), index);
            return Ok(self.step());
        }
        let part = Arc::new(self.hub.log.read(&self.position, false).await?);
        self.hub.lock().trouble = None;
        if matches!(place, Place::End) && !part.is_empty() {
            self.hub.lock().push(&self.position, Arc::clone(&part));
            self.hub.changed.notify_waiters();
        }
        self.enter(part, None, Index::Gap);
        Ok(self.step())
    }

    /// Discards what was read ahead if the log no longer holds it; the log will report the gap.
    fn let_go_of_lost(&mut self) {
        if !self.hub.log.holds(&self.position) {
            self.current = None;
            self.fresh = true;
        }
    }

    /// The next item of the current part.
    fn step(&mut self) -> Option<Next<L>> {
        let (part, index) = self.current.take()?;
        let at = match (index, &part.gap) {
            (Index::Gap, Some((behind, _))) => {
                self.position = behind.clone();
                self.current = Some((Arc::clone(&part), Index::Event(0)));
                return Some(Next::Gap(part));
            }
            (Index::Gap, None) => 0,
            (Index::Event(at), _) => at,
        };
        let Some((behind, _)) = part.events.get(at) else {
            self.position = part.end.clone();
            return None;
        };
        self.position = behind.clone();
        if at + 1 < part.events.len() {
            self.current = Some((Arc::clone(&part), Index::Event(at + 1)));
        } else {
            self.position = part.end.clone();
        }
        Some(Next::Event(part, at))
    }

    fn enter(&mut self, part: Arc<Part<L>>, number: Option<u64>, index: Index) {
        self.current = Some((part, index));
        self.number = number.map(|number| number + 1);
        self.fresh = false;
    }

    /// The follower's place in the ring. A new follower counts as inside only at the end of the ring.
    fn place(&self) -> Place<L> {
        match self.hub.lock().find(&self.position, self.number) {
            Place::Inside { .. } if self.fresh => Place::Outside,
            place => place,
        }
    }

    /// Finds or reads the next part, or waits a while for it.
    async fn refill(&mut self, hub: &Arc<Hub<L>>) -> Result<()> {
        // Registered before the ring is checked, so that nothing added afterwards is missed.
        let changed = hub.changed.notified();
        let place = self.place();
        match place {
            Place::Inside { part, number, index } => {
                self.enter(part, Some(number), index);
                return Ok(());
            }
            // Everything added from here on is new, so the ring may be used.
            Place::End => self.fresh = false,
            Place::Outside => {
                let part = self.catch_up(hub).await?;
                if !part.is_empty() {
                    self.enter(Arc::new(part), None, Index::Gap);
                    return Ok(());
                }
            }
        }
        match hub.begin_drive(&self.position) {
            None => changed.await,
            Some(driving) => driving.await.map_err(|error| error.duplicate())?,
        }
        Ok(())
    }

    async fn catch_up(&self, hub: &Hub<L>) -> Result<Part<L>> {
        let mut failures = 0;
        loop {
            match hub.log.read(&self.position, true).await {
                Err(error) if error.may_pass() => {
                    failures += 1;
                    runtime::sleep(pause_after(failures)).await;
                }
                read => return read,
            }
        }
    }
}

impl<L: Log> Drop for Follower<L> {
    fn drop(&mut self) {
        let mut ring = self.hub.lock();
        if self.hub.followers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.hub.left.notify_waiters();
            ring.clear();
        }
    }
}

impl<L: Log> fmt::Debug for Follower<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("log", &self.hub.log).field("position", &self.position).finish_non_exhaustive()
    }
}

impl<L: Log> fmt::Debug for Hub<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("log", &self.log).finish_non_exhaustive()
    }
}

/// Waits until `end` for what comes next; `None` if `end` came first.
///
/// `None` must not hide a broken connection: failures in the meantime are returned, and if no read was answered, one is
/// made now and its outcome returned.
pub(crate) async fn within<L: Log>(
    follower: &mut Follower<L>,
    end: impl Future<Output = ()>,
) -> Result<Option<Next<L>>> {
    let hub = Arc::clone(&follower.hub);
    let (answers, failures) = {
        let ring = hub.lock();
        (ring.answers, ring.failures)
    };
    let outcome = tokio::select! {
        biased;
        next = follower.next() => next.map(Some),
        () = end => Ok(None),
    };
    if !matches!(outcome, Ok(None)) {
        return outcome;
    }
    let (parked, answered) = {
        let ring = hub.lock();
        // Only failures since the call count: an older one may be over.
        if let Some(trouble) = ring.trouble.as_ref().filter(|_| ring.failures != failures) {
            return Err(trouble.duplicate());
        }
        (ring.parked, ring.answers != answers)
    };
    match (parked, answered) {
        (true, _) => Ok(None),
        // The bell has rung since the last answer, which the loss of a connection causes too: check. New events come
        // with the next call.
        (false, true) => hub.log.read(&follower.position, false).await.map(|_| None),
        (false, false) => follower.try_next().await,
    }
}

#[cfg(test)]
mod tests;
