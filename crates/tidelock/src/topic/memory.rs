//! Topics in process: a model per topic behind a lock, and the backend's timer.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::model::{Model, Woken};
#[cfg(target_family = "wasm")]
use super::store::Position;
use super::store::{
    Appended, Change, Changes, Look, MAX_GROUPS, NewEvent, Read, Settings, Settle, Settled, Span, Take, Taken,
    TopicStore, View, read_dead_cursor,
};
use crate::backend::SETTLING_STEPS;
use crate::backend::memory::cells::{self, Cells};
use crate::backend::memory::deadlines::Mark;
use crate::backend::memory::{Sweep, Timer};
use crate::bell::Bell;
use crate::error::Result;
use crate::hash::HashMap;
use crate::name::Address;
use crate::runtime::{BoxFuture, ready};
use crate::time::{Now, Timestamp};

/// Whether an empty topic is forgotten with its groups. Outside pages, groups are kept until they are removed. In a
/// page, nobody can remove them.
const FORGETS_GROUPS: bool = cfg!(target_family = "wasm");

/// All topics of this process.
#[derive(Debug)]
pub(crate) struct MemoryTopic {
    cells: Cells<Cell>,
}

/// One topic.
#[derive(Debug, Default)]
struct Cell {
    model: Mutex<Model>,
    bells: Mutex<Bells>,
    mark: Mark,
}

/// The bells of waiters, by group; `None` is for followers.
type Bells = HashMap<Option<Arc<str>>, Weak<Bell>>;

impl MemoryTopic {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { cells: Cells::new(timer) }
    }

    /// One atomic step on a group or, without one, on the log: it carries out what is overdue, then the operation, then
    /// the wake-ups.
    fn step<T>(&self, topic: &Address, group: Option<&str>, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let cell = self.cells.get(topic);
        let now = self.cells.now();
        let mut model = cell.lock();
        model.advance(now, group);
        let outcome = operation(&mut model, now);
        let woken = model.wake(now);
        let next = match group {
            Some(group) => model.next_group_deadline(group),
            None => model.next_log_deadline(),
        };
        cell.end_step(model, woken);
        self.cells.file_or_set_aside(topic, &cell, next);
        outcome
    }

    /// Steps until nothing is overdue, but leaves the last of the `SETTLING_STEPS` to the caller's own step.
    fn settle_down(&self, topic: &Address, group: Option<&str>) {
        for _ in 1..SETTLING_STEPS {
            if !self.step(topic, group, |model, _| model.is_settling()) {
                return;
            }
        }
    }

    fn publish_now(
        &self,
        (topic, cell): (&Address, &Cell),
        mut model: MutexGuard<'_, Model>,
        now: Now,
        settings: Settings,
        batch: Vec<NewEvent>,
    ) -> Appended {
        model.advance(now, None);
        let appended = model.publish(now, settings, batch);
        let woken = model.wake_after_publish(now);
        let next = model.next_log_deadline();
        cell.end_step(model, woken);
        self.cells.file(topic, cell, next);
        appended
    }

    fn take_now(&self, topic: &Address, group: &Arc<str>, take: &Take) -> Result<Taken> {
        loop {
            let step = |model: &mut Model, now| (model.take(now, group, take), model.is_settling());
            let (taken, settling) = self.step(topic, Some(group), step);
            let Some(mut taken) = taken else { return Err(super::store::too_many_groups(MAX_GROUPS)) };
            if settling && taken.len() < take.max {
                // The receiver was not parked. If it waits, it must look again at once.
                taken.next = Some(0);
            }
            if !settling || !taken.events.is_empty() || taken.gap.is_some() || take.max == 0 {
                return Ok(taken);
            }
        }
    }

    fn look_now(&self, topic: &Address, look: &Look) -> Result<View> {
        let after = match look {
            Look::ListDead { after, .. } => after.as_deref().map(read_dead_cursor).transpose()?,
            _ => None,
        };
        let groups = match look {
            Look::Group { group } | Look::GetDead { group, .. } | Look::ListDead { group, .. } => {
                vec![Arc::clone(group)]
            }
            Look::Groups => self.step(topic, None, |model, now| model.overdue_groups(now)),
            _ => Vec::new(),
        };
        for group in &groups {
            self.settle_down(topic, Some(group));
        }
        let group = groups.first().filter(|_| groups.len() == 1).map(|group| &**group);
        Ok(self.step(topic, group, |model, now| model.look(now, look, after)))
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("the model does not panic")
    }

    fn end_step(&self, model: MutexGuard<'_, Model>, woken: Woken) {
        drop(model);
        if woken == Woken::default() {
            return;
        }
        let bells = self.bells.lock().expect("no code panics while it holds this lock");
        let names = woken.groups.into_iter().map(Some).chain(woken.followers.then_some(None));
        let ringing: Vec<_> = names.filter_map(|name| bells.get(&name).and_then(Weak::upgrade)).collect();
        drop(bells);
        for bell in ringing {
            bell.ring();
        }
    }
}

