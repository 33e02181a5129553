//! Following one job.

use clap::Args;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tidelock::job::{Item, JobCursor, JobEvent, JobEventKind, JobId, Start};

use super::{Target, id, show};
use crate::exit::Exit;
use crate::value::{SHOWN, count, cut, instant, line, plain};
use crate::{output, stop};

const HELP: &str = "\
Prints one line per event, from the first kept one until the job has ended, or until Ctrl-C. With --json each line is an
object; its `kind` is that of the event, or `gap` for events that are no longer kept. Exit code 1: there is no such job.

Examples:
  tidelock job events mail.send 1767225600000000
  tidelock job events mail.send 1767225600000000 --from latest --json | jq -r .kind";

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Events {
    #[command(flatten)]
    target: Target,
    /// The id of the job.
    #[arg(value_parser = id)]
    id: JobId,
    /// Where to begin: `earliest`, `latest`, or the cursor of an event.
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = start)]
    from: Start,
}

impl Events {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        stop::until_signal(self.follow()).await
    }

    async fn follow(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        if job.get(self.id).await?.is_none() {
            output::answer(self.target.json(), &Value::Null, "there is no such job\n")?;
            return Ok(Exit::No);
        }
        let mut items = job.events(self.id).follow().start(self.from).await?;
        while let Some(item) = items.next().await {
            let item = item?;
            output::answer(self.target.json(), &machine(&item), &human(&item))?;
        }
        Ok(Exit::Yes)
    }
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => text
            .parse::<JobCursor>()
            .map(Start::After)
            .map_err(|_| "expected earliest, latest, or the cursor of an event".to_owned()),
    }
}

fn machine(item: &Item<JobEvent>) -> Value {
    match item {
        Item::Gap(gap) => json!({ "kind": "gap", "from": gap.from, "to": gap.to, "missed": gap.missed }),
        Item::Event(event) => {
            let mut shown = of_kind(&event.kind);
            shown["at"] = json!(event.at);
            shown["cursor"] = json!(event.cursor);
            shown
        }
    }
}

fn of_kind(kind: &JobEventKind) -> Value {
    match kind {
        JobEventKind::Submitted => json!({ "kind": "submitted" }),
        JobEventKind::Started { attempt, fence, worker } => {
            json!({ "kind": "started", "attempt": attempt, "fence": fence, "worker": worker })
        }
        JobEventKind::Heartbeat { attempt } => json!({ "kind": "heartbeat", "attempt": attempt }),
        JobEventKind::Progress { value } => json!({ "kind": "progress", "value": show::bytes(value.as_bytes()) }),
        JobEventKind::Step { id } => json!({ "kind": "step", "id": id }),
        JobEventKind::Retry { attempt, reason, message, next_at } => {
            json!({ "kind": "retry", "attempt": attempt, "reason": reason, "message": message, "next_at": next_at })
        }
        JobEventKind::Completed => json!({ "kind": "completed" }),
        JobEventKind::Failed { code, message, attempt } => {
            json!({ "kind": "failed", "code": code, "message": message, "attempt": attempt })
        }
        JobEventKind::Cancelled { reason } => json!({ "kind": "cancelled", "reason": reason }),
        _ => json!({ "kind": "unknown" }),
    }
}

fn human(item: &Item<JobEvent>) -> String {
    match item {
        Item::Gap(gap) => format!("gap: {} events are no longer kept\n", count(gap.missed)),
        Item::Event(event) => format!("{}  {}\n", instant(event.at), told(&event.kind)),
    }
}

fn told(kind: &JobEventKind) -> String {
    let text = |text: &str| cut(&plain(text), SHOWN);
    match kind {
        JobEventKind::Submitted => "submitted".to_owned(),
        JobEventKind::Started { attempt, worker, .. } => format!("run {attempt} started at {}", text(worker)),
        JobEventKind::Heartbeat { attempt } => format!("heartbeat of run {attempt}"),
        JobEventKind::Progress { value } => format!("progress {}", cut(&line(value.as_bytes()), SHOWN)),
        JobEventKind::Step { id } => format!("step {} done", text(id)),
        JobEventKind::Retry { attempt, reason, message, next_at } => {
            let reason = json!(reason).as_str().unwrap_or_default().replace('_', " ");
            let message = if message.is_empty() { String::new() } else { format!(" ({})", text(message)) };
            format!("run {attempt} {reason}{message}, again at {}", instant(*next_at))
        }
        JobEventKind::Completed => "completed".to_owned(),
        JobEventKind::Failed { code, message, .. } => format!("failed, {}: {}", code.as_str(), text(message)),
        JobEventKind::Cancelled { reason } => match reason {
            Some(reason) => format!("cancelled: {}", text(reason)),
            None => "cancelled".to_owned(),
        },
        _ => "something that this version does not know".to_owned(),
    }
}
