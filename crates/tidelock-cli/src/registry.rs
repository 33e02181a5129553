//! `tidelock registry …`: look at the records of a registry, and watch them.

use clap::{Args, Subcommand};
use serde_json::json;
use tidelock::registry::Registry;
use tidelock::{PageToken, Raw, Tidelock};

use crate::exit::Exit;
use crate::output;
use crate::records::{self, Store, Watch};
use crate::server::RecordServer;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Show the records in order of their keys.
    Ls(List),
    /// Show one record.
    Get(Get),
    /// Show the records, and then every change.
    Watch(Follow),
}

/// Which registry.
#[derive(Args)]
struct Target {
    /// The name of the registry.
    registry: String,
    #[command(flatten)]
    server: RecordServer,
}

impl Target {
    async fn open(&self) -> anyhow::Result<(Tidelock, Registry<Raw>)> {
        let tide = self.server.open().await?;
        let registry = tide.registry::<Raw>(&self.registry).build()?;
        Ok((tide, registry))
    }

    fn json(&self) -> bool {
        self.server.json()
    }
}

pub(crate) async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls(verb) => verb.run().await,
        Verb::Get(verb) => verb.run().await,
        Verb::Watch(verb) => verb.run().await,
    }
}

const LIST_HELP: &str = "\
A prefix is a path that ends in `/`. In JSON, pass `next` to --after for the next page (null at the end);
`cursor` is the position of the log at the instant of the page. An empty list is an answer: exit code 0.

Examples:
  tidelock registry ls services
  tidelock registry ls services --prefix apps/mail/ --json | jq -r '.items[].key'
  tidelock registry ls services --expired                  records that expired recently";

#[derive(Args)]
#[command(after_help = LIST_HELP)]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
    /// Only keys under this path, which ends in `/`.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Show the expired records that are still kept, instead of the active ones.
    #[arg(long)]
    expired: bool,
    /// The maximum number to show: 1..=1000.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Continue after an earlier page: its `next`.
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, registry) = self.target.open().await?;
        let mut list = registry.list().limit(self.limit).prefix(self.prefix.as_deref().unwrap_or_default());
        if self.expired {
            list = list.expired();
        }
        if let Some(after) = &self.after {
            list = list.after(&after.parse::<PageToken>()?);
        }
        let page = list.await?;
        let mut machine = records::machine_page(&page.items, &page.cursor);
        machine["next"] = json!(page.next);
        let more = page.next.as_ref().map(|next| format!("more: --after {next}\n"));
        let human: String = page.items.iter().map(records::human).chain(more).collect();
        output::answer(self.target.json(), &machine, &human)?;
        Ok(Exit::Yes)
    }
}

const GET_HELP: &str = "\
A value that is not UTF-8 is shown as base64 and marked: `base64:…` for people, \"encoding\":\"base64\" in JSON.
Exit code 1: there is no such record.

Examples:
  tidelock registry get flags apps/mail/dark
  tidelock registry get flags apps/mail/dark --json | jq -r .body";

#[derive(Args)]
#[command(after_help = GET_HELP)]
pub(crate) struct Get {
    #[command(flatten)]
    target: Target,
    /// The key.
    key: String,
    /// Show it even if it has expired, while it is still kept.
    #[arg(long)]
    expired: bool,
}

impl Get {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, registry) = self.target.open().await?;
        let mut get = registry.get(&self.key);
        if self.expired {
            get = get.include_expired();
        }
        let entry = get.await?;
        let human = entry.as_ref().map_or_else(|| "there is no such record\n".to_owned(), records::human_entry);
        output::answer(self.target.json(), &entry.as_ref().map(records::machine_entry), &human)?;
        Ok(Exit::any(entry.is_some()))
    }
}

const WATCH_HELP: &str = "\
Shows the current records and then each change, with nothing missed in between. With --json each line is an object; its
`kind` is `listed` for a current record, `following` once all are shown, then `upsert`, `touch`, `delete`, `expire`, or
`overflow` if changes were missed because they are no longer kept: all records are then listed again. A prefix is a path
that ends in `/`. Runs until Ctrl-C (exit code 0).

Examples:
  tidelock registry watch services
  tidelock registry watch services --prefix apps/mail/ --json | jq -r 'select(.kind == \"expire\").key'
  tidelock registry watch flags --key apps/mail/dark --limit 1";

#[derive(Args)]
#[command(after_help = WATCH_HELP)]
pub(crate) struct Follow {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    watch: Watch,
}

impl Follow {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, registry) = self.target.open().await?;
        self.watch.run(&Store::Registry(registry), self.target.json()).await
    }
}
