//! In process: the model of each resource behind one lock. The backend's timer handles deadlines.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::backend::memory::{Sweep, Timer};
use crate::error::Result;
use crate::hash::HashMap;
use crate::mutex::model::{Resource, Turn};
use crate::mutex::store::{Answer, Door, Effort, Handed, MutexStore, Seen, Spot, Step, Token};
use crate::name::{self, Address};
use crate::runtime::{self, BoxFuture};
use crate::time::Timestamp;

/// Deadlines handled before other callers get their turn.
const SWEEP: usize = 100;

/// The state of this process.
pub(crate) struct MemoryMutex {
    timer: Arc<Timer>,
    records: Mutex<Records>,
    door: Door,
}

/// Omits the stored state, which may be large.
impl fmt::Debug for MemoryMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMutex").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Records {
    resources: HashMap<Arc<str>, Resource>,
    due: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Records {
    /// Runs `change` on the resource and updates `due` to match.
    fn change<T>(&mut self, tag: &Arc<str>, change: impl FnOnce(&mut Resource) -> T) -> (T, Option<Timestamp>) {
        let resource = self.resources.entry(Arc::clone(tag)).or_default();
        let before = resource.due();
        let out = change(resource);
        let after = resource.due();
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, Arc::clone(tag)));
            }
            if let Some(after) = after {
                self.due.insert((after, Arc::clone(tag)));
            }
        }
        (out, after)
    }

    fn sweep_one(&mut self, now: Timestamp) -> Option<(Arc<str>, Option<Handed>)> {
        let (_, tag) = self.due.first().filter(|(at, _)| *at <= now)?.clone();
        if self.resources.get(&tag).is_some_and(|resource| resource.is_past_use(now)) {
            self.due.pop_first();
            self.resources.remove(&tag);
            return Some((tag, None));
        }
        let (handed, _) = self.change(&tag, |resource| with_turn(now, |turn| resource.settle(turn)));
        Some((tag, handed))
    }
}

/// Runs a step of the only process there is: every hand-over is immediate.
fn with_turn<T>(now: Timestamp, run: impl FnOnce(&mut Turn<'_>) -> T) -> T {
    let mut nobody_else = |_: &str, _: Token| false;
    run(&mut Turn { now, process: "", wake: &mut nobody_else, waiters_die: false, offered: false })
}

impl MemoryMutex {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { timer: Arc::clone(timer), records: Mutex::default(), door: Door::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no code panics while it holds this lock")
    }

    fn carry_out(&self, tag: &Arc<str>, step: &Step) -> Answer {
        let now = self.timer.clock().now();
        let mut records = self.lock();
        let (answer, due) = records.change(tag, |resource| with_turn(now, |turn| resource.apply(step, turn)));
        drop(records);
        // The timer also runs for a deadline that nobody waits for, so that the record itself expires.
        if let Some(due) = due {
            self.timer.arm(due);
        }
        answer
    }
}

impl MutexStore for MemoryMutex {
    fn spot(&self, address: &Address, resource: &str) -> Spot {
        let (tenant, id) = (name::escape(&address.tenant), name::escape(&address.id));
        Spot { tag: [&tenant, "/", &id, "/", resource].concat().into(), slot: 0 }
    }

    fn step(&self, spot: &Spot, step: Step, _effort: Effort) -> BoxFuture<'static, Result<Answer>> {
        runtime::ready(Ok(self.carry_out(&spot.tag, &step)))
    }

    fn describe(&self, spot: &Spot) -> BoxFuture<'static, Result<Seen>> {
        let now = self.timer.clock().now();
        let seen = self.lock().resources.get(&spot.tag).map(|resource| resource.describe(now));
        runtime::ready(Ok(seen.unwrap_or_default()))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn door(&self) -> &Door {
        &self.door
    }
}

impl Sweep for MemoryMutex {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        for _ in 0..SWEEP {
            let mut records = self.lock();
            let Some((tag, handed)) = records.sweep_one(now) else {
                return records.due.first().map(|(at, _)| *at);
            };
            drop(records);
            if let (Some(handed), Some(hears)) = (handed, self.door.hears()) {
                hears.handed(&Spot { tag, slot: 0 }, handed);
            }
        }
        Some(now)
    }
}
