//! `tidelock schedule …`: look at the schedules of a fleet, and change them.

mod add;
mod change;
mod look;

use clap::{Args, Subcommand};
use tidelock::Tidelock;
use tidelock::scheduler::Scheduler;

use crate::exit::Exit;
use crate::server::Server;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List the schedules, by id.
    Ls(look::List),
    /// Create a schedule, or put it in the place of the one with its id.
    Add(add::Add),
    /// Remove schedules; runs that were started go on.
    Rm(change::Remove),
    /// Let slots pass until resumed.
    Pause(change::Pause),
    /// Go on with the first slot from now.
    Resume(change::Resume),
    /// Run a schedule now.
    Trigger(change::Trigger),
    /// Show the next slots.
    Next(look::Next),
    /// Show what was decided about past slots, newest first.
    History(look::History),
    /// The scheduler as a whole: who leads, what is overdue.
    Stats(look::Stats),
}

/// Which scheduler.
#[derive(Args)]
struct Target {
    /// The name of the scheduler.
    scheduler: String,
    #[command(flatten)]
    server: Server,
}

impl Target {
    async fn open(&self) -> anyhow::Result<(Tidelock, Scheduler)> {
        let tide = self.server.open().await?;
        let scheduler = tide.scheduler(&self.scheduler).build()?;
        Ok((tide, scheduler))
    }

    fn json(&self) -> bool {
        self.server.json()
    }
}

/// Which schedule of it.
#[derive(Args)]
struct One {
    #[command(flatten)]
    target: Target,
    /// The id of the schedule.
    id: String,
}

pub(crate) async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls(verb) => verb.run().await,
        Verb::Add(verb) => verb.run().await,
        Verb::Rm(verb) => verb.run().await,
        Verb::Pause(verb) => verb.run().await,
        Verb::Resume(verb) => verb.run().await,
        Verb::Trigger(verb) => verb.run().await,
        Verb::Next(verb) => verb.run().await,
        Verb::History(verb) => verb.run().await,
        Verb::Stats(verb) => verb.run().await,
    }
}
