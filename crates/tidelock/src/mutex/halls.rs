//! The waiters of this process by resource, where other processes can wait too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::backoff::spread;
use crate::error::Error;
use crate::hash::{HashMap, HashSet};
use crate::mutex::agenda::{Entry, Item};
use crate::mutex::room::Room;
use crate::mutex::seat::{Seat, Standing};
use crate::mutex::store::{Effort, Outcome, REFRESH, Spot, Step, Token, WAITER_LEASE};
use crate::time::{Tick, whole_millis};

/// Distance between the refreshes of neighbours in the queue once the holder's deadline has passed.
const STAGGER: Duration = Duration::from_millis(10);
/// The longest such delay after the deadline.
const STAGGERED: Duration = Duration::from_secs(1);
/// The shortest and longest pause between refreshes that get no answer.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The waiters of this process, by resource.
#[derive(Debug, Default)]
pub(crate) struct Halls {
    by_tag: Mutex<HashMap<Arc<str>, Hall>>,
    /// Resources at whose deadline this process will refresh, for waiters of other processes that do not know that
    /// deadline.
    watched: Mutex<HashMap<Arc<str>, Entry>>,
    /// How many resources have waiters. At zero, a call that never waited need not take the lock.
    count: AtomicUsize,
}

/// The waiters of this process for one resource.
#[derive(Debug)]
struct Hall {
    spot: Spot,
    tokens: HashSet<Token>,
    /// The place of the first of them.
    place: u64,
    /// The holder's deadline as far as it is known. It counts from before the request that reported it: asking a
    /// little early costs one more request, and asking in time matters because the request itself takes as long
    /// again.
    deadline: Tick,
    /// When the last request that kept these waiters alive was sent.
    said: Tick,
    failures: u32,
    plan: Plan,
}

#[derive(Debug)]
enum Plan {
    None,
    At(Entry),
    /// A refresh is in flight; `again` if another must follow at once.
    Busy {
        again: bool,
    },
}

impl Hall {
    fn due(&self) -> Tick {
        let place = u32::try_from(self.place).unwrap_or(u32::MAX);
        let staggered = self.deadline.plus(STAGGER.saturating_mul(place).min(STAGGERED));
        staggered.min(self.said.plus(REFRESH))
    }

    /// Records the holder's deadline from a recent answer.
    fn heard(&mut self, deadline: Tick) {
        if let Plan::Busy { again } = &mut self.plan {
            // The refresh in flight may report an older deadline.
            *again |= deadline < self.deadline;
        }
        self.deadline = deadline;
    }

    fn replan(&mut self, at: Tick, room: &Room) {
        match self.plan {
            Plan::Busy { .. } => return,
            Plan::At((planned, _)) if planned == at => return,
            Plan::At(entry) => room.unplan(entry),
            Plan::None => {}
        }
        self.plan = Plan::At(room.plan(at, Item::Refresh(Arc::clone(&self.spot.tag))));
    }
}

impl Halls {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Hall>> {
        self.by_tag.lock().expect("no code panics while it holds this lock")
    }

    /// Registers a call that a request sent at `said` found in the queue.
    pub(crate) fn join(&self, room: &Room, seat: &Seat, place: u64, deadline: Tick, said: Tick) {
        if !room.store().is_shared() {
            return;
        }
        let mut halls = self.lock();
        let hall = halls.entry(Arc::clone(&seat.spot.tag)).or_insert_with(|| Hall {
            spot: seat.spot.clone(),
            tokens: HashSet::default(),
            place,
            deadline,
            said,
            failures: 0,
            plan: Plan::None,
        });
        hall.tokens.insert(seat.ask.token);
        (hall.place, hall.said) = (hall.place.min(place), hall.said.max(said));
        hall.heard(deadline);
        hall.replan(hall.due(), room);
        self.count.store(halls.len(), Ordering::Release);
        if !seat.is_waiting() {
            // The call left while its answer was being read, so its `remove` may have found nothing.
            self.take_out(halls, room, &seat.spot.tag, seat.ask.token);
        }
    }

    /// Removes a call that no longer waits.
    pub(crate) fn remove(&self, room: &Room, tag: &str, token: Token) {
        if self.count.load(Ordering::Acquire) > 0 {
            self.take_out(self.lock(), room, tag, token);
        }
    }

    fn take_out(&self, mut halls: MutexGuard<'_, HashMap<Arc<str>, Hall>>, room: &Room, tag: &str, token: Token) {
        let Some(hall) = halls.get_mut(tag) else { return };
        hall.tokens.remove(&token);
        if hall.tokens.is_empty() {
            if let Plan::At(entry) = hall.plan {
                room.unplan(entry);
            }
            halls.remove(tag);
            self.count.store(halls.len(), Ordering::Release);
        }
    }

    /// A waiter of this process got the resource; at `start`, `left` remained of the lease.
    pub(crate) fn granted(&self, room: &Room, spot: &Spot, start: Tick, left: Duration) {
        self.holder_until(room, &spot.tag, start.plus(left));
        if left < REFRESH && room.store().is_shared() {
            // Waiters of other processes may only know the deadline before this one.
            self.watch(room, spot, left);
        }
    }

