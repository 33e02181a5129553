//! A trip: the requests that were waiting when a lane became free, carried by one call of one script.
//!
//! Requests of one trip are concurrent: nobody awaited one before making another. Sends go first, then settles, then
//! takes, each in the order in which they were made.

use std::sync::Arc;

use redis::Value;
use tokio::sync::oneshot;

use super::stored::{Stored, body, reason_letter};
use super::{LANES, Remote, Trips};
use crate::backend::redis::{Arguments, Place as KeyPlace, Repeat, Script, Server, script, unexpected};
use crate::error::Result;
use crate::queue::store::{Accepted, Action, Due, Handed, NewMessage, Place, Settle, Settled, Take, Taken};
use crate::runtime::yield_now;

static TRIP: Script = script!(
    "trip",
    "../../lua/time.lua",
    "../lua/store.lua",
    "../lua/moves.lua",
    "../lua/send.lua",
    "../lua/take.lua",
    "../lua/settle.lua",
    "../lua/repeat.lua",
    "../lua/trip.lua",
);

/// The most requests and bytes that share a trip; one larger request travels alone.
const MAX_REQUESTS: usize = 256;
const SHARED_BYTES: usize = 1_024 * 1_024;

/// One caller's part of a trip.
#[derive(Debug)]
pub(super) enum Request {
    Send { batch: Vec<NewMessage>, reply: oneshot::Sender<Result<Accepted>> },
    Take { take: Take, reply: oneshot::Sender<Result<Taken>> },
    Settle { settles: Vec<Settle>, reply: Option<oneshot::Sender<Result<Vec<Settled>>>> },
}

impl Request {
    /// Sends alone fill one trip while the other is under way; takes and large batches keep the server waiting.
    pub(super) fn gains_from_a_second_trip(&self) -> bool {
        match self {
            Self::Send { batch, .. } => batch.len() >= 16,
            Self::Take { .. } => true,
            Self::Settle { settles, .. } => settles.len() >= 16,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Send { batch, .. } => batch.iter().map(|message| message.content.payload.len() + 128).sum(),
            Self::Take { .. } => 64,
            Self::Settle { settles, .. } => settles.len() * 32,
        }
    }

    fn fail(self, error: &crate::Error) {
        // A caller that went away needs no answer.
        match self {
            Self::Send { reply, .. } => drop(reply.send(Err(error.duplicate()))),
            Self::Take { reply, .. } => drop(reply.send(Err(error.duplicate()))),
            Self::Settle { reply, .. } => drop(reply.map(|reply| reply.send(Err(error.duplicate())))),
        }
    }
}

/// A series of trips, of which one at most is under way.
#[derive(Debug)]
pub(super) struct Lane {
    /// Where the script remembers the last answer.
    answers: String,
    number: u64,
}

impl Lane {
    pub(super) fn new(server: &Server, place: &KeyPlace, lane: usize) -> Self {
        Self { answers: server.key(place, &format!("answers:{}:{lane}", server.process)), number: 0 }
    }
}

impl Trips {
    /// The requests of the next trip.
    fn load(&mut self) -> Vec<Request> {
        let mut load = Vec::new();
        let mut bytes = 0;
        while let Some(request) = self.waiting.front() {
            bytes += request.bytes();
            if load.len() == MAX_REQUESTS || (bytes > SHARED_BYTES && !load.is_empty()) {
                break;
            }
            load.extend(self.waiting.pop_front());
        }
        load
    }
}

impl Remote {
    /// Makes trips while there is something to carry.
    pub(super) async fn drive(self: Arc<Self>, mut lane: Lane) {
        loop {
            // Callers that were answered just now get the chance to ask again before the trip leaves.
            yield_now().await;
            let load = {
                let mut trips = self.lock();
                let load = trips.load();
                if load.is_empty() {
                    trips.idle.push(lane);
                    debug_assert!(trips.idle.len() <= LANES, "a lane came back twice");
                    return;
                }
                load
            };
            self.carry(&mut lane, load).await;
        }
    }

