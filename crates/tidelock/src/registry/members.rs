//! The memberships that this process has in one registry, and their renewal: together, in as few trips as carry them.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::member::Member;
use crate::hash::HashMap;
use crate::runtime;
use crate::sent::Sent;
use crate::time::{Clock, SECOND, Tick};

/// The members of one registry in this process.
#[derive(Debug, Default)]
pub(crate) struct Members {
    roll: Mutex<Roll>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Roll {
    members: HashMap<u64, Planned>,
    next: u64,
    running: bool,
    /// What the task sleeps until; only something earlier is worth waking it.
    asleep: Option<Tick>,
}

/// When a member is renewed next.
#[derive(Debug)]
struct Planned {
    due: Tick,
    /// Because the last time failed.
    again: bool,
    member: Weak<Member>,
}

impl Members {
    pub(super) fn number(&self) -> u64 {
        let mut roll = self.lock();
        roll.next += 1;
        roll.next
    }

    pub(super) fn add(self: &Arc<Self>, member: &Arc<Member>, due: Tick) {
        let mut roll = self.lock();
        roll.members.insert(member.number, Planned { due, again: false, member: Arc::downgrade(member) });
        if roll.running {
            self.wake(&roll, due);
            return;
        }
        roll.running = true;
        // Not under the lock: where there is no runtime, the turn is dropped right here, and tells so. A record then ends
        // with its ttl.
        drop(roll);
        let world = &member.site.world;
        let turn = Turn { members: Arc::clone(self), clock: world.clock.clone(), ended: false };
        world.spawner.spawn(turn.run(world.lifecycle.clone()));
    }

    /// Says when a member is renewed next, if it is still there.
    pub(super) fn plan(&self, number: u64, at: Tick) {
        self.replan(number, at, false);
    }

    /// The same for a renewal that failed. The task pauses before.
    pub(super) fn plan_again(&self, number: u64, at: Tick) {
        self.replan(number, at, true);
    }

    fn replan(&self, number: u64, at: Tick, failed: bool) {
        let mut roll = self.lock();
        if let Some(planned) = roll.members.get_mut(&number) {
            (planned.due, planned.again) = (at, failed);
            self.wake(&roll, at);
        }
    }

    pub(super) fn remove(&self, number: u64) {
        let mut roll = self.lock();
        roll.members.remove(&number);
        if roll.members.is_empty() {
            roll.members.shrink_to_fit();
            self.earlier.notify_one();
        }
    }

    fn wake(&self, roll: &Roll, due: Tick) {
        if roll.asleep.is_some_and(|until| due < until) {
            self.earlier.notify_one();
        }
    }

    /// Those to be renewed now: those that are due, and with them those that soon would be.
    fn due(&self, now: Tick) -> Vec<Arc<Member>> {
        let roll = self.lock();
        let alive = || roll.members.values().filter_map(|planned| Some((planned, planned.member.upgrade()?)));
        let in_time = alive().filter(|(planned, _)| planned.due <= now && !planned.again);
        let longest = in_time.map(|(_, member)| member.ttl).max().unwrap_or_default();
        // All of one ttl, which is the usual case; those of a longer one only if their time comes anyway.
        let horizon = now.plus(Duration::from_millis(longest) / 3);
        alive().filter(|(planned, _)| planned.due <= horizon).map(|(_, member)| member).collect()
    }

    fn all(&self) -> Vec<Arc<Member>> {
        self.lock().members.values().filter_map(|planned| planned.member.upgrade()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().expect("no code panics while it holds this lock")
    }
}

/// The running task. Dropped with its runtime, it leaves the roll ready for another.
struct Turn {
    members: Arc<Members>,
    clock: Clock,
    /// Whether it has left the roll to another task; there may be one already.
    ended: bool,
}

impl Turn {
    async fn run(mut self, lifecycle: crate::lifecycle::Lifecycle) {
        tokio::select! {
            biased;
            () = lifecycle.closing() => {
                // Before anything else ends, so that no work is sent here any more. Who is added from here on has a turn of
                // its own, which ends at once in the same way.
                self.end();
                join_all(self.members.all().into_iter().map(Member::leave_quietly)).await;
            }
            () = self.work() => {}
        }
    }

    /// Leaves the roll to another task.
    fn end(&mut self) {
        self.ended = true;
        let mut roll = self.members.lock();
        (roll.running, roll.asleep) = (false, None);
    }

    async fn work(&mut self) {
        loop {
            let next = {
                let mut roll = self.members.lock();
                let next = roll.members.values().map(|planned| planned.due).min();
                (roll.running, roll.asleep) = (next.is_some(), next);
                next
            };
            let Some(next) = next else {
                self.ended = true;
                return;
            };
            tokio::select! {
                biased;
                () = self.members.earlier.notified() => continue,
                () = self.clock.sleep_until(next) => {}
            }
            let due = self.members.due(self.clock.tick());
            // What was sent goes on when a shutdown begins: each leaves behind it, with the version that it has then.
            let renew =
                |member: &Arc<Member>| Sent::new(Box::pin(Arc::clone(member).renew()), &member.site.world.spawner);
            let failed = join_all(due.iter().map(renew)).await;
            let lives = due.iter().zip(failed).filter(|(_, failed)| *failed).map(|(member, _)| member.life());
            if let Some(shortest) = lives.min() {
                // In real time: what failed is not cured by a clock that stands still.
                runtime::sleep(pause_after(shortest).mul_f64(1.0 + fastrand::f64() / 2.0)).await;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}

/// The pause after a renewal that failed: well before any life is over, and no hot loop.
fn pause_after(life: Duration) -> Duration {
    (life / 12).clamp(SECOND / 10, SECOND / 4)
}
