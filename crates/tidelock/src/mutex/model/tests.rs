//! The rules of the contract, one by one. The differential test covers the rest.

use super::*;
use crate::time::SECOND;

const START: u64 = 1_000_000_000_000;
/// The process that runs the steps, one that listens for wake-ups, and one that does not.
const HERE: &str = "here";
const THERE: &str = "there";
const DEAF: &str = "deaf";

/// A resource, the time, and the wake-ups so far.
#[derive(Default)]
struct Bench {
    resource: Resource,
    elapsed: u64,
    woken: Vec<(String, Token)>,
}

fn ask(token: u128) -> Ask {
    Ask { token: Token(token), lease: 10_000, owner: format!("owner {token}") }
}

impl Bench {
    fn by(&mut self, process: &str, step: &Step) -> Answer {
        let woken = &mut self.woken;
        let mut wake = |name: &str, token: Token| {
            if name != DEAF {
                woken.push((name.to_owned(), token));
            }
            name != DEAF
        };
        let now = Timestamp::from_millis(START + self.elapsed);
        self.resource.apply(step, &mut Turn { now, process, wake: &mut wake, waiters_die: true, offered: false })
    }

    fn lock(&mut self, process: &str, token: u128) -> Outcome {
        self.by(process, &Step::Lock { ask: ask(token), wait: true }).outcome
    }

    fn fence(&mut self, process: &str, token: u128) -> u64 {
        match self.lock(process, token) {
            Outcome::Granted { fence, .. } => fence,
            other => panic!("{other:?} is no grant"),
        }
    }

    fn release(&mut self, process: &str, token: u128, fence: u64) -> Answer {
        self.by(process, &Step::Release { token: Token(token), fence })
    }

    fn seen(&self) -> Seen {
        self.resource.describe(Timestamp::from_millis(START + self.elapsed))
    }
}

fn waits(place: u64, left: u64, waiting: u64) -> Outcome {
    Outcome::Waiting { place, left, waiting }
}

#[test]
fn a_repeat_of_a_lock_is_the_same_grant() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    assert_eq!(fence, START * 1_000);
    bench.elapsed = 300;
    assert_eq!(bench.lock(HERE, 1), Outcome::Granted { fence, left: 9_700 });
}

#[test]
fn a_repeat_of_a_release_is_answered_as_the_first() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    assert_eq!(bench.release(HERE, 1, fence).outcome, Outcome::Released(true));
    for token in 2..(2 + REMEMBERED as u128) {
        assert_eq!(bench.release(HERE, 1, fence).outcome, Outcome::Released(true));
        let other = bench.fence(HERE, token);
        assert_eq!(bench.release(HERE, token, other).outcome, Outcome::Released(true));
    }
    assert_eq!(bench.release(HERE, 1, fence).outcome, Outcome::Released(false));
}

#[test]
fn a_wrong_token_or_fence_changes_nothing() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    bench.lock(HERE, 2);
    let before = bench.resource.clone();
    for (token, fence) in [(2, fence), (1, fence + 1), (1, fence - 1), (3, 0)] {
        assert_eq!(bench.release(HERE, token, fence).outcome, Outcome::Released(false));
        let extend = Step::Extend { token: Token(token), fence, lease: 99, number: 1 };
        assert_eq!(bench.by(HERE, &extend).outcome, Outcome::Extended(None));
    }
    assert_eq!(bench.resource, before);
}

#[test]
fn the_next_of_the_same_process_has_it_at_once() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    assert_eq!(bench.lock(HERE, 2), waits(0, 10_000, 1));
    let answer = bench.release(HERE, 1, fence);
    assert_eq!(answer.handed, Some(Handed { token: Token(2), fence: fence + 1, left: 10_000 }));
    assert!(bench.woken.is_empty());
    assert_eq!(bench.seen().holder, Some(("owner 2".to_owned(), 10_000)));
}

#[test]
fn the_next_of_another_process_is_woken_and_claims() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    bench.lock(THERE, 2);
    assert_eq!(bench.release(HERE, 1, fence).handed, None);
    assert_eq!(bench.woken, [(THERE.to_owned(), Token(2))]);
    assert_eq!(bench.seen().holder, Some(("owner 2".to_owned(), 500)));
    bench.elapsed = 499;
    assert_eq!(bench.lock(THERE, 2), Outcome::Granted { fence: fence + 1, left: 10_000 });
}

#[test]
fn a_waiter_whose_process_is_gone_is_passed_over_in_the_same_step() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    for (process, token) in [(DEAF, 2), (DEAF, 3), (THERE, 4)] {
        bench.lock(process, token);
    }
    bench.release(HERE, 1, fence);
    assert_eq!(bench.woken, [(THERE.to_owned(), Token(4))]);
    assert_eq!(bench.seen().waiting, 0);
}

#[test]
fn a_lapsed_offer_takes_all_waiters_of_its_process_out() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    for (process, token) in [(THERE, 2), (THERE, 3), (HERE, 4), (THERE, 5)] {
        bench.lock(process, token);
    }
    bench.release(HERE, 1, fence);
    bench.elapsed = 500;
    let answer = bench.by(HERE, &Step::Refresh);
    assert_eq!(answer.handed.map(|handed| handed.token), Some(Token(4)));
    assert_eq!(bench.seen().waiting, 0);
    // After it thaws, the process joins at the end of the queue.
    assert_eq!(bench.lock(THERE, 3), waits(0, 10_000, 1));
}

