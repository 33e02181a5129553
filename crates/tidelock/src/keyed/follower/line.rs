//! For bindings: followers that several calls use at once, and places by their numbers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::super::event::Event;
use super::super::store::{Position, Read};
use super::{Follow, Follower, From, lock};
use crate::codec::Value;
use crate::error::Result;
use crate::runtime::{BoxFuture, or_never, yield_now};

impl<T: Value> Follow<T> {
    /// Changes behind the place with this number.
    pub(crate) fn after_revision(mut self, revision: u64) -> Self {
        let cursor = self.handle.site.cursor(Position { incarnation: 0, revision, event: 0 });
        self.from = From::After(cursor);
        self
    }
}

impl<T: Value> Follower<T> {
    /// Waits for the next change, in line with all other such calls. `None`: waits for ever.
    pub(crate) fn recv_in_line(&self, wait: Option<Duration>) -> BoxFuture<'static, Result<Option<Event<T>>>> {
        let clock = self.handle.site.world.clock.clone();
        if wait.is_some_and(|wait| wait.is_zero()) {
            return self.recv_behind_line();
        }
        let end = wait.map(|wait| clock.tick().plus(wait));
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let mut over = pin!(or_never(end.map(|end| clock.sleep_until(end))));
            let mut inner = tokio::select! {
                biased;
                inner = inner.lock_owned() => inner,
                () = over.as_mut() => return Ok(None),
            };
            inner.next_within(over).await
        })
    }

    /// The next change that is there now and that nobody in the line has before.
    fn recv_behind_line(&self) -> BoxFuture<'static, Result<Option<Event<T>>>> {
        let (inner, place) = (Arc::clone(&self.inner), Arc::clone(&self.place));
        let (store, object) = (Arc::clone(&self.handle.site.store), self.handle.site.object.clone());
        Box::pin(async move {
            loop {
                if let Ok(mut inner) = inner.try_lock() {
                    return inner.next_now().await;
                }
                // Carries out what is overdue, and so wakes those in the line; they move the place on.
                let before = *lock(&place);
                store.read(&object, Read { after: before, max: 1, park: false }).await?;
                yield_now().await;
                if *lock(&place) == before && inner.try_lock().is_err() {
                    return Ok(None);
                }
            }
        })
    }
}
