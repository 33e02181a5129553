//! One queue, group or object of jobs as this process sees it: its address, what hands over for it, and the settles that
//! must not be lost.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::observe::{Ended, Measure};
use super::receivers::Terms;
use super::store::{Action, Handed, Settle, Settled, Taken};
use crate::bell::Bell;
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::job;
use crate::lifecycle::Hold;
use crate::name::{self, Address};
use crate::opaque::opaque;
use crate::proof::Moment;
use crate::runtime::BoxFuture;
use crate::sent::Sent;
use crate::tidelock::World;
use crate::time::{Clock, Tick};
use crate::topic::store::GapView;

/// What hands over: a queue, a group of a topic or of a job's events, or the jobs of one name.
pub(crate) trait Source: Send + Sync {
    /// Whether every answer is there at the first poll.
    fn is_local(&self) -> bool;
    /// Hands out what is first, now, at most `max`, a gap counted; 0 takes nothing, says that this process waits no more,
    /// and passes a wake-up on to another one. `park`: if fewer were there, note that this process wants to be woken. Dropped
    /// after it took something, it gives that back.
    fn take(&self, terms: &Terms, max: usize, park: bool) -> BoxFuture<'static, Result<Taken>>;
    /// Judges each settle on its own; outcomes in the same order.
    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// What rings when this process should take again. One per source and process.
    fn bell(&self) -> Arc<Bell>;
}

opaque!(Source);

/// What a site is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Object {
    Queue,
    /// A group of the topic at the address.
    Group(Arc<str>),
    /// Jobs of one name: what is handed over are runs.
    Jobs,
    /// A group that reads the events of one of the jobs at the address.
    JobGroup(u64, Arc<str>),
}

/// A queue, group or object of jobs of this process.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) source: Box<dyn Source>,
    pub(crate) address: Address,
    pub(crate) object: Object,
    /// Whether the address is one that may be asked for.
    fine: bool,
    /// What the group has lost, taken for receives that were dropped before they could tell it.
    untold: Mutex<VecDeque<GapView>>,
    /// Whether there is any: read without the lock.
    any_untold: AtomicBool,
    pub(super) counters: Counters<{ Measure::COUNT }>,
    /// Of jobs.
    pub(crate) job_counters: Counters<{ job::Measure::COUNT }>,
    /// Of handlers, by how they ended.
    pub(crate) processed: Counters<{ Ended::COUNT }>,
}

impl Site {
    pub(crate) fn new(world: &Arc<World>, address: Address, object: Object, source: Box<dyn Source>) -> Self {
        let fine = address.check().is_ok();
        let (untold, any_untold) = Default::default();
        Self {
            world: Arc::clone(world),
            source,
            address,
            object,
            fine,
            untold,
            any_untold,
            counters: Counters::new(),
            job_counters: Counters::new(),
            processed: Counters::new(),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.world.clock
    }

    pub(crate) fn tick(&self) -> Tick {
        self.world.clock.tick()
    }

    pub(super) fn moment(&self) -> Moment {
        Moment::of(&self.world.clock)
    }

    /// Refuses a bad address, and any call once a shutdown is over. Until then what is held may be finished.
    pub(crate) fn check(&self, operation: &str) -> Result<()> {
        if !self.fine {
            self.address.check().map_err(|error| self.context(operation, error))?;
        }
        if self.world.lifecycle.is_closed() { Err(self.shut_down(operation)) } else { Ok(()) }
    }

    /// Refuses what would take on more work, as soon as a shutdown has begun.
    pub(crate) fn check_taking(&self, operation: &str) -> Result<()> {
        self.check(operation)?;
        if self.world.lifecycle.is_closing() { Err(self.shut_down(operation)) } else { Ok(()) }
    }

    pub(super) fn shut_down(&self, operation: &str) -> Error {
        self.context(operation, Error::shut_down())
    }

    /// Says what was asked of which object.
    pub(crate) fn context(&self, operation: &str, error: Error) -> Error {
        error.in_context(format_args!("{operation} on {}", self.called()))
    }

    /// The backend's answer does not fit what was asked.
    pub(crate) fn misfit(&self, operation: &str) -> Error {
        self.context(operation, Error::misfit())
    }

    /// What it is called in errors.
    pub(crate) fn called(&self) -> impl fmt::Display {
        let id = name::shown(&self.address.id);
        match &self.object {
            Object::Queue => format!("queue {id:?}"),
            Object::Group(group) => format!("group {group:?} of topic {id:?}"),
            Object::Jobs => format!("job {id:?}"),
            Object::JobGroup(job, group) => format!("group {group:?} of the events of job {id:?}, {job}"),
        }
    }

    /// The group, of a topic's.
    pub(crate) fn group(&self) -> Option<&Arc<str>> {
        match &self.object {
            Object::Queue | Object::Jobs | Object::JobGroup(..) => None,
            Object::Group(group) => Some(group),
        }
    }

    /// Settles. Once polled it is sent, even if dropped.
    pub(crate) fn settle(&self, settles: Vec<Settle>) -> Sent<Result<Vec<Settled>>> {
        self.sent(self.source.settle(settles))
    }

    /// Once polled it runs to its end, even if dropped; a shutdown waits for it.
    pub(super) fn sent<T: Send>(&self, future: BoxFuture<'static, T>) -> Sent<T> {
        Sent::new(future, &self.world.spawner).held(&self.world.lifecycle, "settle", &self.address.id)
    }

    /// Settles in the background. What a failure leaves undone ends with its lease.
    pub(crate) fn settle_detached(&self, settles: Vec<Settle>) {
        if !settles.is_empty() {
            self.settle(settles).detach();
        }
    }

    /// Something of it that a shutdown waits for.
    pub(crate) fn hold(&self, kind: &'static str) -> Hold {
        self.world.lifecycle.hold(kind, &self.address.id)
    }

    /// Keeps a gap that nobody was told for the next receiver.
    pub(super) fn keep(&self, gap: GapView) {
        let mut untold = self.lock_untold();
        untold.push_back(gap);
        self.any_untold.store(true, Ordering::Release);
        drop(untold);
        // Who waits already is told at once.
        self.source.bell().ring();
    }

    /// A gap that is still to be told, for a receiver that tells it.
    pub(super) fn untold(&self) -> Option<GapView> {
        if !self.any_untold.load(Ordering::Acquire) {
            return None;
        }
        let mut untold = self.lock_untold();
        let gap = untold.pop_front();
        self.any_untold.store(!untold.is_empty(), Ordering::Release);
        gap
    }

    fn lock_untold(&self) -> MutexGuard<'_, VecDeque<GapView>> {
        self.untold.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for gap in self.lock_untold().drain(..) {
            tracing::warn!(
                messaging.destination.name = %crate::name::shown(&self.address.id),
                missed = gap.missed,
                "a gap could not be reported: its receive was dropped, and nothing has been received since"
            );
        }
    }
}

