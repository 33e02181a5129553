//! `tidelock queue …`: look into a queue, and repair it.

mod dead;
mod messages;
mod state;

use clap::{Args, Subcommand};
use tidelock::queue::Queue;
use tidelock::{Raw, Tidelock};

use crate::exit::Exit;
use crate::server::Server;

/// The maximum of a queue's payload limit, so that this command refuses nothing that a program could send.
pub(crate) const MAX_BODY: usize = 16 * 1_024 * 1_024;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Show the number of messages in each state.
    Stats(state::Stats),
    /// Show the next messages without taking them.
    Peek(messages::Peek),
    /// Send messages.
    Send(messages::Send),
    /// Show the dead letters, newest first.
    DeadLetters(dead::List),
    /// Turn dead letters back into messages.
    Requeue(dead::Requeue),
    /// Remove the messages that are not held, or the dead letters.
    Purge(dead::Purge),
    /// Pause delivery, in all processes.
    Pause(state::Pause),
    /// Resume delivery.
    Resume(state::Resume),
    /// Limit the rate of deliveries, of all processes together.
    RateLimit(state::RateLimit),
    /// Limit how many messages are held at once, by all processes together.
    ConcurrencyLimit(state::ConcurrencyLimit),
}

/// Which queue.
#[derive(Args)]
struct Target {
    /// The name of the queue.
    queue: String,
    #[command(flatten)]
    server: Server,
}

impl Target {
    async fn open(&self) -> anyhow::Result<(Tidelock, Queue<Raw>)> {
        let tide = self.server.open().await?;
        let queue = tide.queue::<Raw>(&self.queue).payload_limit(MAX_BODY).build()?;
        Ok((tide, queue))
    }

    fn json(&self) -> bool {
        self.server.json()
    }
}

pub(crate) async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Stats(verb) => verb.run().await,
        Verb::Peek(verb) => verb.run().await,
        Verb::Send(verb) => verb.run().await,
        Verb::DeadLetters(verb) => verb.run().await,
        Verb::Requeue(verb) => verb.run().await,
        Verb::Purge(verb) => verb.run().await,
        Verb::Pause(verb) => verb.run().await,
        Verb::Resume(verb) => verb.run().await,
        Verb::RateLimit(verb) => verb.run().await,
        Verb::ConcurrencyLimit(verb) => verb.run().await,
    }
}
