//! Timed work for the runs of a worker: one list ordered by time, and one task that no handler delays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::job::held::Held;
use crate::time::{SECOND, Tick};

/// The runs of a worker by the instant of their next timed work.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<Entries>,
    /// Wakes the task for an instant that is sooner than the one that it sleeps until.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    /// By instant and fence.
    by_time: BTreeMap<(Tick, u64), Arc<Held>>,
    /// The instant until which the task sleeps; `None` if it waits for a notification.
    asleep_until: Option<Tick>,
    /// Nothing was added while the task slept.
    quiet: bool,
}

impl Agenda {
    /// Moves a run from one instant to another; `None` means not on the list.
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

    /// The instant until which the task should sleep. While there are leases to prove, that is within a second of
    /// `now`, because timers stop while a machine sleeps. After the list has become empty, one more such second
    /// follows: otherwise a worker of short runs would have to wake the task for each of them.
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

    /// Resolves when something is due sooner than [`next`](Self::next) returned.
    pub(super) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// The runs with work due at `now`.
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