    /// Records the deadline of the holder.
    pub(crate) fn holder_until(&self, room: &Room, tag: &str, deadline: Tick) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(hall) = self.lock().get_mut(tag) {
            hall.heard(deadline);
            hall.replan(hall.due(), room);
        }
    }

    /// Refreshes all resources at once, because wake-ups may have been missed.
    pub(crate) fn refresh_all(&self, room: &Room) {
        let now = room.clock().tick();
        for hall in self.lock().values_mut() {
            if let Plan::Busy { again } = &mut hall.plan {
                *again = true;
            }
            hall.replan(now, room);
        }
    }

    /// Plans a refresh for when a grant or an offer that a step of this process made lapses. The waiters behind it do
    /// not know its deadline, so the process that ran the step checks. The earliest check is made; it plans the next.
    pub(crate) fn watch(&self, room: &Room, spot: &Spot, lapses: Duration) {
        let at = room.clock().tick().plus(lapses);
        let mut watched = self.lock_watched();
        if watched.get(&spot.tag).is_some_and(|(planned, _)| *planned <= at) {
            return;
        }
        let entry = room.plan(at, Item::Watch(spot.clone()));
        if let Some(later) = watched.insert(Arc::clone(&spot.tag), entry) {
            room.unplan(later);
        }
    }

    fn lock_watched(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.watched.lock().expect("no code panics while it holds this lock")
    }

    fn begin(&self, tag: &str) -> Option<Spot> {
        let mut halls = self.lock();
        let hall = halls.get_mut(tag)?;
        if matches!(hall.plan, Plan::Busy { .. }) {
            return None;
        }
        hall.plan = Plan::Busy { again: false };
        Some(hall.spot.clone())
    }

    fn tokens(&self, tag: &str) -> Vec<Token> {
        self.lock().get(tag).map(|hall| hall.tokens.iter().copied().collect()).unwrap_or_default()
    }

    /// Plans the next refresh after an answer, or after none.
    fn finish(&self, room: &Room, tag: &str, answer: Option<(u64, Tick, Tick)>) {
        let mut halls = self.lock();
        let Some(hall) = halls.get_mut(tag) else { return };
        let again = matches!(hall.plan, Plan::Busy { again: true });
        hall.plan = Plan::None;
        let now = room.clock().tick();
        let mut at = if let Some((place, deadline, said)) = answer {
            (hall.place, hall.deadline, hall.said, hall.failures) = (place, deadline, said, 0);
            hall.due()
        } else {
            let pause = RETRY_MIN.saturating_mul(1 << hall.failures.min(8)).min(RETRY_MAX);
            hall.failures += 1;
            now.plus(spread(pause))
        };
        if again {
            at = now;
        }
        hall.replan(at, room);
    }
}

impl Room {
    /// Keeps the waiters of this process alive, and learns their place. If the backend knows none of them, each asks
    /// again for itself, and the refresh is repeated after a pause, as after a failure.
    pub(crate) async fn refresh(self: Arc<Self>, tag: Arc<str>) {
        let Some(spot) = self.halls.begin(&tag) else { return };
        let start = self.clock().tick();
        let answer = match self.step(&spot, Step::Refresh, Effort::USUAL).await {
            Ok(Outcome::Waiters { tokens, place, left, waiting }) => {
                let deadline = start.plus(Duration::from_millis(left));
                self.told(&spot, start, &tokens, Standing { deadline, waiting });
                (!tokens.is_empty()).then_some((place, deadline, start))
            }
            Ok(_) => None,
            Err(error) => {
                self.not_told(&tag, &error);
                None
            }
        };
        self.halls.finish(&self, &tag, answer);
    }

    /// Refreshes a watched resource, now that its grant or offer may have lapsed.
    pub(crate) async fn watched(self: Arc<Self>, spot: Spot) {
        self.halls.lock_watched().remove(&spot.tag);
        match self.step(&spot, Step::Refresh, Effort::ONCE).await {
            // There is a later deadline now. If it is further off than a refresh interval, the waiters learn of it by
            // themselves.
            Ok(Outcome::Waiters { left, waiting, .. }) if waiting > 0 && left < whole_millis(REFRESH) => {
                self.halls.watch(&self, &spot, Duration::from_millis(left));
            }
            // Without an answer, the waiters' own refreshes will notice.
            _ => {}
        }
    }

    fn told(self: &Arc<Self>, spot: &Spot, start: Tick, tokens: &[Token], standing: Standing) {
        let listed: HashSet<_> = tokens.iter().copied().collect();
        for seat in self.halls.tokens(&spot.tag).into_iter().filter_map(|token| self.seat(token)) {
            if listed.contains(&seat.ask.token) {
                seat.stand(standing, start);
            } else if seat.waited_before(start) {
                // It has an offer, or the backend forgot it. Repeating its request tells which.
                self.background(Arc::clone(self).ask(seat, Duration::ZERO));
            }
        }
        for token in listed {
            if self.seat(token).is_none() {
                self.give_back(spot, token, WAITER_LEASE);
            }
        }
    }

    fn not_told(&self, tag: &str, error: &Error) {
        for seat in self.halls.tokens(tag).into_iter().filter_map(|token| self.seat(token)) {
            seat.fail(error);
        }
    }
}
