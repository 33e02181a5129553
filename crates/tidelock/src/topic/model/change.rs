//! Changes of a group, and of the topic as a whole.

use std::sync::Arc;

use super::group::{Group, Kind, Pause};
use super::{Model, Now};
use crate::topic::store::{Begin, Change, Changes, DeadFilter, MAX_GROUPS};

impl Change {
    /// The group that the change affects.
    pub(crate) fn group(&self) -> Option<&Arc<str>> {
        match self {
            Self::CreateGroup { group, .. }
            | Self::Seek { group, .. }
            | Self::RemoveGroup { group }
            | Self::Pause { group, .. }
            | Self::Resume { group }
            | Self::Requeue { group, .. }
            | Self::RequeueAll { group, .. }
            | Self::RemoveDead { group, .. }
            | Self::PurgeDead { group, .. } => Some(group),
            Self::Delete => None,
        }
    }
}

impl DeadFilter {
    fn finds_letter(&self, dead: &super::group::Dead) -> bool {
        self.reason.is_none_or(|reason| reason == dead.reason)
            && self.moved_before.is_none_or(|before| dead.moved_at < before)
            && self.moved_after.is_none_or(|after| dead.moved_at >= after)
    }
}

impl Model {
    pub(crate) fn change(&mut self, now: Now, change: Change) -> Changes {
        match change {
            Change::CreateGroup { group, begin } => self.create(now, group, begin),
            Change::RemoveGroup { group } => Changes::Did(self.groups.remove(&group).is_some()),
            Change::Delete => {
                let existed = self.log.end() || !self.groups.is_empty();
                self.groups.clear();
                self.dedup.clear();
                self.dedup_ends.clear();
                Changes::Did(existed)
            }
            Change::Seek { group, begin } => {
                let position = self.log.resolve(now, begin);
                self.with_group(&group, Changes::Did(false), |group| {
                    group.seek(now);
                    group.position = position;
                    Changes::Did(true)
                })
            }
            Change::Pause { group, for_at_most, reason } => self.with_group(&group, Changes::NoGroup, |group| {
                let until = for_at_most.map(|time| now.ms + time);
                let same = group.pause.as_ref().is_some_and(|pause| pause.until == until && pause.reason == reason);
                group.pause = Some(Pause { until, reason });
                Changes::Did(!same)
            }),
            Change::Resume { group } => {
                self.with_group(&group, Changes::NoGroup, |group| Changes::Did(group.pause.take().is_some()))
            }
            Change::Requeue { group, at, delay } => {
                self.with_group(&group, Changes::Count(0), |group| Changes::Count(group.requeue(now, at, delay).into()))
            }
            Change::RequeueAll { group, filter, limit, delay } => self.with_group(&group, Changes::Count(0), |group| {
                let found =
                    group.found_dead(filter, limit.unwrap_or(u64::MAX), |group, at| !group.open.contains_key(&at));
                let moved = found.into_iter().filter(|at| group.requeue(now, *at, delay)).count();
                Changes::Count(moved as u64)
            }),
            Change::RemoveDead { group, at } => self
                .with_group(&group, Changes::Count(0), |group| Changes::Count(group.remove_dead(at).is_some().into())),
            Change::PurgeDead { group, filter, limit } => self.with_group(&group, Changes::Count(0), |group| {
                let found = group.found_dead(filter, limit.unwrap_or(u64::MAX), |_, _| true);
                for at in &found {
                    group.remove_dead(*at);
                }
                Changes::Count(found.len() as u64)
            }),
        }
    }

    fn with_group(&mut self, name: &str, absent: Changes, change: impl FnOnce(&mut Group) -> Changes) -> Changes {
        self.groups.get_mut(name).map_or(absent, |group| change(group))
    }

    fn create(&mut self, now: Now, name: Arc<str>, begin: Begin) -> Changes {
        if self.groups.contains_key(&name) {
            return Changes::Did(false);
        }
        if self.groups.len() >= MAX_GROUPS {
            return Changes::Full;
        }
        let position = self.log.resolve(now, begin);
        self.groups.insert(name, Box::new(Group { position, ..Group::default() }));
        Changes::Did(true)
    }
}

impl Group {
    /// Drops all open events; requeued copies start again.
    fn seek(&mut self, now: Now) {
        let open = std::mem::take(&mut self.open);
        for index in [&mut self.ready, &mut self.freed, &mut self.idle] {
            index.clear();
        }
        self.leased.clear();
        self.waiting.clear();
        self.aside.clear();
        self.busy.clear();
        for mut copy in open.into_values().filter(|open| open.is_copy) {
            let due = match copy.kind {
                Kind::Waiting { due } | Kind::Aside { due } => due,
                Kind::InFlight { .. } => 0,
            };
            copy.attempts = 0;
            self.admit_copy(now, copy, due);
        }
    }

    /// Requeues a dead letter, unless its event is open.
    fn requeue(&mut self, now: Now, at: u64, delay: u64) -> bool {
        if self.open.contains_key(&at) {
            return false;
        }
        let Some(dead) = self.remove_dead(at) else { return false };
        let mut copy = dead.event;
        copy.is_copy = true;
        copy.attempts = 0;
        copy.note = None;
        copy.last_error = None;
        self.admit_copy(now, copy, now.ms + delay);
        true
    }

    fn found_dead(&self, filter: DeadFilter, limit: u64, fits: impl Fn(&Self, u64) -> bool) -> Vec<u64> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let oldest_first = self.moved.iter().map(|(_, at)| *at);
        oldest_first.filter(|at| filter.finds_letter(&self.dead[at]) && fits(self, *at)).take(limit).collect()
    }

    /// A page of dead letters, newest first, before (moved at, position).
    pub(super) fn dead_page(&self, filter: DeadFilter, limit: usize, before: Option<(u64, u64)>) -> Vec<u64> {
        let end = before.unwrap_or((u64::MAX, u64::MAX));
        let newest_first = self.moved.range(..end).rev().map(|(_, at)| *at);
        newest_first.filter(|at| filter.finds_letter(&self.dead[at])).take(limit).collect()
    }
}
