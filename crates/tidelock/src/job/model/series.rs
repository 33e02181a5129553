//! What is remembered of schedules whose runs are submitted here: the newest slots, and the runs that are not over.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::store::{Acceptance, Origin, Overlapping, SlotNumber};
use super::{Job, Kind, Model};

/// How many slots are remembered with their answers: as many as a scheduler submits before it confirms them.
const SLOTS: usize = 8;

/// One schedule, as its target knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// The newest slots that were judged, in order, and the answers for their repeats.
    judged: VecDeque<(SlotNumber, Acceptance)>,
    /// Runs that are not over, by id.
    active: BTreeSet<u64>,
    /// How many of them are running.
    running: u64,
    /// When the series is forgotten, unless runs are left.
    until: u64,
}

impl Series {
    fn is_newer(&self, slot: SlotNumber) -> bool {
        self.judged.back().is_none_or(|(newest, _)| slot > *newest)
    }

    fn remember(&mut self, slot: SlotNumber, answer: Acceptance) {
        self.judged.push_back((slot, answer));
        if self.judged.len() > SLOTS {
            self.judged.pop_front();
        }
    }
}

impl Model {
    /// Judges the slot and the overlap rule of a run to be accepted; `None` accepts it. A late run, one with a key,
    /// is not refused because there are newer slots or because it was refused before.
    pub(super) fn judge_series(&self, origin: &Origin, is_late: bool) -> Option<Acceptance> {
        let series = self.series.get(&origin.series)?;
        if let Some(slot) = origin.slot.filter(|slot| !series.is_newer(*slot)) {
            let known = series.judged.iter().find(|(known, _)| *known == slot).map(|(_, answer)| *answer);
            match known {
                None | Some(Acceptance::Overlapping { .. }) if is_late => {}
                known => return Some(known.unwrap_or(Acceptance::Duplicate { id: 0 })),
            }
        }
        let active = *series.active.first()?;
        let waiting = series.active.len() as u64 - series.running;
        match origin.overlap {
            Overlapping::Allow => None,
            Overlapping::Queue { max } if waiting < max => None,
            Overlapping::Skip | Overlapping::Queue { .. } => Some(Acceptance::Overlapping { active }),
        }
    }

    /// Records a use of the series, whatever its outcome: from now on the series is remembered for its `memory`.
    pub(super) fn use_series(&mut self, origin: &Origin, now: u64) {
        let series = self.series.entry(Arc::clone(&origin.series)).or_default();
        self.series_ends.remove(&(series.until, Arc::clone(&origin.series)));
        series.until = series.until.max(now + origin.memory);
        if series.active.is_empty() {
            self.series_ends.insert((series.until, Arc::clone(&origin.series)));
        }
    }

    /// Records that a run of the series was accepted, or will run again.
    pub(super) fn join_series(&mut self, name: &Arc<str>, slot: Option<SlotNumber>, id: u64) {
        let series = self.series.entry(Arc::clone(name)).or_default();
        self.series_ends.remove(&(series.until, Arc::clone(name)));
        series.active.insert(id);
        if let Some(slot) = slot.filter(|slot| series.is_newer(*slot)) {
            series.remember(slot, Acceptance::Duplicate { id });
        }
    }

    /// Records that a run was refused: that is the answer for its slot, unless it has one.
    pub(super) fn refuse_slot(&mut self, origin: &Origin, answer: Acceptance) {
        let Some(series) = self.series.get_mut(&origin.series) else { return };
        if let Some(slot) = origin.slot.filter(|slot| series.is_newer(*slot)) {
            series.remember(slot, answer);
        }
    }

    pub(super) fn series_run_started(&mut self, job: &Job) {
        if let Some(series) = job.origin.as_ref().and_then(|from| self.series.get_mut(&from.series)) {
            series.running += 1;
        }
    }

    pub(super) fn series_run_ended(&mut self, job: &Job) {
        debug_assert!(matches!(job.kind, Kind::Running { .. }), "only what runs can stop to run");
        if let Some(series) = job.origin.as_ref().and_then(|from| self.series.get_mut(&from.series)) {
            series.running -= 1;
        }
    }

    /// Records that a job of the series has ended or is gone.
    pub(super) fn series_left(&mut self, job: &Job, at: u64) {
        let Some(from) = &job.origin else { return };
        let Some(series) = self.series.get_mut(&from.series) else { return };
        series.active.remove(&job.id);
        if series.active.is_empty() {
            series.until = series.until.max(at);
            self.series_ends.insert((series.until, Arc::clone(&from.series)));
        }
    }
}
