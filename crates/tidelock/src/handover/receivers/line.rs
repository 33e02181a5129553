//! The line: who waits, in order of arrival, and for whom a take has found nothing.
//!
//! That nothing was found, or that there is a reason to look again, is recorded once for all receivers that it
//! concerns and not for each. So the cost of a message does not depend on how many receivers wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::parcel::Parcel;
use super::{FLIGHTS, Order, Replies, Terms};
use crate::error::{Error, Result};
use crate::handover::site::{Claims, Site};
use crate::handover::store::MAX_BATCH;
use crate::time::Tick;

#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<u64, Waiting>,
    /// The waiting receivers, grouped by what a take can find for them.
    classes: Vec<Class>,
    /// Seats to take for once more, although nothing has happened since a take found nothing.
    anew: BTreeSet<u64>,
    /// Seats whose wait is over. They leave with the next answer.
    over: BTreeSet<u64>,
    /// How often there was a reason to look again.
    looks: u64,
    next_seat: u64,
    next_order: u64,
    /// The numbers of the orders in flight, the oldest first.
    under_way: VecDeque<u64>,
    /// The number of receivers that the last order was for.
    pub(super) crowd: usize,
    /// After a failure, no take starts for a while.
    pub(super) pausing: bool,
    /// How often the bell rang or a due time came. A take that began before must be repeated.
    rings: u64,
    /// No take has begun since this process was woken.
    pub(super) owed: bool,
    /// Whether a pump runs.
    pub(super) pumped: bool,
    /// When the newest answered take was made.
    pub(super) answered: Option<Tick>,
    /// Why the last take failed. Reset when one succeeds.
    pub(super) trouble: Option<Error>,
}

/// A waiting receiver.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) terms: Arc<Terms>,
    pub(super) want: usize,
    /// The number of the take that is for it.
    pub(super) asked: Option<u64>,
    pub(super) reply: oneshot::Sender<Result<Parcel>>,
}

impl Waiting {
    /// Whether one take can serve both.
    fn fits(&self, terms: &Arc<Terms>) -> bool {
        Arc::ptr_eq(&self.terms, terms) || self.terms == *terms
    }
}

/// Receivers for which takes find the same.
#[derive(Debug)]
struct Class {
    terms: Arc<Terms>,
    members: usize,
    /// The value of `looks` then, and the last seat for which nothing was found.
    searched: (u64, u64),
}

