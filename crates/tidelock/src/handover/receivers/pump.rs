//! The pump: the one task of this process that takes from a queue or group for all waiting receivers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::parcel::Parcel;
use super::{Line, Order, Receivers, Replies, Terms};
use crate::backoff::pause_after;
use crate::bell::{self, Bell};
use crate::error::Result;
use crate::handover::site::Claims;
use crate::handover::store::Taken;
use crate::lifecycle::Hold;
use crate::proof::Moment;
use crate::runtime::{self, BoxFuture};
use crate::time::{Tick, Timestamp};

/// How long the backend may remember that this process waits.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Starts the pump of a line that has none. Returns `false` if there is no runtime to run it on.
pub(super) fn start(receivers: &Arc<Receivers>) -> bool {
    let pump = Pump::new(receivers);
    receivers.site.world.spawner.spawn(pump.run())
}

/// A take that was answered, and when it was requested.
pub(super) struct Landed {
    /// `None` if it only passed a wake-up on.
    pub(super) order: Option<Order>,
    pub(super) asked: Moment,
    pub(super) answer: Result<Taken>,
}

impl Landed {
    fn number(&self) -> Option<u64> {
        self.order.as_ref().map(|order| order.number)
    }

    /// Two takes in flight can reach the backend in either order. The fences tell which was first.
    fn place(&self) -> (u64, Option<u64>) {
        let first = self.answer.as_ref().ok().and_then(|taken| taken.messages.first());
        (first.map_or(u64::MAX, |message| message.fence), self.number())
    }
}

struct Pump {
    receivers: Arc<Receivers>,
    bell: Arc<Bell>,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// Answers that arrived while an older order is in flight, by place. They are delivered after it, so that the
    /// line is served in order.
    early: Vec<Landed>,
    /// Take again at this instant of the backend's clock.
    due: Option<(u64, BoxFuture<'static, ()>)>,
    /// Fires to check for a lost wake-up and to keep this process registered as waiting.
    safety: BoxFuture<'static, ()>,
    /// How long wake-ups may come for this process although nobody waits here, and the terms on which it parked.
    remembered: Option<(Tick, Arc<Terms>)>,
    /// Messages have come since the last safety check. Their receivers are likely to ask again.
    busy: bool,
    failures: u32,
    pause: Option<BoxFuture<'static, ()>>,
    ended: bool,
    _hold: Hold,
}

impl Pump {
    fn new(receivers: &Arc<Receivers>) -> Self {
        let site = &receivers.site;
        Self {
            bell: site.source.bell(),
            flights: FuturesUnordered::new(),
            early: Vec::new(),
            due: None,
            safety: bell::safety(site.clock()),
            remembered: None,
            busy: false,
            failures: 0,
            pause: None,
            ended: false,
            _hold: site.hold("receive"),
            receivers: Arc::clone(receivers),
        }
    }

    async fn run(mut self) {
        let lifecycle = self.receivers.site.world.lifecycle.clone();
        let mut closing = Box::pin(lifecycle.closing());
        loop {
            if !self.receivers.site.source.is_local() && self.receivers.lock().gathers() {
                // Receivers that are about to join share this take.
                runtime::yield_now().await;
            }
            self.launch();
            if self.may_end() {
                return;
            }
            let bell = Arc::clone(&self.bell);
            let receivers = Arc::clone(&self.receivers);
            tokio::select! {
                biased;
                () = &mut closing => return self.close().await,
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => self.land(landed),
                () = bell.rung.notified() => self.woken(),
                () = receivers.arrived.notified() => {}
                () = runtime::or_never(self.due.as_mut().map(|(_, alarm)| alarm)) => {
                    self.due = None;
                    self.woken();
                }
                () = runtime::or_never(self.pause.as_mut()) => self.pause(None),
                () = &mut self.safety => self.check(),
            }
        }
    }

    /// Starts the takes that the line needs. If a wake-up came and nobody is left to take, another process is to take.
    fn launch(&mut self) {
        self.flights.extend(self.receivers.launched.take());
        self.tell();
        let receivers = Arc::clone(&self.receivers);
        loop {
            let mut line = receivers.lock();
            let Some(order) = line.order(receivers.most()) else { return self.pass_on(&mut line) };
            drop(line);
            self.flights.push(receivers.fly(order));
        }
    }

    fn pause(&mut self, pause: Option<BoxFuture<'static, ()>>) {
        self.receivers.lock().pausing = pause.is_some();
        self.pause = pause;
    }

    /// Gives waiting receivers the gaps that were taken for others and that nobody was told.
    fn tell(&self) {
        let site = &self.receivers.site;
        while !self.receivers.is_empty()
            && let Some(untold) = Claims::untold(site)
        {
            let Some(first) = self.receivers.lock().first() else { return };
            self.reply(vec![(first.reply, Ok(untold))]);
        }
    }

    /// Lets another process take, if a wake-up came, nobody waits, and the server may think that this process does. `line`
    /// stays locked until this is on its way: if somebody joined before, this would reach the server after their take,
    /// and the server would forget that they wait.
    fn pass_on(&mut self, line: &mut MutexGuard<'_, Line>) {
        let Some((_, terms)) = self.remembered.take_if(|_| line.owed && line.is_empty()) else { return };
        line.owed = false;
        let (site, answer) = (&self.receivers.site, self.take_nothing(&terms));
        let asked = site.moment();
        self.flights.push(Box::pin(async move { Landed { order: None, asked, answer: answer.await } }));
    }

    /// Tells the server that this process does not wait. It wakes others for everything that is deliverable.
    fn take_nothing(&self, terms: &Terms) -> BoxFuture<'static, Result<Taken>> {
        self.receivers.site.source.take(terms, 0, false)
    }

