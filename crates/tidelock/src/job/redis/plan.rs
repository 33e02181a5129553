//! The contents of one call of the trip script, and how its answer is read.

use redis::Value;

use super::group;
use super::stored::{Stored, code_letter, content_of, origin_bytes, rules_bytes, state_of};
use super::trip::Request;
use crate::backend::redis::{Answer, Arguments, Bytes, Slot, push_content, unexpected};
use crate::error::Result;
use crate::job::store::{Acceptance, Accepted, Action, Claim, Claimed, Due, GroupTaken, NewJob, Settle, Settled};

/// One operation of the script, with the requests that its results belong to.
#[derive(Debug)]
pub(super) enum Step {
    /// Single plain submits under one `max_depth`.
    Plain(Vec<usize>, u64),
    /// One batch of plain submits under one `max_depth`, all or nothing: the request, and how many.
    PlainBatch(usize, usize, u64),
    /// One batch, all or nothing, and the `max_depth` of each.
    Batch(usize, Vec<u64>),
    /// Completions, or other settles.
    Settles(Vec<Slot>),
    Claim(usize),
    Take(usize),
    /// The settles of one request, and how many.
    SettleEvents(usize, usize),
}

/// The results of one operation.
pub(super) enum Outcome {
    Submitted(Vec<(usize, Accepted)>),
    Claimed(usize, Claimed),
    Settled(Vec<(Slot, Settled)>),
    Taken(usize, GroupTaken),
    SettledEvents(usize, Vec<bool>),
}

/// Requests, and the script operations that they became.
pub(super) struct Plan {
    pub(super) requests: Vec<Request>,
    pub(super) steps: Vec<Step>,
}

/// Consecutive single plain submits with the same rules.
struct PlainRun<'a> {
    rules: Vec<u8>,
    max_depth: u64,
    jobs: Vec<(usize, &'a NewJob)>,
}

impl Plan {
    pub(super) fn make(requests: Vec<Request>, arguments: &mut Arguments, channel: &str) -> Self {
        let mut plan = Self { requests: Vec::new(), steps: Vec::new() };
        plan.push_submits(&requests, arguments);
        let settles = requests.iter().enumerate().flat_map(|(index, request)| {
            let settles = if let Request::Settle { settles, .. } = request { settles.as_slice() } else { &[] };
            settles.iter().enumerate().map(move |(at, settle)| ((index, at), settle))
        });
        let settles: Vec<_> = settles.collect();
        for run in settles.chunk_by(|(_, one), (_, other)| is_plain_end(one) == is_plain_end(other)) {
            push_settles(run, arguments);
            plan.steps.push(Step::Settles(run.iter().map(|(slot, _)| *slot).collect()));
        }
        for (index, request) in requests.iter().enumerate() {
            if let Request::Claim { claim, .. } = request {
                push_claim(claim, channel, arguments);
                plan.steps.push(Step::Claim(index));
            }
        }
        plan.push_groups(&requests, channel, arguments);
        plan.requests = requests;
        plan
    }

    fn push_groups(&mut self, requests: &[Request], channel: &str, arguments: &mut Arguments) {
        for (index, request) in requests.iter().enumerate() {
            if let Request::SettleEvents { settles, .. } = request {
                group::push_settles(settles, arguments);
                self.steps.push(Step::SettleEvents(index, settles.len()));
            }
        }
        for (index, request) in requests.iter().enumerate() {
            if let Request::Take { take, .. } = request {
                group::push_take(take, channel, arguments);
                self.steps.push(Step::Take(index));
            }
        }
    }

    fn push_submits(&mut self, requests: &[Request], arguments: &mut Arguments) {
        let mut run: Option<PlainRun<'_>> = None;
        for (index, request) in requests.iter().enumerate() {
            let Request::Submit { batch, .. } = request else { continue };
            if let [job] = batch.as_slice()
                && is_plain(job)
            {
                let (rules, max_depth) = (rules_bytes(job), job.max_depth.unwrap_or(0));
                if run.as_ref().is_some_and(|run| run.rules != rules || run.max_depth != max_depth) {
                    self.push_plain_run(run.take(), arguments);
                }
                let run = run.get_or_insert(PlainRun { rules, max_depth, jobs: Vec::new() });
                run.jobs.push((index, job));
            } else {
                self.push_plain_run(run.take(), arguments);
                self.steps.push(push_batch(index, batch, arguments));
            }
        }
        self.push_plain_run(run, arguments);
    }

    fn push_plain_run(&mut self, run: Option<PlainRun<'_>>, arguments: &mut Arguments) {
        let Some(PlainRun { rules, max_depth, jobs }) = run else { return };
        push_plain(&rules, max_depth, false, jobs.iter().map(|(_, job)| *job), arguments);
        self.steps.push(Step::Plain(jobs.into_iter().map(|(index, _)| index).collect(), max_depth));
    }
}

