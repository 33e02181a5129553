//! What a process hears of one object of jobs: work, the end of runs that it has, and news of jobs that it watches.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::bell::Bell;

/// A run of this process that can be told that its job was cancelled.
pub(crate) trait Cancellable: Send + Sync {
    /// The job was cancelled. Must not block.
    fn cancelled(&self);
}

/// What a backend tells. One per object and process, alive while somebody holds it.
#[derive(Default)]
pub(crate) struct Ears {
    /// Rings when this process should claim again.
    pub(crate) work: Arc<Bell>,
    /// Runs of this process, by fence.
    runs: Mutex<HashMap<u64, Weak<dyn Cancellable>>>,
    /// Jobs that somebody here watches, by id.
    watched: Mutex<HashMap<u64, Weak<Bell>>>,
}

/// Something that a backend tells a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// There may be work.
    Work,
    /// The job of the run with this fence was cancelled.
    Cancelled(u64),
    /// Something happened to the job with this id.
    Happened(u64),
}

impl Ears {
    /// Hands news to whom it concerns.
    pub(crate) fn hear(&self, news: News) {
        match news {
            News::Work => self.work.ring(),
            News::Cancelled(fence) => {
                let run = lock(&self.runs).get(&fence).and_then(Weak::upgrade);
                if let Some(run) = run {
                    run.cancelled();
                }
            }
            News::Happened(id) => {
                let bell = lock(&self.watched).get(&id).and_then(Weak::upgrade);
                if let Some(bell) = bell {
                    bell.rung.notify_waiters();
                    bell.ring();
                }
            }
        }
    }

    /// News may have been lost: everybody looks.
    pub(crate) fn reset(&self) {
        self.work.ring();
        let bells: Vec<_> = lock(&self.watched).values().filter_map(Weak::upgrade).collect();
        for bell in bells {
            bell.rung.notify_waiters();
            bell.ring();
        }
    }

    /// Whether somebody in this process waits for something of the object.
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.work) > 1
            || lock(&self.watched).values().any(|bell| bell.strong_count() > 0)
            || lock(&self.runs).values().any(|run| run.strong_count() > 0)
    }

    /// From now on the run with this fence is told of a cancel, while it lives.
    pub(crate) fn listen(&self, fence: u64, run: Weak<dyn Cancellable>) {
        lock(&self.runs).insert(fence, run);
    }

    /// The run has ended.
    pub(crate) fn forget(&self, fence: u64) {
        lock(&self.runs).remove(&fence);
    }

    /// What rings when something happens to the job. All that watch it in this process share one.
    pub(crate) fn watch(&self, id: u64) -> Arc<Bell> {
        let mut watched = lock(&self.watched);
        if let Some(bell) = watched.get(&id).and_then(Weak::upgrade) {
            return bell;
        }
        if watched.len().is_power_of_two() {
            // What is watched no more goes each time their number has doubled.
            watched.retain(|_, bell| bell.strong_count() > 0);
        }
        let bell = Arc::<Bell>::default();
        watched.insert(id, Arc::downgrade(&bell));
        bell
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}

impl fmt::Debug for Ears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, watched) = (lock(&self.runs).len(), lock(&self.watched).len());
        f.debug_struct("Ears").field("runs", &runs).field("watched", &watched).finish_non_exhaustive()
    }
}
