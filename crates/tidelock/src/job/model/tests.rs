//! The states and their transitions, on the model alone.

use std::sync::Arc;

use super::super::ears::News;
use super::super::store::*;
use super::{Model, Now, WATCHED};

/// The time at which every test begins.
const T: u64 = 1_000_000;

struct Bench {
    model: Model,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self { model: Model::default(), now: T }
    }

    fn step<R>(&mut self, operation: impl FnOnce(&mut Model, Now) -> R) -> R {
        let now = Now::from_millis(self.now);
        self.model.advance(now);
        let outcome = operation(&mut self.model, now);
        self.model.wake(now, |_| true);
        outcome
    }

    fn submit(&mut self, job: NewJob) -> Acceptance {
        match self.step(|model, now| model.submit(now, vec![job])) {
            Accepted::All(all) => all[0],
            full @ Accepted::Full { .. } => panic!("{full:?}"),
        }
    }

    fn new_id(&mut self, job: NewJob) -> u64 {
        match self.submit(job) {
            Acceptance::New { id } => id,
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, max: usize) -> Vec<Run> {
        let claim = Claim { max, worker: "w".into(), park: false };
        self.step(|model, now| model.claim(now, &"p".into(), &claim)).runs
    }

    fn claim_one(&mut self) -> Run {
        self.claim(1).pop().expect("something can be started")
    }

    fn settle(&mut self, run: &Run, action: Action) -> Settled {
        let settle = Settle { id: run.id, fence: run.fence, progress: None, action };
        self.step(|model, now| model.settle(now, vec![settle]))[0]
    }

    fn change(&mut self, change: Change) -> Changes {
        self.step(|model, now| model.change(now, change))
    }

    fn cancel(&mut self, id: u64) -> Changes {
        self.change(Change::Cancel { id, reason: Some("why".into()) })
    }

    fn look(&mut self, look: &Look) -> View {
        self.step(|model, now| model.look(now, &"p".into(), look, None))
    }

    fn view(&mut self, id: u64) -> JobView {
        match self.look(&Look::Get { id }) {
            View::Job(Some(job)) => *job,
            other => panic!("{other:?}"),
        }
    }

    fn is_gone(&mut self, id: u64) -> bool {
        self.look(&Look::Get { id }) == View::Job(None)
    }

    fn stats(&mut self) -> StatsView {
        match self.look(&Look::Stats) {
            View::Stats(stats) => stats,
            other => panic!("{other:?}"),
        }
    }

    fn events(&mut self, id: u64) -> Vec<Happened> {
        match self.look(&Look::Events { id, after: 0, max: 1_000, park: false }) {
            View::Events(view) => view.events.into_iter().map(|(_, event)| event.happened).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn rules() -> Rules {
    Rules {
        attempts: 1,
        max_crashes: 5,
        lease: 1_000,
        timeout: None,
        stop_grace: 100,
        max_wait: Some(60_000),
        retention: 10_000,
        policy: Vec::new(),
    }
}

fn job() -> NewJob {
    let content = Content { payload: b"input".to_vec(), ..Content::default() };
    NewJob { content, due: Due::Now, priority: 0, key: None, rules: rules(), origin: None, max_depth: None }
}

fn keyed(text: &str, life: KeyLife) -> NewJob {
    NewJob { key: Some(Key { kind: KeyKind::Caller, text: text.into(), life }), ..job() }
}

fn scheduled(slot: u64, overlap: Overlapping) -> NewJob {
    let slot = Some(SlotNumber { revision: 1, slot });
    NewJob { origin: Some(Origin { series: "s".into(), slot, overlap, memory: 5_000, told: vec![7] }), ..job() }
}

fn failed() -> Action {
    Action::Fail { code: FailureCode::Error, message: "broke".into(), delay: 0 }
}

fn completed() -> Action {
    Action::Complete { result: b"42".to_vec() }
}

#[test]
fn a_job_runs_and_completes() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    assert_eq!((run.id, run.attempt), (id, 1));
    bench.now += 10;
    assert_eq!(bench.settle(&run, completed()), Settled::Ended(JobState::Completed));
    let view = bench.view(id);
    assert_eq!((view.state, view.result.as_deref()), (JobState::Completed, Some(&b"42"[..])));
    assert_eq!((view.started_at, view.finished_at, view.kept_until), (Some(T), Some(T + 10), Some(T + 10_010)));
    let expected = [
        Happened::Submitted,
        Happened::Started { attempt: 1, fence: run.fence, worker: "w".into() },
        Happened::Completed,
    ];
    assert_eq!(bench.events(id), expected);
}

#[test]
fn only_failures_are_compared_with_attempts() {
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, Action::Release), Settled::Returned { due: T });
    let _ = bench.claim_one();
    bench.now += 1_000;
    let run = bench.claim_one();
    assert_eq!((run.attempt, run.failures, run.crashes), (3, 0, 1));
    let Settled::Returned { due } =
        bench.settle(&run, Action::Fail { code: FailureCode::Error, message: "a".into(), delay: 50 })
    else {
        panic!("the first failure is not the last")
    };
    assert_eq!(due, bench.now + 50);
    assert!(bench.claim(1).is_empty(), "it backs off");
    bench.now += 50;
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, failed()), Settled::Ended(JobState::Failed));
    let view = bench.view(id);
    assert_eq!((view.failures, view.crashes, view.attempt), (2, 1, 4));
    assert_eq!(view.last_failures.len(), 3);
}

