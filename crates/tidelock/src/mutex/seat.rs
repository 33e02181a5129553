//! One `lock` or `try_lock` call, shared by the call and the library's tasks.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};
use crate::mutex::store::{Ask, Spot};
use crate::proof::{Moment, Proof};
use crate::time::Tick;

/// A grant, as an answer reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) fence: u64,
    pub(crate) left: Duration,
    /// Before the request was sent.
    pub(crate) start: Moment,
    /// When the answer arrived. The backend's deadline is not after `answered + left`.
    pub(crate) answered: Moment,
}

impl Grant {
    /// Whether the answer took longer than its proof still lasts: the proof is over, or nearly so.
    pub(crate) fn is_stale(&self) -> bool {
        let proof = Proof::new(self.start, self.left);
        proof.left(self.answered) < proof.left(self.start) / 2
    }

    /// Whether the proof ended after the answer had arrived.
    pub(crate) fn ran_out(&self, now: Moment) -> bool {
        let proof = Proof::new(self.start, self.left);
        proof.left(now).is_zero() && !proof.left(self.answered).is_zero()
    }
}

/// A waiter's situation, as of the backend's last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The holder's deadline as far as it is known.
    pub(crate) deadline: Tick,
    pub(crate) waiting: u64,
}

/// The state of a call.
#[derive(Debug)]
pub(crate) enum State {
    /// The first request has no answer yet.
    Asking,
    /// In the queue since a request that was sent at `since`.
    Waiting { standing: Standing, since: Tick },
    /// The backend could not be reached.
    Failing(Error),
    /// The backend refused.
    Refused(Error),
    /// Not granted, and not in the queue.
    Held(Standing),
    /// The queue is full.
    Full(u64),
    /// Granted, but the call has not picked up the grant yet.
    Granted(Grant),
    /// The call has a guard with this fence.
    Taken(u64),
    /// The call is over without a guard.
    Gone,
}

/// One `lock` or `try_lock` call.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) spot: Spot,
    pub(crate) ask: Ask,
    pub(crate) wait: bool,
    state: Mutex<Talk>,
    changed: Notify,
}

#[derive(Debug)]
struct Talk {
    state: State,
    /// Whether a request is in flight. There is never more than one: a late second request could take the resource
    /// after its release.
    asking: bool,
    /// Whether to repeat the request, because the answer in flight may be older than an offer that came meanwhile.
    again: bool,
    /// Whether a request of this call may have reached the backend.
    sent: bool,
}

/// What to do with an answer for a call that no longer wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwanted {
    No,
    GiveBack,
}

impl Seat {
    pub(crate) fn new(spot: Spot, ask: Ask, wait: bool) -> Self {
        let talk = Talk { state: State::Asking, asking: false, again: false, sent: false };
        Self { spot, ask, wait, state: Mutex::new(talk), changed: Notify::new() }
    }

    /// Whether the caller may send a request now. If one is in flight already, its sender repeats it.
    pub(crate) fn begin_asking(&self) -> bool {
        let mut talk = self.lock();
        let over = matches!(talk.state, State::Taken(_) | State::Granted(_) | State::Gone);
        talk.again = talk.asking && !over;
        let may = !talk.asking && !over;
        talk.asking |= may;
        may
    }

    /// The answer in flight may be older than what has been learnt since: repeat the request after it.
    pub(crate) fn doubt_answer(&self) {
        let mut talk = self.lock();
        talk.again |= talk.asking;
    }

    /// Whether to send the request once more. A call that is asking anew waits for that.
    pub(crate) fn end_asking(&self) -> bool {
        let mut talk = self.lock();
        let again = talk.again && matches!(talk.state, State::Asking | State::Waiting { .. } | State::Failing(_));
        (talk.again, talk.asking) = (false, again);
        again
    }

    pub(crate) fn grant(&self, grant: Grant) -> Unwanted {
        let mut talk = self.lock();
        match &mut talk.state {
            State::Gone => return Unwanted::GiveBack,
            State::Taken(fence) => {
                return if grant.fence > *fence { Unwanted::GiveBack } else { Unwanted::No };
            }
            // Two answers about the same grant: the first one proves as much.
            State::Granted(known) if grant.fence <= known.fence => return Unwanted::No,
            state => *state = State::Granted(grant),
        }
        self.changed.notify_one();
        Unwanted::No
    }

    /// An answer reported a grant that it no longer proves. The next answer will.
    pub(crate) fn has_grant(&self) {
        self.lock().sent = true;
    }

    /// Records any other answer.
    pub(crate) fn settle(&self, answer: State) -> Unwanted {
        let mut talk = self.lock();
        let unsent = matches!(&answer, State::Failing(error) if error.kind() == ErrorKind::Connection);
        talk.sent |= !unsent;
        let is_out = !talk.sent || matches!(answer, State::Held(_) | State::Full(_));
        match &mut talk.state {
            State::Gone => return if is_out { Unwanted::No } else { Unwanted::GiveBack },
            // This answer is older than the hand-over. Leaving now would end the grant.
            State::Granted(_) | State::Taken(_) => return Unwanted::No,
            state => *state = answer,
        }
        self.changed.notify_one();
        Unwanted::No
    }

