//! One job, with everything that is stored about it.

use clap::Args;
use serde_json::{Value, json};
use tidelock::job::{JobId, JobInfo};

use super::{Target, id, list};
use crate::exit::Exit;
use crate::output;
use crate::value::{SHOWN, body, cut, instant, line, plain};

const HELP: &str = "\
Input, result and progress that are not UTF-8 are shown as base64 and marked. Exit code 1: there is no such job.

Examples:
  tidelock job show mail.send 1767225600000000
  tidelock job show mail.send 1767225600000000 --json | jq -r .result.body";

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Show {
    #[command(flatten)]
    target: Target,
    /// The id of the job.
    #[arg(value_parser = id)]
    id: JobId,
}

impl Show {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        let info = job.get(self.id).await?;
        let human = info.as_ref().map_or_else(|| "there is no such job\n".to_owned(), human);
        output::answer(self.target.json(), &info.as_ref().map(machine), &human)?;
        Ok(Exit::any(info.is_some()))
    }
}

/// Bytes as JSON.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    let (body, encoding) = body(bytes);
    json!({ "body": body, "encoding": encoding })
}

fn machine(info: &JobInfo) -> Value {
    let mut shown = list::machine(&info.summary);
    shown["input"] = bytes(info.input.as_bytes());
    shown["result"] = info.result.as_ref().map_or(Value::Null, |result| bytes(result.as_bytes()));
    shown["last_failures"] = json!(info.last_failures);
    shown
}

fn human(info: &JobInfo) -> String {
    let mut lines = Vec::new();
    let mut row = |name: &str, text: String| lines.push(format!("{name:<11}{text}\n"));
    row("id", info.id.to_string());
    row("state", json!(info.state).as_str().unwrap_or_default().to_owned());
    row(
        "attempt",
        format!(
            "{}, {} of {} failures, {} of {} crashes",
            info.attempt, info.failures, info.attempts, info.crashes, info.max_crashes
        ),
    );
    row("submitted", instant(info.submitted_at));
    let times = [("due", Some(info.due)), ("started", info.started_at), ("finished", info.finished_at)];
    for (name, at) in times.into_iter().chain([("kept until", info.kept_until)]) {
        if let Some(at) = at {
            row(name, instant(at));
        }
    }
    for (name, text) in [("dedup key", &info.dedup_key), ("order key", &info.ordering_key)] {
        if let Some(text) = text {
            row(name, plain(text));
        }
    }
    if let Some(lease) = &info.lease {
        row("at", format!("{} until {}", plain(&lease.worker), instant(lease.end)));
    }
    if let Some(reason) = &info.cancel_reason {
        row("cancelled", plain(reason));
    }
    for failure in &info.last_failures {
        let text = cut(&plain(&failure.message), SHOWN);
        row(
            "failure",
            format!("{} of run {}, {}: {text}", failure.code.as_str(), failure.attempt, instant(failure.at)),
        );
    }
    row("input", cut(&line(info.input.as_bytes()), SHOWN));
    for (name, value) in [("progress", &info.progress), ("result", &info.result)] {
        if let Some(value) = value {
            row(name, cut(&line(value.as_bytes()), SHOWN));
        }
    }
    lines.concat()
}
