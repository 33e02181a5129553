//! `tidelock job …`: look at jobs, and change what becomes of them.

mod change;
mod events;
mod list;
mod show;
mod state;
mod submit;

use clap::{Args, Subcommand};
use tidelock::job::{Job, JobId};
use tidelock::{Raw, Tidelock};

use crate::exit::Exit;
use crate::server::Server;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List the jobs of one state.
    Ls(list::List),
    /// Show one job: its input, its result, its failures.
    Show(show::Show),
    /// Submit a job.
    Submit(submit::Submit),
    /// Retry jobs that failed, timed out or were cancelled.
    Retry(change::Retry),
    /// Cancel waiting or running jobs.
    Cancel(change::Cancel),
    /// Remove jobs that are not running.
    Rm(change::Remove),
    /// Follow the events of a job.
    Events(events::Events),
    /// Show the number of jobs in each state, and totals.
    Stats(state::Stats),
    /// Stop starting jobs, in all processes.
    Pause(state::Pause),
    /// Resume starting jobs.
    Resume(state::Resume),
    /// Limit the rate at which jobs start, in all processes together.
    RateLimit(state::RateLimit),
    /// Limit how many jobs run at once, in all processes together.
    ConcurrencyLimit(state::ConcurrencyLimit),
}

/// Which jobs.
#[derive(Args)]
struct Target {
    /// The name of the job.
    job: String,
    #[command(flatten)]
    server: Server,
}

impl Target {
    async fn open(&self) -> anyhow::Result<(Tidelock, Job<Raw, Raw>)> {
        let tide = self.server.open().await?;
        let job = tide.job::<Raw, Raw>(&self.job).payload_limit(crate::queue::MAX_BODY).build()?;
        Ok((tide, job))
    }

    fn json(&self) -> bool {
        self.server.json()
    }
}

/// Reads the id of a job.
fn id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|_| format!("expected the id of a job, a whole number, but got {text:?}"))
}

pub(crate) async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls(verb) => verb.run().await,
        Verb::Show(verb) => verb.run().await,
        Verb::Submit(verb) => verb.run().await,
        Verb::Retry(verb) => verb.run().await,
        Verb::Cancel(verb) => verb.run().await,
        Verb::Rm(verb) => verb.run().await,
        Verb::Events(verb) => verb.run().await,
        Verb::Stats(verb) => verb.run().await,
        Verb::Pause(verb) => verb.run().await,
        Verb::Resume(verb) => verb.run().await,
        Verb::RateLimit(verb) => verb.run().await,
        Verb::ConcurrencyLimit(verb) => verb.run().await,
    }
}
