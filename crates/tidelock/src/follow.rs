//! Following a log: a process reads each log once, however many follow it here.
//!
//! What was read stands in a ring that all followers of the log share; each has a place of its own in it. Nothing is
//! read unless a follower waits: at the end of the ring one read is made for all who wait (the *drive*), and parks
//! where the log ends. A follower that has fallen out of the ring reads for itself until it is back in it. So a slow
//! follower costs no memory and holds up nobody, and what it has missed is told by the log as a gap.
//!
//! The drive goes on in the task of the follower that began it, which costs nothing to wake. A follower may be asked once and
//! then left alone, without being dropped, as a `select!` does whose other branch takes its time; so where others wait too, a
//! task of the hub carries the drive as well.

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
    /// A place between two events.
    type Position: Clone + PartialEq + fmt::Debug + Send + Sync;
    /// What stands in it.
    type Event: fmt::Debug + Send + Sync;
    /// What is told to those who can no longer get everything behind their place.
    type Gap: fmt::Debug + Send + Sync;

    /// What stands behind `after`, a bounded part of it, now.
    ///
    /// `park`: if there is nothing, note in the same step that this process waits; its bell rings when there is.
    fn read(&self, after: &Self::Position, park: bool) -> BoxFuture<'static, Result<Part<Self>>>;

    /// Whether everything behind a place can still be read, where that is known without asking.
    fn holds(&self, _place: &Self::Position) -> bool {
        true
    }

    /// What rings when this process should read again.
    fn bell(&self) -> Arc<Bell>;
}

/// Events that were read together.
pub(crate) struct Part<L: Log + ?Sized> {
    /// Comes before the events; with the place behind it.
    pub(crate) gap: Option<(L::Position, L::Gap)>,
    /// Each event with the place behind it, in order.
    pub(crate) events: Vec<(L::Position, L::Event)>,
    /// The place behind all of it.
    pub(crate) end: L::Position,
    /// About how much memory it takes.
    pub(crate) bytes: usize,
    /// Of an empty part: read again at this instant of this process's clock if nothing rings before.
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
    /// The read at the end of the ring that is made for everybody.
    drive: Mutex<Option<Drive>>,
    /// How many drives there were.
    drives: AtomicU64,
    /// The ring has grown or begun anew, or a drive has ended.
    changed: Notify,
    /// The last follower has gone.
    left: Notify,
}

/// A drive that is going on, as long as somebody carries it.
struct Drive {
    number: u64,
    going_on: WeakShared<Driving>,
    /// A task of the hub carries it.
    has_task: bool,
}

/// An error is that of the follower that began it; others meet it in a drive of their own.
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

    /// Follows the log from a place on.
    pub(crate) fn follow(self: &Arc<Self>, position: L::Position) -> Follower<L> {
        self.followers.fetch_add(1, Ordering::AcqRel);
        Follower { hub: Arc::clone(self), position, current: None, number: None, fresh: true }
    }

    fn clock(&self) -> &Clock {
        &self.world.clock
    }

    fn lock(&self) -> MutexGuard<'_, Ring<L>> {
        self.ring.lock().expect("no code panics while it holds this lock")
    }

    /// The drive that the caller is to carry, from its place on. `None`: there is one, and it is carried by others.
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
        // Not under the lock: whoever lets go of a drive as the last one ends it.
        if !has_task {
            self.carry(going_on);
        }
        None
    }

    /// Carries a drive in a task, while there are followers.
    fn carry(self: &Arc<Self>, driving: Shared<Driving>) {
        let hub = Arc::clone(self);
        let lifecycle = self.world.lifecycle.clone();
        self.world.spawner.spawn(async move {
            let left = hub.left.notified();
            if hub.followers.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::select! {
                // The follower that began it tells an error.
                _ = driving => {}
                () = left => {}
                () = lifecycle.closing() => {}
            }
        });
    }

    fn current(&self) -> MutexGuard<'_, Option<Drive>> {
        self.drive.lock().expect("no code panics while it holds this lock")
    }

    /// Reads at the end of the ring until something comes, or somebody else has read further.
    async fn read_on(&self, position: &L::Position) -> Result<()> {
        loop {
            let came = self.read_or_wait(position).await?;
            if came || !self.lock().ends_at(position) {
                return Ok(());
            }
        }
    }

    /// Reads at the end of the ring, for everybody; waits a while if there is nothing. Answers whether there was something.
    async fn read_or_wait(&self, position: &L::Position) -> Result<bool> {
        // What rang before this read is seen by it; what rings from here on is kept.
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
            // Covers a wake-up that was lost, and keeps this process remembered as waiting.
            () = bell::safety(self.clock()) => {}
        }
        Ok(false)
    }

    /// Reads and parks; what waiting cures is waited out.
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

