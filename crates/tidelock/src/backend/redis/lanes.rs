//! Sharing round trips: requests to one object that are made while a trip is in flight share the next trip.
//!
//! A lane is a numbered series of trips, at most one of them in flight. The script remembers the last answer of each
//! lane. So a trip whose reply was lost is repeated under its number and changes nothing twice.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{oneshot, watch};

use super::call::Repeat;
use super::gate::{Gate, Turn};
use super::{Home, Server};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{BoxFuture, yield_now};

/// The most requests and bytes that share a trip. A single larger request goes alone.
const MAX_REQUESTS: usize = 256;
const SHARED_BYTES: usize = 1_024 * 1_024;
/// Trips in flight at once: the server works on one while the answers of the other are distributed.
pub(crate) const LANES: usize = 2;
/// This many waiting requests are worth a second trip beside the one in flight.
const WORTH_A_TRIP: usize = 8;
/// The answer to a request with this many items keeps the client busy, so a second trip pays off.
pub(crate) const MANY_ITEMS: usize = 16;
/// This many requests on a trip mean few callers, each waiting for its own answer, so no others are about to come.
const FEW: usize = 2;

/// How many requests go on the next trip: as many as make it as long as those in flight. Callers that are answered
/// together ask again together. So with a long and a short trip the long one would stay long, and server and client
/// would work alternately. Without a connection all waiting requests go, because no second trip leaves beside this
/// one then.
pub(crate) fn share(waiting: usize, under_way: usize, is_connected: bool) -> usize {
    if is_connected { (waiting + under_way).div_ceil(LANES).max(WORTH_A_TRIP) } else { waiting }
}

/// One caller's part of a trip.
pub(crate) trait Request: Send + 'static {
    /// Roughly how many bytes it adds to a trip.
    fn bytes(&self) -> usize;
    /// Whether it gains from a second trip beside the one in flight, because its answer keeps the client busy.
    fn gains_from_a_second_trip(&self) -> bool {
        false
    }
    /// Whether no trip leaves for it alone, until it is told to [depart](Carrier::depart).
    fn waits_for_company(&self) -> bool {
        false
    }
    /// Whether nobody waits for it any more, so that it need not be sent.
    fn is_withdrawn(&self) -> bool {
        false
    }
    /// Tells its caller that the trip failed.
    fn fail(&mut self, error: &Error);
}

/// Tells a caller that its request failed. After that it counts as gone. A caller that has gone already needs no
/// answer.
pub(crate) fn refuse<T>(reply: &mut oneshot::Sender<Result<T>>, error: &Error) {
    let (gone, _) = oneshot::channel();
    let _ = std::mem::replace(reply, gone).send(Err(error.duplicate()));
}

/// Makes the trips of one object.
pub(crate) trait Carrier: Sized + Send + Sync + 'static {
    type Request: Request;

    fn lanes(&self) -> &Lanes<Self::Request>;
    /// Makes one trip and answers all its requests.
    fn carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<Self::Request>) -> impl Future<Output = ()> + Send;

    /// Puts a request on the next trip and waits for its answer.
    fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Self::Request,
    ) -> BoxFuture<'static, Result<T>> {
        let (sender, receiver) = oneshot::channel();
        self.submit(request(sender));
        Box::pin(async move {
            receiver.await.unwrap_or_else(|_| {
                // The request may have been sent.
                Err(Error::new(ErrorKind::Timeout, "the runtime that carried the request was shut down under it"))
            })
        })
    }

    /// Sends requests that wait for others to share a trip with.
    fn depart(self: &Arc<Self>) {
        if let Some(lane) = self.lanes().depart() {
            Driver::start(self, lane);
        }
    }

    /// Puts a request on the next trip, which leaves at once if none is in flight.
    fn submit(self: &Arc<Self>, request: Self::Request) {
        if let Some(lane) = self.lanes().add(request) {
            Driver::start(self, lane);
        }
    }
}

/// Makes the trips of a lane.
struct Driver<C: Carrier> {
    carrier: Arc<C>,
    /// `None` once there is nothing to carry.
    lane: Option<Lane>,
    /// The number of requests on its trip.
    aboard: usize,
}