#[test]
fn a_reschedule_begins_anew() {
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let run = bench.claim_one();
    bench.settle(&run, failed());
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, Action::Reschedule { delay: 5 }), Settled::Returned { due: T + 5 });
    let view = bench.view(id);
    assert_eq!((view.failures, view.crashes, view.reschedules), (0, 0, 1));
}

#[test]
fn the_last_timeout_ends_timed_out_and_a_fatal_error_at_once() {
    let mut bench = Bench::new();
    bench.new_id(job());
    let run = bench.claim_one();
    let timeout = Action::Fail { code: FailureCode::Timeout, message: "slow".into(), delay: 0 };
    assert_eq!(bench.settle(&run, timeout), Settled::Ended(JobState::TimedOut));
    bench.new_id(NewJob { rules: Rules { attempts: 9, ..rules() }, ..job() });
    let run = bench.claim_one();
    let fatal = Action::Fail { code: FailureCode::Fatal, message: "no".into(), delay: 0 };
    assert_eq!(bench.settle(&run, fatal), Settled::Ended(JobState::Failed));
}

#[test]
fn a_lapsed_lease_is_a_crash_of_its_own_instant() {
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules: Rules { max_crashes: 2, ..rules() }, ..job() });
    let first = bench.claim_one();
    bench.now += 5_000;
    let view = bench.view(id);
    assert_eq!((view.state, view.due, view.crashes), (JobState::Submitted, T + 1_000, 1));
    assert_eq!(bench.settle(&first, completed()), Settled::Stale);
    let second = bench.claim_one();
    assert!(second.fence > first.fence);
    bench.now += 1_000;
    let view = bench.view(id);
    assert_eq!((view.state, view.last_failures[1].code), (JobState::Failed, FailureCode::Crashed));
    assert_eq!(view.finished_at, Some(T + 6_000));
    assert_eq!(bench.stats().totals.stale, 1);
}

#[test]
fn beyond_timeout_and_grace_no_lease_is_renewed() {
    let mut bench = Bench::new();
    let rules = Rules { timeout: Some(1_500), ..rules() };
    bench.new_id(NewJob { rules, ..job() });
    let run = bench.claim_one();
    bench.now += 300;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 1_000 });
    bench.now += 700;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 600 });
    bench.now += 600;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Stale);
}

#[test]
fn a_heartbeat_may_set_the_lease_from_then_on() {
    let mut bench = Bench::new();
    bench.new_id(job());
    let run = bench.claim_one();
    assert_eq!(bench.settle(&run, Action::Heartbeat { lease: Some(9_000) }), Settled::Renewed { left: 9_000 });
    bench.now += 8_000;
    assert_eq!(bench.settle(&run, Action::Renew), Settled::Renewed { left: 9_000 });
}

#[test]
fn a_repeated_settle_of_the_run_that_settled_is_answered_as_done() {
    let mut bench = Bench::new();
    bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let run = bench.claim_one();
    bench.settle(&run, failed());
    assert_eq!(bench.settle(&run, failed()), Settled::Returned { due: T });
    let run = bench.claim_one();
    bench.settle(&run, completed());
    assert_eq!(bench.settle(&run, completed()), Settled::Ended(JobState::Completed));
    assert_eq!(bench.stats().totals.stale, 0);
}

