//! Timed work for runs: renewing leases, reporting timeouts and lost leases, sending progress.
//!
//! One task per worker does this for all of its runs, whatever their handlers do.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::agenda::Agenda;
use crate::error::Result;
use crate::handover::{Companion, Site};
use crate::job::held::Held;
use crate::job::observe;
use crate::job::store::{Action, JobStore, MAX_BATCH, Settle, Settled};
use crate::proof::{Moment, Proof};
use crate::runtime::{BoxFuture, or_never};
use crate::time::TEN_YEARS;

/// Starts the task.
pub(super) fn start(site: &Arc<Site>, store: &Arc<dyn JobStore>, agenda: &Arc<Agenda>) -> Companion {
    let keeper = Keeper {
        site: Arc::clone(site),
        store: Arc::clone(store),
        agenda: Arc::clone(agenda),
        looked: Moment::of(site.clock()),
        flights: FuturesUnordered::new(),
    };
    Companion::start(&site.world.spawner, keeper.run())
}

/// What was sent for runs, when, and the answer.
struct Landed {
    asked: Moment,
    sent: Vec<(Arc<Held>, Settle)>,
    answer: Result<Vec<Settled>>,
}

struct Keeper {
    site: Arc<Site>,
    store: Arc<dyn JobStore>,
    agenda: Arc<Agenda>,
    /// When it last checked.
    looked: Moment,
    /// Polled together with the timer, because other runs have timed work meanwhile.
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
}

impl Keeper {
    async fn run(mut self) {
        let agenda = Arc::clone(&self.agenda);
        let site = Arc::clone(&self.site);
        loop {
            let next = agenda.next(site.tick());
            let alarm = or_never(next.map(|next| site.clock().sleep_until(next)));
            tokio::select! {
                biased;
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => land(&site, landed),
                () = agenda.sooner() => {}
                () = alarm => self.send(),
            }
        }
    }

    /// Sends what is due.
    fn send(&mut self) {
        let now = Moment::of(self.site.clock());
        let slept = Proof::new(self.looked, TEN_YEARS).left(now).is_zero();
        self.looked = now;
        if slept {
            // No earlier lease can be proven any more.
            self.agenda.all().into_iter().for_each(|held| held.look(now));
        }
        let mut sent = settles(self.agenda.due(now.tick), now, false);
        if sent.iter().any(|(_, settle)| settle.action == Action::Renew) {
            // Renewals that are due soon are sent along, so that from here on they go together.
            sent.extend(settles(self.agenda.all(), now, true));
        }
        while !sent.is_empty() {
            let rest = sent.split_off(sent.len().min(MAX_BATCH));
            self.fly(std::mem::replace(&mut sent, rest), now);
        }
    }

    fn fly(&mut self, sent: Vec<(Arc<Held>, Settle)>, asked: Moment) {
        let settling = self.store.settle(&self.site.address, sent.iter().map(|(_, settle)| settle.clone()).collect());
        self.flights.push(Box::pin(async move { Landed { asked, answer: settling.await, sent } }));
    }
}

fn settles(runs: Vec<Arc<Held>>, now: Moment, early: bool) -> Vec<(Arc<Held>, Settle)> {
    runs.into_iter().filter_map(|held| held.due(now, early).map(|settle| (held, settle))).collect()
}

fn land(site: &Site, landed: Landed) {
    let Landed { asked, sent, answer } = landed;
    match answer {
        Ok(settled) => {
            for ((held, settle), settled) in sent.into_iter().zip(settled) {
                held.answered(asked, &settle.action, settled);
            }
        }
        Err(error) => {
            observe::not_renewed(site, sent.len(), &error);
            let now = site.tick();
            for (held, mut settle) in sent {
                held.unanswered(now, &mut settle);
            }
        }
    }
}
