//! Which processes wait, and which of them is woken. Part of pure models.
//!
//! One of the waiting processes, the keeper, is responsible for the next deadline. Only the keeper is told it, so
//! that a single process takes when the deadline comes.

use std::collections::VecDeque;
use std::sync::Arc;

/// How long a parked process is remembered unless it parks again. A browser page is never forgotten: it is the only
/// process there, hears every wake-up, and so needs no timer to stay known.
pub(crate) const PARKED: u64 = if cfg!(target_family = "wasm") { u64::MAX / 4 } else { 10_000 };

/// The processes that wait for messages.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    /// (is the keeper, remembered until, process), sorted. A linear search is fine: parking goes through all of them
    /// anyway.
    parked: VecDeque<(bool, u64, Arc<str>)>,
    /// The deadline that the keeper was told; `None` if there was none.
    told: Option<u64>,
    /// The earliest deadline that this step added.
    soonest: Option<u64>,
}

impl Parking {
    /// Records a deadline, if any, added by this step, at which something may become deliverable.
    pub(crate) fn deadline(&mut self, at: impl Into<Option<u64>>) {
        self.soonest = self.soonest.into_iter().chain(at.into()).min();
    }

    /// Registers `process` as waiting. Returns the next deadline if the process becomes the keeper.
    pub(crate) fn park(&mut self, now: u64, process: &Arc<str>, next: impl FnOnce() -> Option<u64>) -> Option<u64> {
        self.parked.retain(|(_, until, parked)| *until > now && parked != process);
        let keeps = !self.parked.iter().any(|(keeps, _, _)| *keeps);
        let parked = (keeps, now + PARKED, Arc::clone(process));
        let place = self.parked.partition_point(|other| *other < parked);
        self.parked.insert(place, parked);
        if !keeps {
            return None;
        }
        self.told = next();
        // A deadline that this step added is included in what was told.
        self.soonest = None;
        self.told
    }

    /// Ends a step: wakes one process for each of `deliverable`, and the keeper if this step added an earlier
    /// deadline. `listening` tells whether a process still hears.
    pub(crate) fn wake(
        &mut self,
        now: u64,
        mut deliverable: usize,
        mut listening: impl FnMut(&Arc<str>) -> bool,
    ) -> Vec<Arc<str>> {
        let mut woken = Vec::new();
        while deliverable > 0 {
            let Some((_, until, process)) = self.parked.pop_front() else { break };
            if until > now && listening(&process) {
                deliverable -= 1;
                woken.push(process);
            }
        }
        // Nobody keeps a deadline that was told and has passed: its keeper may have found enough and not have parked
        // again.
        let told = self.told.filter(|told| *told > now);
        if self.soonest.take().is_some_and(|soonest| told.is_none_or(|told| soonest < told)) {
            while let Some((_, until, process)) = self.parked.pop_back() {
                if until > now && listening(&process) {
                    woken.push(process);
                    // There is no keeper until this process parks again, or until another one becomes keeper because
                    // this one finds enough and does not park.
                    self.told = None;
                    break;
                }
            }
        }
        woken
    }

    /// Removes `process` from those that wait. If there is no keeper after that, this step has to wake a process for
    /// the next deadline.
    pub(crate) fn leave(&mut self, now: u64, process: &Arc<str>, next: impl FnOnce() -> Option<u64>) {
        self.parked.retain(|(_, until, parked)| *until > now && parked != process);
        if !self.parked.iter().any(|(keeps, _, _)| *keeps) {
            self.told = None;
            self.soonest = next();
        }
    }

    /// Whether no process waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Ends a step while no process waits.
    pub(crate) fn nobody_waits(&mut self) {
        self.soonest = None;
    }

    /// Forgets deadlines. Waiting processes go on waiting.
    pub(crate) fn clear_deadlines(&mut self) {
        self.soonest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_000_000;

    fn process(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn an_earlier_deadline_wakes_who_keeps_the_next_one() {
        let mut parking = Parking::default();
        assert_eq!(parking.park(T, &process("keeper"), || Some(T + 50)), Some(T + 50));
        assert_eq!(parking.park(T, &process("other"), || Some(T + 50)), None);
        parking.deadline(T + 60);
        assert!(parking.wake(T, 0, |_| true).is_empty());
        parking.deadline(T + 40);
        assert_eq!(parking.wake(T, 0, |_| true), [process("keeper")]);
        // There is no keeper until one of them parks.
        parking.deadline(T + 70);
        assert_eq!(parking.wake(T, 0, |_| true), [process("other")]);
        assert_eq!(parking.park(T, &process("other"), || Some(T + 40)), Some(T + 40));
    }

    #[test]
    fn a_deadline_that_has_passed_is_kept_by_nobody() {
        let mut parking = Parking::default();
        parking.park(T, &process("keeper"), || Some(T + 50));
        parking.deadline(T + 90);
        assert!(parking.wake(T + 49, 0, |_| true).is_empty());
        parking.deadline(T + 90);
        assert_eq!(parking.wake(T + 50, 0, |_| true), [process("keeper")]);
    }

    #[test]
    fn who_waits_no_more_hands_the_next_deadline_on() {
        let mut parking = Parking::default();
        parking.park(T, &process("keeper"), || Some(T + 50));
        parking.park(T, &process("other"), || Some(T + 50));
        parking.leave(T, &process("other"), || Some(T + 50));
        assert!(parking.wake(T, 0, |_| true).is_empty(), "it is kept");
        parking.park(T, &process("other"), || Some(T + 50));
        parking.leave(T, &process("keeper"), || Some(T + 50));
        assert_eq!(parking.wake(T, 0, |_| true), [process("other")]);
        parking.leave(T, &process("other"), || Some(T + 50));
        assert!(parking.wake(T, 0, |_| true).is_empty() && parking.is_empty());
    }
}
