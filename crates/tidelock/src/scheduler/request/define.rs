//! Registering schedules, and changing them.
//!
//! Dropping one of these futures withdraws the request if it was not sent; once sent it may take effect.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TRIES;
use crate::changed::Changed;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::cut_or_none;
use crate::name;
use crate::pause::pause_time;
use crate::request::awaitable;
use crate::scheduler::decide::COUNTED;
use crate::scheduler::definition::Spec;
use crate::scheduler::observe::{Happening, SkippedBy};
use crate::scheduler::store::{Change, Changes, Look, ScheduleView, StateView, View};
use crate::scheduler::timing::Whose;
use crate::scheduler::{Core, Schedule};
use crate::word::words;

/// Longest stored reason, in bytes.
const MAX_REASON: usize = 1_024;

/// The outcome of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Registered {
    /// There was no schedule with this id.
    Created,
    /// It replaced a different definition.
    Updated,
    /// The definition was the same; nothing was written.
    Unchanged,
}

words!(Registered: Self::Created => "created", Self::Updated => "updated", Self::Unchanged => "unchanged");

/// Refuses an invalid schedule id.
pub(super) fn check_id(core: &Core, operation: &str, id: &str) -> Result<()> {
    core.site.check(operation)?;
    name::check(Error::argument, "schedule id", id, name::MAX_ID).map_err(|error| core.site.context(operation, error))
}

/// Creates a schedule, or replaces the one with its id. Resolves to [`Registered`].
///
/// It is atomic: at no moment is there no schedule. A new one has its first slot after now. If the timing is the same
/// (the parsed expression, zone, period, offset, instant, jitter), the next slot is kept, even an overdue one;
/// otherwise it is the first after now. Creation time, pause, run number and history are kept.
///
/// Fails with *invalid argument* for a bad id, expression, zone or range, for no target or two, and for an option that
/// does not apply; with *validation*, *cannot encode* and *payload too large* by the target's rules; with *capacity
/// reached* at `max_schedules`. A refused register changes nothing. Dropping the future withdraws it unless it was
/// sent.
#[derive(Debug)]
#[must_use = "nothing is registered until it is awaited"]
pub struct Register {
    core: Arc<Core>,
    id: Arc<str>,
    schedule: Schedule,
    /// The last slot that is known to be decided.
    #[cfg(target_family = "wasm")]
    decided: Option<u64>,
}

impl Register {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str, schedule: Schedule) -> Self {
        Self {
            core: Arc::clone(core),
            id: id.into(),
            schedule,
            #[cfg(target_family = "wasm")]
            decided: None,
        }
    }

    /// Continues after this slot, which was decided, whatever the stored state says. A slot in the future counts as
    /// now.
    #[cfg(target_family = "wasm")]
    pub(crate) fn behind(mut self, slot: u64) -> Self {
        self.decided = Some(slot);
        self
    }

    async fn run(self) -> Result<Registered> {
        const OPERATION: &str = "register";
        let Self { core, id, schedule, .. } = self;
        let site = &core.site;
        check_id(&core, OPERATION, &id)?;
        let spec = schedule.into_spec(&site.address.tenant).map_err(|error| site.about(OPERATION, &id, error))?;
        let definition = spec.definition();
        let max_schedules = core.options.max_schedules;
        let tolerance = spec.content.tolerance.unwrap_or(core.options.tolerance);
        let mut now = site.world.clock.now().as_millis();
        for _ in 0..TRIES {
            let guess = spec.timing.first_guess(Whose { scheduler: site.id(), schedule: &id }, now, tolerance);
            let (id, definition) = (Arc::clone(&id), definition.clone());
            let change = Change::Register { id: Arc::clone(&id), definition, guess, max_schedules };
            let registered = match site.change(OPERATION, change).await? {
                Changes::Now(told) => {
                    now = told;
                    continue;
                }
                Changes::Created => Registered::Created,
                Changes::Updated => Registered::Updated,
                Changes::Unchanged => Registered::Unchanged,
                Changes::Full { limit } => {
                    let text = format!("max_schedules is reached: limit {limit}");
                    return Err(site.about(OPERATION, &id, Error::new(ErrorKind::CapacityReached, text)));
                }
                _ => return Err(site.misfit(OPERATION)),
            };
            #[cfg(target_family = "wasm")]
            if let Some(slot) = self.decided {
                let slot = spec.timing.next_after(slot.min(site.world.clock.now().as_millis()));
                let whose = Whose { scheduler: site.id(), schedule: &id };
                let next = slot.map(|slot| spec.timing.next(whose, slot));
                site.change(OPERATION, Change::Begin { id: Arc::clone(&id), next }).await?;
            }
            let schedule = id.as_ref().to_owned();
            core.tell(match registered {
                Registered::Updated => Happening::ScheduleUpdated { schedule },
                other => Happening::ScheduleRegistered { schedule, created: other == Registered::Created },
            });
            return Ok(registered);
        }
        Err(site.about(OPERATION, &id, too_slow()))
    }
}

