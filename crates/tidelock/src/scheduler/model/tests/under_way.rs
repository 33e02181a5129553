//! What the leader has in flight, and what it must retry.

use super::*;

#[test]
fn a_trigger_that_failed_is_shown_again_when_it_is_to_be_tried() {
    let mut model = with_schedules(&["a"], 9_000);
    let epoch = lead(&mut model, 0, "one");
    let Changes::Accepted(first) = trigger(&mut model, 0, "a", None, true) else { panic!("refused") };
    let (id, born, run) = (Arc::clone(&first.id), first.born, first.run);
    let fail = |run| Step::TriggerFail { id: Arc::clone(&id), born, run, delay: 4_000 };
    assert_eq!(write(&mut model, 1_000, epoch, fail(run)), YES());
    assert_eq!(write(&mut model, 1_000, epoch, fail(run + 1)), NO());
    let mut triggers = |now, busy: &[(u64, u64)]| {
        let busy = Busy { triggers: busy.to_vec(), ..Busy::default() };
        let wish = Wish::Renew { epoch, lease: 9_000 };
        let beat = Beat { instance: "one".into(), handlers: Vec::new(), wish, batch: 10, busy };
        match model.beat(at(now), &"p".into(), &beat).role {
            Role::Leader { triggers, next, .. } => (triggers.len(), next),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(triggers(4_999, &[]), (0, Some(T + 5_000)));
    assert_eq!(triggers(5_000, &[]), (1, Some(T + 9_000)));
    assert_eq!(triggers(5_000, &[(born, run)]), (0, Some(T + 9_000)), "what is under way is not due");
    let done = Step::TriggerDone { id: Arc::clone(&id), born, run, outcome: submitted(5), rounds: 1 };
    assert_eq!(write(&mut model, 5_000, epoch, done), YES());
    assert_eq!(write(&mut model, 5_000, epoch, fail(run)), NO(), "it was submitted");
    assert!(model.waiting.is_empty());
}

#[test]
fn what_is_under_way_takes_no_place_and_no_bytes() {
    let mut model = Model::default();
    let large = "c".repeat(3 * 1_024 * 1_024);
    for id in ["a", "b", "c", "d"] {
        register(&mut model, 0, id, definition("t", &large, None), next(1_000));
    }
    let epoch = lead(&mut model, 1_000, "one");
    let mut shown = |ids: &[&str], batch| {
        let busy = Busy { schedules: ids.iter().map(|id| Arc::from(*id)).collect(), ..Busy::default() };
        let wish = Wish::Renew { epoch, lease: 9_000 };
        let beat = Beat { instance: "one".into(), handlers: Vec::new(), wish, batch, busy };
        match model.beat(at(1_000), &"p".into(), &beat).role {
            Role::Leader { due, next, .. } => (due.into_iter().map(|due| due.schedule.id).collect::<Vec<_>>(), next),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown(&[], 9), (vec!["a".into()], Some(T + 1_000)), "one is as much as one answer carries");
    assert_eq!(shown(&["a"], 1), (vec!["b".into()], Some(T + 1_000)));
    assert_eq!(shown(&["a", "b", "c"], 1), (vec!["d".into()], None));
    assert_eq!(shown(&["a", "b", "c", "d"], 9), (vec![], None), "all are under way: there is nothing to look for");
}

#[test]
fn a_run_is_awaited_until_it_is_done_or_dropped() {
    let mut model = with_schedules(&["a"], 1_000);
    let epoch = lead(&mut model, 1_000, "one");
    let step = decide(&mut model, 1_000, "a", next(3_000), vec![slot(500, true), slot(1_000, true)]);
    assert_eq!(write(&mut model, 1_000, epoch, step), YES());
    let born = known(&mut model, 1_000, "a").born;
    let awaits = |model: &mut Model, born| {
        [1, 2, 3].map(|run| model.look(at(1_000), &Look::Awaits { id: "a".into(), born, run }) == View::Awaits(true))
    };
    assert_eq!((awaits(&mut model, born), awaits(&mut model, born + 1)), ([true, true, false], [false; 3]));
    trigger(&mut model, 1_000, "a", None, true);
    let step = confirm(&mut model, 1_000, "a", submitted(1));
    assert_eq!(write(&mut model, 1_000, epoch, step), YES());
    assert_eq!(awaits(&mut model, born), [false, true, true]);
    model.change(at(1_000), Change::Pause { id: "a".into(), for_at_most: None, reason: None });
    assert_eq!(awaits(&mut model, born), [false, false, true], "triggers work while it is paused");
    model.change(at(1_000), Change::Unregister { id: "a".into() });
    register(&mut model, 1_000, "a", definition("t", "c", None), next(2_000));
    assert_eq!(awaits(&mut model, born), [false; 3]);
}
