//! Following the changes of an object.

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::FutureExt;
use futures_util::future::FusedFuture;

use super::cursor::Cursor;
use super::event::{Event, EventKind};
use super::handle::Handle;
use super::key::check_key;
use super::observe::{self, Counter};
use super::site::{Call, ChangeLog, Gap, Site};
use super::store::{EventView, Position};
use crate::check;
use crate::codec::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::follow::{self, Next, within};
use crate::request::{awaitable, opaque};
use crate::runtime::{self, BoxFuture};
use crate::time::{SECOND, TEN_YEARS, Timestamp};

#[cfg(target_family = "wasm")]
mod line;

const CALL: Call<'_> = Call { name: "follow", key: None };

/// Which keys are followed.
#[derive(Clone, Debug, Default)]
enum Filter {
    #[default]
    All,
    Key(Arc<str>),
    Prefix(Arc<str>),
    /// Both were set, which is an error when the request is awaited. Setting the same kind twice replaces the first
    /// value, as with all options.
    Both,
}

impl Filter {
    fn matches(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Key(wanted) => **wanted == *key,
            Self::Prefix(prefix) => key.starts_with(&**prefix),
            Self::Both => false,
        }
    }
}

/// Where following starts.
#[derive(Clone, Debug, Default)]
enum From {
    #[default]
    Now,
    Start,
    After(Cursor),
    /// Both were set, which is an error when the request is awaited.
    Both,
}

/// Starts to follow changes. Resolves to a [`Follower`].
///
/// Its position is fixed before the future resolves: after the given cursor, before the oldest change that can be read,
/// or now. Dropping the future does nothing.
#[must_use = "nothing is followed until it is awaited"]
pub struct Follow<T> {
    handle: Handle<T>,
    filter: Filter,
    from: From,
    until: Option<BoxFuture<'static, ()>>,
}

impl<T: Value> Follow<T> {
    pub(crate) fn new(handle: &Handle<T>) -> Self {
        Self { handle: handle.clone(), filter: Filter::All, from: From::Now, until: None }
    }

    /// Only changes of this key.
    pub fn key(mut self, key: &str) -> Self {
        let fits = matches!(self.filter, Filter::All | Filter::Key(_));
        self.filter = if fits { Filter::Key(key.into()) } else { Filter::Both };
        self
    }

    /// Only changes of keys with this prefix: for a registry a path that ends in `/`, for an ephemeral store any text.
    /// An empty one means all.
    pub fn prefix(mut self, prefix: &str) -> Self {
        let fits = matches!(self.filter, Filter::All | Filter::Prefix(_));
        self.filter = if fits { Filter::Prefix(prefix.into()) } else { Filter::Both };
        self
    }

    /// Changes after this position.
    pub fn after(mut self, cursor: impl Borrow<Cursor>) -> Self {
        let after = || From::After(cursor.borrow().clone());
        self.from = if matches!(self.from, From::Now | From::After(_)) { after() } else { From::Both };
        self
    }

    /// All changes that can still be read, and then new ones.
    pub fn from_start(mut self) -> Self {
        self.from = if matches!(self.from, From::Now | From::Start) { From::Start } else { From::Both };
        self
    }

    /// Stops following when `stop` resolves: the stream ends, and `recv` returns `None`.
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Some(Box::pin(stop));
        self
    }

    async fn run(self) -> Result<Follower<T>> {
        let Self { handle, filter, from, until } = self;
        let site = &handle.site;
        site.check_beginning(&CALL)?;
        match &filter {
            Filter::All => {}
            Filter::Key(key) => check_key(handle.kind(), "key", key).map_err(|error| site.context(&CALL, error))?,
            Filter::Prefix(prefix) => handle.check_prefix(&CALL, prefix)?,
            Filter::Both => {
                return Err(handle.argument(&CALL, "key and prefix exclude each other, but both were given"));
            }
        }
        let position = match from {
            From::After(cursor) => {
                cursor.within(site.owner, &site.object).map_err(|error| site.context(&CALL, error))?
            }
            From::Both => {
                return Err(handle.argument(&CALL, "after and from_start exclude each other, but both were given"));
            }
            From::Now | From::Start => {
                let places = observe::within(observe::span(site, &CALL), site.store.places(&site.object)).await;
                let places = places.map_err(|error| site.context(&CALL, error))?;
                if matches!(from, From::Now) { places.latest } else { places.first }
            }
        };
        let place = Arc::new(Mutex::new(position));
        let inner =
            Inner { log: site.hub().follow(position), handle: handle.clone(), filter, place: Arc::clone(&place) };
        Ok(Follower {
            handle,
            inner: Arc::new(tokio::sync::Mutex::new(inner)),
            place,
            until,
            busy: None,
            failed: false,
            ended: false,
        })
    }
}

