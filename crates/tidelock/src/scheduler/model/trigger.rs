//! The further data of schedules: accepted triggers, their keys, dead letters.

use std::sync::Arc;

use super::super::store::{
    Changes, Dispatched, Happened, LetterView, PlannedSlot, STEP, StateView, TRIGGER_PATIENCE, TriggerView,
};
use super::{Model, Now};

/// An accepted trigger that nobody confirmed.
#[derive(Clone, Debug)]
pub(super) struct Trigger {
    pub(super) view: TriggerView,
    /// When a leader must submit it.
    due: u64,
}

/// A key of triggers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    run: u64,
    memory: u64,
    /// The job, and the instant until which it is remembered; `None` while the trigger is not confirmed.
    done: Option<(u64, u64)>,
}

/// An item of a schedule's further data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owned {
    Key(Arc<str>),
    Letter(u64),
    Trigger(u64),
}

impl Owned {
    pub(super) fn first() -> Self {
        Self::Key("".into())
    }
}

/// A slot or trigger that was given up.
pub(super) struct GivenUp {
    pub(super) schedule: Arc<str>,
    pub(super) born: u64,
    pub(super) timing_revision: u64,
    pub(super) run: u64,
    pub(super) slot: Option<PlannedSlot>,
    pub(super) key: Option<Arc<str>>,
    pub(super) missed: u64,
    pub(super) rounds: u32,
}

impl Model {
    pub(super) fn trigger(
        &mut self,
        now: Now,
        id: &Arc<str>,
        key: Option<Arc<str>>,
        strict: bool,
        memory: u64,
    ) -> Changes {
        let Some(entry) = self.schedules.get(id) else { return Changes::Absent };
        let born = entry.born;
        if let Some(key) = &key {
            let name = (born, Arc::clone(key));
            if let Some(known) = self.keys.get_mut(&name) {
                match known.done {
                    None => {
                        known.memory = memory;
                        let view = self.triggers[&(born, known.run)].view.clone();
                        return Changes::Accepted(Box::new(view));
                    }
                    Some((job, until)) if now.ms < until => {
                        known.done = Some((job, now.ms + memory));
                        self.key_ends.remove(&(until, born, Arc::clone(key)));
                        self.key_ends.insert((now.ms + memory, born, Arc::clone(key)));
                        return Changes::Known { job };
                    }
                    Some(_) => {}
                }
            }
        }
        if let StateView::Quarantined { error, .. } = &entry.state {
            return Changes::Invalid { error: Arc::clone(error) };
        }
        let handler = entry.definition.handler.clone();
        if !strict && handler.as_ref().is_some_and(|handler| !self.is_served(now, handler)) {
            return Changes::MissingHandler;
        }
        Changes::Accepted(Box::new(self.accept(now, id, key, memory)))
    }

    fn accept(&mut self, now: Now, id: &Arc<str>, key: Option<Arc<str>>, memory: u64) -> TriggerView {
        let entry = self.schedules.get_mut(id).expect("it was found in this step");
        entry.run += 1;
        let (born, run) = (entry.born, entry.run);
        let view = TriggerView {
            id: Arc::clone(id),
            born,
            run,
            key: key.clone(),
            accepted_at: now.ms,
            content: entry.definition.content.clone(),
            handler: entry.definition.handler.clone(),
        };
        let due = now.ms + TRIGGER_PATIENCE;
        self.waiting.insert((due, born, run));
        self.earliest = self.earliest.min(due);
        self.triggers.insert((born, run), Box::new(Trigger { view: view.clone(), due }));
        self.owned.insert((born, Owned::Trigger(run)));
        if let Some(key) = key {
            // An expired key may not have been removed yet.
            self.disown(born, Owned::Key(Arc::clone(&key)));
            self.owned.insert((born, Owned::Key(Arc::clone(&key))));
            self.keys.insert((born, key), Key { run, memory, done: None });
        }
        view
    }

