//! The pulse of an instance: it announces handlers, leads or waits to lead, and hands due work to the desk.

use std::sync::Arc;
use std::time::Duration;

use super::tray::{Out, Work};
use super::{Engine, Started, reached};
use crate::backoff::Backoff;
use crate::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
use crate::proof::{Moment, Proof};
use crate::runtime;
use crate::scheduler::leader::term::Term;
use crate::scheduler::observe::{Happening, LostBy};
use crate::scheduler::store::{Beat, Beaten, Busy, Role, Wish};
use crate::time::{SECOND, Tick, Timestamp, whole_millis};

/// How often an instance that does not lead announces its handlers.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);
/// Followers beat at a random time within this interval after the end of a lease, and not all at once.
const SPREAD: Duration = Duration::from_millis(300);
/// The pauses after trips that failed.
const PAUSES: Backoff = Backoff::exponential(Duration::from_millis(100)).max(SECOND).jitter(0.5);

/// The task that beats.
pub(super) struct Pulse {
    engine: Arc<Engine>,
    desk: Out,
    bell: Arc<Bell>,
    failures: u32,
}

/// When to beat next.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// At the latest.
    at: Tick,
    /// For a leader: when to beat if the desk is free by then.
    work: Option<Tick>,
}

impl Pulse {
    pub(super) fn new(engine: &Arc<Engine>, desk: Out) -> Self {
        let site = &engine.core.site;
        let bell = site.store().bell(&site.address);
        Self { engine: Arc::clone(engine), desk, bell, failures: 0 }
    }

    pub(super) async fn run(mut self) {
        let engine = Arc::clone(&self.engine);
        loop {
            let quiet = reached(&engine.quiet);
            let plan = tokio::select! {
                biased;
                () = quiet => return,
                plan = self.beat() => plan,
            };
            let Some(plan) = plan else { return };
            tokio::select! {
                biased;
                () = reached(&engine.quiet) => return,
                () = self.rest(plan) => {}
            }
        }
    }

    /// Sends one beat; `None` if there is no point in continuing.
    async fn beat(&mut self) -> Option<Plan> {
        let engine = Arc::clone(&self.engine);
        let core = &engine.core;
        let clock = &core.site.world.clock;
        let term = engine.office.current();
        // A leadership that can no longer be proven is over, even if the backend does not know that yet.
        let term = term.filter(|term| {
            let holds = term.holds(clock);
            if !holds {
                engine.lose(term, LostBy::ExtendFailed);
            }
            holds
        });
        let start = Moment::of(clock);
        let answer = self.ask(term.as_ref()).await;
        let first = self.failures == 0 && matches!(*engine.control.started.borrow(), Started::Pending);
        match answer {
            Ok(beaten) => {
                self.failures = 0;
                engine.control.started.send_if_modified(began);
                core.watcher.heard(Timestamp::from_millis(beaten.now));
                Some(self.take_up(beaten, term, start))
            }
            Err(error) if first && !may_pass(&error) => {
                let error = core.site.context("start", error);
                engine.control.started.send_replace(Started::No(error));
                None
            }
            Err(error) => {
                engine.control.started.send_if_modified(began);
                core.tell(Happening::TickError { message: error.to_string() });
                self.failures += 1;
                // In real time, because a pinned clock does not cure a failure.
                let pause = runtime::sleep(PAUSES.delay(self.failures, fastrand::f64()));
                match term {
                    Some(term) => tokio::select! {
                        () = pause => {}
                        () = clock.sleep_until(term.until()) => engine.lose(&term, LostBy::ExtendFailed),
                    },
                    None => pause.await,
                }
                Some(Plan { at: clock.tick(), work: None })
            }
        }
    }

