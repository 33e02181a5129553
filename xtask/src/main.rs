//! `cargo xtask`: set-up, tests, benchmarks and release checks of Tidelock.
//!
//! Progress goes to stderr. Stdout is reserved for results: exports, or a benchmark's JSON.
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod compare;
mod counts;
mod fleet;
mod lane;
mod npm;
mod profile;
mod release;
mod report;
mod setup;
mod suite;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::npm::Repetitions;
use crate::report::Report;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Set-up, tests, benchmarks and release checks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find or fetch the servers and the Rust components that the other tasks need.
    Setup,
    /// Run every check: format, lints, targets, features, documentation, tests.
    Test {
        /// Run only these sections, in this order, separated by commas.
        #[arg(long, value_name = "SECTIONS", value_delimiter = ',')]
        only: Vec<suite::Section>,
        /// Arguments for `cargo test`; with `--only page`, a part of the names of its cases.
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Start the test servers, and keep them running until Ctrl-C or the end of stdin.
    Servers,
    /// Run the benchmark table.
    Bench {
        /// Print the table as JSON, and nothing else to stdout.
        #[arg(long)]
        json: bool,
        /// Run only the rows with this name.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// Use the server on this loopback port instead of starting one. It must be empty.
        #[arg(long)]
        port: Option<u16>,
        /// Profile: flame graphs of client and server in `target/profile`, and the time per server command.
        #[arg(long, conflicts_with_all = ["json", "port"])]
        profile: bool,
    },
    /// Count the instructions of the primitives in process, and compare them with the recorded counts.
    Counts {
        /// Record the new counts.
        #[arg(long)]
        update: bool,
    },
    /// Benchmark Tidelock against other libraries, and print the tables.
    Compare(compare::Options),
    /// Run the tests with all their repetitions, in release mode.
    Soak {
        /// Arguments for `cargo test`.
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Build the npm package into `target/npm`.
    Npm {
        /// Print the path of the tarball and its size as JSON, and nothing else to stdout.
        #[arg(long)]
        json: bool,
        /// Also test the packed package: in Node, Bun, Deno and Chromium, and in new projects of two bundlers.
        #[arg(long)]
        test: bool,
        /// Run the memory growth tests with all their repetitions, which takes some minutes more.
        #[arg(long, requires = "test")]
        long: bool,
    },
    /// Check a release: licences, dependency sources, and the API against the version number.
    ReleaseCheck,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli.task).unwrap_or_else(|error| {
        eprintln!("\nfailed: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(task: Task) -> Result<ExitCode> {
    if let Task::Bench { json, only, port, profile } = task {
        if profile {
            return profile::profile(only.as_deref()).map(|()| ExitCode::SUCCESS);
        }
        return bench::run(json, only.as_deref(), port);
    }
    if let Task::Compare(options) = task {
        return compare::run(&options).map(|()| ExitCode::SUCCESS);
    }
    let mut report = Report::new();
    match task {
        Task::Setup => setup::everything(&mut report)?,
        Task::Test { only, args } => suite::test(&mut report, &only, &args)?,
        Task::Soak { args } => suite::soak(&mut report, &args)?,
        Task::Servers => return fleet::keep(&mut report).map(|()| ExitCode::SUCCESS),
        Task::Counts { update } => report.section("counts", |report| counts::counts(report, update))?,
        Task::Npm { json, test, long } => {
            let repetitions = if long { Repetitions::All } else { Repetitions::Few };
            report.section("npm", |report| npm::npm(report, json, test.then_some(repetitions)))?;
        }
        Task::ReleaseCheck => release::check(&mut report)?,
        Task::Bench { .. } | Task::Compare(_) => unreachable!("handled above: what they print is their report"),
    }
    report.summary();
    Ok(ExitCode::SUCCESS)
}
