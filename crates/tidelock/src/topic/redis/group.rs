//! One group of a topic on the server: its takes and settles share trips.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::Value;
use tokio::sync::oneshot;

use super::Remote;
use super::stored::{Stored, begin_bytes, gap, place, place_bytes};
use crate::backend::redis::{
    Answer, Arguments, Bytes, Carrier, Home, Lane, Lanes, MANY_ITEMS, Request, Script, Series, Settles, Taker, refuse,
    script,
};
use crate::bell::Bell;
use crate::error::{Error, Result};
use crate::time::{Tick, Timestamp};
use crate::topic::store::{Action, GapView, Handed, MAX_GROUPS, Settle, Settled, Take, Taken, too_many_groups};

static TRIP: Script = script!(
    "group.trip",
    "../../lua/time.lua",
    "../../lua/receipts.lua",
    "../lua/store.lua",
    "../lua/log.lua",
    "../lua/read.lua",
    "../lua/parked.lua",
    "../../lua/answers.lua",
    "../lua/group.lua",
    "../lua/rest.lua",
    "../lua/begin.lua",
    "../lua/moves.lua",
    "../lua/one_by_one.lua",
    "../lua/settle_one.lua",
    "../lua/made.lua",
    "../lua/take.lua",
    "../lua/settle.lua",
    "../lua/trip.lua",
);

/// One group, as this process uses it.
#[derive(Debug)]
pub(super) struct RemoteGroup {
    pub(super) home: Home,
    pub(super) name: Arc<str>,
    lanes: Lanes<GroupRequest>,
    pub(super) changes: Series,
    pub(super) bell: Arc<Bell>,
    used: Mutex<Tick>,
    /// Gaps whose take was answered too late for its caller: the next take reports them.
    untold: Mutex<VecDeque<GapView>>,
}

/// One caller's part of a trip.
#[derive(Debug)]
pub(super) enum GroupRequest {
    Take { take: Take, reply: oneshot::Sender<Result<Taken>> },
    Settle { settles: Vec<Settle>, reply: Option<oneshot::Sender<Result<Vec<Settled>>>> },
}

impl Request for GroupRequest {
    fn bytes(&self) -> usize {
        match self {
            Self::Take { .. } => 128,
            Self::Settle { settles, .. } => settles.iter().map(Settle::bytes).sum(),
        }
    }

    fn gains_from_a_second_trip(&self) -> bool {
        match self {
            Self::Take { .. } => true,
            Self::Settle { settles, .. } => settles.len() >= MANY_ITEMS,
        }
    }

    fn is_withdrawn(&self) -> bool {
        // A settle is always sent, even if its caller no longer waits.
        matches!(self, Self::Take { reply, .. } if reply.is_closed())
    }

    fn fail(&mut self, error: &Error) {
        match self {
            Self::Take { reply, .. } => refuse(reply, error),
            Self::Settle { reply, .. } => reply.iter_mut().for_each(|reply| refuse(reply, error)),
        }
    }
}

impl RemoteGroup {
    pub(super) fn new(topic: &Home, name: Arc<str>, now: Tick) -> Self {
        let called = format!("group {name:?} of {}", topic.place.tag).into();
        let home = topic.part(Remote::group_keys(topic, &name), &name, called);
        Self {
            lanes: Lanes::new(&home),
            changes: Series::new(&home),
            bell: Arc::default(),
            used: Mutex::new(now),
            untold: Mutex::default(),
            name,
            home,
        }
    }

    pub(super) fn used(&self, now: Tick) {
        *self.used.lock().expect("no code panics while it holds this lock") = now;
    }

    /// How long the group has not been used.
    pub(super) fn unused(&self, now: Tick) -> Duration {
        now.since(*self.used.lock().expect("no code panics while it holds this lock"))
    }

    pub(super) fn is_waited_for(&self) -> bool {
        Arc::strong_count(&self.bell) > 1
    }

    pub(super) fn next_deadline(&self) -> u64 {
        self.home.next_deadline()
    }

