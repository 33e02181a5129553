//! The line of receivers of this process: who waits for messages of one queue or group, in order of arrival.
//!
//! However many wait, one task takes for them: the pump (`receivers/pump.rs`). It runs while somebody waits.

mod parcel;
mod pump;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use self::parcel::Parcel;
use self::pump::Landed;
use super::site::{Claims, Object, Site, Source};
use super::store::{MAX_BATCH, Place};
use crate::error::{Error, Result};
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::tidelock::World;
use crate::time::Tick;
use crate::topic::store::ReaderTerms;

/// Takes under way at once: while one is answered, the next is on its way.
const FLIGHTS: usize = 2;
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

#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<u64, Waiting>,
    next_seat: u64,
    next_order: u64,
    /// The numbers of the orders under way, the oldest first.
    under_way: VecDeque<u64>,
    /// For how many receivers the last order was.
    crowd: usize,
    /// After a failure no take begins for a while.
    pausing: bool,
    /// How often the bell rang or a due time came: a take that began before must be repeated.
    rings: u64,
    /// A pump runs.
    pumped: bool,
    /// When the newest take was made that was answered.
    answered: Option<Tick>,
    /// Why the last take failed, until one succeeds.
    trouble: Option<Error>,
}

#[derive(Debug)]
struct Waiting {
    terms: Arc<Terms>,
    want: usize,
    stage: Stage,
    /// Its wait is over: it leaves with the next answer.
    over: bool,
    reply: oneshot::Sender<Result<Parcel>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No take has looked for it since something may have changed.
    Fresh,
    /// The take with this number looks for it.
    Asked(u64),
    /// A take found nothing; this process will be woken.
    Parked,
}

/// A take for the front of the line.
#[derive(Debug)]
struct Order {
    number: u64,
    terms: Arc<Terms>,
    max: usize,
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
        let seat = seat.unwrap_or_else(|| {
            line.next_seat += 1;
            line.next_seat
        });
        // Behind one for whom nothing was found, and nothing has come since. Of a server that is only known as long as it answers.
        let parks = !over && line.pumped && self.site.source.is_local() && line.is_searched_for(terms);
        let stage = if parks { Stage::Parked } else { Stage::Fresh };
        let waiting = Waiting { terms: Arc::clone(terms), want, stage, over, reply };
        line.waiting.insert(seat, waiting);
        self.waiting.store(line.waiting.len(), Ordering::Release);
        let ticket = Ticket { receivers: self, seat };
        if parks {
            return Ok((ticket, replied));
        }
        if line.pumped {
            // One who is alone begins its take itself, in the turn of the executor in which it asks. Of many, the pump makes
            // one take.
            let begins = line.crowd <= 1 && !self.site.source.is_local();
            let order = if begins { line.order() } else { None };
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
        let waiting = line.waiting.get_mut(&seat)?;
        waiting.over = true;
        let outcome = match (waiting.stage, trouble) {
            (Stage::Parked | Stage::Fresh, Some(error)) => Err(error),
            (Stage::Parked, None) if is_certain => Ok(self.nothing()),
            (Stage::Parked, None) => {
                waiting.stage = Stage::Fresh;
                drop(line);
                self.arrived.notify_one();
                return None;
            }
            (Stage::Fresh | Stage::Asked(_), _) => return None,
        };
        self.leave(line, seat);
        Some(outcome)
    }

