//! The timed work of one process for its mutexes: a single task, however many guards and waiters there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use crate::mutex::room::Room;
use crate::mutex::store::Spot;
use crate::mutex::tenure::Tenure;
use crate::runtime::Spawner;
use crate::time::{Clock, Tick};

/// A piece of timed work.
#[derive(Debug)]
pub(crate) enum Item {
    /// Refresh the waiters of the resource with this tag, and learn their place.
    Refresh(Arc<str>),
    /// Check that an offer made by this process, or a short grant that it made or has, does not lapse unnoticed.
    Watch(Spot),
    /// Renew a grant.
    Renew(Weak<Tenure>),
}

/// Identifies an item on the agenda.
pub(crate) type Entry = (Tick, u64);

/// The work to be done, by time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<Entries>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    by_time: BTreeMap<Entry, Item>,
    next: u64,
    running: bool,
    /// The instant until which the task sleeps. Only an earlier item has to wake it.
    asleep: Option<Tick>,
}

impl Agenda {
    /// Puts `item` on the agenda of `room`, whose agenda this is.
    pub(crate) fn add(self: &Arc<Self>, at: Tick, item: Item, room: &Arc<Room>, spawner: &Spawner) -> Entry {
        let mut entries = self.lock();
        let entry = (at, entries.next);
        entries.next += 1;
        entries.by_time.insert(entry, item);
        if !entries.running {
            let (agenda, clock) = (Arc::clone(self), room.clock().clone());
            let turn = Turn { agenda, room: Arc::downgrade(room), clock, ended: false };
            // Without a runtime nothing is renewed: a grant then ends by its lease.
            entries.running = spawner.spawn(turn.run(room.lifecycle().clone()));
        } else if entries.asleep.is_some_and(|until| at < until) {
            self.earlier.notify_one();
        }
        entry
    }

    pub(crate) fn remove(&self, entry: Entry) {
        self.lock().by_time.remove(&entry);
    }

    /// Ends the task because the room is gone.
    pub(crate) fn close(&self) {
        self.lock().by_time.clear();
        self.earlier.notify_one();
    }

    fn take(&self, now: Tick) -> Vec<Item> {
        let mut entries = self.lock();
        let later = entries.by_time.split_off(&(now, u64::MAX));
        std::mem::replace(&mut entries.by_time, later).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no code panics while it holds this lock")
    }
}

/// The running task. If it is dropped with its runtime, the agenda can be started again on another runtime.
struct Turn {
    agenda: Arc<Agenda>,
    room: Weak<Room>,
    clock: Clock,
    /// Whether the task ended because no work was left. Another task may have started since then.
    ended: bool,
}

impl Turn {
    async fn run(mut self, lifecycle: crate::lifecycle::Lifecycle) {
        tokio::select! {
            () = self.work() => {}
            // After a shutdown nothing is renewed any more.
            () = lifecycle.closed() => {}
        }
    }

    async fn work(&mut self) {
        loop {
            let next = {
                let mut entries = self.agenda.lock();
                let next = entries.by_time.first_key_value().map(|((at, _), _)| *at);
                (entries.running, entries.asleep) = (next.is_some(), next);
                next
            };
            let Some(next) = next else {
                self.ended = true;
                return;
            };
            tokio::select! {
                biased;
                () = self.agenda.earlier.notified() => continue,
                () = self.clock.sleep_until(next) => {}
            }
            let Some(room) = self.room.upgrade() else { return };
            for item in self.agenda.take(self.clock.tick()) {
                room.attend(item);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            let mut entries = self.agenda.lock();
            (entries.running, entries.asleep) = (false, None);
        }
    }
}
