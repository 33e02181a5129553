//! `tidelock ephemeral …`: look at the records of an ephemeral store, and watch them.

use clap::{Args, Subcommand};
use tidelock::ephemeral::Ephemeral;
use tidelock::{Raw, SECOND, Tidelock};

use crate::exit::Exit;
use crate::output;
use crate::records::{self, Store, Watch};
use crate::server::RecordServer;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Show the live records, in order of their keys.
    Ls(List),
    /// Show the records, and then every change.
    Watch(Follow),
}

/// Which store.
#[derive(Args)]
struct Target {
    /// The name of the ephemeral store.
    store: String,
    #[command(flatten)]
    server: RecordServer,
}

impl Target {
    async fn open(&self) -> anyhow::Result<(Tidelock, Ephemeral<Raw>)> {
        let tide = self.server.open().await?;
        // A handle needs a default ttl; this one stores nothing.
        let store = tide.ephemeral::<Raw>(&self.store).ttl(SECOND).build()?;
        Ok((tide, store))
    }

    fn json(&self) -> bool {
        self.server.json()
    }
}

pub(crate) async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls(verb) => verb.run().await,
        Verb::Watch(verb) => verb.run().await,
    }
}

const LIST_HELP: &str = "\
Shows all records at one instant; in JSON, `cursor` is the position of the log at that instant. A prefix is any text that
keys begin with: `room-1` finds `room-1/ada` and `room-12/bob`. An empty list is an answer: exit code 0.

Examples:
  tidelock ephemeral ls presence
  tidelock ephemeral ls presence --prefix room-1/ --json | jq '.items | length'";

#[derive(Args)]
#[command(after_help = LIST_HELP)]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
    /// Only keys with this prefix.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let (_tide, store) = self.target.open().await?;
        let snapshot = store.snapshot().prefix(self.prefix.as_deref().unwrap_or_default()).await?;
        let machine = records::machine_page(&snapshot.items, &snapshot.cursor);
        let human: String = snapshot.items.iter().map(records::human).collect();
        output::answer(self.target.json(), &machine, &human)?;
        Ok(Exit::Yes)
    }
}

const WATCH_HELP: &str = "\
Shows the current records and then each change, with nothing missed in between. With --json each line is an object; its
`kind` is `listed` for a current record, `following` once all are shown, then `upsert`, `touch`, `delete`, `expire`, or
`overflow` if changes were missed because they are no longer kept: all records are then listed again. Runs until Ctrl-C
(exit code 0).

Examples:
  tidelock ephemeral watch presence
  tidelock ephemeral watch presence --prefix room-1/ --json | jq -r 'select(.kind != \"touch\") | [.kind, .key] | @tsv'
  tidelock ephemeral watch presence --key room-1/ada";

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
        let (_tide, store) = self.target.open().await?;
        self.watch.run(&Store::Ephemeral(store), self.target.json()).await
    }
}