    /// Carries out what is overdue, unless some process did within the last second.
    pub(super) async fn sweep(&self) -> Result<()> {
        self.begin_reply(self.sweep_trip().await?)?;
        Ok(())
    }

    /// Reads the head of a reply: whether more is overdue, and the results of the operations.
    fn begin_reply(&self, answer: Value) -> Result<(bool, Answer)> {
        let mut items = Answer::read("group", answer)?;
        let settling = items.flag()?;
        self.home.told_next(items.count()?);
        Ok((settling, items))
    }
}

/// One operation of a trip: a batch of settles, or the take of one request.
enum Step {
    Settles(Settles),
    Take(usize),
}

/// The results of a trip, by request.
struct Outcomes {
    settled: Vec<Vec<Settled>>,
    taken: Vec<Option<Taken>>,
}

impl Carrier for RemoteGroup {
    type Request = GroupRequest;

    fn lanes(&self) -> &Lanes<GroupRequest> {
        &self.lanes
    }

    async fn carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<GroupRequest>) {
        if let Some((mut plan, failure)) = self.make_trip(lane, load).await {
            self.fail(&mut plan, failure);
        }
    }
}

/// The requests of a trip, and the operations that they became.
pub(super) struct Plan {
    requests: Vec<GroupRequest>,
    steps: Vec<Step>,
}

impl Taker for RemoteGroup {
    type Plan = Plan;

    fn home(&self) -> &Home {
        &self.home
    }

    fn script(&self) -> &'static Script {
        &TRIP
    }

    fn plan(&self, load: Vec<GroupRequest>, arguments: &mut Arguments) -> Plan {
        let steps = push_steps(&load, arguments, &self.home.server.channel);
        Plan { requests: load, steps }
    }

    fn requests(plan: &mut Plan) -> &mut [GroupRequest] {
        &mut plan.requests
    }

    fn takes(request: &GroupRequest) -> bool {
        matches!(request, GroupRequest::Take { .. })
    }

    fn deliver(self: &Arc<Self>, mut plan: Plan, answer: Value, now: Timestamp) {
        let read = self
            .begin_reply(answer)
            .and_then(|(settling, items)| Ok((settling, read_steps(&plan.steps, items, &plan.requests)?)));
        match read {
            Ok((settling, outcomes)) => self.hand_out(plan.requests, outcomes, settling, now),
            Err(error) => plan.requests.iter_mut().for_each(|request| request.fail(&error)),
        }
    }
}

fn push_steps(load: &[GroupRequest], arguments: &mut Arguments, channel: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let settles = load.iter().enumerate().flat_map(|(index, request)| {
        let settles = if let GroupRequest::Settle { settles, .. } = request { settles.as_slice() } else { &[] };
        settles.iter().enumerate().map(move |(at, settle)| ((index, at), settle))
    });
    Settles::push(settles, arguments, &mut |step| steps.push(Step::Settles(step)));
    for (index, request) in load.iter().enumerate() {
        if let GroupRequest::Take { take, .. } = request {
            push_take(take, channel, arguments);
            steps.push(Step::Take(index));
        }
    }
    steps
}

fn push_take(take: &Take, channel: &str, arguments: &mut Arguments) {
    let reader = &take.reader;
    let flags = u8::from(reader.ordered) + 2 * u8::from(take.park) + 4 * u8::from(take.seen.is_some());
    arguments.push(b"take");
    arguments.pieces(&[
        &(take.max as u64).to_be_bytes(),
        &take.lease.to_be_bytes(),
        &take.max_deliveries.unwrap_or(0).to_be_bytes(),
        &reader.max_in_flight.to_be_bytes(),
        &reader.dead_retention.unwrap_or(0).to_be_bytes(),
        &[flags],
        &place_bytes(take.seen.unwrap_or_default()),
    ]);
    arguments.push(&begin_bytes(reader.begin));
    arguments.push(take.consumer.as_bytes());
    arguments.push(channel.as_bytes());
}

