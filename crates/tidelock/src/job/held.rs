//! A run in this process: how long its lease can be proven, whether it must stop, and what is still to be sent for
//! it.

mod lease;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use self::lease::Lease;
use super::ears::Cancellable;
use super::policy::Policy;
use super::step::Memos;
use super::stop::StopReason;
use super::store::{Action, JobStore, Run, Settle, Settled};
use super::worker::Agenda;
use crate::backoff::Pauses;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::Site;
use crate::meta::Meta;
use crate::proof::Moment;
use crate::runtime;
use crate::scheduler::Slot;
use crate::time::{SECOND, Tick};

/// The minimum interval between progress updates of one run.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A run of this process.
pub(crate) struct Held {
    /// Itself, for the agenda.
    me: Weak<Self>,
    pub(crate) site: Arc<Site>,
    pub(super) store: Arc<dyn JobStore>,
    pub(crate) run: Arc<Run>,
    pub(super) policy: Policy,
    /// The codec and limit of the worker's handle, for memos and progress.
    pub(super) codec: Codec,
    pub(super) limit: usize,
    pub(super) memos: Memos,
    agenda: Arc<Agenda>,
    /// The instant of its timeout.
    timeout_at: Option<Tick>,
    state: Mutex<State>,
    /// Signals that the reason to stop, or the end of the grace, has changed.
    moved: Notify,
    meta: OnceLock<Meta>,
    slot: OnceLock<Option<Slot>>,
}

struct State {
    reason: Option<StopReason>,
    /// When the handler is dropped, once it must stop for good.
    drop_at: Option<Tick>,
    lease: Lease,
    /// `None` if only the handler renews, or a renewal is in flight.
    renew_at: Option<Tick>,
    /// When to ask the backend whether the run is still current, because news of it may have been lost.
    ask_at: Option<Tick>,
    /// The latest progress that was not sent yet.
    progress: Option<Vec<u8>>,
    progress_from: Tick,
    /// The instant of its entry in the agenda.
    noted: Option<Tick>,
    /// Whether the handler has ended.
    over: bool,
}

/// The state of a run when its handler ends.
pub(super) struct End {
    pub(super) reason: Option<StopReason>,
    pub(super) progress: Option<Vec<u8>>,
}

