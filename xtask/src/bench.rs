//! `cargo xtask bench`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tidelock_testkit::Flavour;

use crate::cargo::cargo;
use crate::fleet::name_program;
use crate::setup;

/// Runs the benchmark table; its exit code is ours. It starts its own server, undisturbed by others.
pub(crate) fn run(json: bool, only: Option<&str>) -> Result<ExitCode> {
    let server = setup::server(Flavour::Redis70)?;
    let mut command = cargo(["bench", "--package=tidelock", "--bench=table", "--"]);
    if json {
        command.arg("--json");
    }
    if let Some(name) = only {
        command.args(["--only", name]);
    }
    let status = name_program(&mut command, &server).status().context("cannot run cargo bench")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
