//! Groups of readers on the events of a job: building a reader, and the source of its events.

mod delivery;
mod receive;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::delivery::{EventDelivery, Nack};
pub use self::receive::{Deliveries, Recv, TryRecv};

use super::{Item, JobEvents};
use crate::bell::Bell;
use crate::check;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::store::{self as handover, Action, Content, Handed, Taken};
use crate::handover::{Held, Object, Opening, Receivers, Source, Terms};
use crate::job::ears::Ears;
use crate::job::site::store_of;
use crate::job::store::{
    GroupAction, GroupSettle, GroupTake, GroupTaken, HandedEvent, JobStore, Lost, MAX_GROUP_TAKE, MAX_GROUPS,
};
use crate::name::{self, Address};
use crate::runtime::{self, BoxFuture};
use crate::time::{DAY, MINUTE, whole_millis};
use crate::topic::store::{GapView, Position};

/// The longest pause after a nack.
const MAX_NACK_DELAY: Duration = Duration::from_secs(7 * DAY.as_secs());

/// Defines a reader of a group on the events of a job, checked by [`build`](ReaderBuilder::build).
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ReaderBuilder {
    events: JobEvents,
    group: Arc<str>,
    lease: Duration,
}

impl ReaderBuilder {
    pub(super) fn new(events: &JobEvents, group: &str) -> Self {
        Self { events: events.clone(), group: group.into(), lease: MINUTE }
    }

    /// How long a delivered event belongs to its reader: 1 ms..=10 years, default 60 s; whole milliseconds, fractions
    /// rounded up. A receive may ask for its own lease.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Checks the options and creates the handle. Does no I/O.
    ///
    /// Fails with *invalid configuration* if the name of the group is not 1..=256 bytes without NUL, or the lease is
    /// out of its range.
    pub fn build(self) -> Result<Reader> {
        const CONFIGURATION: fn(String) -> Error = Error::configuration;
        let Self { events, group, lease } = self;
        let checked = name::check(CONFIGURATION, "group", &group, name::MAX_ID)
            .and_then(|()| check::lasting(CONFIGURATION, "lease", lease));
        let site = &events.site;
        checked.map_err(|error| {
            let id = name::shown(&site.address.id);
            error.in_context(format_args!("reader of group {group:?} of the events of job {id:?}"))
        })?;
        let object = Object::JobGroup(events.id.0, Arc::clone(&group));
        let receivers = site.world.receivers.get_or_insert(&(site.address.clone(), object.clone()), || {
            let (store, address) = (store_of(site), site.address.clone());
            let source = Hands { store, address, id: events.id.0, group: Arc::clone(&group), heard: OnceLock::new() };
            Receivers::new(&site.world, site.address.clone(), object, Box::new(source))
        });
        let terms = Terms { lease: whole_millis(lease), ..Terms::default() };
        Ok(Reader { events, group, terms: Arc::new(terms), receivers })
    }
}

impl fmt::Debug for ReaderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, group, lease } = self;
        f.debug_struct("ReaderBuilder").field("events", events).field("group", group).field("lease", lease).finish()
    }
}

/// A handle to one group on the events of a job: readers with the same group, in any process, share the events. Cloned
/// freely. Created by [`JobEvents::reader`].
///
/// The first receive creates the group: it begins at the first event that is kept, and lives as long as the record of
/// the job. A job can have 100 groups; one more is refused with *capacity reached*.
///
/// Each event goes to one reader at a time, the earliest deliverable one first. It is redelivered until it is
/// committed, when its lease expires or when it was returned, without limit: there is no last delivery and no dead
/// letter. Several events may be in flight at once, and be committed in any order; with 1,000 in flight, the group
/// takes no new one.
///
/// A job keeps its last 1,000 events. Those dropped before the group had committed them are reported to one reader, by
/// one
/// [`Item::Gap`] before the events that follow; an event that is held when it is dropped can still be committed.
///
/// No more events come when the job does not exist, or has ended and the group has committed all of them: then a
/// receive returns `None` at once, and a stream ends. A [`retry`](crate::job::Job::retry) of the job brings new events.
#[derive(Clone)]
pub struct Reader {
    events: JobEvents,
    group: Arc<str>,
    terms: Arc<Terms>,
    receivers: Arc<Receivers>,
}

impl Reader {
    /// The name of the group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Waits for one event.
    pub fn recv(&self) -> Recv {
        Recv::new(self)
    }

    /// Takes one event if one is deliverable now.
    pub fn try_recv(&self) -> TryRecv {
        TryRecv::new(self)
    }

