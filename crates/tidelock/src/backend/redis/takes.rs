//! Trips that hand out messages, runs or events. If a caller got no answer, what was taken for it is found out
//! afterwards.

use std::future::Future;
use std::sync::Arc;

use redis::Value;
use tokio::time::{Instant, timeout_at};

use super::call::{REPEATABLE, Repeat};
use super::{Arguments, Carrier, Failure, Home, Lane, Request, Script};
use crate::error::Result;
use crate::time::Timestamp;

/// A carrier whose trips run a script that hands something out. The script takes steps, remembers its last answer,
/// and repeats it to a request with the same number.
pub(crate) trait Taker: Carrier {
    /// The requests of a trip, and the steps that they became.
    type Plan: Send + 'static;

    fn home(&self) -> &Home;
    fn script(&self) -> &'static Script;
    fn plan(&self, load: Vec<Self::Request>, arguments: &mut Arguments) -> Self::Plan;
    fn requests(plan: &mut Self::Plan) -> &mut [Self::Request];
    /// Whether something may be handed out for the request.
    fn takes(request: &Self::Request) -> bool;
    /// Answers the requests, and gives back what was taken for callers that have gone.
    fn deliver(self: &Arc<Self>, plan: Self::Plan, answer: Value, now: Timestamp);

    /// Makes a trip and answers its requests. If it fails, returns the plan, whose requests are not answered yet.
    fn make_trip(
        self: &Arc<Self>,
        lane: &mut Lane,
        load: Vec<Self::Request>,
    ) -> impl Future<Output = Option<(Self::Plan, Failure)>> + Send {
        async move {
            let (home, server) = (self.home(), &self.home().server);
            let pinned = server.clock.pinned();
            let mut arguments = home.arguments(Some(&lane.answers));
            arguments.number(lane.number);
            let mut plan = self.plan(load, &mut arguments);
            let begun = Instant::now();
            // What an earlier trip took must be delivered before what this one takes. No later trip may overtake it
            // meanwhile.
            let answered = async {
                if self.lanes().is_any_unanswered() {
                    lane.repeat().turn().await;
                    self.lanes().all_answered().await;
                }
            };
            if timeout_at(begun + server.request_timeout, answered).await.is_err() {
                return Some((plan, Failure::NotSent("an earlier request has no answer yet".to_owned())));
            }
            let (slot, within) = (home.place.slot, server.request_timeout.saturating_sub(begun.elapsed()));
            let failure = match server.run(self.script(), slot, &arguments, lane.repeat(), within).await {
                Ok(answer) => {
                    // The server reported times relative to its now. That is the pinned time of the request, or else
                    // this moment.
                    self.deliver(plan, answer, pinned.unwrap_or_else(|| server.clock.now()));
                    return None;
                }
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Unknown(_)) || !Self::requests(&mut plan).iter().any(Self::takes) {
                return Some((plan, failure));
            }
            self.fail(&mut plan, failure);
            self.find_out(lane, plan);
            None
        }
    }

    /// Answers the requests of a trip that failed.
    fn fail(&self, plan: &mut Self::Plan, failure: Failure) {
        let error = failure.into_error(self.home().name());
        for request in Self::requests(plan) {
            request.fail(&error);
        }
    }

    /// Abandons the trip in flight and asks for its answer, as long as the server remembers it. The question carries
    /// no requests. So it does nothing if the trip never reached the server, and the trip does nothing if it arrives
    /// later.
    fn find_out(self: &Arc<Self>, lane: &mut Lane, plan: Self::Plan) {
        let (answers, number) = lane.leave_behind(self.home());
        let (taker, left_behind) = (Arc::clone(self), self.lanes().left_behind());
        self.home().server.spawner.spawn(async move {
            let _left_behind = left_behind;
            let (home, server) = (taker.home(), &taker.home().server);
            let mut arguments = home.arguments(Some(&answers));
            arguments.number(number);
            let slot = home.place.slot;
            if let Ok(answer) = server.run(taker.script(), slot, &arguments, Repeat::Safe, REPEATABLE).await {
                let now = server.clock.now();
                taker.deliver(plan, answer, now);
            }
        });
    }

    /// One empty trip: carries out what is overdue, unless another process did so within the last second. Its answer
    /// is never asked for again, so any key can stand for the key of its answers.
    fn sweep_trip(&self) -> impl Future<Output = Result<Value>> + Send {
        async move {
            let home = self.home();
            let mut arguments = home.arguments(Some(&home.keys[0]));
            arguments.number(0);
            arguments.push(b"sweep");
            home.run(self.script(), &arguments, Repeat::Safe).await
        }
    }
}
