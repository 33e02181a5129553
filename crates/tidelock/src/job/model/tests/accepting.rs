//! Accepting jobs: which are accepted, their order, and what remains of them.

use super::*;

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
fn the_newest_slots_of_a_series_are_answered_as_before() {
    let mut bench = Bench::new();
    let first = bench.new_id(scheduled(1, Overlapping::Skip));
    let refused = Acceptance::Overlapping { active: first };
    assert_eq!(bench.submit(scheduled(2, Overlapping::Skip)), refused);
    bench.cancel(first);
    assert_eq!(bench.submit(scheduled(2, Overlapping::Skip)), refused, "whatever ended since");
    let ids: Vec<_> = (3..=8).map(|slot| bench.new_id(scheduled(slot, Overlapping::Allow))).collect();
    for (slot, id) in (3..=8).zip(ids) {
        assert_eq!(bench.submit(scheduled(slot, Overlapping::Allow)), Acceptance::Duplicate { id });
    }
    assert_eq!(bench.submit(scheduled(1, Overlapping::Allow)), Acceptance::Duplicate { id: first });
    bench.new_id(scheduled(9, Overlapping::Allow));
    assert_eq!(bench.submit(scheduled(1, Overlapping::Allow)), Acceptance::Duplicate { id: 0 }, "eight are known");
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
