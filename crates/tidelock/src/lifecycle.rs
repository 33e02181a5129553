//! Open, closing, closed: how `shutdown` reaches everything made from one `Tidelock`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared as SharedFuture;
use serde::Serialize;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, watch};

use crate::error::{Error, Result};
use crate::hash::HashMap;
use crate::name;
use crate::opaque::opaque;
use crate::runtime::{self, BoxFuture};
use crate::time::{Clock, SECOND, Tick};

/// Something that was still held when a shutdown's grace was over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Left {
    /// The kind of thing: `worker`, `delivery`, `lock`, ….
    pub kind: &'static str,
    /// The id of its object.
    pub object: String,
    /// How many of them.
    pub count: usize,
}

/// How a shutdown ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// What was not finished by the end of the grace; empty after a clean shutdown.
    pub left: Vec<Left>,
}

impl ShutdownReport {
    /// Whether everything was finished in time.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closing(Tick),
    Closed,
}

/// Shared by a `Tidelock`, its clones and everything made from them.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    phase: watch::Sender<Phase>,
    /// Whether the phase is no longer `Open`, and whether it is `Closed`: checked by every call, without a lock.
    is_closing: AtomicBool,
    is_closed: AtomicBool,
    /// Notified when the phase leaves `Open`, for callers that need a nameable future.
    closing: Arc<Notify>,
    next: AtomicU64,
    held: Mutex<HashMap<u64, Held>>,
    released: Notify,
    /// What every call of `shutdown` awaits before the backend is dropped.
    giving_back: Mutex<Option<GivingBack>>,
}

type GivingBack = SharedFuture<BoxFuture<'static, ()>>;

#[derive(Debug)]
struct Held {
    kind: &'static str,
    object: Arc<str>,
    at_close: Option<Arc<dyn GiveBack>>,
}

/// Something held that a shutdown gives back when its grace period ends.
pub(crate) trait GiveBack: Send + Sync {
    /// Gives it back. The backend is dropped when this completes, or after a second.
    fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

opaque!(GiveBack);

impl Lifecycle {
    pub(crate) fn new(clock: Clock) -> Self {
        let phase = watch::Sender::new(Phase::Open);
        let (is_closing, is_closed, closing) = Default::default();
        let (next, held, released, giving_back) = Default::default();
        let shared = Shared { clock, phase, is_closing, is_closed, closing, next, held, released, giving_back };
        Self { shared: Arc::new(shared) }
    }

    /// Rejects new work once a shutdown has begun.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_closing() { Err(Error::shut_down()) } else { Ok(()) }
    }

    /// Rejects every call after a shutdown has finished. Until then, held things may be settled.
    pub(crate) fn check_not_closed(&self) -> Result<()> {
        if self.is_closed() { Err(Error::shut_down()) } else { Ok(()) }
    }

    /// Whether a shutdown has finished.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Resolves when a shutdown begins.
    pub(crate) async fn closing(&self) {
        self.reached(|phase| *phase != Phase::Open).await;
    }

    /// Whether a shutdown has begun.
    pub(crate) fn is_closing(&self) -> bool {
        self.shared.is_closing.load(Ordering::Acquire)
    }

    /// Resolves when a shutdown begins after this call. Hand-written futures can store it without boxing.
    pub(crate) fn notice(&self) -> OwnedNotified {
        Arc::clone(&self.shared.closing).notified_owned()
    }

    /// Resolves when the grace period of a shutdown ends: whatever still runs has to end now.
    pub(crate) async fn closed(&self) {
        self.reached(|phase| *phase == Phase::Closed).await;
    }

    async fn reached(&self, test: impl FnMut(&Phase) -> bool) {
        let mut receiver = self.shared.phase.subscribe();
        // The sender lives as long as `self`, so only the phase can end the wait.
        let _ = receiver.wait_for(test).await;
    }

    /// The end of the grace period, while a shutdown is running.
    pub(crate) fn deadline(&self) -> Option<Tick> {
        match *self.shared.phase.borrow() {
            Phase::Closing(deadline) => Some(deadline),
            Phase::Open | Phase::Closed => None,
        }
    }

    /// Registers something that a shutdown waits for, until the returned value is dropped.
    pub(crate) fn hold(&self, kind: &'static str, object: &Arc<str>) -> Hold {
        self.register(Held { kind, object: Arc::clone(object), at_close: None })
    }

