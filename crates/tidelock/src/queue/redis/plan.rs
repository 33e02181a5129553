//! The contents of one call of the trip script, and how its answer is read.

use redis::Value;

use super::stored::{handed, push_body};
use super::trip::Request;
use crate::backend::redis::{Answer, Arguments, Settles, Slot};
use crate::error::Result;
use crate::queue::store::{Accepted, Due, NewMessage, Place, Settled, Take, Taken};

/// One operation of the script, with the requests that its results belong to.
#[derive(Debug)]
pub(super) enum Step {
    /// Single plain sends, one result each.
    Plain(Vec<usize>),
    /// One batch, all or nothing.
    Batch(usize, usize),
    Settles(Settles),
    Take(usize),
}

/// The results of one operation.
pub(super) enum Outcome {
    Sent(Vec<(usize, Accepted)>),
    Taken(usize, Taken),
    Settled(Vec<(Slot, Settled)>),
}

/// Requests, and the script operations that they became.
pub(super) struct Plan {
    pub(super) requests: Vec<Request>,
    pub(super) steps: Vec<Step>,
}

impl Plan {
    pub(super) fn make(requests: Vec<Request>, arguments: &mut Arguments, channel: &str) -> Self {
        let mut plan = Self { requests: Vec::new(), steps: Vec::new() };
        plan.push_sends(&requests, arguments);
        let settles = requests.iter().enumerate().flat_map(|(index, request)| {
            let settles = if let Request::Settle { settles, .. } = request { settles.as_slice() } else { &[] };
            settles.iter().enumerate().map(move |(at, settle)| ((index, at), settle))
        });
        Settles::push(settles, arguments, &mut |settles| plan.steps.push(Step::Settles(settles)));
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
        if run.is_empty() {
            return;
        }
        push_plain(run.iter().map(|(_, message)| *message), false, arguments);
        self.steps.push(Step::Plain(run.drain(..).map(|(index, _)| index).collect()));
    }
}

/// Whether a message goes into the plain line, provided that it follows no other message of its ordering key.
fn is_plain(message: &NewMessage) -> bool {
    message.due == Due::Now && message.priority == 0 && message.dedup.is_none()
}

fn same_line(one: &NewMessage, other: &NewMessage) -> bool {
    one.max_age == other.max_age && one.max_depth == other.max_depth
}

/// Appends messages that share one `max_age` and one `max_depth`.
fn push_plain<'a>(messages: impl Iterator<Item = &'a NewMessage> + Clone, whole: bool, arguments: &mut Arguments) {
    let keyed = messages.clone().any(|message| message.content.ordering_key.is_some());
    let Some(first) = messages.clone().next() else { return };
    arguments.push(if keyed { b"keyed" } else { b"plain" });
    arguments.number(messages.clone().count() as u64);
    match first.max_age {
        Some(age) => arguments.number(age),
        None => arguments.push(b"-1"),
    }
    arguments.number(first.max_depth.unwrap_or(0));
    arguments.push(if whole { b"1" } else { b"0" });
    for message in messages {
        arguments.written(|bytes| push_body(message, bytes));
    }
}

fn push_batch(batch: &[NewMessage], arguments: &mut Arguments) {
    if batch.iter().all(|message| is_plain(message) && same_line(message, &batch[0])) {
        push_plain(batch.iter(), true, arguments);
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
        arguments.written(|bytes| push_body(message, bytes));
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

/// The script's answer, read item by item.
pub(super) struct Reply {
    /// More is overdue than one step carries out, or this is a remembered answer; takes are then repeated.
    pub(super) settling: bool,
    /// More is overdue than one step carries out.
    pub(super) overdue: bool,
    pub(super) next: u64,
    items: Answer,
}

impl Reply {
    pub(super) fn read(answer: Value) -> Result<Self> {
        let mut items = Answer::read("queue", answer)?;
        let (settling, next) = (items.count()?, items.count()?);
        Ok(Self { settling: settling != 0, overdue: settling == 1, next, items })
    }

    fn bytes(&mut self, size: usize) -> Result<Vec<u8>> {
        let bytes = self.items.bytes()?;
        if bytes.len() < size {
            return Err(self.items.wrong(&Value::BulkString(bytes)));
        }
        Ok(bytes)
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Step {
    pub(super) fn read(&self, reply: &mut Reply) -> Result<Outcome> {
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
            Self::Settles(settles) => Ok(Outcome::Settled(settles.read(&reply.items.item())?)),
            Self::Take(request) => Ok(Outcome::Taken(*request, read_taken(reply.items.item())?)),
        }
    }
}

/// The reported limit is a placeholder; the caller fills in that of the message.
fn accepted(results: &[u8]) -> Accepted {
    if results[0] == b'F' {
        let index = results.get(9..17).map_or(0, number);
        let depth = number(&results[1..9]);
        return Accepted::Full { index: usize::try_from(index).unwrap_or(usize::MAX), depth, limit: 0 };
    }
    let one = |result: &[u8]| (number(&result[1..9]), result[0] == b'D');
    Accepted::All(results.chunks_exact(9).map(one).collect())
}

/// `next` is still relative: the time from now.
fn read_taken(item: Value) -> Result<Taken> {
    let mut items = Answer::read("take", item)?;
    let after = number(&items.bytes()?);
    let messages = items.each(handed)?;
    Ok(Taken { gap: None, messages, next: (after != 0).then_some(after), ended: false })
}