/// The state of a waiting receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No take has been made for it since something may have changed.
    Fresh,
    /// A take for it is in flight.
    Asked,
    /// A take found nothing; this process will be woken.
    Parked,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The index of the class to which receivers with these terms belong.
    fn class_of(&self, terms: &Terms) -> Option<usize> {
        self.classes.iter().position(|class| class.terms.finds_with(terms))
    }

    /// A new seat, behind all others.
    pub(super) fn seat(&mut self) -> u64 {
        self.next_seat += 1;
        self.next_seat
    }

    /// Adds a receiver, either parked or to be taken for.
    pub(super) fn join(&mut self, seat: u64, waiting: Waiting, parks: bool, over: bool) {
        let looks = self.looks;
        let place = self.class_of(&waiting.terms).unwrap_or_else(|| {
            let terms = Arc::clone(&waiting.terms);
            self.classes.push(Class { terms, members: 0, searched: (0, 0) });
            self.classes.len() - 1
        });
        let class = &mut self.classes[place];
        class.members += 1;
        if parks {
            class.search(looks, seat);
        } else if class.is_searched(looks, seat) {
            self.anew.insert(seat);
        }
        if over {
            self.over.insert(seat);
        }
        self.waiting.insert(seat, waiting);
    }

    /// Removes a receiver, served or not.
    pub(super) fn leave(&mut self, seat: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&seat)?;
        self.anew.remove(&seat);
        self.over.remove(&seat);
        if let Some(place) = self.class_of(&waiting.terms) {
            self.classes[place].members -= 1;
            if self.classes[place].members == 0 {
                self.classes.swap_remove(place);
            }
        }
        Some(waiting)
    }

    pub(super) fn first(&mut self) -> Option<Waiting> {
        let (&seat, _) = self.waiting.first_key_value()?;
        self.leave(seat)
    }

    pub(super) fn leave_all(&mut self) -> impl Iterator<Item = Waiting> + use<> {
        self.classes.clear();
        self.anew.clear();
        self.over.clear();
        std::mem::take(&mut self.waiting).into_values()
    }

    /// Marks a wait as over. Returns the state of the receiver.
    pub(super) fn wait_is_over(&mut self, seat: u64) -> Option<Stage> {
        let stage = self.stage(seat, self.waiting.get(&seat)?);
        self.over.insert(seat);
        Some(stage)
    }

    /// Requests one more take for a receiver.
    pub(super) fn look_for(&mut self, seat: u64) {
        self.anew.insert(seat);
    }

    fn stage(&self, seat: u64, waiting: &Waiting) -> Stage {
        let is_searched = || {
            let class = self.class_of(&waiting.terms).map(|place| &self.classes[place]);
            !self.anew.contains(&seat) && class.is_some_and(|class| class.is_searched(self.looks, seat))
        };
        match waiting.asked {
            Some(_) => Stage::Asked,
            None if is_searched() => Stage::Parked,
            None => Stage::Fresh,
        }
    }

    /// The first receiver in the line that needs a take.
    fn fresh(&self) -> Option<&Waiting> {
        let is_fresh = |seat: u64, waiting: &Waiting| self.stage(seat, waiting) == Stage::Fresh;
        let anew = self.anew.iter().find_map(|seat| Some((*seat, self.waiting.get(seat)?)));
        // A take has been made for everybody up to this seat.
        let behind = |class: &Class| if class.searched.0 == self.looks { class.searched.1 + 1 } else { 0 };
        let from = self.classes.iter().map(behind).min().unwrap_or(0);
        let others = self.waiting.range(from..).find(|(seat, waiting)| is_fresh(**seat, waiting));
        let others = others.map(|(seat, waiting)| (*seat, waiting));
        let anew = anew.filter(|(seat, waiting)| is_fresh(*seat, waiting));
        anew.into_iter().chain(others).min_by_key(|(seat, _)| *seat).map(|(_, waiting)| waiting)
    }

    /// A pump starts. The takes that its predecessor had in flight are gone with it.
    pub(super) fn begin_anew(&mut self) {
        (self.pumped, self.pausing, self.owed) = (true, false, false);
        self.under_way.clear();
    }

    /// The take that the front of the line needs, for `most` messages or somewhat more. None if enough are in flight
    /// or if the last one found nothing.
    pub(super) fn order(&mut self, most: usize) -> Option<Order> {
        if self.under_way.len() == FLIGHTS || self.pausing {
            return None;
        }
        let fresh = Arc::clone(&self.fresh()?.terms);
        self.next_order += 1;
        let number = self.next_order;
        // The receiver that waits longest on such terms goes first, even if nothing was found for it just now.
        let is_next = |(_, waiting): &(&u64, &mut Waiting)| waiting.asked.is_none() && waiting.terms.finds_with(&fresh);
        let mut unasked = self.waiting.iter_mut().filter(is_next);
        let (&first, waiting) = unasked.next()?;
        waiting.asked = Some(number);
        let (terms, mut max, mut last) = (Arc::clone(&waiting.terms), waiting.want, first);
        self.crowd = 1;
        self.anew.remove(&first);
        for (&seat, waiting) in unasked {
            if max >= most || !waiting.fits(&terms) {
                break;
            }
            waiting.asked = Some(number);
            self.anew.remove(&seat);
            last = seat;
            max += waiting.want;
            self.crowd += 1;
        }
        self.under_way.push_back(number);
        self.owed = false;
        let asked = (first, last);
        Some(Order { number, terms, max: max.min(MAX_BATCH), asked, seats: self.next_seat, rings: self.rings })
    }

    /// Records that an order was answered. Returns the number of the oldest order in flight.
    pub(super) fn landed(&mut self, number: u64) -> Option<u64> {
        self.under_way.retain(|other| *other != number);
        self.under_way.front().copied()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether the last receiver in the line waits on such terms and is parked.
    pub(super) fn is_searched_for(&self, terms: &Terms) -> bool {
        let last = self.waiting.last_key_value();
        last.is_some_and(|(seat, last)| last.terms.finds_with(terms) && self.stage(*seat, last) == Stage::Parked)
    }

    /// Whether a take is needed while others are about to join that can share it.
    pub(super) fn gathers(&self) -> bool {
        self.crowd > 1 && self.fresh().is_some()
    }

    /// Something may have become deliverable.
    pub(super) fn ring(&mut self) {
        self.rings += 1;
        self.looks += 1;
    }

    /// Marks what orders in flight find as outdated: receivers must not park because of it.
    pub(super) fn outdate(&mut self) {
        self.rings += 1;
    }

    /// Distributes what an order brought, first come first served. What nobody waits for stays in `claims`.
    pub(super) fn hand_out(&mut self, order: &Order, claims: &mut Claims) -> Replies {
        let mut served = Vec::new();
        while !claims.is_empty() {
            let next = self.waiting.iter().find(|(_, waiting)| waiting.fits(&order.terms)).map(|(seat, _)| *seat);
            let Some(waiting) = next.and_then(|seat| self.leave(seat)) else { break };
            let share = claims.split(waiting.want);
            served.push((waiting.reply, Ok(share)));
        }
        served
    }

    /// Ends an order's claim on its receivers.
    fn recall(&mut self, order: &Order) {
        for (_, waiting) in self.waiting.range_mut(order.asked.0..=order.asked.1) {
            if waiting.asked == Some(order.number) {
                waiting.asked = None;
            }
        }
    }

    /// After an order that brought as much as it asked for: there may be more.
    pub(super) fn filled(&mut self, order: &Order) {
        self.recall(order);
        self.looks += 1;
    }

    /// After an order that found less than it asked for. This answers everybody who joined before the order and for
    /// whom it would have found the same. `ended`: there is nothing to wait for.
    pub(super) fn exhausted(&mut self, order: &Order, ended: bool, nothing: impl Fn() -> Claims) -> Replies {
        self.recall(order);
        let parked = self.rings == order.rings;
        let class = self.class_of(&order.terms);
        let Self { waiting, classes, anew, over, looks, .. } = self;
        let is_answered = |seat: &u64| {
            let sat_by = |waiting: &Waiting| waiting.asked.is_none() && waiting.terms.finds_with(&order.terms);
            *seat <= order.seats && waiting.get(seat).is_some_and(sat_by)
        };
        let leaving: Vec<u64> = if ended && parked {
            waiting.keys().copied().filter(is_answered).collect()
        } else {
            over.iter().copied().filter(is_answered).collect()
        };
        if parked {
            anew.retain(|seat| !is_answered(seat));
            if let Some(class) = class.and_then(|place| classes.get_mut(place)) {
                class.search(*looks, order.seats);
            }
        }
        let leaving = leaving.into_iter().filter_map(|seat| self.leave(seat));
        leaving.map(|waiting| (waiting.reply, Ok(nothing()))).collect()
    }

    /// After an order that failed. If the error may pass, those who still wait are tried again.
    pub(super) fn failed(&mut self, order: &Order, error: Error) -> Replies {
        self.recall(order);
        self.looks += 1;
        let waiting_helps = error.may_pass();
        let leaving: Vec<Waiting> = if waiting_helps {
            let is_asked = |seat: &u64| self.waiting.get(seat).is_some_and(|waiting| waiting.asked.is_some());
            let over: Vec<u64> = self.over.iter().copied().filter(|seat| !is_asked(seat)).collect();
            over.into_iter().filter_map(|seat| self.leave(seat)).collect()
        } else {
            self.leave_all().collect()
        };
        let replies = leaving.into_iter().map(|waiting| (waiting.reply, Err(error.duplicate()))).collect();
        self.trouble = waiting_helps.then_some(error);
        replies
    }

    pub(super) fn close(&mut self, site: &Site) -> Replies {
        self.leave_all().map(|waiting| (waiting.reply, Err(site.shut_down("receive")))).collect()
    }
}

impl Class {
    fn is_searched(&self, looks: u64, seat: u64) -> bool {
        self.searched.0 == looks && seat <= self.searched.1
    }

    /// Records that nothing was found for the receivers up to this seat.
    fn search(&mut self, looks: u64, seat: u64) {
        let before = if self.searched.0 == looks { self.searched.1 } else { 0 };
        self.searched = (looks, seat.max(before));
    }
}
