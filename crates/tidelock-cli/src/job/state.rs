//! All jobs of a name: their statistics, their pause and their limits.

use std::time::Duration;

use clap::Args;
use tidelock::job::JobStats;

use super::Target;
use crate::exit::Exit;
use crate::limits::{Concurrency, Rate, limited};
use crate::output;
use crate::value::{about, count, duration, instant, paused};

const STATS_HELP: &str = "\
ready      due; blocked ones wait for another job with the same ordering key
delayed    waiting for their due time, or for another attempt
running    being run by a worker
The other states count jobs that are still kept; the totals count all jobs ever. A name that was never used is all zeros.

Examples:
  tidelock job stats mail.send
  tidelock job stats mail.send --json | jq .totals.failed";

#[derive(Args)]
#[command(after_help = STATS_HELP)]
pub(crate) struct Stats {
    #[command(flatten)]
    target: Target,
}

impl Stats {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        let stats = job.stats().await?;
        output::answer(self.target.json(), &stats, &human(&stats))?;
        Ok(Exit::Yes)
    }
}

fn human(stats: &JobStats) -> String {
    let mut lines = Vec::new();
    let mut row = |name: &str, number: u64, remark: String| {
        lines.push(format!("{name:<10}{:>14}{remark}\n", count(number)));
    };
    let blocked = if stats.blocked > 0 { format!("  ({} blocked)", count(stats.blocked)) } else { String::new() };
    let oldest = stats.oldest_ready_age.map(|age| format!("  (oldest for {})", about(age))).unwrap_or_default();
    row("ready", stats.ready, oldest + &blocked);
    let next = stats.next_due.map(|due| format!("  (next at {})", instant(due))).unwrap_or_default();
    row("delayed", stats.delayed, next);
    row("running", stats.running, String::new());
    let totals = &stats.totals;
    let ends = [
        ("completed", stats.completed, totals.completed),
        ("failed", stats.failed, totals.failed),
        ("cancelled", stats.cancelled, totals.cancelled),
        ("timed out", stats.timed_out, totals.timed_out),
    ];
    for (name, kept, ever) in ends {
        row(name, kept, if ever > kept { format!("  ({} in all)", count(ever)) } else { String::new() });
    }
    row("submitted", totals.submitted, "  in all".to_owned());
    for (name, number) in [("retries", totals.retries), ("crashes", totals.crashes), ("stale", totals.stale)] {
        row(name, number, "  in all".to_owned());
    }
    if let Some(pause) = &stats.paused {
        lines.push(paused(pause));
    }
    lines.push(limited(stats.rate_limit.as_ref(), stats.concurrency_limit));
    if stats.settling {
        lines.push("more is overdue than one look carries out; look again\n".to_owned());
    }
    lines.concat()
}

const PAUSE_HELP: &str = "\
Submits, running jobs and due times continue; only starts stop. A second pause replaces end and reason.
Exit code 1: it was already paused in the same way.

Examples:
  tidelock job pause mail.send --reason 'provider down'
  tidelock job pause mail.send --for 10m";

#[derive(Args)]
#[command(after_help = PAUSE_HELP)]
pub(crate) struct Pause {
    #[command(flatten)]
    target: Target,
    /// End the pause after this time.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    at_most: Option<Duration>,
    /// The reason, shown by `stats`.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Pause {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        let mut pause = job.pause();
        if let Some(at_most) = self.at_most {
            pause = pause.for_at_most(at_most);
        }
        if let Some(reason) = &self.reason {
            pause = pause.reason(reason);
        }
        output::changed(
            self.target.json(),
            &self.target.job,
            pause.await?,
            ["paused", "was paused just so already", "there is no such job"],
        )
    }
}

const RESUME_HELP: &str = "\
Exit code 1: it was not paused.

Example:
  tidelock job resume mail.send";

#[derive(Args)]
#[command(after_help = RESUME_HELP)]
pub(crate) struct Resume {
    #[command(flatten)]
    target: Target,
}

impl Resume {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        output::changed(
            self.target.json(),
            &self.target.job,
            job.resume().await?,
            ["resumed", "was not paused", "there is no such job"],
        )
    }
}

const RATE_LIMIT_HELP: &str = "\
At most N runs start in each window, in all processes together; jobs stay ready meanwhile.
The window begins with the first one. Exit code 1: it was already limited in the same way, or not limited.

Examples:
  tidelock job rate-limit mail.send 100
  tidelock job rate-limit mail.send 10 --per 100ms
  tidelock job rate-limit mail.send --remove";

#[derive(Args)]
#[command(after_help = RATE_LIMIT_HELP)]
pub(crate) struct RateLimit {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    rate: Rate,
}

impl RateLimit {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        let changed = match self.rate.wanted() {
            Some((limit, per)) => job.set_rate_limit(limit, per).await?,
            None => job.remove_rate_limit().await?,
        };
        output::changed(self.target.json(), &self.target.job, changed, self.rate.words("there is no such job"))
    }
}

const CONCURRENCY_LIMIT_HELP: &str = "\
At most N jobs run at once, in all processes together; others stay ready meanwhile.
What is held already stays held. Exit code 1: it was already limited in the same way, or not limited.

Examples:
  tidelock job concurrency-limit mail.send 10
  tidelock job concurrency-limit mail.send --remove";

#[derive(Args)]
#[command(after_help = CONCURRENCY_LIMIT_HELP)]
pub(crate) struct ConcurrencyLimit {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    concurrency: Concurrency,
}

impl ConcurrencyLimit {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        let changed = match self.concurrency.wanted() {
            Some(limit) => job.set_concurrency_limit(limit).await?,
            None => job.remove_concurrency_limit().await?,
        };
        let words = self.concurrency.words("there is no such job");
        output::changed(self.target.json(), &self.target.job, changed, words)
    }
}