    async fn carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<Request>) {
        lane.number += 1;
        let mut arguments = self.arguments(Some(&lane.answers));
        arguments.number(lane.number);
        let plan = Plan::make(load, &mut arguments, &self.server.channel);
        let answer =
            self.server.run(&TRIP, self.place.slot, &arguments, Repeat::Safe, self.server.request_timeout).await;
        match answer.map_err(|failure| failure.into_error(&self.operation())) {
            Ok(answer) => self.deliver(plan, answer),
            Err(error) => plan.requests.into_iter().for_each(|request| request.fail(&error)),
        }
    }

    /// One empty trip: carries out what is overdue, unless some process did within the last second.
    pub(super) async fn sweep(&self) -> Result<()> {
        let mut arguments = self.arguments(Some(&self.keys[0]));
        arguments.number(0);
        arguments.push(b"sweep");
        let answer =
            self.server.run(&TRIP, self.place.slot, &arguments, Repeat::Safe, self.server.request_timeout).await;
        let answer = answer.map_err(|failure| failure.into_error(&self.operation()))?;
        let mut reply = Reply::read(answer)?;
        self.told_next(reply.next()?);
        Ok(())
    }

    pub(super) fn operation(&self) -> String {
        self.place.tag.to_string()
    }

    fn deliver(self: &Arc<Self>, plan: Plan, answer: Value) {
        let outcome = Reply::read(answer).and_then(|mut reply| {
            self.told_next(reply.next()?);
            let settling = reply.settling;
            plan.steps.iter().map(|step| step.read(&mut reply)).collect::<Result<Vec<_>>>().map(|read| (settling, read))
        });
        match outcome {
            Ok((settling, read)) => self.hand_out(plan.requests, read, settling),
            Err(error) => plan.requests.into_iter().for_each(|request| request.fail(&error)),
        }
    }

    fn hand_out(self: &Arc<Self>, requests: Vec<Request>, read: Vec<Outcome>, settling: bool) {
        let mut sent: Vec<Option<Accepted>> = requests.iter().map(|_| None).collect();
        let mut taken: Vec<Option<Taken>> = requests.iter().map(|_| None).collect();
        let mut settled: Vec<Vec<Settled>> = requests
            .iter()
            .map(|request| match request {
                Request::Settle { settles, .. } => vec![Settled::Stale; settles.len()],
                _ => Vec::new(),
            })
            .collect();
        for outcome in read {
            match outcome {
                Outcome::Sent(of) => of.into_iter().for_each(|(request, accepted)| sent[request] = Some(accepted)),
                Outcome::Taken(request, messages) => taken[request] = Some(messages),
                Outcome::Settled(of) => of.into_iter().for_each(|((request, at), one)| settled[request][at] = one),
            }
        }
        for (index, request) in requests.into_iter().enumerate() {
            match request {
                Request::Send { reply, .. } => {
                    // A caller that went away needs no answer.
                    let _ = reply.send(Ok(sent[index].take().expect("each send has its step")));
                }
                Request::Settle { reply, .. } => {
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(std::mem::take(&mut settled[index])));
                    }
                }
                Request::Take { take, reply } => {
                    let taken = taken[index].take().expect("each take has its step");
                    self.hand_over(take, taken, reply, settling);
                }
            }
        }
    }

    fn hand_over(self: &Arc<Self>, take: Take, taken: Taken, reply: oneshot::Sender<Result<Taken>>, settling: bool) {
        if settling && taken.messages.is_empty() && take.max > 0 && !reply.is_closed() {
            // What is overdue stood between this take and a deliverable message.
            return self.submit(Request::Take { take, reply });
        }
        if let Err(Ok(taken)) = reply.send(Ok(taken)) {
            // The receive was dropped while its take was under way.
            let give_back = |message: Handed| Settle { id: message.id, fence: message.fence, action: Action::GiveBack };
            let settles: Vec<_> = taken.messages.into_iter().map(give_back).collect();
            if !settles.is_empty() {
                self.submit(Request::Settle { settles, reply: None });
            }
        }
    }
}

/// Which request, and which of its items, a result belongs to.
type Slot = (usize, usize);

/// One operation of the script, and whose results it gives.
#[derive(Debug)]
enum Step {
    /// Single plain sends, one result each.
    Plain(Vec<usize>),
    /// One batch, all or nothing.
    Batch(usize, usize),
    Acks(Vec<Slot>),
    Touches(Vec<Slot>),
    Back(Slot),
    Take(usize),
}

/// The results of one operation.
enum Outcome {
    Sent(Vec<(usize, Accepted)>),
    Taken(usize, Taken),
    Settled(Vec<(Slot, Settled)>),
}

/// Requests, and the operations that they became.
struct Plan {
    requests: Vec<Request>,
    steps: Vec<Step>,
}

impl Plan {
    fn make(requests: Vec<Request>, arguments: &mut Arguments, channel: &str) -> Self {
        let mut plan = Self { requests: Vec::new(), steps: Vec::new() };
        plan.push_sends(&requests, arguments);
        plan.push_settles(&requests, arguments);
        for (index, request) in requests.iter().enumerate() {
            if let Request::Take { take, .. } = request {
                push_take(take, channel, arguments);
                plan.steps.push(Step::Take(index));
            }
        }
        plan.requests = requests;
        plan
    }

