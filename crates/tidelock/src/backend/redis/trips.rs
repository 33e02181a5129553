//! Sharing round trips across keys: requests of one process that are made while a trip is in flight share the next
//! one, each with its own keys.
//!
//! The requests stay independent: each is answered on its own and can fail alone. Their keys have different hash
//! tags, so in a cluster each request goes by itself. Requests to one object share trips by [`Lanes`](super::Lanes).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Server;
use super::call::Repeat;
use super::failure::Failure;
use super::gate::{Gate, Turn};
use super::lanes::{LANES, share};
use super::script::{Arguments, Script};
use crate::runtime::yield_now;

/// The most requests on one trip. This keeps a step of the server below one or two milliseconds.
const MAX_REQUESTS: usize = 128;
/// The pause before requests that need another trip are sent again.
const PAUSE: Duration = Duration::from_millis(20);
/// An answer begins with a byte up to this one. The text of an error begins with a letter.
const LAST_ANSWER: u8 = 9;

/// The outcome of one request: the script's packed answer.
pub(crate) type Answer = Result<Vec<u8>, Failure>;

/// One request for a trip, with its `KEYS` keys.
#[derive(Debug)]
pub(crate) struct Request<const KEYS: usize> {
    pub(crate) slot: u16,
    pub(crate) keys: [String; KEYS],
    pub(crate) packed: Vec<u8>,
    pub(crate) deadline: Instant,
}

struct Traveller<const KEYS: usize> {
    number: u64,
    request: Request<KEYS>,
    /// Closed when nobody waits any more. Then the request is not sent.
    answer: oneshot::Sender<Answer>,
    /// Whether its trip ends at its deadline or before.
    ends_in_time: Arc<AtomicBool>,
    /// Why it may have taken effect already, from a trip without an answer.
    unknown: Option<Failure>,
}

impl<const KEYS: usize> Traveller<KEYS> {
    fn fail(self, failure: &Failure) {
        // A caller that no longer waits needs no answer.
        let _ = self.answer.send(Err(self.unknown.unwrap_or_else(|| failure.clone())));
    }
}

/// The requests of this process for one script that wait for a trip.
///
/// The script takes the first keys of all requests, then the second ones and so on; the pinned time or an empty
/// argument; `common`; and the packed requests. It returns an array with one text per request: the first byte
/// distinguishes an answer (0 to 9) from the text of an error.
pub(crate) struct Trips<const KEYS: usize> {
    server: Arc<Server>,
    script: &'static Script,
    common: Option<Vec<u8>>,
    repeat: Repeat<'static>,
    state: Mutex<State<KEYS>>,
    gate: Gate,
    /// Cleared when a server turns out to be part of a cluster.
    shared: AtomicBool,
}

struct State<const KEYS: usize> {
    waiting: Vec<Traveller<KEYS>>,
    /// How many requests have come so far.
    count: u64,
    lanes: usize,
    /// How many requests are on trips.
    under_way: usize,
}

impl<const KEYS: usize> Trips<KEYS> {
    /// With [`Repeat::Safe`] a request is retried until it is answered or its deadline has passed. With
    /// [`Repeat::Never`] it is sent once, and only if there is a connection.
    pub(crate) fn new(
        server: &Arc<Server>,
        script: &'static Script,
        common: Option<Vec<u8>>,
        repeat: Repeat<'static>,
    ) -> Self {
        let shared = AtomicBool::new(!server.is_cluster());
        let state = Mutex::new(State { waiting: Vec::new(), count: 0, lanes: 0, under_way: 0 });
        Self { server: Arc::clone(server), script, common, repeat, state, gate: Gate::default(), shared }
    }