    /// A stream of events as they arrive, until the job has ended.
    pub fn stream(&self) -> Deliveries {
        Deliveries::new(self)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("events", &self.events).field("group", &self.group).finish_non_exhaustive()
    }
}

impl Opening for Reader {
    /// There is nothing to decode: the event is delivered as it is.
    type Value = ();
    type Item = Item<EventDelivery>;

    fn receivers(&self) -> &Arc<Receivers> {
        &self.receivers
    }

    fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    fn max_nack_delay(&self) -> Duration {
        MAX_NACK_DELAY
    }

    fn decode(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn item(&self, (): (), handed: Handed, held: Arc<Held>) -> Self::Item {
        let handed = Arc::unwrap_or_clone(handed.event.expect("a group on events hands out events"));
        let HandedEvent { number, attempt, event, .. } = handed;
        Item::Event(EventDelivery::new(self.events.event(number, event), attempt, held))
    }

    fn undecodable(&self, _: Handed, _: &Error) -> Option<Self::Item> {
        None
    }

    fn gap(&self, gap: GapView) -> Option<Self::Item> {
        let missed = gap.missed.expect("events of a job are counted");
        Some(Item::Gap(self.events.gap(gap.from.ordinal, gap.to.ordinal, missed)))
    }
}

/// The source of a job's events for one group.
#[derive(Debug)]
struct Hands {
    store: Arc<dyn JobStore>,
    address: Address,
    id: u64,
    group: Arc<str>,
    /// Set on first use: the news of the jobs, and the bell of this group.
    heard: OnceLock<(Arc<Ears>, Arc<Bell>)>,
}

impl Source for Hands {
    fn is_local(&self) -> bool {
        self.store.is_local()
    }

    fn take(&self, terms: &Terms, max: usize, park: bool) -> BoxFuture<'static, Result<Taken>> {
        if max == 0 {
            // News of a job goes to every waiting process, so there is no wake-up to pass on.
            return runtime::ready(Ok(Taken::default()));
        }
        let asked = max.min(MAX_GROUP_TAKE);
        let take = GroupTake { id: self.id, group: Arc::clone(&self.group), max: asked, lease: terms.lease, park };
        let taking = self.store.take_events(&self.address, take);
        Box::pin(async move {
            let GroupTaken { gap, events, next, ended, full } = taking.await?;
            if full {
                let text = format!("the events of a job are read by at most {MAX_GROUPS} groups");
                return Err(Error::new(ErrorKind::CapacityReached, text));
            }
            let messages = events.into_iter().map(message).collect();
            let mut taken = Taken { gap: gap.map(gap_view), messages, next, ended };
            if taken.len() == asked && asked < max {
                // There may be more than one take asks for.
                taken.next = Some(0);
            }
            Ok(taken)
        })
    }

    fn settle(&self, settles: Vec<handover::Settle>) -> BoxFuture<'static, Result<Vec<handover::Settled>>> {
        let settle = |handover::Settle { id, fence, action }| {
            let action = match action {
                Action::Ack => GroupAction::Commit,
                Action::Nack { delay, .. } => GroupAction::Return { delay, unused: false },
                Action::GiveBack => GroupAction::Return { delay: 0, unused: true },
                Action::Touch { lease } => GroupAction::Touch { lease },
                Action::Bury { .. } => unreachable!("events of a job have no dead letters"),
            };
            GroupSettle { id: self.id, group: Arc::clone(&self.group), number: id, fence, action }
        };
        let settling = self.store.settle_events(&self.address, settles.into_iter().map(settle).collect());
        Box::pin(async move {
            let outcome = |held| if held { handover::Settled::Done } else { handover::Settled::Stale };
            Ok(settling.await?.into_iter().map(outcome).collect())
        })
    }

    fn bell(&self) -> Arc<Bell> {
        let (_, bell) = self.heard.get_or_init(|| {
            let ears = self.store.ears(&self.address);
            let bell = ears.watch(self.id);
            (ears, bell)
        });
        Arc::clone(bell)
    }
}

/// An event as a message of the hand-over.
fn message(event: HandedEvent) -> Handed {
    Handed {
        id: event.number,
        fence: event.fence,
        attempt: event.attempt,
        priority: 0,
        enqueued_at: event.event.at,
        position: Position::default(),
        run: None,
        event: Some(Arc::new(event)),
        last_error: None,
        content: Content::default(),
    }
}

/// A gap as a gap of the hand-over.
fn gap_view(lost: Lost) -> GapView {
    let place = |ordinal| Position { ordinal, ..Position::default() };
    GapView { from: place(lost.from), to: place(lost.to), missed: Some(lost.missed) }
}