    fn push_sends(&mut self, requests: &[Request], arguments: &mut Arguments) {
        let mut run: Vec<(usize, &NewMessage)> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let Request::Send { batch, .. } = request else { continue };
            let single_plain = batch.len() == 1 && is_plain(&batch[0]);
            if run.first().is_some_and(|(_, first)| !single_plain || !same_line(first, &batch[0])) {
                self.push_plain_run(&mut run, arguments);
            }
            if single_plain {
                run.push((index, &batch[0]));
            } else {
                push_batch(batch, arguments);
                self.steps.push(Step::Batch(index, batch.len()));
            }
        }
        self.push_plain_run(&mut run, arguments);
    }

    fn push_plain_run(&mut self, run: &mut Vec<(usize, &NewMessage)>, arguments: &mut Arguments) {
        let Some((_, first)) = run.first() else { return };
        push_plain(first, run.len(), false, arguments);
        for (_, message) in run.iter() {
            arguments.push(&body(&message.content, message.retention));
        }
        self.steps.push(Step::Plain(run.drain(..).map(|(index, _)| index).collect()));
    }

    fn push_settles(&mut self, requests: &[Request], arguments: &mut Arguments) {
        let mut run: Vec<(Slot, &Settle)> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let Request::Settle { settles, .. } = request else { continue };
            for (at, settle) in settles.iter().enumerate() {
                let together = matches!(settle.action, Action::Ack | Action::Touch { .. });
                if run.first().is_some_and(|(_, first)| !together || first.action != settle.action) {
                    self.push_settle_run(&mut run, arguments);
                }
                run.push(((index, at), settle));
                if !together {
                    self.push_settle_run(&mut run, arguments);
                }
            }
        }
        self.push_settle_run(&mut run, arguments);
    }

    fn push_settle_run(&mut self, run: &mut Vec<(Slot, &Settle)>, arguments: &mut Arguments) {
        let Some((slot, first)) = run.first() else { return };
        let receipts: Vec<u8> = run.iter().flat_map(|(_, settle)| receipt(settle)).collect();
        let step = match &first.action {
            Action::Ack => {
                arguments.push(b"ack");
                arguments.push(&receipts);
                Step::Acks(run.iter().map(|(slot, _)| *slot).collect())
            }
            Action::Touch { lease } => {
                arguments.push(b"touch");
                arguments.number(*lease);
                arguments.push(&receipts);
                Step::Touches(run.iter().map(|(slot, _)| *slot).collect())
            }
            action => {
                push_back(action, &receipts, arguments);
                Step::Back(*slot)
            }
        };
        self.steps.push(step);
        run.clear();
    }
}

/// Whether a message goes by the plain line.
fn is_plain(message: &NewMessage) -> bool {
    message.due == Due::Now
        && message.priority == 0
        && message.dedup.is_none()
        && message.content.ordering_key.is_none()
}

fn same_line(one: &NewMessage, other: &NewMessage) -> bool {
    one.max_age == other.max_age && one.max_depth == other.max_depth
}

fn push_plain(first: &NewMessage, count: usize, whole: bool, arguments: &mut Arguments) {
    arguments.push(b"plain");
    arguments.number(count as u64);
    match first.max_age {
        Some(age) => arguments.number(age),
        None => arguments.push(b"-1"),
    }
    arguments.number(first.max_depth.unwrap_or(0));
    arguments.push(if whole { b"1" } else { b"0" });
}

fn push_batch(batch: &[NewMessage], arguments: &mut Arguments) {
    if batch.iter().all(|message| is_plain(message) && same_line(message, &batch[0])) {
        push_plain(&batch[0], batch.len(), true, arguments);
        for message in batch {
            arguments.push(&body(&message.content, message.retention));
        }
        return;
    }
    arguments.push(b"batch");
    arguments.number(batch.len() as u64);
    for message in batch {
        let (mode, number) = match message.due {
            Due::Now => (b"n", 0),
            Due::After(delay) => (b"a", delay),
            Due::At(at) => (b"t", at),
        };
        let window = message.dedup.as_ref().map_or(0, |dedup| dedup.window);
        arguments.pieces(&[
            mode,
            &number.to_be_bytes(),
            &[message.priority],
            &message.max_age.unwrap_or(0).to_be_bytes(),
            &message.max_depth.unwrap_or(0).to_be_bytes(),
            &window.to_be_bytes(),
        ]);
        arguments.push(message.dedup.as_ref().map_or(&[][..], |dedup| dedup.key.as_bytes()));
        arguments.push(&body(&message.content, message.retention));
    }
}

fn push_take(take: &Take, channel: &str, arguments: &mut Arguments) {
    arguments.push(b"take");
    arguments.number(take.max as u64);
    arguments.number(take.lease);
    arguments.number(take.max_deliveries.unwrap_or(0));
    arguments.push(match take.place {
        Place::Original => b"o",
        Place::Back => b"b",
    });
    arguments.push(take.consumer.as_bytes());
    arguments.push(if take.park { b"1" } else { b"0" });
    arguments.push(channel.as_bytes());
}

