//! What the engine and the handlers of a worker share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Plan;
use super::agenda::Agenda;
use super::report::{JobWorkerStats, counted_as};
use super::run::{Outcome, ended, verdict};
use crate::counters::Going;
use crate::handover::{Control, Receivers, Signal, Site, StopOrder};
use crate::job::ears::{Cancellable, Ears};
use crate::job::held::Held;
use crate::job::observe::{self, Measure};
use crate::job::site::store_of;
use crate::job::stop::StopReason;
use crate::job::store::{Action, FailureCode, JobStore, Run, Settle, Settled};
use crate::lifecycle::GiveBack;
use crate::proof::Moment;
use crate::runtime::BoxFuture;

pub(super) struct Shared {
    pub(super) line: Arc<Receivers>,
    pub(super) store: Arc<dyn JobStore>,
    pub(super) plan: Plan,
    pub(super) agenda: Arc<Agenda>,
    ears: Arc<Ears>,
    state: Mutex<State>,
    /// Something for the engine to do.
    pub(super) changed: Notify,
    /// Start no more.
    pub(super) stopping: StopOrder,
    /// The engine has ended.
    pub(super) ended: Signal,
}

/// A run that has ended here, and what is to be sent for it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) held: Arc<Held>,
    pub(super) settle: Settle,
}

#[derive(Debug, Default)]
struct State {
    /// Runs whose handlers' futures live or wait for that of an earlier run of their job, by job and fence.
    running: BTreeMap<(u64, u64), Arc<Held>>,
    outbox: Vec<Finished>,
    /// Settles that were sent without success and are being sent again.
    repeated: usize,
    stats: JobWorkerStats,
}

/// A run that begins, and the earlier runs of its job whose handlers have to end first.
pub(super) struct Beginning {
    pub(super) held: Arc<Held>,
    pub(super) older: Vec<Arc<Held>>,
}

impl Shared {
    pub(super) fn new(line: Arc<Receivers>, plan: Plan) -> Self {
        let store = store_of(&line.site);
        Self {
            ears: store.ears(&line.site.address),
            line,
            store,
            plan,
            agenda: Arc::default(),
            state: Mutex::default(),
            changed: Notify::new(),
            stopping: StopOrder::default(),
            ended: Signal::default(),
        }
    }

