//! What holds back the items of an object: a pause, a limit of the rate at which they are handed out, and one of how
//! many are held at once. Part of pure models.

use std::sync::Arc;

use super::store::{PauseView, Rate, RateView};

/// Whether an object may hand out items now, and how many.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    pause: Option<PauseView>,
    rate: Option<RateView>,
    /// How many items may be held at once.
    held: Option<u64>,
}

impl Throttle {
    /// Begins a step; everything below belongs to a step that began with this. If the clock has stepped back by more
    /// than a window, the one under way ends as if it began now, so a step back holds nothing up for longer than two.
    pub(crate) fn advance(&mut self, now: u64) {
        if self.pause.is_some() && !self.is_paused(now) {
            self.pause = None;
        }
        if let Some(limit) = &mut self.rate {
            if now >= limit.window_ends {
                limit.used = 0;
            }
            if limit.window_ends > now + 2 * limit.rate.per {
                limit.window_ends = now + limit.rate.per;
            }
        }
    }

    fn is_paused(&self, now: u64) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until.is_none_or(|until| now < until))
    }

    /// How many of `ready` items may be handed out now, while `held` are held.
    pub(crate) fn admits(&self, now: u64, ready: usize, held: usize) -> usize {
        if self.is_paused(now) {
            return 0;
        }
        let by_rate = self.rate.map(|limit| limit.rate.limit.saturating_sub(limit.used));
        let by_held = self.held.map(|most| most.saturating_sub(held as u64));
        let most = by_rate.into_iter().chain(by_held).min();
        most.map_or(ready, |most| usize::try_from(most).map_or(ready, |most| most.min(ready)))
    }

    /// Counts items that were handed out. Returns the end of the window if that has used it up.
    pub(crate) fn count(&mut self, now: u64, items: usize) -> Option<u64> {
        let limit = self.rate.as_mut().filter(|_| items > 0)?;
        if limit.used == 0 {
            limit.window_ends = limit.window_ends.max(now) + limit.rate.per;
        }
        limit.used += items as u64;
        limit.is_used_up().then_some(limit.window_ends)
    }

    /// When items may be handed out again: at the end of the pause or of a window that is used up, whichever is later.
    pub(crate) fn opens(&self) -> Option<u64> {
        let pause = self.pause.as_ref().and_then(|pause| pause.until);
        pause.max(self.rate.filter(RateView::is_used_up).map(|limit| limit.window_ends))
    }

    /// Returns whether this changed anything.
    pub(crate) fn pause(&mut self, until: Option<u64>, reason: Option<Arc<str>>) -> bool {
        let pause = Some(PauseView { until, reason });
        let changed = self.pause != pause;
        self.pause = pause;
        changed
    }

    /// Returns whether there was a pause.
    pub(crate) fn resume(&mut self) -> bool {
        self.pause.take().is_some()
    }

    /// Sets or removes the limit of the rate; what was handed out in the window under way counts towards the new one.
    /// Returns whether this changed anything.
    pub(crate) fn limit_rate(&mut self, now: u64, rate: Option<Rate>) -> bool {
        let before = self.rate.map(|limit| limit.rate);
        let (used, window_ends) = self.rate.map_or((0, 0), |limit| (limit.used, limit.window_ends));
        self.rate = rate.map(|rate| RateView { rate, used, window_ends: window_ends.min(now + rate.per) });
        before != rate
    }

    /// Sets or removes the limit of how many items are held at once. Returns whether this changed anything.
    pub(crate) fn limit_held(&mut self, held: Option<u64>) -> bool {
        let changed = self.held != held;
        self.held = held;
        changed
    }

    /// The pause in force.
    pub(crate) fn paused(&self, now: u64) -> Option<PauseView> {
        self.pause.clone().filter(|_| self.is_paused(now))
    }

    /// The limit of the rate.
    pub(crate) fn rate(&self) -> Option<RateView> {
        self.rate
    }

    /// The limit of how many items are held at once.
    pub(crate) fn held(&self) -> Option<u64> {
        self.held
    }

    /// Whether there is neither a pause nor a limit.
    pub(crate) fn is_open(&self) -> bool {
        self.pause.is_none() && self.rate.is_none() && self.held.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_000_000;

    fn limited(limit: u64, per: u64) -> Throttle {
        let mut throttle = Throttle::default();
        assert!(throttle.limit_rate(T, Some(Rate { limit, per })));
        throttle
    }

    #[test]
    fn a_window_begins_with_the_first_item_and_ends_after_its_length() {
        let mut throttle = limited(10, 100);
        assert_eq!((throttle.admits(T, 50, 0), throttle.opens()), (10, None));
        assert_eq!(throttle.count(T, 7), None);
        assert_eq!((throttle.admits(T + 50, 50, 0), throttle.admits(T + 50, 2, 0)), (3, 2));
        assert_eq!(throttle.count(T + 50, 3), Some(T + 100));
        assert_eq!((throttle.admits(T + 99, 50, 0), throttle.opens()), (0, Some(T + 100)));
        throttle.advance(T + 130);
        assert_eq!((throttle.admits(T + 130, 50, 0), throttle.opens()), (10, None));
        assert_eq!(throttle.count(T + 130, 10), Some(T + 230), "the next one begins with the next item");
    }

    #[test]
    fn windows_do_not_overlap_even_if_a_step_with_an_earlier_time_comes_late() {
        let mut throttle = limited(2, 100);
        throttle.count(T, 2);
        throttle.advance(T + 100);
        throttle.advance(T);
        assert_eq!(throttle.count(T, 1), None);
        throttle.advance(T + 100);
        assert_eq!(throttle.admits(T + 100, 9, 0), 1);
        assert_eq!(throttle.count(T + 100, 1), Some(T + 200));
    }

    #[test]
    fn what_was_handed_out_counts_towards_another_limit() {
        let mut throttle = limited(10, 100);
        throttle.count(T, 6);
        assert!(!throttle.limit_rate(T, Some(Rate { limit: 10, per: 100 })), "it is the same limit");
        assert!(throttle.limit_rate(T + 10, Some(Rate { limit: 4, per: 50 })));
        assert_eq!((throttle.admits(T + 10, 50, 0), throttle.opens()), (0, Some(T + 60)));
        assert!(throttle.limit_rate(T + 20, Some(Rate { limit: 8, per: 50 })));
        assert_eq!((throttle.admits(T + 20, 50, 0), throttle.opens()), (2, None));
        assert!(throttle.limit_rate(T + 20, None));
        assert_eq!((throttle.admits(T + 20, 50, 0), throttle.is_open()), (50, true));
    }

    #[test]
    fn a_clock_that_steps_back_holds_nothing_up_for_longer_than_two_windows() {
        let mut throttle = limited(1, 100);
        throttle.count(T, 1);
        throttle.advance(T - 100);
        assert_eq!(throttle.opens(), Some(T + 100));
        throttle.advance(T - 101);
        assert_eq!(throttle.opens(), Some(T - 1));
    }

    #[test]
    fn a_pause_and_a_used_up_window_must_both_be_over() {
        let mut throttle = limited(1, 100);
        throttle.count(T, 1);
        assert!(throttle.pause(Some(T + 500), None));
        assert_eq!(throttle.opens(), Some(T + 500));
        throttle.advance(T + 200);
        assert_eq!(throttle.admits(T + 200, 9, 0), 0);
        throttle.advance(T + 500);
        assert_eq!((throttle.admits(T + 500, 9, 0), throttle.opens()), (1, None));
    }

    #[test]
    fn what_is_held_leaves_less_room() {
        let mut throttle = Throttle::default();
        assert!(throttle.limit_held(Some(3)));
        assert!(!throttle.limit_held(Some(3)));
        assert_eq!((throttle.admits(T, 9, 0), throttle.admits(T, 9, 2), throttle.admits(T, 9, 5)), (3, 1, 0));
        throttle.limit_rate(T, Some(Rate { limit: 2, per: 100 }));
        assert_eq!((throttle.admits(T, 9, 0), throttle.admits(T, 9, 2)), (2, 1));
        assert!(throttle.limit_held(None));
        assert_eq!((throttle.admits(T, 9, 5), throttle.is_open()), (2, false));
    }
}
