//! A trip: the requests that were waiting when a lane became free, sent as one call of one script.
//!
//! The requests of one trip are concurrent: no caller awaited one before making another. Submits go first, then
//! settles, then claims, then the settles and takes of groups that read events; each in the order in which they were
//! made.

use std::sync::Arc;

use redis::Value;
use tokio::sync::oneshot;

use super::Remote;
use super::plan::{Outcome, Plan, Reply};
use crate::backend::redis::{
    self as server, Arguments, Carrier, Home, Lane, Lanes, MANY_ITEMS, Request as _, Script, Taker, script,
};
use crate::error::Result;
use crate::hash::HashMap;
use crate::job::store::{
    Accepted, Action, Claim, Claimed, GroupSettle, GroupTake, GroupTaken, NewJob, Run, Settle, Settled,
};
use crate::time::Timestamp;

static TRIP: Script = script!(
    "job.trip",
    "../../lua/time.lua",
    "../lua/one/begin.lua",
    "../../handover/lua/one/limits.lua",
    "../lua/one/submit.lua",
    "../lua/one/judge.lua",
    "../lua/one/start.lua",
    "../lua/one/write.lua",
    "../../handover/lua/one/park.lua",
    "../lua/one/answer.lua",
    "../../handover/lua/one/wake.lua",
    "../../handover/lua/one/keep.lua",
    "../lua/one/done.lua",
    "../../lua/receipts.lua",
    "../lua/keys.lua",
    "../../handover/lua/record.lua",
    "../../handover/lua/parking.lua",
    "../../lua/answers.lua",
    "../lua/layout.lua",
    "../lua/plain.lua",
    "../lua/rest.lua",
    "../../handover/lua/lines.lua",
    "../lua/books.lua",
    "../lua/store.lua",
    "../lua/series.lua",
    "../lua/moves.lua",
    "../../handover/lua/overdue.lua",
    "../lua/begin.lua",
    "../lua/submit.lua",
    "../lua/claim.lua",
    "../lua/settle.lua",
    "../lua/group.lua",
    "../lua/repeat.lua",
    "../lua/made.lua",
    "../lua/trip.lua",
);

/// One caller's part of a trip.
#[derive(Debug)]
pub(super) enum Request {
    Submit { batch: Vec<NewJob>, reply: oneshot::Sender<Result<Accepted>> },
    Claim { claim: Claim, reply: oneshot::Sender<Result<Claimed>> },
    Settle { settles: Vec<Settle>, reply: Option<oneshot::Sender<Result<Vec<Settled>>>>, before_claim: bool },
    Take { take: GroupTake, reply: oneshot::Sender<Result<GroupTaken>> },
    SettleEvents { settles: Vec<GroupSettle>, reply: Option<oneshot::Sender<Result<Vec<bool>>>> },
}

impl server::Request for Request {
    /// A few submits fill one trip while the other is in flight. The answers to claims and large batches keep the
    /// client busy, and with a single trip the server would wait for it.
    fn gains_from_a_second_trip(&self) -> bool {
        match self {
            Self::Submit { batch, .. } => batch.len() >= MANY_ITEMS,
            Self::Claim { .. } | Self::Take { .. } => true,
            Self::Settle { settles, .. } => settles.len() >= MANY_ITEMS,
            Self::SettleEvents { settles, .. } => settles.len() >= MANY_ITEMS,
        }
    }

    /// The ends of runs share a trip with the claim for the slots that they free.
    fn waits_for_company(&self) -> bool {
        matches!(self, Self::Settle { before_claim: true, .. })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Submit { batch, .. } => batch.iter().map(|job| job.content.size() + 256).sum(),
            Self::Claim { .. } => 64,
            Self::Settle { settles, .. } => settles.iter().map(size_of).sum(),
            Self::Take { take, .. } => 64 + take.group.len(),
            Self::SettleEvents { settles, .. } => settles.iter().map(|settle| 64 + settle.group.len()).sum(),
        }
    }

    /// The end of a run is sent even if its caller has gone.
    fn is_withdrawn(&self) -> bool {
        match self {
            Self::Submit { reply, .. } => reply.is_closed(),
            Self::Claim { reply, .. } => reply.is_closed(),
            Self::Take { reply, .. } => reply.is_closed(),
            Self::Settle { settles, reply: Some(reply), .. } => {
                reply.is_closed() && !settles.iter().any(|settle| settle.action.ends_run())
            }
            Self::Settle { reply: None, .. } | Self::SettleEvents { .. } => false,
        }
    }

    fn fail(&mut self, error: &crate::Error) {
        match self {
            Self::Submit { reply, .. } => server::refuse(reply, error),
            Self::Claim { reply, .. } => server::refuse(reply, error),
            Self::Settle { reply, .. } => reply.iter_mut().for_each(|reply| server::refuse(reply, error)),
            Self::Take { reply, .. } => server::refuse(reply, error),
            Self::SettleEvents { reply, .. } => reply.iter_mut().for_each(|reply| server::refuse(reply, error)),
        }
    }
}

