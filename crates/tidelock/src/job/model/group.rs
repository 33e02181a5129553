//! Groups that read the events of a job.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::store::{GroupAction, GroupSettle, GroupTake, GroupTaken, HandedEvent, Lost, MAX_GROUPS, MAX_OPEN};
use super::{Job, Model, Now};

/// The position of a group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The last event that was handed out, or disappeared before it could be.
    read: u64,
    /// What was handed out and is not committed, by number. Everything else up to `read` is finished.
    open: BTreeMap<u64, Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    attempt: u64,
    /// The fence of the hand-over; 0 if the event was returned.
    fence: u64,
    /// The end of the lease, or of the pause before the event is handed out again.
    until: u64,
}

impl Open {
    fn is_held(&self, now: u64) -> bool {
        self.fence != 0 && now < self.until
    }
}

impl Group {
    /// Drops events that the job no longer keeps; `first` is the position before those that it keeps. Held events
    /// stay, because their commit counts.
    fn lose(&mut self, first: u64, now: u64) -> Option<Lost> {
        let mut lost: Vec<u64> =
            self.open.extract_if(..=first, |_, open| !open.is_held(now)).map(|(number, _)| number).collect();
        lost.extend(self.read + 1..=first);
        self.read = self.read.max(first);
        let (from, to) = (lost.first()? - 1, *lost.last()?);
        Some(Lost { from, to, missed: lost.len() as u64 })
    }

    /// The numbers of the events to hand out next, lowest first.
    fn deliverable(&mut self, last: u64, room: usize, now: u64) -> Vec<u64> {
        let returned = self.open.iter().filter(|(_, open)| open.until <= now).map(|(number, _)| *number);
        let mut numbers: Vec<u64> = returned.take(room).collect();
        while numbers.len() < room && self.read < last && self.open.len() < MAX_OPEN {
            self.read += 1;
            self.open.insert(self.read, Open { attempt: 0, fence: 0, until: now });
            numbers.push(self.read);
        }
        numbers
    }

    /// Whether nothing of what has happened so far remains to be handed out.
    fn is_done(&self, last: u64) -> bool {
        self.read == last && self.open.is_empty()
    }
}

impl Job {
    /// Whether the job has ended and the group has committed everything.
    fn is_read(&self, group: &Group) -> bool {
        self.state().is_terminal() && group.is_done(self.log.places().1)
    }
}

impl Model {
    /// Hands out events to a group.
    pub(crate) fn take_events(&mut self, now: Now, process: &Arc<str>, take: &GroupTake) -> GroupTaken {
        let Some(job) = self.jobs.get_mut(&take.id) else { return GroupTaken { ended: true, ..GroupTaken::default() } };
        if !job.groups.contains_key(&take.group) && job.groups.len() >= MAX_GROUPS {
            return GroupTaken { full: true, ..GroupTaken::default() };
        }
        let (first, last) = job.log.places();
        let state = job.state();
        let group = job
            .groups
            .entry(Arc::clone(&take.group))
            .or_insert_with(|| Box::new(Group { read: first, open: BTreeMap::new() }));
        let gap = group.lose(first, now.ms);
        let numbers = group.deliverable(last, take.max - usize::from(gap.is_some()), now.ms);
        let mut events = Vec::with_capacity(numbers.len());
        for number in numbers {
            self.last_fence = now.next_number(self.last_fence);
            let open = group.open.get_mut(&number).expect("what is handed out is open");
            *open = Open { attempt: open.attempt + 1, fence: self.last_fence, until: now.ms + take.lease };
            events.push(HandedEvent {
                number,
                fence: open.fence,
                attempt: open.attempt,
                event: job.log.get(number),
                is_last: state.is_terminal() && number == last,
            });
        }
        let mut taken = GroupTaken { gap, events, ..GroupTaken::default() };
        if taken.events.len() + usize::from(taken.gap.is_some()) == take.max {
            return taken;
        }
        let group = &job.groups[&take.group];
        taken.ended = job.is_read(group);
        if take.park && !taken.ended {
            taken.next = group.open.values().map(|open| open.until).min();
            self.watch(now, process, take.id, false);
        }
        taken
    }

    /// Applies what holders do with their events, each on its own. Returns whether each was still held.
    pub(crate) fn settle_events(&mut self, now: Now, settles: &[GroupSettle]) -> Vec<bool> {
        settles.iter().map(|settle| self.settle_event(now.ms, settle)).collect()
    }

    fn settle_event(&mut self, now: u64, settle: &GroupSettle) -> bool {
        let Some(job) = self.jobs.get_mut(&settle.id) else { return false };
        let Some(group) = job.groups.get_mut(&settle.group) else { return false };
        let was_full = group.open.len() == MAX_OPEN;
        let Some(open) = group.open.get_mut(&settle.number) else { return false };
        if open.fence != settle.fence || !open.is_held(now) {
            return false;
        }
        // Whether waiting processes must read again.
        let concerns = match settle.action {
            GroupAction::Commit => {
                group.open.remove(&settle.number);
                was_full || job.is_read(&job.groups[&settle.group])
            }
            GroupAction::Return { delay, unused } => {
                *open = Open { attempt: open.attempt - u64::from(unused), fence: 0, until: now + delay };
                true
            }
            GroupAction::Touch { lease } => {
                let before = std::mem::replace(&mut open.until, now + lease);
                open.until < before
            }
        };
        if concerns {
            self.tell_watchers(settle.id, false);
        }
        true
    }
}