    /// Whether the call is in the queue, as far as is known.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.lock().state, State::Waiting { .. } | State::Failing(_))
    }

    /// Whether the call was in the queue before `start`, so that the answer to a request sent at `start` must list
    /// it.
    pub(crate) fn waited_before(&self, start: Tick) -> bool {
        match self.lock().state {
            State::Waiting { since, .. } => since <= start,
            State::Failing(_) => true,
            _ => false,
        }
    }

    /// Tells a waiter its current situation.
    pub(crate) fn stand(&self, standing: Standing, since: Tick) {
        let mut talk = self.lock();
        if matches!(talk.state, State::Waiting { .. } | State::Failing(_)) {
            talk.state = State::Waiting { standing, since };
        }
    }

    /// Tells a waiter that the backend could not be reached.
    pub(crate) fn fail(&self, error: &Error) {
        let mut talk = self.lock();
        if matches!(talk.state, State::Waiting { .. } | State::Failing(_)) {
            talk.state = State::Failing(error.duplicate());
        }
    }

    /// The state in which the call continues. A grant or a refusal is taken out.
    pub(crate) fn look(&self) -> State {
        let mut talk = self.lock();
        match &mut talk.state {
            State::Granted(grant) => {
                let grant = *grant;
                talk.state = State::Taken(grant.fence);
                State::Granted(grant)
            }
            State::Waiting { standing, since } => State::Waiting { standing: *standing, since: *since },
            State::Failing(error) => State::Failing(error.duplicate()),
            State::Held(standing) => State::Held(*standing),
            State::Full(waiting) => State::Full(*waiting),
            State::Taken(fence) => State::Taken(*fence),
            State::Refused(_) => std::mem::replace(&mut talk.state, State::Gone),
            State::Asking => State::Asking,
            State::Gone => State::Gone,
        }
    }

    /// The grant that the call picked up has run out, and the call is about to ask again.
    pub(crate) fn reopen(&self) {
        self.lock().state = State::Asking;
    }

    /// The error of a first request that was not answered.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.lock().state {
            State::Failing(error) => Some(error.duplicate()),
            _ => None,
        }
    }

    /// Ends the call. The answer says whether the backend may still have it in the queue or as holder.
    pub(crate) fn vacate(&self) -> Unwanted {
        let mut talk = self.lock();
        match std::mem::replace(&mut talk.state, State::Gone) {
            State::Taken(fence) => {
                talk.state = State::Taken(fence);
                Unwanted::No
            }
            State::Held(_) | State::Full(_) => Unwanted::No,
            // When the answer in flight arrives, its grant is given back.
            State::Asking if talk.asking => Unwanted::No,
            State::Failing(_) if !talk.sent => Unwanted::No,
            _ => Unwanted::GiveBack,
        }
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Talk> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutex::store::Token;
    use crate::time::{Clock, ManualClock, SECOND, Timestamp};

    #[test]
    fn an_answer_is_stale_when_it_took_longer_than_it_proves_from_then_on() {
        let manual = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
        let clock = Clock::Manual(manual.clone());
        let start = Moment::of(&clock);
        let after = |elapsed: Duration, left: Duration| {
            manual.set(Timestamp::from_millis(1_767_225_600_000) + elapsed);
            Grant { fence: 1, left, start, answered: Moment::of(&clock) }.is_stale()
        };
        let ms = Duration::from_millis;
        assert_eq!([after(ms(0), ms(1)), after(ms(0), SECOND), after(ms(495), SECOND)], [false; 3]);
        assert_eq!([after(ms(496), SECOND), after(ms(990), SECOND), after(ms(60_000), SECOND)], [true; 3]);
    }

    #[test]
    fn a_call_that_asks_anew_is_sent_again_after_the_answer_in_flight() {
        let spot = Spot { tag: "tag".into(), slot: 0 };
        let seat = Seat::new(spot, Ask { token: Token::draw(), lease: 1, owner: String::new() }, true);
        let now = Moment::of(&Clock::Manual(ManualClock::at(Timestamp::from_millis(1_767_225_600_000))));
        assert!(seat.begin_asking());
        let granted = seat.grant(Grant { fence: 1, left: Duration::ZERO, start: now, answered: now });
        assert!(matches!(granted, Unwanted::No));
        // The proof ran out before the caller got to run, and the task that asked has not ended.
        assert!(matches!(seat.look(), State::Granted(_)));
        seat.reopen();
        assert!(!seat.begin_asking());
        assert!(seat.end_asking(), "nobody else asks");
    }
}
