//! The memberships that this process has in one registry, and their renewal: together, in as few trips as carry them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::membership::Left;
use crate::error::{Error, ErrorKind, Result};
use crate::hash::HashMap;
use crate::keyed::observe::{self, Counter};
use crate::keyed::site::{Call, Site};
use crate::keyed::store::{Action, Bounds, Change, Life, Outcome, RecordView};
use crate::lifecycle::{GiveBack, Hold};
use crate::proof::{Moment, Proof};
use crate::runtime::{self, BoxFuture};
use crate::sent::Sent;
use crate::time::{Clock, SECOND, TEN_YEARS, Tick, check_duration};

/// A record that is kept alive.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) site: Arc<Site>,
    bounds: Bounds,
    pub(crate) key: Arc<str>,
    ttl: u64,
    /// Its number in the roll.
    number: u64,
    state: Mutex<State>,
    rejoins: AtomicU64,
    changed: Notify,
    /// One change of the record at a time, so that its version is known.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    version: u64,
    value: Vec<u8>,
    proof: Proof,
    /// It has registered again and was not told how that ended: a record of another version may be its own.
    in_doubt: bool,
    end: Option<End>,
    hold: Option<Hold>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was ended here.
    Left,
    /// The key was taken over.
    Lost,
}

/// What a member is registered with.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) key: Arc<str>,
    pub(crate) ttl: u64,
    pub(crate) value: Vec<u8>,
    pub(crate) bounds: Bounds,
}

impl Member {
    /// Keeps alive what was stored with this version by a request that began at `start`.
    pub(crate) fn new(site: &Arc<Site>, terms: Terms, version: u64, start: Moment) -> Arc<Self> {
        let Terms { key, ttl, value, bounds } = terms;
        let proof = Proof::new(start, Duration::from_millis(ttl));
        let member = Arc::new(Self {
            site: Arc::clone(site),
            bounds,
            key,
            ttl,
            number: site.members.number(),
            state: Mutex::new(State { version, value, proof, in_doubt: false, end: None, hold: None }),
            rejoins: AtomicU64::new(0),
            changed: Notify::new(),
            changing: tokio::sync::Mutex::default(),
        });
        let hold = site.world.lifecycle.hold_until_closed("membership", site.id(), Arc::clone(&member) as _);
        member.lock().hold = Some(hold);
        site.members.add(&member, member.next_renewal(start));
        member
    }

    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    pub(crate) fn rejoins(&self) -> u64 {
        self.rejoins.load(Ordering::Acquire)
    }

    pub(crate) fn valid_for(&self) -> Duration {
        let now = Moment::of(&self.site.world.clock);
        let state = self.lock();
        if state.end.is_some() { Duration::ZERO } else { state.proof.left(now) }
    }

