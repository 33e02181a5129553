//! The waiting room of one process: its calls that ask or wait, and the delivery of grants to them.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::FutureExt;

use crate::backoff::Pauses;
use crate::error::{Error, ErrorKind, Result};
use crate::lifecycle::Lifecycle;
use crate::mutex::agenda::{Agenda, Entry, Item};
use crate::mutex::halls::Halls;
use crate::mutex::seat::{Grant, Seat, Standing, State, Unwanted};
use crate::mutex::store::{Answer, Ask, CLAIM_WINDOW, Effort, Handed, Hears, MutexStore, Outcome, Spot, Step, Token};
use crate::proof::Moment;
use crate::runtime::Spawner;
use crate::sent::{Sent, in_task};
use crate::tidelock::World;
use crate::time::{Clock, SECOND, Tick};

/// The first pause after a request without an answer; it doubles.
pub(crate) const RETRY: Duration = Duration::from_millis(50);

type Seats = HashMap<Token, Arc<Seat>, BuildHasherDefault<TokenHasher>>;

/// A hasher for tokens, which are random already.
#[derive(Debug, Default)]
struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, token: u128) {
        // The half that depends on the keys of the operating system.
        self.0 = u64::try_from(token >> 64).unwrap_or_default();
    }
}

/// What all mutexes of one opened `Tidelock` share.
#[derive(Debug)]
pub(crate) struct Room {
    store: Arc<dyn MutexStore>,
    clock: Clock,
    lifecycle: Lifecycle,
    spawner: Arc<Spawner>,
    /// Every call that asks, waits or has a guard. A grant for any other token is given back.
    seats: Mutex<Seats>,
    pub(crate) halls: Halls,
    agenda: Arc<Agenda>,
    this: Weak<Self>,
}

impl Room {
    /// The room of an opened `Tidelock`.
    pub(crate) fn of(world: &World) -> Arc<Self> {
        let store = world.backend.mutex();
        let shared = Arc::clone(&store);
        store.door().room(|| {
            Arc::new_cyclic(|this| Self {
                store: shared,
                clock: world.clock.clone(),
                lifecycle: world.lifecycle.clone(),
                spawner: Arc::clone(&world.spawner),
                seats: Mutex::default(),
                halls: Halls::default(),
                agenda: Arc::default(),
                this: Weak::clone(this),
            })
        })
    }

    pub(crate) fn store(&self) -> &Arc<dyn MutexStore> {
        &self.store
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("whoever calls a method of the room has it")
    }

    pub(crate) fn plan(&self, at: Tick, item: Item) -> Entry {
        self.agenda.add(at, item, &self.this(), &self.spawner)
    }

    pub(crate) fn unplan(&self, entry: Entry) {
        self.agenda.remove(entry);
    }

    /// Starts a piece of work from the agenda.
    pub(crate) fn attend(&self, item: Item) {
        match item {
            Item::Refresh(tag) => self.background(self.this().refresh(tag)),
            Item::Watch(spot) => self.background(self.this().watched(spot)),
            Item::Renew(tenure) => {
                if let Some(tenure) = tenure.upgrade() {
                    self.background(tenure.renew());
                }
            }
        }
    }

    /// Runs `future` to its end, independently of the caller. In process it ends before this returns, so that a guard
    /// can be dropped on a thread without a runtime.
    pub(crate) fn background(&self, future: impl Future<Output = ()> + Send + 'static) {
        if self.store.is_shared() {
            // If the runtime is gone, the backend is not told, and the lease ends the grant.
            self.spawner.spawn(future);
            return;
        }
        let mut future = Box::pin(future);
        if future.as_mut().now_or_never().is_none() {
            self.spawner.spawn(future);
        }
    }

