//! A trip: the requests that were waiting when a lane became free, sent as one call of one script.
//!
//! The requests of one trip are concurrent: no caller awaited one before making another. Sends go first, then
//! settles, then takes, each in the order in which they were made.

use std::sync::Arc;

use redis::Value;
use tokio::sync::oneshot;

use super::Remote;
use super::plan::{Outcome, Plan, Reply};
use crate::backend::redis::{
    self as server, Arguments, Carrier, Failure, Home, Lane, Lanes, MANY_ITEMS, Request as _, Script, Taker, script,
};
use crate::error::Result;
use crate::queue::store::{Accepted, Action, Handed, NewMessage, Settle, Settled, Take, Taken};
use crate::time::Timestamp;

static TRIP: Script = script!(
    "queue.trip",
    "../../lua/time.lua",
    "../lua/one/begin.lua",
    "../../handover/lua/one/limits.lua",
    "../lua/one/send.lua",
    "../lua/one/judge.lua",
    "../lua/one/write.lua",
    "../../handover/lua/one/park.lua",
    "../lua/one/answer.lua",
    "../../handover/lua/one/wake.lua",
    "../../handover/lua/one/keep.lua",
    "../lua/one/done.lua",
    "../../lua/receipts.lua",
    "../lua/keys.lua",
    "../../handover/lua/record.lua",
    "../../handover/lua/lines.lua",
    "../../lua/answers.lua",
    "../lua/store.lua",
    "../lua/moves.lua",
    "../../handover/lua/overdue.lua",
    "../../handover/lua/parking.lua",
    "../lua/send.lua",
    "../lua/take.lua",
    "../lua/settle.lua",
    "../lua/repeat.lua",
    "../lua/trip.lua",
);

/// One caller's part of a trip.
#[derive(Debug)]
pub(super) enum Request {
    Send { batch: Vec<NewMessage>, reply: oneshot::Sender<Result<Accepted>> },
    Take { take: Take, reply: oneshot::Sender<Result<Taken>> },
    Settle { settles: Vec<Settle>, reply: Option<oneshot::Sender<Result<Vec<Settled>>>> },
}

impl server::Request for Request {
    /// A few sends fill one trip while the other is in flight. The answers to takes and large batches keep the client
    /// busy, and with a single trip the server would wait for it.
    fn gains_from_a_second_trip(&self) -> bool {
        match self {
            Self::Send { batch, .. } => batch.len() >= MANY_ITEMS,
            Self::Take { .. } => true,
            Self::Settle { settles, .. } => settles.len() >= MANY_ITEMS,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Send { batch, .. } => batch.iter().map(|message| message.content.size() + 128).sum(),
            Self::Take { .. } => 64,
            Self::Settle { settles, .. } => settles.iter().map(Settle::bytes).sum(),
        }
    }

    /// A settle is sent even if its caller has gone.
    fn is_withdrawn(&self) -> bool {
        match self {
            Self::Send { reply, .. } => reply.is_closed(),
            Self::Take { reply, .. } => reply.is_closed(),
            Self::Settle { .. } => false,
        }
    }

    fn fail(&mut self, error: &crate::Error) {
        match self {
            Self::Send { reply, .. } => server::refuse(reply, error),
            Self::Take { reply, .. } => server::refuse(reply, error),
            Self::Settle { reply, .. } => reply.iter_mut().for_each(|reply| server::refuse(reply, error)),
        }
    }
}

impl Carrier for Remote {
    type Request = Request;

    fn lanes(&self) -> &Lanes<Request> {
        &self.lanes
    }

    async fn carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<Request>) {
        if let Some(rest) = self.try_to_carry(lane, load).await {
            self.try_to_carry(lane, rest).await;
        }
    }
}

impl Taker for Remote {
    type Plan = Plan;

    fn home(&self) -> &Home {
        &self.home
    }

