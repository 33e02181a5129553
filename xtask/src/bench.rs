//! `cargo xtask bench`.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, from_str};
use tidelock_testkit::Flavour;

use crate::cargo::cargo;
use crate::fleet::name_program;
use crate::npm::bench as pages;
use crate::setup;

/// The variable in which the table looks for the port of a running server.
const PORT: &str = "TIDELOCK_BENCH_PORT";

/// Runs the benchmark table, followed by the rows of pages, and returns the table's exit code. Without a port, it
/// starts its own servers.
pub(crate) fn run(json: bool, only: Option<&str>, port: Option<u16>) -> Result<ExitCode> {
    let table = command(json, only, port)?.stderr(Stdio::inherit()).output().context("cannot run cargo bench")?;
    if !table.status.success() {
        let code = table.status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
    }
    let rows = if only.is_none_or(pages::has) { pages::rows(only) } else { Ok(Vec::new()) };
    let rows = rows.unwrap_or_else(|reason| {
        eprintln!("left out: rows of pages: {reason:#}");
        Vec::new()
    });
    print(&String::from_utf8_lossy(&table.stdout), rows, json)?;
    Ok(ExitCode::SUCCESS)
}

/// The command that runs the benchmark table.
pub(crate) fn command(json: bool, only: Option<&str>, port: Option<u16>) -> Result<Command> {
    let mut command = cargo(["bench", "--package=tidelock", "--bench=table", "--"]);
    if json {
        command.arg("--json");
    }
    if let Some(name) = only {
        command.args(["--only", name]);
    }
    match port {
        Some(port) => command.env(PORT, port.to_string()),
        None => name_program(&mut command, &setup::server(Flavour::Redis70)?),
    };
    Ok(command)
}

/// Prints the table with these rows appended.
fn print(table: &str, rows: Vec<Value>, json: bool) -> Result<()> {
    if !json {
        print!("{table}");
        for row in &rows {
            println!("{}", pages::text(row));
        }
        return Ok(());
    }
    let mut table: Value = from_str(table).context("the table is JSON")?;
    table["rows"].as_array_mut().context("the table has rows")?.extend(rows);
    println!("{table}");
    Ok(())
}
