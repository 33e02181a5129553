//! Falsifies each witness in turn; the account has to notice.

use super::super::event::Outcome;
use super::super::ledger::Hold;
use super::super::members::{Attendance, Stay};
use super::super::projection::{GROUPS, Projection};
use super::*;

const BAD: &[u8] = b"two lamps";

/// Three orders and a bad line, of which order 3 fails for good.
struct Run {
    sent: Sent,
    entries: Vec<Entry>,
    dead: Vec<Dead>,
    jobs: Figures,
    outcomes: Vec<Outcome>,
    log: Log,
    groups: Vec<Standing>,
    digests: u64,
    presences: Presences,
}

fn charge(job: u64, fence: u64, attempt: u32) -> Entry {
    let hold = Hold { shelf: "4:oslo/lamp".to_owned(), fence, proven: true };
    let (order, run) = (format!("o-{job}"), format!("{job}.{attempt}"));
    Entry::Charge { hold, order, amount_cents: 100, quantity: 2, job, run, failures: attempt - 1 }
}

fn digest(number: u64) -> Entry {
    Entry::Digest { slot: 1_000 * number, number }
}

fn standings(events: &[Outcome]) -> Vec<Standing> {
    let standing = |group| {
        let mut projection = Projection::default();
        for event in events {
            projection.apply(group, event);
        }
        Standing { group, projection, ..Standing::default() }
    };
    GROUPS.map(standing).to_vec()
}

fn run() -> Run {
    let order = |id: u64| (id, Accepted::Order { id: format!("o-{id}"), amount_cents: 100, quantity: 2 });
    let bad = (4, Accepted::Bad { fingerprint: fingerprint(BAD) });
    let accepted = HashMap::from([order(1), order(2), order(3), bad]);
    let sent = Sent { lines: 7, blank: 1, too_long: 0, duplicates: 2, accepted };
    let letter = |id, rejected: bool, error: &str, raw: &[u8]| {
        let reason = if rejected { "FATAL" } else { "ERROR" };
        Dead {
            id,
            reason: reason.to_owned(),
            rejected,
            error: error.to_owned(),
            attempts: 1,
            failures: 1,
            raw: raw.to_owned(),
        }
    };
    let charged = |job: u64| {
        let (order, shelf) = (format!("o-{job}"), "4:oslo/lamp".to_owned());
        Outcome::Charged { job, order, shelf, quantity: 2, amount_cents: 100 }
    };
    let events = [charged(1), charged(2), Outcome::died(3, b"{}", "declined"), Outcome::died(4, BAD, "not JSON")];
    let names = ["one", "two"].map(str::to_owned);
    let stays = names.iter().cloned().zip([Stay::Left, Stay::Expired]);
    let seen = Attendance { names: stays.collect(), ..Attendance::default() };
    Run {
        log: Log { events: events.iter().map(Told::from).collect(), amiss: Vec::new() },
        groups: standings(&events),
        outcomes: events.to_vec(),
        presences: Presences { killed: names[1..].to_vec(), expected: names.to_vec(), seen: [seen.clone(), seen] },
        sent,
        entries: vec![charge(1, 1, 1), charge(2, 2, 1), digest(1), digest(2)],
        digests: 2,
        dead: vec![letter(3, false, "declined", b"{}"), letter(4, true, "not JSON", BAD)],
        jobs: Figures { accepted: 4, settled: 2, dead: 2, unfinished: 0 },
    }
}

impl Run {
    /// Removes the event of a job's end, for the log and the groups.
    fn forget(&mut self, job: u64) {
        self.log.events.retain(|event| event.job != job);
        let outcomes: Vec<_> = self.outcomes.iter().filter(|event| event.job() != job).cloned().collect();
        self.groups = standings(&outcomes);
    }

    fn account(&self) -> Account {
        account(Witnesses {
            sent: &self.sent,
            ledger: &self.entries,
            dead: &self.dead,
            jobs: self.jobs,
            log: &self.log,
            groups: &self.groups,
            digests: self.digests,
            presences: &self.presences,
        })
    }
}

#[test]
fn a_clean_run_adds_up() {
    let account = run().account();
    assert_eq!(account.problems, Vec::<String>::new());
    assert!(account.adds_up);
    assert_eq!((account.accepted, account.settled, account.dead, account.lost), (4, 2, 2, 0));
    assert_eq!(account.charged_cents, 200);
    assert_eq!(account.dead_by_reason["FATAL"], 1);
    assert_eq!((account.events, account.revenue_cents, account.sold, account.lag), (4, 200, 4, 0));
    assert_eq!((account.members, account.expired), (2, 1));
}