    /// Makes the request, and waits for its answer until its deadline. If the future is dropped before the request
    /// was sent, it is not sent.
    pub(crate) async fn make(self: &Arc<Self>, request: Request<KEYS>) -> Answer {
        if !self.shared.load(Ordering::Relaxed) {
            // Boxed because it is large: otherwise every request that shares trips would reserve space for it.
            return Box::pin(self.alone(request)).await;
        }
        let (slot, deadline) = (request.slot, request.deadline);
        if !self.repeat.is_allowed() {
            // Fails at once without a connection, instead of waiting for the trip.
            self.server.reachable(slot)?;
        }
        let (answer, mut answered) = oneshot::channel();
        let ends_in_time = Arc::<AtomicBool>::default();
        let number = self.board(request, answer, Arc::clone(&ends_in_time));
        let shut_down = |_| Err(Failure::Unknown("the runtime was shut down".to_owned()));
        if let Ok(answer) = tokio::time::timeout_at(deadline, &mut answered).await {
            return answer.unwrap_or_else(shut_down);
        }
        let left_behind = {
            let mut state = self.lock();
            let place = state.waiting.iter().position(|traveller| traveller.number == number);
            place.map(|place| state.waiting.remove(place))
        };
        match left_behind {
            Some(Traveller { unknown: Some(unknown), .. }) => Err(unknown),
            Some(_) => {
                self.server.reachable(slot)?;
                Err(Failure::NotSent(format!("no trip of {} left in time", self.script.name)))
            }
            // Its trip ends now, too, and the outcome of the trip is more precise.
            None if ends_in_time.load(Ordering::Relaxed) => answered.await.unwrap_or_else(shut_down),
            None => Err(Failure::Unknown(format!("{} was not answered in time", self.script.name))),
        }
    }

    fn board(
        self: &Arc<Self>,
        request: Request<KEYS>,
        answer: oneshot::Sender<Answer>,
        ends_in_time: Arc<AtomicBool>,
    ) -> u64 {
        let mut state = self.lock();
        state.count += 1;
        let number = state.count;
        state.waiting.push(Traveller { number, request, answer, ends_in_time, unknown: None });
        if state.lanes < LANES {
            state.lanes += 1;
            drop(state);
            let lane = Lane { trips: Arc::clone(self), aboard: 0, open: true };
            self.server.spawner.spawn(lane.run());
        }
        number
    }

    async fn alone(&self, request: Request<KEYS>) -> Answer {
        let answers = self.carry(&[&request], request.deadline, self.repeat).await?;
        answers.into_iter().next().ok_or_else(|| Failure::Unknown("an empty answer".to_owned()))?
    }

    /// Makes one trip. There are as many answers as requests, in the same order.
    async fn carry(
        &self,
        requests: &[&Request<KEYS>],
        until: Instant,
        repeat: Repeat<'_>,
    ) -> Result<Vec<Answer>, Failure> {
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
        match self.server.run(self.script, slot, &arguments, repeat, within).await? {
            Value::Array(answers) if answers.len() == requests.len() => Ok(answers.into_iter().map(answer).collect()),
            value => Err(incompatible(&value)),
        }
    }

