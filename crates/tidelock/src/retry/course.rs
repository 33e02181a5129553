//! The decisions of one retried call between its attempts, independent of futures and error types.

use std::sync::Arc;
use std::time::Duration;

use crate::retry::{GaveUp, RetryBudget, RetryPolicy};
use crate::tidelock::World;
use crate::time::{Clock, Tick};

/// One run of the operation, as passed to the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    last: bool,
    elapsed: Duration,
    remaining: Option<Duration>,
}

impl Attempt {
    /// The number of the attempt, from 1; with unlimited attempts it stops at 2^32-1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether no attempt will follow, however this one ends.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Time from the first poll of the call to the start of this attempt.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The time this attempt has, measured at its start: until its timeout or the deadline, whichever is earlier.
    /// `None` if neither is set.
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }
}

/// The pause after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) delay: Duration,
    pub(super) elapsed: Duration,
    pub(super) until: Tick,
}

/// The clock of calls without a `Tidelock`.
static RUNTIME: Clock = Clock::System;

pub(super) struct Course {
    pub(super) policy: RetryPolicy,
    pub(super) budget: Option<RetryBudget>,
    pub(super) world: Option<Arc<World>>,
    pub(super) seed: Option<u64>,
    random: Option<fastrand::Rng>,
    start: Option<Tick>,
    deadline: Option<Tick>,
    pub(super) attempts: u32,
    last: bool,
    /// When the running attempt is cut off.
    pub(super) cut_off: Option<Tick>,
    pub(super) timed_out: bool,
    /// The pause that the server asked for after the last failure.
    hint: Option<Duration>,
}

