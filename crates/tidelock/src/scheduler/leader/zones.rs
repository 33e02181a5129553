//! After taking over, a leader walks through all schedules, page by page and alongside the dispatches. It looks for
//! slots that were computed with another time zone database, schedules that the former leader could not read, and
//! schedules that wait for a handler although this leader does not wait.

use std::sync::Arc;

use super::Engine;
use super::entry::Entry;
use super::flight::{Landing, Walk};
use crate::cron::Cron;
use crate::error::Result;
use crate::runtime;
use crate::scheduler::definition::Spec;
use crate::scheduler::store::{Look, ScheduleView, StateView, Step, View};
use crate::scheduler::timing::Whose;
use crate::time::SECOND;

/// Schedules per page.
const PAGE: usize = 100;

/// Decides whether a walk is needed. With the same database it is needed only if a schedule is quarantined, or waits
/// for a handler for which this leader does not wait.
pub(super) async fn begin(engine: Arc<Engine>, is_known: bool) -> Landing {
    let walk = Landing { walk: Walk::Behind(None), ..Landing::default() };
    if !is_known {
        return walk;
    }
    match look(&engine, Look::Stats).await {
        Ok(View::Stats(stats)) if stats.quarantined == 0 && (engine.core.options.strict || stats.unserved == 0) => {
            Landing::default()
        }
        _ => walk,
    }
}

/// Processes one page.
pub(super) async fn page(engine: Arc<Engine>, after: Option<Arc<str>>) -> Landing {
    let (views, more, now) = match read(&engine, after.clone()).await {
        Ok(page) => page,
        Err(error) => {
            tracing::debug!(target: "tidelock::scheduler", %error, "a page of schedules could not be read; again");
            tokio::select! {
                () = runtime::sleep(SECOND) => {}
                () = engine.closing() => {}
            }
            return Landing { walk: Walk::Behind(after), ..Landing::default() };
        }
    };
    let mut entries: Vec<_> =
        views.iter().filter_map(|view| moved(engine.core.site.id(), engine.core.options.strict, view, now)).collect();
    let last = views.last().filter(|_| more);
    let walk = last.map_or(Walk::Ends, |last| Walk::Behind(Some(Arc::clone(&last.id))));
    if walk == Walk::Ends {
        entries.push(Entry::new(Step::Zones { version: Cron::zone_database().into() }, []));
    }
    Landing { entries, walk, ..Landing::default() }
}

async fn read(engine: &Engine, after: Option<Arc<str>>) -> Result<(Vec<ScheduleView>, bool, u64)> {
    let misfit = || engine.core.site.misfit("walk");
    let View::Now(now) = look(engine, Look::Now).await? else { return Err(misfit()) };
    match look(engine, Look::List { limit: PAGE, after }).await? {
        View::Schedules(views, more) => Ok((views, more, now)),
        _ => Err(misfit()),
    }
}

async fn look(engine: &Engine, look: Look) -> Result<View> {
    let site = &engine.core.site;
    site.store().look(&site.address, look).await
}

/// What to write for a schedule if this database gives another next slot, or if it must be judged again.
fn moved(scheduler: &str, strict: bool, view: &ScheduleView, now: u64) -> Option<Entry> {
    let spec = Spec::read(&view.definition).ok()?;
    let whose = Whose { scheduler, schedule: &view.id };
    let (quarantined, awakes) = match view.state {
        StateView::Quarantined { .. } => (true, true),
        StateView::Unserved { .. } => (false, !strict),
        StateView::Finished { .. } => return None,
        _ => (false, false),
    };
    // An overdue slot is kept and judged. A schedule whose state could not be read has lost its slot.
    let anew = match view.next {
        Some(next) => next.slot > now && spec.timing.is_zoned(),
        None => quarantined && view.plan.is_none(),
    };
    let next = if anew { spec.timing.next_after(now).map(|slot| spec.timing.next(whose, slot)) } else { view.next };
    let moves = awakes || next != view.next;
    moves.then(|| Entry::new(Step::Move { id: Arc::clone(&view.id), revision: view.revision, next }, []))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Schedule;
    use crate::scheduler::store::Next;

    const NOW: u64 = 1_767_225_600_000;
    const HOUR: u64 = 3_600_000;

    fn view(schedule: Schedule, state: StateView, next: Option<u64>) -> ScheduleView {
        let definition = schedule.handler("h", &()).into_spec("default").unwrap().definition();
        ScheduleView {
            id: "s".into(),
            born: 1,
            revision: 2,
            timing_revision: 1,
            definition,
            created_at: 0,
            updated_at: 0,
            next: next.map(|slot| Next { slot, due: slot }),
            run: 0,
            state,
            plan: None,
            last: None,
        }
    }

    fn next_of(strict: bool, view: &ScheduleView) -> Option<u64> {
        moved("platform", strict, view, NOW).map(|entry| match entry.step {
            Step::Move { next, .. } => next.expect("it goes on").slot,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn slots_ahead_are_computed_anew_and_overdue_ones_kept() {
        let zoned = || Schedule::cron("30 * * * *").tz("Asia/Tokyo");
        let paused = StateView::Paused { reason: None, since: 0, until: Some(NOW + 1) };
        for state in [StateView::Active, paused, StateView::Unserved { since: 0 }] {
            let ahead = |slot| next_of(true, &view(zoned(), state.clone(), Some(slot)));
            assert_eq!(ahead(NOW + HOUR), Some(NOW + HOUR / 2));
            assert_eq!((ahead(NOW + HOUR / 2), ahead(NOW)), (None, None));
        }
        assert_eq!(next_of(true, &view(zoned(), StateView::Finished { at: NOW }, None)), None);
    }

    #[test]
    fn what_is_quarantined_goes_on_with_its_slot_or_the_first_after_now() {
        let state = || StateView::Quarantined { error: "odd".into(), since: 0 };
        let hourly = || Schedule::every(crate::HOUR);
        assert_eq!(next_of(true, &view(hourly(), state(), Some(NOW - HOUR))), Some(NOW - HOUR));
        assert_eq!(next_of(true, &view(hourly(), state(), None)), Some(NOW + HOUR));
    }

    #[test]
    fn only_a_strict_leader_lets_wait_for_handlers() {
        let waits = view(Schedule::every(crate::HOUR), StateView::Unserved { since: 0 }, Some(NOW - HOUR));
        assert_eq!((next_of(true, &waits), next_of(false, &waits)), (None, Some(NOW - HOUR)));
    }
}
