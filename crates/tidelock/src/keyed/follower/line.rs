//! For bindings: followers that several calls use at once, and positions by their revision.

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
    /// Follows the changes after the position with this revision.
    pub(crate) fn after_revision(mut self, revision: u64) -> Self {
        let cursor = self.handle.site.cursor(Position { incarnation: 0, revision, event: 0 });
        self.from = From::After(cursor);
        self
    }
}

impl<T: Value> Follower<T> {
    /// Waits for the next change, queued behind all other such calls. `None`: no limit.
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

    /// The next change that is available now and that no queued call gets first.
    fn recv_behind_line(&self) -> BoxFuture<'static, Result<Option<Event<T>>>> {
        let (inner, place) = (Arc::clone(&self.inner), Arc::clone(&self.place));
        let (store, object) = (Arc::clone(&self.handle.site.store), self.handle.site.object.clone());
        Box::pin(async move {
            loop {
                if let Ok(mut inner) = inner.try_lock() {
                    return inner.next_now().await;
                }
                // Carries out what is overdue and so wakes the queued calls, which advance the position.
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
