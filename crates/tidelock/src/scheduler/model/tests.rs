//! The rules of the contract, on the model.

mod under_way;

use std::sync::Arc;

use super::super::store::{
    Beat, Busy, Change, Changes, Definition, Dispatched, FINISHED_KEPT, Guess, Happened, LETTER_KEPT, Look, Next,
    PlannedSlot, Role, ScheduleView, StateView, StatsView, Step, View, Wish, Write, Written,
};
use super::{Model, Now};

const T: u64 = 1_767_225_600_000;

fn at(ms: u64) -> Now {
    Now::from_millis(T + ms)
}

fn definition(timing: &str, content: &str, handler: Option<&str>) -> Definition {
    Definition { timing: timing.into(), content: content.into(), handler: handler.map(Arc::from) }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where there may be none")]
fn next(ms: u64) -> Option<Next> {
    Some(Next { slot: T + ms, due: T + ms })
}

fn register(model: &mut Model, now: u64, id: &str, definition: Definition, next: Option<Next>) -> Changes {
    let guess = Guess { from: 0, until: T + now + 1, next };
    model.change(at(now), Change::Register { id: id.into(), definition, guess, max_schedules: 100 })
}

/// A model with plain schedules whose next slot is at `slot`.
fn with_schedules(ids: &[&str], slot: u64) -> Model {
    let mut model = Model::default();
    for id in ids {
        assert_eq!(register(&mut model, 0, id, definition("t", "c", None), next(slot)), Changes::Created);
    }
    model
}

fn beat(model: &mut Model, now: u64, instance: &str, handlers: &[&str], wish: Wish) -> Role {
    let handlers = handlers.iter().map(|handler| Arc::from(*handler)).collect();
    let process = format!("process of {instance}").into();
    model
        .beat(at(now), &process, &Beat { instance: instance.into(), handlers, wish, batch: 10, busy: Busy::default() })
        .role
}

fn lead(model: &mut Model, now: u64, instance: &str) -> u64 {
    match beat(model, now, instance, &[], Wish::Lead { lease: 5_000 }) {
        Role::Leader { epoch, .. } => epoch,
        other => panic!("{instance} does not lead: {other:?}"),
    }
}

fn write(model: &mut Model, now: u64, epoch: u64, step: Step) -> Written {
    let write = Write { instance: "one".into(), epoch, steps: vec![step], history: 20, max_letters: 2 };
    model.write(at(now), &write)
}

const YES: fn() -> Written = || Written::Each(vec![true]);
const NO: fn() -> Written = || Written::Each(vec![false]);

fn get(model: &mut Model, now: u64, id: &str) -> Option<ScheduleView> {
    model.sweep(at(now));
    match model.look(at(now), &Look::Get { id: id.into() }) {
        View::Schedule(found) => found.map(|found| *found),
        other => panic!("{other:?}"),
    }
}

fn known(model: &mut Model, now: u64, id: &str) -> ScheduleView {
    get(model, now, id).expect("it is there")
}

fn history(model: &mut Model, now: u64, id: &str) -> Vec<Happened> {
    match model.look(at(now), &Look::History { id: id.into() }) {
        View::History(found) => found.into_iter().map(|entry| entry.what).collect(),
        other => panic!("{other:?}"),
    }
}

fn stats(model: &mut Model, now: u64) -> StatsView {
    model.sweep(at(now));
    match model.look(at(now), &Look::Stats) {
        View::Stats(stats) => stats,
        other => panic!("{other:?}"),
    }
}

fn news(model: &mut Model) -> Vec<String> {
    model.take_news().iter().map(ToString::to_string).collect()
}

fn slot(ms: u64, on_time: bool) -> PlannedSlot {
    PlannedSlot { slot: T + ms, due: T + ms, on_time }
}

fn decide(model: &mut Model, now: u64, id: &str, then: Option<Next>, slots: Vec<PlannedSlot>) -> Step {
    let view = known(model, now, id);
    let expected = view.next.map_or(0, |next| next.slot);
    let (id, revision, as_of) = (view.id, view.revision, T + now);
    Step::Decide { id, revision, expected, as_of, next: then, slots, missed: 0, missing_handler: 0 }
}

fn confirm(model: &mut Model, now: u64, id: &str, outcome: Dispatched) -> Step {
    let view = known(model, now, id);
    Step::Confirm { id: view.id, born: view.born, run: view.plan.map_or(0, |plan| plan.first_run), outcome }
}

fn submitted(job: u64) -> Dispatched {
    Dispatched::Submitted { job, lateness: 7 }
}

fn given_up() -> Dispatched {
    Dispatched::GivenUp { error: "broke".into() }
}

fn trigger(model: &mut Model, now: u64, id: &str, key: Option<&str>, strict: bool) -> Changes {
    let key = key.map(Arc::from);
    model.change(at(now), Change::Trigger { id: id.into(), key, strict, memory: 60_000 })
}

fn shown(role: Role) -> Vec<String> {
    match role {
        Role::Leader { due, .. } => due.into_iter().map(|due| due.schedule.id.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn leadership_and_epoch_are_one_and_old_epochs_are_stale() {
    let mut model = with_schedules(&["a"], 1_000);
    let first = lead(&mut model, 0, "one");
    assert_eq!(first, (T) * 1_000, "an epoch is at least now in microseconds");
    assert_eq!(beat(&mut model, 1, "two", &[], Wish::Lead { lease: 9 }), Role::Follower { left: 4_999 });
    let step = decide(&mut model, 1_000, "a", next(2_000), vec![]);
    assert_eq!(write(&mut model, 5_000, first, step.clone()), Written::Stale, "the lease is over");
    assert_eq!(beat(&mut model, 5_000, "one", &[], Wish::Renew { epoch: first, lease: 9 }), Role::Free);
    let second = lead(&mut model, 5_000, "one");
    assert!(second > first);
    assert_eq!(write(&mut model, 5_001, first, step.clone()), Written::Stale, "an older epoch");
    assert_eq!(known(&mut model, 5_001, "a").next, next(1_000));
    assert_eq!(write(&mut model, 5_001, second, step), YES());
    model.leave(at(5_002), &"one".into());
    assert_eq!(model.change(at(5_003), Change::Delete), Changes::Done);
    model.sweep(at(5_003));
    assert!(lead(&mut model, 5_003, "one") > second, "epochs are not forgotten");
}

#[test]
fn a_plan_gives_run_numbers_keeps_its_content_and_holds_further_decisions() {
    let mut model = with_schedules(&["a"], 1_000);
    let epoch = lead(&mut model, 900, "one");
    let slots = vec![slot(900, false), slot(1_000, true)];
    let step = decide(&mut model, 1_000, "a", next(2_000), slots.clone());
    assert_eq!(write(&mut model, 1_000, epoch, step.clone()), YES());
    assert_eq!(write(&mut model, 1_000, epoch, step), NO(), "it expected another next slot");
    let again = decide(&mut model, 2_000, "a", next(3_000), vec![]);
    assert_eq!(write(&mut model, 2_000, epoch, again), NO(), "a plan is open");
    assert_eq!(register(&mut model, 2_000, "a", definition("t", "new", None), None), Changes::Updated);
    let plan = known(&mut model, 2_000, "a").plan.unwrap();
    assert_eq!((plan.slots, plan.first_run, plan.content), (slots, 1, b"c".to_vec()));
    assert!(matches!(trigger(&mut model, 2_000, "a", None, true), Changes::Accepted(view) if view.run == 3));
    let first = confirm(&mut model, 2_000, "a", submitted(5));
    assert_eq!(write(&mut model, 2_000, epoch, first.clone()), YES());
    assert_eq!(write(&mut model, 2_000, epoch, first), NO(), "it is off the plan");
    let second = confirm(&mut model, 2_000, "a", submitted(6));
    assert_eq!(write(&mut model, 2_000, epoch, second), YES());
    let view = known(&mut model, 2_000, "a");
    assert_eq!((view.plan, view.run, view.next), (None, 3, next(2_000)));
    assert_eq!(view.last.unwrap().job, 6);
    assert_eq!(history(&mut model, 2_000, "a").len(), 2);
}

#[test]
fn pause_and_unregister_drop_a_plan() {
    let mut model = with_schedules(&["a", "b"], 1_000);
    let epoch = lead(&mut model, 900, "one");
    for id in ["a", "b"] {
        let step = decide(&mut model, 1_000, id, next(2_000), vec![slot(1_000, true)]);
        assert_eq!(write(&mut model, 1_000, epoch, step), YES());
    }
    let (a, b) = (confirm(&mut model, 1_000, "a", submitted(1)), confirm(&mut model, 1_000, "b", submitted(1)));
    let pause = Change::Pause { id: "a".into(), for_at_most: None, reason: Some("why".into()) };
    assert_eq!(model.change(at(1_001), pause.clone()), Changes::Done);
    assert_eq!(model.change(at(1_002), pause), Changes::Unchanged);
    assert_eq!(write(&mut model, 1_002, epoch, a), NO());
    assert_eq!(model.change(at(1_002), Change::Unregister { id: "b".into() }), Changes::Done);
    assert_eq!(register(&mut model, 1_002, "b", definition("t", "c", None), next(1_000)), Changes::Created);
    let step = decide(&mut model, 1_002, "b", next(2_000), vec![slot(1_000, true)]);
    assert_eq!(write(&mut model, 1_002, epoch, step), YES());
    assert_eq!(write(&mut model, 1_002, epoch, b), NO(), "of another life");
    assert!(known(&mut model, 1_002, "a").plan.is_none());
}

#[test]
fn register_keeps_or_moves_the_next_slot() {
    let mut model = with_schedules(&["a"], 1_000);
    let created = known(&mut model, 0, "a");
    assert_eq!(register(&mut model, 1, "a", definition("t", "c", None), next(9)), Changes::Unchanged);
    assert_eq!(known(&mut model, 1, "a"), created);
    assert_eq!(register(&mut model, 1_500, "a", definition("t", "c2", None), next(9_000)), Changes::Updated);
    let updated = known(&mut model, 1_500, "a");
    assert_eq!((updated.next, updated.created_at), (next(1_000), created.created_at), "an overdue slot is kept");
    assert_eq!(updated.timing_revision, created.timing_revision);
    assert!(updated.revision > created.revision);
    let wrong = Guess { from: T, until: T + 1_500, next: next(2_000) };
    let (id, definition) = (Arc::from("a"), definition("t2", "c2", None));
    let change = Change::Register { id, definition: definition.clone(), guess: wrong, max_schedules: 1 };
    assert_eq!(model.change(at(1_500), change), Changes::Now(T + 1_500));
    assert_eq!(known(&mut model, 1_500, "a"), updated);
    assert_eq!(register(&mut model, 1_501, "a", definition, next(2_000)), Changes::Updated);
    let moved = known(&mut model, 1_501, "a");
    assert_eq!((moved.next, moved.timing_revision), (next(2_000), moved.revision));
}

#[test]
fn one_schedule_too_many_is_refused() {
    let mut model = with_schedules(&["a"], 1_000);
    let guess = Guess { from: 0, until: u64::MAX, next: None };
    let definition = definition("t", "c", None);
    let change = Change::Register { id: "b".into(), definition, guess, max_schedules: 1 };
    assert_eq!(model.change(at(1), change), Changes::Full { limit: 1 });
    assert!(get(&mut model, 1, "a").is_some() && get(&mut model, 1, "b").is_none());
}

#[test]
fn a_finished_schedule_goes_after_a_week_and_is_revived_by_other_timing_only() {
    let mut model = Model::default();
    assert_eq!(register(&mut model, 0, "a", definition("t", "c", None), None), Changes::Created);
    assert_eq!(known(&mut model, 0, "a").state, StateView::Finished { at: T });
    assert_eq!(register(&mut model, 1, "a", definition("t", "c2", None), next(9)), Changes::Updated);
    assert_eq!(known(&mut model, 1, "a").state, StateView::Finished { at: T });
    assert!(get(&mut model, FINISHED_KEPT - 1, "a").is_some());
    assert_eq!(register(&mut model, 2, "b", definition("t", "c", None), None), Changes::Created);
    assert_eq!(register(&mut model, 3, "b", definition("t2", "c", None), next(9)), Changes::Updated);
    assert_eq!(known(&mut model, 3, "b").state, StateView::Active);
    assert!(get(&mut model, FINISHED_KEPT, "a").is_none());
}

#[test]
fn revisions_grow_over_unregister_and_run_numbers_begin_anew() {
    let mut model = with_schedules(&["a"], 1_000);
    trigger(&mut model, 0, "a", None, true);
    let before = known(&mut model, 0, "a");
    model.change(at(0), Change::Unregister { id: "a".into() });
    assert_eq!(model.change(at(0), Change::Unregister { id: "a".into() }), Changes::Absent);
    register(&mut model, 0, "a", definition("t", "c", None), next(1_000));
    let after = known(&mut model, 0, "a");
    assert!(after.born > before.revision && after.run == 0);
}

#[test]
fn a_pause_that_is_over_is_shown_and_ended_by_the_leader() {
    let mut model = with_schedules(&["a"], 1_000);
    let epoch = lead(&mut model, 0, "one");
    model.change(at(1), Change::Pause { id: "a".into(), for_at_most: Some(3_000), reason: None });
    let (id, revision) = (Arc::from("a"), known(&mut model, 1, "a").revision);
    let renew = Wish::Renew { epoch, lease: 9_000 };
    assert!(shown(beat(&mut model, 3_000, "one", &[], renew)).is_empty());
    let resume = Step::Resume { id, revision, next: next(4_000), passed: 3 };
    assert_eq!(write(&mut model, 3_000, epoch, resume.clone()), NO());
    assert_eq!(shown(beat(&mut model, 3_001, "one", &[], renew)), ["a"]);
    assert_eq!(write(&mut model, 3_001, epoch, resume), YES());
    assert_eq!(known(&mut model, 3_001, "a").next, next(4_000));
    assert_eq!(history(&mut model, 3_001, "a"), [Happened::Paused(3)]);
}

#[test]
fn resume_judges_revision_and_guess() {
    let mut model = with_schedules(&["a"], 1_000);
    model.change(at(1), Change::Pause { id: "a".into(), for_at_most: None, reason: None });
    let revision = known(&mut model, 1, "a").revision;
    let mut resume = |revision, until| {
        let guess = Guess { from: T, until: T + until, next: next(5_000) };
        model.change(at(4_000), Change::Resume { id: "a".into(), revision, guess, passed: 0, history: 5 })
    };
    assert_eq!(resume(revision + 1, 9_000), Changes::Conflict);
    assert_eq!(resume(revision, 4_000), Changes::Now(T + 4_000));
    assert_eq!(resume(revision, 4_001), Changes::Done);
    assert_eq!(resume(revision, 4_001), Changes::Unchanged);
}

#[test]
fn an_unserved_schedule_is_due_when_its_handler_appears() {
    let mut model = Model::default();
    register(&mut model, 0, "a", definition("t", "c", Some("h")), next(1_000));
    let epoch = lead(&mut model, 1_000, "one");
    let (id, revision) = (Arc::from("a"), known(&mut model, 1_000, "a").revision);
    let step = Step::Unserve { id, revision, handler: "h".into() };
    beat(&mut model, 1_000, "two", &["h"], Wish::Announce);
    assert_eq!(write(&mut model, 1_001, epoch, step.clone()), NO(), "somebody has it");
    model.leave(at(1_002), &"two".into());
    assert_eq!(write(&mut model, 1_002, epoch, step), YES());
    assert_eq!(stats(&mut model, 1_500).most_overdue, Some(500));
    assert!(shown(beat(&mut model, 1_500, "one", &[], Wish::Renew { epoch, lease: 9_000 })).is_empty());
    model.take_news();
    beat(&mut model, 1_600, "two", &["h"], Wish::Announce);
    assert_eq!(news(&mut model), ["process of one"]);
    assert_eq!(shown(beat(&mut model, 1_601, "one", &[], Wish::Renew { epoch, lease: 9_000 })), ["a"]);
    assert_eq!(stats(&mut model, 16_599).handlers.len(), 1);
    assert!(stats(&mut model, 16_600).handlers.is_empty(), "announced for 15 s");
}

#[test]
fn a_key_gives_one_trigger_and_then_its_job() {
    let mut model = with_schedules(&["a"], 1_000);
    let Changes::Accepted(first) = trigger(&mut model, 0, "a", Some("k"), true) else { panic!("refused") };
    assert_eq!(trigger(&mut model, 1, "a", Some("k"), true), Changes::Accepted(first.clone()));
    let done = |outcome| {
        let (id, born, run) = (Arc::clone(&first.id), first.born, first.run);
        Change::TriggerDone { id, born, run, outcome, history: 20 }
    };
    assert_eq!(model.change(at(2), done(submitted(9))), Changes::Done);
    assert_eq!(model.change(at(3), done(submitted(9))), Changes::Absent);
    assert_eq!(trigger(&mut model, 60_001, "a", Some("k"), true), Changes::Known { job: 9 });
    assert_eq!(trigger(&mut model, 120_000, "a", Some("k"), true), Changes::Known { job: 9 }, "since its last use");
    assert!(matches!(trigger(&mut model, 180_000, "a", Some("k"), true), Changes::Accepted(view) if view.run == 2));
    assert_eq!(known(&mut model, 180_000, "a").next, next(1_000));
}

#[test]
fn a_trigger_that_nobody_confirms_is_the_leaders() {
    let mut model = with_schedules(&["a"], 9_000);
    let epoch = lead(&mut model, 0, "one");
    trigger(&mut model, 10, "a", None, true);
    assert_eq!(news(&mut model), ["process of one"], "it is due earlier than the leader knew");
    let mut triggers = |now| match beat(&mut model, now, "one", &[], Wish::Renew { epoch, lease: 9_000 }) {
        Role::Leader { triggers, next, .. } => (triggers.len(), next),
        other => panic!("{other:?}"),
    };
    assert_eq!(triggers(1_009), (0, Some(T + 1_010)));
    assert_eq!(triggers(1_010), (1, Some(T + 9_000)));
}

#[test]
fn triggers_of_missing_handlers_and_quarantined_schedules_are_refused() {
    let mut model = Model::default();
    register(&mut model, 0, "a", definition("t", "c", Some("h")), next(1));
    assert_eq!(trigger(&mut model, 0, "a", None, false), Changes::MissingHandler);
    assert!(matches!(trigger(&mut model, 0, "a", None, true), Changes::Accepted(_)));
    let epoch = lead(&mut model, 1, "one");
    let (id, revision) = (Arc::from("a"), known(&mut model, 1, "a").revision);
    let step = Step::Quarantine { id, revision, error: "odd".into() };
    assert_eq!(write(&mut model, 1, epoch, step), YES());
    assert_eq!(trigger(&mut model, 1, "a", None, true), Changes::Invalid { error: "odd".into() });
    assert_eq!(trigger(&mut model, 1, "b", None, true), Changes::Absent);
    assert!(shown(beat(&mut model, 2, "one", &[], Wish::Renew { epoch, lease: 9 })).is_empty());
    assert_eq!(register(&mut model, 2, "a", definition("t", "c", Some("h")), None), Changes::Updated);
    assert_eq!(known(&mut model, 2, "a").state, StateView::Active);
}

#[test]
fn failures_are_retried_and_cleared_by_success() {
    let mut model = with_schedules(&["a"], 1_000);
    let epoch = lead(&mut model, 1_000, "one");
    let step = decide(&mut model, 1_000, "a", next(2_000), vec![slot(1_000, true)]);
    write(&mut model, 1_000, epoch, step);
    let view = known(&mut model, 1_000, "a");
    let fail = Step::Fail { id: view.id, born: view.born, run: 1, error: "down".into(), delay: 500 };
    assert_eq!(write(&mut model, 1_000, epoch, fail.clone()), YES());
    assert_eq!(write(&mut model, 1_000, epoch, fail), YES());
    let failing = StateView::Failing { rounds: 2, retry_at: T + 1_500, error: "down".into() };
    assert_eq!(known(&mut model, 1_000, "a").state, failing);
    let renew = Wish::Renew { epoch, lease: 9_000 };
    assert!(shown(beat(&mut model, 1_499, "one", &[], renew)).is_empty());
    assert_eq!(shown(beat(&mut model, 1_500, "one", &[], renew)), ["a"]);
    let step = confirm(&mut model, 1_500, "a", submitted(3));
    assert_eq!(write(&mut model, 1_500, epoch, step), YES());
    assert_eq!(known(&mut model, 1_500, "a").state, StateView::Active);
}

#[test]
fn dead_letters_are_bounded_by_number_and_age_and_go_with_their_schedule() {
    let mut model = with_schedules(&["a", "b"], 1_000);
    let epoch = lead(&mut model, 1_000, "one");
    let slots = (0..3).map(|index| slot(index, true)).collect();
    let step = decide(&mut model, 1_000, "a", next(2_000), slots);
    write(&mut model, 1_000, epoch, step);
    for _ in 0..3 {
        let step = confirm(&mut model, 1_000, "a", given_up());
        assert_eq!(write(&mut model, 1_000, epoch, step), YES());
    }
    let View::Letters(letters, more) = model.look(at(1_000), &Look::Letters { limit: 9, before: None }) else {
        panic!("letters were asked for")
    };
    let runs: Vec<_> = letters.iter().map(|letter| (letter.run, letter.rounds, letter.epoch)).collect();
    assert_eq!((runs, more), (vec![(3, 1, epoch), (2, 1, epoch)], false), "the oldest went");
    assert_eq!(stats(&mut model, 1_000).letters_lost, 1);
    let number = letters[0].number;
    assert_eq!(model.change(at(1_001), Change::RemoveLetter { number }), Changes::Done);
    assert_eq!(model.change(at(1_001), Change::RemoveLetter { number }), Changes::Absent);
    assert_eq!(stats(&mut model, 1_000 + LETTER_KEPT - 1).letters, 1);
    assert_eq!(stats(&mut model, 1_000 + LETTER_KEPT).letters, 0);
}

#[test]
fn unregistering_leaves_nothing() {
    let mut model = with_schedules(&["a"], 1_000);
    let epoch = lead(&mut model, 1_000, "one");
    let step = decide(&mut model, 1_000, "a", next(2_000), vec![slot(1_000, true)]);
    write(&mut model, 1_000, epoch, step);
    let step = confirm(&mut model, 1_000, "a", given_up());
    write(&mut model, 1_000, epoch, step);
    trigger(&mut model, 1_000, "a", Some("k"), true);
    model.change(at(1_001), Change::Unregister { id: "a".into() });
    assert!(model.owned.is_empty() && model.keys.is_empty() && model.triggers.is_empty());
    assert!(model.letters.is_empty() && model.waiting.is_empty() && model.buried.is_empty());
    model.leave(at(1_002), &"one".into());
    assert_eq!(model.is_idle_since(), Some(T + 1_002));
}

#[test]
fn what_is_due_is_shown_in_order_and_catch_up_last() {
    let mut model = with_schedules(&["c", "b", "a"], 1_000);
    register(&mut model, 0, "d", definition("t", "c", None), next(900));
    let epoch = lead(&mut model, 500, "one");
    let step = decide(&mut model, 1_000, "b", next(9_000), vec![slot(100, false)]);
    write(&mut model, 1_000, epoch, step);
    let renew = Wish::Renew { epoch, lease: 9_000 };
    let order = shown(beat(&mut model, 1_000, "one", &[], renew));
    assert_eq!(order, ["d", "a", "c", "b"]);
    let few = Beat { instance: "one".into(), handlers: Vec::new(), wish: renew, batch: 2, busy: Busy::default() };
    let Role::Leader { due, next, .. } = model.beat(at(1_000), &"p".into(), &few).role else { panic!("it leads") };
    assert_eq!((due.len(), next), (2, Some(T + 1_000)));
}

#[test]
fn the_leader_is_rung_for_and_a_leaving_one_rings_the_others() {
    let mut model = with_schedules(&["a"], 9_000);
    lead(&mut model, 0, "one");
    beat(&mut model, 0, "two", &[], Wish::Lead { lease: 1_000 });
    register(&mut model, 1, "b", definition("t", "c", None), next(9_500));
    assert!(model.take_news().is_empty(), "it is due later than what the leader knows");
    register(&mut model, 1, "c", definition("t", "c", None), next(8_000));
    assert_eq!(news(&mut model), ["process of one"]);
    model.leave(at(2), &"two".into());
    assert!(model.take_news().is_empty());
    beat(&mut model, 3, "two", &[], Wish::Lead { lease: 1_000 });
    model.leave(at(4), &"one".into());
    assert_eq!(news(&mut model), ["process of two"]);
    lead(&mut model, 4, "two");
}

#[test]
fn history_is_bounded_by_the_leaders_option() {
    let mut model = with_schedules(&["a"], 1_000);
    let epoch = lead(&mut model, 1_000, "one");
    for missed in 1..5 {
        let mut step = decide(&mut model, 1_000, "a", next(1_000 + missed), vec![]);
        if let Step::Decide { missed: count, .. } = &mut step {
            *count = missed;
        }
        let write = Write { instance: "one".into(), epoch, steps: vec![step], history: 2, max_letters: 2 };
        assert_eq!(model.write(at(1_000), &write), YES());
    }
    assert_eq!(history(&mut model, 1_000, "a"), [Happened::Missed(4), Happened::Missed(3)]);
}
