//! Sharing round trips between keys: requests of one process that are made while a trip is under way travel together on the
//! next one, each for keys of its own.
//!
//! They stay what they were: each is answered on its own, and one that fails fails alone. Their keys have hash tags of
//! their own, so in a cluster each travels by itself. Requests to one object share trips by [`Lanes`](super::Lanes).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redis::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Server;
use super::call::Repeat;
use super::failure::Failure;
use super::gate::Gate;
use super::script::{Arguments, Script};
use crate::runtime::yield_now;

/// Requests on one trip; keeps a step of the server under a millisecond or two.
const MAX_REQUESTS: usize = 128;
/// Trips under way at the same time: the server works on one while the answers of the other are handed out.
const LANES: usize = 2;
/// An answer begins with a byte up to this one; what begins with a letter is the text of an error.
const LAST_ANSWER: u8 = 9;

/// What one request brings back: the script's answer, packed.
pub(crate) type Answer = Result<Vec<u8>, Failure>;

/// One request that wants to travel, with its `KEYS` keys.
#[derive(Debug)]
pub(crate) struct Request<const KEYS: usize> {
    pub(crate) slot: u16,
    pub(crate) keys: [String; KEYS],
    pub(crate) packed: Vec<u8>,
    pub(crate) deadline: Instant,
}

struct Traveller<const KEYS: usize> {
    request: Request<KEYS>,
    /// Closed when nobody waits any more: then the request is left behind.
    answer: oneshot::Sender<Answer>,
    /// It is or was on a trip.
    departed: Arc<AtomicBool>,
    /// Why it may have taken effect already, from a trip that was not answered.
    unknown: Option<Failure>,
}

/// The requests of this process for one script that wait for a trip.
///
/// The script takes the first keys of all requests, the second ones and so on; the pinned time or nothing; what `common`
/// says; and the requests, packed. It answers an array with one text for each: its first byte tells an answer (0 to 9)
/// from the text of an error.
pub(crate) struct Trips<const KEYS: usize> {
    server: Arc<Server>,
    script: &'static Script,
    common: Option<Vec<u8>>,
    repeat: Repeat,
    state: Mutex<State<KEYS>>,
    /// Who asked first is first.
    gate: Gate,
    /// Cleared by a server that turns out to be part of a cluster.
    shared: AtomicBool,
}

struct State<const KEYS: usize> {
    waiting: Vec<Traveller<KEYS>>,
    lanes: usize,
    /// A lane is about to leave with all that wait.
    boarding: bool,
}

impl<const KEYS: usize> Trips<KEYS> {
    /// With [`Repeat::Safe`] a request is sent until it is answered or its deadline has come; with [`Repeat::Never`] once,
    /// and only if there is a connection.
    pub(crate) fn new(server: &Arc<Server>, script: &'static Script, common: Option<Vec<u8>>, repeat: Repeat) -> Self {
        let shared = AtomicBool::new(!server.is_cluster());
        let state = Mutex::new(State { waiting: Vec::new(), lanes: 0, boarding: false });
        Self { server: Arc::clone(server), script, common, repeat, state, gate: Gate::default(), shared }
    }

    /// Makes the request, and waits for its answer until its deadline. Dropped, it is left behind if it has not left.
    pub(crate) async fn make(self: &Arc<Self>, request: Request<KEYS>) -> Answer {
        if !self.shared.load(Ordering::Relaxed) {
            return self.alone(request).await;
        }
        let (slot, deadline) = (request.slot, request.deadline);
        if self.repeat == Repeat::Never {
            // Known at once, so that an answer need not wait.
            self.server.reachable(slot)?;
        }
        let (answer, mut answered) = oneshot::channel();
        let departed = Arc::<AtomicBool>::default();
        self.board(Traveller { request, answer, departed: Arc::clone(&departed), unknown: None });
        let shut_down = |_| Err(Failure::Unknown("the runtime was shut down".to_owned()));
        if let Ok(answer) = tokio::time::timeout_at(deadline, &mut answered).await {
            return answer.unwrap_or_else(shut_down);
        }
        if self.repeat == Repeat::Safe {
            if departed.load(Ordering::Relaxed) {
                // The trip ends by the first deadline of those on it, and says what became of them.
                return answered.await.unwrap_or_else(shut_down);
            }
            self.server.reachable(slot)?;
        }
        Err(Failure::Unknown(format!("{} was not answered in time", self.script.name)))
    }

    fn board(self: &Arc<Self>, traveller: Traveller<KEYS>) {
        let mut state = self.lock();
        state.waiting.push(traveller);
        if state.boarding || state.lanes == LANES {
            return;
        }
        state.boarding = true;
        state.lanes += 1;
        drop(state);
        let lane = Lane { trips: Arc::clone(self), boarding: true, open: true };
        self.server.spawner.spawn(lane.run());
    }

    async fn alone(&self, request: Request<KEYS>) -> Answer {
        let answers = self.carry(&[&request], request.deadline).await?;
        answers.into_iter().next().ok_or_else(|| Failure::Unknown("an empty answer".to_owned()))?
    }

