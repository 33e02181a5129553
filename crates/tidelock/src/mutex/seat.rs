//! One waiting `lock` call, as the call and the library's tasks share it.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};
use crate::mutex::store::{Ask, Spot};
use crate::proof::{Moment, Proof};
use crate::time::Tick;

/// A grant as an answer told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) fence: u64,
    pub(crate) left: Duration,
    /// Before the request whose answer it is was sent.
    pub(crate) start: Moment,
    /// When the answer was here: what the backend calls the deadline is not after `answered + left`.
    pub(crate) answered: Moment,
}

impl Grant {
    /// Whether the answer took so long that its proof is over, or as good as over: longer than is left of it.
    pub(crate) fn is_stale(&self) -> bool {
        let proof = Proof::new(self.start, self.left);
        proof.left(self.answered) < proof.left(self.start) / 2
    }

    /// Whether its proof ended since the answer was here.
    pub(crate) fn ran_out(&self, now: Moment) -> bool {
        let proof = Proof::new(self.start, self.left);
        proof.left(now).is_zero() && !proof.left(self.answered).is_zero()
    }
}

/// How a waiter stood when the backend was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Of the holder, as far as it is known.
    pub(crate) deadline: Tick,
    pub(crate) waiting: u64,
}

/// Where a call stands.
#[derive(Debug)]
pub(crate) enum State {
    /// The first question is not answered.
    Asking,
    /// In the queue since a request that began at `since`.
    Waiting { standing: Standing, since: Tick },
    /// The backend could not be asked.
    Failing(Error),
    /// The backend refused.
    Refused(Error),
    /// Not granted, and not in the queue.
    Held(Standing),
    /// The queue has no place.
    Full(u64),
    /// Granted, and not yet taken by the call.
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
    /// A question is under way. There is never more than one: a late second could take the resource after its release.
    asking: bool,
    /// The answer under way may be older than an offer that came meanwhile.
    again: bool,
    /// A question of it may have reached the backend.
    sent: bool,
}

/// What to do with an answer that the call does not want any more.
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

    /// Whether the caller may ask now. If not, the one who asks does it again.
    pub(crate) fn begin_asking(&self) -> bool {
        let mut talk = self.lock();
        let over = matches!(talk.state, State::Taken(_) | State::Granted(_) | State::Gone);
        talk.again = talk.asking && !over;
        let may = !talk.asking && !over;
        talk.asking |= may;
        may
    }

    /// The answer on its way may be older than what was heard since: then it is asked again.
    pub(crate) fn doubt_answer(&self) {
        let mut talk = self.lock();
        talk.again |= talk.asking;
    }

    /// Whether to ask once more.
    pub(crate) fn end_asking(&self) -> bool {
        let mut talk = self.lock();
        let again = talk.again && matches!(talk.state, State::Waiting { .. } | State::Failing(_));
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
            // Two answers about one grant: the first proves as much.
            State::Granted(known) if grant.fence <= known.fence => return Unwanted::No,
            state => *state = State::Granted(grant),
        }
        self.changed.notify_one();
        Unwanted::No
    }

    /// An answer told of a grant that it proves no more: the next one will.
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
            // An answer from before the hand-over; leaving now would end the grant.
            State::Granted(_) | State::Taken(_) => return Unwanted::No,
            state => *state = answer,
        }
        self.changed.notify_one();
        Unwanted::No
    }

    /// Whether it stood in the queue, as far as is known.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.lock().state, State::Waiting { .. } | State::Failing(_))
    }

    /// Whether it stood in the queue before `start`, and so an answer to a request of then must name it.
    pub(crate) fn waited_before(&self, start: Tick) -> bool {
        match self.lock().state {
            State::Waiting { since, .. } => since <= start,
            State::Failing(_) => true,
            _ => false,
        }
    }

    /// Tells a waiter how it stands now.
    pub(crate) fn stand(&self, standing: Standing, since: Tick) {
        let mut talk = self.lock();
        if matches!(talk.state, State::Waiting { .. } | State::Failing(_)) {
            talk.state = State::Waiting { standing, since };
        }
    }

    /// Tells a waiter that the backend could not be asked.
    pub(crate) fn fail(&self, error: &Error) {
        let mut talk = self.lock();
        if matches!(talk.state, State::Waiting { .. } | State::Failing(_)) {
            talk.state = State::Failing(error.duplicate());
        }
    }

    /// What the call goes on with: a state that ends it is taken out.
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

    /// The grant that the call took is over: it is about to ask again.
    pub(crate) fn reopen(&self) {
        self.lock().state = State::Asking;
    }

    /// The error of a first question that was not answered.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.lock().state {
            State::Failing(error) => Some(error.duplicate()),
            _ => None,
        }
    }

    /// Ends the call; answers whether the backend may know of it.
    pub(crate) fn vacate(&self) -> Unwanted {
        let mut talk = self.lock();
        match std::mem::replace(&mut talk.state, State::Gone) {
            State::Taken(fence) => {
                talk.state = State::Taken(fence);
                Unwanted::No
            }
            State::Held(_) | State::Full(_) => Unwanted::No,
            // The answer under way is given back when it is here.
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
}
