//! The topic as a pure state machine: the in-process backend, and the specification of the Redis scripts.
//!
//! A step is one atomic operation on the log or on one group. It begins by carrying out what is overdue there
//! ([`Model::advance`]) and ends by reporting who has to be woken ([`Model::wake`]).

mod advance;
mod change;
mod group;
mod log;
mod look;
mod settle;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::group::Group;
use self::log::Log;
use super::store::{Appended, NewEvent, Position, STEP, Settings};
use crate::hash::HashMap;
use crate::time::Now;

/// One topic.
#[derive(Debug, Default)]
pub(crate) struct Model {
    log: Log,
    fence: u64,
    /// By dedup key: the event's position, and when the dedup window ends.
    dedup: HashMap<Arc<str>, (Position, u64)>,
    dedup_ends: BTreeSet<(u64, Arc<str>)>,
    groups: BTreeMap<Arc<str>, Box<Group>>,
    /// Whether a follower waits for new events.
    follower_parked: bool,
    /// Groups with parked readers; the value is the number in flight or waiting, if that was too many to take more.
    parked: BTreeMap<Arc<str>, Option<u64>>,
    /// More was overdue than one step carried out.
    settling: bool,
    touched: u64,
}

/// Who has to be woken after a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Woken {
    pub(crate) followers: bool,
    pub(crate) groups: Vec<Arc<str>>,
}

impl Model {
    /// Appends a batch. An event whose dedup key is remembered, possibly from the same batch, gets the position of the
    /// earlier event.
    pub(crate) fn publish(&mut self, now: Now, settings: Settings, batch: Vec<NewEvent>) -> Appended {
        let replaced = self.log.settle_on(now, settings);
        let events: Vec<_> = batch.into_iter().map(|event| self.publish_one(now, event)).collect();
        let appended = events.iter().filter(|(_, duplicate)| !duplicate).count();
        // Trims twice as many events as were appended; otherwise large batches would make the log grow.
        self.log.trim(STEP.max(2 * appended));
        Appended { events, replaced }
    }

    /// The position that the next appended event will get.
    #[cfg(target_family = "wasm")]
    pub(crate) fn next_place(&self, now: Now) -> Position {
        self.log.next_place(now)
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

    /// Notes that a follower waits for new events.
    pub(crate) fn park_follower(&mut self) {
        self.follower_parked = true;
    }

    /// Reports which waiters may find something, after any step that may have made events deliverable.
    pub(crate) fn wake(&mut self, now: Now) -> Woken {
        let (groups, log) = (&self.groups, &self.log);
        let able = |name: &Arc<str>, limited: &mut Option<u64>| match groups.get(name) {
            Some(group) => group.can_give(now, log, *limited),
            None => log.newest().ordinal > 0,
        };
        let woken = self.parked.extract_if(.., able).map(|(name, _)| name).collect();
        Woken { followers: false, groups: woken }
    }

    /// As [`wake`](Self::wake), after events were appended: also wakes the followers.
    pub(crate) fn wake_after_publish(&mut self, now: Now) -> Woken {
        let followers = std::mem::take(&mut self.follower_parked);
        Woken { followers, ..self.wake(now) }
    }

    #[cfg(test)]
    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// Whether a take or look should be repeated because more is overdue.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling
    }

    /// The instant of the last step, if only counters are left.
    ///
    /// `with_groups`: groups that would start again at the same position are ignored.
    pub(crate) fn is_idle_since(&self, with_groups: bool) -> Option<u64> {
        let idle = self.log.is_empty()
            && self.dedup.is_empty()
            && self.groups.values().all(|group| with_groups && group.is_idle_at(self.log.newest()));
        idle.then_some(self.touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::store::{Action, Settle};
    use crate::topic::store::{Begin, ReaderTerms, Take, Taken};

    const RETENTION: u64 = 1_000;

    fn publish(model: &mut Model, ms: u64) -> Position {
        publish_for(model, ms, RETENTION)
    }

    fn publish_for(model: &mut Model, ms: u64, retention: u64) -> Position {
        let now = Now::from_millis(ms);
        model.advance(now, None);
        let settings = Settings { retention: Some(retention), max_len: None };
        let event = NewEvent { content: crate::handover::store::Content::default(), dedup: None };
        let place = model.log.next_place(now);
        let appended = model.publish(now, settings, vec![event]);
        assert_eq!(appended.events, [(place, false)], "the place was told before");
        place
    }

    fn take(model: &mut Model, ms: u64, max_in_flight: u64, park: bool) -> Taken {
        let reader = ReaderTerms { begin: Begin::Earliest, max_in_flight, ordered: true, dead_retention: None };
        let take = Take {
            max: 1,
            lease: 60_000,
            consumer: "c".into(),
            max_deliveries: None,
            park,
            reader: Arc::new(reader),
            seen: None,
        };
        model.take(Now::from_millis(ms), &"g".into(), &take).expect("there is room for a group")
    }

    #[test]
    fn a_reader_at_its_limit_hides_nothing_from_another_one() {
        let mut model = Model::default();
        publish(&mut model, 5_000);
        assert_eq!(take(&mut model, 5_000, 10, false).events.len(), 1);
        for limits in [[10, 1], [1, 10]] {
            for max_in_flight in limits {
                assert_eq!(take(&mut model, 5_000, max_in_flight, true).events.len(), 0);
            }
            publish(&mut model, 5_000);
            assert_eq!(model.wake(Now::from_millis(5_000)).groups, [Arc::<str>::from("g")]);
            assert_eq!(take(&mut model, 5_000, 10, false).events.len(), 1);
        }
        assert_eq!(take(&mut model, 5_000, 1, true).events.len(), 0);
        publish(&mut model, 5_000);
        assert_eq!(model.wake(Now::from_millis(5_000)), Woken::default(), "alone it is left in peace");
    }

    #[test]
    fn what_a_shorter_retention_ended_stays_so_when_the_clock_steps_back() {
        let mut model = Model::default();
        publish_for(&mut model, 5_000, RETENTION);
        let second = publish_for(&mut model, 5_500, RETENTION / 2);
        let taken = take(&mut model, 5_499, 10, false);
        assert_eq!(taken.events.iter().map(|event| event.place).collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn a_topic_with_a_group_is_idle_only_where_groups_that_have_had_everything_do_not_count() {
        let (mut model, group) = (Model::default(), Arc::<str>::from("g"));
        let place = publish(&mut model, 5_000);
        let taken = take(&mut model, 5_000, 10, false);
        let end = 5_000 + RETENTION;
        model.advance(Now::from_millis(end), Some(&group));
        assert_eq!(model.is_idle_since(true), None, "an event is in flight");
        let settle = Settle { id: place.at, fence: taken.events[0].fence, action: Action::Ack };
        model.settle(Now::from_millis(end), &group, vec![settle]);
        assert_eq!(model.is_idle_since(true), Some(end));
        assert_eq!(model.is_idle_since(false), None);

        publish(&mut model, end + 1);
        assert_eq!(model.is_idle_since(true), None);
        model.advance(Now::from_millis(end + 1 + RETENTION), None);
        assert_eq!(model.is_idle_since(true), None, "the group has missed something");
    }
}
