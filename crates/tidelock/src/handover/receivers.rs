//! The line of receivers of this process: those that wait for messages of one queue or group, in order of arrival.
//!
//! However many wait, one task takes for them: the pump (`receivers/pump.rs`). It runs while anybody waits.

mod line;
mod parcel;
mod pump;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use self::line::{Line, Stage, Waiting};
use self::parcel::Parcel;
use self::pump::Landed;
use super::site::{Claims, Object, Site, Source};
use super::store::{MAX_BATCH, Place};
use crate::error::{Error, Result};
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::tidelock::World;
use crate::topic::store::ReaderTerms;

/// Takes in flight at once: while one is being answered, the next is on its way.
const FLIGHTS: usize = 2;
/// The size of a take that costs no round trip.
const LOCAL_BATCH: usize = 16;
/// The result of a take still counts as current for this long. Receivers with short waits need not take again.
const JUST_NOW: Duration = Duration::from_millis(250);

/// The conditions on which a receiver takes messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) lease: u64,
    pub(crate) consumer: Arc<str>,
    pub(crate) max_deliveries: Option<u64>,
    /// The place of a returned message. Only for queues.
    pub(crate) place: Place,
    /// Only for readers of a group.
    pub(crate) reader: Option<Arc<ReaderTerms>>,
}

impl Terms {
    /// Whether a take on these terms finds something exactly if one on the other terms does. What is deliverable
    /// depends on how a group is read, and on nothing else in the terms.
    fn finds_with(&self, other: &Self) -> bool {
        self.reader == other.reader
    }
}

/// Why a receiver stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// The wait has run out. What is there now is still wanted.
    RanOut,
    /// Nothing more is wanted.
    Stopped,
}

/// The receivers of one queue or group.
#[derive(Debug)]
pub(crate) struct Receivers {
    pub(crate) site: Arc<Site>,
    line: Mutex<Line>,
    /// How many wait. Read without the lock.
    waiting: AtomicUsize,
    /// Signals that somebody joined, or that the pump may end.
    arrived: Notify,
    /// Takes that newcomers started themselves, until the pump collects them.
    launched: Launched,
}

/// Takes in flight.
#[derive(Default)]
struct Launched(Mutex<Vec<BoxFuture<'static, Landed>>>);

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched").finish_non_exhaustive()
    }
}

impl Launched {
    fn push(&self, flight: BoxFuture<'static, Landed>) {
        self.0.lock().expect("no code panics while it holds this lock").push(flight);
    }

    fn take(&self) -> Vec<BoxFuture<'static, Landed>> {
        std::mem::take(&mut self.0.lock().expect("no code panics while it holds this lock"))
    }
}

/// A take for the front of the line.
#[derive(Debug)]
struct Order {
    number: u64,
    terms: Arc<Terms>,
    max: usize,
    /// The first and the last seat that it takes for; others between them may not be included.
    asked: (u64, u64),
    /// Receivers with seats up to this one joined before the take began.
    seats: u64,
    rings: u64,
}

/// Replies to send after the line is unlocked.
type Replies = Vec<(oneshot::Sender<Result<Parcel>>, Result<Claims>)>;

impl Receivers {
    /// The line of `object` at `address`, which `source` serves. Created once per process and shared by its handles.
    pub(crate) fn new(world: &Arc<World>, address: Address, object: Object, source: Box<dyn Source>) -> Arc<Self> {
        Arc::new(Self {
            site: Arc::new(Site::new(world, address, object, source)),
            line: Mutex::default(),
            waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
            launched: Launched::default(),
        })
    }

