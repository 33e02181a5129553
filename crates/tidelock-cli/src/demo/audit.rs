//! Whether the run adds up, judged by what happened and not by counters kept along the way.
//!
//! Independent witnesses are compared: the sender (which lines became which jobs), the ledger (which effects took
//! place), the jobs (their counters, and the failed ones), the topic (which events it holds, and what two groups made
//! of them), and the registry (which workers were present).

mod outcomes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Serialize;

pub(crate) use self::outcomes::{Log, Presences, Told};
use super::ledger::{Book, Effect, Entry};
use super::readers::Standing;

/// What the sender saw.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) lines: u64,
    pub(crate) blank: u64,
    pub(crate) too_long: u64,
    pub(crate) duplicates: u64,
    pub(crate) accepted: HashMap<u64, Accepted>,
}

/// The content of an accepted line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Order { id: String, amount_cents: i64, quantity: u64 },
    Bad { fingerprint: u64 },
}

/// A failed job, as far as the account needs it.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) id: u64,
    pub(crate) reason: String,
    pub(crate) rejected: bool,
    pub(crate) error: String,
    pub(crate) attempts: u64,
    /// Runs that failed or crashed: `attempts` without those given back by a stopping worker.
    pub(crate) failures: u32,
    pub(crate) raw: Vec<u8>,
}

/// The jobs' own counters at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    pub(crate) accepted: u64,
    pub(crate) settled: u64,
    pub(crate) dead: u64,
    pub(crate) unfinished: u64,
}

/// The account: one flat object, for people and for `--json` alike.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Account {
    pub(crate) adds_up: bool,
    /// Lines read; the next five fields say what became of them.
    pub(crate) lines: u64,
    pub(crate) blank: u64,
    pub(crate) too_long: u64,
    pub(crate) duplicates: u64,
    pub(crate) accepted: u64,
    /// Accepted orders whose customer was charged, and whose job is done.
    pub(crate) settled: u64,
    pub(crate) dead: u64,
    /// Jobs that have not ended: zero unless the run was interrupted.
    pub(crate) unfinished: u64,
    /// Accepted, and neither settled nor dead nor unfinished.
    pub(crate) lost: u64,
    /// Effects that took place although a guarantee forbids them.
    pub(crate) double: u64,
    /// Accepted orders that ran again after a run that failed or crashed.
    pub(crate) retried: u64,
    /// Charges of a repeated order that the ledger recognised and did not apply again.
    pub(crate) replayed: u64,
    /// Charges under a lock that had been passed on, refused because of their fence.
    pub(crate) stale: u64,
    pub(crate) charged_cents: i64,
    pub(crate) dead_by_reason: BTreeMap<String, u64>,
    pub(crate) jobs: Figures,
    /// Events of the topic: one for each order that was settled or died.
    pub(crate) events: u64,
    /// What the two groups add up from them.
    pub(crate) revenue_cents: i64,
    pub(crate) sold: u64,
    /// Events that a group has not committed.
    pub(crate) lag: u64,
    /// Events that a group received more than once, and counted once.
    pub(crate) repeated: u64,
    /// Worker processes seen in the registry.
    pub(crate) members: u64,
    /// Included in `members`: those whose record expired because nobody renewed it.
    pub(crate) expired: u64,
    pub(crate) heartbeats: u64,
    /// Digests sent by the schedule: one for each second of the run.
    pub(crate) digests: u64,
    /// What does not add up, for people; empty if `adds_up`.
    pub(crate) problems: Vec<String>,
}

/// Maximum number of problems reported one by one.
const MAX_PROBLEMS: usize = 20;

/// Identifies the bytes of a bad line.
pub(crate) fn fingerprint(line: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

/// The testimony of each witness.
#[derive(Clone, Copy)]
pub(crate) struct Witnesses<'a> {
    pub(crate) sent: &'a Sent,
    pub(crate) ledger: &'a [Entry],
    pub(crate) dead: &'a [Dead],
    pub(crate) jobs: Figures,
    pub(crate) log: &'a Log,
    pub(crate) groups: &'a [Standing],
    /// Number of digests, as their job counts them.
    pub(crate) digests: u64,
    pub(crate) presences: &'a Presences,
}

/// Compares the witnesses.
pub(crate) fn account(witnesses: Witnesses<'_>) -> Account {
    let Witnesses { sent, ledger, dead, jobs, log, groups, digests, presences } = witnesses;
    let mut audit = Audit {
        sent,
        account: Account::default(),
        charged: HashMap::new(),
        retried: HashSet::new(),
        digests: BTreeMap::new(),
    };
    audit.ledger(ledger);
    audit.failed(dead);
    audit.orders(dead, jobs);
    audit.account.jobs = jobs;
    audit.figures();
    audit.log(log, dead);
    audit.projections(groups);
    audit.presences(presences);
    audit.digests(digests);
    audit.account.adds_up = audit.account.problems.is_empty();
    audit.account.problems.truncate(MAX_PROBLEMS);
    audit.account
}

struct Audit<'a> {
    sent: &'a Sent,
    account: Account,
    /// The charge of each job.
    charged: HashMap<u64, Sale<'a>>,
    retried: HashSet<u64>,
    /// Slots of the digests sent, by the number of the run.
    digests: BTreeMap<u64, u64>,
}

/// A charge in the ledger.
#[derive(Clone, Copy, Debug)]
struct Sale<'a> {
    cents: i64,
    quantity: u64,
    shelf: &'a str,
}