#[test]
fn an_order_that_vanished_is_lost() {
    let mut run = run();
    run.entries.retain(|entry| !matches!(entry, Entry::Charge { job: 2, .. }));
    let account = run.account();
    assert_eq!((account.lost, account.settled), (1, 1));
    assert!(!account.adds_up);
}

#[test]
fn a_redelivered_order_is_replayed_and_a_delivery_handled_twice_is_double() {
    let mut run = run();
    run.entries.push(charge(2, 3, 2));
    let account = run.account();
    assert!(account.adds_up);
    assert_eq!((account.replayed, account.retried, account.charged_cents), (1, 1, 200));

    run.entries.push(charge(2, 4, 2));
    let account = run.account();
    assert_eq!(account.double, 1);
    assert!(!account.adds_up);
}

#[test]
fn a_bad_line_that_is_not_explained_does_not_add_up() {
    let spoil: [fn(&mut Dead); 3] =
        [|letter| letter.raw = b"two lamp".to_vec(), |letter| letter.error.clear(), |letter| letter.rejected = false];
    for spoil in spoil {
        let mut run = run();
        spoil(&mut run.dead[1]);
        assert_eq!(run.account().problems.len(), 1);
    }
}

#[test]
fn a_good_order_that_was_rejected_does_not_add_up() {
    let mut run = run();
    run.dead[0].rejected = true;
    assert!(!run.account().adds_up);
}

#[test]
fn jobs_that_count_otherwise_does_not_add_up() {
    let mut run = run();
    run.jobs.settled = 3;
    assert!(!run.account().adds_up);
}

#[test]
fn an_interrupted_run_counts_what_is_still_to_be_run() {
    let mut run = run();
    run.entries.retain(|entry| !matches!(entry, Entry::Charge { job: 2, .. }));
    run.forget(2);
    run.jobs = Figures { accepted: 4, settled: 1, dead: 2, unfinished: 1 };
    let account = run.account();
    assert_eq!((account.unfinished, account.lost, account.settled), (1, 0, 1));
    assert!(account.adds_up);
}

/// Only an unfinished order may lack its event.
#[test]
fn an_event_that_is_missing_twice_or_wrong_does_not_add_up() {
    let falsify: [fn(&mut Log); 5] = [
        |log| log.events.truncate(3),
        |log| log.events.push(log.events[0]),
        |log| log.events[0].sale = Some((99, 2)),
        |log| log.events[0].sale = None,
        |log| log.amiss.push("a gap".to_owned()),
    ];
    for falsify in falsify {
        let mut run = run();
        falsify(&mut run.log);
        assert!(!run.account().adds_up);
    }
}

#[test]
fn a_projection_that_missed_or_doubled_something_does_not_add_up() {
    let falsify: [fn(&mut Standing); 6] = [
        |group| group.projection = Projection::default(),
        |group| group.projection.totals.add(group.group, "4:oslo/lamp", 1, 1),
        |group| group.projection.amiss.push("a gap".to_owned()),
        |group| group.lag = 1,
        |group| group.missed = 1,
        |group| group.dead = 1,
    ];
    for group in 0..GROUPS.len() {
        for falsify in falsify {
            let mut run = run();
            falsify(&mut run.groups[group]);
            assert!(!run.account().adds_up);
        }
    }
}

#[test]
fn somebody_who_never_came_or_never_went_does_not_add_up() {
    let falsify: [fn(&mut Attendance); 5] = [
        |seen| seen.names.retain(|name, _| name != "one"),
        |seen| seen.names.extend([("one".to_owned(), Stay::Here)]),
        |seen| seen.names.extend([("two".to_owned(), Stay::Left)]),
        |seen| seen.names.extend([("three".to_owned(), Stay::Left)]),
        |seen| seen.amiss.push("an overflow".to_owned()),
    ];
    for what in 0..2 {
        for falsify in falsify {
            let mut run = run();
            falsify(&mut run.presences.seen[what]);
            assert!(!run.account().adds_up);
        }
    }
}

#[test]
fn a_digest_that_is_missing_or_leaves_a_second_out_does_not_add_up() {
    assert_eq!(run().account().digests, 2);
    let mut missing = run();
    missing.digests = 3;
    assert_eq!(missing.account().problems.len(), 1);
    let mut gap = run();
    gap.entries.push(Entry::Digest { slot: 4_000, number: 3 });
    gap.digests = 3;
    assert_eq!(gap.account().problems.len(), 1);
}