fn read_steps(steps: &[Step], mut items: Answer, load: &[GroupRequest]) -> Result<Outcomes> {
    let settled = load.iter().map(|request| match request {
        GroupRequest::Settle { settles, .. } => vec![Settled::Stale; settles.len()],
        GroupRequest::Take { .. } => Vec::new(),
    });
    let mut outcomes = Outcomes { settled: settled.collect(), taken: load.iter().map(|_| None).collect() };
    for step in steps {
        let item = items.item();
        match step {
            Step::Settles(settles) => {
                for ((request, at), settled) in settles.read(&item)? {
                    outcomes.settled[request][at] = settled;
                }
            }
            Step::Take(request) => outcomes.taken[*request] = read_taken(item)?,
        }
    }
    Ok(outcomes)
}

/// Reads the result of a take; its `next` is still relative to now. `None`: the group does not exist, and the topic
/// already has the maximum number of groups.
fn read_taken(item: Value) -> Result<Option<Taken>> {
    let mut items = Answer::read("take", item)?;
    let head = items.bytes()?;
    if head == b"full" {
        return Ok(None);
    }
    let read_head = || {
        let mut head = Bytes(&head);
        let (after, life) = (head.number(8)?, head.number(8)?);
        let is_seen = head.byte()? == 1;
        let place = place(&mut head)?;
        Some((after, life, is_seen.then_some(place), gap(&mut head)?.0))
    };
    let (after, life, seen, gap) = read_head().ok_or_else(|| items.wrong(&Value::BulkString(head.clone())))?;
    let events = items.each(|value| Ok(Stored::read(value)?.into_handed(life)))?;
    Ok(Some(Taken { gap, events, seen, next: (after != 0).then_some(after) }))
}

impl RemoteGroup {
    fn hand_out(self: &Arc<Self>, load: Vec<GroupRequest>, outcomes: Outcomes, settling: bool, now: Timestamp) {
        let each = load.into_iter().zip(outcomes.settled).zip(outcomes.taken);
        for ((request, settled), taken) in each {
            match (request, taken) {
                (GroupRequest::Settle { reply, .. }, _) => {
                    // The caller may be gone; then the answer is dropped.
                    drop(reply.map(|reply| reply.send(Ok(settled))));
                }
                (GroupRequest::Take { reply, .. }, None) => {
                    let _ = reply.send(Err(too_many_groups(MAX_GROUPS)));
                }
                (GroupRequest::Take { take, reply }, Some(mut taken)) => {
                    taken.next = taken.next.map(|after| now.as_millis() + after);
                    self.hand_over(take, taken, reply, settling);
                }
            }
        }
    }

    fn lock_untold(&self) -> MutexGuard<'_, VecDeque<GapView>> {
        self.untold.lock().expect("no code panics while it holds this lock")
    }

    fn hand_over(
        self: &Arc<Self>,
        take: Take,
        mut taken: Taken,
        reply: oneshot::Sender<Result<Taken>>,
        settling: bool,
    ) {
        if taken.gap.is_none() {
            taken.gap = self.lock_untold().pop_front();
        }
        let nothing = taken.events.is_empty() && taken.gap.is_none();
        if settling && nothing && take.max > 0 && !reply.is_closed() {
            // Overdue transitions may have hidden a deliverable event: take again.
            return self.submit(GroupRequest::Take { take, reply });
        }
        if settling && taken.len() < take.max {
            // The process was not parked: waiters must take again at once.
            taken.next = Some(0);
        }
        if let Err(Ok(taken)) = reply.send(Ok(taken)) {
            // The receive was dropped or timed out while its take was in flight: give back what it took.
            if let Some(gap) = taken.gap {
                self.lock_untold().push_front(gap);
                self.bell.ring();
            }
            let give_back = |event: Handed| Settle { id: event.place.at, fence: event.fence, action: Action::GiveBack };
            let settles: Vec<_> = taken.events.into_iter().map(give_back).collect();
            if !settles.is_empty() {
                self.submit(GroupRequest::Settle { settles, reply: None });
            }
        }
    }
}