/// A drive goes on as long as this lives.
struct Over<L: Log> {
    hub: Arc<Hub<L>>,
    number: u64,
}

impl<L: Log> Drop for Over<L> {
    /// Also when nobody carries it any more: whoever waits begins another one.
    fn drop(&mut self) {
        self.hub.current().take_if(|drive| drive.number == self.number);
        self.hub.changed.notify_waiters();
    }
}

/// The drive waits as long as this lives.
struct Parked<'a, L: Log>(&'a Hub<L>);

impl<'a, L: Log> Parked<'a, L> {
    fn at(hub: &'a Hub<L>, position: &L::Position) -> Self {
        let mut ring = hub.lock();
        if ring.begin_at(position) {
            // Who waits elsewhere waits for what this one does not read.
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

/// One that follows a log: a place in it that moves on.
pub(crate) struct Follower<L: Log> {
    hub: Arc<Hub<L>>,
    position: L::Position,
    current: Option<(Arc<Part<L>>, Index)>,
    /// The number of the part behind the current one, if that came from the ring.
    number: Option<u64>,
    /// Nothing was read for it yet: what others keep in the ring may be gone from the log, and is not for a newcomer.
    fresh: bool,
}

impl<L: Log> Follower<L> {
    /// The place behind what was handed out last.
    pub(crate) fn position(&self) -> &L::Position {
        &self.position
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    ///
    /// Outages are waited out; an error is one that waiting does not cure, or a shutdown.
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

    /// What comes next, if it is there now.
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

    /// What was read ahead is not handed out when the log no longer holds it: the log tells the gap.
    fn let_go_of_lost(&mut self) {
        if !self.hub.log.holds(&self.position) {
            self.current = None;
            self.fresh = true;
        }
    }

    /// The next thing of the current part.
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

    /// Where it is in the ring; a newcomer is in it only at its end.
    fn place(&self) -> Place<L> {
        match self.hub.lock().find(&self.position, self.number) {
            Place::Inside { .. } if self.fresh => Place::Outside,
            place => place,
        }
    }

    /// Finds or reads the part that comes next, or waits a while for it.
    async fn refill(&mut self, hub: &Arc<Hub<L>>) -> Result<()> {
        // Before the ring is looked at: what is added from then on is not missed.
        let changed = hub.changed.notified();
        let place = self.place();
        match place {
            Place::Inside { part, number, index } => {
                self.enter(part, Some(number), index);
                return Ok(());
            }
            // What comes from here on is new to it too.
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
        if self.hub.followers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.hub.left.notify_waiters();
            self.hub.lock().clear();
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

/// Waits until `end` for what comes next; `None` when it has come first.
///
/// Nothing there never hides a broken connection: what failed meanwhile is told, and if nobody was answered, this asks, and
/// says how that ended.
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
        // An older trouble may be over: nobody is told of it for ever.
        if let Some(trouble) = ring.trouble.as_ref().filter(|_| ring.failures != failures) {
            return Err(trouble.duplicate());
        }
        (ring.parked, ring.answers != answers)
    };
    match (parked, answered) {
        (true, _) => Ok(None),
        // It rang since the answer, which a loss of the connection does too. What there is comes with the next call.
        (false, true) => hub.log.read(&follower.position, false).await.map(|_| None),
        (false, false) => follower.try_next().await,
    }
}

#[cfg(test)]
mod tests;
