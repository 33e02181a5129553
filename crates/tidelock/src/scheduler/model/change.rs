//! Changes by anybody but the leader.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::store::{Change, Changes, Definition, Guess, STEP, StateView};
use super::super::timing;
use super::{Entry, Model, Now};

impl Model {
    pub(crate) fn change(&mut self, now: Now, change: Change) -> Changes {
        self.advance(now);
        let outcome = match change {
            Change::Register { id, definition, guess, max_schedules } => {
                self.register(now, &id, definition, guess, max_schedules)
            }
            #[cfg(target_family = "wasm")]
            Change::Begin { id, next } => done_or(self.begin(now, &id, next), Changes::Absent),
            #[cfg(target_family = "wasm")]
            Change::Appeared { targets } => {
                self.appeared(&targets);
                Changes::Done
            }
            Change::Unregister { id } => {
                let was_there = self.forget(&id);
                self.clear_buried(STEP);
                done_or(was_there, Changes::Absent)
            }
            Change::Pause { id, for_at_most, reason } => self.pause(now, &id, for_at_most, reason),
            Change::Resume { id, revision, guess, passed, history } => {
                self.resume(now, &id, revision, guess, passed, history)
            }
            Change::Trigger { id, key, strict, memory } => self.trigger(now, &id, key, strict, memory),
            Change::TriggerDone { id, born, run, outcome, history } => {
                done_or(self.trigger_done(now, (&id, born, run), (&outcome, 1), history), Changes::Absent)
            }
            Change::RemoveLetter { number } => done_or(self.remove_letter(number), Changes::Absent),
            Change::PurgeLetters => {
                let numbers: Vec<_> = self.letters.keys().copied().collect();
                let removed = numbers.into_iter().filter(|number| self.remove_letter(*number)).count();
                Changes::Count(removed as u64)
            }
            Change::Delete => self.delete(now),
        };
        self.ring(now);
        outcome
    }

    fn register(
        &mut self,
        now: Now,
        id: &Arc<str>,
        definition: Definition,
        guess: Guess,
        max_schedules: u64,
    ) -> Changes {
        let Some(known) = self.schedules.get(id) else {
            if self.schedules.len() as u64 >= max_schedules {
                return Changes::Full { limit: max_schedules };
            }
            if !guess.holds(now) {
                return Changes::Now(now.ms);
            }
            self.create(now, id, definition, guess);
            return Changes::Created;
        };
        // A schedule whose state could not be read has lost its slot.
        let quarantined = matches!(known.state, StateView::Quarantined { .. });
        let lost = quarantined && known.next.is_none() && known.plan.is_none();
        // A different jitter does not bring back the slots of a schedule that has had all of them.
        let is_over = matches!(known.state, StateView::Finished { .. })
            && timing::without_jitter(&known.definition.timing) == timing::without_jitter(&definition.timing);
        let anew = lost || (known.definition.timing != definition.timing && !is_over);
        if *known.definition == definition && !quarantined {
            return Changes::Unchanged;
        }
        if anew && !guess.holds(now) {
            return Changes::Now(now.ms);
        }
        let revision = self.next_revision(now);
        let mut entry = self.take_out(id).expect("it was found in this step");
        entry.revision = revision;
        entry.updated_at = now.ms;
        let state = &mut entry.state;
        if matches!(state, StateView::Unserved { .. } | StateView::Quarantined { .. }) {
            *state = StateView::Active;
        }
        if anew {
            entry.timing_revision = revision;
            entry.next = guess.next;
            if matches!(state, StateView::Finished { .. }) {
                *state = StateView::Active;
            }
        }
        if *entry.definition != definition {
            entry.definition = Arc::new(definition);
        }
        entry.rest(now.ms);
        self.put(entry);
        Changes::Updated
    }

    #[cfg(target_family = "wasm")]
    fn begin(&mut self, now: Now, id: &Arc<str>, next: Option<super::Next>) -> bool {
        let Some(mut entry) = self.take_out(id) else { return false };
        if entry.plan.is_none() {
            entry.next = next;
            if matches!(entry.state, StateView::Finished { .. }) {
                entry.state = StateView::Active;
            }
            entry.rest(now.ms);
        }
        self.put(entry);
        true
    }

    fn create(&mut self, now: Now, id: &Arc<str>, definition: Definition, guess: Guess) {
        let revision = self.next_revision(now);
        let mut entry = Box::new(Entry {
            id: Arc::clone(id),
            born: revision,
            revision,
            timing_revision: revision,
            definition: Arc::new(definition),
            created_at: now.ms,
            updated_at: now.ms,
            next: guess.next,
            run: 0,
            state: StateView::Active,
            plan: None,
            last: None,
            history: VecDeque::new(),
        });
        entry.rest(now.ms);
        self.put(entry);
    }

    fn pause(&mut self, now: Now, id: &Arc<str>, for_at_most: Option<u64>, reason: Option<Arc<str>>) -> Changes {
        let Some(entry) = self.schedules.get(id) else { return Changes::Absent };
        let until = for_at_most.map(|duration| now.ms + duration);
        let since = match &entry.state {
            StateView::Finished { .. } => return Changes::Unchanged,
            StateView::Paused { reason: before, since, until: end } if !entry.is_over(now.ms) => {
                if *before == reason && *end == until {
                    return Changes::Unchanged;
                }
                *since
            }
            _ => now.ms,
        };
        let revision = self.next_revision(now);
        let mut entry = self.take_out(id).expect("it was found in this step");
        entry.revision = revision;
        entry.plan = None;
        entry.state = StateView::Paused { reason, since, until };
        self.put(entry);
        Changes::Done
    }

    fn resume(&mut self, now: Now, id: &Arc<str>, revision: u64, guess: Guess, passed: u64, history: u64) -> Changes {
        let Some(entry) = self.schedules.get(id) else { return Changes::Absent };
        // If the pause has reached its own end, the leader decides how to continue.
        if !matches!(entry.state, StateView::Paused { .. }) || entry.is_over(now.ms) {
            return Changes::Unchanged;
        }
        if entry.revision != revision {
            return Changes::Conflict;
        }
        if !guess.holds(now) {
            return Changes::Now(now.ms);
        }
        self.go_on(now, id, guess.next, passed, history);
        Changes::Done
    }

    /// Keeps only the numbers, so that none of them repeats. Started instances beat again.
    fn delete(&mut self, now: Now) -> Changes {
        let was_there = !self.schedules.is_empty() || !self.letters.is_empty();
        self.ring_others("");
        let news = self.take_news();
        let (epoch, revision) = (self.epoch, self.revision);
        *self = Self { epoch, revision, news, touched: now.ms, ..Self::default() };
        done_or(was_there, Changes::Unchanged)
    }
}

fn done_or(done: bool, otherwise: Changes) -> Changes {
    if done { Changes::Done } else { otherwise }
}