/// Follows the changes of an object: all of them, or those of a key or prefix, in order of their revisions, each once.
///
/// It is also a [`Stream`] of `Result<Event<T>>`. It survives outages without a gap, and reports changes that it can no
/// longer get as one [`Overflow`](EventKind::Overflow). An `Err` is an error that waiting does not cure; the stream
/// repeats it every second for as long as it lasts, and continues when it is over. Only a shutdown ends it. All
/// followers of an object in one process share one read of its log; a slow one holds up nobody.
///
/// Dropping it ends it.
#[must_use = "dropping it ends the following"]
pub struct Follower<T> {
    handle: Handle<T>,
    inner: Arc<tokio::sync::Mutex<Inner<T>>>,
    /// The position of `inner`, readable while `inner` is locked.
    place: Arc<Mutex<Position>>,
    until: Option<BoxFuture<'static, ()>>,
    /// A poll of the stream that is in progress. Dropping it loses nothing.
    busy: Option<BoxFuture<'static, Result<Event<T>>>>,
    /// The last item of the stream was an error: wait briefly before the next read.
    failed: bool,
    ended: bool,
}

struct Inner<T> {
    log: follow::Follower<ChangeLog>,
    handle: Handle<T>,
    filter: Filter,
    place: Arc<Mutex<Position>>,
}

impl<T: Value> Follower<T> {
    /// Waits for the next change. Resolves to `Option<Event<T>>`: `None` means that there was none before the end of
    /// the wait, or that it was told to stop; a broken connection is an error.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv { follower: self, wait: Some(30 * SECOND) }
    }

    /// Takes the next change, if there is one now. Resolves to `Option<Event<T>>`.
    pub fn try_recv(&mut self) -> TryRecv<'_, T> {
        TryRecv { follower: self }
    }

    /// Whether the follower has been told to stop.
    fn is_stopped(&mut self) -> bool {
        if !self.ended && self.until.as_mut().is_some_and(|until| until.now_or_never().is_some()) {
            self.ended = true;
        }
        self.ended
    }

    async fn receive(&mut self, wait: Option<Duration>) -> Result<Option<Event<T>>> {
        let clock = self.handle.site.world.clock.clone();
        let end = wait.map(|wait| clock.tick().plus(wait));
        if self.is_stopped() {
            return Ok(None);
        }
        self.busy = None;
        let Self { inner, until, ended, .. } = self;
        let stop = runtime::or_never(until.as_mut());
        let over = runtime::or_never(end.map(|end| clock.sleep_until(end)));
        let mut inner = inner.lock().await;
        tokio::select! {
            biased;
            () = stop => {
                *ended = true;
                Ok(None)
            }
            received = inner.next_within(over) => received,
        }
    }

    async fn receive_now(&mut self) -> Result<Option<Event<T>>> {
        if self.is_stopped() {
            return Ok(None);
        }
        self.busy = None;
        self.inner.lock().await.next_now().await
    }
}

impl<T> Follower<T> {
    /// The position after everything that was delivered or skipped: follow from here later, and nothing is missed.
    ///
    /// A follower of a key or prefix skips all other changes, so this can be ahead of the cursor of its last event.
    pub fn cursor(&self) -> Cursor {
        self.handle.site.cursor(*lock(&self.place))
    }
}

fn lock(place: &Mutex<Position>) -> MutexGuard<'_, Position> {
    place.lock().expect("no code panics while it holds this lock")
}

