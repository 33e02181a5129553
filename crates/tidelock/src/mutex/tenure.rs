//! A grant, shared by its guard and the library's tasks: its proof, its renewal, its end.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::backoff::spread;
use crate::counters::{Going, MEASURES};
use crate::error::{Error, Result};
use crate::lifecycle::Hold;
use crate::mutex::agenda::{Entry, Item};
use crate::mutex::observe::{Measure, Meter};
use crate::mutex::room::{Entered, RETRY, Room};
use crate::mutex::seat::{Grant, Seat};
use crate::mutex::store::{Effort, Outcome, Step};
use crate::mutex::{GrantEnd, Release};
use crate::proof::{Moment, Proof};
use crate::time::{SECOND, Tick};

/// One grant.
#[derive(Debug)]
pub(crate) struct Tenure {
    room: Arc<Room>,
    seat: Arc<Seat>,
    meter: Arc<Meter>,
    fence: u64,
    renews: bool,
    state: Mutex<State>,
    changed: Notify,
    /// Serializes changes of the lease, so that the proof follows the backend's order.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    proof: Proof,
    lease: Duration,
    /// The number of the last change of the lease.
    changes: u32,
    /// The backend's deadline is not after this.
    over: Tick,
    end: Option<GrantEnd>,
    failures: u32,
    planned: Option<Entry>,
    /// The running measurement of how long it is held, if there is a recorder.
    held: Option<Going>,
    /// Whether it was counted as released or lost.
    counted: bool,
}

impl State {
    /// A change without an answer may have been carried out at any time until now.
    fn in_doubt(&mut self, now: Tick, lease: Duration) {
        self.over = self.over.max(now.plus(lease));
    }

    /// How the grant ended, if it has ended by now.
    fn end(&mut self, now: Moment) -> Option<GrantEnd> {
        if self.end.is_none() && self.proof.left(now).is_zero() {
            self.end = Some(GrantEnd::Unproven);
        }
        self.end
    }
}

impl Tenure {
    pub(crate) fn new(entered: &Entered, meter: &Arc<Meter>, grant: Grant, lease: Duration, renews: bool) -> Arc<Self> {
        let Entered { room, seat } = entered;
        let state = State {
            proof: Proof::new(grant.start, grant.left),
            lease,
            changes: 0,
            over: grant.answered.tick.plus(grant.left),
            end: None,
            failures: 0,
            planned: None,
            held: meter.held(room.clock()),
            counted: false,
        };
        let tenure = Arc::new(Self {
            room: Arc::clone(room),
            seat: Arc::clone(seat),
            meter: Arc::clone(meter),
            fence: grant.fence,
            renews,
            state: Mutex::new(state),
            changed: Notify::new(),
            changing: tokio::sync::Mutex::default(),
        });
        // Less than the lease may be left if the answer to the first request was lost.
        tenure.plan(grant.start.tick.plus(grant.left.saturating_sub(lease / 3 * 2)));
        tenure
    }

    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(crate) fn fence(&self) -> u64 {
        self.fence
    }

    /// The id of the mutex.
    pub(crate) fn mutex(&self) -> &str {
        self.meter.id()
    }

    pub(crate) fn renews(&self) -> bool {
        self.renews
    }

    pub(crate) fn valid_for(&self) -> Duration {
        let now = Moment::of(self.room.clock());
        if self.ended(now).is_some() { Duration::ZERO } else { self.lock().proof.left(now) }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.ended_by_now().is_some_and(|end| end != GrantEnd::Finished)
    }

    fn ended_by_now(&self) -> Option<GrantEnd> {
        self.ended(Moment::of(self.room.clock()))
    }

    /// How the grant ended, if it has by `now`. The first caller that sees the loss counts it.
    fn ended(&self, now: Moment) -> Option<GrantEnd> {
        let end = self.lock().end(now);
        if end.is_some_and(|end| end != GrantEnd::Finished) {
            self.over(Some(Measure::Lost));
        }
        end
    }

