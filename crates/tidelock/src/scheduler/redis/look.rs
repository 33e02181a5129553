//! Querying a scheduler, and sweeping it.

use super::{Remote, stored};
use crate::backend::redis::{Answer, Arguments, Script, script, until_settled};
use crate::error::Result;
use crate::scheduler::store::{LeaderView, Look, StatsView, View};

static LOOK: Script =
    script!("scheduler.look", "../../lua/time.lua", "../lua/store.lua", "../lua/moves.lua", "../lua/look.lua",);

impl Remote {
    /// Calls the look script, and again while more is overdue than one step carries out.
    pub(super) async fn look(&self, look: Look) -> Result<View> {
        let look = &look;
        let answer = until_settled(|_| async move {
            let mut arguments = self.home.arguments(None);
            push_look(look, &mut arguments);
            let mut answer = self.home.show("scheduler", &LOOK, &arguments).await?;
            let settling = answer.flag()?;
            self.home.told_next(answer.count()?);
            Ok((settling, answer))
        });
        view(look, &mut answer.await?)
    }

    /// Carries out one step of what is overdue.
    pub(super) async fn sweep_once(&self) -> Result<()> {
        let mut arguments = self.home.arguments(None);
        arguments.push(b"sweep");
        let mut answer = self.home.show("scheduler", &LOOK, &arguments).await?;
        let _settling = answer.count()?;
        self.home.told_next(answer.count()?);
        Ok(())
    }
}

fn push_look(look: &Look, arguments: &mut Arguments) {
    match look {
        Look::Now => arguments.push(b"now"),
        Look::Get { id } => {
            arguments.push(b"get");
            arguments.push(id.as_bytes());
        }
        Look::List { limit, after } => {
            arguments.push(b"list");
            arguments.number(*limit as u64);
            arguments.number(u64::from(after.is_some()));
            arguments.push(after.as_deref().unwrap_or_default().as_bytes());
        }
        Look::History { id } => {
            arguments.push(b"history");
            arguments.push(id.as_bytes());
        }
        Look::Letters { limit, before } => {
            arguments.push(b"letters");
            arguments.number(*limit as u64);
            arguments.number(before.unwrap_or(0));
        }
        Look::Letter { number } => {
            arguments.push(b"letter");
            arguments.number(*number);
        }
        Look::Awaits { id, born, run } => {
            arguments.push(b"awaits");
            arguments.push(id.as_bytes());
            arguments.number(*born);
            arguments.number(*run);
        }
        Look::Stats => arguments.push(b"stats"),
    }
}

fn view(look: &Look, answer: &mut Answer) -> Result<View> {
    let now = answer.count()?;
    match look {
        Look::Now => Ok(View::Now(now)),
        Look::Awaits { .. } => Ok(View::Awaits(answer.flag()?)),
        Look::Stats => stats(answer).map(View::Stats),
        Look::History { .. } => Ok(View::History(stored::history(&answer.bytes()?)?)),
        Look::Get { .. } | Look::List { .. } => {
            let more = answer.flag()?;
            let mut found = Vec::new();
            while !answer.is_over() {
                found.push(stored::schedule(answer)?);
            }
            Ok(match look {
                Look::List { .. } => View::Schedules(found, more),
                _ => View::Schedule(found.pop().map(Box::new)),
            })
        }
        Look::Letters { .. } | Look::Letter { .. } => {
            let more = answer.flag()?;
            let mut found = Vec::new();
            while !answer.is_over() {
                found.push(stored::letter(&answer.bytes()?)?);
            }
            Ok(match look {
                Look::Letters { .. } => View::Letters(found, more),
                _ => View::Letter(found.pop().map(Box::new)),
            })
        }
    }
}

fn stats(answer: &mut Answer) -> Result<StatsView> {
    let mut stats = StatsView {
        active: answer.count()?,
        paused: answer.count()?,
        unserved: answer.count()?,
        failing: answer.count()?,
        quarantined: answer.count()?,
        finished: answer.count()?,
        due_now: answer.count()?,
        most_overdue: answer.number()?,
        next_due: answer.number()?,
        letters: answer.count()?,
        letters_lost: answer.count()?,
        epoch: answer.count()?,
        ..StatsView::default()
    };
    let left = answer.number()?;
    let instance = answer.text()?;
    stats.leader = left.map(|left| LeaderView { instance, epoch: stats.epoch, left });
    stats.zones = Some(answer.text()?).filter(|zones| !zones.is_empty());
    while !answer.is_over() {
        stats.handlers.push(answer.text()?);
    }
    stats.handlers.sort();
    Ok(stats)
}
