//! The specification: one resource as a pure state machine.
//!
//! The in-process backend runs it, and the Redis scripts are tested against it. The step brings along the time, the
//! process that runs it, and whether another process listens.

use std::collections::{BTreeMap, VecDeque};

use crate::mutex::store::{
    Answer, Ask, CLAIM_WINDOW, Handed, KEEP, MAX_WAITING, Outcome, REFRESH, REMEMBERED, Seen, Step, Token, WAITER_LEASE,
};
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// The circumstances of one step.
pub(crate) struct Turn<'a> {
    pub(crate) now: Timestamp,
    /// The process that runs the step.
    pub(crate) process: &'a str,
    /// Wakes a waiter of another process. Returns whether that process listens.
    pub(crate) wake: &'a mut dyn FnMut(&str, Token) -> bool,
    /// Whether waiters must be kept alive. Within one process they are parked futures, which leave the queue by
    /// themselves.
    pub(crate) waiters_die: bool,
    /// Set by the step if it offered the resource to another process.
    pub(crate) offered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiter {
    ask: Ask,
    process: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Held {
        token: Token,
        owner: String,
        deadline: Timestamp,
    },
    Offered {
        token: Token,
        owner: String,
        deadline: Timestamp,
        process: String,
    },
}

/// One resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    state: State,
    last_fence: u64,
    queue: VecDeque<Waiter>,
    /// The instant until which the waiters of a process live.
    alive: BTreeMap<String, Timestamp>,
    releases: VecDeque<u64>,
    /// While the resource is free: the token that released or left last. A request of this token may still be in
    /// flight.
    ended: Option<Token>,
    /// The number of the last change of this grant's deadline.
    changes: u32,
    /// The last instant at which anything was held, offered or changed.
    last_use: Option<Timestamp>,
}

impl Resource {
    /// Runs one step.
    pub(crate) fn apply(&mut self, step: &Step, turn: &mut Turn<'_>) -> Answer {
        let mut handed = self.settle(turn);
        let outcome = match step {
            Step::Lock { ask, wait } => self.lock(ask, *wait, turn),
            Step::Release { token, fence } => {
                let held = self.holds(*token, *fence);
                if held {
                    self.remember(*fence);
                    handed = self.next(turn);
                    self.end(*token);
                }
                Outcome::Released(held || self.releases.contains(fence))
            }
            Step::Extend { token, fence, lease, number } => self.extend(*token, *fence, *lease, *number, turn),
            Step::Leave { ask } => {
                if self.token() == Some(ask.token) {
                    handed = self.next(turn);
                } else if let Some(place) = self.place(ask.token) {
                    self.queue.remove(place);
                    if place == 0 {
                        // The new first waiter assumes that others ask before it does.
                        self.tell(None, turn);
                    }
                }
                self.end(ask.token);
                Outcome::Left
            }
            Step::Refresh => self.refresh(turn),
        };
        if matches!(step, Step::Lock { ask, .. } if handed.is_some_and(|handed| handed.token == ask.token)) {
            // The outcome tells this already.
            handed = None;
        }
        self.last_use = Some(turn.now.max(self.deadline().unwrap_or(turn.now)));
        Answer { outcome, handed, offered: turn.offered && matches!(self.state, State::Offered { .. }) }
    }

    /// What a query shows.
    pub(crate) fn describe(&self, now: Timestamp) -> Seen {
        let holder = match &self.state {
            State::Held { owner, deadline, .. } | State::Offered { owner, deadline, .. } if now < *deadline => {
                Some((owner.clone(), millis_until(*deadline, now)))
            }
            _ => None,
        };
        let last_fence = (self.last_fence > 0).then_some(self.last_fence);
        Seen { holder, waiting: self.queue.len() as u64, last_fence }
    }