    /// Records that the grant is over. Only the first `counter` is counted.
    fn over(&self, counter: Option<Measure>) {
        if !MEASURES {
            return;
        }
        let mut state = self.lock();
        let held = state.held.take();
        let counter = counter.filter(|_| !std::mem::replace(&mut state.counted, true));
        drop(state);
        self.meter.over(held, self.room.clock());
        if let Some(counter) = counter {
            self.meter.count(counter);
        }
    }

    /// Resolves at the end of the grant.
    pub(crate) async fn lost(self: Arc<Self>) -> GrantEnd {
        loop {
            let changed = self.changed.notified();
            let now = Moment::of(self.room.clock());
            if let Some(end) = self.ended(now) {
                return end;
            }
            let until = self.lock().proof.until();
            // Checks once a second, because timers stop while a machine sleeps.
            let next = until.min(now.tick.plus(SECOND));
            tokio::select! {
                biased;
                () = changed => {}
                () = self.room.clock().sleep_until(next) => {}
            }
        }
    }

    /// Ends the grant with this reason, unless it has ended already.
    fn finish(&self, end: GrantEnd) {
        let mut state = self.lock();
        if state.end(Moment::of(self.room.clock())).is_none() {
            state.end = Some(end);
        }
        let lost = state.end != Some(GrantEnd::Finished);
        let planned = state.planned.take();
        drop(state);
        self.over(lost.then_some(Measure::Lost));
        if let Some(entry) = planned {
            self.room.unplan(entry);
        }
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn plan(self: &Arc<Self>, at: Tick) {
        if !self.renews {
            return;
        }
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        let entry = self.room.plan(at, Item::Renew(Arc::downgrade(self)));
        if let Some(before) = state.planned.replace(entry) {
            self.room.unplan(before);
        }
    }

    /// Renews, and plans the next renewal.
    pub(crate) async fn renew(self: Arc<Self>) {
        if self.ended_by_now().is_some() {
            self.changed.notify_waiters();
            return;
        }
        let Ok(changing) = self.changing.try_lock() else {
            // An extension is in flight. If it succeeds, it plans the next renewal itself.
            self.plan(self.room.clock().tick().plus(RETRY));
            return;
        };
        let start = Moment::of(self.room.clock());
        let lease = self.lock().lease;
        let answer = self.extend_to(lease, Effort::ONCE).await;
        drop(changing);
        match answer {
            Ok(Some(left)) => {
                self.meter.count(Measure::Renewed);
                self.confirmed(start, left, lease);
            }
            Ok(None) => self.not_owner(),
            Err(error) => {
                tracing::warn!(lock = %self.seat.spot.tag, fence = self.fence, %error, "a lock could not be renewed");
                let failures = {
                    let mut state = self.lock();
                    state.in_doubt(self.room.clock().tick(), lease);
                    state.failures += 1;
                    state.failures
                };
                // The pause doubles up to a sixth of the lease.
                let longest = (lease / 6).max(Duration::from_millis(1));
                let pause = RETRY.saturating_mul(1 << failures.min(16)).min(longest);
                self.plan(self.room.clock().tick().plus(spread(pause)));
            }
        }
    }

    async fn extend_to(&self, lease: Duration, effort: Effort) -> Result<Option<Duration>> {
        let lease = crate::time::whole_millis(lease);
        let number = {
            let mut state = self.lock();
            state.changes += 1;
            state.changes
        };
        let step = Step::Extend { token: self.seat.ask.token, fence: self.fence, lease, number };
        match self.room.step(&self.seat.spot, step, effort).await? {
            Outcome::Extended(left) => Ok(left.map(Duration::from_millis)),
            _ => Err(Error::new(crate::ErrorKind::IncompatibleFormat, "not an answer to an extension")),
        }
    }

    fn confirmed(self: &Arc<Self>, start: Moment, left: Duration, lease: Duration) {
        let now = Moment::of(self.room.clock());
        let (tag, over) = (&self.seat.spot.tag, now.tick.plus(left));
        let before = {
            let mut state = self.lock();
            let before = std::mem::replace(&mut state.over, over);
            if state.end(now).is_none() {
                (state.proof, state.lease, state.failures) = (Proof::new(start, left), lease, 0);
            }
            before
        };
        if over < before {
            self.room.came_nearer(tag);
        }
        self.room.halls.holder_until(&self.room, tag, start.tick.plus(left));
        // Wakes tasks that sleep until the previous deadline.
        self.changed.notify_waiters();
        self.plan(start.tick.plus(lease / 3));
    }

    fn not_owner(&self) {
        tracing::warn!(lock = %self.seat.spot.tag, fence = self.fence, "a lock was lost: somebody else may hold it");
        self.finish(GrantEnd::NotOwner);
    }

    /// Sets the lease anew. Once polled, the request completes even if the returned future is dropped.
    pub(crate) async fn extend(self: &Arc<Self>, lease: Duration) -> Result<bool> {
        self.room.in_task(Arc::clone(self).extend_in_turn(lease)).await
    }

    async fn extend_in_turn(self: Arc<Self>, lease: Duration) -> Result<bool> {
        if self.ended_by_now().is_some() {
            return Ok(false);
        }
        let changing = self.changing.lock().await;
        if self.ended_by_now().is_some() {
            return Ok(false);
        }
        let start = Moment::of(self.room.clock());
        // The extension may take effect at any time from when it is sent. Until the answer, only the shorter of the
        // two leases is certain.
        self.lock().proof.shorten(start, lease);
        self.changed.notify_waiters();
        let answer = self.extend_to(lease, Effort::USUAL).await;
        drop(changing);
        match answer {
            Ok(Some(left)) => {
                self.meter.count(Measure::Extended);
                self.confirmed(start, left, lease);
                Ok(self.ended_by_now().is_none())
            }
            Ok(None) => {
                self.not_owner();
                Ok(false)
            }
            Err(error) => {
                // The extension may have been carried out, or may be carried out later.
                let mut state = self.lock();
                state.in_doubt(self.room.clock().tick(), lease);
                state.lease = state.lease.min(lease);
                drop(state);
                self.plan(self.room.clock().tick().plus(RETRY));
                Err(error)
            }
        }
    }

    /// Ends the grant, and asks the backend whether the lease lasted until now.
    pub(crate) async fn release(self: Arc<Self>, hold: Option<Hold>) -> Result<Release> {
        self.finish(GrantEnd::Finished);
        match self.release_once().await {
            Ok(release) => {
                let was_lost = release == Release::WasLost;
                self.over(Some(if was_lost { Measure::Lost } else { Measure::Released }));
                self.room.forget(self.seat.ask.token);
                drop(hold);
                Ok(release)
            }
            Err(error) => {
                // The outcome of the repeated release is reported to nobody, so count a release.
                self.over(Some(Measure::Released));
                let room = Arc::clone(&self.room);
                room.background(self.release_later(hold));
                Err(error)
            }
        }
    }

    fn release_step(&self) -> Step {
        Step::Release { token: self.seat.ask.token, fence: self.fence }
    }

    async fn release_once(&self) -> Result<Release> {
        match self.room.step(&self.seat.spot, self.release_step(), Effort::USUAL).await? {
            Outcome::Released(true) => Ok(Release::Released),
            Outcome::Released(false) => Ok(Release::WasLost),
            _ => Err(Error::new(crate::ErrorKind::IncompatibleFormat, "not an answer to a release")),
        }
    }

    /// Repeats the release until it is answered or the lease must have run out.
    async fn release_later(self: Arc<Self>, hold: Option<Hold>) {
        self.room.insist(&self.seat.spot, &self.release_step(), || self.lock().over).await;
        self.room.forget(self.seat.ask.token);
        drop(hold);
    }

    /// As [`Tenure::release`], for a guard that is dropped.
    pub(crate) fn release_in_background(self: Arc<Self>, hold: Option<Hold>) {
        let room = Arc::clone(&self.room);
        // Ends the grant before the request is sent, so that nobody sees it held by a guard that is gone.
        self.finish(GrantEnd::Finished);
        room.background(async move {
            if let Err(error) = self.release(hold).await {
                tracing::warn!(%error, "a dropped lock has not been released yet");
            }
        });
    }
}