impl<C: Carrier> Driver<C> {
    fn start(carrier: &Arc<C>, lane: Lane) {
        let driver = Self { carrier: Arc::clone(carrier), lane: Some(lane), aboard: 0 };
        carrier.lanes().server.spawner.spawn(driver.drive());
    }

    /// Makes trips while there is something to carry.
    async fn drive(mut self) {
        loop {
            if self.carrier.lanes().is_crowded() {
                // Callers that were just answered get the chance to ask again before the trip leaves. Not if they are
                // few, because yielding wakes another thread.
                yield_now().await;
            }
            let carrier = Arc::clone(&self.carrier);
            match carrier.lanes().gate.depart(|turn| self.trip(turn)).await {
                Some(trip) => self = trip.arrive().await,
                None => return,
            }
        }
    }

    /// The next trip, if there is something to carry.
    fn trip(mut self, turn: Turn) -> Option<impl Future<Output = Self>> {
        let lanes = self.carrier.lanes();
        let loaded = lanes.load(self.lane.take()?);
        if let Some(beside) = lanes.beside() {
            Self::start(&self.carrier, beside);
        }
        let (lane, load) = loaded?;
        let lane = self.lane.insert(lane);
        lane.number += 1;
        lane.turn = Some(turn);
        self.aboard = load.len();
        Some(async move {
            if let Some(lane) = &mut self.lane {
                self.carrier.carry(lane, load).await;
                lane.turn = None;
            }
            self.carrier.lanes().arrived(std::mem::take(&mut self.aboard));
            self
        })
    }
}

impl<C: Carrier> Drop for Driver<C> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.carrier.lanes().recover(lane, self.aboard);
        }
    }
}

/// A series of trips, at most one of them in flight.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The key under which the script remembers the last answer.
    pub(crate) answers: String,
    /// The number of the trip in flight.
    pub(crate) number: u64,
    turn: Option<Turn>,
}

impl Lane {
    pub(crate) fn new(home: &Home) -> Self {
        Self { answers: home.answers_key(), number: 0, turn: None }
    }

    /// Abandons the trip in flight, which has no answer. Returns the key and the number under which its answer can
    /// still be asked for. Later trips form a new series.
    pub(crate) fn leave_behind(&mut self, home: &Home) -> (String, u64) {
        let answers = std::mem::replace(&mut self.answers, home.answers_key());
        (answers, std::mem::take(&mut self.number))
    }

    /// How to retry the trip in flight, which may change something: under its number, and in its turn.
    pub(crate) fn repeat(&self) -> Repeat<'_> {
        self.turn.as_ref().map_or(Repeat::Safe, Repeat::InTurn)
    }
}

/// An abandoned trip whose answer is being asked for.
#[derive(Debug)]
pub(crate) struct LeftBehind(watch::Sender<usize>);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        self.0.send_modify(|unanswered| *unanswered -= 1);
    }
}

/// The requests of one object that wait for a trip, and its free lanes.
pub(crate) struct Lanes<R> {
    state: Mutex<State<R>>,
    /// Keeps the trips in order: a claim must not overtake the end of the run that made room for it.
    gate: Gate,
    /// How many abandoned trips have answers that are being asked for.
    unanswered: watch::Sender<usize>,
    server: Arc<Server>,
    slot: u16,
}

struct State<R> {
    waiting: VecDeque<R>,
    idle: Vec<Lane>,
    /// How many requests are on trips.
    under_way: usize,
    /// How many lanes are about to be loaded.
    leaving: usize,
    /// How many requests the last trip carried.
    last_load: usize,
}

impl<R: Request> State<R> {
    /// Whether the waiting requests are worth a trip beside the one in flight.
    fn are_worth_a_trip(&self) -> bool {
        self.waiting.len() >= WORTH_A_TRIP || self.waiting.iter().any(Request::gains_from_a_second_trip)
    }

    /// A free lane, which is about to be loaded from now on; none if another one is about to be loaded.
    fn next_lane(&mut self) -> Option<Lane> {
        let lane = if self.leaving == 0 { self.idle.pop() } else { None };
        self.leaving += usize::from(lane.is_some());
        lane
    }
}

