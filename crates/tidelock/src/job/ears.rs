//! What a process hears about one object of jobs: new work, the end of its runs, and news of jobs that it watches.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use super::stop::StopReason;
use crate::bell::Bell;
use crate::hash::HashMap;
use crate::time::Tick;

/// A run of this process that can be told that it is over.
pub(crate) trait Cancellable: Send + Sync {
    /// The run is over, because the job was cancelled or the lease has ended. Must not block.
    fn over(&self, reason: StopReason);
    /// News of it may have been lost, so it must ask the backend. Must not block.
    #[cfg(all(feature = "redis", not(target_family = "wasm")))]
    fn ask(&self);
}

/// How many ends of runs are kept for which nobody listens yet: news may arrive before the answer of the claim.
const EARLY_ENDS: usize = 256;

/// The callers in this process that wait for the end of one job.
#[derive(Debug, Default)]
pub(crate) struct Joint {
    /// Something happened to the job, so all of them must query it.
    pub(crate) news: Notify,
    /// When the first of them to get there checks for lost news on behalf of all.
    pub(crate) next_check: Mutex<Option<Tick>>,
}

/// Runs of this process, by fence.
#[derive(Default)]
struct Runs {
    listening: HashMap<u64, Weak<dyn Cancellable>>,
    /// Runs that were over before anybody listened, the newest last.
    early: VecDeque<(u64, StopReason)>,
}

/// News from a backend. There is one per object and process, alive while somebody holds it.
#[derive(Default)]
pub(crate) struct Ears {
    /// Rings when this process should claim again.
    pub(crate) work: Arc<Bell>,
    runs: Mutex<Runs>,
    /// By job id: one bell for each reader of the job's events in this process.
    watched: Mutex<HashMap<u64, Vec<Weak<Bell>>>>,
    /// Jobs that somebody in this process joins, by id.
    joined: Mutex<HashMap<u64, Weak<Joint>>>,
}

/// News that a backend sends to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// There may be work.
    Work,
    /// The job of the run with this fence was cancelled.
    Cancelled(u64),
    /// The lease of the run with this fence has ended. Sent only if the lease is the limit of its run.
    Lapsed(u64),
    /// Something happened to the job with this id.
    Happened(u64),
}

impl Ears {
    /// Passes news on to those that it concerns.
    pub(crate) fn hear(&self, news: News) {
        match news {
            News::Work => self.work.ring(),
            News::Cancelled(fence) => self.run_over(fence, StopReason::Cancelled),
            News::Lapsed(fence) => self.run_over(fence, StopReason::LeaseLost),
            News::Happened(id) => {
                let bells: Vec<_> =
                    lock(&self.watched).get(&id).into_iter().flatten().filter_map(Weak::upgrade).collect();
                for bell in bells {
                    bell.ring();
                }
                let joint = lock(&self.joined).get(&id).and_then(Weak::upgrade);
                if let Some(joint) = joint {
                    joint.news.notify_waiters();
                }
            }
        }
    }

    fn run_over(&self, fence: u64, reason: StopReason) {
        let mut runs = lock(&self.runs);
        let run = runs.listening.get(&fence).and_then(Weak::upgrade);
        if run.is_none() {
            if runs.early.len() == EARLY_ENDS {
                runs.early.pop_front();
            }
            runs.early.push_back((fence, reason));
        }
        drop(runs);
        if let Some(run) = run {
            run.over(reason);
        }
    }

    /// News may have been lost, so everybody must query.
    #[cfg(all(feature = "redis", not(target_family = "wasm")))]
    pub(crate) fn reset(&self) {
        self.work.ring();
        let bells: Vec<_> = lock(&self.watched).values().flatten().filter_map(Weak::upgrade).collect();
        for bell in bells {
            bell.ring();
        }
        let joints: Vec<_> = lock(&self.joined).values().filter_map(Weak::upgrade).collect();
        for joint in joints {
            joint.news.notify_waiters();
        }
        let runs: Vec<_> = lock(&self.runs).listening.values().filter_map(Weak::upgrade).collect();
        for run in runs {
            run.ask();
        }
    }

    /// Whether anybody in this process waits for something of the object.
    #[cfg(all(feature = "redis", not(target_family = "wasm")))]
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.work) > 1
            || lock(&self.watched).values().flatten().any(|bell| bell.strong_count() > 0)
            || lock(&self.joined).values().any(|joint| joint.strong_count() > 0)
            || lock(&self.runs).listening.values().any(|run| run.strong_count() > 0)
    }

    /// From now on the run with this fence is told of its end, while it is alive.
    pub(crate) fn listen(&self, fence: u64, run: Weak<dyn Cancellable>) {
        let mut runs = lock(&self.runs);
        let early = runs.early.iter().position(|(over, _)| *over == fence);
        if let Some((_, reason)) = early.and_then(|at| runs.early.remove(at)) {
            drop(runs);
            if let Some(run) = run.upgrade() {
                run.over(reason);
            }
            return;
        }
        runs.listening.insert(fence, run);
    }

    /// The run has ended.
    pub(crate) fn forget(&self, fence: u64) {
        lock(&self.runs).listening.remove(&fence);
    }

    /// A bell that rings when something happens to the job, for one reader of its events: either for all followers in
    /// this process, or for those of one group.
    pub(crate) fn watch(&self, id: u64) -> Arc<Bell> {
        let mut watched = lock(&self.watched);
        if watched.len().is_power_of_two() {
            // Unused entries are removed each time the number of entries has doubled.
            watched.retain(|_, bells| bells.iter().any(|bell| bell.strong_count() > 0));
        }
        let bell = Arc::<Bell>::default();
        let bells = watched.entry(id).or_default();
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(&bell));
        bell
    }

    /// The meeting point of all that wait for the end of the job in this process.
    pub(crate) fn join(&self, id: u64) -> Arc<Joint> {
        shared(&self.joined, id)
    }
}

/// The value of a job, shared as long as anybody holds it.
fn shared<T: Default>(by_job: &Mutex<HashMap<u64, Weak<T>>>, id: u64) -> Arc<T> {
    let mut by_job = lock(by_job);
    if let Some(value) = by_job.get(&id).and_then(Weak::upgrade) {
        return value;
    }
    if by_job.len().is_power_of_two() {
        // Unused entries are removed each time the number of entries has doubled.
        by_job.retain(|_, value| value.strong_count() > 0);
    }
    let value = Arc::<T>::default();
    by_job.insert(id, Arc::downgrade(&value));
    value
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}

impl fmt::Debug for Ears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, watched) = (lock(&self.runs).listening.len(), lock(&self.watched).len());
        f.debug_struct("Ears").field("runs", &runs).field("watched", &watched).finish_non_exhaustive()
    }
}
