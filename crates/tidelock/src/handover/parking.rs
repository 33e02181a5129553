//! Processes that wait, and who of them is woken. Part of pure models.
//!
//! One of those that wait keeps the next deadline: it is told to no other, so that one process takes when it comes.

use std::collections::VecDeque;
use std::sync::Arc;

/// How long a parked process is remembered without parking again. A page is never forgotten: it is the only one there, it
/// hears everything, and needs no timer to be heard of.
pub(crate) const PARKED: u64 = if cfg!(target_family = "wasm") { u64::MAX / 4 } else { 10_000 };

/// The processes that wait for something to be handed out.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    /// (keeps the next deadline, remembered until, process), in that order: who parks looks through all of them anyway.
    parked: VecDeque<(bool, u64, Arc<str>)>,
    /// The deadline told to the process that keeps it; `None` if there was none to tell.
    told: Option<u64>,
    /// The earliest deadline that this step added.
    soonest: Option<u64>,
}

impl Parking {
    /// This step added a deadline at which something may be handed out.
    pub(crate) fn deadline(&mut self, at: u64) {
        self.soonest = Some(self.soonest.map_or(at, |soonest| soonest.min(at)));
    }

    /// Notes that `process` waits. Answers the next deadline if it is the one that keeps it.
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
        // What this very step added is part of what was told.
        self.soonest = None;
        self.told
    }

    /// Ends a step: wakes one process for each of `deliverable`, and the one that keeps the next deadline if this step
    /// added an earlier one. `listening` tells whether a process still hears.
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
        // What was told and has passed is kept by nobody: whoever kept it may have found enough and not have parked since.
        let told = self.told.filter(|told| *told > now);
        if self.soonest.take().is_some_and(|soonest| told.is_none_or(|told| soonest < told)) {
            while let Some((_, until, process)) = self.parked.pop_back() {
                if until > now && listening(&process) {
                    woken.push(process);
                    // Nobody keeps anything until it parks anew, or another one does because it finds enough.
                    self.told = None;
                    break;
                }
            }
        }
        woken
    }

    /// Notes that `process` waits no more. If nobody keeps the next deadline then, this step has to find somebody.
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

    /// Ends a step where no process waits.
    pub(crate) fn nobody_waits(&mut self) {
        self.soonest = None;
    }

    /// Forgets deadlines; who waits goes on waiting.
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
        // Nobody keeps anything until one of them parks.
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