/// The error if each answer was outdated when it arrived.
fn too_slow() -> Error {
    Error::new(ErrorKind::Timeout, format!("the backend's now was another one in each of {TRIES} tries"))
}

/// Removes a schedule with its plan, history and dead letters. Resolves to whether it existed.
///
/// Runs that were submitted continue. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct Unregister {
    core: Arc<Core>,
    id: Arc<str>,
}

impl Unregister {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str) -> Self {
        Self { core: Arc::clone(core), id: id.into() }
    }

    async fn run(self) -> Result<bool> {
        const OPERATION: &str = "unregister";
        let Self { core, id } = self;
        check_id(&core, OPERATION, &id)?;
        match core.site.change(OPERATION, Change::Unregister { id: Arc::clone(&id) }).await? {
            Changes::Done => {
                core.tell(Happening::ScheduleUnregistered { schedule: id.as_ref().to_owned() });
                Ok(true)
            }
            Changes::Absent | Changes::Unchanged => Ok(false),
            _ => Err(core.site.misfit(OPERATION)),
        }
    }
}

/// Pauses a schedule, until it is resumed or [`for_at_most`](Self::for_at_most). Resolves to [`Changed`].
///
/// Slots that are decided but not yet submitted are dropped. The slots of the pause are counted in the history and
/// never caught up; triggers work. A second pause replaces the end and the reason of the first, unless that has ended
/// by itself: then it is a new one. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is paused until it is awaited"]
pub struct Pause {
    core: Arc<Core>,
    id: Arc<str>,
    for_at_most: Option<Duration>,
    reason: Option<Arc<str>>,
}

impl Pause {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str) -> Self {
        Self { core: Arc::clone(core), id: id.into(), for_at_most: None, reason: None }
    }

    /// Ends the pause automatically after this time: 1 ms..=10 years. Default: it lasts until resumed.
    pub fn for_at_most(mut self, time: Duration) -> Self {
        self.for_at_most = Some(time);
        self
    }

    /// Shown by `get` and `list`; cut at 1,024 bytes.
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = cut_or_none(reason, MAX_REASON);
        self
    }

    async fn run(self) -> Result<Changed> {
        const OPERATION: &str = "pause";
        let Self { core, id, for_at_most, reason } = self;
        check_id(&core, OPERATION, &id)?;
        let for_at_most = pause_time(for_at_most).map_err(|error| core.site.about(OPERATION, &id, error))?;
        changed(&core, OPERATION, &core.site.change(OPERATION, Change::Pause { id, for_at_most, reason }).await?)
    }
}

fn changed(core: &Core, operation: &str, changes: &Changes) -> Result<Changed> {
    match changes {
        Changes::Done | Changes::Updated => Ok(Changed::Yes),
        Changes::Unchanged => Ok(Changed::No),
        Changes::Absent => Ok(Changed::Absent),
        _ => Err(core.site.misfit(operation)),
    }
}

