//! Retry budgets as a pure state machine: token buckets that are refilled by time and by successes.
//!
//! A bucket is the token bucket of Turner, "New directions in communications (or which way to the information age?)"
//! (1986); paying retries from one that successes fill is the retry budget of Finagle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::hash::HashMap;
use crate::name::Address;
use crate::retry::store::{Numbers, Take, Taken};
use crate::time::{DAY, Timestamp};

/// Rate times milliseconds counts millionths of a thousandth of a token.
const PART: u128 = 1_000_000;

/// A budget that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Thousandths of a token.
    level: u64,
    /// The instant up to which `level` includes the gain by time.
    at: Timestamp,
    /// From this instant on the bucket is full again, or may be forgotten.
    until: Timestamp,
}

impl Bucket {
    pub(crate) fn full(numbers: &Numbers, now: Timestamp) -> Self {
        Self { level: numbers.capacity, at: now, until: now }
    }

    /// Adds to the level. This commutes with the gain by time, so it needs no timestamp.
    pub(crate) fn credit(&mut self, numbers: &Numbers, credit: u64) {
        self.level = self.level.saturating_add(credit).min(numbers.capacity);
    }

    /// Credits, then takes. Also returns whether the bucket changed: a refusal changes nothing, so that frequent
    /// requests cannot round the gain away. `remembered`: how long an unused bucket is kept before it counts as full.
    pub(crate) fn take(&mut self, now: Timestamp, take: &Take, remembered: Duration) -> (Taken, bool) {
        let mut next = self.settled(&take.numbers, now);
        next.credit(&take.numbers, take.credit);
        let taken = next.level >= take.amount;
        if taken {
            next.level -= take.amount;
        }
        let changed = (taken && take.amount > 0) || take.credit > 0 || now < self.at;
        if changed {
            next.until = now + next.refill_time(&take.numbers).min(remembered);
            *self = next;
        }
        (Taken { taken, level: next.level }, changed)
    }

    fn settled(&self, numbers: &Numbers, now: Timestamp) -> Self {
        if now < self.at {
            // The clock was set back: nothing was gained since, and time counts from here on.
            return Self { level: self.level.min(numbers.capacity), at: now, until: now };
        }
        let missing = numbers.capacity.saturating_sub(self.level);
        let gained = u128::from(now.as_millis() - self.at.as_millis()) * u128::from(numbers.rate);
        if now >= self.until || gained >= u128::from(missing) * PART {
            return Self::full(numbers, now);
        }
        // A remainder below one thousandth stays in the time that is still to be counted.
        let rest = (gained % PART).checked_div(u128::from(numbers.rate)).unwrap_or(0);
        let whole = u64::try_from(gained / PART).expect("the gain is less than what is missing");
        let uncounted = u64::try_from(rest).expect("less than a million");
        Self { level: self.level + whole, at: Timestamp::from_millis(now.as_millis() - uncounted), until: now }
    }

    /// When an unused bucket is full again.
    fn refill_time(&self, numbers: &Numbers) -> Duration {
        let missing = u128::from(numbers.capacity.saturating_sub(self.level));
        let millis = match numbers.rate {
            0 => u128::MAX,
            rate => (missing * PART).div_ceil(u128::from(rate)),
        };
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// All budgets of one backend. A full one needs no record.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    records: HashMap<Arc<Address>, Record>,
    /// Records by their `until`; the number distinguishes those of the same instant.
    ends: BTreeMap<(Timestamp, u64), Arc<Address>>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    bucket: Bucket,
    end: (Timestamp, u64),
}

impl Budgets {
    /// Credits a budget, then takes from it.
    pub(crate) fn take(&mut self, budget: &Address, take: &Take, now: Timestamp) -> Taken {
        let known = self.records.get(budget).copied();
        let mut bucket = known.map_or_else(|| Bucket::full(&take.numbers, now), |record| record.bucket);
        let (taken, changed) = bucket.take(now, take, DAY);
        if changed {
            let named = known.and_then(|record| self.ends.remove(&record.end));
            if bucket.level >= take.numbers.capacity {
                self.records.remove(budget);
            } else {
                let end = (bucket.until, self.next);
                self.next += 1;
                let named = named.unwrap_or_else(|| Arc::new(budget.clone()));
                self.ends.insert(end, Arc::clone(&named));
                self.records.insert(named, Record { bucket, end });
            }
        }
        taken
    }

    /// Forgets up to `limit` budgets that are full again.
    pub(crate) fn sweep(&mut self, now: Timestamp, limit: usize) {
        for _ in 0..limit {
            let Some(entry) = self.ends.first_entry().filter(|entry| entry.key().0 <= now) else { return };
            self.records.remove(&entry.remove());
        }
    }

