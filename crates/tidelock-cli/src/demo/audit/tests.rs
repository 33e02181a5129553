//! The audit, on made-up ledgers.

use super::super::ledger::Hold;
use super::*;

const BAD: &[u8] = b"two lamps";

/// Three orders and a bad line, of which order 3 fails for good.
struct Run {
    sent: Sent,
    entries: Vec<Entry>,
    dead: Vec<Dead>,
    queue: Figures,
}

fn charge(message: u64, fence: u64, attempt: u64) -> Entry {
    let hold = Hold { shelf: "4:oslo/lamp".to_owned(), fence, proven: true };
    let (order, delivery) = (format!("o-{message}"), format!("{message}.{attempt}"));
    Entry::Charge { hold, order, amount_cents: 100, message, delivery, attempt }
}

fn run() -> Run {
    let order = |id: u64| (id, Accepted::Order { id: format!("o-{id}"), amount_cents: 100 });
    let bad = (4, Accepted::Bad { fingerprint: fingerprint(BAD) });
    let accepted = HashMap::from([order(1), order(2), order(3), bad]);
    let sent = Sent { lines: 7, blank: 1, too_long: 0, duplicates: 2, accepted };
    let letter = |id, rejected: bool, error: &str, raw: &[u8]| {
        let reason = if rejected { "rejected" } else { "max_deliveries_exceeded" };
        Dead { id, reason: reason.to_owned(), rejected, error: error.to_owned(), attempts: 1, raw: raw.to_owned() }
    };
    Run {
        sent,
        entries: vec![charge(1, 1, 1), charge(2, 2, 1)],
        dead: vec![letter(3, false, "declined", b"{}"), letter(4, true, "not JSON", BAD)],
        queue: Figures { accepted: 4, settled: 2, dead: 2, unfinished: 0 },
    }
}

impl Run {
    fn account(&self) -> Account {
        account(&self.sent, &self.entries, &self.dead, self.queue)
    }
}

#[test]
fn a_clean_run_adds_up() {
    let account = run().account();
    assert_eq!(account.problems, Vec::<String>::new());
    assert!(account.adds_up);
    assert_eq!((account.accepted, account.settled, account.dead, account.lost), (4, 2, 2, 0));
    assert_eq!(account.charged_cents, 200);
    assert_eq!(account.dead_by_reason["rejected"], 1);
}

#[test]
fn an_order_that_vanished_is_lost() {
    let mut run = run();
    run.entries.pop();
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
fn a_queue_that_counts_otherwise_does_not_add_up() {
    let mut run = run();
    run.queue.settled = 3;
    assert!(!run.account().adds_up);
}

#[test]
fn an_interrupted_run_counts_what_is_still_queued() {
    let mut run = run();
    run.entries.pop();
    run.queue = Figures { accepted: 4, settled: 1, dead: 2, unfinished: 1 };
    let account = run.account();
    assert_eq!((account.unfinished, account.lost, account.settled), (1, 0, 1));
    assert!(account.adds_up);
}