    /// Resolves when it is over.
    pub(crate) async fn lost(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().end.is_some() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn is_over(&self) -> bool {
        self.lock().end.is_some()
    }

    fn life(&self) -> Duration {
        Duration::from_millis(self.ttl)
    }

    fn next_renewal(&self, start: Moment) -> Tick {
        start.tick.plus(self.life() / 3)
    }

    async fn change(&self, call: &Call<'_>, action: Action) -> Result<Outcome> {
        self.site.change(call, Change { key: Arc::clone(&self.key), action, bounds: self.bounds }).await
    }

    /// The record lives on, with this version and value.
    fn confirmed(&self, start: Moment, stored: Option<(u64, Option<Vec<u8>>)>) {
        let mut state = self.lock();
        state.proof = Proof::new(start, self.life());
        state.in_doubt = false;
        if let Some((version, value)) = stored {
            state.version = version;
            state.value = value.unwrap_or(std::mem::take(&mut state.value));
        }
        drop(state);
        // From where the request began: a slow answer does not put off the next one.
        self.site.members.plan(self.number, self.next_renewal(start));
    }

    /// Ends it; answers the version that it had, unless it was over before.
    fn finish(&self, end: End) -> Option<u64> {
        let mut state = self.lock();
        if state.end.is_some() {
            return None;
        }
        state.end = Some(end);
        let version = state.version;
        // A record that is still to be removed is held until it is.
        let hold = if end == End::Lost { state.hold.take() } else { None };
        drop((state, hold));
        self.site.members.remove(self.number);
        self.changed.notify_waiters();
        Some(version)
    }

    fn taken_over(&self) {
        if self.finish(End::Lost).is_some() {
            observe::count(&self.site, Counter::Lost, 1);
            tracing::warn!(object.id = %self.site.id(), object.key = %self.key, "a membership was taken over");
        }
    }

    /// Renews it; answers whether it must be tried again. A member that is being changed just now is renewed by that.
    async fn renew(self: Arc<Self>) -> bool {
        let now = self.site.world.clock.tick();
        let Ok(_changing) = self.changing.try_lock() else {
            self.site.members.plan(self.number, now.plus(self.life() / 12));
            return false;
        };
        if self.is_over() {
            return false;
        }
        let Err(error) = self.touch().await else { return false };
        tracing::warn!(
            object.id = %self.site.id(), object.key = %self.key, %error,
            "a membership could not be renewed; trying again"
        );
        self.site.members.plan_again(self.number, now);
        true
    }

    async fn touch(&self) -> Result<()> {
        let call = Call::on("renew", &self.key);
        let start = Moment::of(&self.site.world.clock);
        let touch = Action::Touch { ttl: Some(self.ttl), if_version: Some(self.version()) };
        match self.change(&call, touch).await? {
            Outcome::Extended { .. } => {
                self.confirmed(start, None);
                Ok(())
            }
            Outcome::Absent => self.rejoin().await,
            Outcome::Stale { .. } if self.lock().in_doubt => self.rejoin().await,
            Outcome::Stale { .. } => {
                self.taken_over();
                Ok(())
            }
            _ => Err(self.site.misfit(&call)),
        }
    }

    /// Registers again, if nobody else has the key by now.
    async fn rejoin(&self) -> Result<()> {
        let call = Call::on("rejoin", &self.key);
        let doubted = std::mem::replace(&mut self.lock().in_doubt, true);
        let mut expected = None;
        loop {
            let start = Moment::of(&self.site.world.clock);
            let value = self.lock().value.clone();
            let action = Action::Cas { expected, value, life: Life::For(self.ttl) };
            match self.change(&call, action).await {
                Ok(Outcome::Stored(stamp)) => {
                    self.rejoined(start, stamp.version);
                    return Ok(());
                }
                // A swap, so that of two who take it for theirs one finds out.
                Ok(Outcome::Conflict(Some(record)))
                    if doubted && expected.is_none() && self.may_have_stored(&record) =>
                {
                    expected = Some(record.stamp.version);
                }
                Ok(Outcome::Conflict(None)) if expected.is_some() => expected = None,
                Ok(Outcome::Conflict(Some(_))) => {
                    self.taken_over();
                    return Ok(());
                }
                Ok(_) => return Err(self.site.misfit(&call)),
                Err(error) => {
                    self.lock().in_doubt = doubted || error.kind() == ErrorKind::Timeout;
                    return Err(error);
                }
            }
        }
    }

    /// Whether a record is what this member stores, and nobody has renewed it since it was stored.
    fn may_have_stored(&self, RecordView { value, stamp, .. }: &RecordView) -> bool {
        // A version is at least its instant in microseconds.
        stamp.ttl == Some(self.ttl) && *value == self.lock().value && stamp.updated_at <= stamp.version / 1_000
    }

    fn rejoined(&self, start: Moment, version: u64) {
        self.confirmed(start, Some((version, None)));
        self.rejoins.fetch_add(1, Ordering::AcqRel);
        observe::count(&self.site, Counter::Rejoins, 1);
        tracing::info!(
            object.id = %self.site.id(), object.key = %self.key,
            "a membership was gone and has registered again"
        );
    }

    /// Stores another value under its own version.
    pub(crate) async fn update(self: Arc<Self>, value: Vec<u8>) -> Result<bool> {
        let _changing = self.changing.lock().await;
        if self.is_over() {
            return Ok(false);
        }
        let call = Call::on("update", &self.key);
        let start = Moment::of(&self.site.world.clock);
        let life = Life::For(self.ttl);
        let action = Action::Cas { expected: Some(self.version()), value: value.clone(), life };
        match self.change(&call, action).await? {
            Outcome::Stored(stamp) => {
                self.confirmed(start, Some((stamp.version, Some(value))));
                Ok(true)
            }
            Outcome::Conflict(Some(_)) => {
                self.taken_over();
                Ok(false)
            }
            Outcome::Conflict(None) => {
                // It comes back with the value that it had.
                self.site.members.plan(self.number, start.tick);
                Ok(false)
            }
            _ => Err(self.site.misfit(&call)),
        }
    }

    /// Ends it and removes its record, never a successor's.
    pub(crate) async fn leave(self: Arc<Self>) -> Result<Left> {
        let _changing = self.changing.lock().await;
        let Some(version) = self.finish(End::Left) else { return Ok(Left::WasLost) };
        let call = Call::on("leave", &self.key);
        let removed = self.change(&call, Action::Remove { reason: None, if_version: Some(version) }).await;
        // What could not be removed ends with its ttl.
        drop(self.lock().hold.take());
        match removed? {
            Outcome::Removed => Ok(Left::Left),
            Outcome::Absent | Outcome::Stale { .. } => Ok(Left::WasLost),
            _ => Err(self.site.misfit(&call)),
        }
    }

    /// The same where nobody is told how it went.
    pub(crate) async fn leave_quietly(self: Arc<Self>) {
        if let Err(error) = Arc::clone(&self).leave().await {
            tracing::warn!(
                object.id = %self.site.id(), object.key = %self.key, %error,
                "a membership could not be removed; its record ends with its ttl"
            );
        }
    }
}

impl GiveBack for Member {
    fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(self.leave_quietly())
    }
}

