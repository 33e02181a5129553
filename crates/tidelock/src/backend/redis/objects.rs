//! The objects of one primitive that a process uses, and their timed transitions when nobody makes a call.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use super::{Home, Server};
use crate::error::Result;
use crate::hash::HashMap;
use crate::time::{HOUR, SECOND, Tick, Timestamp};

/// This process's client of one object on a server.
pub(crate) trait Object: Send + Sync + 'static {
    fn home(&self) -> &Home;
    /// Whether anybody in this process waits for something of the object.
    fn is_waited_for(&self) -> bool;
    /// The next deadline that the server reported, in ms; 0 for none. The local clock only determines when to ask
    /// again.
    fn next_deadline(&self) -> u64 {
        self.home().next_deadline()
    }
    /// Carries out a bounded part of what is overdue, unless another process did so within the last second.
    fn sweep(self: Arc<Self>) -> impl Future<Output = Result<()>> + Send;
}

/// Objects by name. A process sweeps each object that it used within the last hour or that it waits on.
pub(crate) struct Objects<K, O> {
    server: Arc<Server>,
    known: Arc<Known<K, O>>,
    sweeping: Arc<AtomicBool>,
}

/// Tests with a prefix that begins like this get no sweeps between their steps.
pub(crate) const UNSWEPT: &str = "unswept";

type Known<K, O> = Mutex<HashMap<K, Used<O>>>;

struct Used<O> {
    object: Arc<O>,
    at: Tick,
}

impl<K: Clone + Eq + Hash + Send + 'static, O: Object> Objects<K, O> {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), known: Arc::default(), sweeping: Arc::default() }
    }

    /// The object with this name. Objects in use are swept.
    pub(crate) fn get(&self, name: &K, make: impl FnOnce(&Arc<Server>, &K) -> Arc<O>) -> Arc<O> {
        let at = self.server.clock.tick();
        let object = match lock(&self.known).entry(name.clone()) {
            std::collections::hash_map::Entry::Occupied(mut known) => {
                known.get_mut().at = at;
                Arc::clone(&known.get().object)
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                Arc::clone(&place.insert(Used { object: make(&self.server, name), at }).object)
            }
        };
        self.start();
        object
    }

    /// Starts the sweeping task if it is not running. It runs while there is something to sweep.
    fn start(&self) {
        // Differential tests compare step by step, and it is visible when something was carried out. A sweep between
        // two steps would be a step that the model did not make.
        let is_compared = cfg!(test) && self.server.prefix.starts_with(UNSWEPT);
        if is_compared || self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let (server, known) = (Arc::downgrade(&self.server), Arc::downgrade(&self.known));
        let sweeping = Arc::clone(&self.sweeping);
        let started = self.server.spawner.spawn(async move {
            let mut running = Running { sweeping, ended: false };
            while round(&server, &known, &mut running).await {}
        });
        if !started {
            self.sweeping.store(false, Ordering::Release);
        }
    }
}

fn lock<K, O>(known: &Known<K, O>) -> MutexGuard<'_, HashMap<K, Used<O>>> {
    known.lock().expect("no code panics while it holds this lock")
}

impl<K, O> fmt::Debug for Objects<K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("known", &lock(&self.known).len()).finish_non_exhaustive()
    }
}

/// The sweeping task. Its drop marks it as ended even if its runtime was shut down.
struct Running {
    sweeping: Arc<AtomicBool>,
    ended: bool,
}

impl Running {
    /// Marks the task as ended. After that another one may start, which this one must not mark as ended.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.sweeping.store(false, Ordering::Release);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits about a second, then sweeps what is overdue. Returns `false` if no objects are left.
async fn round<K: Eq + Hash, O: Object>(
    server: &Weak<Server>,
    known: &Weak<Known<K, O>>,
    running: &mut Running,
) -> bool {
    let Some(strong) = server.upgrade() else { return false };
    let (clock, lifecycle) = (strong.clock.clone(), strong.lifecycle.clone());
    drop(strong);
    let pause = SECOND + Duration::from_millis(fastrand::u64(0..500));
    tokio::select! {
        () = clock.sleep(pause) => {}
        () = lifecycle.closed() => return false,
    }
    let Some(known) = known.upgrade() else { return false };
    let (now, tick) = (clock.now(), clock.tick());
    let overdue: Vec<_> = {
        let mut known = lock(&known);
        known.retain(|_, Used { object, at }| {
            let in_use = object.is_waited_for() || Arc::strong_count(object) > 1;
            in_use || tick.since(*at) < HOUR
        });
        known.shrink_to_fit();
        if known.is_empty() {
            // While still holding the lock, so that the caller that adds the next object starts another task.
            running.end();
            return false;
        }
        known.values().map(|used| &used.object).filter(|object| is_overdue(&***object, now)).cloned().collect()
    };
    drop(known);
    let sweeps = overdue.into_iter().map(|object| async {
        let tag = Arc::clone(&object.home().place.tag);
        if let Err(error) = object.sweep().await {
            tracing::debug!(object = %tag, %error, "an object could not be swept");
        }
    });
    futures_util::future::join_all(sweeps).await;
    true
}

fn is_overdue(object: &impl Object, now: Timestamp) -> bool {
    let next = object.next_deadline();
    next != 0 && next <= now.as_millis()
}