#[test]
fn waiters_live_for_fifteen_seconds_after_the_last_word_of_their_process() {
    let mut bench = Bench::default();
    bench.by(HERE, &Step::Lock { ask: Ask { lease: 60_000, ..ask(1) }, wait: true });
    bench.lock(THERE, 2);
    bench.lock("quiet", 3);
    bench.elapsed = 10_000;
    let outcome = bench.by(THERE, &Step::Refresh).outcome;
    assert_eq!(outcome, Outcome::Waiters { tokens: vec![Token(2)], place: 0, left: 50_000, waiting: 2 });
    bench.elapsed = 15_000;
    bench.by(HERE, &Step::Leave { ask: ask(1) });
    assert_eq!(bench.woken, [(THERE.to_owned(), Token(2))]);
    bench.by(THERE, &Step::Leave { ask: ask(2) });
    assert_eq!(bench.woken.len(), 1, "the quiet process is dead");
    assert_eq!(bench.seen(), Seen { holder: None, waiting: 0, ..bench.seen() });
}

#[test]
fn nothing_overtakes_a_waiter() {
    let mut bench = Bench::default();
    bench.fence(HERE, 1);
    bench.lock(THERE, 2);
    bench.elapsed = 10_000;
    let try_lock = Step::Lock { ask: ask(3), wait: false };
    assert_eq!(bench.by(HERE, &try_lock).outcome, Outcome::Held { left: 500, waiting: 0 });
}

#[test]
fn places_are_kept_and_counted() {
    let mut bench = Bench::default();
    bench.fence(HERE, 1);
    assert_eq!(bench.lock(HERE, 2), waits(0, 10_000, 1));
    assert_eq!(bench.lock(THERE, 3), waits(1, 10_000, 2));
    assert_eq!(bench.lock(HERE, 2), waits(0, 10_000, 2));
    bench.by(HERE, &Step::Leave { ask: ask(2) });
    assert_eq!(bench.lock(THERE, 3), waits(0, 10_000, 1));
}

#[test]
fn the_queue_has_ten_thousand_places() {
    let mut bench = Bench::default();
    bench.fence(HERE, 1);
    for token in 0..MAX_WAITING as u128 {
        bench.resource.queue.push_back(Waiter { ask: ask(100 + token), process: HERE.to_owned() });
    }
    assert_eq!(bench.lock(HERE, 2), Outcome::Full { waiting: 10_000 });
    assert_eq!(bench.lock(HERE, 100), waits(0, 10_000, 10_000));
}

#[test]
fn a_release_at_the_deadline_comes_too_late() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    bench.elapsed = 10_000;
    assert_eq!(bench.release(HERE, 1, fence).outcome, Outcome::Released(false));
    assert_eq!(bench.seen(), Seen { holder: None, waiting: 0, last_fence: Some(fence) });
}

#[test]
fn the_fence_grows_when_the_clock_stands() {
    let mut bench = Bench::default();
    let first = bench.fence(HERE, 1);
    bench.release(HERE, 1, first);
    assert_eq!(bench.fence(HERE, 2), first + 1);
}

#[test]
fn a_record_outlives_its_use_by_an_hour() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    let at = |elapsed| Timestamp::from_millis(START + elapsed);
    assert_eq!(bench.resource.due(), Some(at(10_000)));
    bench.elapsed = 2_000;
    bench.release(HERE, 1, fence);
    assert_eq!(bench.resource.due(), Some(at(2_000) + 3_600 * SECOND));
    assert!(!bench.resource.is_past_use(at(3_601_999)));
    assert!(bench.resource.is_past_use(at(3_602_000)));
}

#[test]
fn a_question_that_comes_after_the_release_is_told_no() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    bench.release(HERE, 1, fence);
    assert_eq!(bench.lock(HERE, 1), Outcome::Held { left: 0, waiting: 0 });
    // The same holds for a call that was given up before its request arrived.
    bench.by(HERE, &Step::Leave { ask: ask(2) });
    assert_eq!(bench.lock(HERE, 2), Outcome::Held { left: 0, waiting: 0 });
    assert_eq!((bench.seen().holder, bench.seen().waiting), (None, 0));
    assert!(bench.fence(HERE, 3) > fence);
}

#[test]
fn an_older_change_of_the_lease_changes_nothing() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    let mut extend = |number, lease| bench.by(HERE, &Step::Extend { token: Token(1), fence, lease, number }).outcome;
    assert_eq!(extend(2, 60_000), Outcome::Extended(Some(60_000)));
    assert_eq!(extend(1, 100), Outcome::Extended(Some(60_000)));
    assert_eq!(extend(2, 50_000), Outcome::Extended(Some(50_000)));
}

#[test]
fn who_waits_elsewhere_is_woken_when_the_deadline_comes_nearer() {
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    bench.lock(THERE, 2);
    let mut extend = |number, lease| {
        bench.by(HERE, &Step::Extend { token: Token(1), fence, lease, number });
        std::mem::take(&mut bench.woken).len()
    };
    assert_eq!([extend(1, 60_000), extend(2, 5_000), extend(3, 4_999), extend(4, 5_000)], [0, 0, 1, 0]);
    // The next holder in this process has it for less time than the waiters behind it expect.
    let mut bench = Bench::default();
    let fence = bench.fence(HERE, 1);
    bench.by(HERE, &Step::Lock { ask: Ask { lease: 100, ..ask(2) }, wait: true });
    bench.lock(THERE, 3);
    bench.release(HERE, 1, fence);
    assert_eq!(bench.woken, [(THERE.to_owned(), Token(3))]);
}
