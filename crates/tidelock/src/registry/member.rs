//! A record that this process keeps alive: its version, renewal and end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::membership::Left;
use crate::check;
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::observe::{self, Counter};
use crate::keyed::site::{Call, Site};
use crate::keyed::store::{Action, Bounds, Change, Get, Life, Outcome, RecordView};
use crate::lifecycle::{GiveBack, Hold};
use crate::proof::{Moment, Proof};
use crate::runtime::BoxFuture;
use crate::time::{SECOND, TEN_YEARS, Tick};

/// A record that is kept alive.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) site: Arc<Site>,
    bounds: Bounds,
    pub(crate) key: Arc<str>,
    pub(super) ttl: u64,
    /// Its number in the roll.
    pub(super) number: u64,
    state: Mutex<State>,
    rejoins: AtomicU64,
    changed: Notify,
    /// Serializes changes of the record, so that its version is known.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    version: u64,
    value: Vec<u8>,
    proof: Proof,
    /// A new registration was sent, but its outcome is unknown: a record of another version may be this member's own.
    in_doubt: bool,
    /// The value of an update whose outcome is unknown: a record with it may be this member's own, too.
    pending: Option<Vec<u8>>,
    end: Option<End>,
    /// When the member left, its record was removed or belonged to somebody else.
    removed: bool,
    hold: Option<Hold>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Ended by this process.
    Left,
    /// Another process has taken over the key.
    Lost,
}

impl State {
    fn is_in_doubt(&self) -> bool {
        self.in_doubt || self.pending.is_some()
    }

    /// The member has left, but the removal of its record is not confirmed.
    fn is_to_be_removed(&self) -> bool {
        self.end == Some(End::Left) && !self.removed
    }
}

/// The parameters of a registration.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) key: Arc<str>,
    pub(crate) ttl: u64,
    pub(crate) value: Vec<u8>,
    pub(crate) bounds: Bounds,
}