/// The members of one registry in this process.
#[derive(Debug, Default)]
pub(crate) struct Members {
    roll: Mutex<Roll>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Roll {
    members: HashMap<u64, Planned>,
    next: u64,
    running: bool,
    /// What the task sleeps until; only something earlier is worth waking it.
    asleep: Option<Tick>,
}

/// When a member is renewed next.
#[derive(Debug)]
struct Planned {
    due: Tick,
    /// Because the last time failed.
    again: bool,
    member: Weak<Member>,
}

impl Members {
    fn number(&self) -> u64 {
        let mut roll = self.lock();
        roll.next += 1;
        roll.next
    }

    fn add(self: &Arc<Self>, member: &Arc<Member>, due: Tick) {
        let mut roll = self.lock();
        roll.members.insert(member.number, Planned { due, again: false, member: Arc::downgrade(member) });
        if roll.running {
            self.wake(&roll, due);
            return;
        }
        roll.running = true;
        // Not under the lock: where there is no runtime, the turn is dropped right here, and tells so. A record then ends
        // with its ttl.
        drop(roll);
        let world = &member.site.world;
        let turn = Turn { members: Arc::clone(self), clock: world.clock.clone(), ended: false };
        world.spawner.spawn(turn.run(world.lifecycle.clone()));
    }

    /// Says when a member is renewed next, if it is still there.
    fn plan(&self, number: u64, at: Tick) {
        self.replan(number, at, false);
    }

    /// The same for a renewal that failed. The task pauses before.
    fn plan_again(&self, number: u64, at: Tick) {
        self.replan(number, at, true);
    }

