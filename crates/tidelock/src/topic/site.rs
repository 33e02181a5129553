//! One topic in this process: the state that all handles to it share.

use std::sync::Arc;

use super::cursor::Cursor;
use super::follow::Tail;
use super::store::{Begin, Change, Changes, Look, Position, TopicStore, View};
use super::{Start, store};
use crate::counters::Counters;
use crate::cursor::Owner;
use crate::error::{Error, Result};
use crate::follow::Hub;
use crate::name::Address;
use crate::tidelock::World;

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) store: Arc<dyn TopicStore>,
    pub(crate) address: Address,
    /// Identifies the topic in its cursors.
    pub(crate) owner: Owner,
    /// The followers in this process.
    pub(crate) hub: Arc<Hub<Tail>>,
    /// Counts published events.
    pub(super) published: Counters<1>,
}

impl Site {
    /// The topic at `address`, one instance for all handles.
    pub(crate) fn at(world: &Arc<World>, address: &Address) -> Arc<Self> {
        world.topics.get_or_insert(address, || {
            let store = world.backend.topic();
            Arc::new(Self {
                hub: Hub::new(world, Tail::new(&store, address)),
                owner: Owner::of("topic", address),
                address: address.clone(),
                world: Arc::clone(world),
                store,
                published: Counters::new(),
            })
        })
    }

    /// Rejects an invalid address, and any call after the shutdown has finished.
    pub(crate) fn check(&self, operation: &str) -> Result<()> {
        let checked = self.address.check().and_then(|()| self.world.lifecycle.check_not_closed());
        checked.map_err(|error| self.context(operation, error))
    }

    /// Adds the operation and the topic to an error.
    pub(crate) fn context(&self, operation: &str, error: Error) -> Error {
        error.in_context(format_args!("{operation} on topic {:?}", self.address.id))
    }

    pub(crate) fn cursor(&self, position: Position) -> Cursor {
        Cursor::new(self.owner, position)
    }

    /// Converts a start for the store; a cursor of another topic is refused.
    pub(crate) fn begin(&self, start: Start) -> Result<Begin> {
        Ok(match start {
            Start::Earliest => Begin::Earliest,
            Start::Latest => Begin::Latest,
            Start::After(cursor) => Begin::After(cursor.of(self.owner)?),
            Start::At(instant) => Begin::At(instant.as_millis()),
        })
    }

    pub(crate) async fn look(&self, operation: &str, look: Look) -> Result<View> {
        self.check(operation)?;
        self.store.look(&self.address, look).await.map_err(|error| self.context(operation, error))
    }

    /// Makes a change. Exceeding the maximum number of groups is an error.
    pub(crate) async fn change(&self, operation: &str, change: Change) -> Result<Changes> {
        self.check(operation)?;
        let changes = self.store.change(&self.address, change).await;
        match changes.map_err(|error| self.context(operation, error))? {
            Changes::Full => Err(self.context(operation, store::too_many_groups(store::MAX_GROUPS))),
            changes => Ok(changes),
        }
    }

    /// The error for an answer of the backend that does not fit the request.
    pub(crate) fn misfit(&self, operation: &str) -> Error {
        self.context(operation, Error::misfit())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.world.topics.forget(&self.address);
    }
}
