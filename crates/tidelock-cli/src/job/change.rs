//! Changes of single jobs: retry, cancel, remove.

use clap::Args;
use serde_json::json;
use tidelock::Removed;
use tidelock::job::{CancelOutcome, JobId, JobState, RetryOutcome};

use super::{Target, id};
use crate::exit::Exit;
use crate::output;

/// Which of them.
#[derive(Args)]
struct Ids {
    #[command(flatten)]
    target: Target,
    /// The ids of the jobs.
    #[arg(required = true, value_parser = id)]
    ids: Vec<JobId>,
}

/// The outcome for one job.
struct Outcome {
    word: &'static str,
    text: String,
    done: bool,
}

impl Outcome {
    fn done(word: &'static str) -> Self {
        Self { word, text: word.to_owned(), done: true }
    }

    fn not(word: &'static str, text: impl Into<String>) -> Self {
        Self { word, text: text.into(), done: false }
    }

    fn absent() -> Self {
        Self::not("not_found", "there is no such job")
    }

    fn unknown() -> Self {
        Self::not("unknown", "what became of it is something that this version does not know")
    }
}

impl Ids {
    /// `Yes` if all of them were done.
    fn answer(&self, outcomes: &[(JobId, Outcome)]) -> anyhow::Result<Exit> {
        let machine: Vec<_> =
            outcomes.iter().map(|(id, outcome)| json!({ "id": id.to_string(), "outcome": outcome.word })).collect();
        let human: Vec<_> = outcomes.iter().map(|(id, outcome)| format!("{id}: {}\n", outcome.text)).collect();
        output::answer(self.target.json(), &machine, &human.concat())?;
        Ok(Exit::any(outcomes.iter().all(|(_, outcome)| outcome.done)))
    }
}

fn word(state: JobState) -> String {
    state.to_string().replace('_', " ")
}

const RETRY_HELP: &str = "\
The jobs are queued again, with fresh attempts; the values of completed steps are kept. Exit code 1: at least one could
not be retried, because it has not ended, has completed, does not exist, or its key now belongs to another job.

Example:
  tidelock job ls mail.send --state failed --json | jq -r '.items[].id' | xargs tidelock job retry mail.send";

#[derive(Args)]
#[command(after_help = RETRY_HELP)]
pub(crate) struct Retry {
    #[command(flatten)]
    jobs: Ids,
}

impl Retry {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.jobs.target.open().await?;
        let mut outcomes = Vec::new();
        for id in &self.jobs.ids {
            let outcome = match job.retry(id).await? {
                RetryOutcome::Submitted => Outcome::done("submitted"),
                RetryOutcome::NotRetryable(state) => Outcome::not("not_retryable", format!("it is {}", word(state))),
                RetryOutcome::KeyTaken(other) => {
                    Outcome::not("key_taken", format!("its key belongs to {other} by now"))
                }
                RetryOutcome::NotFound => Outcome::absent(),
                _ => Outcome::unknown(),
            };
            outcomes.push((*id, outcome));
        }
        self.jobs.answer(&outcomes)
    }
}

const CANCEL_HELP: &str = "\
A waiting job never starts; a running one is told to stop, and whatever its handler returns is ignored. Exit code 1: at
least one had already ended, or does not exist.

Example:
  tidelock job cancel report.build 1767225600000000 --reason 'wrong month'";

#[derive(Args)]
#[command(after_help = CANCEL_HELP)]
pub(crate) struct Cancel {
    #[command(flatten)]
    jobs: Ids,
    /// The reason, shown by `show` and to whoever waits for the job.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Cancel {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.jobs.target.open().await?;
        let mut outcomes = Vec::new();
        for id in &self.jobs.ids {
            let mut cancel = job.cancel(id);
            if let Some(reason) = &self.reason {
                cancel = cancel.reason(reason);
            }
            let outcome = match cancel.await? {
                CancelOutcome::Cancelled => Outcome::done("cancelled"),
                CancelOutcome::AlreadyFinished(state) => {
                    Outcome::not("already_finished", format!("it has ended before: {}", word(state)))
                }
                CancelOutcome::NotFound => Outcome::absent(),
                _ => Outcome::unknown(),
            };
            outcomes.push((*id, outcome));
        }
        self.jobs.answer(&outcomes)
    }
}

const REMOVE_HELP: &str = "\
Record, key, steps, events and result are deleted. Running jobs stay: cancel them first. Exit code 1: at least one is
running, or does not exist.

Example:
  tidelock job rm mail.send 1767225600000000";

#[derive(Args)]
#[command(after_help = REMOVE_HELP)]
pub(crate) struct Remove {
    #[command(flatten)]
    jobs: Ids,
}

impl Remove {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.jobs.target.open().await?;
        let mut outcomes = Vec::new();
        for id in &self.jobs.ids {
            let outcome = match job.remove(id).await? {
                Removed::Removed => Outcome::done("removed"),
                Removed::Held => Outcome::not("running", "it runs; cancel it first"),
                _ => Outcome::absent(),
            };
            outcomes.push((*id, outcome));
        }
        self.jobs.answer(&outcomes)
    }
}
