//! The line of receivers of this process: who waits for messages of one queue or group, in order of arrival.
//!
//! However many wait, one task takes for them: the pump (`receivers/pump.rs`). It runs while somebody waits.

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

/// Takes under way at once: while one is answered, the next is on its way.
const FLIGHTS: usize = 2;
/// For so many messages a take is made that costs no trip.
const LOCAL_BATCH: usize = 16;
/// A take that was made so long ago still tells what there is: receivers whose waits are short do not ask twice.
const JUST_NOW: Duration = Duration::from_millis(250);

/// How a receiver wants its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) lease: u64,
    pub(crate) consumer: Arc<str>,
    pub(crate) max_deliveries: Option<u64>,
    /// Where a message that is returned stands; of a queue's.
    pub(crate) place: Place,
    /// Of a group's readers.
    pub(crate) reader: Option<Arc<ReaderTerms>>,
}

impl Terms {
    /// Whether a take finds something on these terms if it does on the others: what may be handed out depends on how a
    /// group is read, and on nothing else that a receiver says.
    fn finds_with(&self, other: &Self) -> bool {
        self.reader == other.reader
    }
}

/// Why somebody waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// The wait has run out: what is there now is wanted.
    RanOut,
    /// Nothing more is wanted.
    Stopped,
}

/// The receivers of one queue or group.
#[derive(Debug)]
pub(crate) struct Receivers {
    pub(crate) site: Arc<Site>,
    line: Mutex<Line>,
    /// How many wait: read without the lock.
    waiting: AtomicUsize,
    /// Somebody joined.
    arrived: Notify,
    /// Takes that those who joined began themselves, until the pump gets to them.
    launched: Launched,
}

/// Takes that are under way.
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
    /// The first and the last seat for which it looks, with others between them.
    asked: (u64, u64),
    /// Whoever sits before this joined before the take began.
    seats: u64,
    rings: u64,
}

/// Replies to be sent when the line is no longer locked.
type Replies = Vec<(oneshot::Sender<Result<Parcel>>, Result<Claims>)>;

impl Receivers {
    /// The line of `object` at `address`, which `source` serves. Handles share it: made once per process.
    pub(crate) fn new(world: &Arc<World>, address: Address, object: Object, source: Box<dyn Source>) -> Arc<Self> {
        Arc::new(Self {
            site: Arc::new(Site::new(world, address, object, source)),
            line: Mutex::default(),
            waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
            launched: Launched::default(),
        })
    }

    /// Whether nobody waits, so that a newcomer may look for itself.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Waits for up to `want` messages, at least one, until `end` tells why not for longer: then answers none.
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
            // Without a reply the pump's runtime has ended; the next pump runs on this one.
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
        // Behind one for whom nothing was found, and nothing has come since. Of a server that is only known as long as it answers.
        let parks = !over && line.pumped && self.site.source.is_local() && line.is_searched_for(terms);
        line.join(seat, Waiting { terms: Arc::clone(terms), want, asked: None, reply }, parks, over);
        self.waiting.store(line.len(), Ordering::Release);
        let ticket = Ticket { receivers: self, seat };
        if parks {
            return Ok((ticket, replied));
        }
        if line.pumped {
            // One who is alone begins its take itself, in the turn of the executor in which it asks. Of many, the pump makes
            // one take.
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
        self.lock().pumped = false;
        Err(self.site.context("receive", Error::configuration("waiting needs a tokio runtime, and there is none")))
    }

    /// Of how many messages one take is, at most and if nobody wants more at once. Where a take costs no trip, it is only for
    /// those who are likely to be served.
    fn most(&self) -> usize {
        if self.site.source.is_local() { LOCAL_BATCH } else { MAX_BATCH }
    }

    /// Begins a take.
    fn fly(&self, order: Order) -> BoxFuture<'static, Landed> {
        let asked = self.site.moment();
        let answer = self.site.source.take(&order.terms, order.max, true);
        Box::pin(async move { Landed { order: Some(order), asked, answer: answer.await } })
    }

    /// Ends a wait: at once if a take has found nothing, otherwise (`None`) with the answer to a take that is on its way, or
    /// that is made for it where the wait has run out and the take was not made just now: a dead link is not to be taken for
    /// an empty queue.
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
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let Site { world, address, object, .. } = &*self.site;
        world.receivers.forget(&(address.clone(), object.clone()));
    }
}

/// A place in the line, left when dropped.
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