impl Held {
    /// The run, claimed by a request that was sent at `asked`.
    pub(super) fn new(
        site: &Arc<Site>,
        store: &Arc<dyn JobStore>,
        run: Arc<Run>,
        asked: Moment,
        (codec, limit): (Codec, usize),
        agenda: &Arc<Agenda>,
    ) -> Arc<Self> {
        let rules = &run.rules;
        let policy = Policy::decode(&rules.policy).unwrap_or_default();
        let timeout_at = rules.timeout.map(|timeout| asked.tick.plus(Duration::from_millis(timeout)));
        let lease = Lease::new(asked, rules.lease, !policy.lease_is_limit);
        let state = State {
            reason: None,
            drop_at: None,
            renew_at: (!policy.manual_heartbeat).then(|| asked.tick.plus(lease.period())),
            ask_at: None,
            lease,
            progress: None,
            progress_from: asked.tick,
            noted: None,
            over: false,
        };
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            site: Arc::clone(site),
            store: Arc::clone(store),
            timeout_at,
            policy,
            codec,
            limit,
            memos: Memos::new(run.memos),
            agenda: Arc::clone(agenda),
            run,
            state: Mutex::new(state),
            moved: Notify::new(),
            meta: OnceLock::new(),
            slot: OnceLock::new(),
        })
    }

    pub(super) fn meta(&self) -> &Meta {
        self.meta.get_or_init(|| Meta::new(self.run.content.meta.clone()))
    }

    /// What a schedule told the run. A value that another version wrote and this one cannot read counts as none.
    pub(super) fn slot(&self) -> Option<&Slot> {
        let read = || self.run.told.as_deref().and_then(Slot::read);
        self.slot.get_or_init(read).as_ref()
    }

    /// Puts the run into the agenda, in which its worker finds timed work.
    pub(super) fn begin(&self) {
        self.note(&mut self.lock());
    }

    fn note(&self, state: &mut State) {
        let next = if state.over { None } else { self.next(state) };
        if next == state.noted {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            self.agenda.note(&me, state.noted, next);
            state.noted = next;
        }
    }

    /// When the next timed work for it is due.
    fn next(&self, state: &State) -> Option<Tick> {
        if state.reason.is_some_and(StopReason::is_over) {
            return None;
        }
        let proven = state.lease.proven_until();
        let timeout = self.timeout_at.filter(|_| state.reason != Some(StopReason::Timeout));
        let progress = state.progress.as_ref().map(|_| state.progress_from);
        [proven, state.renew_at, state.ask_at, timeout, progress].into_iter().flatten().min()
    }

    /// Whether the end of its lease is judged here; otherwise the backend reports it.
    pub(super) fn is_proven(&self) -> bool {
        !self.policy.lease_is_limit
    }

    /// Returns what to send for it, now that its instant in the agenda has come. `early`: renewals that are due
    /// within half of their period are sent along, so that those of one worker go together.
    pub(super) fn due(&self, now: Moment, early: bool) -> Option<Settle> {
        let mut state = self.lock();
        self.judge(&mut state, now);
        let now = now.tick;
        if state.over || state.reason.is_some_and(StopReason::is_over) {
            self.note(&mut state);
            return None;
        }
        let ahead = if early { state.lease.period() / 2 } else { Duration::ZERO };
        let renews = state.renew_at.is_some_and(|at| at <= now.plus(ahead));
        let tells = state.progress.is_some() && state.progress_from <= now;
        let progress = if tells { state.progress.take() } else { None };
        if progress.is_some() {
            state.progress_from = now.plus(PROGRESS_EVERY);
        }
        if renews {
            state.renew_at = None;
        }
        // Every settle is answered with the state of the run, so it also answers this question.
        let asks = state.ask_at.take_if(|at| *at <= now).is_some();
        self.note(&mut state);
        match (renews, progress) {
            (true, progress) => Some(self.settle_with(progress, Action::Renew)),
            (false, None) if !asks => None,
            (false, progress) => Some(self.settle_with(progress, Action::Progress)),
        }
    }

    /// Fires the stop token if the run must stop by now.
    pub(super) fn look(&self, now: Moment) {
        let mut state = self.lock();
        self.judge(&mut state, now);
        self.note(&mut state);
    }

    /// Records the answer to what was sent for it at `asked`.
    pub(super) fn answered(&self, asked: Moment, action: &Action, settled: Settled) {
        let mut state = self.lock();
        if state.over {
            return;
        }
        match settled {
            Settled::Renewed { left } => {
                let set = if let Action::Heartbeat { lease } = action { *lease } else { None };
                state.lease.renewed(asked, set, left);
                if !self.policy.manual_heartbeat {
                    state.renew_at = Some(asked.tick.plus(state.lease.period()));
                }
            }
            Settled::Stale => self.stop(&mut state, StopReason::LeaseLost),
            Settled::Cancelled => self.stop(&mut state, StopReason::Cancelled),
            _ => {}
        }
        self.note(&mut state);
    }

    /// What was sent for it got no answer. It is retried well before the lease ends.
    pub(super) fn unanswered(&self, now: Tick, settle: &mut Settle) {
        let mut state = self.lock();
        let pause = (state.lease.period() / 4).min(SECOND);
        if settle.action == Action::Renew {
            state.renew_at = Some(now.plus(pause));
        } else if settle.progress.is_none() {
            state.ask_at = Some(now.plus(pause));
        }
        if state.progress.is_none() {
            state.progress = settle.progress.take();
        }
        state.progress_from = state.progress_from.max(now.plus(pause));
        self.note(&mut state);
    }

    /// A heartbeat is about to be sent. Until its answer, only the shorter of the two leases is certain.
    fn asking(&self, asked: Moment, lease: u64) {
        let mut state = self.lock();
        state.lease.asking(asked, lease);
        let next = asked.tick.plus(state.lease.period());
        state.renew_at = state.renew_at.map(|at| at.min(next));
        self.note(&mut state);
    }

    /// Keeps the latest progress, to be sent soon. Returns `false` if the run is over.
    pub(super) fn progress(&self, value: Vec<u8>) -> bool {
        let mut state = self.lock();
        self.judge(&mut state, self.now());
        if state.over || state.reason.is_some_and(StopReason::is_over) {
            return false;
        }
        state.progress = Some(value);
        self.note(&mut state);
        true
    }

    /// Fires the stop token.
    pub(super) fn fire(&self, reason: StopReason) {
        let mut state = self.lock();
        if !state.over {
            self.stop(&mut state, reason);
            self.note(&mut state);
        }
    }

    /// Fires the stop token for a timeout or a lapsed lease.
    fn judge(&self, state: &mut State, now: Moment) {
        if state.over {
            return;
        }
        if state.lease.left(now).is_zero() {
            self.stop(state, StopReason::LeaseLost);
        }
        if self.timeout_at.is_some_and(|at| at <= now.tick) {
            self.stop(state, StopReason::Timeout);
        }
    }

    fn stop(&self, state: &mut State, reason: StopReason) {
        let counts = StopReason::first(state.reason, reason);
        if state.reason == Some(counts) {
            return;
        }
        state.reason = Some(counts);
        if reason != StopReason::Shutdown {
            let end = self.site.tick().plus(Duration::from_millis(self.run.rules.stop_grace));
            state.drop_at = Some(state.drop_at.map_or(end, |known| known.min(end)));
        }
        self.moved.notify_waiters();
    }

    /// The grace of a shutdown is over: the handler is dropped.
    pub(super) fn drop_now(&self) {
        self.lock().drop_at = Some(self.site.tick());
        self.moved.notify_waiters();
    }

    /// A later run of its job has begun: the handler is dropped at once.
    pub(super) fn supersede(&self) {
        let is_over = self.lock().reason.is_some_and(StopReason::is_over);
        if !is_over {
            self.fire(StopReason::LeaseLost);
        }
        self.drop_now();
    }

    /// Resolves when the handler has ended.
    pub(super) async fn gone(&self) {
        loop {
            let moved = self.moved.notified();
            if self.lock().over {
                return;
            }
            moved.await;
        }
    }

    /// Why it must stop, if it must. If its handler has ended, the reason is that the run is over.
    pub(super) fn stop_reason(&self) -> Option<StopReason> {
        let mut state = self.lock();
        self.judge(&mut state, self.now());
        self.note(&mut state);
        state.reason.or_else(|| state.over.then_some(StopReason::LeaseLost))
    }

    /// Resolves when it must stop.
    pub(super) async fn stopped(&self) -> StopReason {
        loop {
            let moved = self.moved.notified();
            if let Some(reason) = self.stop_reason() {
                return reason;
            }
            moved.await;
        }
    }

    /// Resolves when the handler must be dropped.
    pub(super) async fn dropped(&self) {
        loop {
            let moved = self.moved.notified();
            let drop_at = self.lock().drop_at;
            match drop_at {
                None => moved.await,
                Some(at) if at <= self.site.tick() => return,
                Some(at) => tokio::select! {
                    () = self.site.clock().sleep_until(at) => {}
                    () = moved => {}
                },
            }
        }
    }

    /// The handler has ended. From here on there is no timed work for it.
    pub(super) fn end(&self) -> End {
        let mut state = self.lock();
        self.judge(&mut state, self.now());
        state.over = true;
        self.note(&mut state);
        let end = End { reason: state.reason, progress: state.progress.take() };
        drop(state);
        // Waiters for the stop token learn that the run is over.
        self.moved.notify_waiters();
        end
    }

    /// How long the lease can still be proven. The worker also asks this after the handler has ended.
    pub(super) fn lease_left(&self) -> Duration {
        let state = self.lock();
        if state.reason.is_some_and(StopReason::is_over) {
            return Duration::ZERO;
        }
        state.lease.left(self.now())
    }

    /// Fails with *lease lost* if the run is over.
    pub(super) fn check(&self, operation: &str) -> Result<()> {
        if self.is_over() { Err(self.lost(operation)) } else { Ok(()) }
    }

    /// Whether the run is over, or its handler has ended.
    pub(super) fn is_over(&self) -> bool {
        self.stop_reason().is_some_and(StopReason::is_over) || self.lock().over
    }

    /// The error for a run that is over.
    pub(super) fn lost(&self, operation: &str) -> Error {
        let Run { id, attempt, fence, .. } = *self.run;
        let text = format!("run {attempt} of {id} (fence {fence}) is over");
        self.site.context(operation, Error::new(ErrorKind::LeaseLost, text))
    }

    pub(super) fn settle_with(&self, progress: Option<Vec<u8>>, action: Action) -> Settle {
        Settle { id: self.run.id, fence: self.run.fence, progress, action }
    }

    /// Sends one action under the fence, now.
    pub(super) async fn act(&self, operation: &str, action: Action) -> Result<Settled> {
        let asked = Moment::of(self.site.clock());
        if let Action::Heartbeat { lease: Some(lease) } = action {
            self.asking(asked, lease);
        }
        let settles = vec![self.settle_with(None, action.clone())];
        let settled = self.store.settle(&self.site.address, settles).await;
        let settled = settled.map_err(|error| self.site.context(operation, error))?;
        let settled = *settled.first().expect("one settle has one outcome");
        self.answered(asked, &action, settled);
        match settled {
            Settled::Stale | Settled::Cancelled => Err(self.lost(operation)),
            settled => Ok(settled),
        }
    }

    /// The same, but retries while the error may pass and the lease can be proven.
    pub(super) async fn act_through_outages(&self, operation: &str, action: Action) -> Result<Settled> {
        let mut pauses = Pauses::OUTAGE;
        loop {
            match self.act(operation, action.clone()).await {
                Err(error) if error.may_pass() && !self.lease_left().is_zero() => {
                    runtime::sleep(pauses.next()).await;
                }
                answer => return answer,
            }
        }
    }

    fn now(&self) -> Moment {
        Moment::of(self.site.clock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl Cancellable for Held {
    fn over(&self, reason: StopReason) {
        self.fire(reason);
    }

    #[cfg(all(feature = "redis", not(target_family = "wasm")))]
    fn ask(&self) {
        let mut state = self.lock();
        state.ask_at = Some(self.site.tick());
        self.note(&mut state);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("id", &self.run.id).field("fence", &self.run.fence).finish_non_exhaustive()
    }
}
