//! The engine of a worker: the one task that claims runs, starts them, settles them, and ends the worker.

use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::report::{JobWorkerReport, JobWorkerStats};
use super::shared::{Finished, Shared};
use super::{renewal, run};
use crate::backoff::Pauses;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::{Background, Claims, Control, Ending, Impatience, Over, WaitEnd};
use crate::job::observe;
use crate::job::store::{MAX_BATCH, MAX_BYTES, Settle, Settled};
use crate::lifecycle::{GiveBack, Hold};
use crate::runtime::{self, BoxFuture};

/// Requests of one kind in flight at once: while one is being answered, the next is on its way.
const FLIGHTS: usize = 2;
/// Fewer runs than this are not worth a separate trip.
const SHARE: usize = 16;

/// Settles and their answer.
type Answered = (Vec<Finished>, Result<Vec<Settled>>);
/// How many runs were requested, and the claims that arrived.
type Came = (usize, Result<Claims>);

pub(super) struct Engine {
    shared: Arc<Shared>,
    asks: FuturesUnordered<BoxFuture<'static, Came>>,
    /// Runs that were requested and have not arrived yet.
    awaited: usize,
    /// Runs that were requested and have not been started yet.
    asked: usize,
    /// Fires when a run that waits for a slot may have become stale.
    impatience: Impatience,
    settles: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// The number of settles in flight.
    sent: usize,
    /// Whether some of them may still wait for a claim to share its trip.
    departing: bool,
    ending: Ending,
    stopping: bool,
    error: Option<Error>,
    _hold: Hold,
}

impl Engine {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Background<JobWorkerStats, JobWorkerReport>> {
        let site = Arc::clone(shared.site());
        let closer = Arc::clone(shared) as Arc<dyn GiveBack>;
        let engine = Self {
            asks: FuturesUnordered::new(),
            awaited: 0,
            asked: 0,
            impatience: Impatience::default(),
            settles: FuturesUnordered::new(),
            sent: 0,
            departing: false,
            ending: Ending::default(),
            stopping: false,
            error: None,
            _hold: site.world.lifecycle.hold_until_closed("worker", &site.address.id, closer),
            shared: Arc::clone(shared),
        };
        let control = Arc::clone(shared) as Arc<dyn Control<JobWorkerStats>>;
        Background::start(&site, control, engine.run())
    }

    async fn run(mut self) -> JobWorkerReport {
        let shared = Arc::clone(&self.shared);
        let site = Arc::clone(shared.site());
        let renewal = renewal::start(&site, &shared.store, &shared.agenda);
        let lifecycle = site.world.lifecycle.clone();
        let mut closing = Box::pin(async move { lifecycle.closing().await }).fuse();
        loop {
            if shared.stopping.is_given() && !self.stopping {
                self.stop();
            }
            self.ending.shorten(&site, &shared.stopping);
            if self.stopping && self.asks.is_empty() {
                // Not earlier, because a claim in flight could get the same jobs again.
                shared.give_back_waiting();
            }
            if !site.source.is_local() && shared.are_ending() {
                // Gives handlers that are about to end the chance to share the trip.
                runtime::yield_now().await;
            }
            // The settles share a trip with the claim for the slots that they free.
            self.settle();
            self.ask();
            self.impatience.watch(&site, || shared.stale_at());
            let can_start = !self.stopping && shared.can_start();
            if self.stopping && self.asks.is_empty() && self.left() == 0 {
                break;
            }
            tokio::select! {
                biased;
                Some(answered) = self.settles.next(), if !self.settles.is_empty() => self.settled(answered),
                Some(came) = self.asks.next(), if !self.asks.is_empty() => self.came(came),
                () = shared.changed.notified() => {}
                // Even if the worker is already stopping, because a shutdown may leave it less time.
                () = &mut closing => shared.stopping.give(),
                over = self.ending.over() => match over {
                    Over::Grace => shared.abort(),
                    Over::LetGo => shared.give_up(),
                    Over::LastWords => break,
                },
                // By now the requests made above have been polled.
                () = std::future::ready(()), if self.departing => {
                    self.departing = false;
                    shared.store.depart(&site.address);
                }
                () = std::future::ready(()), if can_start => self.begin(),
                () = self.impatience.ended() => self.give_back_stale(),
            }
        }
        drop(renewal);
        shared.ended.give();
        let report = shared.stats().report(self.error.take());
        JobWorkerReport { left: self.left() as u64, ..report }
    }

    /// The number of runs in progress, waiting to be settled, or being settled.
    fn left(&self) -> usize {
        self.sent + self.shared.left()
    }

