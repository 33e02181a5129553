//! Unfinished messages: show the next ones, send new ones.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tidelock::Raw;
use tidelock::queue::{MessageInfo, Queue, SendRequest};

use super::Target;
use crate::exit::Exit;
use crate::lines;
use crate::output;
use crate::value::{SHOWN, body, count, cut, duration, instant, line, meta, plain};

const PEEK_HELP: &str = "\
Bodies that are not UTF-8 are shown as base64 and marked: `base64:…` for people, \"encoding\":\"base64\" in JSON.
Exit code 1: nothing is ready.

Examples:
  tidelock queue peek mail
  tidelock queue peek mail --max 100 --json | jq -r '.[].body'";

#[derive(Args)]
#[command(after_help = PEEK_HELP)]
pub(crate) struct Peek {
    #[command(flatten)]
    target: Target,
    /// The maximum number to show: 1..=1000.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    max: usize,
}

impl Peek {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, queue) = self.target.open().await?;
        let messages = queue.peek(self.max).await?;
        let machine: Vec<_> = messages.iter().map(machine).collect();
        output::answer(self.target.json(), &machine, &messages.iter().map(human).collect::<String>())?;
        Ok(Exit::any(!messages.is_empty()))
    }
}

fn machine(message: &MessageInfo) -> Value {
    let (body, encoding) = body(&message.raw);
    json!({
        "id": message.id.to_string(),
        "priority": message.priority,
        "ordering_key": message.ordering_key,
        "attempts": message.attempts,
        "enqueued_at": message.enqueued_at,
        "due": message.due,
        "expires_at": message.expires_at,
        "note": message.note,
        "last_error": message.last_error,
        "meta": message.meta,
        "body": body,
        "encoding": encoding,
    })
}

fn human(message: &MessageInfo) -> String {
    let mut parts = vec![format!("{}  sent {}", message.id, instant(message.enqueued_at))];
    if message.attempts > 0 {
        parts.push(format!("  attempts {}", message.attempts));
    }
    if message.priority > 0 {
        parts.push(format!("  priority {}", message.priority));
    }
    if let Some(key) = &message.ordering_key {
        parts.push(format!("  key {}", plain(key)));
    }
    if let Some(error) = &message.last_error {
        parts.push(format!("\n  last error: {}", plain(error)));
    }
    parts.push(format!("\n  {}\n", cut(&line(&message.raw), SHOWN)));
    parts.concat()
}

const SEND_HELP: &str = "\
The body is sent byte for byte: if consumers decode JSON, it has to be JSON. Without a body, stdin is read to its end as
one message; with --lines each line of stdin is a message, and blank lines are skipped. A duplicate of an earlier dedup
key is not a failure: the answer says `duplicate`.

Examples:
  tidelock queue send mail '{\"to\":\"ada@example.com\"}'
  tidelock queue send mail --delay 10m --dedup-key welcome:42 < welcome.json
  tidelock queue send mail --lines < mails.ndjson
  tidelock queue send mail '{}' --meta source=shell --priority 9";

#[derive(Args)]
#[command(after_help = SEND_HELP)]
pub(crate) struct Send {
    #[command(flatten)]
    target: Target,
    /// The body; read from stdin if omitted or `-`.
    #[arg(conflicts_with = "lines")]
    body: Option<String>,
    /// Send each line of stdin as a message.
    #[arg(long, conflicts_with = "dedup_key")]
    lines: bool,
    /// Due after this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<Duration>,
    /// 0..=9, higher first.
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u8>,
    /// Messages with the same key are delivered in order, one at a time.
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Treat as a duplicate if this key was used within the window.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,
    /// The window of --dedup-key [default: 7d].
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "dedup_key", conflicts_with = "lines")]
    dedup_for: Option<Duration>,
    /// Metadata; a value that is not JSON is taken as text.
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
}

impl Send {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, queue) = self.target.open().await?;
        if self.lines {
            return self.send_lines(&queue).await;
        }
        let body = lines::body(self.body.as_deref()).await?;
        let sent = self.request(&queue, body)?.await?;
        let machine = json!({ "id": sent.id.to_string(), "duplicate": sent.duplicate });
        let duplicate = if sent.duplicate { "  duplicate: sent before, nothing was added" } else { "" };
        output::answer(self.target.json(), &machine, &format!("{}{duplicate}\n", sent.id))?;
        Ok(Exit::Yes)
    }

    fn request(&self, queue: &Queue<Raw>, body: Vec<u8>) -> anyhow::Result<SendRequest<Raw>> {
        let mut request = queue.send(&Raw(body));
        if let Some(delay) = self.delay {
            request = request.delay(delay);
        }
        if let Some(priority) = self.priority {
            request = request.priority(priority);
        }
        if let Some(key) = &self.ordering_key {
            request = request.ordering_key(key);
        }
        if let Some(key) = &self.dedup_key {
            request = request.dedup_key(key);
        }
        if let Some(window) = self.dedup_for {
            request = request.dedup_for(window);
        }
        for pair in &self.meta {
            let (name, value) = meta(pair)?;
            request = request.meta(name, &value);
        }
        Ok(request)
    }

    async fn send_lines(&self, queue: &Queue<Raw>) -> anyhow::Result<Exit> {
        let send = async |requests| Ok(queue.send_many(requests).await?.len());
        let sent = lines::send_each("messages were sent", |body| self.request(queue, body), send).await?;
        output::answer(self.target.json(), &json!({ "sent": sent }), &format!("{} messages sent\n", count(sent)))?;
        Ok(Exit::any(sent > 0))
    }
}