    /// When the timer must run next: at the deadline, and then when the record has outlived its use.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.deadline().or_else(|| Some(self.last_use? + KEEP))
    }

    /// Whether the record can be deleted without losing anything.
    pub(crate) fn is_past_use(&self, now: Timestamp) -> bool {
        self.state == State::Free && self.queue.is_empty() && self.last_use.is_none_or(|last| now >= last + KEEP)
    }

    /// Ends what has expired. Every step begins with this; in process, the timer runs it too.
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>) -> Option<Handed> {
        if turn.now < self.deadline()? {
            return None;
        }
        if let State::Offered { process, .. } = &self.state {
            // A process that let an offer lapse is slow in all its tasks: none of them may delay the queue again.
            self.queue.retain(|waiter| waiter.process != *process);
        }
        self.next(turn)
    }

    /// Gives the resource to the first waiter that is alive.
    fn next(&mut self, turn: &mut Turn<'_>) -> Option<Handed> {
        // The hour counts from the deadline that has just passed, or from now if the grant was ended early.
        self.last_use = Some(turn.now);
        let before = match self.state {
            // No waiter was told about an offer.
            State::Offered { .. } => None,
            _ => self.deadline(),
        };
        (self.state, self.ended, turn.offered) = (State::Free, None, false);
        while let Some(Waiter { ask, process }) = self.queue.pop_front() {
            let alive = self.alive.get(&process).is_some_and(|until| turn.now < *until);
            if turn.waiters_die && !alive {
                continue;
            }
            let Ask { token, lease, owner } = ask;
            if process == turn.process {
                let fence = self.draw_fence(turn.now);
                self.state = State::Held { token, owner, deadline: later(turn.now, lease) };
                self.tell(before, turn);
                return Some(Handed { token, fence, left: lease });
            }
            if (turn.wake)(&process, token) {
                self.draw_fence(turn.now);
                self.state = State::Offered { token, owner, deadline: turn.now + CLAIM_WINDOW, process };
                turn.offered = true;
                return None;
            }
        }
        None
    }

    /// Wakes the first waiter if it belongs to another process and would ask too late. It plans to ask at `before`,
    /// or at an unknown time. It needs no wake-up if that is not after the deadline or if its regular refresh comes
    /// before the deadline. When it asks, it learns its place and the deadline.
    fn tell(&self, before: Option<Timestamp>, turn: &mut Turn<'_>) {
        let comes_late = |deadline| before.is_none_or(|before| deadline < before) && deadline < turn.now + REFRESH;
        if self.deadline().is_some_and(comes_late)
            && let Some(first) = self.queue.front().filter(|first| first.process != turn.process)
        {
            (turn.wake)(&first.process, first.ask.token);
        }
    }

    fn end(&mut self, token: Token) {
        if self.state == State::Free {
            self.ended = Some(token);
        }
    }

    fn lock(&mut self, ask: &Ask, wait: bool, turn: &mut Turn<'_>) -> Outcome {
        let deadline = match &self.state {
            // This request arrived late.
            State::Free if self.ended == Some(ask.token) => return Outcome::Held { left: 0, waiting: 0 },
            State::Free => {
                let fence = self.draw_fence(turn.now);
                return self.hold(ask, fence, turn.now);
            }
            State::Held { token, deadline, .. } if *token == ask.token => {
                return Outcome::Granted { fence: self.last_fence, left: millis_until(*deadline, turn.now) };
            }
            State::Offered { token, .. } if *token == ask.token => return self.hold(ask, self.last_fence, turn.now),
            State::Held { deadline, .. } | State::Offered { deadline, .. } => *deadline,
        };
        let left = millis_until(deadline, turn.now);
        if !wait {
            return Outcome::Held { left, waiting: self.queue.len() as u64 };
        }
        let place = match self.place(ask.token) {
            Some(place) => place,
            None if self.queue.len() >= MAX_WAITING => return Outcome::Full { waiting: self.queue.len() as u64 },
            None => {
                self.queue.push_back(Waiter { ask: ask.clone(), process: turn.process.to_owned() });
                self.queue.len() - 1
            }
        };
        self.keep_alive(turn);
        Outcome::Waiting { place: place as u64, left, waiting: self.queue.len() as u64 }
    }

    fn hold(&mut self, ask: &Ask, fence: u64, now: Timestamp) -> Outcome {
        self.state = State::Held { token: ask.token, owner: ask.owner.clone(), deadline: later(now, ask.lease) };
        Outcome::Granted { fence, left: ask.lease }
    }

    fn extend(&mut self, token: Token, fence: u64, lease: u64, number: u32, turn: &mut Turn<'_>) -> Outcome {
        if !self.holds(token, fence) {
            return Outcome::Extended(None);
        }
        let before = self.deadline();
        if let State::Held { deadline, .. } = &mut self.state
            && number >= self.changes
        {
            (*deadline, self.changes) = (later(turn.now, lease), number);
            self.tell(before, turn);
        }
        Outcome::Extended(self.deadline().map(|deadline| millis_until(deadline, turn.now)))
    }

    fn refresh(&mut self, turn: &Turn<'_>) -> Outcome {
        let mut here = self.queue.iter().enumerate().filter(|(_, waiter)| waiter.process == turn.process).peekable();
        let place = here.peek().map_or(0, |(place, _)| *place as u64);
        let tokens: Vec<_> = here.map(|(_, waiter)| waiter.ask.token).collect();
        if !tokens.is_empty() {
            self.keep_alive(turn);
        }
        let left = self.deadline().map_or(0, |deadline| millis_until(deadline, turn.now));
        Outcome::Waiters { tokens, place, left, waiting: self.queue.len() as u64 }
    }

    fn keep_alive(&mut self, turn: &Turn<'_>) {
        self.alive.retain(|_, until| turn.now < *until);
        self.alive.insert(turn.process.to_owned(), turn.now + WAITER_LEASE);
    }

    fn remember(&mut self, fence: u64) {
        self.releases.push_back(fence);
        if self.releases.len() > REMEMBERED {
            self.releases.pop_front();
        }
    }

    fn draw_fence(&mut self, now: Timestamp) -> u64 {
        self.changes = 0;
        self.last_fence = (self.last_fence + 1).max(now.as_millis().saturating_mul(1_000));
        self.last_fence
    }

    fn holds(&self, token: Token, fence: u64) -> bool {
        fence == self.last_fence && matches!(&self.state, State::Held { token: held, .. } if *held == token)
    }

    fn token(&self) -> Option<Token> {
        match &self.state {
            State::Free => None,
            State::Held { token, .. } | State::Offered { token, .. } => Some(*token),
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::Free => None,
            State::Held { deadline, .. } | State::Offered { deadline, .. } => Some(*deadline),
        }
    }

    fn place(&self, token: Token) -> Option<usize> {
        self.queue.iter().position(|waiter| waiter.ask.token == token)
    }
}

fn later(now: Timestamp, millis: u64) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_add(millis))
}

fn millis_until(deadline: Timestamp, now: Timestamp) -> u64 {
    deadline.as_millis().saturating_sub(now.as_millis())
}