    /// Schedules a retry of an accepted trigger. Returns whether the trigger was waiting for this.
    pub(super) fn trigger_failed(&mut self, (id, born, run): (&Arc<str>, u64, u64), due: u64) -> bool {
        let Some(trigger) = self.triggers.get_mut(&(born, run)).filter(|trigger| trigger.view.id == *id) else {
            return false;
        };
        self.waiting.remove(&(trigger.due, born, run));
        trigger.due = due;
        self.waiting.insert((due, born, run));
        self.earliest = self.earliest.min(due);
        true
    }

    /// An accepted trigger was submitted, or refused in this many rounds. Returns whether it was waiting for this.
    pub(super) fn trigger_done(
        &mut self,
        now: Now,
        (id, born, run): (&Arc<str>, u64, u64),
        (outcome, rounds): (&Dispatched, u32),
        history: u64,
    ) -> bool {
        let waits = self.triggers.get(&(born, run)).is_some_and(|trigger| trigger.view.id == *id);
        if !waits || self.schedules.get(id).is_none_or(|entry| entry.born != born) {
            return false;
        }
        let TriggerView { key, accepted_at, .. } = self.triggers[&(born, run)].view.clone();
        self.disown(born, Owned::Trigger(run));
        if let Some(key) = &key {
            let name = (born, Arc::clone(key));
            match (self.keys.get_mut(&name), outcome) {
                (Some(known), Dispatched::Submitted { job, .. }) => {
                    let until = now.ms + known.memory;
                    known.done = Some((*job, until));
                    self.key_ends.insert((until, born, Arc::clone(key)));
                }
                // A new request with this key tries again.
                _ => self.disown(born, Owned::Key(Arc::clone(key))),
            }
        }
        let entry = self.schedules.get_mut(id).expect("it was found in this step");
        let what = Happened::Trigger { run, key: key.clone(), accepted_at, outcome: outcome.clone() };
        entry.remember(history, now.ms, what);
        let timing_revision = entry.timing_revision;
        if let Dispatched::GivenUp { error } = outcome {
            let schedule = Arc::clone(id);
            let given_up = GivenUp { schedule, born, timing_revision, run, slot: None, key, missed: 0, rounds };
            self.bury(now, given_up, error);
        }
        true
    }

    /// Writes a dead letter, and drops the oldest ones if there are too many.
    pub(super) fn bury(&mut self, now: Now, given_up: GivenUp, error: &Arc<str>) {
        let number = self.next_revision(now);
        let GivenUp { schedule, born, timing_revision, run, slot, key, missed, rounds } = given_up;
        let (error, epoch, at) = (Arc::clone(error), self.epoch, now.ms);
        self.owned.insert((born, Owned::Letter(number)));
        let letter = Box::new(LetterView {
            number,
            schedule,
            born,
            timing_revision,
            run,
            slot,
            key,
            missed,
            error,
            rounds,
            epoch,
            at,
        });
        self.letters.insert(number, letter);
        for _ in 0..STEP {
            if self.letters.len() as u64 <= self.max_letters {
                break;
            }
            let (oldest, born) = self.letters.first_key_value().map(|(oldest, of)| (*oldest, of.born)).expect("many");
            self.disown(born, Owned::Letter(oldest));
            self.letters_lost += 1;
        }
    }

    /// Removes an item of a schedule's further data.
    pub(super) fn disown(&mut self, born: u64, owned: Owned) {
        match &owned {
            Owned::Key(key) => {
                let name = (born, Arc::clone(key));
                if let Some(Key { done: Some((_, until)), .. }) = self.keys.remove(&name) {
                    self.key_ends.remove(&(until, born, Arc::clone(key)));
                }
            }
            Owned::Letter(number) => drop(self.letters.remove(number)),
            Owned::Trigger(run) => {
                if let Some(trigger) = self.triggers.remove(&(born, *run)) {
                    self.waiting.remove(&(trigger.due, born, *run));
                }
            }
        }
        self.owned.remove(&(born, owned));
    }

    pub(super) fn remove_letter(&mut self, number: u64) -> bool {
        let Some(born) = self.letters.get(&number).map(|letter| letter.born) else { return false };
        self.disown(born, Owned::Letter(number));
        true
    }
}
