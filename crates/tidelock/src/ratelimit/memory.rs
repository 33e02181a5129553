//! Rate limits in process: the model behind sharded locks. Identifiers are removed after their counts lapsed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::line::Lines;
use super::model::Counts;
use super::store::{Judge, LimiterStore, Outcome, RatelimitStore};
use crate::backend::memory::cells::give_back_room;
use crate::backend::memory::deadlines::{Deadlines, Mark};
use crate::backend::memory::{Sweep, Timer};
use crate::error::Result;
use crate::hash::HashMap;
use crate::name::{Address, Digested, MAX_KEY, digest_if_long};
use crate::runtime::BoxFuture;
use crate::time::{Now, Timestamp};

/// Locks per limiter: enough for callers on many threads to rarely contend.
const SHARDS: usize = 16;
/// Milliseconds per step. Identifiers are filed by the step in which they lapse, so each is gone within a second.
const STEP: u64 = 512;
/// Identifiers checked in one turn of the timer, per lock.
const SWEEP_AT_ONCE: usize = 500;

/// The counts of this process.
pub(crate) struct MemoryRatelimit {
    due: Arc<Deadlines>,
    limiters: Mutex<HashMap<Address, Arc<Limiter>>>,
    lines: Arc<Lines>,
}

impl MemoryRatelimit {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { due: Arc::new(Deadlines::new(timer)), limiters: Mutex::default(), lines: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Arc<Limiter>>> {
        self.limiters.lock().expect("no code panics while it holds this lock")
    }
}

impl RatelimitStore for MemoryRatelimit {
    fn limiter(&self, address: &Address) -> Arc<dyn LimiterStore> {
        let mut limiters = self.lock();
        if let Some(known) = limiters.get(address) {
            return Arc::clone(known) as _;
        }
        if limiters.len() >= 64 && limiters.len().is_power_of_two() {
            forget_unused(&mut limiters);
        }
        let limiter = Arc::new(Limiter::new(&self.due, address));
        limiters.insert(address.clone(), Arc::clone(&limiter));
        limiter as _
    }

    fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }
}

impl Sweep for MemoryRatelimit {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        for (at, address) in self.due.take_due(Now::from_millis(now.as_millis())) {
            let Some(limiter) = self.lock().get(&address).cloned() else { continue };
            limiter.mark.take_off(at);
            let next = limiter.sweep(now);
            drop(limiter);
            let mut limiters = self.lock();
            let Some(limiter) = limiters.get(&address) else { continue };
            match next {
                Some(next) => limiter.file(next),
                None if is_unused(limiter) => {
                    limiters.remove(&address);
                    give_back_room(&mut limiters);
                }
                // A handle to it exists.
                None => self.due.set_aside(&limiter.mark, &address),
            }
        }
        self.due.next()
    }
}

/// Whether it counts nothing and no handle refers to it. The caller has locked the map, so none can be created.
fn is_unused(limiter: &Arc<Limiter>) -> bool {
    Arc::strong_count(limiter) == 1 && limiter.is_empty()
}

/// Removes limiters that no sweep removes: one that never counted anything has no deadline.
fn forget_unused(limiters: &mut HashMap<Address, Arc<Limiter>>) {
    limiters.retain(|_, limiter| !is_unused(limiter));
}

impl fmt::Debug for MemoryRatelimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRatelimit").field("limiters", &self.lock().len()).finish_non_exhaustive()
    }
}

/// The counts of one limiter.
struct Limiter {
    due: Arc<Deadlines>,
    address: Address,
    mark: Mark,
    /// Hashes identifiers to choose their shard. The maps of the shards use the same hash.
    spread: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Limiter {
    fn new(due: &Arc<Deadlines>, address: &Address) -> Self {
        let spread = RandomState::default();
        let shard = || Mutex::new(Shard { entries: HashMap::with_hasher(spread.clone()), ..Shard::default() });
        let shards = std::array::from_fn(|_| shard());
        Self { due: Arc::clone(due), address: address.clone(), mark: Mark::default(), spread, shards }
    }

    fn file(&self, at: Timestamp) {
        self.due.file(&self.mark, &self.address, at.as_millis());
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        // The high bits, because the maps use the others.
        let shard = self.spread.hash_one(key) >> (u64::BITS - SHARDS.ilog2());
        lock(&self.shards[usize::try_from(shard).unwrap_or(0)])
    }

    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        self.shards.iter().filter_map(|shard| lock(shard).sweep(now)).min()
    }

    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| lock(shard).entries.is_empty())
    }

    fn judged(&self, judge: &Judge<'_>) -> Outcome {
        let key = key(&judge.identifier);
        let now = self.due.timer().clock().now();
        let mut shard = self.shard(&key);
        if let Some(entry) = shard.entries.get_mut(&*key) {
            let outcome = entry.counts.judge(now, judge);
            let step = step_of(entry.counts.lapse());
            if step < entry.step {
                entry.step = step;
                shard.file_earlier(&key, step);
                drop(shard);
                self.file(due(step));
            }
            return outcome;
        }
        let mut counts = Counts::default();
        let outcome = counts.judge(now, judge);
        if !counts.is_empty(now) {
            let due = shard.insert(&key, counts);
            drop(shard);
            self.file(due);
        }
        outcome
    }
}