    pub(super) fn site(&self) -> &Arc<Site> {
        &self.line.site
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// How many slots are free for runs that were not asked for; below zero, too many were asked for. A slot is not free,
    /// until what its run said was sent, and answered if it has to be sent again: a claim that overtakes it would get the
    /// next job, where a failed one is to run again.
    pub(super) fn free(&self, asked: usize) -> isize {
        let state = self.lock();
        let taken = state.running.len() + state.outbox.len() + state.repeated + asked;
        self.plan.concurrency.cast_signed() - taken.cast_signed()
    }

    /// So many settles are being sent again, or have their answers after that.
    pub(super) fn repeats(&self, settles: isize) {
        let mut state = self.lock();
        state.repeated = state.repeated.saturating_add_signed(settles);
        drop(state);
        self.changed.notify_one();
    }

    /// A run begins: from here on it is renewed, and told of a cancel; earlier runs of its job are over, and their handlers are
    /// dropped. `None`: it was claimed so long ago that its lease cannot be proven, and is given back, as the backend may
    /// still wait for this worker; or a later run of its job came before it.
    pub(super) fn begin(&self, run: Arc<Run>, asked: Moment) -> Option<Beginning> {
        let values = (self.plan.codec, self.plan.limit);
        let held = Held::new(self.site(), &self.store, run, asked, values, &self.agenda);
        if held.lease_left().is_zero() {
            observe::late(&held);
            let settle = held.settle_with(None, Action::Release);
            self.lock().outbox.push(Finished { held, settle });
            return None;
        }
        let Run { id, fence, .. } = *held.run;
        let mut state = self.lock();
        let mut older = Vec::new();
        for (&(_, other), run) in state.running.range((id, 0)..=(id, u64::MAX)) {
            if other > fence {
                state.stats.count(Measure::Stale);
                drop(state);
                observe::count(self.site(), Measure::Stale, 1);
                return None;
            }
            older.push(Arc::clone(run));
        }
        state.running.insert((id, fence), Arc::clone(&held));
        drop(state);
        for run in &older {
            run.supersede();
        }
        held.begin();
        let listener = Arc::downgrade(&held) as Weak<dyn Cancellable>;
        self.ears.listen(fence, listener);
        observe::count(self.site(), Measure::Started, 1);
        Some(Beginning { held, older })
    }

    /// A handler's future is gone. `running`: for how long it was there.
    pub(super) fn finish(&self, held: &Arc<Held>, outcome: Outcome, running: Option<Going>) {
        let Run { id, fence, .. } = *held.run;
        self.ears.forget(fence);
        let end = held.end();
        if let Some(running) = running
            && let Some(ended) = ended(end.reason, &outcome)
        {
            observe::end(self.site(), &running, ended);
        }
        let action = verdict(held, end.reason, outcome);
        let mut stale = false;
        let mut state = self.lock();
        // Unless it was given up meanwhile.
        if state.running.remove(&(id, fence)).is_some() {
            if let Some(action) = action {
                let settle = held.settle_with(end.progress, action);
                state.outbox.push(Finished { held: Arc::clone(held), settle });
            } else {
                state.stats.count(Measure::Stale);
                stale = true;
            }
        }
        drop(state);
        if stale {
            observe::count(self.site(), Measure::Stale, 1);
        }
        self.changed.notify_one();
    }

    /// The next settles to be sent together.
    pub(super) fn outgoing(&self, most: usize, most_bytes: usize) -> Vec<Finished> {
        let mut state = self.lock();
        let mut bytes = 0;
        let fits = state.outbox.iter().take(most).take_while(|finished| {
            let first = bytes == 0;
            bytes += size(&finished.settle);
            first || bytes <= most_bytes
        });
        let count = fits.count();
        state.outbox.drain(..count).collect()
    }

    /// Counts what became of settles, and tells it without the lock.
    pub(super) fn settled(&self, batch: &[Finished], settled: &[Settled]) {
        let outcomes = || batch.iter().zip(settled.iter().copied());
        let mut state = self.lock();
        for (finished, settled) in outcomes() {
            state.stats.count(counted_as(&finished.settle.action, settled));
        }
        drop(state);
        for (finished, settled) in outcomes() {
            observe::count(self.site(), counted_as(&finished.settle.action, settled), 1);
            report(finished, settled);
        }
    }

    /// Fires the stop tokens of all runs.
    pub(super) fn tell_shutdown(&self) {
        for held in self.running() {
            held.fire(StopReason::Shutdown);
        }
    }

    /// Drops the handlers that still run; their runs are given back when they are gone.
    pub(super) fn abort(&self) {
        for held in self.running() {
            held.drop_now();
        }
    }

    /// Gives back the runs of handlers that could not be dropped.
    pub(super) fn give_up(&self) {
        let running = std::mem::take(&mut self.lock().running);
        for held in running.into_values() {
            self.ears.forget(held.run.fence);
            let end = held.end();
            if let Some(action) = verdict(&held, end.reason, Outcome::Dropped) {
                let settle = held.settle_with(end.progress, action);
                self.lock().outbox.push(Finished { held, settle });
            }
        }
    }

    fn running(&self) -> Vec<Arc<Held>> {
        self.lock().running.values().cloned().collect()
    }

    /// Whether a run has ended beside others that may end as soon.
    pub(super) fn are_ending(&self) -> bool {
        let state = self.lock();
        !state.outbox.is_empty() && !state.running.is_empty()
    }

    /// How many runs are going on or left to be settled.
    pub(super) fn left(&self) -> usize {
        let state = self.lock();
        state.running.len() + state.outbox.len()
    }
}

/// The bytes of a settle that a user chose.
fn size(settle: &Settle) -> usize {
    let action = match &settle.action {
        Action::Complete { result } => result.len(),
        Action::Fail { message, .. } => message.len(),
        _ => 0,
    };
    // At least 1, so that the first is told from the others.
    action + settle.progress.as_ref().map_or(1, |progress| progress.len().max(1))
}

impl Control<JobWorkerStats> for Shared {
    fn stop(&self, grace: Option<Duration>) {
        self.stopping.give_with(self.site(), grace);
        self.changed.notify_one();
    }

    fn stats(&self) -> JobWorkerStats {
        let state = self.lock();
        JobWorkerStats { running: state.running.len(), ..state.stats }
    }
}

impl GiveBack for Shared {
    /// The grace of a shutdown is over: the engine gives back what is left and ends.
    fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.stop(Some(Duration::ZERO));
            self.ended.given().await;
        })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("address", &self.site().address).finish_non_exhaustive()
    }
}

/// Tells the log what became of a run that did not succeed.
fn report(Finished { held, settle }: &Finished, settled: Settled) {
    match (settled, &settle.action) {
        (Settled::Stale, _) => observe::stale(held),
        // It was reported when it was found out.
        (_, Action::Fail { code: FailureCode::Undecodable, .. }) => {}
        (Settled::Ended(_), Action::Fail { message, .. }) => observe::ended(held, message),
        (Settled::Returned { .. }, Action::Fail { message, .. }) => observe::returned(held, message),
        _ => {}
    }
}
