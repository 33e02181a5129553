//! Where handlers run: tasks that share a buffer of messages.
//!
//! A slot runs one handler after the other and ends when the buffer is empty. So a busy worker does not pay for a
//! task per message, and an idle one has no tasks.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Plan;
use super::failure::{HandlerError, Remedy};
use super::report::WorkerStats;
use crate::error::{Error, panic_text};
use crate::handover::background::Control;
use crate::handover::ending::StopOrder;
use crate::handover::held::Held;
use crate::handover::observe::{self, Ended, Measure};
use crate::handover::patience::patience;
use crate::handover::receive::undecodable;
use crate::handover::receivers::Receivers;
use crate::handover::settle::{MAX_ERROR, cut_or_none};
use crate::handover::signal::Signal;
use crate::handover::site::{Claims, Site};
use crate::handover::store::{Action, DeadReason, Handed};
use crate::hash::HashMap;
use crate::lifecycle::GiveBack;
use crate::name;
use crate::runtime::{BoxFuture, or_never};
use crate::time::{Tick, whole_millis};
use crate::topic::store::GapView;

/// What the engine and the slots of a worker share.
pub(super) struct Shared {
    pub(super) line: Arc<Receivers>,
    pub(super) plan: Plan,
    state: Mutex<State>,
    /// Wakes the engine.
    pub(super) changed: Notify,
    /// The order to take no more.
    pub(super) stopping: StopOrder,
    /// The order to drop the handlers.
    abort: Notify,
    /// Given when the engine has ended.
    pub(super) ended: Signal,
}

/// A message that waits for a slot.
#[derive(Debug)]
struct Ready {
    handed: Handed,
    held: Arc<Held>,
    since: Tick,
}

/// A settle that waits to be sent.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) held: Arc<Held>,
    pub(super) action: Action,
}

#[derive(Debug, Default)]
pub(super) struct State {
    buffer: VecDeque<Ready>,
    /// Everything held and not settled, by fence. All of it is renewed.
    held: HashMap<u64, Arc<Held>>,
    /// By fence: the messages whose handlers run.
    running: HashMap<u64, Arc<Held>>,
    pub(super) outbox: Vec<Finished>,
    /// Given back only once no take is in flight, because such a take would bring it again.
    leftover: Vec<Finished>,
    pub(super) stats: WorkerStats,
    /// Number of slots that are alive.
    slots: usize,
    /// Whether messages may be taken before a slot is free.
    pub(super) prefetching: bool,
    pub(super) aborted: bool,
}

impl Shared {
    pub(super) fn new(line: Arc<Receivers>, plan: Plan) -> Self {
        Self {
            line,
            plan,
            state: Mutex::new(State { prefetching: true, ..State::default() }),
            changed: Notify::new(),
            stopping: StopOrder::default(),
            abort: Notify::new(),
            ended: Signal::default(),
        }
    }