#[test]
fn a_cancel_is_final_and_pushed_to_the_run() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    bench.model.take_news();
    assert_eq!(bench.cancel(id), Changes::Done);
    assert_eq!(bench.model.take_news(), [(Arc::from("p"), News::Cancelled(run.fence))]);
    assert_eq!(bench.settle(&run, completed()), Settled::Cancelled);
    assert_eq!(bench.cancel(id), Changes::Refused(JobState::Cancelled));
    assert_eq!(bench.view(id).reason.as_deref(), Some("why"));
    let waiting = bench.new_id(job());
    assert_eq!(bench.cancel(waiting), Changes::Done);
    assert!(bench.claim(1).is_empty());
    assert_eq!(bench.stats().ready, 0);
}

#[test]
fn max_wait_counts_from_the_present_due_time() {
    let mut bench = Bench::new();
    let rules = Rules { max_wait: Some(100), attempts: 5, ..rules() };
    let delayed = bench.new_id(NewJob { rules: rules.clone(), due: Due::After(500), ..job() });
    bench.now += 500;
    let run = bench.claim_one();
    bench.settle(&run, Action::Fail { code: FailureCode::Error, message: "x".into(), delay: 300 });
    bench.now += 399;
    assert_eq!(bench.view(delayed).state, JobState::Submitted);
    bench.now += 1;
    let view = bench.view(delayed);
    assert_eq!((view.state, view.last_failures[1].code), (JobState::Failed, FailureCode::Expired));
}

#[test]
fn a_key_lasts_while_the_record_exists_and_for_its_shortest_life() {
    let mut bench = Bench::new();
    let id = bench.new_id(keyed("k", KeyLife::For(50)));
    bench.now += 3_000;
    assert_eq!(bench.submit(keyed("k", KeyLife::For(50))), Acceptance::Duplicate { id });
    let run = bench.claim_one();
    bench.settle(&run, completed());
    bench.now += 9_999;
    assert_eq!(bench.submit(keyed("k", KeyLife::For(50))), Acceptance::Duplicate { id });
    bench.now += 1;
    let second = bench.new_id(keyed("k", KeyLife::For(100_000)));
    assert!(second > id);
    bench.change(Change::Remove { id: second });
    assert!(matches!(bench.submit(keyed("k", KeyLife::For(1))), Acceptance::New { .. }), "a removal takes the key too");
}

#[test]
fn a_key_outlives_its_record_until_its_shortest_life_is_over() {
    let mut bench = Bench::new();
    let id = bench.new_id(keyed("k", KeyLife::For(20_000)));
    let run = bench.claim_one();
    bench.settle(&run, completed());
    bench.now += 10_000;
    assert!(bench.is_gone(id));
    assert_eq!(bench.submit(keyed("k", KeyLife::For(1))), Acceptance::Duplicate { id });
    bench.now += 10_000;
    assert!(matches!(bench.submit(keyed("k", KeyLife::For(1))), Acceptance::New { .. }));
}

#[test]
fn a_key_while_active_ends_with_the_job_and_is_bound_again_by_a_retry() {
    let mut bench = Bench::new();
    let id = bench.new_id(keyed("k", KeyLife::WhileActive));
    let run = bench.claim_one();
    bench.settle(&run, failed());
    let other = bench.new_id(keyed("k", KeyLife::WhileActive));
    let retry = Change::Retry { id, max_depth: None };
    assert_eq!(bench.change(retry.clone()), Changes::KeyTaken(other));
    bench.cancel(other);
    assert_eq!(bench.change(retry), Changes::Done);
    assert_eq!(bench.submit(keyed("k", KeyLife::WhileActive)), Acceptance::Duplicate { id });
}

#[test]
fn of_a_batch_all_or_nothing_is_accepted() {
    let mut bench = Bench::new();
    let limited = || NewJob { max_depth: Some(2), ..job() };
    let full = bench.step(|model, now| model.submit(now, vec![limited(), limited(), limited()]));
    assert_eq!(full, Accepted::Full { index: 2, depth: 2, limit: 2 });
    assert_eq!(bench.stats().ready, 0);
    let twice = vec![keyed("k", KeyLife::For(9)), keyed("k", KeyLife::For(9))];
    let Accepted::All(all) = bench.step(|model, now| model.submit(now, twice)) else { panic!() };
    assert!(matches!((all[0], all[1]), (Acceptance::New { id }, Acceptance::Duplicate { id: again }) if id == again));
}

