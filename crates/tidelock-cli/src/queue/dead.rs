//! Dead letters: list, requeue and purge.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tidelock::queue::{DeadLetter, DeadReason, MessageId};
use tidelock::{PageToken, Raw};

use super::Target;
use crate::exit::{Exit, Wrong};
use crate::output;
use crate::value::{SHOWN, body, count, cut, duration, instant, line, plain};

/// Why a message is a dead letter, as said on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Reason {
    Expired,
    MaxDeliveriesExceeded,
    Rejected,
    Undecodable,
}

impl From<Reason> for DeadReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Expired => Self::Expired,
            Reason::MaxDeliveriesExceeded => Self::MaxDeliveriesExceeded,
            Reason::Rejected => Self::Rejected,
            Reason::Undecodable => Self::Undecodable,
        }
    }
}

const LIST_HELP: &str = "\
The raw bytes of each message are kept, with the reason. In JSON, pass `next` to --after for the next page; it is null at
the end. Exit code 1: there are none.

Examples:
  tidelock queue dead-letters mail
  tidelock queue dead-letters mail --reason rejected --json | jq -r '.items[] | [.id, .last_error] | @tsv'";

#[derive(Args)]
#[command(after_help = LIST_HELP)]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
    /// Only those with this reason.
    #[arg(long)]
    reason: Option<Reason>,
    /// The maximum number to show: 1..=1000.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Continue after an earlier page: its `next`.
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, queue) = self.target.open().await?;
        let mut list = queue.dead_letters().list().limit(self.limit);
        if let Some(reason) = self.reason {
            list = list.reason(reason.into());
        }
        if let Some(after) = &self.after {
            list = list.after(&after.parse::<PageToken>()?);
        }
        let page = list.await?;
        let items: Vec<_> = page.items.iter().map(machine).collect();
        let more = page.next.as_ref().map(|next| format!("more: --after {next}\n"));
        let human: String = page.items.iter().map(human).chain(more).collect();
        output::answer(self.target.json(), &json!({ "items": items, "next": page.next }), &human)?;
        Ok(Exit::any(!page.items.is_empty()))
    }
}

fn machine(letter: &DeadLetter<Raw>) -> Value {
    let (body, encoding) = body(&letter.raw);
    json!({
        "id": letter.id.to_string(),
        "reason": letter.reason,
        "note": letter.note,
        "last_error": letter.last_error,
        "attempts": letter.attempts,
        "enqueued_at": letter.enqueued_at,
        "moved_at": letter.moved_at,
        "kept_until": letter.kept_until,
        "priority": letter.priority,
        "ordering_key": letter.ordering_key,
        "meta": letter.meta,
        "body": body,
        "encoding": encoding,
    })
}

fn human(letter: &DeadLetter<Raw>) -> String {
    let (reason, moved) = (letter.reason, instant(letter.moved_at));
    let said = [("note", &letter.note), ("error", &letter.last_error)];
    let said = said.into_iter().filter_map(|(name, text)| Some((name, cut(&plain(text.as_ref()?), SHOWN))));
    let said = said.map(|(name, text)| format!("  {name}: {text}\n")).collect::<Vec<_>>().concat();
    let body = cut(&line(&letter.raw), SHOWN);
    format!("{}  {reason} after {} attempts  {moved}\n{said}  {body}\n", letter.id, letter.attempts)
}

const REQUEUE_HELP: &str = "\
A requeued message keeps its id, body, metadata, priority and ordering key, and its attempts start from 0.
Exit code 1: nothing was requeued.

Examples:
  tidelock queue requeue mail 1764000000000123 1764000000000124
  tidelock queue requeue mail --all --reason max_deliveries_exceeded --delay 30s
  tidelock queue requeue mail --all --limit 100           the 100 oldest";

#[derive(Args)]
#[command(after_help = REQUEUE_HELP)]
pub(crate) struct Requeue {
    #[command(flatten)]
    target: Target,
    /// The ids of dead letters.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All of them, oldest first.
    #[arg(long)]
    all: bool,
    /// With --all: only those with this reason.
    #[arg(long, conflicts_with = "ids")]
    reason: Option<Reason>,
    /// With --all: the maximum number.
    #[arg(long, value_name = "COUNT", conflicts_with = "ids")]
    limit: Option<u64>,
    /// Due after this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<Duration>,
}

impl Requeue {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        // All ids are parsed first, so that a mistake in the last one changes nothing.
        let ids = self.ids.iter().map(|text| id(text)).collect::<Result<Vec<_>, _>>()?;
        let (_tide, queue) = self.target.open().await?;
        let delay = self.delay.unwrap_or_default();
        let mut requeued = 0;
        for id in ids {
            requeued += u64::from(queue.dead_letters().requeue(id).delay(delay).await?);
        }
        if self.all {
            let mut all = queue.dead_letters().requeue_all().delay(delay);
            if let Some(reason) = self.reason {
                all = all.reason(reason.into());
            }
            if let Some(limit) = self.limit {
                all = all.limit(limit);
            }
            requeued = all.await?;
        }
        told(&self.target, "requeued", requeued)
    }
}

const PURGE_HELP: &str = "\
Removes the ready and delayed messages, or with --dead the dead letters. Messages held by consumers stay. This cannot be
undone, so it requires --yes. Exit code 1: there was nothing to remove.

Examples:
  tidelock queue purge mail --yes
  tidelock queue purge mail --dead --reason rejected --yes";

#[derive(Args)]
#[command(after_help = PURGE_HELP)]
pub(crate) struct Purge {
    #[command(flatten)]
    target: Target,
    /// Remove dead letters.
    #[arg(long)]
    dead: bool,
    /// With --dead: only those with this reason.
    #[arg(long, requires = "dead")]
    reason: Option<Reason>,
    /// Confirm the removal.
    #[arg(long, required = true)]
    yes: bool,
}

impl Purge {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, queue) = self.target.open().await?;
        let removed = if self.dead {
            let mut purge = queue.dead_letters().purge();
            if let Some(reason) = self.reason {
                purge = purge.reason(reason.into());
            }
            purge.await?
        } else {
            queue.purge().await?
        };
        told(&self.target, "removed", removed)
    }
}

fn id(text: &str) -> Result<MessageId, Wrong> {
    text.parse().map_err(|_| Wrong(format!("{text:?} is no message id: expected a decimal number")))
}

fn told(target: &Target, done: &str, number: u64) -> anyhow::Result<Exit> {
    output::answer(target.json(), &json!({ done: number }), &format!("{} {done}\n", count(number)))?;
    Ok(Exit::any(number > 0))
}
