//! The `tidelock` command: a self-checking demo, and access to queues, topics, jobs and records from the shell.
#![forbid(unsafe_code)]

mod cli;
mod demo;
mod ephemeral;
mod exit;
mod job;
mod limits;
mod lines;
mod output;
mod ping;
mod queue;
mod records;
mod registry;
mod schedule;
mod server;
mod stop;
mod topic;
mod value;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::refused_arguments(&error).into(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failed(&error.into()).into(),
    };
    let outcome = runtime.block_on(run(cli));
    // A thread may still be waiting for a line on stdin; nothing else is left to do.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome.unwrap_or_else(|error| exit::failed(&error)).into()
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::DemoWorker => demo::work().await,
        Command::Ping(args) => ping::run(&args).await,
        Command::Queue { verb } => queue::run(verb).await,
        Command::Topic { verb } => topic::run(verb).await,
        Command::Job { verb } => job::run(verb).await,
        Command::Schedule { verb } => schedule::run(verb).await,
        Command::Registry { verb } => registry::run(verb).await,
        Command::Ephemeral { verb } => ephemeral::run(verb).await,
    }
}