    /// One trip: the answers are as many as the requests, in their order.
    async fn carry(&self, requests: &[&Request<KEYS>], until: Instant) -> Result<Vec<Answer>, Failure> {
        let size =
            |request: &&Request<KEYS>| request.keys.iter().map(String::len).sum::<usize>() + request.packed.len();
        let bytes = requests.iter().map(size).sum::<usize>() + 64;
        let mut arguments = Arguments::with_capacity((KEYS + 1) * requests.len() + 2, bytes);
        for key in 0..KEYS {
            for request in requests {
                arguments.key(&request.keys[key]);
            }
        }
        self.server.push_now(&mut arguments);
        if let Some(common) = &self.common {
            arguments.push(common);
        }
        for request in requests {
            arguments.push(&request.packed);
        }
        let within = until.saturating_duration_since(Instant::now());
        let slot = requests.first().map_or(0, |request| request.slot);
        match self.server.run(self.script, slot, &arguments, self.repeat, within).await? {
            Value::Array(answers) if answers.len() == requests.len() => Ok(answers.into_iter().map(answer).collect()),
            value => Err(incompatible(&value)),
        }
    }

    /// A trip that brought nothing by `until`, or was refused before.
    fn failed(&self, travellers: Vec<Traveller<KEYS>>, failure: &Failure, until: Instant) {
        let timed_out = self.repeat == Repeat::Safe && Instant::now() >= until;
        let mut remaining = Vec::new();
        for mut traveller in travellers {
            if matches!(failure, Failure::Unknown(_)) {
                traveller.unknown = Some(failure.clone());
            }
            if timed_out && traveller.request.deadline > until {
                remaining.push(traveller);
            } else {
                let failure = traveller.unknown.unwrap_or_else(|| failure.clone());
                let _ = traveller.answer.send(Err(failure));
            }
        }
        self.lock().waiting.splice(..0, remaining);
    }

    fn lock(&self) -> MutexGuard<'_, State<KEYS>> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl<const KEYS: usize> fmt::Debug for Trips<KEYS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trips").field("script", &self.script.name).field("shared", &self.shared).finish_non_exhaustive()
    }
}

fn answer(value: Value) -> Answer {
    match value {
        Value::BulkString(packed) if packed.first().is_some_and(|first| *first <= LAST_ANSWER) => Ok(packed),
        Value::BulkString(text) => Err(Failure::in_script(&String::from_utf8_lossy(&text))),
        value => Err(incompatible(&value)),
    }
}

fn incompatible(value: &Value) -> Failure {
    let text = format!("the script's answer is not understood: {value:?}");
    Failure::Refused { code: "TIDELOCK".to_owned(), text }
}

/// What makes one trip after the other while there are travellers.
struct Lane<const KEYS: usize> {
    trips: Arc<Trips<KEYS>>,
    boarding: bool,
    /// Counted among the lanes; closed in the same step in which it is seen that nobody waits, so that whoever comes
    /// next opens another.
    open: bool,
}

impl<const KEYS: usize> Lane<KEYS> {
    async fn run(mut self) {
        loop {
            // Callers that were answered just now get the chance to ask again before the trip leaves.
            yield_now().await;
            let trips = Arc::clone(&self.trips);
            let departed = trips.gate.depart(|| Some(travel(Arc::clone(&trips), self.load()))).await;
            if let Some(trip) = departed {
                trip.arrive().await;
            }
            if !self.board_again() {
                return;
            }
        }
    }

    fn load(&mut self) -> Vec<Traveller<KEYS>> {
        let mut state = self.trips.lock();
        (state.boarding, self.boarding) = (false, false);
        let count = state.waiting.len().min(MAX_REQUESTS);
        let mut travellers: Vec<_> = if count == state.waiting.len() {
            std::mem::take(&mut state.waiting)
        } else {
            state.waiting.drain(..count).collect()
        };
        drop(state);
        travellers.retain(|traveller| !traveller.answer.is_closed());
        for traveller in &travellers {
            traveller.departed.store(true, Ordering::Relaxed);
        }
        travellers
    }

    fn board_again(&mut self) -> bool {
        let mut state = self.trips.lock();
        if state.boarding || state.waiting.is_empty() {
            state.lanes -= 1;
            self.open = false;
            return false;
        }
        (state.boarding, self.boarding) = (true, true);
        true
    }
}

/// Makes one trip, and answers those on it.
async fn travel<const KEYS: usize>(trips: Arc<Trips<KEYS>>, travellers: Vec<Traveller<KEYS>>) {
    let deadlines = travellers.iter().map(|traveller| traveller.request.deadline);
    // Where nothing is repeated each gives up by itself. Where it is, whoever has time left goes on a further trip.
    let until = if trips.repeat == Repeat::Never { deadlines.max() } else { deadlines.min() };
    let Some(until) = until else { return };
    let requests: Vec<_> = travellers.iter().map(|traveller| &traveller.request).collect();
    match trips.carry(&requests, until).await {
        // Whoever does not wait any more misses nothing.
        Ok(answers) => travellers.into_iter().zip(answers).for_each(|(traveller, answer)| {
            let _ = traveller.answer.send(answer);
        }),
        Err(Failure::Refused { code, .. }) if code == "CROSSSLOT" => {
            trips.shared.store(false, Ordering::Relaxed);
            let each = travellers.into_iter().map(|Traveller { request, answer, .. }| async {
                let _ = answer.send(trips.alone(request).await);
            });
            futures_util::future::join_all(each).await;
        }
        Err(failure) => trips.failed(travellers, &failure, until),
    }
}

impl<const KEYS: usize> Drop for Lane<KEYS> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // The runtime was shut down under it. Nobody is left to take those who wait.
        let mut state = self.trips.lock();
        state.lanes -= 1;
        if self.boarding {
            state.boarding = false;
        }
        state.waiting.clear();
    }
}
