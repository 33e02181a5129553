//! The state that the engine and the handlers of a worker share.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Plan;
use super::agenda::Agenda;
use super::report::{JobWorkerStats, counted_as};
use super::run::{Outcome, ended, verdict};
use crate::counters::Going;
use crate::handover::{Claims, Control, Receivers, Signal, Site, StopOrder, patience};
use crate::job::ears::{Cancellable, Ears};
use crate::job::held::Held;
use crate::job::observe::{self, Measure};
use crate::job::site::store_of;
use crate::job::stop::StopReason;
use crate::job::store::{Action, FailureCode, JobStore, Run, Settle, Settled};
use crate::lifecycle::GiveBack;
use crate::proof::Moment;
use crate::runtime::BoxFuture;
use crate::time::Tick;

pub(super) struct Shared {
    pub(super) line: Arc<Receivers>,
    pub(super) store: Arc<dyn JobStore>,
    pub(super) plan: Plan,
    pub(super) agenda: Arc<Agenda>,
    ears: Arc<Ears>,
    state: Mutex<State>,
    /// Wakes the engine.
    pub(super) changed: Notify,
    /// The order to start no more runs.
    pub(super) stopping: StopOrder,
    /// Fires when the engine has ended.
    pub(super) ended: Signal,
}

/// A run that has ended in this process, and the settle to send for it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) held: Arc<Held>,
    pub(super) settle: Settle,
}

impl Finished {
    /// A run that is given back without having been started.
    fn released(held: Arc<Held>) -> Self {
        let settle = held.settle_with(None, Action::Release);
        Self { held, settle }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Runs that were claimed and have not been started.
    waiting: VecDeque<Claims>,
    /// Whether runs may be claimed ahead of a free slot.
    prefetching: bool,
    /// Runs by job and fence whose handlers' futures exist, or wait until that of an earlier run of the job is dropped.
    running: BTreeMap<(u64, u64), Arc<Held>>,
    outbox: Vec<Finished>,
    /// Settles whose first request failed and that are being retried.
    repeated: usize,
    stats: JobWorkerStats,
}

impl State {
    /// How many runs wait for a slot.
    fn prefetched(&self) -> usize {
        self.waiting.iter().map(|claims| claims.messages().len()).sum()
    }
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
            state: Mutex::new(State { prefetching: true, ..State::default() }),
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

    /// The number of runs to claim now; negative if too many were requested. `asked` counts the runs that were
    /// requested and have not been started.
    ///
    /// A slot stays taken until the settle of its last run is sent, or answered if it is being retried. Otherwise, a
    /// claim that overtakes the settle of a failed run would get the next job instead of that one.
    ///
    /// Claiming a few runs at a time would make small trips, so prefetching waits until half of all room is free.
    pub(super) fn room(&self, asked: usize) -> isize {
        let state = self.lock();
        let ahead = if state.prefetching { self.plan.prefetch } else { 0 };
        let most = self.plan.concurrency + ahead;
        let taken = state.running.len() + state.outbox.len() + state.repeated + asked;
        let room = most.cast_signed() - taken.cast_signed();
        let is_hungry = state.running.len() < self.plan.concurrency && asked == 0;
        let is_worth_a_trip = ahead == 0 || is_hungry || room >= most.div_ceil(2).cast_signed();
        if is_worth_a_trip { room } else { room.min(0) }
    }

    /// Keeps claimed runs until slots are free for them.
    pub(super) fn wait(&self, claims: Claims) {
        if !claims.is_empty() {
            self.lock().waiting.push_back(claims);
        }
    }

    /// The next runs to start: at most `at_most`, and no more than there are free slots.
    pub(super) fn next(&self, at_most: usize) -> Option<Claims> {
        let mut state = self.lock();
        let free = self.plan.concurrency.saturating_sub(state.running.len()).min(at_most);
        if free == 0 {
            return None;
        }
        let mut claims = state.waiting.pop_front()?;
        let next = claims.split(free);
        if !claims.is_empty() {
            state.waiting.push_front(claims);
        }
        Some(next)
    }

    /// Whether a claimed run is waiting and a slot is free.
    pub(super) fn can_start(&self) -> bool {
        let state = self.lock();
        !state.waiting.is_empty() && state.running.len() < self.plan.concurrency
    }

    /// When the first waiting run becomes stale: it has waited for too long. Without prefetching all start at once.
    pub(super) fn stale_at(&self) -> Option<Tick> {
        let prefetches = self.plan.prefetch > 0;
        prefetches.then(|| self.lock().waiting.iter().map(stale_at).min()).flatten()
    }

