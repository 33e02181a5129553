//! The workloads of `cargo xtask compare` for one contender: Tidelock, another library, or the bare server.
//!
//! A process runs one workload once. It connects, prints `ready`, and waits for a line, so that the measuring process
//! can inspect the server and this process before and after. Then it runs, prints one line of JSON, and ends when its
//! input does.
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

/// The workload and the contender.
#[derive(Debug, Parser)]
struct Cli {
    /// The contender.
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
