//! One object in this process: its address, store, log and memberships.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::cursor::Cursor;
use super::key::check_key;
use super::observe::{self, Counter};
use super::store::{Bounds, Change, EventView, KeyedStore, MAX_PAGE, Object, Outcome, Position, Read, Span};
use crate::bell::Bell;
use crate::counters::Counters;
use crate::cursor::Owner;
use crate::error::{Error, ErrorKind, Result};
use crate::follow::{Hub, Log, Part};
use crate::registry::members::Members;
use crate::runtime::BoxFuture;
use crate::tidelock::World;

pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) store: Arc<dyn KeyedStore>,
    pub(crate) object: Object,
    pub(crate) owner: Owner,
    pub(crate) members: Arc<Members>,
    hub: OnceLock<Arc<Hub<ChangeLog>>>,
    /// Whether the address has already been found valid.
    fine: bool,
    pub(super) counters: Counters<{ observe::COUNTERS }>,
}

impl Site {
    /// The site of an object, one instance for all handles.
    pub(crate) fn at(world: &Arc<World>, object: &Object) -> Arc<Self> {
        world.keyed.get_or_insert(object, || Self::on(world, object, world.backend.keyed()))
    }

    /// A separate site, on the given store.
    pub(crate) fn on(world: &Arc<World>, object: &Object, store: Arc<dyn KeyedStore>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            store,
            object: object.clone(),
            owner: Owner::of(object.kind.word(), &object.address),
            members: Arc::default(),
            hub: OnceLock::new(),
            fine: object.address.check().is_ok(),
            counters: Counters::new(),
        })
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.object.address.id
    }

    /// Rejects an invalid address, and any call after the shutdown has finished. Until then, requests that were begun
    /// may finish.
    pub(crate) fn check(&self, call: &Call<'_>) -> Result<()> {
        if !self.fine {
            self.object.address.check().map_err(|error| self.context(call, error))?;
        }
        self.world.lifecycle.check_not_closed().map_err(|error| self.context(call, error))
    }

    /// As [`check`](Self::check), and rejects an invalid key.
    pub(crate) fn check_key(&self, call: &Call<'_>) -> Result<()> {
        self.check(call)?;
        let Some(key) = call.key else { return Ok(()) };
        check_key(self.object.kind, "key", key).map_err(|error| self.context(call, error))
    }

    /// Also rejects calls that would begin something lasting, as soon as a shutdown has begun.
    pub(crate) fn check_beginning(&self, call: &Call<'_>) -> Result<()> {
        self.check(call)?;
        self.world.lifecycle.check().map_err(|error| self.context(call, error))
    }

    /// Adds the call and the object to an error.
    pub(crate) fn context(&self, call: &Call<'_>, error: Error) -> Error {
        let (word, id) = (self.object.kind.word(), self.id());
        match call.key {
            Some(key) => error.in_context(format_args!("{} of {key:?} on {word} {id:?}", call.name)),
            None => error.in_context(format_args!("{} on {word} {id:?}", call.name)),
        }
    }

    /// Makes a change. A full store is an error.
    pub(crate) async fn change(&self, call: &Call<'_>, change: Change) -> Result<Outcome> {
        let in_force = change.bounds;
        let changing = self.store.change(&self.object, change);
        let changed = observe::within(observe::span(self, call), changing).await;
        let changed = changed.map_err(|error| self.context(call, error))?;
        observe::count(self, Counter::Calls(call.name), 1);
        if let Some(before) = changed.replaced {
            self.bounds_changed(before, in_force);
        }
        match changed.outcome {
            Outcome::Full { limit } => {
                let word = self.object.kind.word();
                let text = format!("the {word} has as many active records as it may have, max_entries {limit}");
                Err(self.context(call, Error::new(ErrorKind::CapacityReached, text)))
            }
            outcome => Ok(outcome),
        }
    }

    fn bounds_changed(&self, before: Bounds, now: Bounds) {
        tracing::info!(
            object.kind = self.object.kind.word(),
            object.id = %self.id(),
            ?before,
            ?now,
            "this writer has changed the limits of the store"
        );
    }

    /// The error for an answer of the backend that does not fit the request.
    pub(crate) fn misfit(&self, call: &Call<'_>) -> Error {
        self.context(call, Error::misfit())
    }

    pub(crate) fn cursor(&self, position: Position) -> Cursor {
        Cursor::new(self.owner, position)
    }

    /// The followers of the changes in this process.
    pub(crate) fn hub(&self) -> &Arc<Hub<ChangeLog>> {
        self.hub.get_or_init(|| {
            // Does not hold the site, which holds the hub.
            let log = ChangeLog { store: Arc::clone(&self.store), object: self.object.clone() };
            Hub::new(&self.world, log)
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.world.keyed.forget(&self.object);
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("object", &self.object).finish_non_exhaustive()
    }
}

/// The call that messages name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) name: &'static str,
    pub(crate) key: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(crate) fn on(name: &'static str, key: &'a str) -> Self {
        Self { name, key: Some(key) }
    }

    pub(crate) fn whole(name: &'static str) -> Self {
        Self { name, key: None }
    }
}

/// The log of one object, as followers read it.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    store: Arc<dyn KeyedStore>,
    object: Object,
}

/// Reported to a follower that has fallen behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) after: Position,
    pub(crate) first_available: Position,
}

impl Log for ChangeLog {
    type Position = Position;
    type Event = EventView;
    type Gap = Gap;

    fn read(&self, after: &Position, park: bool) -> BoxFuture<'static, Result<Part<Self>>> {
        let after = *after;
        let reading = self.store.read(&self.object, Read { after, max: MAX_PAGE, park });
        Box::pin(async move { Ok(part(after, reading.await?)) })
    }

    fn holds(&self, place: &Position) -> bool {
        self.store.holds(&self.object, *place)
    }

    fn bell(&self) -> Arc<Bell> {
        self.store.bell(&self.object)
    }
}

fn part(after: Position, span: Span) -> Part<ChangeLog> {
    let Span { overflow, events, end, next } = span;
    let gap = overflow.map(|overflow| (end, Gap { after, first_available: overflow.first_available }));
    let bytes = events.iter().map(EventView::weight).sum();
    let mut place = after;
    let behind = |event: EventView| {
        place = place.behind(end.incarnation, &event);
        (place, event)
    };
    let events = events.into_iter().map(behind).collect();
    Part { gap, events, end, bytes, next }
}

impl EventView {
    /// Approximate memory of the event.
    fn weight(&self) -> usize {
        use super::store::Happened;
        let more = match &self.happened {
            Happened::Upsert { value, .. } => value.len(),
            Happened::Delete { reason, .. } => reason.as_ref().map_or(0, |reason| reason.len()),
            Happened::Touch { .. } | Happened::Expire { .. } => 0,
        };
        size_of::<(Position, Self)>() + self.key.len() + more
    }
}