/// Whether a job has nothing special except for its rules.
fn is_plain(job: &NewJob) -> bool {
    job.due == Due::Now
        && job.priority == 0
        && job.key.is_none()
        && job.origin.is_none()
        && job.content.ordering_key.is_none()
}

fn push_plain<'a>(
    rules: &[u8],
    max_depth: u64,
    whole: bool,
    jobs: impl ExactSizeIterator<Item = &'a NewJob>,
    arguments: &mut Arguments,
) {
    arguments.push(b"plain");
    arguments.number(jobs.len() as u64);
    arguments.push(rules);
    arguments.number(max_depth);
    arguments.push(if whole { b"1" } else { b"0" });
    for job in jobs {
        push_input(job, arguments);
    }
}

fn push_input(job: &NewJob, arguments: &mut Arguments) {
    arguments.written(|bytes| push_content(&job.content, bytes));
}

fn push_batch(request: usize, batch: &[NewJob], arguments: &mut Arguments) -> Step {
    let first = &batch[0];
    let same = |job: &NewJob| is_plain(job) && job.rules == first.rules && job.max_depth == first.max_depth;
    if batch.iter().all(same) {
        let limit = first.max_depth.unwrap_or(0);
        push_plain(&rules_bytes(first), limit, true, batch.iter(), arguments);
        return Step::PlainBatch(request, batch.len(), limit);
    }
    arguments.push(b"batch");
    arguments.number(batch.len() as u64);
    for job in batch {
        let (mode, number) = match job.due {
            Due::Now => (b"n", 0),
            Due::After(delay) => (b"a", delay),
            Due::At(at) => (b"t", at),
        };
        let limit = job.max_depth.unwrap_or(0);
        arguments.pieces(&[mode, &number.to_be_bytes(), &[job.priority], &limit.to_be_bytes()]);
        arguments.push(&rules_bytes(job));
        push_input(job, arguments);
        arguments.push(&origin_bytes(job.origin.as_ref()));
    }
    Step::Batch(request, batch.iter().map(|job| job.max_depth.unwrap_or(0)).collect())
}

/// Whether the settle only delivers a result.
fn is_plain_end(settle: &Settle) -> bool {
    settle.progress.is_none() && matches!(settle.action, Action::Complete { .. })
}

/// Appends settles. Either all of them are plain ends or none is.
fn push_settles(settles: &[(Slot, &Settle)], arguments: &mut Arguments) {
    if is_plain_end(settles[0].1) {
        arguments.push(b"complete");
        let receipts: Vec<u8> =
            settles.iter().flat_map(|(_, settle)| [settle.id, settle.fence]).flat_map(u64::to_be_bytes).collect();
        arguments.push(&receipts);
        for (_, settle) in settles {
            if let Action::Complete { result } = &settle.action {
                arguments.push(result);
            }
        }
        return;
    }
    let ids: Vec<u8> = settles.iter().flat_map(|(_, settle)| settle.id.to_be_bytes()).collect();
    let renews = |(_, settle): &(Slot, &Settle)| matches!(settle.action, Action::Renew | Action::Heartbeat { .. });
    arguments.push(b"settle");
    arguments.push(&ids);
    arguments.push(if settles.iter().any(renews) { b"1" } else { b"0" });
    for (_, settle) in settles {
        push_settle(settle, arguments);
    }
}

fn push_settle(settle: &Settle, arguments: &mut Arguments) {
    let (letter, number, lease) = match &settle.action {
        Action::Complete { .. } => (b'c', 0, false),
        Action::Fail { delay, .. } => (b'f', *delay, false),
        Action::Reschedule { delay } => (b's', *delay, false),
        Action::Release => (b'b', 0, false),
        Action::Renew => (b'n', 0, false),
        Action::Heartbeat { lease } => (b'h', lease.unwrap_or(0), lease.is_some()),
        Action::Progress => (b'p', 0, false),
        Action::Step { .. } => (b'm', 0, false),
    };
    let flags = u8::from(settle.progress.is_some()) + 2 * u8::from(lease);
    let (id, fence) = (settle.id.to_be_bytes(), settle.fence.to_be_bytes());
    arguments.pieces(&[&id, &fence, &[letter, flags], &number.to_be_bytes()]);
    if let Some(progress) = &settle.progress {
        arguments.push(progress);
    }
    match &settle.action {
        Action::Complete { result } => arguments.push(result),
        Action::Fail { code, message, .. } => arguments.pieces(&[&[code_letter(*code)], message.as_bytes()]),
        Action::Step { id, value } => {
            arguments.push(id.as_bytes());
            arguments.push(value);
        }
        _ => {}
    }
}

fn push_claim(claim: &Claim, channel: &str, arguments: &mut Arguments) {
    arguments.push(b"claim");
    arguments.number(claim.max as u64);
    arguments.push(claim.worker.as_bytes());
    arguments.push(if claim.park { b"1" } else { b"0" });
    arguments.push(channel.as_bytes());
}

/// The script's answer, read item by item.
pub(super) struct Reply {
    pub(super) settling: bool,
    pub(super) next: u64,
    items: Answer,
}