/// Ends a pause: the schedule continues with the first slot after now. Resolves to [`Changed`].
///
/// A pause that has ended by itself no longer counts: the schedule continues with the first slot after that end, and
/// its [`Misfire`](crate::Misfire) judges the slots that are late by then.
///
/// Fails with *incompatible data format* if this version cannot read the schedule. Dropping the future withdraws it
/// unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is resumed until it is awaited"]
pub struct Resume {
    core: Arc<Core>,
    id: Arc<str>,
}

impl Resume {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str) -> Self {
        Self { core: Arc::clone(core), id: id.into() }
    }

    async fn run(self) -> Result<Changed> {
        const OPERATION: &str = "resume";
        let Self { core, id } = self;
        let site = &core.site;
        check_id(&core, OPERATION, &id)?;
        let mut now = site.world.clock.now().as_millis();
        let mut known: Option<(ScheduleView, Spec)> = None;
        for _ in 0..TRIES {
            let (view, spec) = match known.take() {
                Some(known) => known,
                None => match paused(&core, OPERATION, &id).await? {
                    Paused::It(view, spec) => (*view, *spec),
                    Paused::Not(changed) => return Ok(changed),
                },
            };
            let whose = Whose { scheduler: site.id(), schedule: &id };
            let guess = spec.timing.guess(whose, now);
            let passed = view.next.map_or(0, |next| spec.timing.count(next.slot, now.saturating_add(1), COUNTED));
            let (revision, history) = (view.revision, core.options.history);
            let change = Change::Resume { id: Arc::clone(&id), revision, guess, passed, history };
            match site.change(OPERATION, change).await? {
                Changes::Now(told) => {
                    now = told;
                    known = Some((view, spec));
                }
                Changes::Conflict => {}
                done => {
                    if passed > 0 && done == Changes::Done {
                        let (schedule, reason) = (id.as_ref().to_owned(), SkippedBy::Paused);
                        core.tell(Happening::DispatchSkipped { schedule, count: passed, reason });
                    }
                    return changed(&core, OPERATION, &done);
                }
            }
        }
        Err(site.about(OPERATION, &id, too_slow()))
    }
}

enum Paused {
    It(Box<ScheduleView>, Box<Spec>),
    Not(Changed),
}

async fn paused(core: &Core, operation: &str, id: &Arc<str>) -> Result<Paused> {
    let View::Schedule(view) = core.site.look(operation, Look::Get { id: Arc::clone(id) }).await? else {
        return Err(core.site.misfit(operation));
    };
    let Some(view) = view else { return Ok(Paused::Not(Changed::Absent)) };
    if !matches!(view.state, StateView::Paused { .. }) {
        return Ok(Paused::Not(Changed::No));
    }
    let spec = Spec::read(&view.definition).map_err(|error| core.site.about(operation, id, error))?;
    Ok(Paused::It(view, Box::new(spec)))
}

/// Deletes the scheduler and everything in it: schedules, history, dead letters, leadership, and the runs of the
/// handlers that this handle or a started instance has. Resolves to whether anything existed.
///
/// Started instances continue, with nothing to do. Jobs of other names that schedules submitted stay. Dropping the
/// future ends it after the current step.
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct Delete(pub(in crate::scheduler) Arc<Core>);

impl Delete {
    async fn run(self) -> Result<bool> {
        const OPERATION: &str = "delete";
        let core = self.0;
        let site = &core.site;
        let View::Stats(stats) = site.look(OPERATION, Look::Stats).await? else { return Err(site.misfit(OPERATION)) };
        let mut there = match site.change(OPERATION, Change::Delete).await? {
            Changes::Done | Changes::Count(1..) => true,
            Changes::Unchanged | Changes::Absent | Changes::Count(0) => false,
            _ => return Err(site.misfit(OPERATION)),
        };
        let mut handlers: Vec<_> =
            stats.handlers.into_iter().chain(core.handlers.iter().map(|(name, _)| Arc::clone(name))).collect();
        handlers.sort_unstable();
        handlers.dedup();
        for handler in handlers {
            there |= core.runs(&handler).delete().await?;
        }
        Ok(there)
    }
}

awaitable! {
    Register => Registered;
    Unregister => bool;
    Pause => Changed;
    Resume => Changed;
    Delete => bool;
}