    /// Distributes the answers of a trip. If a retry is safe and may help, requests with time left go on another
    /// trip, before later ones. Returns whether there are any.
    fn hand_out(&self, travellers: Vec<Traveller<KEYS>>, answers: Vec<Answer>) -> bool {
        let (now, mut remaining) = (Instant::now(), Vec::new());
        for (mut traveller, answer) in travellers.into_iter().zip(answers) {
            let failure = match answer {
                Ok(answer) => {
                    // A caller that no longer waits needs no answer.
                    let _ = traveller.answer.send(Ok(answer));
                    continue;
                }
                Err(failure) => failure,
            };
            let may_help = self.repeat.is_allowed() && !failure.is_final();
            if matches!(failure, Failure::Unknown(_)) {
                traveller.unknown = Some(failure.clone());
            }
            if may_help && traveller.request.deadline > now {
                remaining.push(traveller);
            } else {
                traveller.fail(&failure);
            }
        }
        let again = !remaining.is_empty();
        self.lock().waiting.splice(..0, remaining);
        again
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

/// Makes one trip after the other while there are requests.
struct Lane<const KEYS: usize> {
    trips: Arc<Trips<KEYS>>,
    /// The number of requests on its trip.
    aboard: usize,
    /// Whether it counts among the lanes. It is closed in the same step that finds no waiting requests, so that the
    /// next request opens another lane.
    open: bool,
}

impl<const KEYS: usize> Lane<KEYS> {
    async fn run(mut self) {
        loop {
            // Callers that were just answered get the chance to ask again before the trip leaves.
            yield_now().await;
            let trips = Arc::clone(&self.trips);
            let departed = trips.gate.depart(|turn| Some(travel(Arc::clone(&trips), self.load(), turn))).await;
            let again = match departed {
                Some(trip) => trip.arrive().await,
                None => false,
            };
            if again {
                tokio::time::sleep(PAUSE).await;
            }
            if !self.boards_again() {
                return;
            }
        }
    }

    fn load(&mut self) -> Vec<Traveller<KEYS>> {
        let mut state = self.trips.lock();
        let first = state.waiting.first().map_or(0, |traveller| traveller.request.slot);
        let is_connected = self.trips.server.reachable(first).is_ok();
        let waiting = state.waiting.len();
        let count = share(waiting, state.under_way, is_connected).min(MAX_REQUESTS).min(waiting);
        let mut travellers: Vec<_> = if count == state.waiting.len() {
            std::mem::take(&mut state.waiting)
        } else {
            state.waiting.drain(..count).collect()
        };
        state.under_way += count;
        self.aboard = count;
        drop(state);
        travellers.retain(|traveller| !traveller.answer.is_closed());
        let now = Instant::now();
        let late = travellers.extract_if(.., |traveller| traveller.request.deadline <= now);
        late.for_each(|traveller| traveller.fail(&Failure::NotSent("its time was over before a trip left".to_owned())));
        travellers
    }

    fn boards_again(&mut self) -> bool {
        let mut state = self.trips.lock();
        state.under_way -= std::mem::take(&mut self.aboard);
        if state.waiting.is_empty() {
            state.lanes -= 1;
            self.open = false;
        }
        self.open
    }
}

/// Makes one trip, and answers its requests. It lasts until the latest of their deadlines; if requests with time left
/// can go on another trip, it lasts at most one request timeout. A connection that is silent for so long is given up.
/// Returns whether requests remain for another trip.
async fn travel<const KEYS: usize>(trips: Arc<Trips<KEYS>>, travellers: Vec<Traveller<KEYS>>, turn: Turn) -> bool {
    let Some(latest) = travellers.iter().map(|traveller| traveller.request.deadline).max() else { return false };
    let (until, repeat) = match trips.repeat {
        Repeat::Never => (latest, Repeat::Never),
        _ => (latest.min(Instant::now() + trips.server.request_timeout), Repeat::InTurn(&turn)),
    };
    for traveller in &travellers {
        traveller.ends_in_time.store(until <= traveller.request.deadline, Ordering::Relaxed);
    }
    let requests: Vec<_> = travellers.iter().map(|traveller| &traveller.request).collect();
    match trips.carry(&requests, until, repeat).await {
        Ok(answers) => return trips.hand_out(travellers, answers),
        Err(Failure::Refused { code, .. }) if code == "CROSSSLOT" => {
            drop(turn);
            trips.shared.store(false, Ordering::Relaxed);
            let each = travellers.into_iter().map(|Traveller { request, answer, unknown, .. }| async {
                let alone = trips.alone(request).await;
                let _ = answer.send(alone.map_err(|failure| unknown.unwrap_or(failure)));
            });
            futures_util::future::join_all(each).await;
        }
        Err(failure) => {
            let answers = vec![Err(failure); travellers.len()];
            return trips.hand_out(travellers, answers);
        }
    }
    false
}

impl<const KEYS: usize> Drop for Lane<KEYS> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // The runtime was shut down during the trip. Unless another lane continues, nobody is left to carry the
        // waiting requests.
        let mut state = self.trips.lock();
        state.lanes -= 1;
        state.under_way -= self.aboard;
        if state.lanes == 0 {
            state.waiting.clear();
        }
    }
}