    fn replan(&self, number: u64, at: Tick, failed: bool) {
        let mut roll = self.lock();
        if let Some(planned) = roll.members.get_mut(&number) {
            (planned.due, planned.again) = (at, failed);
            self.wake(&roll, at);
        }
    }

    fn remove(&self, number: u64) {
        let mut roll = self.lock();
        roll.members.remove(&number);
        if roll.members.is_empty() {
            roll.members.shrink_to_fit();
            self.earlier.notify_one();
        }
    }

    fn wake(&self, roll: &Roll, due: Tick) {
        if roll.asleep.is_some_and(|until| due < until) {
            self.earlier.notify_one();
        }
    }

    /// Those to be renewed now: those that are due, and with them those that soon would be.
    fn due(&self, now: Tick) -> Vec<Arc<Member>> {
        let roll = self.lock();
        let alive = || roll.members.values().filter_map(|planned| Some((planned, planned.member.upgrade()?)));
        let in_time = alive().filter(|(planned, _)| planned.due <= now && !planned.again);
        let longest = in_time.map(|(_, member)| member.ttl).max().unwrap_or_default();
        // All of one ttl, which is the usual case; those of a longer one only if their time comes anyway.
        let horizon = now.plus(Duration::from_millis(longest) / 3);
        alive().filter(|(planned, _)| planned.due <= horizon).map(|(_, member)| member).collect()
    }

    fn all(&self) -> Vec<Arc<Member>> {
        self.lock().members.values().filter_map(|planned| planned.member.upgrade()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().expect("no code panics while it holds this lock")
    }
}

/// The running task. Dropped with its runtime, it leaves the roll ready for another.
struct Turn {
    members: Arc<Members>,
    clock: Clock,
    /// Whether it has left the roll to another task; there may be one already.
    ended: bool,
}

impl Turn {
    async fn run(mut self, lifecycle: crate::lifecycle::Lifecycle) {
        tokio::select! {
            biased;
            () = lifecycle.closing() => {
                // Before anything else ends, so that no work is sent here any more. Who is added from here on has a turn of
                // its own, which ends at once in the same way.
                self.end();
                join_all(self.members.all().into_iter().map(Member::leave_quietly)).await;
            }
            () = self.work() => {}
        }
    }

    /// Leaves the roll to another task.
    fn end(&mut self) {
        self.ended = true;
        let mut roll = self.members.lock();
        (roll.running, roll.asleep) = (false, None);
    }

    async fn work(&mut self) {
        loop {
            let next = {
                let mut roll = self.members.lock();
                let next = roll.members.values().map(|planned| planned.due).min();
                (roll.running, roll.asleep) = (next.is_some(), next);
                next
            };
            let Some(next) = next else {
                self.ended = true;
                return;
            };
            tokio::select! {
                biased;
                () = self.members.earlier.notified() => continue,
                () = self.clock.sleep_until(next) => {}
            }
            let due = self.members.due(self.clock.tick());
            // What was sent goes on when a shutdown begins: each leaves behind it, with the version that it has then.
            let renew =
                |member: &Arc<Member>| Sent::new(Box::pin(Arc::clone(member).renew()), &member.site.world.spawner);
            let failed = join_all(due.iter().map(renew)).await;
            let lives = due.iter().zip(failed).filter(|(_, failed)| *failed).map(|(member, _)| member.life());
            if let Some(shortest) = lives.min() {
                // In real time: what failed is not cured by a clock that stands still.
                runtime::sleep(pause_after(shortest).mul_f64(1.0 + fastrand::f64() / 2.0)).await;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}

/// The pause after a renewal that failed: well before any life is over, and no hot loop.
fn pause_after(life: Duration) -> Duration {
    (life / 12).clamp(SECOND / 10, SECOND / 4)
}

/// Refuses a ttl that cannot be renewed in time.
pub(crate) fn check_life(ttl: Duration) -> Result<()> {
    check_duration(Error::argument, "ttl of a membership", ttl, SECOND, TEN_YEARS)
}

#[cfg(test)]
mod tests;