impl<'a> Audit<'a> {
    fn ledger(&mut self, entries: &'a [Entry]) {
        let mut book = Book::default();
        for entry in entries {
            let effect = book.apply(entry);
            match (effect, entry) {
                (Effect::Applied, Entry::Enter(_)) => {}
                (Effect::Applied, Entry::Digest { slot, number }) => {
                    self.digests.insert(*number, *slot);
                }
                (Effect::Applied, Entry::Charge { hold, order, amount_cents, quantity, job, .. }) => {
                    let sale = Sale { cents: *amount_cents, quantity: *quantity, shelf: &hold.shelf };
                    self.charge(order, sale, *job);
                }
                (Effect::Replayed, _) => self.account.replayed += 1,
                (Effect::Stale, _) => self.account.stale += 1,
                (Effect::Violation(what), _) => {
                    self.account.double += 1;
                    self.problem(what);
                }
            }
            if let Entry::Charge { job, failures: 1.., .. } = entry {
                self.retried.insert(*job);
            }
        }
    }

    fn charge(&mut self, order: &str, sale: Sale<'a>, job: u64) {
        match self.sent.accepted.get(&job) {
            Some(Accepted::Order { id, amount_cents, quantity })
                if id == order && (*amount_cents, *quantity) == (sale.cents, sale.quantity) =>
            {
                self.charged.insert(job, sale);
            }
            other => self.problem(format!("order {order:?} was charged {sale:?} for job {job}: {other:?}")),
        }
    }

    fn failed(&mut self, dead: &[Dead]) {
        let mut seen = HashSet::new();
        for letter in dead {
            let Dead { id, reason, error, .. } = letter;
            *self.account.dead_by_reason.entry(reason.clone()).or_default() += 1;
            if letter.failures > 1 {
                self.retried.insert(*id);
            }
            if !seen.insert(*id) {
                self.problem(format!("job {id} is in the failed jobs twice"));
            }
            match self.sent.accepted.get(id) {
                None => self.problem(format!("failed job {id} was never accepted")),
                Some(Accepted::Order { id: order, .. }) if letter.rejected => {
                    self.problem(format!("order {order:?} is good, but was rejected: {error}"));
                }
                Some(Accepted::Order { .. }) => {}
                Some(Accepted::Bad { fingerprint: line }) => {
                    if !letter.rejected || error.is_empty() || fingerprint(&letter.raw) != *line {
                        self.problem(format!("the bad line of job {id} is not in its failed job: {letter:?}"));
                    }
                }
            }
        }
        self.account.dead = seen.len() as u64;
    }

    fn orders(&mut self, dead: &[Dead], jobs: Figures) {
        let dead: HashSet<u64> = dead.iter().map(|letter| letter.id).collect();
        let (mut charged, mut open) = (0, Vec::new());
        for id in self.sent.accepted.keys().filter(|id| !dead.contains(id)) {
            if self.charged.contains_key(id) {
                charged += 1;
            } else {
                open.push(*id);
            }
        }
        let open_count = open.len() as u64;
        // Orders charged but not yet acknowledged would still run, and be replayed.
        self.account.settled = charged - jobs.unfinished.saturating_sub(open_count).min(charged);
        self.account.unfinished = jobs.unfinished;
        self.account.lost = open_count.saturating_sub(jobs.unfinished);
        if self.account.lost > 0 {
            for id in open.iter().take(MAX_PROBLEMS) {
                let line = &self.sent.accepted[id];
                self.problem(format!("job {id} has neither a charge nor a failed job: {line:?}"));
            }
        }
    }

    fn figures(&mut self) {
        let sent = self.sent;
        let account = &mut self.account;
        account.lines = sent.lines;
        account.blank = sent.blank;
        account.too_long = sent.too_long;
        account.duplicates = sent.duplicates;
        account.accepted = sent.accepted.len() as u64;
        account.retried = self.retried.len() as u64;
        account.charged_cents = self.charged.values().map(|sale| sale.cents).sum();
        let Account { accepted, settled, dead, unfinished, lines, .. } = *account;
        let taken = account.blank + account.too_long + account.duplicates + accepted;
        let ours = Figures { accepted, settled, dead, unfinished };
        if lines != taken {
            self.problem(format!("{lines} lines were read, but {taken} are accounted for"));
        }
        if accepted != settled + dead + unfinished {
            self.problem(format!(
                "{accepted} accepted are not {settled} settled + {dead} dead + {unfinished} unfinished"
            ));
        }
        if self.account.jobs != ours {
            self.problem(format!("the jobs count {:?}, the ledger and the sender {ours:?}", self.account.jobs));
        }
    }

    /// There must be one digest per run, and one run per second.
    fn digests(&mut self, ended: u64) {
        self.account.digests = self.digests.len() as u64;
        let numbers: Vec<u64> = self.digests.keys().copied().collect();
        if numbers != (1..=ended).collect::<Vec<_>>() {
            self.problem(format!("{ended} digests ended, and sent were those with the numbers {numbers:?}"));
        }
        let slots: Vec<u64> = self.digests.values().copied().collect();
        for two in slots.windows(2).filter(|two| two[1] - two[0] != 1_000) {
            self.problem(format!("between the digests of slots {} and {} are others", two[0], two[1]));
        }
    }

    fn problem(&mut self, what: String) {
        self.account.problems.push(what);
    }
}

#[cfg(test)]
mod tests;