impl Reply {
    pub(super) fn read(answer: Value) -> Result<Self> {
        let mut items = Answer::read("jobs", answer)?;
        Ok(Self { settling: items.flag()?, next: items.count()?, items })
    }
}

impl Step {
    pub(super) fn read(&self, reply: &mut Reply) -> Result<Outcome> {
        let item = reply.items.item();
        let wrong = || unexpected("jobs", &item);
        if let Self::Claim(request) = self {
            return Ok(Outcome::Claimed(*request, claimed(item)?));
        }
        let Value::BulkString(results) = &item else { return Err(wrong()) };
        match self {
            Self::Plain(requests, limit) => {
                let room = Room::read(results).ok_or_else(wrong)?;
                let one = |(at, request): (usize, &usize)| (*request, room.accepted(at, 1, *limit, 0));
                Ok(Outcome::Submitted(requests.iter().enumerate().map(one).collect()))
            }
            Self::PlainBatch(request, count, limit) => {
                let room = Room::read(results).ok_or_else(wrong)?;
                let beyond = usize::try_from(room.fitting).map_err(|_| wrong())?;
                Ok(Outcome::Submitted(vec![(*request, room.accepted(0, *count, *limit, beyond))]))
            }
            Self::Batch(request, limits) => {
                Ok(Outcome::Submitted(vec![(*request, accepted(results, limits).ok_or_else(wrong)?)]))
            }
            Self::Settles(slots) if results.len() == 9 * slots.len() => {
                let each = slots.iter().zip(results.chunks_exact(9));
                let read = each.map(|(slot, result)| Ok((*slot, settled(result).ok_or_else(wrong)?)));
                Ok(Outcome::Settled(read.collect::<Result<_>>()?))
            }
            Self::Take(request) => Ok(Outcome::Taken(*request, group::taken(results)?)),
            Self::SettleEvents(request, count) => {
                Ok(Outcome::SettledEvents(*request, group::settled(results, *count).ok_or_else(wrong)?))
            }
            Self::Settles(_) | Self::Claim(_) => Err(wrong()),
        }
    }
}

/// The outcome of plain submits. Their ids are consecutive.
struct Room {
    first: u64,
    /// How many there was room for.
    fitting: u64,
    /// The depth including these.
    depth: u64,
}

impl Room {
    fn read(result: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(result);
        Some(Self { first: bytes.number(8)?, fitting: bytes.number(8)?, depth: bytes.number(8)? })
    }

    /// The outcome for `count` submits from `at` on, all or nothing. `beyond` is the first of them without room.
    fn accepted(&self, at: usize, count: usize, limit: u64, beyond: usize) -> Accepted {
        let (from, behind) = (at as u64, (at + count) as u64);
        if behind > self.fitting {
            return Accepted::Full { index: beyond, depth: self.depth, limit };
        }
        Accepted::All((from..behind).map(|at| Acceptance::New { id: self.first + at }).collect())
    }
}

/// Results of 9 bytes each. For a batch that does not fit: F, the depth, the index of the first without room.
fn accepted(results: &[u8], limits: &[u64]) -> Option<Accepted> {
    if results.first() == Some(&b'F') {
        let mut bytes = Bytes(&results[1..]);
        let depth = bytes.number(8)?;
        let index = usize::try_from(bytes.number(8).unwrap_or(0)).ok()?;
        return Some(Accepted::Full { index, depth, limit: *limits.get(index)? });
    }
    let one = |result: &[u8]| {
        let id = Bytes(&result[1..]).number(8)?;
        match result[0] {
            b'N' => Some(Acceptance::New { id }),
            b'D' => Some(Acceptance::Duplicate { id }),
            b'O' => Some(Acceptance::Overlapping { active: id }),
            _ => None,
        }
    };
    let all: Vec<_> = results.chunks_exact(9).map(one).collect::<Option<_>>()?;
    (all.len() == limits.len()).then_some(Accepted::All(all))
}

fn settled(result: &[u8]) -> Option<Settled> {
    let number = Bytes(&result[1..]).number(8)?;
    Some(match result[0] {
        b's' => Settled::Stored,
        b'n' => Settled::Renewed { left: number },
        b'q' => Settled::Returned { due: number },
        b'e' => Settled::Ended(state_of(u8::try_from(number).ok()?)?),
        b'f' => Settled::Full { memos: number >> 32, bytes: number & 0xffff_ffff },
        b'x' => Settled::Stale,
        b'c' => Settled::Cancelled,
        _ => return None,
    })
}

/// `next` is still relative: the time from now.
fn claimed(item: Value) -> Result<Claimed> {
    let mut items = Answer::read("claim", item)?;
    let after = items.unpacked(|told| told.number(8))?;
    let mut runs = Vec::new();
    while !items.is_over() {
        let stored = Stored::read(&items.bytes()?, &items.bytes()?)?;
        runs.push(stored.into_run(content_of(items.bytes()?)?));
    }
    Ok(Claimed { runs, next: (after != 0).then_some(after) })
}
