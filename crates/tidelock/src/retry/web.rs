//! Retried calls whose attempts are promises of a page: the decisions between attempts.

use std::time::Duration;

use super::course::Course;
use super::{GaveUp, RetryBudget, RetryPolicy};
use crate::retry::budget::Taking;

/// One retried call. Its driver runs the attempts and the pauses, and asks here what comes next.
pub struct RetryCourse {
    course: Course,
}

impl RetryCourse {
    /// Begins: from here the time counts.
    pub fn begin(policy: RetryPolicy) -> Self {
        crate::runtime::seed();
        let mut course = Course::new(policy, None);
        course.begin();
        Self { course }
    }

    /// Limits its retries by a budget that is one of the page, not of a backend.
    pub fn limit(&mut self, budget: &RetryBudget) {
        self.course.budget = Some(budget.clone());
    }

    /// The number of the attempt that begins now. `None`: the deadline has come.
    pub fn next_attempt(&mut self) -> Option<u32> {
        let now = self.course.clock().tick();
        if self.course.deadline_reached(now) {
            return None;
        }
        Some(self.course.next_attempt(now).number())
    }

    /// The time until the running attempt is cut off; `None`: it never is.
    pub fn left(&self) -> Option<Duration> {
        let now = self.course.clock().tick();
        self.course.cut_off.map(|cut_off| cut_off.since(now))
    }

    /// What comes after an attempt that was cut off or failed by an error that may pass: a pause, or the end.
    ///
    /// # Errors
    ///
    /// Why the call gives up.
    pub fn pause(&mut self, cut_off: bool, stopped: bool, hint: Option<Duration>) -> Result<Duration, GaveUp> {
        self.course.timed_out = cut_off;
        let now = self.course.clock().tick();
        match self.course.gives_up(now, stopped.then_some(GaveUp::Stopped), || hint) {
            Some(reason) => Err(reason),
            None if self.has_token() => Ok(self.course.pause(now).delay),
            None => Err(GaveUp::Budget),
        }
    }

    /// Takes the token for a retry, if there is a budget.
    fn has_token(&self) -> bool {
        !matches!(self.course.budget.as_ref().map(RetryBudget::take), Some(Taking::Decided(false)))
    }

    /// An attempt gave its value.
    pub fn succeeded(&self) {
        if let Some(budget) = &self.course.budget {
            budget.succeeded();
        }
    }

    /// Attempts that were started.
    pub fn attempts(&self) -> u32 {
        self.course.attempts
    }

    /// Time since the call began.
    pub fn elapsed(&self) -> Duration {
        self.course.elapsed(self.course.clock().tick())
    }
}

impl std::fmt::Debug for RetryCourse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryCourse").field("attempts", &self.course.attempts).finish_non_exhaustive()
    }
}
