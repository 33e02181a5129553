//! How long a holder can prove that it holds its lease, by the clocks of its own machine.
//!
//! After Gray and Cheriton, "Leases" (SOSP 1989): the holder counts from before its request, the backend from its
//! answer, so the lease ends earlier for the holder. The margin covers clocks that run at different speeds.

use std::time::Duration;

use crate::time::{Clock, MINUTE, Tick, Timestamp};

/// If the wall clock gains more than this on the monotonic clock, the machine must have slept.
const SLEPT: Duration = Duration::from_secs(1);

/// One instant on both local clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) tick: Tick,
    wall: Timestamp,
}

impl Moment {
    pub(crate) fn of(clock: &Clock) -> Self {
        let (tick, wall) = clock.read();
        Self { tick, wall }
    }
}

/// The proof that follows from a confirmed grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    from: Moment,
    until: Tick,
}

impl Proof {
    /// The proof from an answer that granted `left`, to a request that began at `start`.
    pub(crate) fn new(start: Moment, left: Duration) -> Self {
        Self { from: start, until: start.tick.plus(left.saturating_sub(margin(left))) }
    }

    /// When the proof ends, unless the machine sleeps.
    pub(crate) fn until(&self) -> Tick {
        self.until
    }

    /// The remaining time.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        let by_wall = now.wall.since(self.from.wall);
        if by_wall > now.tick.since(self.from.tick).saturating_add(SLEPT) {
            return Duration::ZERO;
        }
        self.until.since(now.tick)
    }

    /// Accounts for a request in doubt: it began at `start` and may have set, or may yet set, the lease to `left`.
    pub(crate) fn shorten(&mut self, start: Moment, left: Duration) {
        self.until = self.until.min(Self::new(start, left).until);
    }
}

/// How much earlier than the backend a holder considers its lease ended.
pub(crate) fn margin(lease: Duration) -> Duration {
    (lease / 100).min(MINUTE).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{DAY, HOUR, ManualClock, SECOND};

    const START: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn moment(monotonic: Duration, wall: Duration) -> Moment {
        let clock = Clock::Manual(ManualClock::at(START));
        Moment { tick: clock.tick().plus(monotonic), wall: START + wall }
    }

    fn at(elapsed: Duration) -> Moment {
        moment(elapsed, elapsed)
    }

    #[test]
    fn it_ends_a_hundredth_before_the_lease() {
        let proof = Proof::new(at(Duration::ZERO), 10 * SECOND);
        assert_eq!(proof.left(at(Duration::ZERO)), Duration::from_millis(9_900));
        assert_eq!(proof.left(at(Duration::from_millis(9_899))), Duration::from_millis(1));
        assert_eq!(proof.left(at(Duration::from_millis(9_900))), Duration::ZERO);
    }

    #[test]
    fn the_margin_is_between_a_millisecond_and_a_minute() {
        let left = |lease| Proof::new(at(Duration::ZERO), lease).left(at(Duration::ZERO));
        assert_eq!(left(Duration::from_millis(20)), Duration::from_millis(19));
        assert_eq!(left(Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(left(30 * DAY) + MINUTE, 30 * DAY);
    }

    #[test]
    fn a_machine_that_slept_proves_nothing() {
        let proof = Proof::new(at(Duration::ZERO), HOUR);
        assert_ne!(proof.left(moment(SECOND, 2 * SECOND)), Duration::ZERO);
        assert_eq!(proof.left(moment(SECOND, 2 * SECOND + Duration::from_millis(1))), Duration::ZERO);
        // Setting the wall clock back does not indicate sleep.
        let back = Moment { wall: Timestamp::from_millis(0), ..at(SECOND) };
        assert_ne!(proof.left(back), Duration::ZERO);
    }

    #[test]
    fn a_request_in_doubt_only_shortens() {
        let mut proof = Proof::new(at(Duration::ZERO), 10 * SECOND);
        proof.shorten(at(SECOND), HOUR);
        assert_eq!(proof.until(), at(Duration::from_millis(9_900)).tick);
        proof.shorten(at(SECOND), SECOND);
        assert_eq!(proof.until(), at(Duration::from_millis(1_990)).tick);
    }
}