impl<R: Request> Lanes<R> {
    pub(crate) fn new(home: &Home) -> Self {
        let idle = (0..LANES).map(|_| Lane::new(home)).collect();
        let state = Mutex::new(State { waiting: VecDeque::new(), idle, under_way: 0, leaving: 0, last_load: 0 });
        let (gate, unanswered) = (Gate::default(), watch::Sender::default());
        Self { state, gate, unanswered, server: Arc::clone(&home.server), slot: home.place.slot }
    }

    /// Whether an abandoned trip lacks its answer.
    pub(crate) fn is_any_unanswered(&self) -> bool {
        *self.unanswered.borrow() > 0
    }

    /// Waits until no abandoned trip lacks its answer.
    pub(crate) async fn all_answered(&self) {
        // The sender lives as long as `self`.
        let _ = self.unanswered.subscribe().wait_for(|unanswered| *unanswered == 0).await;
    }

    /// Records that a trip was abandoned, until the returned value is dropped.
    pub(crate) fn left_behind(&self) -> LeftBehind {
        self.unanswered.send_modify(|unanswered| *unanswered += 1);
        LeftBehind(self.unanswered.clone())
    }

    /// Adds a request. Returns the lane that must leave for it, if any. A lane that is about to leave takes the
    /// request along.
    fn add(&self, request: R) -> Option<Lane> {
        let mut state = self.lock();
        let waits = request.waits_for_company();
        state.waiting.push_back(request);
        let leaves = (state.idle.len() == LANES && !waits) || state.are_worth_a_trip();
        if leaves { state.next_lane() } else { None }
    }

    /// The lane for requests that were left waiting.
    fn depart(&self) -> Option<Lane> {
        let mut state = self.lock();
        let leaves = state.idle.len() == LANES && !state.waiting.is_empty();
        if leaves { state.next_lane() } else { None }
    }

    /// A lane that should leave beside the one just loaded, if enough requests are left.
    fn beside(&self) -> Option<Lane> {
        let mut state = self.lock();
        if state.are_worth_a_trip() { state.next_lane() } else { None }
    }

    /// Whether there are many callers, so that a moment's wait for their next requests pays off.
    fn is_crowded(&self) -> bool {
        let state = self.lock();
        state.waiting.len().max(state.last_load) > FEW
    }

    /// The requests of the next trip. If there is nothing to carry, or nothing worth a trip beside the one in flight,
    /// the lane becomes free again.
    fn load(&self, lane: Lane) -> Option<(Lane, Vec<R>)> {
        let is_connected = self.server.reachable(self.slot).is_ok();
        let mut state = self.lock();
        state.leaving -= 1;
        let waits_for_the_other = state.under_way > 0 && !state.are_worth_a_trip();
        let share = share(state.waiting.len(), state.under_way, is_connected);
        let most = if waits_for_the_other { 0 } else { share.min(MAX_REQUESTS) };
        let mut load = Vec::new();
        let mut bytes = 0;
        while let Some(request) = state.waiting.front() {
            if request.is_withdrawn() {
                state.waiting.pop_front();
                continue;
            }
            bytes += request.bytes();
            if load.len() == most || (bytes > SHARED_BYTES && !load.is_empty()) {
                break;
            }
            load.extend(state.waiting.pop_front());
        }
        if load.is_empty() {
            state.idle.push(lane);
            debug_assert!(state.idle.len() <= LANES, "a lane came back twice");
            return None;
        }
        state.under_way += load.len();
        state.last_load = load.len();
        Some((lane, load))
    }

    /// A trip with `count` requests is over, and its lane is about to be loaded again.
    fn arrived(&self, count: usize) {
        let mut state = self.lock();
        state.under_way -= count;
        state.leaving += 1;
    }

    /// Takes back a lane whose trip did not end because its runtime was shut down. Unless another lane continues,
    /// nobody is left to carry the waiting requests.
    fn recover(&self, mut lane: Lane, aboard: usize) {
        lane.turn = None;
        let mut state = self.lock();
        state.under_way -= aboard;
        state.leaving -= usize::from(aboard == 0);
        state.idle.push(lane);
        let left = if state.idle.len() == LANES { std::mem::take(&mut state.waiting) } else { VecDeque::new() };
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl<R> fmt::Debug for Lanes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").finish_non_exhaustive()
    }
}
