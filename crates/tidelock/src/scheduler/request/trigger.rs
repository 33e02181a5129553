//! Running a schedule now.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::define::check_id;
use crate::error::{Error, ErrorKind, Result};
use crate::job::JobId;
use crate::name;
use crate::request::awaitable;
use crate::scheduler::Core;
use crate::scheduler::definition::Content;
use crate::scheduler::dispatch::{Cause, Dispatch, Landed, is_curable, stored};
use crate::scheduler::observe::Happening;
use crate::scheduler::store::{Change, Changes, Dispatched, Look, TriggerView, View};

/// The outcome of a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Triggered {
    /// Its run was submitted as a job.
    Submitted {
        /// The job's id; of a duplicate, that of the first job with its key.
        id: JobId,
        /// Whether the key had been used before, so that nothing new runs.
        duplicate: bool,
    },
    /// An earlier run of the schedule has not ended, and its overlap policy skips this one.
    Overlapping {
        /// The oldest such run.
        active: JobId,
    },
    /// Nothing was triggered.
    Rejected(Rejected),
}

/// Why a trigger was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rejected {
    /// There is no such schedule.
    MissingSchedule,
    /// It is quarantined, or this version cannot read it.
    InvalidSchedule {
        /// The reason.
        error: String,
    },
    /// No living instance has its handler, and the scheduler does not wait for one.
    MissingHandler,
}

/// Triggers a run of a schedule now, even while it is paused or no instance is started. Resolves to [`Triggered`].
///
/// It never affects the next slot, missed slots or failures. The trigger is stored in one step and then submitted by
/// this call; if this process dies in between, a leader submits it. Fails if the target does not accept the run in a
/// round of tries; if retrying can still help, a leader then tries again. Dropping the future after it was sent may
/// still run it.
#[derive(Debug)]
#[must_use = "nothing is triggered until it is awaited"]
pub struct TriggerNow {
    core: Arc<Core>,
    id: Arc<str>,
    key: Option<Arc<str>>,
}

impl TriggerNow {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str) -> Self {
        Self { core: Arc::clone(core), id: id.into(), key: None }
    }

    /// At most one run per key and schedule: 1..=512 bytes. A later trigger with the same key returns the same job, as
    /// long as the key is remembered: `slot_memory` from its last use.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    async fn run(self) -> Result<Triggered> {
        const OPERATION: &str = "trigger_now";
        let Self { core, id, key } = self;
        let site = &core.site;
        check_id(&core, OPERATION, &id)?;
        if let Some(key) = &key {
            name::check(Error::argument, "key", key, name::MAX_KEY)
                .map_err(|error| site.about(OPERATION, &id, error))?;
        }
        if core.targets.are_called()
            && let View::Schedule(Some(view)) = site.look(OPERATION, Look::Get { id: Arc::clone(&id) }).await?
            && !core.targets.reaches(view.definition.handler.as_ref())
        {
            return Ok(reject(&core, &id, Rejected::MissingHandler));
        }
        let (strict, memory) = (core.options.strict || core.targets.are_called(), core.options.slot_memory);
        let change = Change::Trigger { id: Arc::clone(&id), key, strict, memory };
        match site.change(OPERATION, change).await? {
            Changes::Accepted(view) => submit(&core, OPERATION, &view).await,
            Changes::Known { job } => {
                core.tell(Happening::TriggerSubmitted { schedule: id.as_ref().to_owned(), job: JobId(job) });
                Ok(Triggered::Submitted { id: JobId(job), duplicate: true })
            }
            Changes::Absent => Ok(reject(&core, &id, Rejected::MissingSchedule)),
            Changes::MissingHandler => Ok(reject(&core, &id, Rejected::MissingHandler)),
            Changes::Invalid { error } => {
                Ok(reject(&core, &id, Rejected::InvalidSchedule { error: error.as_ref().to_owned() }))
            }
            _ => Err(site.misfit(OPERATION)),
        }
    }
}

fn reject(core: &Core, id: &str, reason: Rejected) -> Triggered {
    core.tell(Happening::TriggerRejected { schedule: id.to_owned(), reason: reason.clone() });
    Triggered::Rejected(reason)
}

/// Submits an accepted trigger and confirms it.
async fn submit(core: &Core, operation: &str, view: &TriggerView) -> Result<Triggered> {
    let site = &core.site;
    let schedule = || view.id.as_ref().to_owned();
    let content = match Content::read(&view.content) {
        Ok(content) => content,
        Err(error) => {
            // A leader that can read it will submit it, or give it up.
            return Ok(reject(core, &view.id, Rejected::InvalidSchedule { error: error.to_string() }));
        }
    };
    let dispatch = Dispatch {
        scheduler: &site.address,
        schedule: &view.id,
        born: view.born,
        run: view.run,
        content: &content,
        memory: core.options.slot_memory,
        cause: Cause::of_trigger(view),
    };
    let (landed, repeats) =
        core.options.round.submit(core, &dispatch, || std::future::ready(true), std::future::pending()).await;
    core.watcher.retried(repeats);
    let (outcome, triggered) = match landed {
        Ok(Landed::Accepted { job, duplicate }) => {
            core.tell(Happening::TriggerSubmitted { schedule: schedule(), job: JobId(job) });
            let lateness = site.world.clock.now().as_millis().saturating_sub(view.accepted_at);
            (Dispatched::Submitted { job, lateness }, Ok(Triggered::Submitted { id: JobId(job), duplicate }))
        }
        Ok(Landed::Overlapping { active }) => {
            (Dispatched::Overlapped { active }, Ok(Triggered::Overlapping { active: JobId(active) }))
        }
        Err(error) => {
            core.tell(Happening::TriggerFailed { schedule: schedule(), message: core.targets.text(&error) });
            // A target of a page is called only here, so nobody else will retry.
            let final_word =
                core.targets.are_called() || !is_curable(&error) && error.kind() != ErrorKind::ShuttingDown;
            let message = stored(&error);
            let error = site.about(operation, &view.id, error);
            if !final_word {
                return Err(error);
            }
            (Dispatched::GivenUp { error: message }, Err(error))
        }
    };
    let (id, born, run, history) = (Arc::clone(&view.id), view.born, view.run, core.options.history);
    let done = Change::TriggerDone { id, born, run, outcome, history };
    if let Err(error) = site.change(operation, done).await {
        // The run is accepted anyway. A leader will submit it again and get the same answer.
        tracing::warn!(target: "tidelock::scheduler", schedule = %view.id, %error, "a trigger could not be confirmed");
    }
    triggered
}

awaitable! {
    TriggerNow => Triggered;
}
