//! Decides which due slots are run, which were missed, and which slot is next.

use super::schedule::Misfire;
use super::store::{Next, PlannedSlot};
use super::timing::{Timing, Whose};

/// Missed slots are counted up to this number.
pub(crate) const COUNTED: u64 = 10_000;

/// The policies for late slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// A slot decided less than this after it was due is on time. With 0, it must be decided in the millisecond in
    /// which it is due.
    pub(crate) tolerance: u64,
    pub(crate) misfire: Misfire,
    pub(crate) max_catch_up_runs: u64,
}

/// The decision on a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The slots to run, in order.
    pub(crate) slots: Vec<PlannedSlot>,
    /// How many slots were missed and are not run, up to [`COUNTED`].
    pub(crate) missed: u64,
    /// The first slot that is not due yet.
    pub(crate) next: Option<Next>,
}

/// Decides the slots from `expected` on that are due at `now`.
///
/// It goes backwards from the last slot that is due, so a long outage costs no more than what can be run or counted.
/// The due instant is only computed for slots that may run. Every slot before a late one is late, too, because it was
/// due earlier.
pub(crate) fn decide(timing: &Timing, whose: Whose<'_>, expected: u64, now: u64, terms: Terms) -> Decision {
    let last_due = last_due(timing, whose, now).filter(|slot| *slot >= expected);
    let after = last_due.map_or_else(|| timing.first_from(expected), |slot| timing.next_after(slot));
    let next = after.map(|slot| timing.next(whose, slot));
    let mut behind = Backwards { timing, earliest: expected, slot: last_due };
    let planned = |slot, on_time| PlannedSlot { slot, due: timing.due(whose, slot), on_time };

    let mut slots = Vec::new();
    let mut late = None;
    for slot in &mut behind {
        let planned = planned(slot, true);
        if now - planned.due >= terms.tolerance.max(1) {
            late = Some(slot);
            break;
        }
        slots.push(planned);
    }
    let caught_up = match terms.misfire {
        Misfire::Skip => 0,
        Misfire::CatchUpOne => u64::from(slots.is_empty()),
        Misfire::CatchUpAll => terms.max_catch_up_runs,
    };
    let mut missed = 0;
    let mut left = caught_up;
    for slot in late.into_iter().chain(behind) {
        if left > 0 {
            left -= 1;
            slots.push(planned(slot, false));
        } else if missed < COUNTED {
            missed += 1;
        } else {
            break;
        }
    }
    slots.reverse();
    Decision { slots, missed, next }
}

/// The last slot that is due. Each slot is due before the next slot, so it is the last slot or the one before it.
fn last_due(timing: &Timing, whose: Whose<'_>, now: u64) -> Option<u64> {
    let slot = timing.last_before(now.saturating_add(1))?;
    if timing.due(whose, slot) <= now { Some(slot) } else { timing.last_before(slot) }
}

/// Iterates over slots backwards.
struct Backwards<'a> {
    timing: &'a Timing,
    earliest: u64,
    slot: Option<u64>,
}

