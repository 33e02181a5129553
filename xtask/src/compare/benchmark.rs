//! The server's own benchmark, for readers who want to compare with figures that they know.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tidelock_testkit::Server;

use crate::cargo::output;

/// Placeholder for the hash of the script.
const HASH: &str = "HASH";

/// Label and arguments of each run.
const RUNS: [(&str, &[&str]); 4] = [
    ("PING, 1 connection", &["-c", "1", "PING"]),
    ("PING, 64 connections", &["-c", "64", "PING"]),
    ("EVALSHA of a no-op, 64 connections", &["-c", "64", "EVALSHA", HASH, "1", "no-op"]),
    ("PING, 64 connections, 16 in a pipeline", &["-c", "64", "-P", "16", "PING"]),
];

/// The table of its figures.
pub(super) fn table(server: &Server, requests: usize) -> Result<String> {
    let program = find(server.binary().path()).context("there is no redis-benchmark next to the server")?;
    let loaded = server.command(&["SCRIPT", "LOAD", "return 1"])?;
    let hash = loaded.text().context("SCRIPT LOAD gives no hash")?;
    let mut text = "| `redis-benchmark` | per second | p50 ms | p99 ms |\n|---|--:|--:|--:|\n".to_owned();
    for (name, arguments) in RUNS {
        let mut command = Command::new(&program);
        command.args(["-p", &server.port().to_string(), "-n", &requests.to_string(), "--csv"]);
        command.args(arguments.iter().map(|word| if *word == HASH { hash } else { word }));
        command.env("LD_LIBRARY_PATH", libraries(&program));
        let printed = output(&mut command)?;
        let fields = fields(&printed).with_context(|| format!("redis-benchmark prints {printed:?}"))?;
        let figure = |name| fields.iter().find(|(field, _)| *field == name).map_or("", |(_, value)| *value);
        let (rate, p50, p99) = (figure("rps"), figure("p50_latency_ms"), figure("p99_latency_ms"));
        let _ = writeln!(text, "| {name} | {rate} | {p50} | {p99} |");
    }
    Ok(text)
}

/// The names and values of its last two lines.
fn fields(printed: &str) -> Option<Vec<(&str, &str)>> {
    let mut lines = printed.lines().rev();
    let (values, names) = (lines.next()?, lines.find(|line| line.starts_with("\"test\""))?);
    // The name of the test comes first.
    let cells = |line| str::split(line, "\",\"").skip(1).map(|cell| cell.trim_matches('"'));
    Some(cells(names).zip(cells(values)).collect())
}

/// Looks next to the server, where it was unpacked, or on the path.
fn find(server: &Path) -> Option<PathBuf> {
    let folder = server.parent()?;
    let beside = [folder.join("root/usr/bin/redis-benchmark"), folder.join("redis-benchmark")];
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let on_path = on_path.into_iter().flatten().map(|folder| folder.join("redis-benchmark"));
    beside.into_iter().chain(on_path).find(|program| program.is_file())
}

/// The libraries of a program that was unpacked instead of installed.
fn libraries(program: &Path) -> OsString {
    let folder = program.parent().map(|bin| bin.join("../lib"));
    let entries = folder.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("-linux-"));
    std::env::join_paths(folders).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn figures_are_found_by_their_names() {
        let printed = "\"test\",\"rps\",\"p50_latency_ms\"\n\"EVALSHA a, b\",\"1200.50\",\"0.071\"\n";
        assert_eq!(fields(printed).unwrap(), [("rps", "1200.50"), ("p50_latency_ms", "0.071")]);
        assert_eq!(fields(""), None);
    }
}