fn receipt(settle: &Settle) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&settle.id.to_be_bytes());
    bytes[8..].copy_from_slice(&settle.fence.to_be_bytes());
    bytes
}

fn push_back(action: &Action, receipt: &[u8], arguments: &mut Arguments) {
    let (letter, delay, note, error): (&[u8], _, _, _) = match action {
        Action::Nack { delay, note, error } => (b"n", *delay, note.as_deref(), error.as_deref()),
        Action::Bury { reason, note, error } => (reason_letter(*reason), 0, note.as_deref(), error.as_deref()),
        Action::GiveBack => (b"g", 0, None, None),
        Action::Ack | Action::Touch { .. } => unreachable!("these go together"),
    };
    arguments.push(b"back");
    arguments.push(receipt);
    arguments.push(letter);
    arguments.number(delay);
    arguments.number(u64::from(note.is_some()) + 2 * u64::from(error.is_some()));
    arguments.push(note.unwrap_or_default().as_bytes());
    arguments.push(error.unwrap_or_default().as_bytes());
}

/// The script's answer, read item by item.
struct Reply {
    settling: bool,
    next: String,
    items: std::vec::IntoIter<Value>,
}

impl Reply {
    fn read(answer: Value) -> Result<Self> {
        let wrong = |value: &Value| unexpected("queue", value);
        let Value::Array(items) = answer else { return Err(wrong(&answer)) };
        let mut items = items.into_iter();
        match (items.next(), items.next()) {
            (Some(Value::Int(settling)), Some(Value::BulkString(next))) => {
                Ok(Self { settling: settling == 1, next: String::from_utf8_lossy(&next).into_owned(), items })
            }
            (first, _) => Err(wrong(&first.unwrap_or(Value::Nil))),
        }
    }

    fn next(&mut self) -> Result<u64> {
        self.next.parse().map_err(|_| unexpected("queue", &Value::SimpleString(self.next.clone())))
    }

    fn bytes(&mut self, size: usize) -> Result<Vec<u8>> {
        match self.items.next() {
            Some(Value::BulkString(bytes)) if bytes.len() >= size => Ok(bytes),
            other => Err(unexpected("queue", &other.unwrap_or(Value::Nil))),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Step {
    fn read(&self, reply: &mut Reply) -> Result<Outcome> {
        match self {
            Self::Plain(requests) => {
                let results = reply.bytes(9 * requests.len())?;
                let each = requests.iter().zip(results.chunks_exact(9));
                Ok(Outcome::Sent(each.map(|(request, result)| (*request, accepted(result))).collect()))
            }
            Self::Batch(request, count) => {
                let results = reply.bytes(17.min(9 * count))?;
                Ok(Outcome::Sent(vec![(*request, accepted(&results))]))
            }
            Self::Acks(slots) | Self::Touches(slots) => {
                let results = reply.bytes(slots.len())?;
                let one = |result: &u8| if *result == b'y' { Settled::Done } else { Settled::Stale };
                Ok(Outcome::Settled(slots.iter().copied().zip(results.iter().map(one)).collect()))
            }
            Self::Back(slot) => {
                let result = reply.bytes(9)?;
                let settled = match result[0] {
                    b'y' => Settled::Done,
                    b'q' => Settled::Requeued { due: number(&result[1..9]) },
                    b'x' => Settled::DeadLettered,
                    _ => Settled::Stale,
                };
                Ok(Outcome::Settled(vec![(*slot, settled)]))
            }
            Self::Take(request) => Ok(Outcome::Taken(*request, read_taken(reply)?)),
        }
    }
}

fn accepted(results: &[u8]) -> Accepted {
    if results[0] == b'F' {
        let index = results.get(9..17).map_or(0, number);
        let limit = number(&results[1..9]);
        return Accepted::Full { index: usize::try_from(index).unwrap_or(usize::MAX), depth: limit, limit };
    }
    let one = |result: &[u8]| (number(&result[1..9]), result[0] == b'D');
    Accepted::All(results.chunks_exact(9).map(one).collect())
}

fn read_taken(reply: &mut Reply) -> Result<Taken> {
    let Some(Value::Array(items)) = reply.items.next() else { return Err(unexpected("take", &Value::Nil)) };
    let mut items = items.into_iter();
    let Some(Value::BulkString(told)) = items.next() else { return Err(unexpected("take", &Value::Nil)) };
    let messages = items.map(|item| match item {
        Value::BulkString(value) => Ok(Stored::read(&value)?.into_handed()),
        other => Err(unexpected("take", &other)),
    });
    let next = number(&told);
    Ok(Taken { messages: messages.collect::<Result<_>>()?, next: (next != 0).then_some(next) })
}
