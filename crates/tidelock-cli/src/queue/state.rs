//! A queue as a whole: its statistics, its pause and its limits.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidelock::queue::QueueStats;

use super::Target;
use crate::exit::Exit;
use crate::limits::{Concurrency, Rate, limited};
use crate::output;
use crate::value::{about, count, duration, instant, paused};

const STATS_HELP: &str = "\
ready      due; blocked ones wait for an earlier message with the same ordering key
delayed    waiting for their due time, or for another attempt
leased     held by a consumer
dead       dead letters
accepted   all messages ever sent, without duplicates
settled    acknowledged, removed, or ended as dead letters
At every instant: ready + delayed + leased + dead = accepted - settled. A queue that was never used is all zeros.

Examples:
  tidelock queue stats mail
  tidelock queue stats mail --json | jq .oldest_ready_age_ms";

#[derive(Args)]
#[command(after_help = STATS_HELP)]
pub(crate) struct Stats {
    #[command(flatten)]
    target: Target,
}

impl Stats {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, queue) = self.target.open().await?;
        let stats = queue.stats().await?;
        output::answer(self.target.json(), &machine(&stats), &human(&stats))?;
        Ok(Exit::Yes)
    }
}

fn machine(stats: &QueueStats) -> serde_json::Value {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "ready": stats.ready,
        "blocked": stats.blocked,
        "delayed": stats.delayed,
        "leased": stats.leased,
        "dead": stats.dead,
        "accepted": stats.accepted,
        "settled": stats.settled,
        "oldest_ready_age_ms": stats.oldest_ready_age.map(millis),
        "next_due": stats.next_due,
        "paused": stats.paused.as_ref().map(|pause| json!({ "until": pause.until, "reason": pause.reason })),
        "rate_limit": stats.rate_limit,
        "concurrency_limit": stats.concurrency_limit,
        "settling": stats.settling,
    })
}

fn human(stats: &QueueStats) -> String {
    let mut lines = Vec::new();
    let mut row = |name: &str, number: u64, remark: String| {
        lines.push(format!("{name:<10}{:>14}{remark}\n", count(number)));
    };
    let blocked = if stats.blocked > 0 { format!("  ({} blocked)", count(stats.blocked)) } else { String::new() };
    let oldest = stats.oldest_ready_age.map(|age| format!("  (oldest for {})", about(age))).unwrap_or_default();
    row("ready", stats.ready, oldest + &blocked);
    let next = stats.next_due.map(|due| format!("  (next at {})", instant(due))).unwrap_or_default();
    row("delayed", stats.delayed, next);
    row("leased", stats.leased, String::new());
    row("dead", stats.dead, String::new());
    row("accepted", stats.accepted, String::new());
    row("settled", stats.settled, String::new());
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
Sends, acknowledgements and due times continue; only delivery stops. A second pause replaces end and reason.
Exit code 1: it was already paused in the same way.

Examples:
  tidelock queue pause mail --reason 'provider down'
  tidelock queue pause mail --for 10m";

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
        let (_tide, queue) = self.target.open().await?;
        let mut pause = queue.pause();
        if let Some(at_most) = self.at_most {
            pause = pause.for_at_most(at_most);
        }
        if let Some(reason) = &self.reason {
            pause = pause.reason(reason);
        }
        output::changed(
            self.target.json(),
            &self.target.queue,
            pause.await?,
            ["paused", "was paused just so already", "there is no such queue"],
        )
    }
}

const RESUME_HELP: &str = "\
Exit code 1: it was not paused.

Example:
  tidelock queue resume mail";

#[derive(Args)]
#[command(after_help = RESUME_HELP)]
pub(crate) struct Resume {
    #[command(flatten)]
    target: Target,
}

impl Resume {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, queue) = self.target.open().await?;
        output::changed(
            self.target.json(),
            &self.target.queue,
            queue.resume().await?,
            ["resumed", "was not paused", "there is no such queue"],
        )
    }
}

const RATE_LIMIT_HELP: &str = "\
At most N messages are delivered in each window, by all processes together; receivers wait meanwhile.
The window begins with the first one. Exit code 1: it was already limited in the same way, or not limited.

Examples:
  tidelock queue rate-limit mail 100
  tidelock queue rate-limit mail 10 --per 100ms
  tidelock queue rate-limit mail --remove";

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
        let (_tide, queue) = self.target.open().await?;
        let changed = match self.rate.wanted() {
            Some((limit, per)) => queue.set_rate_limit(limit, per).await?,
            None => queue.remove_rate_limit().await?,
        };
        output::changed(self.target.json(), &self.target.queue, changed, self.rate.words("there is no such queue"))
    }
}

const CONCURRENCY_LIMIT_HELP: &str = "\
At most N messages are held at once, by all processes together; receivers wait meanwhile.
What is held already stays held. Exit code 1: it was already limited in the same way, or not limited.

Examples:
  tidelock queue concurrency-limit mail 10
  tidelock queue concurrency-limit mail --remove";

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
        let (_tide, queue) = self.target.open().await?;
        let changed = match self.concurrency.wanted() {
            Some(limit) => queue.set_concurrency_limit(limit).await?,
            None => queue.remove_concurrency_limit().await?,
        };
        let words = self.concurrency.words("there is no such queue");
        output::changed(self.target.json(), &self.target.queue, changed, words)
    }
}