fn size_of(settle: &Settle) -> usize {
    let carried = match &settle.action {
        Action::Complete { result } => result.len(),
        Action::Fail { message, .. } => message.len(),
        Action::Step { id, value } => id.len() + value.len(),
        _ => 0,
    };
    64 + settle.progress.as_ref().map_or(0, Vec::len) + carried
}

impl Carrier for Remote {
    type Request = Request;

    fn lanes(&self) -> &Lanes<Request> {
        &self.lanes
    }

    async fn carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<Request>) {
        if let Some((mut plan, failure)) = self.make_trip(lane, load).await {
            self.fail(&mut plan, failure);
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
        matches!(request, Request::Claim { .. } | Request::Take { .. })
    }

    fn deliver(self: &Arc<Self>, mut plan: Plan, answer: Value, now: Timestamp) {
        let outcome = Reply::read(answer).and_then(|mut reply| {
            self.told_next(reply.next);
            let settling = reply.settling;
            plan.steps.iter().map(|step| step.read(&mut reply)).collect::<Result<Vec<_>>>().map(|read| (settling, read))
        });
        match outcome {
            Ok((settling, read)) => self.hand_out(plan.requests, read, settling, now),
            Err(error) => plan.requests.iter_mut().for_each(|request| request.fail(&error)),
        }
    }
}

impl Remote {
    /// Carries out what is overdue, unless another process did so within the last second.
    pub(super) async fn sweep_once(&self) -> Result<()> {
        self.home.told_next(Reply::read(self.sweep_trip().await?)?.next);
        Ok(())
    }

    fn hand_out(self: &Arc<Self>, requests: Vec<Request>, read: Vec<Outcome>, settling: bool, now: Timestamp) {
        let mut submitted: Vec<Option<Accepted>> = requests.iter().map(|_| None).collect();
        let mut claimed: Vec<Option<Claimed>> = requests.iter().map(|_| None).collect();
        let mut settled: Vec<Vec<Settled>> = requests
            .iter()
            .map(|request| match request {
                Request::Settle { settles, .. } => vec![Settled::Stale; settles.len()],
                _ => Vec::new(),
            })
            .collect();
        let (mut taken, mut settled_events) = (HashMap::default(), HashMap::default());
        for outcome in read {
            match outcome {
                Outcome::Submitted(of) => of.into_iter().for_each(|(request, one)| submitted[request] = Some(one)),
                Outcome::Claimed(request, runs) => claimed[request] = Some(runs),
                Outcome::Taken(request, events) => drop(taken.insert(request, events)),
                Outcome::SettledEvents(request, held) => drop(settled_events.insert(request, held)),
                Outcome::Settled(of) => of.into_iter().for_each(|((request, at), one)| settled[request][at] = one),
            }
        }
        for (index, request) in requests.into_iter().enumerate() {
            match request {
                Request::Submit { batch, reply } => {
                    let accepted = submitted[index].take().expect("each submit has its step");
                    if settling && matches!(accepted, Accepted::Full { .. }) && !reply.is_closed() {
                        // Overdue jobs take up the room that these jobs need, so repeat the submit after they are
                        // gone.
                        self.submit(Request::Submit { batch, reply });
                        continue;
                    }
                    // A caller that has gone needs no answer.
                    let _ = reply.send(Ok(accepted));
                }
                Request::Settle { reply, .. } => {
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(std::mem::take(&mut settled[index])));
                    }
                }
                Request::Claim { claim, reply } => {
                    let mut claimed = claimed[index].take().expect("each claim has its step");
                    claimed.next = claimed.next.map(|after| now.as_millis() + after);
                    self.hand_over(claim, claimed, reply, settling);
                }
                Request::SettleEvents { reply, .. } => {
                    let held = settled_events.remove(&index).expect("each settle has its step");
                    drop(reply.map(|reply| reply.send(Ok(held))));
                }
                Request::Take { take, reply } => {
                    let mut taken: GroupTaken = taken.remove(&index).expect("each take has its step");
                    taken.next = taken.next.map(|after| now.as_millis() + after);
                    self.hand_over_events(&take, taken, reply);
                }
            }
        }
    }

    fn hand_over(
        self: &Arc<Self>,
        claim: Claim,
        mut claimed: Claimed,
        reply: oneshot::Sender<Result<Claimed>>,
        settling: bool,
    ) {
        if settling && claimed.runs.is_empty() && claim.max > 0 && !reply.is_closed() {
            // Overdue transitions stood between this claim and a job that can be started.
            return self.submit(Request::Claim { claim, reply });
        }
        if settling && claimed.runs.len() < claim.max {
            // The process was not parked, so its waiters claim again at once.
            claimed.next = Some(0);
        }
        if let Err(Ok(claimed)) = reply.send(Ok(claimed)) {
            // The claim was dropped while it was in flight.
            let release = |run: Run| Settle { id: run.id, fence: run.fence, progress: None, action: Action::Release };
            let settles: Vec<_> = claimed.runs.into_iter().map(release).collect();
            if !settles.is_empty() {
                self.submit(Request::Settle { settles, reply: None, before_claim: false });
            }
        }
    }
}
