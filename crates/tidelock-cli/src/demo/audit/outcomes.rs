//! Compares the topic, its groups and the members with sender, ledger and jobs.

use std::collections::{HashMap, HashSet};

use super::super::event::Outcome;
use super::super::members::{Attendance, Stay};
use super::super::projection::{REVENUE, Totals};
use super::super::readers::Standing;
use super::{Audit, Dead, MAX_PROBLEMS, Sale};

/// The content of the log at the end, one entry per event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<Told>,
    /// Gaps and events that could not be decoded.
    pub(crate) amiss: Vec<String>,
}

/// An event, as far as the account needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) job: u64,
    /// The amount charged, in cents, and the quantity; `None`: the order died.
    pub(crate) sale: Option<(i64, u64)>,
}

impl From<&Outcome> for Told {
    fn from(event: &Outcome) -> Self {
        let sale = match event {
            Outcome::Charged { amount_cents, quantity, .. } => Some((*amount_cents, *quantity)),
            Outcome::Died { .. } => None,
        };
        Self { job: event.job(), sale }
    }
}

/// The members that should have been present, and what was seen of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presences {
    pub(crate) expected: Vec<String>,
    /// The names of those that were killed.
    pub(crate) killed: Vec<String>,
    /// Of the members, and of their heartbeats.
    pub(crate) seen: [Attendance; 2],
}

impl Audit<'_> {
    /// There must be one event for each order that was settled or died, and none for any other.
    pub(super) fn log(&mut self, log: &Log, dead: &[Dead]) {
        for amiss in &log.amiss {
            self.problem(format!("the log has {amiss}"));
        }
        let dead: HashSet<u64> = dead.iter().map(|letter| letter.id).collect();
        let mut told = HashSet::new();
        for Told { job, sale } in &log.events {
            if !told.insert(*job) {
                self.account.double += 1;
                self.problem(format!("job {job} has two events"));
            }
            let charged = self.charged.get(job).map(|sale| (sale.cents, sale.quantity));
            if charged != *sale {
                self.problem(format!("the event of job {job} tells of {sale:?}, the ledger of {charged:?}"));
            } else if sale.is_none() && !dead.contains(job) && self.account.unfinished == 0 {
                self.problem(format!("job {job} died by its event, but is not among the failed jobs"));
            }
        }
        let untold = self.sent.accepted.keys().filter(|job| !told.contains(job));
        let untold: Vec<u64> = untold.copied().collect();
        if untold.len() as u64 > self.account.unfinished {
            for job in untold.iter().take(MAX_PROBLEMS) {
                self.problem(format!("job {job} has no event: {:?}", self.sent.accepted[job]));
            }
        }
        self.account.events = told.len() as u64;
        self.charged.retain(|job, _| told.contains(job));
    }

    /// Both projections must equal what the ledger says of the orders that have an event.
    pub(super) fn projections(&mut self, standings: &[Standing]) {
        for standing in standings {
            let Standing { group, projection, lag, missed, dead, .. } = standing;
            let mut ours = Totals::default();
            for Sale { cents, quantity, shelf } in self.charged.values() {
                ours.add(group, shelf, *quantity, *cents);
            }
            if ours != projection.totals {
                self.problem(format!("the projection of group {group:?} is not what the ledger says"));
            }
            if projection.events() != self.account.events {
                let (has, events) = (projection.events(), self.account.events);
                self.problem(format!("the projection of group {group:?} has {has} of {events} events"));
            }
            if [lag, missed, dead].into_iter().any(|number| *number > 0) {
                self.problem(format!("group {group:?} has a lag of {lag}, missed {missed}, and {dead} failed jobs"));
            }
            for amiss in &projection.amiss {
                self.problem(format!("group {group:?} was given {amiss}"));
            }
            self.account.lag += lag;
            self.account.repeated += projection.repeated;
            if *group == REVENUE {
                self.account.revenue_cents = projection.totals.cents;
            } else {
                self.account.sold = projection.totals.sold.values().sum();
            }
        }
    }

    /// Every member must have come and gone, and a killed one must not have left in an orderly way.
    pub(super) fn presences(&mut self, presences: &Presences) {
        let Presences { expected, killed, seen } = presences;
        for (what, attendance) in ["member", "heartbeat"].into_iter().zip(seen) {
            for amiss in &attendance.amiss {
                self.problem(format!("a follower of {what}s was given {amiss}"));
            }
            for name in expected {
                match attendance.names.get(name) {
                    None => self.problem(format!("{what} {name} was never seen")),
                    Some(Stay::Here) => self.problem(format!("{what} {name} is still there")),
                    Some(Stay::Left) if killed.contains(name) => {
                        self.problem(format!("{what} {name} was killed, but left"));
                    }
                    Some(_) => {}
                }
            }
            for name in attendance.names.keys().filter(|name| !expected.contains(name)) {
                self.problem(format!("{what} {name} is nobody's"));
            }
        }
        let [members, hearts] = seen;
        let stays: HashMap<_, _> = members.names.iter().collect();
        self.account.members = stays.len() as u64;
        self.account.expired = stays.values().filter(|stay| ***stay == Stay::Expired).count() as u64;
        self.account.heartbeats = hearts.touches;
    }
}
