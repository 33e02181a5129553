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
    /// Create a schedule, or replace the one with its id.
    Add(add::Add),
    /// Remove schedules; runs under way continue.
    Rm(change::Remove),
    /// Pause a schedule: its slots do not run.
    Pause(change::Pause),
    /// Resume a schedule with the first slot from now.
    Resume(change::Resume),
    /// Run a schedule now.
    Trigger(change::Trigger),
    /// Show the next slots.
    Next(look::Next),
    /// Show the decisions about past slots, newest first.
    History(look::History),
    /// Show the whole scheduler: its leader, overdue slots.
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
