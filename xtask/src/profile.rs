//! `cargo xtask bench --profile`: where a row spends its time, on both sides.
//!
//! Runs the table under `perf` with frame pointers, draws flame graphs of client and server, and prints the server's
//! time per command.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use tidelock_testkit::{Flavour, Server};

use crate::bench;
use crate::cargo::{cargo, output, root, run, target_folder};
use crate::setup;

/// Samples per second; a prime, so that it does not beat with periodic tasks.
const FREQUENCY: &str = "-F997";

/// Runs the table under `perf`, and writes flame graphs into `target/profile`.
pub(crate) fn profile(only: Option<&str>) -> Result<()> {
    output(Command::new("perf").arg("--version")).context("perf is needed: Debian's package linux-perf")?;
    if output(Command::new("inferno-flamegraph").arg("--help")).is_err() {
        run(&mut cargo(["install", "inferno", "--locked"]))?;
    }
    let folder = target_folder()?.join("profile");
    fs::create_dir_all(&folder)?;
    let server = Server::start(&setup::server(Flavour::Redis70)?)?;
    let port = Some(server.port());
    // Build before profiling starts.
    run(with_frames(&mut cargo(["bench", "--package=tidelock", "--bench=table", "--no-run"])))?;
    let pid = server.pid().context("the server does not run")?.to_string();
    let watching = perf(&folder, "server").args(["--pid", &pid]).stdout(Stdio::null()).spawn()?;
    let table = bench::command(false, only, port)?;
    let mut watched = perf(&folder, "client");
    watched.current_dir(root()).arg("--").arg(table.get_program()).args(table.get_args());
    watched.envs(table.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = run(with_frames(&mut watched));
    end(watching)?;
    outcome?;
    for side in ["client", "server"] {
        draw(&folder, side)?;
    }
    tell(&server)
}

fn perf(folder: &Path, side: &str) -> Command {
    let mut command = Command::new("perf");
    command.args(["record", FREQUENCY, "--call-graph=fp", "--quiet"]);
    command.arg(format!("--output={}", folder.join(side).with_extension("perf").display()));
    command
}

/// Stacks are incomplete without frame pointers.
fn with_frames(command: &mut Command) -> &mut Command {
    command.env("RUSTFLAGS", "-Cforce-frame-pointers=yes")
}

/// Lets `perf` finish its output.
fn end(mut watching: Child) -> Result<()> {
    output(Command::new("kill").args(["-INT", &watching.id().to_string()]))?;
    // It ends by the signal, so its status says nothing.
    watching.wait()?;
    Ok(())
}

/// Draws the flame graph of one side.
fn draw(folder: &Path, side: &str) -> Result<()> {
    let file = |extension: &str| folder.join(side).with_extension(extension);
    let into = |command: &mut Command, extension: &str| {
        run(command.stdout(File::create(file(extension))?).stderr(Stdio::null()))
    };
    into(Command::new("perf").args(["script", "--input"]).arg(file("perf")), "script")?;
    into(Command::new("inferno-collapse-perf").arg(file("script")), "stacks")?;
    into(Command::new("inferno-flamegraph").args(["--title", side]).arg(file("stacks")), "svg")?;
    eprintln!("{}", file("svg").display());
    Ok(())
}

/// Prints the server's time per command, the most expensive first.
fn tell(server: &Server) -> Result<()> {
    let info = server.command(&["INFO", "commandstats"])?;
    let Some(text) = info.text() else { bail!("the server reports no command statistics") };
    let mut commands: Vec<_> = text.lines().filter_map(read_command).collect();
    commands.sort_by_key(|(_, _, micros)| std::cmp::Reverse(*micros));
    eprintln!("{:<20}{:>12}{:>14}{:>12}", "command", "calls", "µs", "µs per call");
    for (name, calls, micros) in commands {
        #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
        let each = micros as f64 / calls as f64;
        eprintln!("{name:<20}{calls:>12}{micros:>14}{each:>12.1}");
    }
    Ok(())
}

/// Name, calls and microseconds from a line such as `cmdstat_get:calls=1,usec=2,…`.
fn read_command(line: &str) -> Option<(&str, u64, u64)> {
    let (name, fields) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let field = |wanted: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
        fields.find(|(name, _)| *name == wanted)?.1.parse().ok()
    };
    Some((name, field("calls")?, field("usec")?))
}