    /// Whether nobody waits, so that a newcomer may take for itself.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Waits for up to `want` messages, at least one, until `end` resolves with the reason to stop. Then it returns
    /// no claims.
    ///
    /// `seat` keeps the place in the line over several calls of one receiver. Dropping the future leaves the line and
    /// gives back what was claimed for it.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        terms: &Arc<Terms>,
        want: usize,
        seat: &mut Option<u64>,
        mut end: Pin<&mut impl Future<Output = WaitEnd>>,
    ) -> Result<Claims> {
        if let Some(untold) = Claims::untold(&self.site) {
            return Ok(untold);
        }
        let mut over = false;
        loop {
            let (ticket, mut reply) = self.join(terms, want, *seat, over)?;
            *seat = Some(ticket.seat);
            let replied = tokio::select! {
                biased;
                replied = &mut reply => replied,
                end = &mut end, if !over => {
                    over = true;
                    match self.leave_empty_handed(ticket.seat, end) {
                        Some(outcome) => return outcome,
                        None => reply.await,
                    }
                }
            };
            // Without a reply, the pump's runtime has ended. The next pump runs on this one.
            if let Ok(outcome) = replied {
                return outcome?.open().ok_or_else(|| self.site.shut_down("receive"));
            }
        }
    }

    fn nothing(&self) -> Claims {
        Claims::none(&self.site)
    }

    fn join(
        self: &Arc<Self>,
        terms: &Arc<Terms>,
        want: usize,
        seat: Option<u64>,
        over: bool,
    ) -> Result<(Ticket<'_>, oneshot::Receiver<Result<Parcel>>)> {
        self.site.check_taking("receive")?;
        let (reply, replied) = oneshot::channel();
        let mut line = self.lock();
        let seat = seat.unwrap_or_else(|| line.seat());
        // It parks behind a receiver for whom nothing was found, if nothing has come since. Only in process: a
        // server's state is known only while it answers.
        let parks = !over && line.pumped && self.site.source.is_local() && line.is_searched_for(terms);
        line.join(seat, Waiting { terms: Arc::clone(terms), want, asked: None, reply }, parks, over);
        self.waiting.store(line.len(), Ordering::Release);
        let ticket = Ticket { receivers: self, seat };
        if parks {
            return Ok((ticket, replied));
        }
        if line.pumped {
            // A lone receiver starts its take itself, at once and not only when the pump task gets to run. For a
            // crowd, the pump makes one take.
            let begins = line.crowd <= 1 && !self.site.source.is_local();
            let order = if begins { line.order(self.most()) } else { None };
            drop(line);
            if let Some(order) = order {
                self.launched.push(self.fly(order));
                if !self.lock().pumped {
                    // The pump has ended meanwhile.
                    drop(self.launched.take());
                }
            }
            self.arrived.notify_one();
            return Ok((ticket, replied));
        }
        line.begin_anew();
        drop(line);
        if pump::start(self) {
            return Ok((ticket, replied));
        }
        self.lose_pump();
        Err(self.site.context("receive", Error::configuration("waiting needs a tokio runtime, and there is none")))
    }

    /// The size of a take, at most and if nobody wants more at once. A take that costs no round trip is only for
    /// those that are likely to be served.
    fn most(&self) -> usize {
        if self.site.source.is_local() { LOCAL_BATCH } else { MAX_BATCH }
    }

    /// Starts a take.
    fn fly(&self, order: Order) -> BoxFuture<'static, Landed> {
        let asked = self.site.moment();
        let answer = self.site.source.take(&order.terms, order.max, true);
        Box::pin(async move { Landed { order: Some(order), asked, answer: answer.await } })
    }

    /// Ends a wait. If a take has found nothing, the answer is here at once. Otherwise (`None`) it comes with a take
    /// that is in flight, or with an extra one: that is made if the wait has run out and the last take is not recent,
    /// because a dead connection must not look like an empty queue.
    fn leave_empty_handed(&self, seat: u64, end: WaitEnd) -> Option<Result<Claims>> {
        let mut line = self.lock();
        let trouble = line.trouble.as_ref().map(Error::duplicate);
        let answered = line.answered.is_some_and(|answered| self.site.tick().since(answered) <= JUST_NOW);
        let is_certain = answered || end == WaitEnd::Stopped || self.site.source.is_local();
        let outcome = match (line.wait_is_over(seat)?, trouble) {
            (Stage::Parked | Stage::Fresh, Some(error)) => Err(error),
            (Stage::Parked, None) if is_certain => Ok(self.nothing()),
            (Stage::Parked, None) => {
                line.look_for(seat);
                drop(line);
                self.arrived.notify_one();
                return None;
            }
            (Stage::Fresh | Stage::Asked, _) => return None,
        };
        self.leave(line, seat);
        Some(outcome)
    }

    fn leave(&self, mut line: MutexGuard<'_, Line>, seat: u64) {
        let left = line.leave(seat);
        let (count, pumped) = (line.len(), line.pumped);
        self.waiting.store(count, Ordering::Release);
        drop(line);
        if left.is_some() && count == 0 && pumped {
            // The pump may end now.
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no code panics while it holds this lock")
    }

    /// The pump is gone, or could not be started. Those who wait get no reply, and start one on their own runtime.
    fn lose_pump(&self) {
        let mut line = self.lock();
        line.pumped = false;
        let orphans = line.leave_all();
        self.waiting.store(0, Ordering::Release);
        drop(line);
        drop(orphans);
    }

    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self.line.try_lock().is_err()
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let Site { world, address, object, .. } = &*self.site;
        world.receivers.forget(&(address.clone(), object.clone()));
    }
}

/// A place in the line. Dropping it leaves the line.
#[derive(Debug)]
struct Ticket<'a> {
    receivers: &'a Receivers,
    seat: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.receivers.leave(self.receivers.lock(), self.seat);
    }
}