#[test]
fn claims_go_by_priority_then_place_and_a_returned_job_keeps_its_own() {
    let mut bench = Bench::new();
    let first = bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let second = bench.new_id(job());
    let urgent = bench.new_id(NewJob { priority: 9, ..job() });
    let run = bench.claim_one();
    assert_eq!(run.id, urgent);
    let run = bench.claim_one();
    assert_eq!(run.id, first);
    bench.settle(&run, failed());
    let order: Vec<_> = bench.claim(9).iter().map(|run| run.id).collect();
    assert_eq!(order, [first, second]);
}

#[test]
fn of_an_ordering_key_only_the_oldest_may_run() {
    let mut bench = Bench::new();
    let line = |key: &str| {
        let content = Content { ordering_key: Some(key.into()), ..Content::default() };
        NewJob { content, rules: Rules { attempts: 3, ..rules() }, ..job() }
    };
    let a1 = bench.new_id(line("a"));
    let a2 = bench.new_id(NewJob { priority: 9, ..line("a") });
    let b1 = bench.new_id(line("b"));
    let runs = bench.claim(9);
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [a1, b1]);
    bench.settle(&runs[0], Action::Fail { code: FailureCode::Error, message: "x".into(), delay: 10 });
    assert!(bench.claim(1).is_empty(), "a1 backs off and its key waits");
    bench.now += 10;
    let again = bench.claim_one();
    assert_eq!(again.id, a1);
    bench.settle(&again, completed());
    assert_eq!(bench.claim_one().id, a2);
}

#[test]
fn memos_are_kept_until_the_job_completes() {
    let mut bench = Bench::new();
    let id = bench.new_id(NewJob { rules: Rules { attempts: 2, ..rules() }, ..job() });
    let run = bench.claim_one();
    let step = |value: &[u8]| Action::Step { id: "charge".into(), value: value.to_vec() };
    assert_eq!(bench.settle(&run, step(b"1")), Settled::Stored);
    assert_eq!(bench.settle(&run, step(b"2")), Settled::Stored);
    bench.settle(&run, failed());
    assert_eq!(bench.settle(&run, step(b"3")), Settled::Returned { due: T });
    let run = bench.claim_one();
    assert_eq!(run.memos, 1);
    let memos = bench.look(&Look::Memos { id, fence: run.fence });
    assert_eq!(memos, View::Memos(Some(vec![("charge".into(), b"1".to_vec())])));
    assert_eq!(bench.look(&Look::Memos { id, fence: run.fence + 1 }), View::Memos(None));
    let large = Action::Step { id: "large".into(), value: vec![0; MAX_MEMO_BYTES] };
    assert_eq!(bench.settle(&run, large), Settled::Full { memos: 1, bytes: 7 });
    bench.settle(&run, completed());
    assert_eq!(bench.view(id).memos, 0);
}

#[test]
fn the_oldest_of_a_thousand_events_go_and_are_counted() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    for _ in 0..1_000 {
        let beat = Action::Heartbeat { lease: None };
        assert!(matches!(bench.settle(&run, beat), Settled::Renewed { .. }));
    }
    let View::Events(view) = bench.look(&Look::Events { id, after: 0, max: 5, park: false }) else { panic!() };
    assert_eq!((view.missed, view.events[0].0, view.ended), (2, 3, false));
    assert_eq!(bench.look(&Look::Places { id }), View::Places(Some((2, 1_002))));
}

#[test]
fn who_watches_is_told_of_what_it_waits_for() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    bench.look(&Look::Join { id, park: true });
    bench.look(&Look::Events { id, after: 1, max: 9, park: true });
    bench.model.take_news();
    let run = bench.claim_one();
    assert_eq!(bench.model.take_news(), [(Arc::from("p"), News::Happened(id))], "the event; the join waits on");
    bench.settle(&run, completed());
    assert_eq!(bench.model.take_news(), [(Arc::from("p"), News::Happened(id))]);
    let late = bench.new_id(job());
    bench.look(&Look::Join { id: late, park: true });
    bench.now += WATCHED;
    bench.look(&Look::Join { id: late, park: true });
    bench.cancel(late);
    assert_eq!(bench.model.take_news().len(), 1, "what was remembered for too long is not told twice");
}

#[test]
fn a_series_takes_each_slot_once_and_only_newer_ones() {
    let mut bench = Bench::new();
    let id = bench.new_id(scheduled(10, Overlapping::Allow));
    assert_eq!(bench.submit(scheduled(10, Overlapping::Allow)), Acceptance::Duplicate { id });
    assert_eq!(bench.submit(scheduled(9, Overlapping::Allow)), Acceptance::Duplicate { id: 0 });
    assert!(matches!(bench.submit(scheduled(11, Overlapping::Allow)), Acceptance::New { .. }));
    assert_eq!(bench.claim_one().told, Some(vec![7]));
}

