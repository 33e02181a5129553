//! The work of `cargo xtask compare`, done by one contender: Tidelock, another library, or the bare server.
//!
//! A process does one work once. It connects, says `ready`, and waits for a line, so that the one who measures can look
//! at the server and at this process before and after. Then it works, prints one line of JSON, and ends with its input.
#![forbid(unsafe_code)]

mod in_process;
mod jobs;
mod limit;
mod limits;
mod locks;
mod protocol;
mod records;
mod topics;

use anyhow::Result;
use clap::Parser;

use crate::protocol::{Stage, Task};

/// What is to be done, and by whom.
#[derive(Debug, Parser)]
struct Cli {
    /// Who does it.
    contender: String,
    #[command(flatten)]
    task: Task,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let Cli { contender, task } = Cli::parse();
    let mut stage = Stage::default();
    let outcome = match contender.as_str() {
        "no-op" => limit::run(&mut stage, &task).await?,
        "tidelock-mutex" | "rslock" | "set-nx" => locks::run(&contender, &mut stage, &task).await?,
        "tidelock-ratelimit" | "tidelock-in-process" | "governor" | "incr" => {
            limits::run(&contender, &mut stage, &task).await?
        }
        "tidelock-topic" | "streams" => topics::run(&contender, &mut stage, &task).await?,
        "tidelock-retry" | "backon" | "tidelock-cron" | "croner" => {
            in_process::run(&contender, &mut stage, &task).await?
        }
        "tidelock-registry" | "tidelock-scheduler" => records::run(&contender, &mut stage, &task).await?,
        _ => jobs::run(&contender, &mut stage, &task).await?,
    };
    stage.finish(&outcome)
}
