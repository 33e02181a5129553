//! Listing the jobs of one state.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tidelock::PageToken;
use tidelock::job::{JobFilter, JobSummary};

use super::Target;
use crate::exit::Exit;
use crate::output;
use crate::value::{SHOWN, cut, instant, plain, table};

const HELP: &str = "\
Ready jobs are listed in the order in which they will start, those waiting for another job with their ordering key last;
delayed ones by due time; running ones by start; ended ones newest first. Exit code 1: there are none.

Examples:
  tidelock job ls mail.send --state failed
  tidelock job ls mail.send --state running --json | jq -r '.items[].id'";

/// The state of a job, as it is listed.
#[derive(Clone, Copy, ValueEnum)]
enum State {
    Ready,
    Delayed,
    Running,
    Completed,
    Failed,
    Cancelled,
    TimedOut,
}

impl From<State> for JobFilter {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Delayed => Self::Delayed,
            State::Running => Self::Running,
            State::Completed => Self::Completed,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
            State::TimedOut => Self::TimedOut,
        }
    }
}

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
    /// Which jobs.
    #[arg(long, value_enum, default_value = "ready")]
    state: State,
    /// The maximum number to show: 1..=1000.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Continue after a page: the `next` that it showed.
    #[arg(long, value_name = "TOKEN")]
    after: Option<PageToken>,
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        let mut list = job.list(self.state.into()).limit(self.limit);
        if let Some(after) = &self.after {
            list = list.after(after);
        }
        let page = list.await?;
        let items: Vec<_> = page.items.iter().map(machine).collect();
        let mut human = human(&page.items);
        if let Some(next) = &page.next {
            human = format!("{human}more: --after {next}\n");
        }
        output::answer(self.target.json(), &json!({ "items": items, "next": page.next }), &human)?;
        Ok(Exit::any(!page.items.is_empty()))
    }
}

/// A job as JSON, for listings and `show`.
pub(super) fn machine(job: &JobSummary) -> Value {
    let progress = job.progress.as_ref().map(|progress| super::show::bytes(progress.as_bytes()));
    let lease = job.lease.as_ref().map(|lease| json!({ "worker": lease.worker, "end": lease.end }));
    json!({
        "id": job.id.to_string(),
        "state": job.state,
        "blocked": job.blocked,
        "priority": job.priority,
        "attempt": job.attempt,
        "failures": job.failures,
        "attempts": job.attempts,
        "crashes": job.crashes,
        "max_crashes": job.max_crashes,
        "reschedules": job.reschedules,
        "submitted_at": job.submitted_at,
        "due": job.due,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "expires_at": job.expires_at,
        "kept_until": job.kept_until,
        "dedup_key": job.dedup_key,
        "ordering_key": job.ordering_key,
        "meta": job.meta,
        "lease": lease,
        "steps": job.steps,
        "progress": progress,
        "last_failure": job.last_failure,
        "cancel_reason": job.cancel_reason,
    })
}

fn human(jobs: &[JobSummary]) -> String {
    if jobs.is_empty() {
        return "there are none\n".to_owned();
    }
    let head = ["id", "attempt", "failures", "when", ""].map(str::to_owned).to_vec();
    let rows = jobs.iter().map(|job| {
        let at = job.finished_at.or(job.lease.as_ref().and(job.started_at)).unwrap_or(job.due);
        let failures = format!("{}/{}", job.failures, job.attempts);
        vec![job.id.to_string(), job.attempt.to_string(), failures, instant(at), remark(job)]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    table(&rows, 1..=2)
}

fn remark(job: &JobSummary) -> String {
    let failure = job.last_failure.as_ref();
    if let Some(reason) = &job.cancel_reason {
        return cut(&plain(reason), SHOWN);
    }
    if let Some(lease) = &job.lease {
        return format!("at {} until {}", plain(&lease.worker), instant(lease.end));
    }
    if let Some(failure) = failure {
        return format!("{}: {}", failure.code.as_str(), cut(&plain(&failure.message), SHOWN));
    }
    if job.blocked { "behind another job of its ordering key".to_owned() } else { String::new() }
}
