//! Queries: the object at one instant. They change no outcome.

use std::ops::Bound;
use std::sync::Arc;

use super::super::store::{LeaderView, Look, MAX_BYTES, ScheduleView, StatsView, View};
use super::{LATE, Model, Now, Plan};

impl Model {
    /// Answers a query. What is overdue was carried out before.
    pub(crate) fn look(&mut self, now: Now, look: &Look) -> View {
        match look {
            Look::Now => View::Now(now.ms),
            Look::Get { id } => View::Schedule(self.schedules.get(id).map(|entry| Box::new(entry.view()))),
            Look::List { limit, after } => {
                let (schedules, more) = self.list(*limit, after.as_ref());
                View::Schedules(schedules, more)
            }
            Look::History { id } => {
                let history = self.schedules.get(id).map(|entry| entry.history.iter().rev().cloned().collect());
                View::History(history.unwrap_or_default())
            }
            Look::Letters { limit, before } => {
                let older = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
                let mut found: Vec<_> = self
                    .letters
                    .range::<u64, _>(older)
                    .rev()
                    .take(limit + 1)
                    .map(|(_, letter)| (**letter).clone())
                    .collect();
                let more = found.len() > *limit;
                found.truncate(*limit);
                View::Letters(found, more)
            }
            Look::Letter { number } => View::Letter(self.letters.get(number).cloned()),
            Look::Awaits { id, born, run } => View::Awaits(self.awaits(id, *born, *run)),
            Look::Stats => View::Stats(self.stats(now)),
        }
    }

    fn awaits(&self, id: &str, born: u64, run: u64) -> bool {
        let Some(entry) = self.schedules.get(id).filter(|entry| entry.born == born) else { return false };
        let planned = |plan: &Plan| (plan.first_run..plan.first_run + plan.slots.len() as u64).contains(&run);
        entry.plan.as_ref().is_some_and(planned) || self.triggers.contains_key(&(born, run))
    }

    fn list(&self, limit: usize, after: Option<&Arc<str>>) -> (Vec<ScheduleView>, bool) {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut bytes = 0;
        let mut found = Vec::new();
        for (_, entry) in self.schedules.range::<Arc<str>, _>(from) {
            bytes += entry.size();
            if found.len() == limit || (bytes > MAX_BYTES && !found.is_empty()) {
                return (found, true);
            }
            found.push(entry.view());
        }
        (found, false)
    }

    fn stats(&self, now: Now) -> StatsView {
        let [active, paused, unserved, failing, quarantined, finished] = self.states;
        let behind = (now.ms + 1, Arc::from(""));
        let due_now = self.due.range(..behind.clone()).count()
            + self.again.range(..behind.clone()).count()
            + self.again.range((LATE, Arc::from(""))..).count();
        let oldest = self.due.first().into_iter().chain(self.behind.first()).map(|(at, _)| *at).min();
        let next = [self.due.range(behind.clone()..).next(), self.again.range(behind..).next()];
        StatsView {
            active,
            paused,
            unserved,
            failing,
            quarantined,
            finished,
            due_now: due_now as u64,
            most_overdue: oldest.filter(|at| *at <= now.ms).map(|at| now.ms - at),
            leader: self.leading(now).map(|leader| LeaderView {
                instance: Arc::clone(&leader.instance),
                epoch: leader.epoch,
                left: leader.until - now.ms,
            }),
            epoch: self.epoch,
            next_due: next.into_iter().flatten().map(|(at, _)| *at).filter(|at| *at < LATE).min(),
            letters: self.letters.len() as u64,
            letters_lost: self.letters_lost,
            zones: self.zones.clone(),
            handlers: self.served.keys().filter(|handler| self.is_served(now, handler)).cloned().collect(),
        }
    }
}