    /// Requests runs for the free slots, and those to prefetch.
    fn ask(&mut self) {
        if self.shared.room(self.asked) < 0 {
            // A settle failed and is being retried, so the request for runs in its place is withdrawn.
            self.asks.clear();
            self.asked -= std::mem::take(&mut self.awaited);
        }
        while !self.stopping && self.asks.len() < FLIGHTS {
            let free = self.shared.room(self.asked).max(0).cast_unsigned().min(MAX_BATCH);
            if free == 0 {
                return;
            }
            self.asked += free;
            self.awaited += free;
            let shared = Arc::clone(&self.shared);
            self.asks.push(Box::pin(async move {
                let terms = Arc::clone(&shared.plan.terms);
                let came = shared
                    .line
                    .receive(&terms, free, &mut None, pin!(shared.stopping.given().map(|()| WaitEnd::Stopped)))
                    .await;
                (free, came)
            }));
        }
    }

    fn came(&mut self, (asked, came): Came) {
        self.asked -= asked;
        self.awaited -= asked;
        match came {
            Ok(claims) => {
                self.asked += claims.messages().len();
                self.shared.wait(claims);
                if !self.stopping && !self.shared.stopping.is_given() {
                    self.begin();
                }
            }
            Err(error) if error.kind() == ErrorKind::ShuttingDown => self.shared.stopping.give(),
            // A request that the stop signal ended fails like this if the servers are unreachable.
            Err(_) if self.stopping || self.shared.stopping.is_given() => {}
            Err(error) => self.fail(error),
        }
    }

    /// Starts handlers of claimed runs, each as a separate task. It starts half as many as may run at once, so that the
    /// trip with their settles can be in flight while the other half runs.
    fn begin(&mut self) {
        let half = self.shared.plan.concurrency.div_ceil(FLIGHTS).max(SHARE);
        let Some(claims) = self.shared.next(half) else { return };
        self.asked -= claims.messages().len();
        let asked = claims.start;
        let shared = &self.shared;
        let runs = claims.into_messages().into_iter().filter_map(|handed| handed.run);
        for claimed in runs {
            let Some(beginning) = shared.begin(claimed, asked) else { continue };
            // If the runtime is gone, the task is dropped and its slot gives the run back.
            shared.site().world.spawner.spawn(run::run(Arc::clone(shared), beginning));
        }
    }

    fn give_back_stale(&mut self) {
        let given_back = self.shared.give_back_stale(self.shared.site().tick());
        self.asked -= given_back;
    }

    /// Sends pending settles.
    fn settle(&mut self) {
        while self.settles.len() < FLIGHTS {
            let batch = self.shared.outgoing(MAX_BATCH, MAX_BYTES);
            if batch.is_empty() {
                return;
            }
            self.sent += batch.len();
            self.departing = true;
            let shared = Arc::clone(&self.shared);
            self.settles.push(Box::pin(async move {
                let answer = settle_through_outages(&shared, &batch).await;
                (batch, answer)
            }));
        }
    }

    fn settled(&mut self, (batch, answer): Answered) {
        self.sent -= batch.len();
        match answer {
            Ok(settled) => self.shared.settled(&batch, &settled),
            Err(error) => self.fail(error),
        }
    }

    /// Handles the stop signal: no more runs are started, and the handlers are notified.
    fn stop(&mut self) {
        self.stopping = true;
        self.shared.tell_shutdown();
        let (shared, usual) = (&self.shared, self.shared.plan.shutdown_grace);
        self.ending.begin(shared.site(), &shared.stopping, usual);
    }

    fn fail(&mut self, error: Error) {
        observe::worker_failed(self.shared.site(), &error);
        self.error.get_or_insert(error);
        self.shared.stopping.give();
    }
}

/// Settles a batch. Retries while the error may pass and any of the leases can still be proven.
async fn settle_through_outages(shared: &Shared, batch: &[Finished]) -> Result<Vec<Settled>> {
    let settles = || batch.iter().map(|finished| finished.settle.clone()).collect::<Vec<Settle>>();
    let jobs = &shared.site().address;
    let mut answer = shared.store.settle_before_claim(jobs, settles()).await;
    if answer.as_ref().is_err_and(Error::may_pass) {
        let count = batch.len().cast_signed();
        shared.repeats(count);
        let mut pauses = Pauses::OUTAGE;
        while answer.as_ref().is_err_and(Error::may_pass) {
            if batch.iter().all(|finished| finished.held.lease_left().is_zero()) {
                answer = Ok(vec![Settled::Stale; batch.len()]);
                break;
            }
            runtime::sleep(pauses.next()).await;
            answer = shared.store.settle(jobs, settles()).await;
        }
        shared.repeats(-count);
    }
    answer.map_err(|error| shared.site().context("settle", error))
}
