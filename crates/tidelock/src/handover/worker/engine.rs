//! The engine of a worker: the one task that takes, settles, and ends the worker.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::report::counted_as;
use super::slots::{Finished, Shared};
use super::{Plan, WorkerReport, WorkerStats};
use crate::backoff::Pauses;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::background::Background;
use crate::handover::ending::{Ending, Over};
use crate::handover::observe;
use crate::handover::patience::Impatience;
use crate::handover::receivers::{Receivers, WaitEnd};
use crate::handover::renewal;
use crate::handover::signal::Companion;
use crate::handover::site::{Claims, Site};
use crate::handover::store::{Action, DeadReason, MAX_BATCH, Settle, Settled};
use crate::lifecycle::{GiveBack, Hold};
use crate::name;
use crate::runtime::{self, BoxFuture};

/// Requests of one kind in flight at once: while one is being answered, the next is on its way.
const FLIGHTS: usize = 2;

/// Settles that were answered.
type Answered = (Vec<Finished>, Result<Vec<Settled>>);
/// How many messages were requested, and what came.
type Came = (usize, Result<Claims>);

pub(super) struct Engine {
    shared: Arc<Shared>,
    asks: FuturesUnordered<BoxFuture<'static, Came>>,
    asked: usize,
    settles: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Fires when something in the buffer may have waited for too long.
    impatience: Impatience,
    ending: Ending,
    stopping: bool,
    error: Option<Error>,
    slots_at_once: usize,
    _hold: Hold,
}

impl Engine {
    pub(super) fn start(line: Arc<Receivers>, plan: Plan) -> Result<Background<WorkerStats, WorkerReport>> {
        let site = Arc::clone(&line.site);
        let shared = Arc::new(Shared::new(line, plan));
        let lifecycle = &site.world.lifecycle;
        let closer = Arc::clone(&shared) as Arc<dyn GiveBack>;
        let engine = Self {
            asks: FuturesUnordered::new(),
            asked: 0,
            settles: FuturesUnordered::new(),
            impatience: Impatience::default(),
            ending: Ending::default(),
            stopping: false,
            error: None,
            slots_at_once: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            _hold: lifecycle.hold_until_closed("worker", &site.address.id, closer),
            shared: Arc::clone(&shared),
        };
        Background::start(&site, shared, engine.run())
    }

    async fn run(mut self) -> WorkerReport {
        let shared = Arc::clone(&self.shared);
        let site = Arc::clone(shared.site());
        let renewal = renew(&shared);
        let lifecycle = site.world.lifecycle.clone();
        let mut closing = Box::pin(async move { lifecycle.closing().await }).fuse();
        loop {
            if shared.stopping.is_given() && !self.stopping {
                self.stop();
            }
            self.ending.shorten(&site, &shared.stopping);
            if self.stopping && self.asks.is_empty() {
                shared.give_back_leftover();
            }
            self.settle();
            self.ask();
            if self.open_slots() {
                // More than one round of slots is wanted only if those started already are busy.
                runtime::yield_now().await;
                continue;
            }
            if self.stopping && self.asks.is_empty() && self.settles.is_empty() && shared.is_done() {
                break;
            }
            self.impatience.watch(&site, || shared.stale_at());
            tokio::select! {
                biased;
                Some(answered) = self.settles.next(), if !self.settles.is_empty() => self.settled(answered),
                Some(came) = self.asks.next(), if !self.asks.is_empty() => self.came(came),
                () = shared.changed.notified() => {}
                // Also for a worker that is stopping already: a shutdown may leave less time.
                () = &mut closing => shared.stopping.give(),
                over = self.ending.over() => match over {
                    Over::Grace => {
                        shared.give_back_leftover();
                        shared.abort();
                    }
                    Over::LetGo => shared.give_up(),
                    Over::LastWords => break,
                },
                () = self.impatience.ended() => self.give_back_stale(),
            }
        }
        drop(renewal);
        shared.ended.give();
        let left = shared.held().len();
        let stats = shared.lock().stats;
        WorkerReport { left: left as u64, ..stats.report(self.error.take()) }
    }

    /// Starts slots for what is in the buffer. Returns whether more may be wanted.
    fn open_slots(&self) -> bool {
        let more = self.shared.open_slots(self.slots_at_once);
        for _ in 0..more {
            let slot = Arc::clone(&self.shared).run_slot();
            if !self.shared.site().world.spawner.spawn(slot) {
                self.shared.slot_not_started();
            }
        }
        more == self.slots_at_once
    }

    /// Requests as many messages as there is room for.
    fn ask(&mut self) {
        while !self.stopping && self.asks.len() < FLIGHTS {
            let room = self.shared.room(self.asked).min(MAX_BATCH);
            if room == 0 {
                return;
            }
            self.asked += room;
            let shared = Arc::clone(&self.shared);
            self.asks.push(Box::pin(async move {
                let terms = Arc::clone(&shared.plan.terms);
                let came = shared
                    .line
                    .receive(&terms, room, &mut None, pin!(shared.stopping.given().map(|()| WaitEnd::Stopped)))
                    .await;
                (room, came)
            }));
        }
    }

