//! What is to be done for the runs of a worker by time: one list in order of time, and one task that nothing holds up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::job::held::Held;
use crate::time::{SECOND, Tick};

/// The runs of a worker by the instant at which something is to be done for them.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<Entries>,
    /// Something is to be done sooner than the task sleeps.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    /// By instant and fence.
    by_time: BTreeMap<(Tick, u64), Arc<Held>>,
    /// Until when the task sleeps; `None`: until it is told.
    asleep_until: Option<Tick>,
    /// Nothing was noted while the task slept.
    quiet: bool,
}

impl Agenda {
    /// Moves a run from one instant to another; `None` is off the list.
    pub(crate) fn note(&self, held: &Arc<Held>, from: Option<Tick>, to: Option<Tick>) {
        let fence = held.run.fence;
        let mut entries = self.lock();
        if let Some(from) = from {
            entries.by_time.remove(&(from, fence));
        }
        let Some(to) = to else { return };
        entries.by_time.insert((to, fence), Arc::clone(held));
        entries.quiet = false;
        if entries.asleep_until.is_none_or(|until| to < until) {
            entries.asleep_until = Some(to);
            drop(entries);
            self.sooner.notify_one();
        }
    }

    /// When something is to be done next, for a task that sleeps until then. While leases are to be proven that is within a
    /// second of `now`, because timers stand still while a machine sleeps. With nothing on the list it is so once more: a worker
    /// of short runs would have to wake the task for each of them.
    pub(super) fn next(&self, now: Tick) -> Option<Tick> {
        let mut entries = self.lock();
        let next = match entries.by_time.first_key_value() {
            Some(((at, _), held)) if !held.is_proven() => Some(*at),
            Some(((at, _), _)) => Some((*at).min(now.plus(SECOND))),
            None => (!entries.quiet).then(|| now.plus(SECOND)),
        };
        entries.quiet = entries.by_time.is_empty();
        entries.asleep_until = next;
        next
    }

    /// Resolves when something is to be done sooner than [`next`](Self::next) said.
    pub(super) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// The runs for which something is to be done at `now`.
    pub(super) fn due(&self, now: Tick) -> Vec<Arc<Held>> {
        let entries = self.lock();
        entries.by_time.range(..=(now, u64::MAX)).map(|(_, held)| Arc::clone(held)).collect()
    }

    /// All runs.
    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        self.lock().by_time.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no code panics while it holds this lock")
    }
}
