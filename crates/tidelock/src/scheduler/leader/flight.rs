//! Dispatches in flight: rounds of tries for the first slots of a plan, and for accepted triggers.

use std::sync::Arc;

use super::Engine;
use super::entry::{Entry, unreadable};
use super::term::Term;
use crate::error::ErrorKind;
use crate::job::JobId;
use crate::scheduler::definition::Content;
use crate::scheduler::dispatch::{Cause, Dispatch, Landed, Tried, is_curable, round_delay, stored};
use crate::scheduler::observe::{Happening, SkippedBy};
use crate::scheduler::store::{Dispatched, PlanView, PlannedSlot, ScheduleView, StateView, Step, TriggerView};
use crate::time::{Clock, Tick, Timestamp, whole_millis};

/// How many slots of one plan are submitted before they are confirmed. A target remembers the outcomes of this many.
pub(super) const AT_ONCE: usize = 8;

/// Identifies a dispatch. There is at most one per key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Schedule(Arc<str>),
    /// By the schedule's birth and its run number.
    Trigger(u64, u64),
}

/// The outcome of a dispatch.
#[derive(Debug, Default)]
pub(super) struct Landing {
    pub(super) key: Option<Key>,
    pub(super) entries: Vec<Entry>,
    pub(super) walk: Walk,
}

/// How a walk through all schedules continues.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Walk {
    /// This is not a walk.
    #[default]
    None,
    /// After this schedule; from the beginning if there is none.
    Behind(Option<Arc<str>>),
    /// It has seen all schedules.
    Ends,
}

/// The backend's now, and when it was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instants {
    pub(super) now: u64,
    pub(super) heard: Tick,
}

impl Instants {
    fn lateness(&self, clock: &Clock, due: u64) -> u64 {
        let now = self.now.saturating_add(whole_millis(clock.tick().since(self.heard)));
        now.saturating_sub(due)
    }
}

/// Submits the first slots of a plan, in order, until one is not accepted.
pub(super) async fn slots(
    engine: Arc<Engine>,
    term: Arc<Term>,
    view: ScheduleView,
    share: usize,
    instants: Instants,
) -> Landing {
    let mut landing = Landing { key: Some(Key::Schedule(Arc::clone(&view.id))), ..Landing::default() };
    let Some(plan) = &view.plan else { return landing };
    let content = match Content::read(&plan.content) {
        Ok(content) => content,
        Err(error) => {
            landing.entries.push(unreadable(&view, &error));
            return landing;
        }
    };
    for (index, slot) in plan.slots.iter().take(share).enumerate() {
        let run = plan.first_run + index as u64;
        let missed = if index == 0 { plan.missed } else { 0 };
        let cause = Cause::Slot { slot: *slot, timing_revision: plan.timing_revision, missed };
        let dispatch = Dispatch {
            scheduler: &engine.core.site.address,
            schedule: &view.id,
            born: view.born,
            run,
            content: &content,
            memory: engine.core.options.slot_memory,
            cause,
        };
        // The schedule may have been paused or removed meanwhile.
        if index > 0 && !dispatch.is_awaited(&engine.core).await {
            break;
        }
        let Some(tried) = fly(&engine, &term, &dispatch).await else { break };
        let failed_before = match &view.state {
            StateView::Failing { rounds, .. } if index == 0 => *rounds,
            _ => 0,
        };
        let (entry, go_on) = judge(&engine, &view, plan, (run, *slot), tried, failed_before, instants);
        landing.entries.push(entry);
        if !go_on {
            break;
        }
    }
    landing
}

/// One round of tries. `None` if the leadership or the instance ended meanwhile: then nothing follows from the
/// outcome.
async fn fly(engine: &Engine, term: &Arc<Term>, dispatch: &Dispatch<'_>) -> Option<Tried> {
    let core = &engine.core;
    let world = &core.site.world;
    let may_go_on = || term.holds(&world.clock) && !engine.is_closing();
    if !may_go_on() {
        return None;
    }
    let stop = async {
        tokio::select! {
            () = engine.closing() => {}
            () = term.over() => {}
        }
    };
    let tried = core.options.round.submit(core, dispatch, || dispatch.is_awaited(core), stop).await;
    core.watcher.retried(tried.1);
    match &tried.0 {
        Err(error) if !may_go_on() || error.kind() == ErrorKind::ShuttingDown => None,
        _ => Some(tried),
    }
}