    fn land(&mut self, landed: Landed) {
        // If a wake-up could not be passed on, the safety checks of the other waiting processes make up for it.
        let Some(number) = landed.number() else { return };
        let behind = self.early.partition_point(|other| other.place() <= landed.place());
        self.early.insert(behind, landed);
        let oldest = self.receivers.lock().landed(number).unwrap_or(u64::MAX);
        let (ready, early) = std::mem::take(&mut self.early)
            .into_iter()
            .partition::<Vec<_>, _>(|landed| landed.number().is_none_or(|number| number < oldest));
        self.early = early;
        for landed in ready {
            self.serve(landed);
        }
    }

    fn serve(&mut self, landed: Landed) {
        let Landed { order: Some(order), asked, answer } = landed else { return };
        // This answer may contain messages that were given back. The gap before them must be told first.
        self.tell();
        let replies = match answer {
            Ok(taken) => self.landed_well(&order, asked, taken),
            Err(error) => {
                // Perhaps only the answer was lost, and the server thinks that this process waits.
                self.remember(&order.terms);
                self.failures = self.failures.saturating_add(1);
                if error.may_pass() {
                    self.pause(Some(Box::pin(runtime::sleep(pause_after(self.failures)))));
                }
                let error = self.receivers.site.context("receive", error);
                self.receivers.lock().failed(&order, error)
            }
        };
        self.reply(replies);
    }

    fn landed_well(&mut self, order: &Order, asked: Moment, taken: Taken) -> Replies {
        let receivers = Arc::clone(&self.receivers);
        let site = &receivers.site;
        self.failures = 0;
        self.busy = true;
        let short = taken.len() < order.max;
        if short {
            self.remember(&order.terms);
        }
        let again = taken.next.is_some_and(|next| next <= site.clock().now().as_millis());
        if let Some(next) = taken.next.filter(|_| !again) {
            self.expect(next);
        }
        let ended = taken.ended;
        let mut claims = Claims::new(site, taken, asked, order.terms.lease);
        let mut line = receivers.lock();
        line.trouble = None;
        line.answered = line.answered.max(Some(asked.tick));
        if again {
            line.outdate();
        }
        let mut replies = line.hand_out(order, &mut claims);
        if short {
            replies.extend(line.exhausted(order, ended, || receivers.nothing()));
        } else {
            line.filled(order);
        }
        replies
        // Claims that nobody waits for any more are given back here, after the line is unlocked.
    }

    /// Notes that the server may think for a while that this process waits. In process, nobody else could be woken.
    fn remember(&mut self, terms: &Arc<Terms>) {
        let site = &self.receivers.site;
        if !site.source.is_local() {
            self.remembered = Some((site.tick().plus(REMEMBERED), Arc::clone(terms)));
        }
    }

    fn expect(&mut self, next: u64) {
        if self.due.as_ref().is_none_or(|(due, _)| next < *due) {
            let clock = self.receivers.site.clock().clone();
            let alarm = async move { clock.sleep_until_timestamp(Timestamp::from_millis(next)).await };
            self.due = Some((next, Box::pin(alarm)));
        }
    }

    /// Something may have become deliverable: a take that begins now finds it, here or in another process.
    fn woken(&self) {
        let mut line = self.receivers.lock();
        line.ring();
        line.owed = true;
    }

    fn check(&mut self) {
        self.safety = bell::safety(self.receivers.site.clock());
        self.busy = false;
        // This also applies to a take in flight: its parking may be forgotten by the time that its answer comes. If nobody
        // waits, another process should keep the next deadline.
        self.woken();
    }

    fn reply(&self, replies: Replies) {
        {
            let line = self.receivers.lock();
            self.receivers.waiting.store(line.len(), Ordering::Release);
        }
        for (to, outcome) in replies {
            // If the receiver has left meanwhile, its claims are dropped and so given back.
            let _ = to.send(outcome.map(Parcel::of));
        }
    }

    /// Whether nobody waits and no wake-up can be on its way to this process.
    fn may_end(&mut self) -> bool {
        let mut line = self.receivers.lock();
        if !line.is_empty() || !line.is_idle() || !self.flights.is_empty() || !self.early.is_empty() {
            return false;
        }
        let now = self.receivers.site.tick();
        let is_remembered = self.remembered.as_ref().is_some_and(|(until, _)| now < *until);
        if !self.receivers.site.source.is_local() && (self.busy || is_remembered) {
            return false;
        }
        line.pumped = false;
        self.ended = true;
        true
    }

    /// Ends all waits, and gives back what takes in flight still bring. Before that, the server is told that this process
    /// no longer waits, so that what is given back wakes others.
    async fn close(&mut self) {
        let replies = self.receivers.lock().close(&self.receivers.site);
        self.reply(replies);
        self.flights.extend(self.receivers.launched.take());
        let mut early = std::mem::take(&mut self.early);
        while let Some(landed) = self.flights.next().await {
            if let Some(order) = &landed.order {
                self.remember(&order.terms);
            }
            early.push(landed);
        }
        let is_answered = self.receivers.lock().trouble.is_none();
        if let Some((_, terms)) = self.remembered.take().filter(|_| is_answered) {
            // If it is lost, the server forgets by itself.
            let _ = self.take_nothing(&terms).await;
        }
        for landed in early {
            if let (Some(order), Ok(taken)) = (landed.order, landed.answer) {
                drop(Claims::new(&self.receivers.site, taken, landed.asked, order.terms.lease));
            }
        }
    }
}

impl Drop for Pump {
    /// This also happens when its runtime ends.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.receivers.lose_pump();
        drop(self.receivers.launched.take());
    }
}
