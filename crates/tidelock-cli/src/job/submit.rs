//! Submitting jobs.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidelock::Raw;

use super::Target;
use crate::exit::Exit;
use crate::lines;
use crate::output;
use crate::value::{duration, meta};

const HELP: &str = "\
The input is sent byte for byte: if workers decode JSON, it has to be JSON. Without an input, stdin is read to its end. A
duplicate of an earlier dedup key is not a failure: the answer says `duplicate`.

Examples:
  tidelock job submit mail.send '{\"to\":\"ada@example.com\"}'
  tidelock job submit mail.send --delay 10m --dedup-key welcome:42 < welcome.json";

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Submit {
    #[command(flatten)]
    target: Target,
    /// The input; read from stdin if omitted or `-`.
    input: Option<String>,
    /// Due after this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    delay: Option<Duration>,
    /// 0..=9, higher first.
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u8>,
    /// Jobs with the same key run in order, one at a time.
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Return the first job if this key was used before.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,
    /// The number of failed runs that ends the job [default: 1].
    #[arg(long, value_name = "COUNT")]
    attempts: Option<u32>,
    /// The longest run.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    run_timeout: Option<Duration>,
    /// Metadata; a value that is not JSON is taken as text.
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
}

impl Submit {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, job) = self.target.open().await?;
        let input = lines::body(self.input.as_deref()).await?;
        let mut request = job.submit(&Raw(input));
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
        if let Some(attempts) = self.attempts {
            request = request.attempts(attempts);
        }
        if let Some(timeout) = self.run_timeout {
            request = request.timeout(timeout);
        }
        for pair in &self.meta {
            let (name, value) = meta(pair)?;
            request = request.meta(name, &value);
        }
        let submitted = request.await?;
        let machine = json!({ "id": submitted.id.to_string(), "duplicate": submitted.duplicate });
        let duplicate = if submitted.duplicate { "  duplicate: submitted before, nothing was added" } else { "" };
        output::answer(self.target.json(), &machine, &format!("{}{duplicate}\n", submitted.id))?;
        Ok(Exit::Yes)
    }
}