impl Course {
    pub(super) fn new(policy: RetryPolicy, world: Option<Arc<World>>) -> Self {
        Self {
            policy,
            budget: None,
            world,
            seed: None,
            random: None,
            start: None,
            deadline: None,
            attempts: 0,
            last: false,
            cut_off: None,
            timed_out: false,
            hint: None,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        self.world.as_ref().map_or(&RUNTIME, |world| &world.clock)
    }

    /// The first poll, from which time is measured.
    pub(super) fn begin(&mut self) -> Tick {
        let now = self.clock().tick();
        self.start = Some(now);
        self.deadline = self.policy.deadline.map(|deadline| now.plus(deadline));
        now
    }

    pub(super) fn elapsed(&self, now: Tick) -> Duration {
        self.start.map_or(Duration::ZERO, |start| now.since(start))
    }

    pub(super) fn deadline(&self) -> Option<Tick> {
        self.deadline
    }

    pub(super) fn deadline_reached(&self, now: Tick) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    pub(super) fn next_attempt(&mut self, now: Tick) -> Attempt {
        self.attempts = self.attempts.saturating_add(1);
        self.last |= self.policy.attempts == Some(self.attempts);
        self.timed_out = false;
        let timeout = self.policy.attempt_timeout.map(|timeout| now.plus(timeout));
        self.cut_off = timeout.into_iter().chain(self.deadline).min();
        let remaining = self.cut_off.map(|cut_off| cut_off.since(now));
        Attempt { number: self.attempts, last: self.last, elapsed: self.elapsed(now), remaining }
    }

    /// Whether the call gives up at `now`, after an attempt that was cut off or failed with a transient error.
    pub(super) fn gives_up(
        &mut self,
        now: Tick,
        interrupted: Option<GaveUp>,
        hint: impl FnOnce() -> Option<Duration>,
    ) -> Option<GaveUp> {
        if self.timed_out && self.deadline_reached(now) {
            return Some(GaveUp::Deadline);
        }
        self.exhausted()
            .or(interrupted)
            .or_else(|| self.heed(hint()))
            .or_else(|| self.too_late(now).then_some(GaveUp::Deadline))
    }

    /// Whether the attempt that just failed was the last one allowed.
    fn exhausted(&self) -> Option<GaveUp> {
        if !self.last {
            return None;
        }
        let counted = self.policy.attempts == Some(self.attempts);
        Some(if counted { GaveUp::Attempts } else { GaveUp::Deadline })
    }

    /// Stores the pause that the server asked for; gives up if it is too long.
    fn heed(&mut self, hint: Option<Duration>) -> Option<GaveUp> {
        self.hint = hint;
        hint.filter(|hint| *hint > self.policy.max_hint).map(|_| GaveUp::HintTooLong)
    }

    /// Whether the deadline leaves no time for another attempt.
    pub(super) fn too_late(&self, now: Tick) -> bool {
        let earliest = now.plus(self.hint.unwrap_or(Duration::ZERO));
        self.deadline.is_some_and(|deadline| earliest >= deadline)
    }

    /// Draws the pause after a failed attempt. Called only if there is time for another attempt.
    pub(super) fn pause(&mut self, now: Tick) -> Pause {
        let seed = self.seed;
        let random = self.random.get_or_insert_with(|| seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed));
        let random = random.f64();
        let backoff = &self.policy.backoff;
        let mut delay = backoff.delay(self.attempts, random);
        if let Some(hint) = self.hint {
            delay = delay.max(backoff.no_earlier_than(hint, random));
        }
        if let Some(deadline) = self.deadline {
            let left = deadline.since(now);
            if delay >= left {
                delay = (left / 2).max(self.hint.unwrap_or(Duration::ZERO));
                self.last = true;
            }
        }
        Pause { delay, elapsed: self.elapsed(now), until: now.plus(delay) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::RetryPolicy;
    use crate::time::SECOND;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn course(policy: RetryPolicy, seed: u64) -> Course {
        let mut course = Course::new(policy, None);
        course.seed = Some(seed);
        course
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let mut course = course(RetryPolicy::DEFAULT, seed);
            let now = course.begin();
            let pause = |_| {
                course.next_attempt(now);
                course.pause(now).delay
            };
            (1..=5).map(pause).collect::<Vec<_>>()
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
        // The browser build is expected to give the same numbers.
        let expected = [110_935_272, 177_798_878, 434_926_465, 793_960_610, 1_354_547_578];
        assert_eq!(pauses(7), expected.map(Duration::from_nanos));
    }

    #[test]
    fn the_number_of_an_attempt_stops_at_its_greatest_while_attempts_go_on() {
        let policy = RetryPolicy::builder().unlimited().build().unwrap();
        let mut course = course(policy, 1);
        let now = course.begin();
        course.attempts = u32::MAX - 1;
        for _ in 0..3 {
            let attempt = course.next_attempt(now);
            assert_eq!((attempt.number(), attempt.is_last()), (u32::MAX, false));
            assert_eq!(course.exhausted(), None);
            assert!(course.pause(now).delay <= 2 * SECOND);
        }
    }

    #[test]
    fn a_pause_that_would_reach_the_deadline_is_halved_into_what_is_left() {
        let policy = RetryPolicy::builder().min_delay(millis(800)).jitter(0.0).deadline(SECOND).build().unwrap();
        let mut course = course(policy, 1);
        let start = course.begin();
        assert_eq!(course.next_attempt(start).remaining(), Some(SECOND));
        assert_eq!(course.pause(start).delay, millis(800));
        let now = start.plus(millis(800));
        assert!(!course.next_attempt(now).is_last());
        assert_eq!(course.pause(now).delay, millis(100));
        let now = now.plus(millis(100));
        let attempt = course.next_attempt(now);
        assert_eq!((attempt.number(), attempt.is_last(), attempt.remaining()), (3, true, Some(millis(100))));
        assert_eq!(course.exhausted(), Some(GaveUp::Deadline));
    }

    #[test]
    fn a_trimmed_pause_still_honours_the_hint() {
        let policy = RetryPolicy::builder().min_delay(millis(900)).jitter(0.0).deadline(SECOND).build().unwrap();
        let mut course = course(policy, 1);
        let start = course.begin();
        course.next_attempt(start);
        let now = start.plus(millis(200));
        assert_eq!(course.heed(Some(millis(700))), None);
        assert!(!course.too_late(now));
        assert_eq!(course.pause(now).delay, millis(700));
        assert!(course.too_late(start.plus(millis(300))));
        assert_eq!(course.heed(Some(millis(60_001))), Some(GaveUp::HintTooLong));
        assert_eq!(course.heed(Some(millis(60_000))), None);
    }

    #[test]
    fn an_attempt_is_told_the_nearer_of_its_limits() {
        let policy = RetryPolicy::builder().attempt_timeout(millis(300)).deadline(SECOND).build().unwrap();
        let mut course = course(policy, 1);
        let start = course.begin();
        assert_eq!(course.next_attempt(start).remaining(), Some(millis(300)));
        let attempt = course.next_attempt(start.plus(millis(900)));
        assert_eq!((attempt.remaining(), attempt.elapsed()), (Some(millis(100)), millis(900)));
    }
}
