//! The lease of a run as its worker knows it: until when it can be proven, and how soon it has to be renewed.

use std::time::Duration;

use crate::proof::{Moment, Proof};
use crate::time::Tick;

#[derive(Debug)]
pub(super) struct Lease {
    /// `None`: the backend tells its end, in that instant, and nobody else judges it.
    proof: Option<Proof>,
    /// What a renewal gives at least, in milliseconds.
    given: u64,
    /// A heartbeat that may have set another lease, or may yet set it: when the last one was asked for.
    doubt: Option<Tick>,
}

impl Lease {
    /// A lease that was asked for at that moment.
    pub(super) fn new(asked: Moment, given: u64, is_proven: bool) -> Self {
        let proof = is_proven.then(|| Proof::new(asked, Duration::from_millis(given)));
        Self { proof, given, doubt: None }
    }

    /// How long it can still be proven.
    pub(super) fn left(&self, now: Moment) -> Duration {
        self.proof.map_or(Duration::MAX, |proof| proof.left(now))
    }

    /// When its proof ends, unless the machine sleeps.
    pub(super) fn proven_until(&self) -> Option<Tick> {
        self.proof.map(|proof| proof.until())
    }

    /// From one renewal to the next.
    pub(super) fn period(&self) -> Duration {
        Duration::from_millis(self.given) / 3
    }

    /// A heartbeat is about to be sent. Until one is answered the shorter of both leases counts: it may be carried out even
    /// if its answer is never seen.
    pub(super) fn asking(&mut self, asked: Moment, lease: u64) {
        self.given = self.given.min(lease);
        self.doubt = Some(asked.tick);
        if let Some(proof) = &mut self.proof {
            proof.shorten(asked, Duration::from_millis(lease));
        }
    }

    /// A renewal that was asked for at that moment left so much; `set`: it was a heartbeat that set the lease.
    pub(super) fn renewed(&mut self, asked: Moment, set: Option<u64>, mut left: u64) {
        if let Some(set) = set
            && self.doubt.is_none_or(|since| since <= asked.tick)
        {
            (self.given, self.doubt) = (set, None);
        }
        if self.doubt.is_some() {
            // The backend may carry out the heartbeat after this renewal.
            left = left.min(self.given);
        }
        if let Some(proof) = &mut self.proof {
            *proof = Proof::new(asked, Duration::from_millis(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, ManualClock, SECOND, Timestamp};

    /// So many milliseconds after the claim, on both clocks of the machine.
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
        // A renewal that went first, one that went last, and one that knows nothing of the heartbeat.
        for (asked, left) in [(500, 30_000), (1_300, 1_000), (1_600, 30_000)] {
            lease.renewed(at(asked), None, left);
            assert_eq!((lease.left(at(asked)), lease.period()), (990 * MS, SECOND / 3));
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
        assert_eq!((lease.left(at(2_000)), lease.period()), (4_940 * MS, 2 * SECOND));
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
