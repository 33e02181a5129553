//! The lease of a run as its worker knows it: how long it can be proven, and how soon it must be renewed.

use std::time::Duration;

use crate::proof::{Moment, Proof};
use crate::time::Tick;

#[derive(Debug)]
pub(super) struct Lease {
    /// `None` if the backend reports its end, at that instant, and nobody else judges it.
    proof: Option<Proof>,
    /// The least that a renewal gives, in milliseconds.
    given: u64,
    /// When the last heartbeat was sent of those that may have set another lease, or may yet do so.
    doubt: Option<Tick>,
    /// When the request was sent that set the lease: a heartbeat or the claim.
    set_at: Tick,
}

impl Lease {
    /// A lease that was requested at `asked`.
    pub(super) fn new(asked: Moment, given: u64, is_proven: bool) -> Self {
        let proof = is_proven.then(|| Proof::new(asked, Duration::from_millis(given)));
        Self { proof, given, doubt: None, set_at: asked.tick }
    }

    /// How long the lease can still be proven.
    pub(super) fn left(&self, now: Moment) -> Duration {
        self.proof.map_or(Duration::MAX, |proof| proof.left(now))
    }

    /// When the proof ends, unless the machine sleeps.
    pub(super) fn proven_until(&self) -> Option<Tick> {
        self.proof.map(|proof| proof.until())
    }

    /// The interval between renewals.
    pub(super) fn period(&self) -> Duration {
        Duration::from_millis(self.given) / 3
    }

    /// A heartbeat is about to be sent. Until one is answered, only the shorter of the two leases is certain: the
    /// heartbeat may be carried out even if its answer is never seen.
    pub(super) fn asking(&mut self, asked: Moment, lease: u64) {
        self.given = self.given.min(lease);
        self.doubt = Some(asked.tick);
        if let Some(proof) = &mut self.proof {
            proof.shorten(asked, Duration::from_millis(lease));
        }
    }

    /// Records the answer to a renewal that was sent at `asked`. `set`: it was a heartbeat that set the lease.
    pub(super) fn renewed(&mut self, asked: Moment, set: Option<u64>, mut left: u64) {
        let set = set.filter(|_| self.doubt.is_none_or(|since| since <= asked.tick));
        if let Some(set) = set {
            (self.given, self.doubt, self.set_at) = (set, None, asked.tick);
        } else if asked.tick < self.set_at {
            // The heartbeat that was answered earlier may have been carried out after this renewal.
            return;
        }
        if self.doubt.is_some() {
            // The backend may carry out the heartbeat after this renewal.
            left = left.min(self.given);
        }
        let Some(proof) = &mut self.proof else { return };
        let new = Proof::new(asked, Duration::from_millis(left));
        // Only a heartbeat shortens a lease. A renewal beyond timeout and grace leaves the end of the lease where it
        // is; and the longer its answer took, the less the answer proves.
        if set.is_some() || new.until() > proof.until() {
            *proof = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, ManualClock, SECOND, Timestamp};

    /// The instant `elapsed` ms after the claim, on both clocks of the machine.
    fn at(elapsed: u64) -> Moment {
        Moment::of(&Clock::Manual(ManualClock::at(Timestamp::from_millis(1_000_000 + elapsed))))
    }

    fn lease() -> Lease {
        Lease::new(at(0), 30_000, true)
    }

    #[test]
    fn a_heartbeat_without_an_answer_may_have_shortened_the_lease() {
        let mut lease = lease();
        lease.asking(at(1_000), 1_000);
        assert_eq!((lease.left(at(1_000)), lease.period()), (990 * MS, SECOND / 3));
        // A renewal that was carried out first, one that was carried out last, and one from before the heartbeat's
        // effect is known.
        for (asked, left) in [(500, 30_000), (1_300, 1_000), (1_600, 30_000)] {
            lease.renewed(at(asked), None, left);
            assert_eq!((lease.left(at(asked.max(1_000))), lease.period()), (990 * MS, SECOND / 3));
        }
        lease.renewed(at(1_900), Some(6_000), 6_000);
        assert_eq!((lease.left(at(1_900)), lease.period()), (5_940 * MS, 2 * SECOND));
    }

    #[test]
    fn a_heartbeat_without_an_answer_may_not_have_lengthened_the_lease() {
        let mut lease = lease();
        lease.asking(at(1_000), 60_000);
        assert_eq!((lease.left(at(1_000)), lease.period()), (28_700 * MS, 10 * SECOND));
        lease.renewed(at(1_000), Some(60_000), 60_000);
        assert_eq!((lease.left(at(1_000)), lease.period()), (59_400 * MS, 20 * SECOND));
    }

    #[test]
    fn an_older_answer_does_not_end_the_doubt() {
        let mut lease = lease();
        lease.asking(at(1_000), 9_000);
        lease.asking(at(2_000), 6_000);
        lease.renewed(at(1_000), Some(9_000), 9_000);
        assert_eq!((lease.left(at(2_000)), lease.period()), (5_940 * MS, 2 * SECOND));
    }

    #[test]
    fn an_answer_that_is_older_than_the_heartbeat_counts_for_nothing() {
        let mut lease = lease();
        lease.asking(at(2_000), 1_000);
        lease.renewed(at(2_000), Some(1_000), 1_000);
        lease.renewed(at(1_999), None, 30_000);
        assert_eq!(lease.left(at(2_000)), 990 * MS);
        lease.renewed(at(2_001), None, 1_000);
        assert_eq!(lease.left(at(2_001)), 990 * MS);
    }

    #[test]
    fn a_slow_answer_about_a_lease_that_was_not_renewed_shortens_nothing() {
        let mut lease = lease();
        lease.renewed(at(10_000), None, 30_000);
        lease.renewed(at(20_000), None, 15_000);
        assert_eq!(lease.left(at(25_000)), 14_700 * MS);
    }

    #[test]
    fn a_machine_that_slept_proves_no_lease() {
        let lease = lease();
        let mut awake = at(2_001);
        assert_eq!(lease.left(awake), 27_699 * MS);
        awake.tick = at(1_000).tick;
        assert_eq!(lease.left(awake), Duration::ZERO, "its timers stood still for a second");
        assert_eq!(Lease::new(at(0), 30_000, false).left(awake), Duration::MAX, "the backend is on the same machine");
    }

    const MS: Duration = Duration::from_millis(1);
}
