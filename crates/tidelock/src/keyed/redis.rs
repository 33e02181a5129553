//! Keyed stores on Redis. Changes share trips, and so do gets; everything else is one script call per request.

mod get;
mod look;
mod stored;
#[cfg(test)]
mod tests;
mod trip;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::get::Gets;
use self::trip::{Changes, Request};
use super::store::{
    Change, Changed, Get, KeyedStore, List, Listing, Object, Places, Read, RecordView, Span, StatsView,
};
use crate::backend::redis::Object as Used;
use crate::backend::redis::{Carrier, Home, Objects, Place, Server, Wakeable};
use crate::bell::Bell;
use crate::error::Result;
use crate::runtime::BoxFuture;

/// The key suffixes of an object, in the order of the scripts' KEYS.
const PARTS: [&str; 10] =
    ["record", "states", "values", "names", "deadlines", "expired", "buried", "log", "touches", "parked"];

/// All keyed stores that this process uses on the server.
#[derive(Debug)]
pub(crate) struct RedisKeyed {
    objects: Objects<Object, Remote>,
}

/// One object on the server.
#[derive(Debug)]
struct Remote {
    site: Arc<Site>,
    changes: Arc<Changes>,
    gets: Arc<Gets>,
}

/// The location of an object.
#[derive(Debug)]
struct Site {
    /// Its `next` is never later than any deadline that the server reported since the last sweep.
    home: Home,
    bell: Arc<Bell>,
}

impl RedisKeyed {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { objects: Objects::new(server) }
    }

    /// The object with that name. Using an object keeps it in the regular sweep.
    fn remote(&self, object: &Object) -> Arc<Remote> {
        self.objects.get(object, Remote::new)
    }

    /// Runs a query in a script call of its own.
    fn show<T: 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        object: &Object,
        show: impl FnOnce(Arc<Site>) -> F,
    ) -> BoxFuture<'static, Result<T>> {
        Box::pin(show(Arc::clone(&self.remote(object).site)))
    }
}

impl Remote {
    fn new(server: &Arc<Server>, object: &Object) -> Arc<Self> {
        let place = Place::of(object.kind.word(), &object.address, None);
        let home = Home::new(server, place, &PARTS).of_kind(object.kind.word());
        let site = Arc::new(Site { home, bell: Arc::default() });
        site.home.wake(&site);
        Arc::new(Self { changes: Changes::new(&site), gets: Gets::new(&site), site })
    }
}

impl Site {
    /// Replies arrive in any order, so no reply may postpone an earlier deadline: only a sweep does.
    fn told_next(&self, next: u64) {
        let earlier = |known| (next != 0 && (known == 0 || next < known)).then_some(next);
        let _ = self.home.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }
}

impl Wakeable for Site {
    fn woken(&self, _detail: &[u8]) {
        self.bell.ring();
    }

    fn reset(&self) {
        self.bell.ring();
    }
}

impl Used for Remote {
    fn home(&self) -> &Home {
        &self.site.home
    }

    fn is_waited_for(&self) -> bool {
        Arc::strong_count(&self.site.bell) > 1
    }

    async fn sweep(self: Arc<Self>) -> Result<()> {
        self.site.sweep().await
    }
}

impl KeyedStore for RedisKeyed {
    fn change(&self, object: &Object, change: Change) -> BoxFuture<'static, Result<Changed>> {
        self.remote(object).changes.ask(|reply| Request::Change { change, reply })
    }

    fn get(&self, object: &Object, get: Get) -> BoxFuture<'static, Result<Option<RecordView>>> {
        self.remote(object).gets.ask(|reply| get::Request { get, reply })
    }

    fn list(&self, object: &Object, list: List) -> BoxFuture<'static, Result<Listing>> {
        self.show(object, |site| async move { site.list(&list).await })
    }

    fn stats(&self, object: &Object) -> BoxFuture<'static, Result<StatsView>> {
        self.show(object, |site| async move { site.stats().await })
    }

    fn places(&self, object: &Object) -> BoxFuture<'static, Result<Places>> {
        self.show(object, |site| async move { site.places().await })
    }

    fn read(&self, object: &Object, read: Read) -> BoxFuture<'static, Result<Span>> {
        self.show(object, |site| async move { site.read(&read).await })
    }

    fn delete(&self, object: &Object) -> BoxFuture<'static, Result<bool>> {
        self.remote(object).changes.ask(|reply| Request::Delete { reply })
    }

    fn bell(&self, object: &Object) -> Arc<Bell> {
        Arc::clone(&self.remote(object).site.bell)
    }
}
