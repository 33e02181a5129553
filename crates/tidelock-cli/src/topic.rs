//! `tidelock topic …`: publish events, tail a topic, look at its groups.

mod groups;
mod publish;
mod tail;

use clap::{Args, Subcommand};
use tidelock::topic::{Topic, TopicBuilder};
use tidelock::{Raw, Tidelock};

use crate::exit::Exit;
use crate::queue::MAX_BODY;
use crate::server::Server;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Publish events.
    Publish(publish::Publish),
    /// Show the events as they arrive.
    Tail(tail::Tail),
    /// Show the position and lag of each group.
    Groups(groups::List),
    /// Show the lag of one group.
    Lag(groups::Lag),
}

/// Which topic.
#[derive(Args)]
struct Target {
    /// The name of the topic.
    topic: String,
    #[command(flatten)]
    server: Server,
}

impl Target {
    async fn open(&self) -> anyhow::Result<(Tidelock, Topic<Raw>)> {
        let tide = self.server.open().await?;
        let topic = self.define(&tide).build()?;
        Ok((tide, topic))
    }

    fn define(&self, tide: &Tidelock) -> TopicBuilder<Raw> {
        tide.topic::<Raw>(&self.topic).payload_limit(MAX_BODY)
    }

    fn json(&self) -> bool {
        self.server.json()
    }
}

pub(crate) async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Publish(verb) => verb.run().await,
        Verb::Tail(verb) => verb.run().await,
        Verb::Groups(verb) => verb.run().await,
        Verb::Lag(verb) => verb.run().await,
    }
}
