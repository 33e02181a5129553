//! Accepting jobs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::store::{Acceptance, Accepted, Happened, Key, KeyKind, KeyLife, NewJob, Overlapping};
use super::{Bound, From, Job, Kind, Log, Model, Now};

impl Model {
    /// Accepts a batch, all or nothing.
    pub(crate) fn submit(&mut self, now: Now, batch: Vec<NewJob>) -> Accepted {
        debug_assert!(batch.len() == 1 || batch.iter().all(|job| job.origin.is_none()), "scheduled runs come singly");
        if let Some(full) = self.first_beyond_depth(now, &batch) {
            return full;
        }
        Accepted::All(batch.into_iter().map(|job| self.submit_one(now, job)).collect())
    }

    /// Checks the depth for the whole batch before anything is written. Duplicates take no room.
    fn first_beyond_depth(&self, now: Now, batch: &[NewJob]) -> Option<Accepted> {
        let mut depth = self.depth();
        let mut keys: Vec<(KeyKind, &str)> = Vec::new();
        for (index, job) in batch.iter().enumerate() {
            if let Some(key) = &job.key {
                if self.bound_to(now, key).is_some() || keys.contains(&(key.kind, &*key.text)) {
                    continue;
                }
                keys.push((key.kind, &key.text));
            }
            if job.origin.as_ref().is_some_and(|origin| self.judge_series(origin, job.key.is_some()).is_some()) {
                continue;
            }
            if let Some(limit) = job.max_depth.filter(|limit| depth >= *limit) {
                return Some(Accepted::Full { index, depth, limit });
            }
            depth += 1;
        }
        None
    }

    /// The job that a key is bound to.
    pub(super) fn bound_to(&self, now: Now, key: &Key) -> Option<u64> {
        let bound = self.keys.get(&(key.kind, Arc::clone(&key.text)))?;
        let over = bound.gone && bound.until.is_none_or(|until| until <= now.ms);
        (!over).then_some(bound.id)
    }

    fn submit_one(&mut self, now: Now, new: NewJob) -> Acceptance {
        if let Some(origin) = &new.origin {
            self.use_series(origin, now.ms);
        }
        if let Some(id) = new.key.as_ref().and_then(|key| self.bound_to(now, key)) {
            return Acceptance::Duplicate { id };
        }
        if let Some(origin) = &new.origin
            && let Some(against) = self.judge_series(origin, new.key.is_some())
        {
            self.refuse_slot(origin, against);
            return against;
        }
        let id = now.next_number(self.last_id);
        self.last_id = id;
        self.totals.submitted += 1;
        if let Some(key) = &new.key {
            self.bind(now, key, id);
        }
        if let Some(origin) = &new.origin {
            self.join_series(&origin.series, origin.slot, id);
        }
        let due = new.due.later_than(now.ms);
        let standing = due.unwrap_or_else(|| self.stand(now));
        let mut job = made(new, id, now.ms, standing);
        self.join_line(&mut job);
        self.log(&mut job, now.ms, Happened::Submitted);
        match due {
            Some(due) => self.wait(job, due, now.ms),
            // Due at its standing time, which is later than now if the clock stepped back. So a later job never
            // expires earlier.
            None => self.be_ready(job),
        }
        Acceptance::New { id }
    }

    /// The standing time of something that is due now: never before an earlier one, even if the clock steps back.
    pub(super) fn stand(&mut self, now: Now) -> u64 {
        self.last_standing = self.last_standing.max(now.ms);
        self.last_standing
    }

    pub(super) fn bind(&mut self, now: Now, key: &Key, id: u64) {
        let name = (key.kind, Arc::clone(&key.text));
        let until = match key.life {
            KeyLife::For(life) => Some(now.ms + life),
            KeyLife::WhileActive => None,
        };
        let old = self.keys.insert(name.clone(), Bound { id, until, gone: false });
        if let Some(Bound { gone: true, until: Some(until), .. }) = old {
            self.key_ends.remove(&(until, name.0, name.1));
        }
    }
}

fn made(new: NewJob, id: u64, now: u64, standing: u64) -> Job {
    let queued = new.origin.as_ref().filter(|origin| matches!(origin.overlap, Overlapping::Queue { .. }));
    // Lines of schedules begin with a NUL, which no ordering key does.
    let line = queued.map(|origin| format!("\0{}", origin.series).into()).or_else(|| new.content.ordering_key.clone());
    Job {
        id,
        priority: new.priority,
        submitted_at: now,
        standing,
        due: standing,
        attempt: 0,
        failures: 0,
        crashes: 0,
        reschedules: 0,
        fence: 0,
        settled: false,
        join: 0,
        line,
        started_at: 0,
        worker: "".into(),
        key: new.key,
        origin: new.origin.map(|origin| From { series: origin.series, told: origin.told }),
        rules: Arc::new(new.rules),
        content: Arc::new(new.content),
        progress: None,
        memos: Vec::new(),
        memo_bytes: 0,
        last_failures: VecDeque::new(),
        result: None,
        reason: None,
        log: Log::default(),
        groups: BTreeMap::new(),
        kind: Kind::Ready,
    }
}