impl<T: Value> Inner<T> {
    /// Waits for the next matching event. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Event<T>> {
        loop {
            let next = self.log.next().await.map_err(|error| self.handle.site.context(&CALL, error))?;
            if let Some(event) = self.take(next) {
                return Ok(event);
            }
        }
    }

    async fn next_within(&mut self, over: impl Future<Output = ()>) -> Result<Option<Event<T>>> {
        let mut over = pin!(over.fuse());
        for passed in 1_u64.. {
            let next = within(&mut self.log, over.as_mut()).await;
            let Some(next) = next.map_err(|error| self.handle.site.context(&CALL, error))? else { return Ok(None) };
            if let Some(event) = self.take(next) {
                return Ok(Some(event));
            }
            // Events that do not match must not extend the wait.
            if over.is_terminated() || (passed.is_multiple_of(64) && over.as_mut().now_or_never().is_some()) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    async fn next_now(&mut self) -> Result<Option<Event<T>>> {
        loop {
            let next = self.log.try_next().await.map_err(|error| self.handle.site.context(&CALL, error))?;
            let Some(next) = next else { return Ok(None) };
            if let Some(event) = self.take(next) {
                return Ok(Some(event));
            }
        }
    }

    /// Advances the position. Returns the event if it matches.
    fn take(&self, next: Next<ChangeLog>) -> Option<Event<T>> {
        *lock(&self.place) = *self.log.position();
        match next {
            Next::Gap(part) => part.gap.as_ref().map(|(behind, gap)| overflow(&self.handle.site, *behind, *gap)),
            Next::Event(part, at) => {
                let (behind, event) = &part.events[at];
                self.filter.matches(&event.key).then(|| self.open(*behind, event))
            }
        }
    }

    fn open(&self, behind: Position, event: &EventView) -> Event<T> {
        let site = &self.handle.site;
        let kind = EventKind::new(&self.handle.options.border, event);
        if let EventKind::Undecodable { key, version, error, .. } = &kind {
            observe::undecodable(site, key, version.0, error);
        }
        observe::count(site, Counter::Events, 1);
        Event { revision: event.revision, cursor: site.cursor(behind), at: Timestamp::from_millis(event.at), kind }
    }
}

fn overflow<T>(site: &Site, behind: Position, gap: Gap) -> Event<T> {
    observe::count(site, Counter::Overflows, 1);
    let kind = EventKind::Overflow { after: site.cursor(gap.after), first_available: site.cursor(gap.first_available) };
    // A revision is never less than its instant in microseconds.
    let at = Timestamp::from_millis(behind.revision / 1_000);
    Event { revision: behind.revision, cursor: site.cursor(behind), at, kind }
}

impl<T: Value> Stream for Follower<T> {
    type Item = Result<Event<T>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if !this.ended && this.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready()) {
            this.ended = true;
        }
        if this.ended {
            this.busy = None;
            return Poll::Ready(None);
        }
        let busy = this.busy.get_or_insert_with(|| {
            let (inner, pauses) = (Arc::clone(&this.inner), this.failed);
            Box::pin(async move {
                if pauses {
                    runtime::sleep(SECOND).await;
                }
                inner.lock().await.next().await
            })
        });
        let next = ready!(busy.as_mut().poll(context));
        (this.busy, this.failed) = (None, next.is_err());
        if next.as_ref().is_err_and(|error| error.kind() == ErrorKind::ShuttingDown) {
            this.ended = true;
        }
        Poll::Ready(Some(next))
    }
}

impl<T> fmt::Debug for Follower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("site", &self.handle.site)
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}

/// Waits for the next change; created by [`Follower::recv`].
///
/// Dropping the future loses nothing: the next call returns what this one would have returned.
#[must_use = "nothing is received until it is awaited"]
pub struct Recv<'a, T> {
    follower: &'a mut Follower<T>,
    /// `None`: no limit.
    wait: Option<Duration>,
}

impl<T: Value> Recv<'_, T> {
    /// The longest wait: 0..=10 years, default 30 s. With 0 it takes only what is available now.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Waits until there is a change.
    pub fn forever(mut self) -> Self {
        self.wait = None;
        self
    }

    async fn run(self) -> Result<Option<Event<T>>> {
        let call = Call::whole("recv");
        if let Some(wait) = self.wait {
            let checked = check::range(Error::argument, "wait", wait, Duration::ZERO, TEN_YEARS);
            checked.map_err(|error| self.follower.handle.site.context(&call, error))?;
            if wait.is_zero() {
                return self.follower.receive_now().await;
            }
        }
        self.follower.receive(self.wait).await
    }
}

/// Takes the next change if there is one now; created by [`Follower::try_recv`].
///
/// Dropping the future loses nothing.
#[must_use = "nothing is received until it is awaited"]
pub struct TryRecv<'a, T> {
    follower: &'a mut Follower<T>,
}

impl<'a, T: Value> IntoFuture for Recv<'a, T> {
    type Output = Result<Option<Event<T>>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<'a, T: Value> IntoFuture for TryRecv<'a, T> {
    type Output = Result<Option<Event<T>>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.follower.receive_now())
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for TryRecv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryRecv").finish_non_exhaustive()
    }
}

awaitable! {
    Follow<T> => Follower<T>;
}

opaque!(Follow);