/// Messages that were taken and that nobody has seen yet. What is dropped is given back, and a gap is told to the next
/// receiver.
#[derive(Debug)]
pub(crate) struct Claims {
    site: Arc<Site>,
    gap: Option<GapView>,
    messages: VecDeque<Handed>,
    /// When the take was asked for: leases are proven from here.
    pub(crate) start: Moment,
    /// As asked for, in milliseconds.
    pub(crate) lease: u64,
}

impl Claims {
    pub(crate) fn new(site: &Arc<Site>, taken: Taken, start: Moment, lease: u64) -> Self {
        let Taken { gap, messages, .. } = taken;
        Self { site: Arc::clone(site), gap, messages: messages.into(), start, lease }
    }

    /// Claims of nothing.
    pub(crate) fn none(site: &Arc<Site>) -> Self {
        Self::new(site, Taken::default(), site.moment(), 0)
    }

    /// A gap that is still to be told, if there is one.
    pub(crate) fn untold(site: &Arc<Site>) -> Option<Self> {
        let gap = site.untold()?;
        let mut claims = Self::none(site);
        claims.gap = Some(gap);
        Some(claims)
    }

    pub(super) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.gap.is_none()
    }

    pub(crate) fn messages(&self) -> impl ExactSizeIterator<Item = &Handed> {
        self.messages.iter()
    }

    /// The first of them, at most `max`, as claims of their own. A gap is the first, and counts.
    pub(crate) fn split(&mut self, max: usize) -> Self {
        let gap = self.gap.take();
        let count = (max - usize::from(gap.is_some())).min(self.messages.len());
        let messages = if count == self.messages.len() {
            std::mem::take(&mut self.messages)
        } else {
            let mut first = VecDeque::with_capacity(count);
            first.extend(self.messages.drain(..count));
            first
        };
        Self { site: Arc::clone(&self.site), gap, messages, start: self.start, lease: self.lease }
    }

    /// Takes the gap out; from here on it is the caller's to tell.
    pub(crate) fn take_gap(&mut self) -> Option<GapView> {
        self.gap.take()
    }

    /// Takes out what `test` finds; from here on it is the caller's to settle.
    pub(crate) fn take_out(&mut self, test: impl FnMut(&Handed) -> bool) -> Vec<Handed> {
        let (found, rest) = std::mem::take(&mut self.messages).into_iter().partition(test);
        self.messages = rest;
        Vec::from(found)
    }

    /// Gives all back; resolves when the backend has answered.
    pub(super) fn give_back(mut self) -> BoxFuture<'static, ()> {
        let settles = self.give_backs();
        let site = Arc::clone(&self.site);
        Box::pin(async move {
            if !settles.is_empty() {
                // What a failure leaves undone ends with its lease.
                drop(site.source.settle(settles).await);
            }
        })
    }

    fn give_backs(&mut self) -> Vec<Settle> {
        let give_back = |handed: Handed| Settle { id: handed.id, fence: handed.fence, action: Action::GiveBack };
        self.messages.drain(..).map(give_back).collect()
    }

    /// Hands all messages over; from here on they are the caller's to settle.
    pub(crate) fn into_messages(mut self) -> VecDeque<Handed> {
        std::mem::take(&mut self.messages)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if let Some(gap) = self.gap.take() {
            self.site.keep(gap);
        }
        let settles = self.give_backs();
        self.site.settle_detached(settles);
    }
}
