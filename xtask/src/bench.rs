//! `cargo xtask bench`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tidelock_testkit::Flavour;

use crate::cargo::cargo;
use crate::fleet::name_program;
use crate::setup;

/// Where the table looks for a server that runs already.
const PORT: &str = "TIDELOCK_BENCH_PORT";

/// Runs the benchmark table; its exit code is ours. Without a port it starts its own servers, undisturbed by others.
pub(crate) fn run(json: bool, only: Option<&str>, port: Option<u16>) -> Result<ExitCode> {
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
    let status = command.status().context("cannot run cargo bench")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
