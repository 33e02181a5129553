//! Dead letters: slots and triggers that their target did not accept.

use std::sync::Arc;

use super::trigger::Triggered;
use crate::error::{Error, ErrorKind, Result};
use crate::job::JobId;
use crate::page::{Page, PageToken, page_limit};
use crate::request::awaitable;
use crate::scheduler::Core;
use crate::scheduler::definition::Content;
use crate::scheduler::dispatch::{Cause, Dispatch, Landed};
use crate::scheduler::info::{DispatchLetter, DispatchLetterId};
use crate::scheduler::store::{Change, Changes, LetterView, Look, ScheduleView, View};

/// The slots and triggers of a scheduler that were given up. Created by
/// [`Scheduler::dead_letters`](crate::Scheduler::dead_letters).
#[derive(Clone, Debug)]
pub struct DispatchDeadLetters(pub(in crate::scheduler) Arc<Core>);

impl DispatchDeadLetters {
    /// Lists them, newest first.
    pub fn list(&self) -> ListLetters {
        ListLetters { core: Arc::clone(&self.0), limit: 100, after: None }
    }

    /// Submits one to the current target of its schedule.
    pub fn retry(&self, id: DispatchLetterId) -> RetryLetter {
        RetryLetter { core: Arc::clone(&self.0), id }
    }

    /// Removes one.
    pub fn remove(&self, id: DispatchLetterId) -> RemoveLetter {
        RemoveLetter { core: Arc::clone(&self.0), id }
    }

    /// Removes all.
    pub fn purge(&self) -> PurgeLetters {
        PurgeLetters(Arc::clone(&self.0))
    }
}

/// Dead letters of dispatch, newest first, page by page. Resolves to [`Page<DispatchLetter>`]. Dropping the future does
/// nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct ListLetters {
    core: Arc<Core>,
    limit: usize,
    after: Option<PageToken>,
}

impl ListLetters {
    /// Items of a page: 1..=1,000, default 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Continues after an earlier page: pass its `next`.
    pub fn after(mut self, page: &PageToken) -> Self {
        self.after = Some(page.clone());
        self
    }

    async fn run(self) -> Result<Page<DispatchLetter>> {
        const OPERATION: &str = "dead_letters.list";
        let Self { core, limit, after } = self;
        let number = |token: PageToken| token.0.parse::<DispatchLetterId>().map(|id| id.0);
        let checked = page_limit("limit", limit).and_then(|limit| Ok((limit, after.map(number).transpose()?)));
        let (limit, before) = checked.map_err(|error| core.site.context(OPERATION, error))?;
        match core.site.look(OPERATION, Look::Letters { limit, before }).await? {
            View::Letters(letters, more) => {
                let next = letters.last().filter(|_| more).map(|last| PageToken(last.number.to_string()));
                Ok(Page { items: letters.into_iter().map(DispatchLetter::from).collect(), next })
            }
            _ => Err(core.site.misfit(OPERATION)),
        }
    }
}

/// Submits a dead letter's slot to the current target of its schedule, and removes the dead letter. Resolves to
/// [`Triggered`].
///
/// It keeps its own identity: requested twice, it runs once. A slot that its target had accepted, without an answer in
/// time, is recognised while it is among the newest eight of its schedule. If it overlaps an earlier run, the dead
/// letter stays. Fails with *not found* if the dead letter or its schedule is gone, or with the target's error if the
/// target does not accept it in a round of tries; the dead letter then stays. Dropping the future after it was sent may
/// still run it.
#[derive(Debug)]
#[must_use = "nothing is retried until it is awaited"]
pub struct RetryLetter {
    core: Arc<Core>,
    id: DispatchLetterId,
}

impl RetryLetter {
    async fn run(self) -> Result<Triggered> {
        const OPERATION: &str = "dead_letters.retry";
        let Self { core, id: DispatchLetterId(number) } = self;
        let site = &core.site;
        let (letter, schedule) = find(&core, OPERATION, number).await?;
        let about = |error: Error| site.about(OPERATION, &letter.schedule, error);
        let content = Content::read(&schedule.definition.content).map_err(about)?;
        let dispatch = Dispatch {
            scheduler: &site.address,
            schedule: &letter.schedule,
            born: letter.born,
            run: letter.run,
            content: &content,
            memory: core.options.slot_memory,
            cause: Cause::of_letter(&letter),
        };
        let (landed, _) =
            core.options.round.submit(&core, &dispatch, || std::future::ready(true), std::future::pending()).await;
        match landed.map_err(about)? {
            Landed::Overlapping { active } => Ok(Triggered::Overlapping { active: JobId(active) }),
            Landed::Accepted { job, duplicate } => {
                site.change(OPERATION, Change::RemoveLetter { number }).await?;
                Ok(Triggered::Submitted { id: JobId(job), duplicate })
            }
        }
    }
}

async fn find(core: &Core, operation: &str, number: u64) -> Result<(LetterView, ScheduleView)> {
    let site = &core.site;
    let View::Letter(letter) = site.look(operation, Look::Letter { number }).await? else {
        return Err(site.misfit(operation));
    };
    let gone = |what: String| site.context(operation, Error::new(ErrorKind::NotFound, what));
    let letter = letter.ok_or_else(|| gone(format!("there is no dead letter {number}")))?;
    let View::Schedule(schedule) = site.look(operation, Look::Get { id: Arc::clone(&letter.schedule) }).await? else {
        return Err(site.misfit(operation));
    };
    let schedule = schedule.filter(|schedule| schedule.born == letter.born);
    let schedule = schedule.ok_or_else(|| gone(format!("schedule {:?} is gone", letter.schedule)))?;
    Ok((*letter, *schedule))
}

/// Removes a dead letter of dispatch. Resolves to whether it existed. Dropping the future withdraws it unless it was
/// sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct RemoveLetter {
    core: Arc<Core>,
    id: DispatchLetterId,
}

impl RemoveLetter {
    async fn run(self) -> Result<bool> {
        const OPERATION: &str = "dead_letters.remove";
        match self.core.site.change(OPERATION, Change::RemoveLetter { number: self.id.0 }).await? {
            Changes::Done => Ok(true),
            Changes::Absent => Ok(false),
            _ => Err(self.core.site.misfit(OPERATION)),
        }
    }
}

/// Removes all dead letters of dispatch that exist when it begins. Resolves to their number.
///
/// It proceeds in bounded steps. Dropping the future ends it after the current step.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct PurgeLetters(Arc<Core>);

impl PurgeLetters {
    async fn run(self) -> Result<u64> {
        const OPERATION: &str = "dead_letters.purge";
        match self.0.site.change(OPERATION, Change::PurgeLetters).await? {
            Changes::Count(count) => Ok(count),
            _ => Err(self.0.site.misfit(OPERATION)),
        }
    }
}

awaitable! {
    ListLetters => Page<DispatchLetter>;
    RetryLetter => Triggered;
    RemoveLetter => bool;
    PurgeLetters => u64;
}
