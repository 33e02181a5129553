//! One queue, group or object of jobs in this process: its address, its source, and settles that must not be lost.

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

/// The source of what is handed over: a queue, a group of a topic or of a job's events, or the jobs of one name.
pub(crate) trait Source: Send + Sync {
    /// Whether every answer is ready at the first poll.
    fn is_local(&self) -> bool;
    /// Hands out what comes first, now, at most `max` including a gap. 0 takes nothing, reports that this process
    /// waits no more, and passes a wake-up on to another process. `park`: if there is less, register this process to
    /// be woken. If the future is dropped after it took something, that is given back.
    fn take(&self, terms: &Terms, max: usize, park: bool) -> BoxFuture<'static, Result<Taken>>;
    /// Applies each settle on its own. Outcomes are in the same order.
    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// Rings when this process should take again. There is one per source and process.
    fn bell(&self) -> Arc<Bell>;
}

opaque!(Source);

/// What a site stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Object {
    Queue,
    /// A group of the topic at the address.
    Group(Arc<str>),
    /// The jobs of one name. What is handed over are runs.
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
    /// Whether the address has been checked and found valid.
    fine: bool,
    /// Gaps of a group that were taken for receives which were dropped before they could report them.
    untold: Mutex<VecDeque<GapView>>,
    /// Whether there are any. Read without the lock.
    any_untold: AtomicBool,
    pub(super) counters: Counters<{ Measure::COUNT }>,
    /// Only for jobs.
    pub(crate) job_counters: Counters<{ job::Measure::COUNT }>,
    /// Handlers, by outcome.
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

    /// Refuses a bad address, and any call once a shutdown is over. Until then, what is held may be settled.
    pub(crate) fn check(&self, operation: &str) -> Result<()> {
        if !self.fine {
            self.address.check().map_err(|error| self.context(operation, error))?;
        }
        if self.world.lifecycle.is_closed() { Err(self.shut_down(operation)) } else { Ok(()) }
    }

    /// Refuses new work as soon as a shutdown has begun.
    pub(crate) fn check_taking(&self, operation: &str) -> Result<()> {
        self.check(operation)?;
        if self.world.lifecycle.is_closing() { Err(self.shut_down(operation)) } else { Ok(()) }
    }

    pub(super) fn shut_down(&self, operation: &str) -> Error {
        self.context(operation, Error::shut_down())
    }

    /// Adds the operation and the object to an error.
    pub(crate) fn context(&self, operation: &str, error: Error) -> Error {
        error.in_context(format_args!("{operation} on {}", self.called()))
    }

    /// The error for an answer of the backend that does not fit the request.
    pub(crate) fn misfit(&self, operation: &str) -> Error {
        self.context(operation, Error::misfit())
    }

    /// The object's name in errors.
    pub(crate) fn called(&self) -> impl fmt::Display {
        let id = name::shown(&self.address.id);
        match &self.object {
            Object::Queue => format!("queue {id:?}"),
            Object::Group(group) => format!("group {group:?} of topic {id:?}"),
            Object::Jobs => format!("job {id:?}"),
            Object::JobGroup(job, group) => format!("group {group:?} of the events of job {id:?}, {job}"),
        }
    }

    /// The group, if this is a group of a topic.
    pub(crate) fn group(&self) -> Option<&Arc<str>> {
        match &self.object {
            Object::Queue | Object::Jobs | Object::JobGroup(..) => None,
            Object::Group(group) => Some(group),
        }
    }

    /// Settles. Once polled, the request is sent even if the future is dropped.
    pub(crate) fn settle(&self, settles: Vec<Settle>) -> Sent<Result<Vec<Settled>>> {
        self.sent(self.source.settle(settles))
    }

    /// A future that, once polled, runs to its end even if it is dropped. A shutdown waits for it.
    pub(super) fn sent<T: Send>(&self, future: BoxFuture<'static, T>) -> Sent<T> {
        Sent::new(future, &self.world.spawner).held(&self.world.lifecycle, "settle", &self.address.id)
    }

    /// Settles in the background. If that fails, the leases end.
    pub(crate) fn settle_detached(&self, settles: Vec<Settle>) {
        if !settles.is_empty() {
            self.settle(settles).detach();
        }
    }

    /// Registers something that a shutdown waits for.
    pub(crate) fn hold(&self, kind: &'static str) -> Hold {
        self.world.lifecycle.hold(kind, &self.address.id)
    }

    /// Keeps a gap that nobody was told for the next receiver.
    pub(super) fn keep(&self, gap: GapView) {
        let mut untold = self.lock_untold();
        untold.push_back(gap);
        self.any_untold.store(true, Ordering::Release);
        drop(untold);
        // Receivers that wait already are told at once.
        self.source.bell().ring();
    }

    /// A gap that nobody was told yet, for a receiver that reports it.
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

/// Messages that were taken and that no receiver has seen yet. Dropped ones are given back, and a dropped gap is kept
/// for the next receiver.
#[derive(Debug)]
pub(crate) struct Claims {
    site: Arc<Site>,
    gap: Option<GapView>,
    messages: VecDeque<Handed>,
    /// When the take was requested. Leases are proven from this instant.
    pub(crate) start: Moment,
    /// The requested lease, in milliseconds.
    pub(crate) lease: u64,
}

impl Claims {
    pub(crate) fn new(site: &Arc<Site>, taken: Taken, start: Moment, lease: u64) -> Self {
        let Taken { gap, messages, .. } = taken;
        Self { site: Arc::clone(site), gap, messages: messages.into(), start, lease }
    }

    /// Empty claims.
    pub(crate) fn none(site: &Arc<Site>) -> Self {
        Self::new(site, Taken::default(), site.moment(), 0)
    }

    /// Claims of a gap that nobody was told yet, if there is one.
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

    /// Splits off the first ones, at most `max`. A gap comes first, and counts.
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

    /// Takes the gap out. From here on the caller must report it.
    pub(crate) fn take_gap(&mut self) -> Option<GapView> {
        self.gap.take()
    }

    /// Takes out the messages that match `test`. From here on the caller must settle them.
    pub(crate) fn take_out(&mut self, test: impl FnMut(&Handed) -> bool) -> Vec<Handed> {
        let (found, rest) = std::mem::take(&mut self.messages).into_iter().partition(test);
        self.messages = rest;
        Vec::from(found)
    }

    /// Gives everything back. Resolves when the backend has answered.
    pub(super) fn give_back(mut self) -> BoxFuture<'static, ()> {
        let settles = self.give_backs();
        let site = Arc::clone(&self.site);
        Box::pin(async move {
            if !settles.is_empty() {
                // If this fails, the leases end.
                drop(site.source.settle(settles).await);
            }
        })
    }

    fn give_backs(&mut self) -> Vec<Settle> {
        let give_back = |handed: Handed| Settle { id: handed.id, fence: handed.fence, action: Action::GiveBack };
        self.messages.drain(..).map(give_back).collect()
    }

    /// Takes all messages out. From here on the caller must settle them.
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
