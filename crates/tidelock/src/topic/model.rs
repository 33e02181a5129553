//! The topic as a pure state machine: the in-process backend, and the specification of the Redis scripts.
//!
//! A step is one atomic operation on the log or on one group: it begins with what is overdue there
//! ([`Model::advance`]), and ends by telling who is to be woken ([`Model::wake`]).

mod advance;
mod change;
mod group;
mod log;
mod look;
mod settle;
mod take;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use self::group::Group;
use self::log::Log;
use super::store::{Appended, NewEvent, Position, STEP, Settings};
use crate::time::Now;

/// One topic.
#[derive(Debug, Default)]
pub(crate) struct Model {
    log: Log,
    fence: u64,
    /// By key: the event, and when the window ends.
    dedup: HashMap<Arc<str>, (Position, u64)>,
    dedup_ends: BTreeSet<(u64, Arc<str>)>,
    groups: BTreeMap<Arc<str>, Group>,
    /// Whether somebody waits to read the log on.
    follower_parked: bool,
    /// Groups for which somebody waits to take; how many were in flight or waiting, if that was too many to take more.
    parked: BTreeMap<Arc<str>, Option<u64>>,
    /// More is overdue than one step carried out.
    settling: bool,
    touched: u64,
}

/// Who is to be woken after a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Woken {
    pub(crate) followers: bool,
    pub(crate) groups: Vec<Arc<str>>,
}

/// The next number of a series that never repeats, whatever was forgotten in between.
fn next(last: u64, now: Now) -> u64 {
    (last + 1).max(now.us)
}

impl Model {
    /// Appends a batch; an event whose key is remembered is that of an earlier one, also of the same batch.
    pub(crate) fn publish(&mut self, now: Now, settings: Settings, batch: Vec<NewEvent>) -> Appended {
        let replaced = self.log.settle_on(now, settings);
        let events = batch.into_iter().map(|event| self.publish_one(now, event)).collect();
        self.log.trim();
        Appended { events, replaced }
    }

    fn publish_one(&mut self, now: Now, event: NewEvent) -> (Position, bool) {
        let first = event.dedup.as_ref().and_then(|dedup| self.dedup.get(&dedup.key));
        if let Some((first, until)) = first
            && *until > now.ms
            && self.log.retains(now, *first)
        {
            return (*first, true);
        }
        let key = event.dedup.as_ref().map(|dedup| Arc::clone(&dedup.key));
        let place = self.log.append(now, event.content, key);
        if let Some(dedup) = event.dedup {
            let until = now.ms + dedup.window;
            if let Some((_, old)) = self.dedup.insert(Arc::clone(&dedup.key), (place, until)) {
                self.dedup_ends.remove(&(old, Arc::clone(&dedup.key)));
            }
            self.dedup_ends.insert((until, dedup.key));
        }
        (place, false)
    }

    /// Notes that somebody waits for the log to go on.
    pub(crate) fn park_follower(&mut self) {
        self.follower_parked = true;
    }

    /// Ends a step that may have appended: everybody who waits may look again.
    pub(crate) fn wake(&mut self, now: Now) -> Woken {
        let (groups, log) = (&self.groups, &self.log);
        let able = |name: &Arc<str>, limited: &mut Option<u64>| match groups.get(name) {
            Some(group) => group.can_give(now, log, *limited),
            None => log.newest().ordinal > 0,
        };
        let woken = self.parked.extract_if(.., able).map(|(name, _)| name).collect();
        Woken { followers: false, groups: woken }
    }

    /// As [`wake`](Self::wake), after something was appended.
    pub(crate) fn wake_after_publish(&mut self, now: Now) -> Woken {
        let followers = std::mem::take(&mut self.follower_parked);
        Woken { followers, ..self.wake(now) }
    }

    #[cfg(test)]
    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// Whether a take or a look should be repeated because more is overdue.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling
    }

    /// When nothing is left but numbers, the instant of the last step.
    pub(crate) fn is_idle_since(&self) -> Option<u64> {
        (self.groups.is_empty() && self.log.is_empty() && self.dedup.is_empty()).then_some(self.touched)
    }
}
