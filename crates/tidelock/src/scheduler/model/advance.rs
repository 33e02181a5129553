//! Timed transitions, in bounded steps.

use std::sync::Arc;

use super::super::store::{LETTER_KEPT, STEP, StateView};
use super::trigger::Owned;
use super::{Model, NEVER, Now};

impl Model {
    /// Begins a step: carries out a bounded part of what is overdue.
    pub(crate) fn advance(&mut self, now: Now) {
        self.touched = now.ms;
        self.earliest = NEVER;
        let left = self.awaken(STEP);
        let left = self.clear_buried(left);
        let left = self.drop_finished(now, left);
        let left = self.drop_letters(now, left);
        let left = self.drop_keys(now, left);
        self.drop_instances(now, left);
    }

    /// A step that only carries out what is overdue.
    pub(crate) fn sweep(&mut self, now: Now) {
        self.advance(now);
        self.ring(now);
    }

    /// Whether more is overdue than one step carried out.
    pub(crate) fn is_settling(&self, now: Now) -> bool {
        self.next_deadline().is_some_and(|at| at <= now.ms)
    }

    /// The instant of the next timed transition.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if !self.awakening.is_empty() || !self.buried.is_empty() {
            return Some(1);
        }
        let ended = self.ended.first().map(|(at, _)| *at);
        let letter = self.letters.first_key_value().map(|(_, letter)| letter.at + LETTER_KEPT);
        let key = self.key_ends.first().map(|(at, ..)| *at);
        let instance = self.alive.first().map(|(at, _)| *at);
        ended.into_iter().chain(letter).chain(key).chain(instance).min()
    }

    /// Makes schedules due again whose handler has appeared. Returns how many of `left` steps remain.
    pub(super) fn awaken(&mut self, mut left: usize) -> usize {
        while left > 0 {
            let Some(handler) = self.awakening.first().cloned() else { break };
            let from = (Arc::clone(&handler), Arc::from(""));
            let found = self.unserved.range(from..).take_while(|(of, _)| *of == handler).take(left);
            let found: Vec<_> = found.map(|(_, id)| Arc::clone(id)).collect();
            if found.len() < left {
                self.awakening.remove(&handler);
            }
            left -= found.len();
            for id in found {
                let mut entry = self.take_out(&id).expect("an unserved schedule is stored");
                entry.state = StateView::Active;
                self.put(entry);
            }
        }
        left
    }

    pub(super) fn clear_buried(&mut self, mut left: usize) -> usize {
        while left > 0 {
            let Some(born) = self.buried.first().copied() else { break };
            let found = self.owned.range((born, Owned::first())..).take_while(|(of, _)| *of == born).take(left);
            let found: Vec<_> = found.map(|(_, owned)| owned.clone()).collect();
            if found.len() < left {
                self.buried.remove(&born);
            }
            left -= found.len();
            for owned in found {
                self.disown(born, owned);
            }
        }
        left
    }

    fn drop_finished(&mut self, now: Now, mut left: usize) -> usize {
        while left > 0 {
            let Some((_, id)) = self.ended.first().filter(|(at, _)| *at <= now.ms).cloned() else { break };
            self.forget(&id);
            left -= 1;
        }
        left
    }

    fn drop_letters(&mut self, now: Now, mut left: usize) -> usize {
        while left > 0 {
            let first = self.letters.first_key_value().filter(|(_, letter)| letter.at + LETTER_KEPT <= now.ms);
            let Some((number, born)) = first.map(|(number, letter)| (*number, letter.born)) else { break };
            self.disown(born, Owned::Letter(number));
            left -= 1;
        }
        left
    }

    fn drop_keys(&mut self, now: Now, mut left: usize) -> usize {
        while left > 0 {
            let Some((_, born, key)) = self.key_ends.first().filter(|(at, ..)| *at <= now.ms).cloned() else { break };
            self.disown(born, Owned::Key(key));
            left -= 1;
        }
        left
    }

    fn drop_instances(&mut self, now: Now, mut left: usize) {
        let mut handlers = Vec::new();
        while left > 0 {
            let Some((_, name)) = self.alive.first().filter(|(at, _)| *at <= now.ms).cloned() else { break };
            handlers.extend(self.drop_instance(&name));
            left -= 1;
        }
        self.withdraw(now, &handlers);
    }

    /// Removes a schedule. Its further data is removed at once or in the next steps.
    pub(super) fn forget(&mut self, id: &str) -> bool {
        let Some(entry) = self.take_out(id) else { return false };
        self.buried.insert(entry.born);
        true
    }
}
