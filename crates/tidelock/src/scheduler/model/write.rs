//! The decisions and actions of the leader.

use std::sync::Arc;

use super::super::store::{Dispatched, Happened, LastView, PlannedSlot, StateView, Step, Write, Written};
use super::trigger::GivenUp;
use super::{Entry, Model, Next, Now, Plan};

impl Model {
    pub(crate) fn write(&mut self, now: Now, write: &Write) -> Written {
        let leads = |leader: &super::Leader| leader.epoch == write.epoch && leader.instance == write.instance;
        if !self.leading(now).is_some_and(leads) {
            return Written::Stale;
        }
        self.advance(now);
        self.max_letters = write.max_letters;
        let done = write.steps.iter().map(|step| self.step(now, step, write.history)).collect();
        // The leader knows when the results of its own steps are due.
        self.told = self.told.min(self.earliest);
        Written::Each(done)
    }

    fn step(&mut self, now: Now, step: &Step, history: u64) -> bool {
        match step {
            Step::Decide { id, revision, expected, as_of, next, slots, missed, missing_handler } => {
                let skipped = [
                    (*missed, Happened::Missed(*missed)),
                    (*missing_handler, Happened::MissingHandler(*missing_handler)),
                ];
                self.decide(now, (id, *revision, *expected, *as_of), *next, slots, skipped, history)
            }
            Step::Confirm { id, born, run, outcome } => self.confirm(now, (id, *born, *run), outcome, history),
            Step::Fail { id, born, run, error, delay } => self.fail((id, *born, *run), error, now.ms + delay),
            Step::Unserve { id, revision, handler } => {
                let served = self.is_served(now, handler);
                self.edit(id, |entry| {
                    let waits = entry.revision == *revision
                        && entry.state == StateView::Active
                        && entry.plan.is_none()
                        && entry.definition.handler.as_ref() == Some(handler);
                    if waits && !served {
                        entry.state = StateView::Unserved { since: now.ms };
                    }
                    waits && !served
                })
            }
            Step::Quarantine { id, revision, error } => self.edit(id, |entry| {
                let may = match entry.state {
                    StateView::Active | StateView::Failing { .. } | StateView::Unserved { .. } => true,
                    // Before its end, only the user may end a pause.
                    StateView::Paused { .. } => entry.is_over(now.ms),
                    StateView::Quarantined { .. } | StateView::Finished { .. } => false,
                };
                let may = may && entry.revision == *revision;
                if may {
                    entry.state = StateView::Quarantined { error: Arc::clone(error), since: now.ms };
                }
                may
            }),
            Step::Resume { id, revision, next, passed } => {
                let entry = self.schedules.get(id);
                let over = entry.is_some_and(|entry| entry.revision == *revision && entry.is_over(now.ms));
                if over {
                    self.go_on(now, id, *next, *passed, history);
                }
                over
            }
            Step::Move { id, revision, next } => self.edit(id, |entry| {
                let may = entry.revision == *revision && !matches!(entry.state, StateView::Finished { .. });
                if may {
                    entry.next = *next;
                    if matches!(entry.state, StateView::Quarantined { .. } | StateView::Unserved { .. }) {
                        entry.state = StateView::Active;
                    }
                    entry.rest(now.ms);
                }
                may
            }),
            Step::Zones { version } => {
                self.zones = Some(Arc::clone(version));
                true
            }
            Step::TriggerFail { id, born, run, delay } => self.trigger_failed((id, *born, *run), now.ms + delay),
            Step::TriggerDone { id, born, run, outcome, rounds } => {
                self.trigger_done(now, (id, *born, *run), (outcome, *rounds), history)
            }
        }
    }

    /// Changes a schedule. Returns the result of `change`, or false if there is no such schedule.
    fn edit(&mut self, id: &Arc<str>, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let Some(mut entry) = self.take_out(id) else { return false };
        let changed = change(&mut entry);
        let earliest = self.earliest;
        self.put(entry);
        if !changed {
            self.earliest = earliest;
        }
        changed
    }