impl cells::Cell for Cell {
    const NUMBERS_KEPT: u64 = 24 * 3_600_000;

    fn deadlines(&self) -> (Option<u64>, Option<u64>) {
        let model = self.lock();
        (model.next_deadline(), model.is_idle_since(FORGETS_GROUPS))
    }

    fn sweep(&self, now: Now) -> Option<u64> {
        let mut model = self.lock();
        for group in model.overdue_groups(now) {
            model.advance(now, Some(&group));
        }
        model.advance(now, None);
        let woken = model.wake(now);
        let next = model.next_deadline().or_else(|| Self::forgotten_at(model.is_idle_since(FORGETS_GROUPS)));
        self.end_step(model, woken);
        next
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn is_waited_for(&self) -> bool {
        let bells = self.bells.lock().expect("no code panics while it holds this lock");
        bells.values().any(|bell| bell.strong_count() > 0)
    }
}

impl TopicStore for MemoryTopic {
    fn is_local(&self) -> bool {
        true
    }

    fn publish(
        &self,
        topic: &Address,
        settings: Settings,
        batch: Vec<NewEvent>,
    ) -> BoxFuture<'static, Result<Appended>> {
        let cell = self.cells.get(topic);
        let now = self.cells.now();
        let model = cell.lock();
        ready(Ok(self.publish_now((topic, &cell), model, now, settings, batch)))
    }

    #[cfg(target_family = "wasm")]
    fn publish_recorded(
        &self,
        topic: &Address,
        settings: Settings,
        event: NewEvent,
        record: &mut dyn FnMut(Position) -> bool,
    ) -> Option<Appended> {
        let cell = self.cells.get(topic);
        // Both steps use the same instant. Otherwise the event might get another place.
        let now = self.cells.now();
        let place = cell.lock().next_place(now);
        // `record` may call anything, so nothing is locked while it runs.
        record(place).then(|| self.publish_now((topic, &cell), cell.lock(), now, settings, vec![event]))
    }

    fn take(&self, topic: &Address, group: &Arc<str>, take: Take) -> BoxFuture<'static, Result<Taken>> {
        ready(self.take_now(topic, group, &take))
    }

    fn settle(
        &self,
        topic: &Address,
        group: &Arc<str>,
        settles: Vec<Settle>,
    ) -> BoxFuture<'static, Result<Vec<Settled>>> {
        ready(Ok(self.step(topic, Some(group), |model, now| model.settle(now, group, settles))))
    }

    fn change(&self, topic: &Address, change: Change) -> BoxFuture<'static, Result<Changes>> {
        let group = change.group().cloned();
        self.settle_down(topic, group.as_deref());
        ready(Ok(self.step(topic, group.as_deref(), |model, now| model.change(now, change))))
    }

    fn look(&self, topic: &Address, look: Look) -> BoxFuture<'static, Result<View>> {
        ready(self.look_now(topic, &look))
    }

    fn read(&self, topic: &Address, read: Read) -> BoxFuture<'static, Result<Span>> {
        ready(Ok(self.step(topic, None, |model, now| {
            let span = model.read(now, read);
            if read.park && span.events.is_empty() {
                model.park_follower();
            }
            span
        })))
    }

    fn bell(&self, topic: &Address, group: Option<&Arc<str>>) -> Arc<Bell> {
        let cell = self.cells.get_to_wait(topic);
        let mut bells = cell.bells.lock().expect("no code panics while it holds this lock");
        if let Some(bell) = bells.get(&group.cloned()).and_then(Weak::upgrade) {
            return bell;
        }
        let bell = Arc::new(Bell::default());
        bells.retain(|_, bell| bell.strong_count() > 0);
        bells.insert(group.cloned(), Arc::downgrade(&bell));
        bell
    }
}

impl Sweep for MemoryTopic {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.cells.sweep(now)
    }
}