#[test]
fn a_series_is_remembered_from_its_last_use_and_while_runs_are_left() {
    let mut bench = Bench::new();
    let id = bench.new_id(scheduled(10, Overlapping::Allow));
    bench.now += 20_000;
    assert_eq!(bench.submit(scheduled(10, Overlapping::Allow)), Acceptance::Duplicate { id });
    bench.cancel(id);
    bench.now += 4_999;
    assert_eq!(bench.submit(scheduled(10, Overlapping::Allow)), Acceptance::Duplicate { id });
    bench.now += 5_000;
    assert!(matches!(bench.submit(scheduled(10, Overlapping::Allow)), Acceptance::New { .. }));
}

#[test]
fn overlap_rules_are_judged_with_the_submit() {
    let mut bench = Bench::new();
    let first = bench.new_id(scheduled(1, Overlapping::Skip));
    assert_eq!(bench.submit(scheduled(2, Overlapping::Skip)), Acceptance::Overlapping { active: first });
    let queued = bench.new_id(scheduled(3, Overlapping::Queue { max: 2 }));
    assert_eq!(bench.submit(scheduled(4, Overlapping::Queue { max: 2 })), Acceptance::Overlapping { active: first });
    bench.claim_one();
    let last = bench.new_id(scheduled(5, Overlapping::Queue { max: 2 }));
    bench.cancel(first);
    assert_eq!(bench.claim(9).iter().map(|run| run.id).collect::<Vec<_>>(), [queued], "one at a time");
    bench.cancel(queued);
    assert_eq!(bench.claim_one().id, last);
}

#[test]
fn a_pause_starts_nothing_and_all_else_goes_on() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    let pause = Change::Pause { for_at_most: Some(100), reason: None };
    assert_eq!(bench.change(pause.clone()), Changes::Done);
    assert_eq!(bench.change(pause), Changes::Nothing);
    bench.new_id(job());
    assert!(bench.claim(1).is_empty());
    assert_eq!(bench.settle(&run, completed()), Settled::Ended(JobState::Completed));
    bench.now += 100;
    assert_ne!(bench.claim_one().id, id);
    assert_eq!(bench.change(Change::Resume), Changes::Nothing);
}

#[test]
fn a_removal_takes_what_does_not_run() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    assert_eq!(bench.change(Change::Remove { id }), Changes::Refused(JobState::Running));
    bench.settle(&run, completed());
    assert_eq!(bench.change(Change::Remove { id }), Changes::Done);
    assert_eq!(bench.change(Change::Remove { id }), Changes::Absent);
    assert_eq!(bench.cancel(id), Changes::Absent);
}

#[test]
fn a_deletion_leaves_numbers_that_go_on() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    assert_eq!(bench.change(Change::Delete), Changes::Done);
    assert_eq!(bench.settle(&run, completed()), Settled::Stale);
    assert!(bench.new_id(job()) > id);
    assert!(bench.claim_one().fence > run.fence);
}

#[test]
fn nothing_is_left_after_retention() {
    let mut bench = Bench::new();
    bench.new_id(keyed("k", KeyLife::For(1)));
    bench.new_id(scheduled(1, Overlapping::Allow));
    for run in bench.claim(9) {
        bench.settle(&run, completed());
    }
    bench.now += 10_000;
    bench.step(|model, _| {
        assert_eq!(model.next_deadline(), None);
        assert!(model.is_idle_since().is_some());
    });
}

#[test]
fn a_retry_revives_what_failed_at_a_new_place() {
    let mut bench = Bench::new();
    let id = bench.new_id(job());
    let run = bench.claim_one();
    assert_eq!(bench.change(Change::Retry { id, max_depth: None }), Changes::Refused(JobState::Running));
    bench.settle(&run, failed());
    bench.now += 1;
    let other = bench.new_id(job());
    bench.now += 1;
    assert_eq!(bench.change(Change::Retry { id, max_depth: Some(1) }), Changes::Full { depth: 1, limit: 1 });
    assert_eq!(bench.change(Change::Retry { id, max_depth: None }), Changes::Done);
    let runs = bench.claim(9);
    assert_eq!(runs.iter().map(|run| (run.id, run.attempt)).collect::<Vec<_>>(), [(other, 1), (id, 1)]);
    assert!(bench.events(id).iter().filter(|event| **event == Happened::Submitted).count() == 2);
}