    fn fail(&mut self, (id, born, run): (&Arc<str>, u64, u64), error: &Arc<str>, retry_at: u64) -> bool {
        self.edit(id, |entry| {
            let first = entry.born == born && entry.plan.as_ref().is_some_and(|plan| plan.first_run == run);
            let rounds = match entry.state {
                StateView::Active => 0,
                StateView::Failing { rounds, .. } => rounds,
                _ => return false,
            };
            if first {
                entry.state = StateView::Failing { rounds: rounds + 1, retry_at, error: Arc::clone(error) };
            }
            first
        })
    }

    fn decide(
        &mut self,
        now: Now,
        (id, revision, expected, as_of): (&Arc<str>, u64, u64, u64),
        next: Option<Next>,
        slots: &[PlannedSlot],
        [missed, missing_handler]: [(u64, Happened); 2],
        history: u64,
    ) -> bool {
        self.edit(id, |entry| {
            let waits = matches!(entry.state, StateView::Active | StateView::Unserved { .. }) && entry.plan.is_none();
            let as_expected = entry.next.is_some_and(|next| next.slot == expected);
            if entry.revision != revision || !waits || !as_expected {
                return false;
            }
            entry.next = next;
            entry.state = StateView::Active;
            if !slots.is_empty() {
                entry.plan = Some(Plan {
                    slots: slots.iter().copied().collect(),
                    first_run: entry.run + 1,
                    missed: missed.0,
                    decided_at: as_of,
                    definition: Arc::clone(&entry.definition),
                    timing_revision: entry.timing_revision,
                });
                entry.run += slots.len() as u64;
            }
            for (count, what) in [missed, missing_handler] {
                if count > 0 {
                    entry.remember(history, now.ms, what);
                }
            }
            entry.rest(now.ms);
            true
        })
    }

    fn confirm(
        &mut self,
        now: Now,
        (id, born, run): (&Arc<str>, u64, u64),
        outcome: &Dispatched,
        history: u64,
    ) -> bool {
        let mut given_up = None;
        let confirmed = self.edit(id, |entry| {
            let Some(plan) = entry.plan.as_mut().filter(|plan| plan.first_run == run && entry.born == born) else {
                return false;
            };
            let slot = plan.slots.pop_front().expect("a plan holds slots");
            let (missed, decided_at) = (std::mem::take(&mut plan.missed), plan.decided_at);
            plan.first_run += 1;
            let rounds = if let StateView::Failing { rounds, .. } = entry.state { rounds } else { 0 };
            let timing_revision = plan.timing_revision;
            if plan.slots.is_empty() {
                entry.plan = None;
            }
            if matches!(entry.state, StateView::Failing { .. }) {
                entry.state = StateView::Active;
            }
            match outcome {
                // A job of 0 means that it is no longer known which job the slot became.
                Dispatched::Submitted { job: 0, .. } | Dispatched::Overlapped { .. } => {}
                Dispatched::Submitted { job, lateness } => {
                    entry.last = Some(LastView { slot: slot.slot, job: *job, lateness: *lateness });
                }
                Dispatched::GivenUp { error } => {
                    let (schedule, slot) = (Arc::clone(id), Some(slot));
                    let rounds = rounds + 1;
                    let letter = GivenUp { schedule, born, timing_revision, run, slot, key: None, missed, rounds };
                    given_up = Some((letter, Arc::clone(error)));
                }
            }
            entry.remember(history, now.ms, Happened::Slot { run, slot, decided_at, outcome: outcome.clone() });
            entry.rest(now.ms);
            true
        });
        if let Some((letter, error)) = given_up {
            self.bury(now, letter, &error);
        }
        confirmed
    }

    /// Ends a pause.
    pub(super) fn go_on(&mut self, now: Now, id: &Arc<str>, next: Option<Next>, passed: u64, history: u64) {
        let revision = self.next_revision(now);
        self.edit(id, |entry| {
            entry.revision = revision;
            entry.next = next;
            entry.state = StateView::Active;
            if passed > 0 {
                entry.remember(history, now.ms, Happened::Paused(passed));
            }
            entry.rest(now.ms);
            true
        });
    }
}