/// What to write for a slot after a round, and whether the next slot may follow.
fn judge(
    engine: &Engine,
    view: &ScheduleView,
    plan: &PlanView,
    (run, slot): (u64, PlannedSlot),
    (landed, _): Tried,
    failed_before: u32,
    instants: Instants,
) -> (Entry, bool) {
    let core = &engine.core;
    let (id, born) = (Arc::clone(&view.id), view.born);
    let schedule = || view.id.as_ref().to_owned();
    let at = Timestamp::from_millis(slot.slot);
    let confirm = |outcome| Step::Confirm { id: Arc::clone(&id), born, run, outcome };
    match landed {
        Ok(Landed::Accepted { job, .. }) => {
            let lateness = instants.lateness(&core.site.world.clock, slot.due);
            let told = Happening::DispatchSubmitted { schedule: schedule(), slot: at, job: JobId(job), lateness };
            (Entry::new(confirm(Dispatched::Submitted { job, lateness }), [told]).deciding(slot.slot), true)
        }
        Ok(Landed::Overlapping { active }) => {
            let told = Happening::DispatchSkipped { schedule: schedule(), count: 1, reason: SkippedBy::Overlap };
            (Entry::new(confirm(Dispatched::Overlapped { active }), [told]).deciding(slot.slot), true)
        }
        Err(error) => {
            let rounds = failed_before + 1;
            let message = core.targets.text(&error);
            let failed = Happening::DispatchFailed { schedule: schedule(), message: message.clone() };
            if is_curable(&error) && rounds < core.options.max_dispatch_failures {
                let delay = round_delay(rounds, fastrand::f64());
                return (Entry::new(Step::Fail { id, born, run, error: stored(&error), delay }, [failed]), false);
            }
            let mut told = vec![failed, Happening::DispatchDlq { schedule: schedule(), slot: at, message }];
            let is_last = plan.first_run + plan.slots.len() as u64 == run + 1;
            if !is_last || view.next.is_some() {
                let failures = rounds;
                told.push(Happening::DispatchAdvancedAfterFailures { schedule: schedule(), slot: at, failures });
            }
            // The next slot gets rounds of its own.
            let given_up = Entry::new(confirm(Dispatched::GivenUp { error: stored(&error) }), told);
            (given_up.deciding(slot.slot), false)
        }
    }
}

/// Submits an accepted trigger that nobody confirmed.
pub(super) async fn trigger(
    engine: Arc<Engine>,
    term: Arc<Term>,
    view: TriggerView,
    failed_before: u32,
    instants: Instants,
) -> Landing {
    let core = &engine.core;
    let clock = &core.site.world.clock;
    let (id, born, run) = (Arc::clone(&view.id), view.born, view.run);
    let schedule = view.id.as_ref().to_owned();
    let mut landing = Landing { key: Some(Key::Trigger(born, run)), ..Landing::default() };
    let landed = match Content::read(&view.content) {
        Ok(content) => {
            let dispatch = Dispatch {
                scheduler: &core.site.address,
                schedule: &view.id,
                born,
                run,
                content: &content,
                memory: core.options.slot_memory,
                cause: Cause::of_trigger(&view),
            };
            let Some((landed, _)) = fly(&engine, &term, &dispatch).await else { return landing };
            landed
        }
        Err(error) => Err(error),
    };
    let rounds = failed_before + 1;
    let (outcome, told) = match landed {
        Ok(Landed::Accepted { job, .. }) => {
            let lateness = instants.lateness(clock, view.accepted_at);
            let told = Happening::TriggerSubmitted { schedule, job: JobId(job) };
            (Dispatched::Submitted { job, lateness }, Some(told))
        }
        Ok(Landed::Overlapping { active }) => (Dispatched::Overlapped { active }, None),
        Err(error) => {
            let told = Happening::TriggerFailed { schedule, message: core.targets.text(&error) };
            if is_curable(&error) && rounds < core.options.max_dispatch_failures {
                let delay = round_delay(rounds, fastrand::f64());
                landing.entries.push(Entry::new(Step::TriggerFail { id, born, run, delay }, [told]));
                return landing;
            }
            (Dispatched::GivenUp { error: stored(&error) }, Some(told))
        }
    };
    landing.entries.push(Entry::new(Step::TriggerDone { id, born, run, outcome, rounds }, told));
    landing
}