    /// Sends the beat, and ends a leadership whose proof runs out meanwhile.
    async fn ask(&self, term: Option<&Arc<Term>>) -> Result<Beaten> {
        let core = &self.engine.core;
        let lease = whole_millis(core.options.lease);
        let wish = match term {
            _ if self.engine.is_closing() && term.is_none() => Wish::Announce,
            Some(term) => Wish::Renew { epoch: term.epoch, lease },
            None => Wish::Lead { lease },
        };
        let beat = Beat {
            instance: Arc::clone(&self.engine.name),
            handlers: core.handlers.iter().map(|(name, _)| Arc::clone(name)).collect(),
            wish,
            batch: if term.is_none() { core.options.batch } else { self.desk.room() },
            busy: if term.is_none() { Busy::default() } else { self.desk.under_way() },
        };
        let mut asking = core.site.store().beat(&core.site.address, beat);
        let Some(term) = term else { return asking.await };
        tokio::select! {
            biased;
            answer = &mut asking => return answer,
            () = core.site.world.clock.sleep_until(term.until()) => {}
        }
        self.engine.lose(term, LostBy::ExtendFailed);
        asking.await
    }

    fn take_up(&mut self, beaten: Beaten, term: Option<Arc<Term>>, start: Moment) -> Plan {
        let core = &self.engine.core;
        let clock = &core.site.world.clock;
        let Beaten { now, role } = beaten;
        let soon = Plan { at: clock.tick(), work: None };
        match role {
            Role::Leader { epoch, due, triggers, next, zones } => {
                let proof = Proof::new(start, core.options.lease);
                let known = term.filter(|term| term.epoch == epoch && self.is_current(term));
                let is_new = known.is_none();
                let term = known.unwrap_or_else(|| Term::new(epoch, proof));
                term.renew(proof);
                if !term.holds(clock) {
                    // The answer took longer than the lease.
                    return soon;
                }
                if is_new {
                    self.engine.office.take(&term);
                    core.tell(Happening::LeaderAcquired { epoch });
                }
                let heard = clock.tick();
                if is_new || !due.is_empty() || !triggers.is_empty() {
                    self.desk.hand_over(Work { term, now, heard, due, triggers, zones });
                }
                let tick = start.tick.plus(core.options.tick);
                // Counted from before the request, so that its travel time does not make a slot late.
                let next = next.map(|next| start.tick.plus(Duration::from_millis(next.saturating_sub(now))));
                Plan {
                    at: start.tick.plus(core.options.heartbeat),
                    work: Some(next.map_or(tick, |next| next.min(tick))),
                }
            }
            Role::Follower { left } => {
                self.give_up(term);
                let spread = SPREAD.mul_f64(fastrand::f64());
                let end = clock.tick().plus(Duration::from_millis(left)).plus(spread);
                let announced = start.tick.plus(ANNOUNCE_EVERY);
                Plan { at: if core.handlers.is_empty() { end } else { end.min(announced) }, work: None }
            }
            Role::Free if term.is_some() => {
                self.give_up(term);
                soon
            }
            // Nobody leads, and this instance did not ask to: it is stopping.
            Role::Free => Plan { at: clock.tick().plus(ANNOUNCE_EVERY), work: None },
        }
    }

    fn is_current(&self, term: &Arc<Term>) -> bool {
        self.engine.office.current().is_some_and(|current| Arc::ptr_eq(&current, term))
    }

    fn give_up(&self, term: Option<Arc<Term>>) {
        if let Some(term) = term {
            self.engine.lose(&term, LostBy::ExtendFailed);
        }
    }

    /// Sleeps until the next beat.
    async fn rest(&self, plan: Plan) {
        let engine = &self.engine;
        let clock = &engine.core.site.world.clock;
        let rung = async {
            self.bell.rung.notified().await;
            engine.core.site.pass_on(&engine.nudge);
        };
        let early = async {
            // A leader with a busy desk only renews its lease.
            if plan.work.is_some() {
                self.desk.free().await;
            }
            tokio::select! {
                () = rung => {}
                () = engine.nudge.notified() => {}
                () = self.desk.asked() => {}
                () = runtime::or_never(plan.work.map(|at| clock.sleep_until(at))) => {}
            }
        };
        tokio::select! {
            biased;
            () = clock.sleep_until(plan.at) => {}
            () = early => {}
        }
    }
}

pub(super) fn began(started: &mut Started) -> bool {
    let pending = matches!(started, Started::Pending);
    if pending {
        *started = Started::Yes;
    }
    pending
}

/// Whether waiting may help.
fn may_pass(error: &Error) -> bool {
    error.may_pass() || !matches!(error.kind(), ErrorKind::Server | ErrorKind::IncompatibleFormat)
}
