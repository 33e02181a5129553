//! Sharing round trips: checks of one process that are made while a trip is under way travel together on the next one.
//!
//! They stay what they were: each is judged on its own, and one that fails fails alone. Their keys have hash tags of
//! their own, so in a cluster each travels by itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::CHECK;
use crate::backend::redis::{Arguments, Failure, Repeat, Server};
use crate::runtime::yield_now;

/// Requests on one trip; keeps a step of the server under a millisecond or two.
const MAX_REQUESTS: usize = 128;
/// Trips under way at the same time: the server works on one while the answers of the other are handed out.
const LANES: usize = 2;

/// What one request brings back: the script's answer, packed.
pub(super) type Answer = Result<Vec<u8>, Failure>;

/// One request that wants to travel.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) slot: u16,
    pub(super) key: String,
    pub(super) packed: Vec<u8>,
    pub(super) deadline: Instant,
}

struct Traveller {
    request: Request,
    /// Closed when nobody waits any more: then the request is left behind.
    answer: oneshot::Sender<Answer>,
}

/// The requests of this process that wait for a trip.
pub(super) struct Trips {
    server: Arc<Server>,
    state: Mutex<State>,
    /// Cleared by a server that turns out to be part of a cluster.
    shared: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: Vec<Traveller>,
    lanes: usize,
    /// A lane is about to leave with all that wait.
    boarding: bool,
}

impl Trips {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        let shared = AtomicBool::new(!server.is_cluster());
        Self { server: Arc::clone(server), state: Mutex::default(), shared }
    }

    /// Makes the request, and waits for its answer until its deadline. Dropped, it is left behind if it has not left.
    pub(super) async fn make(self: &Arc<Self>, request: Request) -> Answer {
        if !self.shared.load(Ordering::Relaxed) {
            return self.alone(request).await;
        }
        // Known at once, so that an answer need not wait.
        self.server.reachable(request.slot)?;
        let deadline = request.deadline;
        let (answer, answered) = oneshot::channel();
        self.board(Traveller { request, answer });
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::Unknown("the runtime was shut down".to_owned())),
            Err(_) => Err(Failure::Unknown(format!("{} was not answered in time", CHECK.name))),
        }
    }

    fn board(self: &Arc<Self>, traveller: Traveller) {
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

    async fn alone(&self, request: Request) -> Answer {
        let answers = self.carry(&[&request]).await?;
        answers.into_iter().next().ok_or_else(|| Failure::Unknown("an empty answer".to_owned()))?
    }

    /// One trip: the answers are as many as the requests, in their order.
    async fn carry(&self, requests: &[&Request]) -> Result<Vec<Answer>, Failure> {
        let bytes = requests.iter().map(|request| request.key.len() + request.packed.len()).sum::<usize>() + 16;
        let mut arguments = Arguments::with_capacity(2 * requests.len() + 1, bytes);
        for request in requests {
            arguments.key(&request.key);
        }
        self.server.push_now(&mut arguments);
        for request in requests {
            arguments.push(&request.packed);
        }
        let latest = requests.iter().map(|request| request.deadline).max();
        let within = latest.map_or(Duration::ZERO, |latest| latest.saturating_duration_since(Instant::now()));
        let slot = requests.first().map_or(0, |request| request.slot);
        match self.server.run(&CHECK, slot, &arguments, Repeat::Never, within).await? {
            Value::Array(answers) if answers.len() == requests.len() => Ok(answers.into_iter().map(answer).collect()),
            value => Err(incompatible(&value)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl fmt::Debug for Trips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trips").field("shared", &self.shared).finish_non_exhaustive()
    }
}

fn answer(value: Value) -> Answer {
    match value {
        // What is no answer is the text of an error; the first byte tells.
        Value::BulkString(packed) if packed.first().is_some_and(|refused| *refused <= 1) => Ok(packed),
        Value::BulkString(text) => Err(refused(&String::from_utf8_lossy(&text))),
        value => Err(incompatible(&value)),
    }
}

/// The error that a server raised inside the script: older ones put more in front of the code.
fn refused(text: &str) -> Failure {
    let is_code = |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let words = text.split_whitespace().map(|word| word.trim_start_matches('-'));
    let code = words.clone().find(|word| is_code(word)).unwrap_or("ERR");
    let rest = text.split_once(code).map_or(text, |(_, rest)| rest.trim_start());
    Failure::Refused { code: code.to_owned(), text: rest.to_owned() }
}

fn incompatible(value: &Value) -> Failure {
    let text = format!("the script's answer is not understood: {value:?}");
    Failure::Refused { code: "TIDELOCK".to_owned(), text }
}

/// What makes one trip after the other while there are travellers.
struct Lane {
    trips: Arc<Trips>,
    boarding: bool,
    /// Counted among the lanes; closed in the same step in which it is seen that nobody waits, so that whoever comes
    /// next opens another.
    open: bool,
}

impl Lane {
    async fn run(mut self) {
        loop {
            // Callers that were answered just now get the chance to ask again before the trip leaves.
            yield_now().await;
            let travellers = self.load();
            self.travel(travellers).await;
            if !self.board_again() {
                return;
            }
        }
    }

    fn load(&mut self) -> Vec<Traveller> {
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

    async fn travel(&self, travellers: Vec<Traveller>) {
        if travellers.is_empty() {
            return;
        }
        let requests: Vec<_> = travellers.iter().map(|traveller| &traveller.request).collect();
        match self.trips.carry(&requests).await {
            // Whoever does not wait any more misses nothing.
            Ok(answers) => travellers.into_iter().zip(answers).for_each(|(traveller, answer)| {
                let _ = traveller.answer.send(answer);
            }),
            Err(Failure::Refused { code, .. }) if code == "CROSSSLOT" => {
                self.trips.shared.store(false, Ordering::Relaxed);
                let each = travellers.into_iter().map(|Traveller { request, answer }| async {
                    let _ = answer.send(self.trips.alone(request).await);
                });
                futures_util::future::join_all(each).await;
            }
            Err(failure) => travellers.into_iter().for_each(|traveller| {
                let _ = traveller.answer.send(Err(failure.clone()));
            }),
        }
    }
}

impl Drop for Lane {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_is_found_wherever_the_server_puts_it() {
        let texts = [
            "NOREPLICAS Not enough good replicas to write.",
            "-NOREPLICAS Not enough good replicas to write.",
            "@user_script: 28: -NOREPLICAS Not enough good replicas to write.",
        ];
        for text in texts {
            let Failure::Refused { code, text } = refused(text) else { panic!("it is a refusal") };
            assert_eq!((code.as_str(), text.as_str()), ("NOREPLICAS", "Not enough good replicas to write."));
        }
    }
}