    fn came(&mut self, (room, came): Came) {
        self.asked -= room;
        match came {
            Ok(claims) if self.stopping => self.shared.refuse(claims),
            Ok(claims) => self.shared.put(claims),
            Err(error) if error.kind() == ErrorKind::ShuttingDown => self.shared.stopping.give(),
            // A receive that ended while the servers were unreachable fails like this; the stop signal was given.
            Err(_) if self.stopping || self.shared.stopping.is_given() => {}
            Err(error) => self.fail(error),
        }
    }

    /// Sends the pending settles.
    fn settle(&mut self) {
        while self.settles.len() < FLIGHTS {
            let batch = {
                let mut state = self.shared.lock();
                let count = state.outbox.len().min(MAX_BATCH);
                if count == 0 {
                    return;
                }
                state.outbox.drain(..count).collect::<Vec<_>>()
            };
            let site = Arc::clone(self.shared.site());
            self.settles.push(Box::pin(async move {
                let answer = settle_through_outages(&site, &batch).await;
                (batch, answer)
            }));
        }
    }

    fn settled(&mut self, (batch, answer): Answered) {
        let mut state = self.shared.lock();
        for finished in &batch {
            state.settled(&finished.held);
        }
        for (finished, settled) in batch.iter().zip(answer.as_deref().unwrap_or_default()) {
            state.stats.count(counted_as(&finished.action, *settled));
        }
        // Recorders and subscribers are called without the lock.
        drop(state);
        match answer {
            Ok(settled) => {
                let site = self.shared.site();
                for (finished, settled) in batch.iter().zip(settled) {
                    observe::count(site, counted_as(&finished.action, settled), 1);
                    report(site, finished, &settled);
                }
            }
            Err(error) => self.fail(error),
        }
    }

    fn give_back_stale(&mut self) {
        let now = self.shared.site().tick();
        if self.shared.give_back_stale(now) {
            self.shared.lock().prefetching = false;
            // What the takes in flight bring could not be started either, and is given back.
            self.asks.clear();
            self.asked = 0;
        }
    }

    /// The stop signal: nothing more is taken or started.
    fn stop(&mut self) {
        self.stopping = true;
        self.shared.start_no_more();
        let (shared, usual) = (&self.shared, self.shared.plan.shutdown_grace);
        self.ending.begin(shared.site(), &shared.stopping, usual);
    }

    fn fail(&mut self, error: Error) {
        observe::worker_failed(self.shared.site(), &error);
        self.error.get_or_insert(error);
        self.shared.stopping.give();
    }
}

/// Renews all leases in a separate task, so that no handler delays it as long as the runtime has a thread for it.
fn renew(shared: &Arc<Shared>) -> Companion {
    let lease = Duration::from_millis(shared.plan.terms.lease);
    let held = Arc::clone(shared);
    let renewing = renewal::every(shared.site(), lease, move || held.held());
    Companion::start(&shared.site().world.spawner, renewing)
}

/// Settles. Retries while the error may pass and any of the leases can still be proven.
async fn settle_through_outages(site: &Arc<Site>, batch: &[Finished]) -> Result<Vec<Settled>> {
    let mut pauses = Pauses::OUTAGE;
    loop {
        let settles: Vec<Settle> = batch.iter().map(|finished| finished.held.settle(finished.action.clone())).collect();
        match site.settle(settles).await {
            Err(error) if error.may_pass() => {
                if batch.iter().all(|finished| finished.held.proven_left().is_zero()) {
                    return Ok(vec![Settled::Stale; batch.len()]);
                }
                runtime::sleep(pauses.next()).await;
            }
            answer => return answer,
        }
    }
}

/// Logs the outcome for messages that were not acknowledged.
fn report(site: &Site, Finished { held, action }: &Finished, settled: &Settled) {
    match (settled, action) {
        (Settled::Stale, _) => tracing::warn!(
            messaging.destination.name = %name::shown(&site.address.id),
            messaging.message.id = held.id,
            fence = held.fence,
            "a message's lease was lost before it was settled: another consumer has it, or it is gone"
        ),
        // This was reported when decoding failed.
        (_, Action::Bury { reason: DeadReason::Undecodable, .. }) => {}
        (Settled::Done, Action::Bury { error, .. }) | (Settled::DeadLettered, Action::Nack { error, .. }) => {
            observe::dead_lettered(site, held.id, error.as_deref().unwrap_or_default());
        }
        (Settled::Requeued { .. }, Action::Nack { error, .. }) => {
            observe::returned(site, held.id, error.as_deref().unwrap_or_default());
        }
        _ => {}
    }
}