    /// Gives back the runs that are stale at `now`, and stops prefetching until a handler has ended. Returns the number
    /// of runs given back.
    pub(super) fn give_back_stale(&self, now: Tick) -> usize {
        let mut state = self.lock();
        let (stale, waiting) =
            std::mem::take(&mut state.waiting).into_iter().partition(|claims| stale_at(claims) <= now);
        state.waiting = waiting;
        let given_back = self.give_back_all(&mut state, stale);
        state.prefetching &= given_back == 0;
        given_back
    }

    /// Gives back all waiting runs.
    pub(super) fn give_back_waiting(&self) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        self.give_back_all(&mut state, waiting);
    }

    fn give_back_all(&self, state: &mut State, claims: VecDeque<Claims>) -> usize {
        let before = state.outbox.len();
        for claims in claims {
            let asked = claims.start;
            let runs = claims.into_messages().into_iter().filter_map(|handed| handed.run);
            state.outbox.extend(runs.map(|run| Finished::released(self.hold(run, asked))));
        }
        state.outbox.len() - before
    }

    fn hold(&self, run: Arc<Run>, asked: Moment) -> Arc<Held> {
        let values = (self.plan.codec, self.plan.limit);
        Held::new(self.site(), &self.store, run, asked, values, &self.agenda)
    }

    /// Adjusts the number of settles that are being retried.
    pub(super) fn repeats(&self, settles: isize) {
        let mut state = self.lock();
        state.repeated = state.repeated.saturating_add_signed(settles);
        drop(state);
        self.changed.notify_one();
    }

    /// Begins a run. From here on its lease is renewed and it learns of a cancel. Earlier runs of its job have lost
    /// their lease, so their handlers are dropped. Returns `None` if the run was claimed so long ago that its lease
    /// cannot be proven: then it is given back, because the backend may still consider this worker its holder. Also
    /// returns `None` if a later run of its job began before it.
    pub(super) fn begin(&self, run: Arc<Run>, asked: Moment) -> Option<Beginning> {
        let held = self.hold(run, asked);
        if held.lease_left().is_zero() {
            observe::late(&held);
            self.lock().outbox.push(Finished::released(held));
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

    /// Ends a run after its handler's future was dropped. `running` measures how long it ran.
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
        state.prefetching = true;
        // `give_up` may have removed it meanwhile.
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

    /// The next settles to send together.
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

    /// Counts the outcomes of settles, and reports them without the lock.
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

    /// Drops the running handlers. Each run is given back once its handler is dropped.
    pub(super) fn abort(&self) {
        for held in self.running() {
            held.drop_now();
        }
    }

    /// Gives back the runs of handlers that could not be dropped in time.
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

    /// Whether a run has ended while others, which may end soon, are still running.
    pub(super) fn are_ending(&self) -> bool {
        let state = self.lock();
        !state.outbox.is_empty() && !state.running.is_empty()
    }

    /// The number of runs that are waiting, running or still to be settled.
    pub(super) fn left(&self) -> usize {
        let state = self.lock();
        state.prefetched() + state.running.len() + state.outbox.len()
    }
}

/// When claimed runs become stale, by the shortest of their leases.
fn stale_at(claims: &Claims) -> Tick {
    let leases = claims.messages().filter_map(|handed| handed.run.as_ref()).map(|run| run.rules.lease);
    claims.start.tick.plus(patience(leases.min().unwrap_or_default()))
}

/// The number of bytes in a settle that come from the user.
fn size(settle: &Settle) -> usize {
    let action = match &settle.action {
        Action::Complete { result } => result.len(),
        Action::Fail { message, .. } => message.len(),
        _ => 0,
    };
    // At least 1, because 0 marks the first settle of a batch.
    action + settle.progress.as_ref().map_or(1, |progress| progress.len().max(1))
}

impl Control<JobWorkerStats> for Shared {
    fn stop(&self, grace: Option<Duration>) {
        self.stopping.give_with(self.site(), grace);
        self.changed.notify_one();
    }

    fn stats(&self) -> JobWorkerStats {
        let state = self.lock();
        JobWorkerStats { running: state.running.len(), prefetched: state.prefetched(), ..state.stats }
    }
}

impl GiveBack for Shared {
    /// Called when the grace period of a shutdown is over. The engine gives back the rest and ends.
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

/// Logs the outcome for runs that did not succeed.
fn report(Finished { held, settle }: &Finished, settled: Settled) {
    match (settled, &settle.action) {
        (Settled::Stale, _) => observe::stale(held),
        // This was reported when decoding failed.
        (_, Action::Fail { code: FailureCode::Undecodable, .. }) => {}
        (Settled::Ended(_), Action::Fail { message, .. }) => observe::ended(held, message),
        (Settled::Returned { .. }, Action::Fail { message, .. }) => observe::returned(held, message),
        _ => {}
    }
}
