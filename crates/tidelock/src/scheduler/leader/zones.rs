//! After taking over: slots that were computed with another time zone database, and schedules that the former leader could
//! not read. All are looked at, page by page, beside the dispatches.

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

/// Schedules of a page.
const PAGE: usize = 100;

/// Whether there is something to look at. With the same database there is only if something is quarantined.
pub(super) async fn begin(engine: Arc<Engine>, is_known: bool) -> Landing {
    let walk = Landing { walk: Walk::Behind(None), ..Landing::default() };
    if !is_known {
        return walk;
    }
    match look(&engine, Look::Stats).await {
        Ok(View::Stats(stats)) if stats.quarantined == 0 => Landing::default(),
        _ => walk,
    }
}

/// Looks at one page.
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
    let mut entries: Vec<_> = views.iter().filter_map(|view| moved(engine.core.site.id(), view, now)).collect();
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

/// What is written of a schedule whose next slot is another one by this database, or that can be read again.
fn moved(scheduler: &str, view: &ScheduleView, now: u64) -> Option<Entry> {
    let spec = Spec::read(&view.definition).ok()?;
    let whose = Whose { scheduler, schedule: &view.id };
    let quarantined = matches!(view.state, StateView::Quarantined { .. });
    // An overdue slot is kept, and judged; the slots of a pause are nobody's.
    let ahead = view.next.filter(|next| next.slot > now);
    let is_settled = matches!(view.state, StateView::Paused { .. } | StateView::Finished { .. });
    let next = match ahead {
        Some(_) if spec.timing.is_zoned() && !is_settled => {
            spec.timing.next_after(now).map(|slot| spec.timing.next(whose, slot))
        }
        _ => view.next,
    };
    let moves = quarantined || next != view.next;
    moves.then(|| Entry::new(Step::Move { id: Arc::clone(&view.id), revision: view.revision, next }, []))
}