impl Member {
    /// Keeps alive a record that was stored with this version by a request that began at `start`.
    pub(crate) fn new(site: &Arc<Site>, terms: Terms, version: u64, start: Moment) -> Arc<Self> {
        let Terms { key, ttl, value, bounds } = terms;
        let proof = Proof::new(start, Duration::from_millis(ttl));
        let member = Arc::new(Self {
            site: Arc::clone(site),
            bounds,
            key,
            ttl,
            number: site.members.number(),
            state: Mutex::new(State {
                version,
                value,
                proof,
                in_doubt: false,
                pending: None,
                end: None,
                removed: false,
                hold: None,
            }),
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

    /// Resolves when the membership has ended.
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

    pub(super) fn life(&self) -> Duration {
        Duration::from_millis(self.ttl)
    }

    fn next_renewal(&self, start: Moment) -> Tick {
        start.tick.plus(self.life() / 3)
    }

    async fn change(&self, call: &Call<'_>, action: Action) -> Result<Outcome> {
        self.site.change(call, Change { key: Arc::clone(&self.key), action, bounds: self.bounds }).await
    }

    /// Called when the record is confirmed to live on, with this version and value.
    fn confirmed(&self, start: Moment, stored: Option<(u64, Vec<u8>)>) {
        let mut state = self.lock();
        state.proof = Proof::new(start, self.life());
        state.in_doubt = false;
        if let Some((version, value)) = stored {
            // If an older, delayed update still arrives, it fails on the version.
            (state.version, state.value, state.pending) = (version, value, None);
        }
        drop(state);
        // Planned from the start of the request, so that a slow answer does not delay the next renewal.
        self.site.members.plan(self.number, self.next_renewal(start));
    }

    /// Ends the membership; returns whether it had not ended before.
    fn finish(&self, end: End) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        state.end = Some(end);
        // After leaving, the shutdown hold is kept until the record has been removed.
        let hold = if end == End::Lost { state.hold.take() } else { None };
        drop((state, hold));
        self.site.members.remove(self.number);
        self.changed.notify_waiters();
        true
    }

    fn taken_over(&self) {
        if self.finish(End::Lost) {
            observe::count(&self.site, Counter::Lost, 1);
            tracing::warn!(object.id = %self.site.id(), object.key = %self.key, "a membership was taken over");
        }
    }

    /// Renews the record; returns whether it must be retried. A change that is in progress renews the record too.
    pub(super) async fn renew(self: Arc<Self>) -> bool {
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
            "a membership could not be renewed; retrying"
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
            Outcome::Stale { .. } if self.lock().is_in_doubt() => self.rejoin().await,
            Outcome::Stale { .. } => {
                self.taken_over();
                Ok(())
            }
            _ => Err(self.site.misfit(&call)),
        }
    }

    /// Registers again, unless somebody else has taken the key.
    async fn rejoin(&self) -> Result<()> {
        let call = Call::on("rejoin", &self.key);
        // In doubt until answered: the future may be dropped here, together with its runtime.
        let doubted = std::mem::replace(&mut self.lock().in_doubt, true);
        let (mut expected, mut value) = (None, self.lock().value.clone());
        loop {
            let start = Moment::of(&self.site.world.clock);
            let action = Action::Cas { expected, value: value.clone(), life: Life::For(self.ttl) };
            match self.change(&call, action).await {
                Ok(Outcome::Stored(stamp)) => {
                    self.confirmed(start, Some((stamp.version, value)));
                    if doubted || expected.is_none() {
                        self.rejoined();
                    }
                    return Ok(());
                }
                // A swap, so that of two members that consider the record theirs, one notices.
                Ok(Outcome::Conflict(Some(record))) if expected.is_none() && self.may_have_stored(&record, doubted) => {
                    (expected, value) = (Some(record.stamp.version), record.value);
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

    /// Whether a record is what this member may have stored: by an unconfirmed update or, if `in_doubt`, by an earlier
    /// registration. And nobody has renewed the record since it was stored.
    fn may_have_stored(&self, RecordView { value, stamp, .. }: &RecordView, in_doubt: bool) -> bool {
        let state = self.lock();
        let is_ours = state.pending.as_ref() == Some(value) || (in_doubt && state.value == *value);
        // A version is never less than its instant in microseconds.
        is_ours && stamp.ttl == Some(self.ttl) && stamp.updated_at <= stamp.version / 1_000
    }

    fn rejoined(&self) {
        self.rejoins.fetch_add(1, Ordering::AcqRel);
        observe::count(&self.site, Counter::Rejoins, 1);
        tracing::info!(
            object.id = %self.site.id(), object.key = %self.key,
            "a membership had expired and was registered again"
        );
    }

    /// Stores another value, under the version of the own record.
    pub(crate) async fn update(self: Arc<Self>, value: Vec<u8>) -> Result<bool> {
        let _changing = self.changing.lock().await;
        if self.is_over() {
            return Ok(false);
        }
        if self.lock().is_in_doubt() {
            self.touch().await?;
            if self.is_over() {
                return Ok(false);
            }
        }
        let call = Call::on("update", &self.key);
        let start = Moment::of(&self.site.world.clock);
        let life = Life::For(self.ttl);
        let action = Action::Cas { expected: Some(self.version()), value: value.clone(), life };
        // Pending until answered: the future may be dropped here, together with its runtime.
        self.lock().pending = Some(value.clone());
        let stored = self.change(&call, action).await;
        if !stored.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
            self.lock().pending = None;
        }
        match stored? {
            Outcome::Stored(stamp) => {
                self.confirmed(start, Some((stamp.version, value)));
                Ok(true)
            }
            Outcome::Conflict(Some(_)) => {
                self.taken_over();
                Ok(false)
            }
            Outcome::Conflict(None) => {
                // The record has expired; registering again will restore it with its previous value.
                self.site.members.plan(self.number, start.tick);
                Ok(false)
            }
            _ => Err(self.site.misfit(&call)),
        }
    }

    /// Ends the membership and removes its record, but never a successor's.
    pub(crate) async fn leave(self: Arc<Self>) -> Result<Left> {
        let _changing = self.changing.lock().await;
        if !self.finish(End::Left) && !self.lock().is_to_be_removed() {
            return Ok(Left::WasLost);
        }
        let left = self.remove().await;
        // A record that could not be removed expires with its ttl.
        let mut state = self.lock();
        state.removed = left.is_ok();
        let hold = state.hold.take();
        drop((state, hold));
        left
    }

    async fn remove(&self) -> Result<Left> {
        let call = Call::on("leave", &self.key);
        let remove = |version| self.change(&call, Action::Remove { reason: None, if_version: Some(version) });
        let mut outcome = remove(self.version()).await?;
        if matches!(outcome, Outcome::Stale { .. }) && self.lock().is_in_doubt() {
            let in_doubt = self.lock().in_doubt;
            let get = Get { key: Arc::clone(&self.key), include_expired: false };
            let found = self.site.store.get(&self.site.object, get).await;
            if let Some(record) = found.map_err(|error| self.site.context(&call, error))?
                && self.may_have_stored(&record, in_doubt)
            {
                outcome = remove(record.stamp.version).await?;
            }
        }
        match outcome {
            Outcome::Removed => Ok(Left::Left),
            Outcome::Absent | Outcome::Stale { .. } => Ok(Left::WasLost),
            _ => Err(self.site.misfit(&call)),
        }
    }

    /// As `leave`, but only logs a failure.
    pub(crate) async fn leave_quietly(self: Arc<Self>) {
        if let Err(error) = Arc::clone(&self).leave().await {
            tracing::warn!(
                object.id = %self.site.id(), object.key = %self.key, %error,
                "a membership could not be removed; its record expires with its ttl"
            );
        }
    }
}

impl GiveBack for Member {
    fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(self.leave_quietly())
    }
}

/// Rejects a ttl that is too short to be renewed in time.
pub(crate) fn check_life(ttl: Duration) -> Result<()> {
    check::range(Error::argument, "ttl of a membership", ttl, SECOND, TEN_YEARS)
}

#[cfg(test)]
mod tests;