    /// When the next record can be forgotten.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.ends.first_key_value().map(|((until, _), _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::store::TOKEN;
    use crate::time::HOUR;

    const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn address() -> Address {
        Address::new(&"default".into(), "payments")
    }

    fn take(capacity: u64, rate: u64) -> Take {
        Take { numbers: Numbers { capacity: capacity * TOKEN, rate }, credit: 0, amount: TOKEN }
    }

    #[test]
    fn a_full_bucket_gives_its_capacity_and_then_its_rate() {
        let (mut budgets, request) = (Budgets::default(), take(100, 10_000_000));
        let mut count = |now| (0..1_000).filter(|_| budgets.take(&address(), &request, now).taken).count();
        assert_eq!(count(START), 100);
        assert_eq!(count(START + Duration::from_millis(99)), 0);
        assert_eq!(count(START + Duration::from_millis(100)), 1);
        assert_eq!(count(START + Duration::from_millis(1_100)), 10);
        assert_eq!(count(START + HOUR), 100);
    }

    #[test]
    fn asking_often_does_not_round_the_gain_away() {
        // 0.3 of a thousandth per millisecond, requested every millisecond.
        let (mut budgets, request) = (Budgets::default(), take(1, 300_000));
        assert!(budgets.take(&address(), &request, START).taken);
        let credit = Take { credit: 1, amount: 0, ..request };
        let mut taken = Vec::new();
        for millis in 1..=10_000 {
            let now = START + Duration::from_millis(millis);
            if budgets.take(&address(), &request, now).taken {
                taken.push(millis);
            }
            if millis == 1_000 {
                budgets.take(&address(), &credit, now);
            }
        }
        // One thousandth came from the credit: the other 999 take 3,330 ms.
        assert_eq!(taken.len(), 3, "{taken:?}");
        assert!((3_330..=3_334).contains(&taken[0]), "{taken:?}");
    }

    #[test]
    fn a_credit_never_fills_above_the_capacity() {
        let (mut budgets, request) = (Budgets::default(), take(2, 0));
        assert_eq!(budgets.take(&address(), &request, START), Taken { taken: true, level: TOKEN });
        let credit = Take { credit: 5 * TOKEN, ..request };
        assert_eq!(budgets.take(&address(), &credit, START), Taken { taken: true, level: TOKEN });
        assert_eq!(budgets.take(&address(), &request, START), Taken { taken: true, level: 0 });
        assert_eq!(budgets.take(&address(), &request, START), Taken { taken: false, level: 0 });
    }

    #[test]
    fn a_clock_that_is_set_back_neither_gives_nor_freezes() {
        let (mut budgets, request) = (Budgets::default(), take(1, 1_000_000));
        assert!(budgets.take(&address(), &request, START + HOUR).taken);
        assert!(!budgets.take(&address(), &request, START).taken);
        assert!(!budgets.take(&address(), &request, START + Duration::from_millis(999)).taken);
        assert!(budgets.take(&address(), &request, START + Duration::from_secs(1)).taken);
    }

    #[test]
    fn a_full_budget_is_forgotten_and_one_that_never_fills_after_a_day() {
        let mut budgets = Budgets::default();
        budgets.take(&address(), &take(100, 10_000_000), START);
        assert_eq!(budgets.next_deadline(), Some(START + Duration::from_millis(100)));
        budgets.take(&address(), &take(100, 0), START);
        assert_eq!(budgets.next_deadline(), Some(START + DAY));
        budgets.sweep(START + Duration::from_millis(86_399_999), 10);
        assert_eq!(budgets.records.len(), 1);
        budgets.sweep(START + DAY, 10);
        assert_eq!((budgets.records.len(), budgets.ends.len(), budgets.next_deadline()), (0, 0, None));
    }

    #[test]
    fn a_credit_that_fills_the_budget_leaves_no_record() {
        let mut budgets = Budgets::default();
        budgets.take(&address(), &take(100, 0), START);
        budgets.take(&address(), &Take { credit: TOKEN, amount: 0, ..take(100, 0) }, START);
        assert_eq!((budgets.records.len(), budgets.ends.len()), (0, 0));
    }

    #[test]
    fn a_bucket_gains_nothing_by_being_kept() {
        let take = Take { numbers: Numbers { capacity: TOKEN, rate: 0 }, credit: 0, amount: TOKEN };
        for (remembered, is_full_again) in [(Duration::MAX, false), (DAY, true)] {
            let mut bucket = Bucket::full(&take.numbers, START);
            assert!(bucket.take(START, &take, remembered).0.taken);
            assert_eq!(bucket.take(START + 10 * DAY, &take, remembered).0.taken, is_full_again);
        }
    }
}
