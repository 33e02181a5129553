//! Trips that hand over messages, runs or events: what was taken for a caller that got no answer is found out afterwards.

use std::future::Future;
use std::sync::Arc;

use redis::Value;
use tokio::time::{Instant, timeout_at};

use super::call::{REPEATABLE, Repeat};
use super::{Arguments, Carrier, Failure, Home, Lane, Request, Script};
use crate::error::Result;
use crate::time::Timestamp;

/// A carrier whose trips run a script of handing over. The script takes steps, remembers its last answer, and repeats it to
/// whoever asks under the same number.
pub(crate) trait Taker: Carrier {
    /// The requests of a trip, and the steps that they became.
    type Plan: Send + 'static;

    fn home(&self) -> &Home;
    fn script(&self) -> &'static Script;
    fn plan(&self, load: Vec<Self::Request>, arguments: &mut Arguments) -> Self::Plan;
    fn requests(plan: &mut Self::Plan) -> &mut [Self::Request];
    /// Whether something may be handed over for it.
    fn takes(request: &Self::Request) -> bool;
    /// Answers the requests; gives back what was taken for callers that are gone.
    fn deliver(self: &Arc<Self>, plan: Self::Plan, answer: Value, now: Timestamp);

    /// Makes a trip and answers its requests, unless it failed: what is given back then has not been answered.
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
            // What an earlier trip took comes before what this one takes.
            if timeout_at(begun + server.request_timeout, self.lanes().all_answered()).await.is_err() {
                return Some((plan, Failure::NotSent("an earlier request has no answer yet".to_owned())));
            }
            let (slot, within) = (home.place.slot, server.request_timeout.saturating_sub(begun.elapsed()));
            let failure = match server.run(self.script(), slot, &arguments, lane.repeat(), within).await {
                Ok(answer) => {
                    // The server told times from its now: a pinned one is that of the request, else it is this moment.
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

    /// Leaves the trip under way behind and asks for its answer, as long as that is remembered. With nothing aboard, the
    /// question does nothing if the trip never came to the server, and the trip does nothing if it comes later.
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

    /// One empty trip: carries out what is overdue, unless some process did within the last second. Its answer is never
    /// asked for again, so that any key may stand for where it is remembered.
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