impl LimiterStore for Limiter {
    fn judge_now(&self, judge: &Judge<'_>) -> Option<Outcome> {
        Some(self.judged(judge))
    }

    fn judge<'a>(&'a self, judge: Judge<'a>, _within: Duration) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move { Ok(self.judged(&judge)) })
    }

    fn reset<'a>(&'a self, identifier: &'a str, _within: Duration) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let now = self.due.timer().clock().now();
            let key = key(identifier);
            let removed = self.shard(&key).remove(&key);
            Ok(removed.is_some_and(|counts| !counts.is_empty(now)))
        })
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identifiers: usize = self.shards.iter().map(|shard| lock(shard).entries.len()).sum();
        f.debug_struct("Limiter").field("identifiers", &identifiers).finish_non_exhaustive()
    }
}

/// The key of an identifier: itself, or its digest after a NUL, which no identifier contains.
fn key(identifier: &str) -> Cow<'_, str> {
    if identifier.len() <= MAX_KEY {
        return Cow::Borrowed(identifier);
    }
    match digest_if_long("identifier", identifier) {
        Ok(Digested::Digest(hex)) => Cow::Owned(format!("\0{hex}")),
        // Invalid identifiers were refused earlier.
        Ok(Digested::Literal(_)) | Err(_) => Cow::Borrowed(identifier),
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().expect("no code panics while it holds this lock")
}

/// A part of the identifiers of one limiter.
#[derive(Default)]
struct Shard {
    entries: HashMap<Arc<str>, Entry>,
    /// Identifiers to check, by the step in which they were to lapse when they were filed.
    filed: BTreeMap<u64, Vec<Arc<str>>>,
    /// The number of identifiers in `filed`, including outdated entries of those that were filed again.
    filed_count: usize,
}

struct Entry {
    counts: Counts,
    /// The step under which it is filed.
    step: u64,
}

impl Shard {
    /// Returns when the identifier must be checked.
    fn insert(&mut self, key: &str, counts: Counts) -> Timestamp {
        let key: Arc<str> = key.into();
        let step = step_of(counts.lapse());
        self.file(step, &key);
        self.entries.insert(key, Entry { counts, step });
        due(step)
    }

    fn remove(&mut self, key: &str) -> Option<Counts> {
        let removed = self.entries.remove(key);
        self.file_anew_if_sparse();
        removed.map(|entry| entry.counts)
    }

    /// Files a known identifier that now lapses earlier. Its previous entry becomes outdated and is ignored.
    fn file_earlier(&mut self, key: &str, step: u64) {
        if let Some((key, _)) = self.entries.get_key_value(key) {
            let key = Arc::clone(key);
            self.file(step, &key);
        }
        self.file_anew_if_sparse();
    }

    fn file(&mut self, step: u64, key: &Arc<str>) {
        self.filed.entry(step).or_default().push(Arc::clone(key));
        self.filed_count += 1;
    }

    fn file_anew_if_sparse(&mut self) {
        if self.filed_count <= 2 * self.entries.len() + 64 {
            return;
        }
        self.filed.clear();
        self.filed_count = self.entries.len();
        for (key, entry) in &self.entries {
            self.filed.entry(entry.step).or_default().push(Arc::clone(key));
        }
    }

    fn sweep(&mut self, now: Timestamp) -> Option<Timestamp> {
        for _ in 0..SWEEP_AT_ONCE {
            let Some(mut filed) = self.filed.first_entry().filter(|filed| due(*filed.key()) <= now) else { break };
            let step = *filed.key();
            let Some(key) = filed.get_mut().pop() else {
                filed.remove();
                continue;
            };
            self.filed_count -= 1;
            self.look_at(&key, step, now);
        }
        self.shrink();
        self.filed.first_key_value().map(|(step, _)| due(*step))
    }

    fn look_at(&mut self, key: &Arc<str>, step: u64, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.step == step) else { return };
        if entry.counts.is_empty(now) {
            self.entries.remove(key);
        } else {
            // If the clock is behind the counts, they are kept longer than until their lapse.
            let next = step_of(entry.counts.lapse()).max(step + 1);
            entry.step = next;
            self.file(next, key);
        }
    }

    fn shrink(&mut self) {
        let entries = self.entries.len();
        if self.entries.capacity() > 64 && self.entries.capacity() / 8 > entries {
            self.entries.shrink_to(2 * entries);
        }
    }
}

/// The step after the one in which `lapse` lies.
fn step_of(lapse: Timestamp) -> u64 {
    lapse.as_millis() / STEP + 1
}

fn due(step: u64) -> Timestamp {
    Timestamp::from_millis(step.saturating_mul(STEP))
}

#[cfg(test)]
mod tests;