    pub(super) fn site(&self) -> &Arc<Site> {
        &self.line.site
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Reports a gap, and puts claimed messages into the buffer.
    pub(super) fn put(&self, mut claims: Claims) {
        if let Some(gap) = claims.take_gap() {
            self.tell(gap);
        }
        let (asked, lease) = (claims.start, claims.lease);
        let site = self.site();
        let since = site.tick();
        let mut state = self.lock();
        for handed in claims.into_messages() {
            let held = Arc::new(Held::new(site, &handed, asked, lease, self.plan.max_nack_delay));
            state.held.insert(held.fence, Arc::clone(&held));
            state.buffer.push_back(Ready { handed, held, since });
        }
    }

    /// Keeps messages that came too late to be started, so that they are given back. A gap goes to the next receiver.
    pub(super) fn refuse(&self, claims: Claims) {
        let (asked, lease) = (claims.start, claims.lease);
        let mut state = self.lock();
        for handed in claims.into_messages() {
            let held = Arc::new(Held::new(self.site(), &handed, asked, lease, self.plan.max_nack_delay));
            state.held.insert(held.fence, Arc::clone(&held));
            state.leftover.push(Finished { held, action: Action::GiveBack });
        }
    }

    /// Moves the messages in the buffer to those that are given back.
    pub(super) fn start_no_more(&self) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.buffer);
        let leftover = waiting.into_iter().map(|Ready { held, .. }| Finished { held, action: Action::GiveBack });
        state.leftover.extend(leftover);
    }

    /// Gives back what was not started.
    pub(super) fn give_back_leftover(&self) {
        let mut state = self.lock();
        let leftover = std::mem::take(&mut state.leftover);
        state.outbox.extend(leftover);
    }

    /// Reports a gap before the messages that come after it.
    fn tell(&self, gap: GapView) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| (self.plan.on_gap)(gap))).is_err() {
            let id = name::shown(&self.site().address.id);
            tracing::error!(messaging.destination.name = %id, "on_gap panicked");
        }
    }

    /// How many more messages there is room for, or 0 if they should not be requested yet.
    ///
    /// Requests for a few messages would make small trips. So the buffer is only refilled when half of all room is
    /// free.
    pub(super) fn room(&self, asked: usize) -> usize {
        let state = self.lock();
        let ahead = if state.prefetching { self.plan.prefetch } else { 0 };
        let most = self.plan.concurrency + ahead;
        // Settles that do not get through hold back new work.
        let used = state.running.len() + state.buffer.len() + asked;
        if state.outbox.len() > most + 1_000 || used >= most {
            return 0;
        }
        let hungry = state.running.len() < self.plan.concurrency && state.buffer.len() + asked == 0;
        if hungry || most - used >= most.div_ceil(2) { most - used } else { 0 }
    }

    /// How many slots to start for what is in the buffer.
    pub(super) fn open_slots(&self, at_most: usize) -> usize {
        let mut state = self.lock();
        let free = self.plan.concurrency - state.slots;
        let more = free.min(state.buffer.len()).min(at_most);
        state.slots += more;
        more
    }

    pub(super) fn slot_not_started(&self) {
        self.lock().slots -= 1;
    }

    /// When the oldest message in the buffer has waited for too long.
    pub(super) fn stale_at(&self) -> Option<Tick> {
        let patience = patience(self.plan.terms.lease);
        self.lock().buffer.front().map(|ready| ready.since.plus(patience))
    }

    /// Gives back messages that have waited in the buffer for too long at `now`. Returns whether there were any.
    pub(super) fn give_back_stale(&self, now: Tick) -> bool {
        let patience = patience(self.plan.terms.lease);
        let mut state = self.lock();
        let mut any = false;
        while let Some(ready) = state.buffer.front() {
            if ready.since.plus(patience) > now {
                break;
            }
            if let Some(Ready { held, .. }) = state.buffer.pop_front() {
                state.outbox.push(Finished { held, action: Action::GiveBack });
                any = true;
            }
        }
        any
    }

    /// Drops the running handlers. Each one's message is given back when its handler is gone.
    pub(super) fn abort(&self) {
        self.lock().aborted = true;
        self.abort.notify_waiters();
    }

    /// Gives back the messages of handlers that could not be dropped in time.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        let running = std::mem::take(&mut state.running);
        for held in running.values() {
            held.end();
        }
        state.outbox.extend(running.into_values().map(|held| Finished { held, action: Action::GiveBack }));
    }

    /// Everything that is held and not settled yet.
    pub(super) fn held(&self) -> Vec<Arc<Held>> {
        self.lock().held.values().cloned().collect()
    }

    /// Whether nothing runs and nothing is left to be settled.
    pub(super) fn is_done(&self) -> bool {
        let state = self.lock();
        state.running.is_empty() && state.buffer.is_empty() && state.leftover.is_empty() && state.outbox.is_empty()
    }

    /// The next message for a slot, after the slot has finished one; `None` ends the slot.
    fn next(&self, finished: Option<Finished>) -> Option<Ready> {
        let mut state = self.lock();
        let finishing = finished.is_some();
        if let Some(finished) = finished {
            finished.held.end();
            // If the handler could not be dropped in time, its message has been given back already.
            if state.running.remove(&finished.held.fence).is_some() {
                state.outbox.push(finished);
            }
            state.prefetching = true;
        }
        let next = if state.aborted { None } else { state.next_provable() };
        match &next {
            Some(ready) => {
                state.running.insert(ready.held.fence, Arc::clone(&ready.held));
            }
            None => state.slots -= 1,
        }
        let gave_back = !state.outbox.is_empty();
        drop(state);
        if finishing || next.is_none() || gave_back {
            self.changed.notify_one();
        }
        next
    }

    /// Runs handlers until the buffer is empty.
    pub(super) async fn run_slot(self: Arc<Self>) {
        let mut abort = pin!(self.abort.notified());
        abort.as_mut().enable();
        let mut finished = None;
        while let Some(ready) = self.next(finished.take()) {
            let held = Arc::clone(&ready.held);
            let Some(action) = self.handle(ready, abort.as_mut()).await else {
                self.next(Some(Finished { held, action: Action::GiveBack }));
                return;
            };
            finished = Some(Finished { held, action });
        }
    }

    /// The action for a message, by its handler's result; `None` if the handler was dropped by an abort.
    async fn handle(&self, ready: Ready, abort: Pin<&mut Notified<'_>>) -> Option<Action> {
        let Ready { handed, held, .. } = ready;
        let (attempt, id, site) = (handed.attempt, handed.id, self.site());
        let span = observe::process_span(site, &handed);
        let running = observe::begin(site, &handed);
        let mut timed_out = false;
        // A panic while the handler's future is created counts as a panic of the handler.
        let handler = async { Ok::<_, Error>((self.plan.handler)(handed, held)?.await) };
        let told = span.clone();
        let handler = AssertUnwindSafe(observe::within(span, handler)).catch_unwind();
        let mut handler = pin!(OptionFuture::from(Some(handler)));
        let outcome = tokio::select! {
            biased;
            outcome = handler.as_mut() => outcome,
            () = self.timed_out() => {
                timed_out = true;
                Some(Ok(Ok(Err(self.timeout_error()))))
            }
            () = abort => None,
        };
        // A panic while the handler's values are dropped must not end the slot. The panic hook has reported it.
        let _ = catch_unwind(AssertUnwindSafe(|| handler.set(OptionFuture::default())));
        let Some(outcome) = outcome else {
            observe::end(site, running, Ended::Dropped);
            return None;
        };
        let (ended, action) = match outcome {
            Ok(Ok(Ok(()))) => (Ended::Ok, Action::Ack),
            Ok(Ok(Err(error))) => (if timed_out { Ended::Timeout } else { Ended::Error }, self.failed(attempt, &error)),
            // The message did not decode; no handler has run.
            Ok(Err(fault)) => return Some(undecodable(site, id, &fault.to_string())),
            Err(panic) => {
                let error = HandlerError::from(format!("the handler panicked: {}", panic_text(&*panic)));
                (Ended::Panic, self.failed(attempt, &error))
            }
        };
        if ended != Ended::Ok {
            observe::failed(&told, ended.text());
        }
        observe::end(site, running, ended);
        observe::count(site, Measure::Received, 1);
        Some(action)
    }

    async fn timed_out(&self) {
        or_never(self.plan.timeout.map(|timeout| self.site().clock().sleep(timeout))).await;
    }

    fn timeout_error(&self) -> HandlerError {
        HandlerError::from(format!("the handler did not end within {:?}", self.plan.timeout.unwrap_or_default()))
    }

    fn failed(&self, attempt: u64, error: &HandlerError) -> Action {
        let text = cut_or_none(&error.text(), MAX_ERROR);
        let delay = match error.remedy {
            Remedy::None => return Action::Bury { reason: DeadReason::Rejected, note: None, error: text },
            Remedy::After(delay) => delay,
            Remedy::ByBackoff => {
                let failures = u32::try_from(attempt).unwrap_or(u32::MAX);
                self.plan.backoff.delay(failures, fastrand::f64())
            }
        };
        let delay = whole_millis(delay.min(self.plan.max_nack_delay));
        Action::Nack { delay, note: None, error: text }
    }
}

impl State {
    /// The next message that this worker surely still holds. After a pause of the process or an outage somebody else
    /// may hold the others. They are given back anyway, because the backend may still consider this worker their
    /// holder.
    fn next_provable(&mut self) -> Option<Ready> {
        loop {
            let ready = self.buffer.pop_front()?;
            if !ready.held.proven_left().is_zero() {
                return Some(ready);
            }
            self.outbox.push(Finished { held: ready.held, action: Action::GiveBack });
        }
    }

    /// Records that something was settled, so that it is no longer renewed.
    pub(super) fn settled(&mut self, held: &Held) {
        self.held.remove(&held.fence);
    }
}

impl Control<WorkerStats> for Shared {
    fn stop(&self, grace: Option<Duration>) {
        self.stopping.give_with(self.site(), grace);
        self.changed.notify_one();
    }

    fn stats(&self) -> WorkerStats {
        let state = self.lock();
        WorkerStats { running: state.running.len(), prefetched: state.buffer.len(), ..state.stats }
    }
}

impl GiveBack for Shared {
    /// The grace of a shutdown is over: the engine gives back the rest and ends.
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
