//! The memberships of this process in one registry. They are renewed together, in as few trips as possible.

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
    /// The instant until which the task sleeps: only something earlier needs to wake it.
    asleep: Option<Tick>,
}

/// The next renewal of a member.
#[derive(Debug)]
struct Planned {
    due: Tick,
    /// The last renewal failed.
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
        // Not under the lock: without a runtime the turn is dropped at once, and its drop takes the lock. The record
        // then expires with its ttl.
        drop(roll);
        let world = &member.site.world;
        let turn = Turn { members: Arc::clone(self), clock: world.clock.clone(), ended: false };
        world.spawner.spawn(turn.run(world.lifecycle.clone()));
    }

    /// Schedules the next renewal of a member, if it still exists.
    pub(super) fn plan(&self, number: u64, at: Tick) {
        self.replan(number, at, false);
    }

    /// As [`plan`](Self::plan), after a renewal that failed; the task pauses before the retry.
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

    /// The members to renew now: those that are due, and those that would be soon.
    fn due(&self, now: Tick) -> Vec<Arc<Member>> {
        let roll = self.lock();
        let alive = || roll.members.values().filter_map(|planned| Some((planned, planned.member.upgrade()?)));
        let in_time = alive().filter(|(planned, _)| planned.due <= now && !planned.again);
        let longest = in_time.map(|(_, member)| member.ttl).max().unwrap_or_default();
        // Usually all members have the same ttl and are renewed together; one with a longer ttl only if it is nearly
        // due.
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

/// The running task. If it is dropped with its runtime, it leaves the roll ready for another task.
struct Turn {
    members: Arc<Members>,
    clock: Clock,
    /// Whether it has left the roll to another task; that one may already be running.
    ended: bool,
}

impl Turn {
    async fn run(mut self, lifecycle: crate::lifecycle::Lifecycle) {
        tokio::select! {
            biased;
            () = lifecycle.closing() => {
                // Ends before anything else, so that no work is sent here any more. A member added from here on gets a
                // turn of its own, which ends at once in the same way.
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
            // Renewals in flight continue when a shutdown begins: `leave` waits for them and uses the version that
            // results.
            let renew =
                |member: &Arc<Member>| Sent::new(Box::pin(Arc::clone(member).renew()), &member.site.world.spawner);
            let failed = join_all(due.iter().map(renew)).await;
            let lives = due.iter().zip(failed).filter(|(_, failed)| *failed).map(|(member, _)| member.life());
            if let Some(shortest) = lives.min() {
                // In real time: a clock that stands still must not turn the retries into a hot loop.
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

/// The pause after a failed renewal: well below any lifetime, but no hot loop.
fn pause_after(life: Duration) -> Duration {
    (life / 12).clamp(SECOND / 10, SECOND / 4)
}