    /// As [`hold`](Self::hold), for something that is given back if the grace period ends first.
    pub(crate) fn hold_until_closed(&self, kind: &'static str, object: &Arc<str>, held: Arc<dyn GiveBack>) -> Hold {
        self.register(Held { kind, object: Arc::clone(object), at_close: Some(held) })
    }

    fn register(&self, held: Held) -> Hold {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, held);
        Hold { id, lifecycle: self.clone() }
    }

    /// Begins to close, waits up to `grace` for everything held, and reports what was left.
    pub(crate) async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let deadline = self.shared.clock.tick().plus(grace);
        self.shared.phase.send_modify(|phase| {
            // Set together with the phase, so that whoever observes one observes the other.
            self.shared.is_closing.store(true, Ordering::Release);
            *phase = match *phase {
                Phase::Open => Phase::Closing(deadline),
                Phase::Closing(earlier) => Phase::Closing(earlier.min(deadline)),
                Phase::Closed => Phase::Closed,
            };
        });
        self.shared.closing.notify_waiters();
        tokio::select! {
            biased;
            () = self.drained() => {}
            () = self.shared.clock.sleep_until(deadline) => {}
            () = self.closed() => {}
        }
        self.shared.phase.send_modify(|phase| {
            self.shared.is_closed.store(true, Ordering::Release);
            *phase = Phase::Closed;
        });
        let report = self.report();
        self.give_back().await;
        report
    }

    /// Gives back what is still held, taking at most a second of real time. Concurrent calls share the future, so none
    /// returns early.
    fn give_back(&self) -> GivingBack {
        let mut giving_back = self.shared.giving_back.lock().expect("no code panics while it holds this lock");
        let left: Vec<_> = self.lock().values_mut().filter_map(|held| held.at_close.take()).collect();
        if let Some(begun) = giving_back.as_ref().filter(|_| left.is_empty()) {
            return begun.clone();
        }
        let begun = giving_back.take();
        let left = left.into_iter().map(GiveBack::give_back);
        let all = async move {
            let all = futures_util::future::join_all(begun.into_iter().map(FutureExt::boxed).chain(left));
            tokio::select! {
                biased;
                _ = all => {}
                () = runtime::sleep(SECOND) => {}
            }
        };
        let all = (Box::pin(all) as BoxFuture<'static, ()>).shared();
        giving_back.insert(all).clone()
    }

    async fn drained(&self) {
        loop {
            let released = self.shared.released.notified();
            if self.lock().is_empty() {
                return;
            }
            released.await;
        }
    }

    fn report(&self) -> ShutdownReport {
        let mut counts: BTreeMap<(&'static str, Arc<str>), usize> = BTreeMap::new();
        for held in self.lock().values() {
            *counts.entry((held.kind, Arc::clone(&held.object))).or_default() += 1;
        }
        let left = counts.into_iter().map(|((kind, object), count)| Left { kind, object: name::shown(&object), count });
        ShutdownReport { left: left.collect() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Held>> {
        self.shared.held.lock().expect("no code panics while it holds this lock")
    }
}

/// Something that a shutdown waits for.
#[derive(Debug)]
pub(crate) struct Hold {
    id: u64,
    lifecycle: Lifecycle,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.lifecycle.lock().remove(&self.id);
        // Before a shutdown nobody waits. A later waiter sees the removal, since both take the lock; and its
        // `notified()` future exists before its check, so a wake-up in between is not lost.
        if self.lifecycle.is_closing() {
            self.lifecycle.shared.released.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// Completes giving back only when the test permits.
    #[derive(Debug)]
    struct Slow(Semaphore);

    impl GiveBack for Slow {
        fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
            Box::pin(async move { drop(self.0.acquire().await) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_shutdown_ends_before_everything_is_given_back() {
        for is_first_dropped in [false, true] {
            let lifecycle = Lifecycle::new(Clock::System);
            let slow = Arc::new(Slow(Semaphore::new(0)));
            let _hold = lifecycle.hold_until_closed("delivery", &"q".into(), Arc::clone(&slow) as Arc<dyn GiveBack>);
            let mut first = Box::pin(lifecycle.shutdown(Duration::ZERO));
            assert!(first.as_mut().now_or_never().is_none());
            let mut second = Box::pin(lifecycle.shutdown(Duration::ZERO));
            assert!(second.as_mut().now_or_never().is_none(), "it is being given back");
            if is_first_dropped {
                drop(first);
                assert!(second.as_mut().now_or_never().is_none(), "it goes on");
            }
            slow.0.add_permits(1);
            second.await;
            assert_eq!(slow.0.available_permits(), 1, "it was given back");
        }
    }
}