    fn script(&self) -> &'static Script {
        &TRIP
    }

    fn plan(&self, load: Vec<Request>, arguments: &mut Arguments) -> Plan {
        Plan::make(load, arguments, &self.home.server.channel)
    }

    fn requests(plan: &mut Plan) -> &mut [Request] {
        &mut plan.requests
    }

    fn takes(request: &Request) -> bool {
        matches!(request, Request::Take { .. })
    }

    fn deliver(self: &Arc<Self>, mut plan: Plan, answer: Value, now: Timestamp) {
        let outcome = Reply::read(answer).and_then(|mut reply| {
            self.home.told_next(reply.next);
            let (settling, overdue) = (reply.settling, reply.overdue);
            let read = plan.steps.iter().map(|step| step.read(&mut reply)).collect::<Result<Vec<_>>>();
            read.map(|read| (read, settling, overdue))
        });
        match outcome {
            Ok((read, settling, overdue)) => self.hand_out(plan.requests, read, (settling, overdue), now),
            Err(error) => plan.requests.iter_mut().for_each(|request| request.fail(&error)),
        }
    }
}

impl Remote {
    /// Makes a trip and answers its requests. If the server has no memory for sends, only these are refused. Returns
    /// the rest, which is sent again under the same number, because nothing was written.
    async fn try_to_carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<Request>) -> Option<Vec<Request>> {
        let (mut plan, failure) = self.make_trip(lane, load).await?;
        let is_send = |request: &mut Request| matches!(request, Request::Send { .. });
        let mut rest = Vec::new();
        if matches!(&failure, Failure::Refused { code, .. } if code == "OOM") && plan.requests.iter_mut().any(is_send) {
            let sends = plan.requests.extract_if(.., is_send).collect();
            rest = std::mem::replace(&mut plan.requests, sends);
        }
        self.fail(&mut plan, failure);
        (!rest.is_empty()).then_some(rest)
    }

    /// Carries out what is overdue, unless another process did so within the last second.
    pub(super) async fn sweep_once(&self) -> Result<()> {
        self.home.told_next(Reply::read(self.sweep_trip().await?)?.next);
        Ok(())
    }

    fn hand_out(
        self: &Arc<Self>,
        requests: Vec<Request>,
        read: Vec<Outcome>,
        (settling, overdue): (bool, bool),
        now: Timestamp,
    ) {
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
                Request::Send { batch, reply } => {
                    let mut accepted = sent[index].take().expect("each send has its step");
                    if let Accepted::Full { index, limit, .. } = &mut accepted {
                        if overdue && !reply.is_closed() {
                            // Overdue messages take up the room that this send needs, so repeat it after they are
                            // gone.
                            self.submit(Request::Send { batch, reply });
                            continue;
                        }
                        *limit = batch.get(*index).and_then(|message| message.max_depth).unwrap_or(0);
                    }
                    // A caller that has gone needs no answer.
                    let _ = reply.send(Ok(accepted));
                }
                Request::Settle { reply, .. } => {
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(std::mem::take(&mut settled[index])));
                    }
                }
                Request::Take { take, reply } => {
                    let mut taken = taken[index].take().expect("each take has its step");
                    taken.next = taken.next.map(|after| now.as_millis() + after);
                    self.hand_over(take, taken, reply, settling);
                }
            }
        }
    }

    fn hand_over(
        self: &Arc<Self>,
        take: Take,
        mut taken: Taken,
        reply: oneshot::Sender<Result<Taken>>,
        settling: bool,
    ) {
        if settling && taken.messages.is_empty() && take.max > 0 && !reply.is_closed() {
            // Overdue transitions stood between this take and a deliverable message.
            return self.submit(Request::Take { take, reply });
        }
        if settling && taken.messages.len() < take.max {
            // The process was not parked, so its waiters take again at once.
            taken.next = Some(0);
        }
        if let Err(Ok(taken)) = reply.send(Ok(taken)) {
            // The receive was dropped while its take was in flight.
            let give_back = |message: Handed| Settle { id: message.id, fence: message.fence, action: Action::GiveBack };
            let settles: Vec<_> = taken.messages.into_iter().map(give_back).collect();
            if !settles.is_empty() {
                self.submit(Request::Settle { settles, reply: None });
            }
        }
    }
}