    /// Runs a request that, once polled, completes even if nobody polls it again.
    pub(crate) async fn in_task<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        in_task(&self.spawner, Box::pin(future)).await
    }

    /// Runs a request that, once polled, completes even if it is dropped.
    pub(crate) fn sent<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Sent<T> {
        Sent::new(Box::pin(future), &self.spawner)
    }

    /// Runs a step and delivers the grant if the step gave the resource to a waiter of this process.
    pub(crate) async fn step(&self, spot: &Spot, step: Step, effort: Effort) -> Result<Outcome> {
        let start = Moment::of(&self.clock);
        let Answer { outcome, handed, offered } = self.store.step(spot, step, effort).await?;
        if offered {
            self.halls.watch(self, spot, CLAIM_WINDOW);
        }
        if let Some(handed) = handed {
            self.hand_over(spot, handed, start);
        }
        Ok(outcome)
    }

    fn hand_over(&self, spot: &Spot, handed: Handed, start: Moment) {
        let left = Duration::from_millis(handed.left);
        let grant = Grant { fence: handed.fence, left, start, answered: Moment::of(&self.clock) };
        let unwanted = match self.seat(handed.token) {
            None => Unwanted::GiveBack,
            // Repeating the waiter's request tells what is left of the grant now.
            Some(seat) if grant.is_stale() => {
                self.background(self.this().ask(seat, Duration::ZERO));
                Unwanted::No
            }
            Some(seat) => seat.grant(grant),
        };
        if unwanted == Unwanted::GiveBack {
            self.give_back(spot, handed.token, left);
        }
        self.halls.granted(self, spot, start.tick, left);
    }

    /// Takes a token without a call out of the queue, and gives back an offer or grant that it may have. `lasts`
    /// bounds how long it may have one.
    pub(crate) fn give_back(&self, spot: &Spot, token: Token, lasts: Duration) {
        self.leave(spot, Ask { token, lease: 0, owner: String::new() }, lasts);
    }

    pub(crate) fn leave_seat(&self, seat: &Seat) {
        self.leave(&seat.spot, seat.ask.clone(), Duration::from_millis(seat.ask.lease));
    }

    /// Leaves in the background. Retries until there is an answer, or until `lasts` has passed, when nothing that the
    /// token may have is left.
    fn leave(&self, spot: &Spot, ask: Ask, lasts: Duration) {
        let (room, spot, over) = (self.this(), spot.clone(), self.clock.tick().plus(lasts));
        self.background(async move {
            let (token, step) = (ask.token, Step::Leave { ask });
            if let Err(error) = room.step(&spot, step.clone(), Effort::USUAL).await {
                tracing::debug!(tag = %spot.tag, ?token, %error, "a waiter that left is still in the queue");
                if error.may_pass() {
                    room.insist(&spot, &step, || over).await;
                }
            }
        });
    }

    /// Retries a step that ends a grant until there is an answer or the grant has ended by itself.
    pub(crate) async fn insist(&self, spot: &Spot, step: &Step, over: impl Fn() -> Tick + Send) {
        let mut pauses = Pauses::new(RETRY, SECOND);
        while self.clock.tick() < over() {
            tokio::select! {
                () = crate::runtime::sleep(pauses.next()) => {}
                () = self.clock.sleep_until(over()) => return,
                () = self.lifecycle.closed() => return,
            }
            match self.step(spot, step.clone(), Effort::USUAL).await {
                Err(error) if error.may_pass() => {}
                _ => return,
            }
        }
    }

    pub(crate) fn seat(&self, token: Token) -> Option<Arc<Seat>> {
        self.seats().get(&token).cloned()
    }

    /// Forgets a call whose guard, if it had one, is finished.
    pub(crate) fn forget(&self, token: Token) {
        self.seats().remove(&token);
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().expect("no code panics while it holds this lock")
    }

    /// A request of this process shortened the holder's lease. A request in flight may still be answered with the
    /// later deadline.
    pub(crate) fn came_nearer(&self, tag: &str) {
        self.seats().values().filter(|seat| *seat.spot.tag == *tag).for_each(|seat| seat.doubt_answer());
    }

    /// Requests the resource on behalf of a call, and repeats that while necessary.
    pub(crate) async fn ask(self: Arc<Self>, seat: Arc<Seat>, within: Duration) {
        if !seat.begin_asking() {
            return;
        }
        let mut start = Moment::of(&self.clock);
        let limit = start.tick.plus(within);
        loop {
            let (mut answer, mut answered) = self.ask_once(&seat, start, limit).await;
            if is_stale(&answer, start, answered) {
                // The resource is still granted to this call; the second answer tells how much of the lease is left.
                start = answered;
                seat.has_grant();
                (answer, answered) = self.ask_once(&seat, start, limit).await;
            }
            if self.heard(&seat, answer, start, answered) == Unwanted::GiveBack {
                self.leave_seat(&seat);
            }
            if !seat.end_asking() {
                return;
            }
            start = Moment::of(&self.clock);
        }
    }

    async fn ask_once(&self, seat: &Seat, start: Moment, limit: Tick) -> (Result<Outcome>, Moment) {
        let step = Step::Lock { ask: seat.ask.clone(), wait: seat.wait };
        let effort = Effort { within: limit.since(start.tick), repeat: true };
        (self.step(&seat.spot, step, effort).await, Moment::of(&self.clock))
    }

    fn heard(&self, seat: &Seat, answer: Result<Outcome>, start: Moment, answered: Moment) -> Unwanted {
        let standing = |left, waiting| Standing { deadline: start.tick.plus(Duration::from_millis(left)), waiting };
        match answer {
            Ok(Outcome::Granted { fence, left }) => {
                let left = Duration::from_millis(left);
                self.halls.remove(self, &seat.spot.tag, seat.ask.token);
                if seat.is_waiting() {
                    self.halls.granted(self, &seat.spot, start.tick, left);
                }
                seat.grant(Grant { fence, left, start, answered })
            }
            Ok(Outcome::Waiting { place, left, waiting }) => {
                let standing = standing(left, waiting);
                let unwanted = seat.settle(State::Waiting { standing, since: start.tick });
                if unwanted == Unwanted::No {
                    self.halls.join(self, seat, place, standing.deadline, start.tick);
                }
                unwanted
            }
            Ok(Outcome::Held { left, waiting }) => seat.settle(State::Held(standing(left, waiting))),
            Ok(Outcome::Full { waiting }) => seat.settle(State::Full(waiting)),
            Ok(_) => seat.settle(State::Refused(Error::new(ErrorKind::IncompatibleFormat, "not an answer to a lock"))),
            Err(error) if error.is_retryable() => seat.settle(State::Failing(error)),
            Err(error) => seat.settle(State::Refused(error)),
        }
    }

    /// Registers a call. It leaves the room when the returned value is dropped.
    pub(crate) fn enter(&self, spot: Spot, ask: Ask, wait: bool) -> Entered {
        let seat = Arc::new(Seat::new(spot, ask, wait));
        self.seats().insert(seat.ask.token, Arc::clone(&seat));
        Entered { room: self.this(), seat }
    }
}