    fn leave(&self, mut line: MutexGuard<'_, Line>, seat: u64) {
        let left = line.waiting.remove(&seat);
        let (count, pumped) = (line.waiting.len(), line.pumped);
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

impl Line {
    /// A pump begins: what the one before it had under way is gone with it.
    fn begin_anew(&mut self) {
        (self.pumped, self.pausing) = (true, false);
        self.under_way.clear();
    }

    /// The take that the front of the line needs, unless enough are under way or the last one found nothing.
    fn order(&mut self) -> Option<Order> {
        if self.under_way.len() == FLIGHTS || self.pausing {
            return None;
        }
        let fresh = self.waiting.values().find(|waiting| waiting.stage == Stage::Fresh)?;
        let fresh = Arc::clone(&fresh.terms);
        self.next_order += 1;
        let number = self.next_order;
        // Who waits longest on such terms goes first, even if nothing was found for it just now.
        let is_next =
            |waiting: &&mut Waiting| !matches!(waiting.stage, Stage::Asked(_)) && waiting.terms.finds_with(&fresh);
        let mut unasked = self.waiting.values_mut().filter(is_next);
        let first = unasked.next()?;
        let terms = Arc::clone(&first.terms);
        let mut max = first.want;
        first.stage = Stage::Asked(number);
        self.crowd = 1;
        for waiting in unasked {
            if max >= MAX_BATCH || !(Arc::ptr_eq(&waiting.terms, &terms) || waiting.terms == terms) {
                break;
            }
            waiting.stage = Stage::Asked(number);
            max += waiting.want;
            self.crowd += 1;
        }
        self.under_way.push_back(number);
        Some(Order { number, terms, max: max.min(MAX_BATCH), seats: self.next_seat, rings: self.rings })
    }

    /// Whether the last one in the line waits on such terms, and is to be woken when there is something.
    fn is_searched_for(&self, terms: &Terms) -> bool {
        let last = self.waiting.values().next_back();
        last.is_some_and(|last| last.stage == Stage::Parked && last.terms.finds_with(terms))
    }

    /// Whether a take is to be made for somebody, and others are about to join who may share it.
    fn gathers(&self) -> bool {
        self.crowd > 1 && self.waiting.values().any(|waiting| waiting.stage == Stage::Fresh)
    }

    /// Something may have become deliverable.
    fn ring(&mut self) {
        self.rings += 1;
        self.look_again();
    }

    fn look_again(&mut self) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.stage == Stage::Parked) {
            waiting.stage = Stage::Fresh;
        }
    }

    /// Hands out what an order brought, first come first served; what nobody waits for is left in `claims`.
    fn hand_out(&mut self, order: &Order, claims: &mut Claims) -> Replies {
        let fits = |waiting: &Waiting| Arc::ptr_eq(&waiting.terms, &order.terms) || waiting.terms == order.terms;
        let mut served = Vec::new();
        while !claims.is_empty() {
            let Some((&seat, _)) = self.waiting.iter().find(|(_, waiting)| fits(waiting)) else { break };
            let Some(waiting) = self.waiting.remove(&seat) else { break };
            let share = claims.split(waiting.want);
            served.push((waiting.reply, Ok(share)));
        }
        served
    }

    /// After an order that brought as much as it asked for: there may be more.
    fn filled(&mut self, order: &Order) {
        for waiting in self.waiting.values_mut() {
            if matches!(waiting.stage, Stage::Parked) || waiting.stage == Stage::Asked(order.number) {
                waiting.stage = Stage::Fresh;
            }
        }
    }

    /// After an order that found less than it asked for: whoever sat in the line before it and would have found the same has
    /// its answer. `ended`: there is nothing to wait for.
    fn exhausted(&mut self, order: &Order, ended: bool, nothing: impl Fn() -> Claims) -> Replies {
        let stage = if self.rings == order.rings { Stage::Parked } else { Stage::Fresh };
        let mut leaving = Vec::new();
        for (&seat, waiting) in &mut self.waiting {
            let asked = waiting.stage == Stage::Asked(order.number);
            let sat_by = || seat <= order.seats && waiting.terms.finds_with(&order.terms);
            if asked || (waiting.stage == Stage::Fresh && sat_by()) {
                waiting.stage = stage;
                if waiting.over || (ended && stage == Stage::Parked) {
                    leaving.push(seat);
                }
            }
        }
        let leaving = leaving.into_iter().filter_map(|seat| self.waiting.remove(&seat));
        leaving.map(|waiting| (waiting.reply, Ok(nothing()))).collect()
    }

    /// After an order that failed. What waiting may cure is tried again, for those who still wait.
    fn failed(&mut self, order: &Order, error: Error) -> Replies {
        let waiting_helps = error.may_pass();
        let mut leaving = Vec::new();
        for (&seat, waiting) in &mut self.waiting {
            if waiting.stage == Stage::Asked(order.number) {
                waiting.stage = Stage::Fresh;
            }
            if !waiting_helps || (waiting.over && waiting.stage == Stage::Fresh) {
                leaving.push(seat);
            }
        }
        let leaving = leaving.into_iter().filter_map(|seat| self.waiting.remove(&seat));
        let replies = leaving.map(|waiting| (waiting.reply, Err(error.duplicate()))).collect();
        self.trouble = waiting_helps.then_some(error);
        replies
    }

    fn close(&mut self, site: &Site) -> Replies {
        let error = || Err(site.shut_down("receive"));
        std::mem::take(&mut self.waiting).into_values().map(|waiting| (waiting.reply, error())).collect()
    }
}