impl Iterator for Backwards<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let slot = self.slot.filter(|slot| *slot >= self.earliest)?;
        self.slot = self.timing.last_before(slot);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::timing::Rhythm;
    use super::*;
    use crate::cron::Cron;

    const WHOSE: Whose<'_> = Whose { scheduler: "platform", schedule: "digest" };
    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    const POLICIES: [Misfire; 3] = [Misfire::Skip, Misfire::CatchUpOne, Misfire::CatchUpAll];

    fn cron(text: &str) -> Timing {
        Timing { rhythm: Rhythm::Cron(Cron::parse(text).unwrap()), jitter: 0 }
    }

    fn terms(misfire: Misfire) -> Terms {
        Terms { tolerance: MINUTE, misfire, max_catch_up_runs: 10 }
    }

    fn slots(decision: &Decision) -> Vec<u64> {
        decision.slots.iter().map(|slot| slot.slot).collect()
    }

    fn at(hour: u64, minute: u64, second: u64) -> u64 {
        hour * HOUR + minute * MINUTE + second * 1_000
    }

    #[test]
    fn an_outage_is_judged_to_the_number() {
        let timing = cron("*/5 * * * *");
        let judged = |misfire, now| decide(&timing, WHOSE, at(7, 5, 0), now, terms(misfire));
        let back = at(10, 2, 0);
        let [none, one, all] = POLICIES.map(|misfire| judged(misfire, back));
        assert_eq!((slots(&none), none.missed), (vec![], 36));
        assert_eq!((slots(&one), one.missed), (vec![at(10, 0, 0)], 35));
        let expected: Vec<_> = (0..10).map(|k| at(9, 15, 0) + k * 5 * MINUTE).collect();
        assert_eq!((slots(&all), all.missed), (expected, 26));
        assert!(all.slots.iter().all(|slot| !slot.on_time));

        let back = at(10, 0, 20);
        let [none, one, all] = POLICIES.map(|misfire| judged(misfire, back));
        assert_eq!((slots(&none), none.missed), (vec![at(10, 0, 0)], 35));
        assert_eq!((slots(&one), one.missed), (vec![at(10, 0, 0)], 35));
        let expected: Vec<_> = (0..11).map(|k| at(9, 10, 0) + k * 5 * MINUTE).collect();
        assert_eq!((slots(&all), all.missed), (expected, 25));
        assert_eq!(all.slots.iter().filter(|slot| slot.on_time).count(), 1);
        for decision in [none, one, all] {
            assert_eq!(decision.next, Some(Next { slot: at(10, 5, 0), due: at(10, 5, 0) }));
        }
    }

    #[test]
    fn each_minute_runs_once_whatever_the_policy() {
        let timing = cron("* * * * *");
        for misfire in POLICIES {
            let mut expected = at(9, 0, 0);
            for minute in 0..120 {
                // Decided at some time within its minute.
                let now = at(9, minute, minute % 60);
                let decision = decide(&timing, WHOSE, expected, now, terms(misfire));
                assert_eq!((slots(&decision), decision.missed), (vec![at(9, minute, 0)], 0), "{misfire:?} {minute}");
                assert!(decision.slots[0].on_time);
                expected = decision.next.unwrap().slot;
            }
        }
    }

    #[test]
    fn an_hour_missed_by_minutes_is_caught_up_once() {
        // Created at 09:59:30, and no leader until 10:05.
        let timing = cron("0 * * * *");
        let decision = decide(&timing, WHOSE, at(10, 0, 0), at(10, 5, 0), terms(Misfire::CatchUpOne));
        let slot = PlannedSlot { slot: at(10, 0, 0), due: at(10, 0, 0), on_time: false };
        assert_eq!((decision.slots, decision.missed), (vec![slot], 0));
    }

    #[test]
    fn without_tolerance_only_its_own_millisecond_is_on_time() {
        let timing = cron("0 * * * *");
        let strict = |misfire| Terms { tolerance: 0, ..terms(misfire) };
        let exact = decide(&timing, WHOSE, at(10, 0, 0), at(10, 0, 0), strict(Misfire::Skip));
        assert_eq!((slots(&exact), exact.missed), (vec![at(10, 0, 0)], 0));
        let late = decide(&timing, WHOSE, at(10, 0, 0), at(10, 0, 0) + 1, strict(Misfire::Skip));
        assert_eq!((slots(&late), late.missed), (vec![], 1));
        let last = decide(&timing, WHOSE, at(10, 0, 0), at(10, 1, 0) - 1, terms(Misfire::Skip));
        assert_eq!(slots(&last).len(), 1);
        let over = decide(&timing, WHOSE, at(10, 0, 0), at(10, 1, 0), terms(Misfire::Skip));
        assert_eq!((slots(&over).len(), over.missed), (0, 1));
    }

    #[test]
    fn a_year_of_seconds_costs_no_more_than_can_be_counted() {
        let timing = cron("* * * * * *");
        let now = 366 * 24 * HOUR;
        let before = Instant::now();
        let one = decide(&timing, WHOSE, 1_000, now, terms(Misfire::CatchUpOne));
        let all = Terms { max_catch_up_runs: 10_000, ..terms(Misfire::CatchUpAll) };
        let all = decide(&timing, WHOSE, 1_000, now, all);
        assert!(before.elapsed() < Duration::from_secs(20), "took {:?}", before.elapsed());
        // 60 are on time: those of 0 to 59 s ago.
        assert_eq!((one.slots.len(), one.missed), (60, COUNTED));
        assert_eq!((all.slots.len(), all.missed), (10_060, COUNTED));
        assert!(all.slots.windows(2).all(|pair| pair[0].slot + 1_000 == pair[1].slot));
    }

    #[test]
    fn missed_is_exact_up_to_its_limit() {
        let timing = cron("* * * * * *");
        let judged = |missed: u64| {
            let expected = HOUR * 24;
            let now = expected + (missed - 1) * 1_000 + MINUTE;
            decide(&timing, WHOSE, expected, now, terms(Misfire::Skip)).missed
        };
        assert_eq!(judged(9_999), 9_999);
        assert_eq!(judged(10_000), 10_000);
        assert_eq!(judged(10_001), 10_000);
    }

    #[test]
    fn jitter_moves_the_due_instant_and_lateness_counts_from_there() {
        let timing = Timing { jitter: 30 * MINUTE, ..cron("0 * * * *") };
        let due = timing.due(WHOSE, at(10, 0, 0));
        assert!((at(10, 0, 0)..at(10, 30, 0)).contains(&due));
        let early = decide(&timing, WHOSE, at(10, 0, 0), due - 1, terms(Misfire::Skip));
        assert_eq!((slots(&early), early.missed, early.next.unwrap().slot), (vec![], 0, at(10, 0, 0)));
        let in_time = decide(&timing, WHOSE, at(10, 0, 0), due + MINUTE - 1, terms(Misfire::Skip));
        assert_eq!(in_time.slots, [PlannedSlot { slot: at(10, 0, 0), due, on_time: true }]);
        assert_eq!(in_time.next.unwrap(), Next { slot: at(11, 0, 0), due: timing.due(WHOSE, at(11, 0, 0)) });
        let late = decide(&timing, WHOSE, at(10, 0, 0), due + MINUTE, terms(Misfire::Skip));
        assert_eq!((slots(&late), late.missed), (vec![], 1));
    }

    #[test]
    fn once_ends_with_its_slot() {
        let timing = Timing { rhythm: Rhythm::Once { at: at(10, 0, 0) }, jitter: 0 };
        let run = decide(&timing, WHOSE, at(10, 0, 0), at(10, 0, 30), terms(Misfire::Skip));
        assert_eq!((slots(&run), run.missed, run.next), (vec![at(10, 0, 0)], 0, None));
        let missed = decide(&timing, WHOSE, at(10, 0, 0), at(11, 0, 0), terms(Misfire::Skip));
        assert_eq!((slots(&missed), missed.missed, missed.next), (vec![], 1, None));
    }

    #[test]
    fn nothing_is_decided_before_what_is_expected() {
        let timing = cron("0 * * * *");
        let decision = decide(&timing, WHOSE, at(12, 0, 0), at(11, 30, 0), terms(Misfire::CatchUpAll));
        assert_eq!((slots(&decision), decision.missed, decision.next.unwrap().slot), (vec![], 0, at(12, 0, 0)));
    }
}