impl Hears for Room {
    fn handed(&self, spot: &Spot, handed: Handed) {
        self.hand_over(spot, handed, Moment::of(&self.clock));
    }

    fn offered(&self, spot: &Spot, token: Token) {
        match self.seat(token) {
            Some(seat) => self.background(self.this().ask(seat, Duration::ZERO)),
            None => self.give_back(spot, token, CLAIM_WINDOW),
        }
    }

    fn missed(&self) {
        self.halls.refresh_all(self);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.agenda.close();
    }
}

/// Whether this is a grant whose answer took so long that it proves hardly anything.
fn is_stale(answer: &Result<Outcome>, start: Moment, answered: Moment) -> bool {
    match *answer {
        Ok(Outcome::Granted { fence, left }) => {
            Grant { fence, left: Duration::from_millis(left), start, answered }.is_stale()
        }
        _ => false,
    }
}

/// A call that is in the room; dropping it leaves the room.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) room: Arc<Room>,
    pub(crate) seat: Arc<Seat>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Self { room, seat } = self;
        let unwanted = seat.vacate();
        room.halls.remove(room, &seat.spot.tag, seat.ask.token);
        if matches!(seat.look(), State::Taken(_)) {
            return;
        }
        room.forget(seat.ask.token);
        if unwanted == Unwanted::GiveBack {
            room.leave_seat(seat);
        }
    }
}
